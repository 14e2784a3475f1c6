"""Accuracy and loss over training."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import xarray as xr

from lib.figures import style
from lib.figures.style import Curves, Drawn, Panel, Series
from lib.paper import measures
from lib.paper.labels import Label


def _over_steps(curves: Mapping[Label, xr.Dataset], name: str) -> list[Series]:
    return [Series(label, *style.smooth(curve[name], "step")) for label, curve in curves.items()]


def _tested(curves: Mapping[Label, xr.Dataset]) -> list[Series]:
    return [
        Series(label, curve.eval_step.values, style.rows_of(curve.test_accuracy)) for label, curve in curves.items()
    ]


@style.of_curves
def training(curves: Curves, columns: int = 2, setting: str = "step size") -> Drawn:
    """Training and test accuracy against steps (Figures 1a, 1b); `setting` says what the value of a label is."""
    curves = style.curves_of(curves)
    epoch = style.epoch(curves)
    panels = [
        Panel(
            "(a) training",
            "step",
            "accuracy on the batches",
            "training accuracy",
            _over_steps(curves, "accuracy"),
            epoch=epoch,
            share="accuracy",
        ),
        Panel("(b) test", "step", "test accuracy", "test accuracy", _tested(curves), epoch=epoch, share="accuracy"),
    ]
    return style.draw(panels, columns, setting, height=3.0, legend_columns=2)


@style.of_curves
def accuracies(curves: Curves, setting: str = "step size") -> Drawn:
    """Training accuracy against steps (Figures 2, 5 and 12a)."""
    curves = style.curves_of(curves)
    series = _over_steps(curves, "accuracy")
    panel = Panel("", "step", "accuracy on the batches", "training accuracy", series, epoch=style.epoch(curves))
    return style.draw([panel], 1, setting, height=3.3)


@style.of_curves
def losses(curves: Curves, setting: str = "step size") -> Drawn:
    """Training loss against steps, logarithmic (Figures 5 and 13a)."""
    curves = style.curves_of(curves)
    series = _over_steps(curves, "loss")
    panel = Panel("", "step", "training loss", "training loss", series, log=True, epoch=style.epoch(curves))
    return style.draw([panel], 1, setting, height=3.3)


@style.of_curves
def accuracy(curves: Curves) -> Drawn:
    """Test accuracy over training, on a sample of the test images but for the last point, which is on all."""
    panel = Panel("", "step", "test accuracy", "test accuracy", _tested(style.curves_of(curves)))
    return style.draw([panel], 1, height=3.2, legend_columns=2)


@style.of_curves
def phases(curves: Curves, columns: int = 2) -> Drawn:
    """The training loss, and the share of its fall that is over, which tells training's phases (`measures.PHASES`)."""
    curves = style.curves_of(curves)
    shares = [
        Series(label, *style.smooth(measures.progress(curve).assign_coords(step=curve.step), "step"))
        for label, curve in curves.items()
    ]
    spans = [(*measures.PHASES[phase], phase) for phase in ("plateau", "falling", "settled")]
    epoch = style.epoch(curves)
    panels = [
        Panel("(a) training loss", "step", "loss", "training loss", _over_steps(curves, "loss"), log=True, epoch=epoch),
        Panel(
            "(b) phases of training",
            "step",
            "share of the loss's whole fall",
            "share of the loss's fall",
            shares,
            limits=(-0.05, 1.12),
            spans=spans,
        ),
    ]
    return style.draw(panels, columns, height=3.0)


@style.of_curves
def envelope(curves: Curves, columns: int = 2, largest: float = 0.3) -> Drawn:
    """Lowest and highest training loss at the same step over runs at step sizes up to `largest`: not a landscape.

    Both are of the runs' medians over seeds.
    """
    curves = style.curves_of(curves)
    panels = []
    for norm in dict.fromkeys(label.norm for label in curves):
        runs = [curve for label, curve in curves.items() if label.norm == norm and label.setting <= largest]
        smoothed = [style.smooth(run.loss, "step") for run in runs]
        middle = [np.median(loss, 0) for _, loss in smoothed]
        label = Label(norm)
        band = Series(label, smoothed[0][0], low=np.min(middle, 0), high=np.max(middle, 0))
        title = style.name(label)
        panels.append(Panel(title, "step", "training loss", "range of training losses", [band], log=True, share="loss"))
    return style.draw(panels, columns)
