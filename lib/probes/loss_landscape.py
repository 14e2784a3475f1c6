"""The loss and its gradient along a direction: what Figures 4, 10, 11, 12 and 13 show at one step."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from lib.probes.point import Point, along, norm


def landscape(point: Point, step_lengths: Sequence[float], direction: list[Tensor] | None = None) -> dict[str, Tensor]:
    """Loss and gradient change along the gradient (section 3.2, appendix A.2.2), or along another `direction`.

    For each of C multiples c of `step_lengths`, at W - c step_size v, with v the gradient g(W) of all trained
    parameters: `landscape_loss` [C] and `grad_change` [C], which is |g(W - c step_size v) - g(W)|_2; and `grad_norm`
    [], which is |g(W)|_2. The effective smoothness is `effective_smoothness` of the second. Costs a gradient a length,
    1.0 training steps each (`lib.bench`, VGG-A on a CPU).

        >>> model = nn.Linear(1, 1, bias=False)
        >>> _ = nn.init.constant_(model.weight, 3.0)
        >>> point = Point.at(model, nn.functional.mse_loss, torch.ones(1, 1), torch.zeros(1, 1), step_size=0.25)
        >>> found = landscape(point, (0.5, 1.0, 2.0))
        >>> found["grad_change"].tolist()
        [1.5, 3.0, 6.0]
        >>> effective_smoothness(found["grad_change"], torch.tensor((0.5, 1.0, 2.0)), 0.25, found["grad_norm"])
        tensor([2., 2., 2.])
    """
    losses, changes = [], []
    for value, there in along(point, step_lengths, direction):
        losses.append(value)
        changes.append(norm(torch._foreach_sub(there, point.grads)))
    return {
        "landscape_loss": torch.stack(losses),
        "grad_change": torch.stack(changes),
        "grad_norm": norm(point.grads),
    }
