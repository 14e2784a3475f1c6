"""Distributions of activations, and how their moments change from step to step."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import xarray as xr

from lib.figures import style
from lib.figures.style import Curves, Drawn, Panel, Series, Shape
from lib.paper import measures

#: A histogram of fewer activations than this is drawn with a quarter of the bins.
FEW = 1_000


def layers_of(curves: Curves, dim: str, count: int) -> list[int]:
    """`count` indices of `dim`, evenly spread from the second to the last that all curves have."""
    size = min(curve.sizes[dim] for curve in curves.values())
    return sorted({int(index) for index in np.linspace(min(1, size - 1), size - 1, count).round()})


@style.of_curves
def distributions(curves: Curves, layers: Iterable[int] | int = 3, columns: int | None = None) -> Drawn:
    """One activation's distribution over training, seed 0, for some layers or that many (Figures 1c, 2, 6, 9).

    A shape is the histogram at one step, upright and scaled to its own maximum: wider is denser. Networks have the same
    axis.
    """
    curves = style.curves_of(curves)
    layers = layers_of(curves, "norm_layer", layers) if isinstance(layers, int) else list(layers)
    panels = []
    for label, curve in curves.items():
        part = curve.isel(seed=0)
        if "unit" in part.dims:
            part = part.isel(unit=0)
        for layer in layers:
            title = f"{style.name(label)}, layer {layer + 1}"
            shapes = {label: _shapes(part.isel(norm_layer=layer))}
            panels.append(
                Panel(title, "step", "activation", f"activations of layer {layer + 1}", shapes=shapes, share=f"{layer}")
            )
    return style.draw(panels, columns or len(layers), height=1.6)


def _shapes(part: xr.Dataset) -> list[Shape]:
    shapes = []
    for step, counts, (low, high) in zip(
        part.histogram_step.values, part.histogram.values, part.histogram_range.values
    ):
        if 0 < counts.sum() < FEW and len(counts) % 4 == 0:
            counts = counts.reshape(-1, 4).sum(1)
        shapes.append(Shape(int(step), counts, np.linspace(low, high, len(counts) + 1)))
    return shapes


@style.of_curves
def moments(curves: Curves, columns: int = 2) -> Drawn:
    """Change of mean and variance of activations between successive steps (Figure 8): median over layers and units."""
    curves = style.curves_of(curves)
    panels = []
    for moment, what, unit in (("mean", "mean", "the deviation"), ("var", "variance", "itself")):
        series = []
        for label, curve in curves.items():
            change = measures.moment_change(curve, moment)
            count = change.shape[1]
            x = curve.moments_step.values[0 : 2 * count : 2]
            typical = np.median(change.reshape(*change.shape[:2], -1), -1)
            window = max(1, count // 40)
            kept = count // window * window
            rows = np.median(typical[:, :kept].reshape(len(typical), -1, window), -1)
            series.append(Series(label, x[:kept:window], rows))
        title = f"{what}, in units of {unit}"
        panels.append(
            Panel(title, "step", "change to the next step", f"change of the {what}", series, log=True, share="change")
        )
    return style.draw(panels, columns, height=2.8)
