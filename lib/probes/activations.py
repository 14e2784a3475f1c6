"""Activations over a batch: moments and histograms of a few units of every layer (Figures 1c, 2, 6, 8, 9)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from lib.errors import UsageError
from lib.probes.contract import check

_WATCHED = (nn.ReLU, nn.ELU, nn.SELU)


class Activations:
    """Watches the inputs of every ReLU, ELU or SELU.

    They are what its layer's normalization (and noise) hands on, where these stand before it. A ReLU that a forward
    pass uses more than once is a layer at each use. `units` channels of each layer are drawn once from `seed`. Read it
    after the forward pass inside `watch`. Costs no pass of its own. `UsageError` where the model calls no `nn.ReLU` (a
    function such as `torch.relu` cannot be watched), calls them in another order than before, or where channels are not
    the second of 2, 4 or 5 dimensions.

        >>> model = nn.Sequential(nn.BatchNorm1d(2), nn.ReLU())
        >>> activations = Activations(model, units=2, seed=0)
        >>> with activations.watch():
        ...     _ = model(torch.tensor([[1.0, 20.0], [3.0, 80.0]]))
        >>> mean, variance = activations.moments()  # of what BatchNorm hands on
        >>> [values.round(decimals=3).abs().tolist() for values in (mean, variance)]
        [[[0.0, 0.0]], [[1.0, 1.0]]]
    """

    def __init__(self, model: nn.Module, units: int, seed: int) -> None:
        check(model)
        self._model = model
        self._order: list[nn.Module] = []
        self._generator = torch.Generator().manual_seed(seed)
        self._chosen: list[Tensor] = []
        self._values: list[Tensor] = []
        self._units = units

    @contextmanager
    def watch(self, watching: bool = True) -> Iterator[Activations]:
        """Inside, the activations of the next forward pass are kept, if `watching`."""
        self._values = []
        relus = [module for module in self._model.modules() if isinstance(module, _WATCHED)] if watching else []
        hooks = [relu.register_forward_pre_hook(self._keep) for relu in relus]
        try:
            yield self
        finally:
            for hook in hooks:
                hook.remove()

    def _keep(self, relu: nn.Module, inputs: tuple[Tensor]) -> None:
        (a,) = inputs
        number = len(self._values)
        if a.dim() not in (2, 4, 5):
            raise UsageError(
                f"{self._name(relu)}, a ReLU, gets {tuple(a.shape)}, whose channels cannot be told; "
                "watched are [B, C] and [B, C, H, W]."
            )
        if number == len(self._order):
            self._order.append(relu)
        elif self._order[number] is not relu:
            raise UsageError(
                f"{self._name(relu)}, a ReLU, is called as number {number + 1}, which was "
                f"{self._name(self._order[number])} before: the layers of this model change from pass to pass."
            )
        if number == len(self._chosen):
            # Layers meet their first input in order, so the draw is reproducible.
            picks = torch.randperm(a.shape[1], generator=self._generator)
            self._chosen.append(picks.repeat(self._units)[: self._units].to(a.device))
        self._values.append(a.detach()[:, self._chosen[number]].transpose(0, 1).flatten(1))

    def _name(self, relu: nn.Module) -> str:
        return next(name for name, module in self._model.named_modules() if module is relu) or "the model"

    def values(self) -> list[Tensor]:
        """The last forward pass's activations: a tensor [unit, B * H * W] for each layer, in their order."""
        if not self._values:
            raise UsageError("no nn.ReLU was called inside `watch`; activations are watched where a ReLU gets them.")
        return self._values

    def moments(self) -> tuple[Tensor, Tensor]:
        """Mean and variance over the batch: two tensors [layer, unit]."""
        return (
            torch.stack([value.mean(1) for value in self.values()]),
            torch.stack([value.var(1, correction=0) for value in self.values()]),
        )

    def histograms(self, bins: int) -> tuple[Tensor, Tensor]:
        """Counts [layer, unit, bin] between each unit's lowest and highest value, and those two [layer, unit, 2]."""
        counts, ranges = [], []
        for value in self.values():
            for row in value.float():
                low, high = row.min(), row.max()
                ranges.append(torch.stack([low, high]))
                sound = bool(torch.isfinite(high - low))
                counts.append(torch.histc(row, bins, low.item(), high.item()) if sound else row.new_zeros(bins))
        shape = (len(self._values), self._units)
        return torch.stack(counts).view(*shape, bins), torch.stack(ranges).view(*shape, 2)
