"""The loss landscape along the gradient."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import xarray as xr

from lib.figures import style
from lib.figures.style import Curves, Drawn, Panel, Series
from lib.paper import measures


@style.of_curves
def landscape(curves: Curves, columns: int = 3, setting: str = "step size") -> Drawn:
    """Loss, gradient change and effective smoothness along the gradient (Figures 4, 10, 12, 13).

    Bands run from the lowest to the highest value over all step lengths (median over seeds). With more than
    `style.MOST_BANDS` networks their widths and the largest changes are drawn instead, with seeds. The third panel is
    the largest effective smoothness; its axis keeps to the medians over seeds: single ones can be astronomically rough.

        >>> from lib.probes import measure
        >>> x, y = torch.ones(4, 3), torch.zeros(4, 2)
        >>> found = measure(nn.Linear(3, 2), nn.functional.mse_loss, (x, y), step_size=0.1)
        >>> [panel.what for panel in landscape({"mine": found}).panels]
        ['loss variation', 'gradient change', 'effective smoothness']
    """
    curves = style.curves_of(curves)
    bands = len(curves) <= style.MOST_BANDS
    loss, change, beta = [], [], []
    for label, curve in curves.items():
        steps = curve.landscape_step.values
        if bands:
            for series, name in ((loss, "landscape_loss"), (change, "grad_change")):
                ends = [getattr(curve[name], end)("step_length").median("seed").values for end in ("min", "max")]
                series.append(Series(label, steps, low=ends[0], high=ends[1]))
        else:
            loss.append(Series(label, steps, style.rows_of(measures.loss_band(curve))))
            change.append(Series(label, steps, style.rows_of(measures.grad_change(curve))))
        beta.append(Series(label, steps, style.rows_of(smoothness(curve))))
    lengths = next(iter(curves.values())).step_length.values
    reach = f"{lengths[0]:g} to {lengths[-1]:g} step sizes"
    epoch = style.epoch(curves)
    titles = ("(a) loss, " + reach, "loss") if bands else ("(a) loss variation, " + reach, "highest - lowest loss")
    panels = [
        Panel(titles[0], "step", titles[1], "loss variation", loss, log=True, epoch=epoch),
        Panel(
            "(b) change of the gradient", "step", "$\\ell_2$ distance", "gradient change", change, log=True, epoch=epoch
        ),
        Panel(
            "(c) effective $\\beta$-smoothness",
            "step",
            "largest $\\beta$ (1 / step size)",
            "effective smoothness",
            beta,
            log=True,
            epoch=epoch,
            room=100,
        ),
    ]
    return style.draw(panels, columns, setting, height=3.0, legend_columns=5)


def smoothness(curve: xr.Dataset) -> xr.DataArray:
    """Largest effective smoothness over the step lengths; the step size is that of `measures.step_size`."""
    return measures.smoothness(curve)


@style.of_curves
def edge(curves: Curves, setting: str = "step size") -> Drawn:
    """Largest effective smoothness times step size over training; gradient descent on a quadratic is stable below 2.

    Where the largest eigenvalue of the Hessian was measured, too (`probes.measure`), it is drawn beside it.
    """
    curves = style.curves_of(curves)
    series = []
    for label, curve in curves.items():
        product = smoothness(curve) * measures.step_size(curve)
        series.append(Series(label, curve.landscape_step.values, style.rows_of(product)))
        if "top_eigenvalue" in curve:
            sizes = curve.step_size.sel(step=curve.sharpness_step.values).values
            product = style.rows_of(curve.top_eigenvalue) * sizes
            label = label._replace(setting="largest Hessian eigenvalue")
            series.append(Series(label, curve.sharpness_step.values, np.where(product > 0, product, np.nan)))
    panel = Panel(
        "",
        "step",
        "largest $\\beta \\times$ step size",
        "effective smoothness times step size",
        series,
        log=True,
        level=2,
        level_name="2, the edge of stability",
        epoch=style.epoch(curves),
        room=100,
    )
    return style.draw([panel], 1, setting, height=3.3)


@style.of_curves
def predictiveness(curves: Curves, moments: Iterable[float] = (0.1, 0.5, 0.9), columns: int = 3) -> Drawn:
    """Change of the gradient against the distance moved, at some shares of training (Figure 11)."""
    curves = style.curves_of(curves)
    panels = []
    for moment in moments:
        series = []
        for label, curve in curves.items():
            at = int(moment * (curve.sizes["landscape_step"] - 1))
            rows = style.rows_of(curve.grad_change.isel(landscape_step=at))
            size = measures.step_size(curve)
            size = size if isinstance(size, float) else float(size.isel(landscape_step=at).median())
            series.append(Series(label, curve.step_length.values * size, rows))
            step = int(curve.landscape_step[at])
        panels.append(
            Panel(
                f"step {step}",
                "distance / |gradient|",
                "$\\ell_2$ change of the gradient",
                "change of the gradient",
                series,
                log=True,
                log_x=True,
                share="change",
                where=f"at step {step}",
            )
        )
    return style.draw(panels, columns, "step size", height=2.8, legend_columns=2)


@style.of_curves
def smooth_and_fast(curves: Curves, setting: str = "layers") -> Drawn:
    """Each seed of each network: mean training accuracy, higher for a fast network, against effective smoothness.

    The smoothness is the median over the part of training after the plateau, or over all of it for a network that never
    leaves it (see `measures.smoothness_predicts_training`). Rough is right, fast is up.
    """
    curves = style.curves_of(curves)
    series = []
    for label, curve in curves.items():
        rough = np.log10(smoothness(curve))
        trained = measures.in_phase(rough, "landscape_step", curve, "trained").median("landscape_step")
        x = 10 ** trained.fillna(rough.median("landscape_step")).values
        speed = curve.accuracy.fillna(measures.CHANCE).mean("step").values
        order = np.argsort(x)
        rows = np.where(np.eye(len(x), dtype=bool), speed[order], np.nan)
        series.append(Series(label, x[order], rows, points=True))
    panel = Panel(
        "",
        "effective smoothness after the plateau\n(1 / step size); rougher to the right",
        "mean training accuracy",
        "mean training accuracy",
        series,
        log_x=True,
    )
    return style.draw([panel], 1, setting, height=3.3)
