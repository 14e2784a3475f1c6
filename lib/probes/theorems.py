"""Theorems 4.1 and 4.2 along a training run: what the two terms remove, and when the conditions hold."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lib.errors import UsageError
from lib.models import FixedScale
from lib.norms import EPS, BatchNorm
from lib.probes.point import Point, differentiate, held
from lib.probes.second import smooth
from lib.records.layout import THEOREM_TERMS
from lib.theory.formulas import layer_terms

_BATCHNORMS = (BatchNorm, nn.modules.batchnorm._BatchNorm)


def measure(point: Point, units: int) -> dict[str, Tensor]:
    """`theorem_` and each of `THEOREM_TERMS` of every BatchNorm layer's first `units` units: [layer, unit], float64.

    The share of |g|^2 removed, gamma / sigma, <g, yhat>, v^T H v, g^T H g and whether the first form is the smaller.
    Layers come in the order of their calls; one that is called twice is two. Takes torch's BatchNorm and the deep
    linear networks' `FixedScale("batchnorm", ...)`, too. `UsageError` where no layer, or one in evaluation mode, is
    there: the theorems are about batch statistics.

    Costs what `lib.probes.second.smooth` does, a backward pass, and for each unit two products with the Hessian at its
    layer's output.

        >>> model, x = nn.BatchNorm1d(1), torch.tensor([[-2.0], [2.0]])
        >>> point = Point.at(model, nn.functional.mse_loss, x, torch.zeros(2, 1), step_size=0.1)
        >>> found = measure(point, units=1)  # gamma / sigma is 1 / 2; all of g lies along yhat
        >>> round(found["theorem_scale"].item(), 3), round(found["theorem_removed"].item(), 3)
        (0.5, 1.0)
    """
    model = point.model
    seen: list[tuple[nn.Module, Tensor, Tensor]] = []

    def keep(layer: nn.Module, inputs: tuple[Tensor], z: Tensor) -> Tensor:
        z = z if z.requires_grad else z.detach().requires_grad_()
        seen.append((layer, inputs[0], z))
        return z.clone()  # which an activation in place may write to

    layers = {
        name: layer
        for name, layer in model.named_modules()
        if isinstance(layer, _BATCHNORMS) or (isinstance(layer, FixedScale) and layer.norm == "batchnorm")
    }
    for name, layer in layers.items():
        if isinstance(layer, _BATCHNORMS) and not layer.training and layer.running_mean is not None:
            raise UsageError(
                f"{name} is {type(layer).__name__} in evaluation mode; the theorems need the batch's statistics."
            )
    with held(model):  # which removes the hooks, too
        model.register_forward_pre_hook(lambda *_: seen.clear())
        for layer in layers.values():
            layer.register_forward_hook(keep)
        value = smooth(point) if layers else None
        if not seen:
            raise UsageError("no BatchNorm layer is called in this model; the theorems are about what one does.")
        return _terms(value, seen, units)


def _terms(value: Tensor, seen: list[tuple[nn.Module, Tensor, Tensor]], units: int) -> dict[str, Tensor]:
    gradients = differentiate(value, [z for _, _, z in seen], create_graph=True)
    found: dict[str, list[Tensor]] = {name: [] for name in THEOREM_TERMS}
    for (layer, before, z), g in zip(seen, gradients, strict=True):

        def hvp(direction: Tensor, g: Tensor = g, z: Tensor = z) -> Tensor:
            return differentiate(g, [z], direction, retain_graph=True)[0] if g.requires_grad else torch.zeros_like(z)

        gamma, eps = _scale(layer, before)
        terms = layer_terms(before, g, gamma, eps, hvp, range(units))
        for name in THEOREM_TERMS:
            found[name].append(terms[name][:units].double())
    return {f"theorem_{name}": torch.stack(values) for name, values in found.items()}


def _scale(layer: nn.Module, before: Tensor) -> tuple[Tensor, float]:
    """gamma of a layer for every unit, and the eps under its root."""
    if isinstance(layer, FixedScale):
        return torch.full_like(before[0], layer.gamma), 0.0
    if isinstance(layer, BatchNorm):
        return layer.gamma, EPS
    return before.new_ones(before.shape[1]) if layer.weight is None else layer.weight, layer.eps
