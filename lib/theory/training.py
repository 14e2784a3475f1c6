"""Theorems 4.1 and 4.2 along a training run: what the two terms remove, and when the conditions hold."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from lib.models import FixedScale
from lib.norms import EPS, BatchNorm
from lib.theory.formulas import layer_terms

#: What is kept of `layer_terms`: the share of |g|^2 removed, gamma / sigma, <g, yhat>, v^T H v, g^T H g and whether the first is the smaller.
QUANTITIES = ("removed", "scale", "inner", "form_bn", "form_plain", "condition")


def measure(
    model: nn.Module, loss: Callable[[Tensor, Tensor], Tensor], x: Tensor, y: Tensor, units: int
) -> dict[str, Tensor]:
    """`QUANTITIES` of the first `units` units of every BatchNorm layer: tensors [layer, unit], float64.

    Also takes the deep linear networks' `FixedScale("batchnorm", ...)`. One forward pass in the mode the
    model is in; Hessian forms by three Hessian-vector products a unit, taken at the layer's output. BatchNorm's running
    statistics move: call it inside `lib.probes.held`.
    """
    layers = [module for module in model.modules() if isinstance(module, (BatchNorm, FixedScale))]
    seen: list[tuple[Tensor, Tensor]] = []
    hooks = [layer.register_forward_hook(lambda _, inputs, z: seen.append((inputs[0], z))) for layer in layers]
    try:
        value = loss(model(x), y)
    finally:
        for hook in hooks:
            hook.remove()
    gradients = torch.autograd.grad(value, [z for _, z in seen], create_graph=True)
    found: dict[str, list[Tensor]] = {name: [] for name in QUANTITIES}
    for layer, (before, z), g in zip(layers, seen, gradients, strict=True):

        def hvp(direction: Tensor, g: Tensor = g, z: Tensor = z) -> Tensor:
            return torch.autograd.grad(g, z, direction, retain_graph=True)[0]

        fixed = isinstance(layer, FixedScale)
        gamma = torch.full_like(before[0], layer.gamma) if fixed else layer.gamma
        terms = layer_terms(before, g, gamma, 0.0 if fixed else EPS, hvp, range(units))
        for name in QUANTITIES:
            found[name].append(terms[name][:units].double())
    return {name: torch.stack(values) for name, values in found.items()}
