"""Figures that the paper does not have: controls, mistakes, settings, accuracies and benchmarks."""

from __future__ import annotations

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lib import drawing, measures
from lib.drawing import Curves
from lib.records import from_canonical


def late_accuracies(axes: Axes, curves: Curves, norm: str) -> np.ndarray:
    """Draw one network's late training accuracy against a setting, whose values [n] are returned; a cross is a seed that diverged."""
    values, accuracy = measures.settings(curves, norm)
    drawing.lines(axes, values, accuracy.T, norm)
    lost = np.stack([~np.isfinite(curves[f"{norm}, {value:g}"].accuracy.isel(step=-1).values) for value in values])
    for marker, size, which in (("o", 4, ~lost), ("x", 7, lost)):
        axes.plot(values, np.where(which, accuracy, np.nan), marker, ms=size, color=drawing.COLOURS[norm])
    return values


def settings(curves: Curves, axis: str) -> Figure:
    """Late training accuracy against a setting, with and without BatchNorm; labels are "norm, value"."""
    figure, ((axes,),) = drawing.figure(1, 1, 6.5, 3.2)
    for norm in ("none", "batchnorm"):
        drawing.ticks(axes, late_accuracies(axes, curves, norm))
    axes.axhline(measures.CHANCE, color="black", lw=0.8, ls=":")
    drawing.label(axes, "", axis, "late training accuracy")
    drawing.legend(figure, axes)
    return figure


def widths(curves: Curves) -> Figure:
    """What is measured along the gradient, without BatchNorm over with it, and accuracy and covariate shift of both, against the width of VGG.

    Ratios are medians over training, one point a seed and their geometric mean; panel (d) has the median over seeds step by step.
    """
    figure, grid = drawing.figure(2, 3, 8.8, 2.6)
    values = measures.values_of(curves, "none")
    pairs = [(f"none, {width:g}", f"batchnorm, {width:g}") for width in values]
    for axes, letter, quantity in zip(grid[0], "abc", ("loss band", "gradient change", "effective smoothness")):
        ratios = np.stack([measures.log_ratio(quantity, *pair)(curves) for pair in pairs], 1)
        axes.plot(values, 10**ratios.T, "o", ms=4, alpha=0.5, color="black")
        axes.plot(values, 10 ** ratios.mean(0), lw=1.8, color="black")
        drawing.label(axes, f"({letter}) {quantity}", "width", "", log=True)
    grid[0, 0].set_ylabel("none / BatchNorm")
    d, e, f = grid[1]
    for pair, width, shade in zip(pairs, values, np.linspace(0.75, 0, len(pairs))):
        ratio = measures.log_of_ratio(*(measures.grad_change(curves[label]) for label in pair)).median("seed")
        d.plot(ratio.landscape_step, 10**ratio, lw=1.4, color=str(shade), label=f"width {width:g}")
    d.legend(fontsize=7, frameon=False)
    drawing.label(d, "(d) gradient change", "step", "none / BatchNorm", log=True)
    for axes in (*grid[0], d):
        axes.axhline(1, color="black", lw=0.8, ls=":")
    for place, norm in enumerate(("none", "batchnorm")):
        late_accuracies(e, curves, norm)
        cosines = np.stack([measures.shift("shift_cosine", pair[place])(curves) for pair in pairs], 1)
        drawing.lines(f, values, cosines, norm)
    drawing.label(e, "(e) late training accuracy", "width", "")
    drawing.label(f, "(f) cosine of $G$ and $G'$", "width", "")
    for axes in (*grid[0], e, f):
        drawing.ticks(axes, values)
    drawing.legend(figure, f)
    return figure


