"""What depends on a setting: noise, step size, initial weights, width, depth; and what measuring costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import xarray as xr

from lib.figures import style
from lib.figures.style import Curves, Drawn, Panel, Series
from lib.paper import measures, results
from lib.paper.labels import Label


def _norms(curves: Mapping[Label, xr.Dataset]) -> list[str]:
    return list(dict.fromkeys(label.norm for label in curves))


def _late_accuracies(curves: Mapping[Label, xr.Dataset]) -> list[Series]:
    """Late training accuracy of each network against the setting in its labels."""
    found = []
    for norm in _norms(curves):
        values, accuracy = measures.settings(curves, norm)
        ends = [curves[Label(norm, value)].accuracy.isel(step=-1).values for value in values]
        found.append(Series(Label(norm), values, accuracy.T, lost=~np.isfinite(np.stack(ends, 1))))
    return found


@style.of_curves
def settings(curves: Curves, axis: str) -> Drawn:
    """Late training accuracy against a setting, with and without BatchNorm; labels have its value as theirs.

    A cross is a seed that diverged. The axis is logarithmic unless the setting is 0 somewhere.
    """
    series = _late_accuracies(style.curves_of(curves))
    values = series[0].x
    panel = Panel(
        "",
        axis,
        "late training accuracy",
        "late training accuracy",
        series,
        log_x=bool(values.min() > 0),
        ticks=values,
        level=measures.CHANCE,
        level_name="chance",
    )
    return style.draw([panel], 1)


@style.of_curves
def noise_strength(curves: Curves) -> Drawn:
    """Late training accuracy against the strength of Algorithm 1's noise."""
    return settings(curves, "noise strength (1 is the paper's)")


@style.of_curves
def step_sizes(curves: Curves, columns: int = 3) -> Drawn:
    """Deep linear networks against the step size: verdicts of Figures 3 and 10 on one axis.

    Each point is a seed's median over training: cosine of G and G', largest beta times step size, loss variation. A
    cross is a seed that diverged; its median is over the steps before. Values above an axis sit on its upper edge.
    """
    curves = style.curves_of(curves)
    kinds = (
        ("cosine of $G$ and $G'$", "cosine", "cosine of G and G'", False, 1.0, None, _cosine),
        ("edge of stability", "$\\beta \\times$ step size", "smoothness times step size", True, 1e2, 2, _product),
        ("loss variation", "highest - lowest loss", "loss variation", True, 1e8, None, _band),
    )
    panels = []
    for title, y, what, log, top, level, measure in kinds:
        series = []
        for norm in _norms(curves):
            group = {label: curve for label, curve in curves.items() if label.norm == norm}
            sizes = np.array([measures.step_size(curve) for curve in group.values()])
            rows = np.minimum(np.stack([measure(curve).values for curve in group.values()], 1), top)
            lost = np.stack([~np.isfinite(curve.loss.isel(step=-1).values) for curve in group.values()], 1)
            series.append(Series(Label(norm), sizes, rows, lost=lost))
        panels.append(Panel(title, "step size", y, what, series, log, True, level, "2" if level else ""))
    return style.draw(panels, columns, height=2.8)


def _cosine(curve: xr.Dataset) -> xr.DataArray:
    return curve.shift_cosine.isel(layer=slice(1, None)).median(("shift_step", "layer"))


def _product(curve: xr.Dataset) -> xr.DataArray:
    return measures.smoothness(curve).median("landscape_step") * measures.step_size(curve)


def _band(curve: xr.Dataset) -> xr.DataArray:
    return measures.loss_band(curve).median("landscape_step")


