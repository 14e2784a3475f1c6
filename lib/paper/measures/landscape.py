"""The landscape along the gradient, gradients, and the landscape probed in other ways (Figures 4 and 10 to 13)."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import xarray as xr

from lib.paper.labels import Label
from lib.paper.measures.curves import CHANCE, QUANTITIES, Curves, log_of_ratio, log_ratios, smoothness, step_size
from lib.paper.measures.phases import at_equal_loss, in_phase
from lib.specs import spec_of


def log_ratio(curves: Curves, quantity: str, one: Label, other: Label, part: slice = slice(None)) -> np.ndarray:
    """log10 of quantity(one) / quantity(other): median over the probed steps, or over a part of them."""
    return log_ratios(curves, quantity, one, other).isel(landscape_step=part).median("landscape_step").values


def log_ratio_in(
    curves: Curves, phase: str, quantity: str, one: Label, other: Label, of: Label | None = None
) -> np.ndarray:
    """`log_ratio` over the steps at which network `of` (`one` by default) is in a phase; NaN for seeds without any."""
    ratio = log_ratios(curves, quantity, one, other)
    return in_phase(ratio, "landscape_step", curves[of or one], phase).median("landscape_step").values


def log_ratio_at_equal_loss(curves: Curves, quantity: str, one: Label, other: Label, bins: int = 12) -> np.ndarray:
    """log10 of quantity(one) / quantity(other) where both have the same training loss instead of the same step.

    The median over losses (see `at_equal_loss`); NaN where there is none that both have.
    """
    pair = curves[one], curves[other]
    found = at_equal_loss(*(QUANTITIES[quantity](curve) for curve in pair), pair, bins)
    return np.array([np.median(np.log10(pairs[:, 0] / pairs[:, 1])) if len(pairs) else np.nan for pairs in found])


def log_ratio_in_first_third(curves: Curves, quantity: str, one: Label, other: Label) -> np.ndarray:
    """`log_ratio` over the first third of the probed steps."""
    return log_ratio(curves, quantity, one, other, slice(0, -(-curves[one].sizes["landscape_step"] // 3)))


def early_over_late(curves: Curves, quantity: str, one: Label, other: Label) -> np.ndarray:
    """log10 of quantity(one) / quantity(other) in the first third of the probed steps, minus that in the last."""
    third = -(-curves[one].sizes["landscape_step"] // 3)
    first, last = (log_ratio(curves, quantity, one, other, part) for part in (slice(0, third), slice(-third, None)))
    return first - last


def at_start(curves: Curves, quantity: str, one: Label, other: Label) -> np.ndarray:
    """log10 of quantity(one) / quantity(other) at the first step."""
    return log_ratios(curves, quantity, one, other).isel(landscape_step=0).values


def share_above(curves: Curves, factor: float, quantity: str, one: Label, other: Label) -> np.ndarray:
    """Share of probed steps after `one` leaves its plateau at which quantity(one) > `factor` times quantity(other)."""
    known = in_phase(log_ratios(curves, quantity, one, other), "landscape_step", curves[one], "trained")
    return (known > math.log10(factor)).where(known.notnull()).mean("landscape_step").values


def change_ratio_at_distance(curves: Curves, one: Label, other: Label) -> np.ndarray:
    """log10 ratio of the gradient's changes at the farthest distance both were probed at: median over steps."""
    order = ("seed", "landscape_step", "step_length")
    changes, distances = [], []
    for curve in (curves[one], curves[other]):
        step_size = spec_of(curve).step_size
        changes.append(curve.grad_change.transpose(*order).values)
        distances.append((curve.step_length * step_size * curve.grad_norm).transpose(*order).values)
    reach = np.minimum(distances[0][..., -1], distances[1][..., -1])
    there = [np.full(reach.shape, np.nan) for _ in changes]
    for at in np.ndindex(*reach.shape):
        for values, distance, change in zip(there, distances, changes):
            values[at] = np.interp(reach[at], [0, *distance[at]], [0, *change[at]])
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.log10(there[0] / there[1])
    return np.nanmedian(np.where(np.isfinite(ratio), ratio, np.nan), 1)


def farther(curves: Curves, one: Label, other: Label, near: float) -> np.ndarray:
    """log10 ratio of effective smoothness: `one` up to `near` step sizes, `other` to its farthest; median over steps.

    NaN where `other` was not probed farther than that: two runs at different step sizes do not answer this.
    """
    lengths = curves[other].step_length.values
    if lengths.max() <= near:
        return np.full(curves[other].sizes["seed"], np.nan)
    within = curves[one].isel(step_length=curves[one].step_length.values <= near)
    return log_of_ratio(smoothness(within), smoothness(curves[other])).median("landscape_step").values


def edge(curves: Curves, one: Label, phase: str = "trained") -> np.ndarray:
    """log10 of effective smoothness times step size: median over a phase of the network's own training.

    2 is the edge of stability.
    """
    curve = curves[one]
    product = smoothness(curve) * step_size(curve)
    return np.log10(in_phase(product, "landscape_step", curve, phase)).median("landscape_step").values


def follows(curves: Curves, small: Label, large: Label, part: float = 1 / 4) -> np.ndarray:
    """How far effective smoothness follows a step size that two runs, equal till then, end with.

    The logarithm of its ratio, small over large step size, in that of the step sizes: 1 where smoothness is inverse to
    the step size, 0 where it knows nothing of it. Median over the last part of training.
    """
    ratio = log_ratios(curves, "effective smoothness", small, large)
    last = math.ceil(ratio.sizes["landscape_step"] * part)
    sizes = [float(step_size(curves[label]).isel(landscape_step=-1)) for label in (small, large)]
    return ratio.isel(landscape_step=slice(-last, None)).median("landscape_step").values / math.log10(
        sizes[1] / sizes[0]
    )


