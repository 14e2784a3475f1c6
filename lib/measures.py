"""Measures: what a claim is judged by, pure functions from the curves of an experiment to one value a seed.

A network that has diverged is not left out: its accuracy counts as chance, its loss as that of
the untrained network, its landscape as 10^DIVERGED times as rough as one that has not.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import xarray as xr
from scipy import stats

from lib.probes import effective_smoothness
from lib.records import from_canonical

Curves = dict[str, xr.Dataset]
Measure = Callable[[Curves], np.ndarray]
CHANCE = 0.1
DIVERGED = 12.0


# --- quantities of one curve -------------------------------------------------------------


def loss_band(curve: xr.Dataset) -> xr.DataArray:
    """Width of the shaded region of Figure 4a: max - min of the loss over the step lengths."""
    loss = curve.landscape_loss
    return loss.max("step_length", skipna=False) - loss.min("step_length", skipna=False)


def grad_change(curve: xr.Dataset) -> xr.DataArray:
    """Largest l2 change of the gradient over the step lengths (Figure 4b)."""
    return curve.grad_change.max("step_length", skipna=False)


def relative_change(curve: xr.Dataset) -> xr.DataArray:
    """Largest change of the gradient over the step lengths, in units of its norm (Figure 11)."""
    return grad_change(curve) / curve.grad_norm


def smoothness(curve: xr.Dataset) -> xr.DataArray:
    """Largest effective smoothness over the step lengths (Figure 4c)."""
    step_size = from_canonical(curve.attrs["spec"]).step_size
    beta = effective_smoothness(curve.grad_change, curve.step_length, step_size, curve.grad_norm)
    return beta.max("step_length", skipna=False)


def moment_change(curve: xr.Dataset, moment: str) -> np.ndarray:
    """Change of activations between successive steps (Figure 8): [seed, step, layer, unit].

    Of the "mean" in units of the activation's deviation, of the "var" in units of itself.
    """
    count = curve.sizes["moments_step"] // 2
    values = curve[f"activation_{moment}"].transpose("seed", "moments_step", ...).values
    var = curve.activation_var.transpose("seed", "moments_step", ...).values[:, 0 : 2 * count : 2]
    change = abs(values[:, 1 : 2 * count : 2] - values[:, 0 : 2 * count : 2])
    with np.errstate(divide="ignore", invalid="ignore"):
        return change / (np.sqrt(var) if moment == "mean" else var)


def gradient_norm(curve: xr.Dataset) -> xr.DataArray:
    """|g|_2 at the probed steps."""
    return curve.grad_norm


QUANTITIES = {
    "gradient norm": gradient_norm, "loss band": loss_band, "gradient change": grad_change, "relative gradient change": relative_change,
    "effective smoothness": smoothness,
}  # fmt: skip


# --- measures: one value a seed ----------------------------------------------------------


def _tail(curve: xr.Dataset, name: str, part: float = 1 / 4) -> xr.DataArray:
    """The last part of training, with a value in place of divergence."""
    tail = curve[name].isel(step=slice(-(int(part * curve.sizes["step"]) or 1), None))
    return tail.where(np.isfinite(tail), CHANCE if name == "accuracy" else curve[name].isel(step=0))


def late(curve: xr.Dataset, name: str) -> xr.DataArray:
    """Mean over the last quarter of training."""
    return _tail(curve, name).mean("step")


def late_difference(name: str, one: str, other: str) -> Measure:
    return lambda curves: (late(curves[one], name) - late(curves[other], name)).values


def steps_ratio(one: str, other: str, level: float, window: int = 50) -> Measure:
    """log10 of the ratio of the steps it takes to a training accuracy of `level`, averaged over `window` steps.

    A network that does not get there counts with all its steps.
    """

    def steps(curve: xr.Dataset) -> np.ndarray:
        accuracy = curve.accuracy.fillna(CHANCE).rolling(step=min(window, curve.sizes["step"])).mean()
        reached = (accuracy >= level).transpose("seed", "step").values
        return np.where(reached.any(1), reached.argmax(1) + 1, reached.shape[1])

    return lambda curves: np.log10(steps(curves[one]) / steps(curves[other]))


def final(name: str, label: str) -> Measure:
    return lambda curves: curves[label][name].isel(eval_step=-1).fillna(CHANCE).values


def final_difference(name: str, one: str, other: str) -> Measure:
    return lambda curves: final(name, one)(curves) - final(name, other)(curves)


def log_of_ratio(one: xr.DataArray, other: xr.DataArray) -> xr.DataArray:
    """log10(one / other), with a value where one of them has diverged; where both have, there is nothing to compare: NaN."""
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.log10(one.fillna(np.inf) / other.fillna(np.inf))
    return ratio.clip(-DIVERGED, DIVERGED)


def log_ratio(quantity: str, one: str, other: str, part: slice = slice(None)) -> Measure:
    """log10 of quantity(one) / quantity(other): median over the probed steps."""

    def measure(curves: Curves) -> np.ndarray:
        values = [QUANTITIES[quantity](curves[label]).isel(landscape_step=part) for label in (one, other)]
        return log_of_ratio(*values).median("landscape_step").values

    return measure


def change_ratio_at_distance(one: str, other: str) -> Measure:
    """log10 of the ratio of the gradient's changes at the farthest distance that both networks were probed at: median over steps."""

    def measure(curves: Curves) -> np.ndarray:
        order = ("seed", "landscape_step", "step_length")
        changes, distances = [], []
        for curve in (curves[one], curves[other]):
            step_size = from_canonical(curve.attrs["spec"]).step_size
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

    return measure