@style.of_curves
def widths(curves: Curves, columns: int = 3) -> Drawn:
    """VGG of several widths: ratios along the gradient, and both networks' accuracy and covariate shift.

    The ratios are without BatchNorm over with it, medians over training, a point a seed; panel (d) has the median over
    seeds step by step.
    """
    curves = style.curves_of(curves)
    values = measures.values_of(curves, "none")
    pairs = [(Label("none", width), Label("batchnorm", width)) for width in values]
    against = {"log_x": True, "ticks": values}
    equal = {"log": True, "level": 1, "level_name": "equal"}
    ratio = Label("ratio")
    panels = []
    for letter, quantity in zip("abc", ("loss band", "gradient change", "effective smoothness")):
        rows = 10 ** np.stack([measures.log_ratio(curves, quantity, *pair) for pair in pairs], 1)
        series = [Series(ratio, values, rows, lost=np.zeros(rows.shape, bool))]
        panels.append(
            Panel(
                f"({letter}) {_WORDS[quantity]}",
                "width",
                _RATIO,
                f"{_WORDS[quantity]} {_OVER}",
                series,
                **against,
                **equal,
            )
        )
    over_steps = [
        _ratio_over_steps(curves, "gradient change", *pair, Label("ratio", f"width {width:g}"))
        for pair, width in zip(pairs, values)
    ]
    cosines = [
        Series(
            Label(norm),
            values,
            np.stack([measures.shift(curves, pair[place]) for pair in pairs], 1),
        )
        for place, norm in enumerate(("none", "batchnorm"))
    ]
    panels += [
        Panel("(d) gradient change", "step", _RATIO, f"gradient change {_OVER}, over training", over_steps, **equal),
        Panel("(e) accuracy", "width", "late training accuracy", "late accuracy", _late_accuracies(curves), **against),
        Panel("(f) covariate shift", "width", "cosine of $G$ and $G'$", "cosine of G and G'", cosines, **against),
    ]
    return style.draw(panels, columns, height=2.3)


_RATIO = "without / with\nBatchNorm"
_OVER = "without BatchNorm over that with it"
_WORDS = {
    "loss band": "loss variation",
    "gradient change": "gradient change",
    "effective smoothness": "effective smoothness",
}


def _ratio_over_steps(
    curves: Mapping[Label, xr.Dataset], quantity: str, one: Label, other: Label, label: Label
) -> Series:
    """A quantity of `one` over that of `other` at each probed step, for the seeds that both have.

    Divergence counts as in the claims.
    """
    pair = results.common_seeds(curves, (one, other)).values()
    ratio = measures.log_of_ratio(*(measures.QUANTITIES[quantity](curve) for curve in pair))
    return Series(label, ratio.landscape_step.values, 10 ** style.rows_of(ratio))


@style.of_curves
def depths(curves: Curves, columns: int | None = None) -> Drawn:
    """VGG of several depths, a column each: training accuracy, and ratios of loss variation and gradient change.

    Ratios are without BatchNorm over with it. Labels have the number of layers as their setting. Nothing is smoothed in
    the ratios, so that single steps at which a network is very rough are seen. A depth of which one of the two networks
    is not recorded has no ratios.
    """
    curves = style.curves_of(curves)
    layers = sorted({label.setting for label in curves})
    accuracy, loss, change = [], [], []
    for depth in layers:
        group = {Label(label.norm): curve for label, curve in curves.items() if label.setting == depth}
        epoch = style.epoch(group)
        series = [Series(label, *style.smooth(curve.accuracy, "step")) for label, curve in group.items()]
        where = f"with {depth:g} layers"
        accuracy.append(
            Panel(
                f"{depth:g} layers",
                "step",
                "training accuracy",
                "training accuracy",
                series,
                epoch=epoch,
                share="accuracy",
                where=where,
            )
        )
        pair = (Label("none"), Label("batchnorm"))
        for panels, quantity in ((loss, "loss band"), (change, "gradient change")):
            ratio = (
                [_ratio_over_steps(group, quantity, *pair, Label("ratio"))] if results.common_seeds(group, pair) else []
            )
            panels.append(
                Panel(
                    _WORDS[quantity],
                    "step",
                    _RATIO,
                    f"{_WORDS[quantity]} {_OVER}",
                    ratio,
                    log=True,
                    level=1,
                    level_name="equal",
                    share=quantity,
                    where=where,
                )
            )
    return style.draw([*accuracy, *loss, *change], columns or len(layers), height=2.2, legend_columns=4)


def growth(rows: Sequence[dict], columns: int = 2) -> Drawn:
    """Cost against each axis of a benchmark (`lib.bench.growth`), both logarithmic."""
    panels = []
    for axis in dict.fromkeys(row["axis"] for row in rows):
        series = []
        for what in dict.fromkeys(row["what"] for row in rows):
            part = sorted(
                (row["value"], row["milliseconds"]) for row in rows if row["axis"] == axis and row["what"] == what
            )
            if part:
                x, y = np.array(part, float).T
                series.append(Series(Label(what), x, y[None]))
        title = axis.replace("_", " ")
        ticks = np.unique(np.concatenate([one.x for one in series]))
        panels.append(
            Panel(
                title,
                title,
                "milliseconds",
                "milliseconds",
                series,
                log=True,
                log_x=True,
                ticks=ticks,
                where=f"by {title}",
            )
        )
    return style.draw(panels, columns, height=2.2, legend_columns=2)
