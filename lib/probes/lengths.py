"""Lengths of gradients and weights, layer by layer: whether gradients explode or vanish (section 3.1)."""

from __future__ import annotations

import torch
from torch import Tensor

from lib.models import weights
from lib.probes.point import Point, trained


def layer_lengths(point: Point) -> dict[str, Tensor]:
    """`layer_gradient` [k] and `layer_weight` [k]: l2 norms of the gradient of each layer's weight, and of that weight.

    For networks as `lib.models` builds them, chains of layers that start with their weight.
    """
    step = dict(zip(trained(point.model), point.grads))
    found = weights(point.model)
    return {
        "layer_gradient": torch.stack([step[weight].norm() for weight in found]),
        "layer_weight": torch.stack([weight.detach().norm() for weight in found]),
    }
