"""The deep linear network of appendix A.1 as plain layers on its samples.

`lib.models.moments` computes the same for many at once.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

import torch
from torch import Tensor, nn

from lib.errors import check_choice, check_number
from lib.specs import LinearSpec

#: What a normalization divides by, n(y): of samples [n, ...] the size [...] of each unit.
SIZES: dict[str, Callable[[Tensor], Tensor]] = {
    "batchnorm": lambda y: (y - y.mean(0)).square().mean(0).sqrt(),
    "l1": lambda y: y.abs().mean(0),
    "l2": lambda y: y.square().mean(0).sqrt(),
    "linf": lambda y: y.abs().amax(0),
}


class FixedScale(nn.Module):
    """Normalization [B, C] with a fixed scale and no shift, as the deep linear networks use it.

    u = gamma (y - mean(y)) / n(y), with n of `SIZES`: the deviation for "batchnorm" and the average l_p norm, taken
    before the mean is subtracted, for "l1", "l2" and "linf". No eps: exact.

        >>> y = torch.tensor([[1.0], [3.0]])
        >>> FixedScale("batchnorm", 2.0)(y).flatten().tolist(), FixedScale("l1", 2.0)(y).flatten().tolist()
        ([-2.0, 2.0], [-1.0, 1.0])
    """

    def __init__(self, norm: str, gamma: float) -> None:
        super().__init__()
        check_choice("norm", norm, tuple(SIZES))
        check_number("gamma", gamma, 0, 100, low_open=True)
        self.norm, self.gamma = norm, gamma

    def forward(self, y: Tensor) -> Tensor:
        return self.gamma * (y - y.mean(0)) / SIZES[self.norm](y)


class TrainedScale(FixedScale):
    """The same in float64 with trained scale gamma [C], from `gamma`, and trained shift beta [C], from 0."""

    def __init__(self, norm: str, gamma: float, channels: int) -> None:
        super().__init__(norm, gamma)
        self.gamma = nn.Parameter(torch.full((channels,), gamma, dtype=torch.float64))
        self.beta = nn.Parameter(torch.zeros(channels, dtype=torch.float64))

    def forward(self, y: Tensor) -> Tensor:
        return super().forward(y) + self.beta


def deep_linear(spec: LinearSpec, seed: int) -> nn.Sequential:
    """The deep linear network W_k ... W_1 x for inputs [samples, dim], float64, no biases.

    A normalization follows every layer but the last, and that one with `spec.norm_last`. Weights are
    `glorot_weights(spec, seed)`. This is the plain form; `lib.models.moments` computes the same numbers for many
    networks at once.

        >>> model = deep_linear(LinearSpec(layers=3, dim=4, samples=20), seed=0)
        >>> first, second, third = weights(model)
        >>> torch.allclose(model(torch.eye(4, dtype=torch.float64)), (third @ second @ first).T)
        True
    """
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for index, weight in enumerate(glorot_weights(spec, seed), start=1):
        linear = nn.Linear(spec.dim, spec.dim, bias=False, dtype=torch.float64)
        with torch.no_grad():
            linear.weight.copy_(weight)
        block = [linear]
        if spec.norm != "none" and (index < spec.layers or spec.norm_last):
            scale = TrainedScale(spec.norm, spec.gamma, spec.dim) if spec.affine else FixedScale(spec.norm, spec.gamma)
            block.append(scale)
        layers[f"layer{index}"] = nn.Sequential(*block)
    return nn.Sequential(layers)


def glorot_weights(spec: LinearSpec, seed: int) -> Tensor:
    """Glorot's weights [layers, dim, dim], float64, for one seed: uniform, or normal with the same variance 1 / dim.

    >>> bool(glorot_weights(LinearSpec(dim=12), seed=0).abs().max() <= 0.5)  # sqrt(3 / dim)
    True
    """
    generator = torch.Generator().manual_seed(10_007 + seed)
    found = torch.empty((spec.layers, spec.dim, spec.dim), dtype=torch.float64)
    if spec.initialization == "normal":
        return found.normal_(0, spec.dim**-0.5, generator=generator)
    bound = (6 / (2 * spec.dim)) ** 0.5
    return found.uniform_(-bound, bound, generator=generator)


def weights(model: nn.Sequential) -> list[nn.Parameter]:
    """W_1, ..., W_k of Definition 2.1: the weight of each layer, first to last.

    >>> [tuple(weight.shape) for weight in weights(deep_linear(LinearSpec(layers=2, dim=3), seed=0))]
    [(3, 3), (3, 3)]
    """
    return [layer[0].weight for layer in model]