def early_over_late(quantity: str, one: str, other: str) -> Measure:
    """log10 of quantity(one) / quantity(other) in the first third of the probed steps, minus that in the last."""

    def measure(curves: Curves) -> np.ndarray:
        third = -(-curves[one].sizes["landscape_step"] // 3)
        first, last = (log_ratio(quantity, one, other, part)(curves) for part in (slice(0, third), slice(-third, None)))
        return first - last

    return measure


def shift(name: str, label: str) -> Measure:
    """Median over steps and over the layers that have a predecessor."""
    return lambda curves: curves[label][name].isel(layer=slice(1, None)).median(("shift_step", "layer")).values


def shift_l2_ratio(one: str, other: str) -> Measure:
    """log10 of the ratio of |G - G'|: median over steps and layers."""

    def measure(curves: Curves) -> np.ndarray:
        parts = [curves[label].shift_l2.isel(layer=slice(1, None)) for label in (one, other)]
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = np.log10(parts[0] / parts[1])
        return ratio.where(np.isfinite(ratio)).median(("shift_step", "layer")).values

    return measure


def difference(one: Measure, other: Measure) -> Measure:
    return lambda curves: one(curves) - other(curves)


def least(*each: Measure) -> Measure:
    """The smallest of several measures, seed by seed: above a bound only if all of them are."""
    return lambda curves: np.min([measure(curves) for measure in each], 0)


def share_of_gain(curves: Curves) -> np.ndarray:
    """The share of BatchNorm's gain in late training accuracy that noisy BatchNorm keeps."""
    none, norm, noisy = (late(curves[label], "accuracy") for label in ("none", "batchnorm", "noisy"))
    return ((noisy - none) / (norm - none)).values


def moment_ratio(moment: str, one: str, other: str) -> Measure:
    """log10 of the ratio of the median changes between successive steps."""

    def measure(curves: Curves) -> np.ndarray:
        changes = [moment_change(curves[label], moment) for label in (one, other)]
        medians = [np.nanmedian(change.reshape(len(change), -1), 1) for change in changes]
        return np.log10(medians[0] / medians[1])

    return measure


def deviation(label: str) -> Measure:
    """log10 of the deviation of activations over the batch: median over steps, layers and units."""
    return lambda curves: np.log10(curves[label].activation_var).median(_but_seed(curves[label].activation_var)).values / 2


def linear_loss_ratio(one: str, other: str, part: float = 1 / 4) -> Measure:
    """log10 of the ratio of losses, averaged over the last part of training (in log10)."""

    def late(curve: xr.Dataset) -> xr.DataArray:
        return np.log10(_tail(curve, "loss", part)).mean("step")

    return lambda curves: (late(curves[one]) - late(curves[other])).values


def theorem(name: str, network: str, log: bool = False) -> Measure:
    """Median over steps, layers and units of a term of Theorem 4.1 or 4.2."""

    def measure(curves: Curves) -> np.ndarray:
        values = abs(curves[network][f"theorem_{name}"])
        return (np.log10(values) if log else values).median(_but_seed(values)).values

    return measure


def share(name: str, network: str) -> Measure:
    """Share of steps, layers and units at which a term is positive."""

    def measure(curves: Curves) -> np.ndarray:
        values = curves[network][f"theorem_{name}"]
        return (values > 0).where(values.notnull()).mean(_but_seed(values)).values

    return measure


def share_of_nonnegative_forms(network: str) -> Measure:
    """Share of steps, layers and units at which both quadratic forms of Theorem 4.2 are non-negative."""

    def measure(curves: Curves) -> np.ndarray:
        forms = [curves[network][f"theorem_{name}"] for name in ("form_bn", "form_plain")]
        known = forms[0].notnull() & forms[1].notnull()
        return ((forms[0] >= 0) & (forms[1] >= 0)).where(known).mean(_but_seed(known)).values

    return measure


def _but_seed(values: xr.DataArray) -> list[str]:
    return [dim for dim in values.dims if dim != "seed"]


# --- several settings, other probes, distributions ----------------------------------------


def control_ratio(name: str, one: str, other: str) -> Measure:
    """log10 of the ratio of a control (see `lib.controls`), largest over the step lengths: median over the probed steps."""

    def measure(curves: Curves) -> np.ndarray:
        parts = [curves[label][f"control_{name}"] for label in (one, other)]
        values = [part.max("step_length", skipna=False) if "step_length" in part.dims else part for part in parts]
        return log_of_ratio(*values).median("control_step").values

    return measure


def probe_errors(curves: Curves) -> pd.DataFrame:
    """Relative errors of the landscape probe by network, quantity and precision: the median, and the largest in brackets."""
    rows = []
    for label, curve in curves.items():
        for name, what in (("loss_change", "change of the loss"), ("beta", "effective smoothness")):
            errors = {str(one): curve[f"error_{name}"].sel(precision=one) for one in curve.precision.values}
            words = {one: f"{float(error.median()):.0e} ({float(error.max()):.0e})" for one, error in errors.items()}
            rows.append({"network": label, "relative error of the": what} | words)
    return pd.DataFrame(rows)


def control_band_ratio(name: str, one: str, other: str) -> Measure:
    """log10 of the ratio of a control's range over the step lengths: median over the probed steps."""

    def measure(curves: Curves) -> np.ndarray:
        parts = [curves[label][f"control_{name}"] for label in (one, other)]
        bands = [part.max("step_length", skipna=False) - part.min("step_length", skipna=False) for part in parts]
        return log_of_ratio(*bands).median("control_step").values

    return measure


def values_of(curves: Curves, norm: str) -> np.ndarray:
    """Values [n] of the setting that curves "norm, value" differ in, increasing."""
    return np.array(sorted(float(label.partition(", ")[2]) for label in curves if label.startswith(f"{norm}, ")))


def settings(curves: Curves, norm: str) -> tuple[np.ndarray, np.ndarray]:
    """`values_of` a setting [n], and late accuracies there [n, seed]."""
    values = values_of(curves, norm)
    return values, np.stack([late(curves[f"{norm}, {value:g}"], "accuracy").values for value in values])


def largest(norm: str) -> Measure:
    """log10 of the largest step size at which late training accuracy is above twice chance."""

    def measure(curves: Curves) -> np.ndarray:
        sizes, accuracy = settings(curves, norm)
        usable = accuracy > 2 * CHANCE
        # Where none is usable, the largest one that is lies below all of them.
        return np.log10(np.where(usable.any(0), (sizes[:, None] * usable).max(0), sizes[0] ** 2 / sizes[1]))

    return measure


def sensitivity(one: str, other: str) -> Measure:
    """Range of late training accuracy over a setting, one minus other."""

    def spread(curves: Curves, norm: str) -> np.ndarray:
        return np.ptp(settings(curves, norm)[1], 0)

    return lambda curves: spread(curves, one) - spread(curves, other)


def _histograms(curve: xr.Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Shares [seed, step, ..., bin] of activations in each bin, and the bins' edges [seed, step, ..., bin + 1]."""
    order = ("seed", "histogram_step", ...)
    counts = curve.histogram.transpose(*order, "bin").values.astype(float)
    ends = curve.histogram_range.transpose(*order, "end").values.astype(float)
    with np.errstate(divide="ignore", invalid="ignore"):
        shares = counts / counts.sum(-1, keepdims=True)
        edges = ends[..., :1] + np.linspace(0, 1, counts.shape[-1] + 1) * (ends[..., 1:] - ends[..., :1])
    return shares, edges


def _typical(distances: np.ndarray) -> np.ndarray:
    """Median over everything but the seed, which comes first; what is not finite is left out."""
    flat = distances.reshape(len(distances), -1)
    return np.nanmedian(np.where(np.isfinite(flat), flat, np.nan), 1)


def distance_from_gaussian(curve: xr.Dataset) -> np.ndarray:
    """Total-variation distance of activations' histograms from the Gaussian of their mean and variance, one value a seed.

    Median over layers, units and the steps after the first; 0 is Gaussian, 1 nothing in common. A sample of a Gaussian
    as large as a batch comes out at a few hundredths.
    """
    shares, edges = _histograms(curve)
    with np.errstate(divide="ignore", invalid="ignore"):
        middles = (edges[..., 1:] + edges[..., :-1]) / 2
        mean = (shares * middles).sum(-1, keepdims=True)
        deviation = np.sqrt((shares * (middles - mean) ** 2).sum(-1, keepdims=True))
        cumulated = stats.norm.cdf((edges - mean) / deviation)
    outside = 1 - (cumulated[..., -1] - cumulated[..., 0])
    distance = (abs(shares - np.diff(cumulated)).sum(-1) + outside) / 2
    return _typical(distance[:, 1:])


def distribution_change(curve: xr.Dataset) -> np.ndarray:
    """Kolmogorov distance between an activation's histograms at successive recorded steps (Figure 1c), one value a seed.

    The largest difference of the two distribution functions, 0 to 1: location, scale and shape all count, units do not.
    Median over layers, units and pairs of steps after the first.
    """
    shares, edges = _histograms(curve)
    cumulated = np.concatenate([np.zeros((*shares.shape[:-1], 1)), shares.cumsum(-1)], -1)
    flat = [array[:, 1:].reshape(len(array), array.shape[1] - 1, -1, array.shape[-1]) for array in (edges, cumulated)]
    seeds, steps, units, _ = flat[0].shape
    distances = np.full((seeds, max(steps - 1, 1), units), np.nan)
    for at in np.ndindex(seeds, steps - 1, units):
        seed, step, unit = at
        (x0, f0), (x1, f1) = ((flat[0][seed, step + k, unit], flat[1][seed, step + k, unit]) for k in (0, 1))
        if np.isfinite([*x0, *x1, *f0, *f1]).all():
            grid = np.union1d(x0, x1)
            distances[at] = abs(np.interp(grid, x0, f0) - np.interp(grid, x1, f1)).max()
    return _typical(distances)


def distribution_change_ratio(one: str, other: str) -> Measure:
    """log10 of the ratio of `distribution_change`."""

    def measure(curves: Curves) -> np.ndarray:
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.log10(distribution_change(curves[one]) / distribution_change(curves[other]))

    return measure


def gaussian_difference(one: str, other: str) -> Measure:
    """Distance from a Gaussian, one minus other."""
    return lambda curves: distance_from_gaussian(curves[one]) - distance_from_gaussian(curves[other])