def envelope(curves: Curves) -> Figure:
    """Lowest and highest training loss over runs at several step sizes, at the same step: not a landscape."""
    figure, row = drawing.figure(1, 2, 9.0, 3.1)
    for axes, norm in zip(row[0], ("none", "batchnorm")):
        runs = [curves[f"{norm}, {size:g}"] for size in measures.settings(curves, norm)[0] if size <= 0.3]
        smoothed = [drawing.smooth(run.loss, "step", run.sizes["step"] // 60) for run in runs]
        middle = [np.median(loss, 0) for _, loss in smoothed]
        axes.fill_between(smoothed[0][0], np.min(middle, 0), np.max(middle, 0), alpha=0.35, color=drawing.COLOURS[norm], lw=0)
        drawing.label(axes, drawing.NAMES[norm], "step", "training loss", log=True)
    low = min(axes.get_ylim()[0] for axes in row[0])
    high = max(axes.get_ylim()[1] for axes in row[0])
    for axes in row[0]:
        axes.set_ylim(low, high)
    return figure


#: Title, array, and the array of the norm of the gradient that it is relative to.
_PANELS = (
    ("as the paper defines it", "grad_change", "grad_norm"),
    ("control: a random direction", "control_random_change", "grad_norm"),
    ("control: the next batch", "control_fresh_change", "control_fresh_norm"),
    ("control: frozen mean and variance", "control_frozen_change", "grad_norm"),
    ("mistake: evaluation mode", "control_evaluation_change", "control_evaluation_norm"),
    ("mistake: gradients add up", "control_accumulated_change", "grad_norm"),
    ("mistake: from step to step", "control_step_change", "grad_norm"),
)  # fmt: skip


def relative(curve: xr.Dataset, change: str, norm: str) -> np.ndarray:
    """A gradient's largest change over the step lengths, relative to its norm: [seed, control step]."""
    steps = curve.control_step.values
    size, moved = (
        curve[name].rename(landscape_step="control_step").sel(control_step=steps) if "landscape_step" in curve[name].dims else curve[name]
        for name in (norm, change)
    )  # fmt: skip
    if "step_length" in moved.dims:
        moved = moved.max("step_length", skipna=False)
    return (moved / size).transpose("seed", "control_step").values


def controls(curves: Curves) -> Figure:
    """The gradient's largest change relative to its norm, as it should be measured, in controls and by mistake; and the Hessian."""
    figure, grid = drawing.figure(4, 2, 8.5, 2.1)
    panels = grid.ravel()
    for label, curve in curves.items():
        steps = curve.control_step.values
        for axes, (title, change, norm) in zip(panels, _PANELS):
            drawing.lines(axes, steps, relative(curve, change, norm), label, log=True)
            drawing.label(axes, title, "", "", log=True)
        step_size = from_canonical(curve.attrs["spec"]).step_size
        product = curve.control_top_eigenvalue.transpose("seed", "control_step").values * step_size
        drawing.lines(panels[-1], steps, np.where(product > 0, product, np.nan), label, log=True)
    drawing.label(panels[-1], "largest Hessian eigenvalue times step size", "", "", log=True)
    panels[-1].axhline(2, color="black", lw=0.8, ls=":")
    ends = [axes.get_ylim() for axes in panels[:-1]]
    for axes in panels[:-1]:
        axes.set_ylim(min(low for low, _ in ends), max(high for _, high in ends))
    for axes in grid[-1]:
        axes.set_xlabel("step")
    for axes in grid[:, 0]:
        axes.set_ylabel("change / |gradient|")
    drawing.legend(figure, panels[0])
    return figure


_LINES = {"float32": "-", "tf32": "-.", "bfloat16": "--"}


def precision(curves: Curves) -> Figure:
    """Relative error of loss change, gradient change and beta against float64, median over step lengths."""
    figure, row = drawing.figure(1, 3, 8.8, 3.0)
    titles = (("loss_change", "change of the loss"), ("grad_change", "change of the gradient"), ("beta", "effective smoothness"))
    for axes, (name, title) in zip(row[0], titles):
        for label, curve in curves.items():
            for precision, line in _LINES.items():
                error = curve[f"error_{name}"].sel(precision=precision).median("step_length")
                rows = error.transpose("seed", "precision_step").values
                axes.plot(curve.precision_step, rows.T, color=drawing.COLOURS[label], ls=line, lw=0.7, alpha=0.4)
                axes.plot(
                    curve.precision_step, np.median(rows, 0), color=drawing.COLOURS[label], ls=line, lw=1.8,
                    label=f"{drawing.NAMES[label]}, {precision}",
                )  # fmt: skip
        drawing.label(axes, title, "step", "relative error", log=True)
    drawing.legend(figure, row[0, 0])
    return figure


def accuracy(curves: Curves) -> Figure:
    """Test accuracy over training, on a sample of the test images but for the last point, which is on all."""
    figure, ((axes,),) = drawing.figure(1, 1, 6.5, 3.4)
    for label, curve in curves.items():
        drawing.lines(axes, curve.eval_step.values, curve.test_accuracy.transpose("seed", "eval_step").values, label)
    drawing.label(axes, "", "step", "test accuracy")
    drawing.legend(figure, axes, 2)
    return figure


def growth(rows: list[dict]) -> Figure:
    """Cost against each axis of a benchmark (`lib.bench.growth`), both logarithmic; dotted lines are proportional."""
    axes_ = list(dict.fromkeys(row["axis"] for row in rows))
    columns = 2
    figure, grid = drawing.figure(-(-len(axes_) // columns), columns, 8.5, 2.4)
    what = list(dict.fromkeys(row["what"] for row in rows))
    colours = dict(zip(what, list(drawing.COLOURS.values())))
    for panel, axis in zip(grid.ravel(), axes_):
        for name in what:
            part = [row for row in rows if row["axis"] == axis and row["what"] == name]
            if not part:
                continue
            x, y = (np.array([row[key] for row in part], float) for key in ("value", "milliseconds"))
            panel.plot(x, y, "o-", ms=4, color=colours[name])
            panel.plot(x, y[-1] * x / x[-1], ":", color=colours[name], lw=0.8)
        drawing.label(panel, axis.replace("_", " "), "", "", log=True)
        drawing.ticks(panel, np.array(sorted({row["value"] for row in rows if row["axis"] == axis})))
    for panel in grid.ravel()[len(axes_) :]:
        panel.set_visible(False)
    for panel in grid[:, 0]:
        panel.set_ylabel("milliseconds")
    handles = [grid[0, 0].plot([], [], "o-", ms=4, color=colour, label=name)[0] for name, colour in colours.items()]
    figure.legend(handles=handles, loc="outside lower center", ncols=2, frameon=False)
    return figure
