"""The two networks of appendix A.1, a VGG and a deep linear one, and a residual network beside them.

The first two are flat `nn.Sequential`s of layers. A layer is a weight and everything up to the next weight, so that "the parameters of the
layers before i" is `model[:i]` and activations can be replayed from any layer on.
"""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor, nn

from lib.errors import check_choice, check_number
from lib.norms import ActivationNoise, make_norm
from lib.specs import NORMS, RESNET_BLOCKS, VGG_PLANS, LinearSpec, VGGSpec

CLASSES = 10
HEAD = 512


def vgg(spec: VGGSpec) -> nn.Sequential:
    """A VGG for images [B, 3, 32, 32] with outputs [B, 10].

    Layer i is convolution (3x3, padding 1) or linear map, norm, ReLU and, where the plan
    says so, 2x2 max pooling; the head is 512-512-10 times the width, without a norm after the last.
    Weights are Glorot uniform, biases zero. The same seed gives the same weights
    whatever the norm, so networks with different norms start from the same point.
    """
    generator = torch.Generator().manual_seed(spec.seed)
    layers: OrderedDict[str, nn.Module] = OrderedDict()

    def width(channels: int) -> int:
        return max(1, round(channels * spec.width))

    def add(weight: nn.Module, channels: int) -> None:
        _initialize(weight, spec, generator)
        index = len(layers) + 1
        block = [weight]
        if channels:
            # A seed of its own for each layer: noise then does not depend on what other layers draw.
            seed = 1_000_003 * (spec.seed + 1) + index
            if spec.norm != "none" and (spec.norm_head or isinstance(weight, nn.Conv2d)):
                block.append(_norm(spec, channels, seed))
            elif spec.noise_without_norm:
                block.append(ActivationNoise(spec.noise, seed))
            block.insert(len(block) if spec.placement == "before" else 1, nn.ReLU())
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


def _initialize(weight: nn.Conv2d | nn.Linear, spec: VGGSpec, generator: torch.Generator) -> None:
    nn.init.xavier_uniform_(weight.weight, gain=spec.init_scale, generator=generator)
    nn.init.zeros_(weight.bias)


def _norm(spec: VGGSpec, channels: int, seed: int) -> nn.Module:
    norm = make_norm(spec.norm, channels, spec.noise, seed, spec.lp_formula)
    for parameter in norm.parameters():
        parameter.requires_grad_(spec.affine)
    return norm


class _Block(nn.Module):
    """Two 3x3 convolutions, each with its norm, beside a shortcut; 1x1 and strided where the shape changes."""

    def __init__(self, spec: VGGSpec, inputs: int, outputs: int, stride: int, seed: int, generator: torch.Generator) -> None:
        super().__init__()
        self.first, self.second = (
            nn.Conv2d(inputs, outputs, 3, stride, padding=1), nn.Conv2d(outputs, outputs, 3, padding=1),
        )  # fmt: skip
        self.shortcut = nn.Conv2d(inputs, outputs, 1, stride) if stride > 1 or inputs != outputs else nn.Identity()
        for weight in (self.first, self.second, self.shortcut):
            if isinstance(weight, nn.Conv2d):
                _initialize(weight, spec, generator)
        self.first_norm, self.second_norm = (_norm(spec, outputs, seed + index) for index in range(2))
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        h = self.relu(self.first_norm(self.first(x)))
        return self.relu(self.second_norm(self.second(h)) + self.shortcut(x))


def resnet(spec: VGGSpec) -> nn.Sequential:
    """A residual network for images [B, 3, 32, 32] with outputs [B, 10]: the paper's "other architectures".

    He et al.'s for CIFAR-10: three stages of 64, 128 and 256 channels times the width, depth (6 n + 2) with n blocks
    a stage, then the mean over positions and a linear map. Same seed, same weights, whatever the norm.
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


class FixedScale(nn.Module):
    """Normalization [B, C] with a fixed scale and no shift, as the deep linear networks use it.

    u = gamma (y - mean(y)) / n(y): n is the deviation for "batchnorm" and the average l_p
    norm, taken before the mean is subtracted, for "l1", "l2" and "linf". No eps: exact.
    """

    def __init__(self, norm: str, gamma: float) -> None:
        super().__init__()
        check_choice("norm", norm, [name for name in NORMS if name not in ("none", "noisy")])
        check_number("gamma", gamma, 0, 100, low_open=True)
        self.norm, self.gamma = norm, gamma

    def forward(self, y: Tensor) -> Tensor:
        centred = y - y.mean(0)
        size = {
            "batchnorm": lambda: centred.square().mean(0).sqrt(),
            "l1": lambda: y.abs().mean(0),
            "l2": lambda: y.square().mean(0).sqrt(),
            "linf": lambda: y.abs().amax(0),
        }[self.norm]()
        return self.gamma * centred / size


def deep_linear(spec: LinearSpec, seed: int) -> nn.Sequential:
    """The deep linear network W_k ... W_1 x for inputs [samples, dim], float64, no biases.

    A normalization follows every layer but the last. Weights are `glorot_weights(spec, seed)`.
    This is the plain form; `lib.linear` computes the same numbers for many networks at once.
    """
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for index, weight in enumerate(glorot_weights(spec, seed), start=1):
        linear = nn.Linear(spec.dim, spec.dim, bias=False, dtype=torch.float64)
        with torch.no_grad():
            linear.weight.copy_(weight)
        block = [linear]
        if spec.norm != "none" and index < spec.layers:
            block.append(FixedScale(spec.norm, spec.gamma))
        layers[f"layer{index}"] = nn.Sequential(*block)
    return nn.Sequential(layers)


def glorot_weights(spec: LinearSpec, seed: int) -> Tensor:
    """Glorot uniform weights [layers, dim, dim], float64, for one seed."""
    generator = torch.Generator().manual_seed(10_007 + seed)
    bound = (6 / (2 * spec.dim)) ** 0.5
    shape = (spec.layers, spec.dim, spec.dim)
    return torch.empty(shape, dtype=torch.float64).uniform_(-bound, bound, generator=generator)


def weights(model: nn.Sequential) -> list[nn.Parameter]:
    """W_1, ..., W_k of Definition 2.1: the weight of each layer, first to last."""
    return [layer[0].weight for layer in model]
