"""A copy of a point in another float type, for what float64 has to check."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

from lib.errors import UsageError
from lib.probes.point import Point, State, gradients, held, trained


def copied(point: Point, dtype: torch.dtype) -> Point:
    """The same point of a copy of the network in `dtype`: the same weights and draws, and its own gradient.

    Batch, outputs and loss are taken in `dtype`, too. `UsageError` for a network that cannot be copied.
    """

    def cast(value: Any) -> Any:
        return _cast(value, dtype)

    own = cast(copy.deepcopy(point.loss)) if isinstance(point.loss, nn.Module) else point.loss

    def loss(output: Any, y: Any) -> Tensor:
        return own(tree_map(cast, output), y)

    with held(point.model):
        point.noise.rewind()
        model, x, y = cast(_copy(point.model)), tree_map(cast, point.x), tree_map(cast, point.y)
        for own_weight, weight in zip(trained(model), trained(point.model)):
            for hook in (weight._backward_hooks or {}).values():  # which deepcopy leaves behind
                own_weight.register_hook(hook)
        noise = State(model)
        return Point(model, loss, x, y, gradients(model, loss, x, y)[1], noise, point.step_size)


def _copy(model: nn.Module) -> nn.Module:
    # What a module has computed from its weights, as old forms of weight and spectral norm keep it, has no copy of its
    # own.
    computed = [
        value
        for module in model.modules()
        for value in tree_leaves(list(vars(module).values()))
        if isinstance(value, Tensor) and value.grad_fn is not None
    ]
    try:
        return copy.deepcopy(model, {id(value): value.detach().clone() for value in computed})
    except Exception as error:
        raise UsageError(f"this needs a copy of the model, and copy.deepcopy refuses: {error}") from error


def _cast(value: Any, dtype: torch.dtype) -> Any:
    """A tensor, or all that a module holds, in `dtype` where it is a real or complex number; all else as it is."""
    if isinstance(value, nn.Module):
        value._apply(lambda tensor: _cast(tensor, dtype))
        for module in value.modules():
            for name, held_value in vars(module).items():
                if isinstance(held_value, Tensor):
                    vars(module)[name] = _cast(held_value, dtype)
        return value
    if not isinstance(value, Tensor) or not (value.is_floating_point() or value.is_complex()):
        return value
    return value.to(dtype.to_complex() if value.is_complex() else dtype)
