"""A probe of a run: what is measured, at which steps, and which arrays that gives."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from lib.records.layout import Layout


@dataclass(frozen=True)
class Probe:
    """A measurement along a run: at each of `steps`, `measure(point)` gives named arrays.

    The spec's own probes fill arrays that `lib.records.layout` names. Another one names its own in `dims`, each with
    the dimensions that follow its axis of steps, which is called after the probe, and in `sizes` the sizes of
    dimensions that are new:

    >>> from lib.probes import Probe, norm
    >>> from lib.runs.training import run
    >>> from lib.specs import LinearSpec
    >>> largest = Probe("largest", range(0, 6, 2), lambda point: {"largest_weight": point.weights.amax((0, 2, 3))},
    ...                 dims={"largest_weight": ("seed",)})
    >>> run(LinearSpec(layers=2, dim=3, samples=20, steps=6, seeds=2), probes=[largest]).largest_weight.sizes
    Frozen({'largest_step': 3, 'seed': 2})
    """

    name: str
    steps: Collection[int]
    measure: Callable[[Any], dict[str, Tensor]]
    dims: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    sizes: Mapping[str, int] = field(default_factory=dict)

    def due(self, step: int) -> bool:
        """Whether to measure at this step."""
        return step in self.steps

    def extend(self, layout: Layout) -> None:
        """Make room for this probe's arrays, float64, in the layout of a record."""
        layout.steps(f"{self.name}_step", sorted(self.steps))
        layout.sizes |= self.sizes
        for name, dims in self.dims.items():
            layout.add((name,), (f"{self.name}_step", *dims), float)
