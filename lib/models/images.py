"""Networks for images: the VGG of appendix A.1, and a residual network beside it.

The VGG is a flat `nn.Sequential` of layers. A layer is a weight and everything up to the next weight, so that "the
parameters of the layers before i" is `model[:i]` and activations can be replayed from any layer on.
"""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from lib.norms import ActivationNoise, make_norm
from lib.specs import ImageSpec

CLASSES = 10
HEAD = 512
#: Width multipliers of 64 channels; "M" halves the image. Configurations A, B, D and E of Simonyan and Zisserman,
#: and a shallow relative that trains in seconds.
VGG_PLANS = {
    7: (1, "M", 2, "M", 4, "M", 8, "M"),
    11: (1, "M", 2, "M", 4, 4, "M", 8, 8, "M", 8, 8, "M"),
    13: (1, 1, "M", 2, 2, "M", 4, 4, "M", 8, 8, "M", 8, 8, "M"),
    16: (1, 1, "M", 2, 2, "M", 4, 4, 4, "M", 8, 8, 8, "M", 8, 8, 8, "M"),
    19: (1, 1, "M", 2, 2, "M", 4, 4, 4, 4, "M", 8, 8, 8, 8, "M", 8, 8, 8, 8, "M"),
}
#: By name; section 5 names ELU and SELU beside the normalizations.
NONLINEARITIES = {"relu": nn.ReLU, "elu": nn.ELU, "selu": nn.SELU}
#: Blocks a stage, by depth: 6 n + 2 layers with weights.
RESNET_BLOCKS = {8: 1, 14: 2, 20: 3}


def vgg(spec: ImageSpec) -> nn.Sequential:
    """A VGG for images [B, 3, 32, 32] with outputs [B, 10].

    Layer i is convolution (3x3, padding 1) or linear map, norm, ReLU (or `spec.activation`) and, where the plan says
    so, 2x2 max pooling; the head is 512-512-10 times the width, without a norm after the last. Weights are Glorot
    uniform, biases zero. The same seed gives the same weights whatever the norm, so networks with different norms start
    from the same point. Weight normalization starts as the standard network, without the initialization from data of
    its authors. Another norm adds gamma and beta, two numbers a channel.

        >>> {depth: sum(p.numel() for p in vgg(ImageSpec(depth=depth)).parameters()) for depth in (11, 13, 16, 19)}
        {11: 9750922, 13: 9935434, 16: 15245130, 19: 20554826}
    """
    generator = torch.Generator().manual_seed(spec.seed)
    layers: OrderedDict[str, nn.Module] = OrderedDict()

    def width(channels: int) -> int:
        return max(1, round(channels * spec.width))

    def add(weight: nn.Module, channels: int) -> None:
        _initialize(weight, spec, generator)
        index = len(layers) + 1
        if spec.norm == "weightnorm" and channels and (spec.norm_head or isinstance(weight, nn.Conv2d)):
            weight = weight_norm(weight)  # length times direction, of each unit: at first the weight that it was
        block = [weight]
        if channels:
            # A seed of its own for each layer: noise then does not depend on what other layers draw.
            seed = 1_000_003 * (spec.seed + 1) + index
            if spec.norm != "none" and (spec.norm_head or isinstance(weight, nn.Conv2d)):
                block.append(_norm(spec, channels, seed))
            elif spec.noise_without_norm:
                block.append(ActivationNoise(spec.noise, seed))
            block.insert(len(block) if spec.placement == "before" else 1, NONLINEARITIES[spec.activation]())
        layers[f"layer{index}"] = nn.Sequential(*block)

    channels = 3
    for item in VGG_PLANS[spec.depth]:
        if item == "M":
            layers[f"layer{len(layers)}"].append(nn.MaxPool2d(2))
            continue
        out = width(64 * item)
        add(nn.Conv2d(channels, out, 3, padding=1), out)
        channels = out
    pixels = (32 // 2 ** VGG_PLANS[spec.depth].count("M")) ** 2
    layers[f"layer{len(layers)}"].append(nn.Flatten())
    head = width(HEAD)
    for inputs, outputs in ((channels * pixels, head), (head, head)):
        add(nn.Linear(inputs, outputs), outputs)
    add(nn.Linear(head, CLASSES), 0)
    dtype = getattr(torch, spec.dtype)
    return nn.Sequential(layers).to(dtype).to(memory_format=torch.channels_last)


def _initialize(weight: nn.Conv2d | nn.Linear, spec: ImageSpec, generator: torch.Generator) -> None:
    nn.init.xavier_uniform_(weight.weight, gain=spec.init_scale, generator=generator)
    nn.init.zeros_(weight.bias)


def _norm(spec: ImageSpec, channels: int, seed: int) -> nn.Module:
    norm = make_norm(spec.norm, channels, spec.noise, seed, spec.lp_formula)
    for parameter in norm.parameters():
        parameter.requires_grad_(spec.affine)
    return norm


class _Block(nn.Module):
    """Two 3x3 convolutions, each with its norm, beside a shortcut; 1x1 and strided where the shape changes."""

    def __init__(
        self, spec: ImageSpec, inputs: int, outputs: int, stride: int, seed: int, generator: torch.Generator
    ) -> None:
        super().__init__()
        self.first, self.second = (
            nn.Conv2d(inputs, outputs, 3, stride, padding=1),
            nn.Conv2d(outputs, outputs, 3, padding=1),
        )
        self.shortcut = nn.Conv2d(inputs, outputs, 1, stride) if stride > 1 or inputs != outputs else nn.Identity()
        for weight in (self.first, self.second, self.shortcut):
            if isinstance(weight, nn.Conv2d):
                _initialize(weight, spec, generator)
        self.first_norm, self.second_norm = (_norm(spec, outputs, seed + index) for index in range(2))
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        h = self.relu(self.first_norm(self.first(x)))
        return self.relu(self.second_norm(self.second(h)) + self.shortcut(x))


def resnet(spec: ImageSpec) -> nn.Sequential:
    """A residual network for images [B, 3, 32, 32] with outputs [B, 10]: the paper's "other architectures".

    He et al.'s for CIFAR-10: three stages of 64, 128 and 256 channels times the width, depth (6 n + 2) with n blocks
    a stage, then the mean over positions and a linear map. Same seed, same weights, whatever the norm.

        >>> spec = ImageSpec(architecture="resnet", depth=20)
        >>> sum(parameter.numel() for parameter in resnet(spec).parameters())
        4324618
    """
    generator = torch.Generator().manual_seed(spec.seed)
    channels = [max(1, round(size * spec.width)) for size in (64, 128, 256)]
    stem = nn.Conv2d(3, channels[0], 3, padding=1)
    _initialize(stem, spec, generator)
    parts: list[nn.Module] = [stem, _norm(spec, channels[0], 1_000_003 * (spec.seed + 1)), nn.ReLU()]
    inputs = channels[0]
    for stage, outputs in enumerate(channels):
        for block in range(RESNET_BLOCKS[spec.depth]):
            stride = 2 if stage and not block else 1
            parts.append(_Block(spec, inputs, outputs, stride, 1_000_003 * (spec.seed + 1) + 2 * len(parts), generator))
            inputs = outputs
    head = nn.Linear(inputs, CLASSES)
    _initialize(head, spec, generator)
    parts += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), head]
    return nn.Sequential(*parts).to(getattr(torch, spec.dtype)).to(memory_format=torch.channels_last)
