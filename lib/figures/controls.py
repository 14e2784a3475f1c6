"""The landscape probe in other ways, on purpose and by mistake, and its errors."""

from __future__ import annotations

import numpy as np
import xarray as xr

from lib.figures import style
from lib.figures.style import Curves, Drawn, Panel, Series
from lib.paper import measures

#: Title, the same in a sentence, array, and the array of the norm of the gradient that it is relative to.
_PANELS = (
    ("as the paper defines it", "as the paper defines it", "grad_change", "grad_norm"),
    ("control: a random direction", "in a random direction", "control_random_change", "grad_norm"),
    ("control: the next batch", "on the next batch", "control_fresh_change", "control_fresh_norm"),
    ("control: frozen mean and variance", "with moments frozen", "control_frozen_change", "grad_norm"),
    ("mistake: evaluation mode", "in evaluation mode", "control_evaluation_change", "control_evaluation_norm"),
    ("mistake: gradients add up", "where gradients add up", "control_accumulated_change", "grad_norm"),
    ("mistake: from step to step", "from step to step", "control_step_change", "grad_norm"),
)


def relative(curve: xr.Dataset, change: str, norm: str) -> np.ndarray:
    """A gradient's largest change over the step lengths, relative to its norm: [seed, control step]."""
    steps = curve.control_step.values
    size, moved = (
        curve[name].rename(landscape_step="control_step").sel(control_step=steps)
        if "landscape_step" in curve[name].dims
        else curve[name]
        for name in (norm, change)
    )
    if "step_length" in moved.dims:
        moved = moved.max("step_length", skipna=False)
    return (moved / size).transpose("seed", "control_step").values


@style.of_curves
def controls(curves: Curves, columns: int = 2) -> Drawn:
    """The gradient's largest change relative to its norm, measured rightly, in controls and by mistake.

    A last panel has the Hessian's largest eigenvalue.
    """
    curves = style.curves_of(curves)
    panels = []
    for title, where, change, norm in _PANELS:
        series = [
            Series(label, curve.control_step.values, relative(curve, change, norm)) for label, curve in curves.items()
        ]
        what = "change of the gradient over its norm"
        panels.append(Panel(title, "step", "change / |gradient|", what, series, log=True, share="change", where=where))
    products = []
    for label, curve in curves.items():
        product = style.rows_of(curve.control_top_eigenvalue) * measures.step_size(curve)
        products.append(Series(label, curve.control_step.values, np.where(product > 0, product, np.nan)))
    panels.append(
        Panel(
            "sharpness",
            "step",
            "top eigenvalue\n$\\times$ step size",
            "largest Hessian eigenvalue times step size",
            products,
            log=True,
            level=2,
            level_name="2, the edge of stability",
        )
    )
    return style.draw(panels, columns, height=2.0)


@style.of_curves
def precision(curves: Curves, columns: int = 3) -> Drawn:
    """Relative error of loss change, gradient change and beta against float64, median over step lengths."""
    curves = style.curves_of(curves)
    titles = (
        ("loss_change", "change of the loss"),
        ("grad_change", "change of the gradient"),
        ("beta", "effective smoothness"),
    )
    panels = []
    for name, title in titles:
        series = []
        for label, curve in curves.items():
            for kind in curve.precision.values:
                error = curve[f"error_{name}"].sel(precision=kind).median("step_length")
                series.append(
                    Series(label._replace(setting=str(kind)), curve.precision_step.values, style.rows_of(error))
                )
        panels.append(Panel(title, "step", "relative error", f"error of the {title}", series, log=True, share="error"))
    return style.draw(panels, columns, height=2.8)