def smoothness_predicts_training(
    curves: Curves, labels: tuple[Label, ...], quantity: str = "effective smoothness"
) -> np.ndarray:
    """Spearman's correlation, over networks, between minus the log of a roughness and mean training accuracy.

    The roughness is its median over the trained phase.
    """
    smooth, accuracy = [], []
    for label in labels:
        values = np.log10(in_phase(QUANTITIES[quantity](curves[label]), "landscape_step", curves[label], "trained"))
        # A network that never trains is on its plateau throughout: its roughness there counts.
        whole = np.log10(QUANTITIES[quantity](curves[label])).median("landscape_step")
        smooth.append(-values.median("landscape_step").fillna(whole).values)
        accuracy.append(curves[label].accuracy.fillna(CHANCE).mean("step").values)
    pairs = zip(np.transpose(smooth), np.transpose(accuracy))
    from scipy import stats  # here, for recording imports this module and runs with few packages

    return np.array([stats.spearmanr(one, other).statistic for one, other in pairs])


def kink(curve: xr.Dataset) -> xr.DataArray:
    """How much the loss along the gradient bends at one place: largest over median second difference, [step, seed].

    The points are the step's own and those at the step lengths; differences are divided, so that lengths need not be
    even. 1 for a parabola, large where the loss is straight but for a kink.
    """
    lengths = np.concatenate([[0.0], curve.step_length.values])
    here = (
        curve.loss.sel(step=curve.landscape_step.values)
        .rename(step="landscape_step")
        .transpose("landscape_step", "seed")
    )
    there = curve.landscape_loss.transpose("landscape_step", "seed", "step_length")
    losses = np.concatenate([here.values[..., None], there.values], -1)
    slopes = np.diff(losses) / np.diff(lengths)
    bends = abs(np.diff(slopes) / (lengths[2:] - lengths[:-2]))
    with np.errstate(divide="ignore", invalid="ignore"):
        found = bends.max(-1) / np.median(bends, -1)
    return xr.DataArray(found, coords=there.isel(step_length=0, drop=True).coords, dims=("landscape_step", "seed"))


def kink_ratio(curves: Curves, one: Label, other: Label) -> np.ndarray:
    """log10 of `kink` of one over that of other, each the median over the steps after its own plateau."""
    parts = [
        np.log10(in_phase(kink(curves[label]), "landscape_step", curves[label], "trained")) for label in (one, other)
    ]
    medians = [part.where(np.isfinite(part)).median("landscape_step") for part in parts]
    return (medians[0] - medians[1]).values


def share_of_rises(curve: xr.Dataset) -> xr.DataArray:
    """Share of the probed steps after the plateau that raise the loss of their own batch: one value a seed.

    What diverges rises.
    """
    before = curve.loss.sel(step=curve.landscape_step.values).rename(step="landscape_step")
    after = curve.landscape_loss.sel(step_length=1.0, drop=True)
    known = in_phase(xr.ones_like(after), "landscape_step", curve, "trained").notnull()
    return (~(after <= before)).where(known).mean("landscape_step")


def rises_difference(curves: Curves, one: Label, other: Label) -> np.ndarray:
    """`share_of_rises` of one minus that of other."""
    return (share_of_rises(curves[one]) - share_of_rises(curves[other])).values


def gradient_range(curves: Curves, one: Label, part: slice = slice(0, 1)) -> np.ndarray:
    """log10 of the largest over the smallest gradient of a layer: median over part of the steps, the first by default.

    Each gradient is in units of its layer's weights. Infinite where a layer has no gradient at all, as 10^DIVERGED.
    """
    relative = (curves[one].layer_gradient / curves[one].layer_weight).isel(gradient_step=part)
    return log_of_ratio(relative.max("layer"), relative.min("layer")).median("gradient_step").values


def gradient_range_ratio(curves: Curves, one: Label, other: Label, part: slice = slice(0, 1)) -> np.ndarray:
    """`gradient_range` of one minus that of other: the log10 of their ratio."""
    return gradient_range(curves, one, part) - gradient_range(curves, other, part)


def control_ratio(curves: Curves, name: str, one: Label, other: Label) -> np.ndarray:
    """log10 ratio of a control (see `lib.probes.controls`), largest over step lengths: median over probed steps."""
    parts = [curves[label][f"control_{name}"] for label in (one, other)]
    values = [part.max("step_length", skipna=False) if "step_length" in part.dims else part for part in parts]
    return log_of_ratio(*values).median("control_step").values


def probe_errors(curves: Curves) -> pd.DataFrame:
    """The landscape probe's relative errors by network, quantity and precision: median, and largest in brackets."""
    rows = []
    for label, curve in curves.items():
        for name, what in (("loss_change", "change of the loss"), ("beta", "effective smoothness")):
            errors = {str(one): curve[f"error_{name}"].sel(precision=one) for one in curve.precision.values}
            words = {one: f"{float(error.median()):.0e} ({float(error.max()):.0e})" for one, error in errors.items()}
            rows.append({"network": str(label), "relative error of the": what} | words)
    return pd.DataFrame(rows)


def control_band_ratio(curves: Curves, name: str, one: Label, other: Label) -> np.ndarray:
    """log10 of the ratio of a control's range over the step lengths: median over the probed steps."""
    parts = [curves[label][f"control_{name}"] for label in (one, other)]
    bands = [part.max("step_length", skipna=False) - part.min("step_length", skipna=False) for part in parts]
    return log_of_ratio(*bands).median("control_step").values
