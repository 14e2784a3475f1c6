"""Measures: what a claim is judged by, plain functions from the curves of an experiment to one value a seed.

A claim holds such a function with its arguments, as a `functools.partial`.

A network that has diverged is not left out: its accuracy counts as chance, its loss as that of
the untrained network, its landscape as 10^DIVERGED times as rough as one that has not.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator

import numpy as np
import pandas as pd
import xarray as xr
from scipy.special import ndtr

from lib.paper.labels import Label
from lib.quantities import effective_smoothness
from lib.specs import spec_of

Curves = dict[Label, xr.Dataset]
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


def step_size(curve: xr.Dataset) -> float | xr.DataArray:
    """The step size that a curve was trained and probed with: the attribute `step_size`, else that of its spec.

    Where it changes in training there is one for each `landscape_step`.
    """
    if "step_size" in curve.attrs:
        return float(curve.attrs["step_size"])
    if "step_size" in curve:
        return curve.step_size.sel(step=curve.landscape_step.values).rename(step="landscape_step")
    spec = spec_of(curve)
    if getattr(spec, "switch_step", 0):
        steps = curve.landscape_step
        return xr.DataArray([spec.step_size_at(step) for step in steps.values], {"landscape_step": steps})
    return spec.step_size


def smoothness(curve: xr.Dataset) -> xr.DataArray:
    """Largest effective smoothness over the step lengths (Figure 4c).

    >>> arrays = {"grad_change": ("step_length", [1.5, 3.0]), "grad_norm": 6.0}  # of w^2 at w = 3
    >>> smoothness(xr.Dataset(arrays, {"step_length": [0.5, 1.0]}, {"step_size": 0.25})).item()
    2.0
    """
    beta = effective_smoothness(curve.grad_change, curve.step_length, step_size(curve), curve.grad_norm)
    return beta.max("step_length", skipna=False)


def moment_change(curve: xr.Dataset, moment: str, plain: bool = False) -> np.ndarray:
    """Change of activations between successive steps (Figure 8): [seed, step, layer, unit].

    Of the "mean" in units of the activation's deviation, of the "var" in units of itself; with `plain`, as they are,
    which is what the caption of Figure 8 says.
    """
    count = curve.sizes["moments_step"] // 2
    values = curve[f"activation_{moment}"].transpose("seed", "moments_step", ...).values
    var = curve.activation_var.transpose("seed", "moments_step", ...).values[:, 0 : 2 * count : 2]
    change = abs(values[:, 1 : 2 * count : 2] - values[:, 0 : 2 * count : 2])
    if plain:
        return change
    with np.errstate(divide="ignore", invalid="ignore"):
        return change / (np.sqrt(var) if moment == "mean" else var)


def gradient_norm(curve: xr.Dataset) -> xr.DataArray:
    """|g|_2 at the probed steps."""
    return curve.grad_norm


QUANTITIES = {
    "gradient norm": gradient_norm,
    "loss band": loss_band,
    "gradient change": grad_change,
    "relative gradient change": relative_change,
    "effective smoothness": smoothness,
}


# --- measures: one value a seed ----------------------------------------------------------


def _tail(curve: xr.Dataset, name: str, part: float = 1 / 4) -> xr.DataArray:
    """The last part of training, with a value in place of divergence."""
    tail = curve[name].isel(step=slice(-(int(part * curve.sizes["step"]) or 1), None))
    return tail.where(np.isfinite(tail), CHANCE if name == "accuracy" else curve[name].isel(step=0))


def late(curve: xr.Dataset, name: str) -> xr.DataArray:
    """Mean of the training accuracy or loss over the last quarter of training, one value a seed."""
    return _tail(curve, name).mean("step")


def late_accuracy(curves: Curves, one: Label) -> np.ndarray:
    """Training accuracy in the last quarter of training."""
    return late(curves[one], "accuracy").values


def late_difference(curves: Curves, one: Label, other: Label, name: str = "accuracy") -> np.ndarray:
    """`late` of one minus that of other."""
    return (late(curves[one], name) - late(curves[other], name)).values


def steps_ratio(curves: Curves, one: Label, other: Label, level: float, window: int = 50) -> np.ndarray:
    """log10 of the ratio of the steps it takes to a training accuracy of `level`, averaged over `window` steps.

    A network that does not get there counts with all its steps.
    """

    def steps(curve: xr.Dataset) -> np.ndarray:
        accuracy = curve.accuracy.fillna(CHANCE).rolling(step=min(window, curve.sizes["step"])).mean()
        reached = (accuracy >= level).transpose("seed", "step").values
        return np.where(reached.any(1), reached.argmax(1) + 1, reached.shape[1])

    return np.log10(steps(curves[one]) / steps(curves[other]))


def final(curves: Curves, one: Label, name: str = "test_accuracy") -> np.ndarray:
    """An accuracy at the end of training."""
    return curves[one][name].isel(eval_step=-1).fillna(CHANCE).values


def final_difference(curves: Curves, one: Label, other: Label, name: str = "test_accuracy") -> np.ndarray:
    """`final` of one minus that of other."""
    return final(curves, one, name) - final(curves, other, name)


def log_of_ratio(one: xr.DataArray, other: xr.DataArray) -> xr.DataArray:
    """log10(one / other), with a value where one of them has diverged; NaN, nothing to compare, where both have.

    >>> log_of_ratio(xr.DataArray([100.0, np.nan]), xr.DataArray([1.0, np.nan])).values
    array([ 2., nan])
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.log10(one.fillna(np.inf) / other.fillna(np.inf))
    return ratio.clip(-DIVERGED, DIVERGED)


def _ratio(curves: Curves, quantity: str, one: Label, other: Label) -> xr.DataArray:
    """log10 of quantity(one) / quantity(other) at each probed step."""
    return log_of_ratio(*(QUANTITIES[quantity](curves[label]) for label in (one, other)))


def log_ratio(curves: Curves, quantity: str, one: Label, other: Label, part: slice = slice(None)) -> np.ndarray:
    """log10 of quantity(one) / quantity(other): median over the probed steps, or over a part of them."""
    return _ratio(curves, quantity, one, other).isel(landscape_step=part).median("landscape_step").values


def log_ratio_in_first_third(curves: Curves, quantity: str, one: Label, other: Label) -> np.ndarray:
    """`log_ratio` over the first third of the probed steps."""
    return log_ratio(curves, quantity, one, other, slice(0, -(-curves[one].sizes["landscape_step"] // 3)))


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


def early_over_late(curves: Curves, quantity: str, one: Label, other: Label) -> np.ndarray:
    """log10 of quantity(one) / quantity(other) in the first third of the probed steps, minus that in the last."""
    third = -(-curves[one].sizes["landscape_step"] // 3)
    first, last = (log_ratio(curves, quantity, one, other, part) for part in (slice(0, third), slice(-third, None)))
    return first - last


def shift(curves: Curves, one: Label, name: str = "shift_cosine") -> np.ndarray:
    """Median over steps and over the layers that have a predecessor."""
    return curves[one][name].isel(layer=slice(1, None)).median(("shift_step", "layer")).values


def shift_difference(curves: Curves, one: Label, other: Label) -> np.ndarray:
    """`shift` of one minus that of other."""
    return shift(curves, one) - shift(curves, other)


def least_shift_cosine(curves: Curves, one: Label, part: float = 0.05) -> np.ndarray:
    """Cosine of G and G' below which only a `part` of all steps and layers lies."""
    return curves[one].shift_cosine.isel(layer=slice(1, None)).quantile(part, ("shift_step", "layer")).values


def shift_l2_ratio(curves: Curves, one: Label, other: Label) -> np.ndarray:
    """log10 of the ratio of |G - G'|: median over steps and layers."""
    parts = [curves[label].shift_l2.isel(layer=slice(1, None)) for label in (one, other)]
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.log10(parts[0] / parts[1])
    return ratio.where(np.isfinite(ratio)).median(("shift_step", "layer")).values


def least(curves: Curves, each: tuple[Measure, ...]) -> np.ndarray:
    """The smallest of several measures, seed by seed: above a bound only if all of them are."""
    return np.min([measure(curves) for measure in each], 0)


def greatest(curves: Curves, each: tuple[Measure, ...]) -> np.ndarray:
    """The largest of several measures, seed by seed: below a bound only if all of them are."""
    return np.max([measure(curves) for measure in each], 0)


def share_of_gain(curves: Curves, none: Label, norm: Label, noisy: Label) -> np.ndarray:
    """The share of BatchNorm's gain in late training accuracy that noisy BatchNorm keeps."""
    none, norm, noisy = (late(curves[label], "accuracy") for label in (none, norm, noisy))
    return ((noisy - none) / (norm - none)).values


def moment_ratio(curves: Curves, moment: str, one: Label, other: Label, plain: bool = True) -> np.ndarray:
    """log10 of the ratio of the median changes of a moment between successive steps (see `moment_change`)."""
    changes = [moment_change(curves[label], moment, plain) for label in (one, other)]
    medians = [np.nanmedian(change.reshape(len(change), -1), 1) for change in changes]
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.log10(medians[0] / medians[1])


def deviation(curves: Curves, one: Label) -> np.ndarray:
    """log10 of the deviation of activations over the batch: median over steps, layers and units."""
    values = np.log10(curves[one].activation_var)
    return values.median(_but_seed(values)).values / 2


def _histogram_deviations(curve: xr.Dataset) -> np.ndarray:
    """Deviations of activations over the batch by their histograms, [seed, step, ...], without the first step."""
    shares, edges = _histograms(curve)
    middles = (edges[..., 1:] + edges[..., :-1]) / 2
    mean = (shares * middles).sum(-1, keepdims=True)
    return np.sqrt((shares * (middles - mean) ** 2).sum(-1))[:, 1:]


def histogram_deviation(curves: Curves, one: Label) -> np.ndarray:
    """log10 of the deviation of activations, from their histograms: median over layers and steps after the first."""
    return np.log10(_typical(_histogram_deviations(curves[one])))


def deviation_range(curves: Curves, one: Label) -> np.ndarray:
    """log10 of the largest over the smallest deviation of activations over layers and the steps after the first."""
    values = _histogram_deviations(curves[one])
    flat = values.reshape(len(values), -1)
    return np.log10(np.nanmax(flat, 1) / np.nanmin(flat, 1))


def off_unit_deviation(curves: Curves, one: Label) -> np.ndarray:
    """How far the deviation of activations is from 1, either way: the absolute value of its log10."""
    return abs(deviation(curves, one))


def linear_loss_ratio(curves: Curves, one: Label, other: Label, part: float = 1 / 4) -> np.ndarray:
    """log10 of the ratio of losses, averaged over the last part of training (in log10)."""
    losses = [np.log10(_tail(curves[label], "loss", part)).mean("step") for label in (one, other)]
    return (losses[0] - losses[1]).values


def still_falls(curves: Curves, one: Label, part: float = 1 / 4) -> np.ndarray:
    """log10 of the loss where the last part of training begins over that at the end.

    Each is a mean over a hundredth of training.
    """
    loss = curves[one].loss
    loss = loss.where(np.isfinite(loss), loss.isel(step=0))
    steps, window = loss.sizes["step"], max(1, loss.sizes["step"] // 100)
    start = steps - max(window, int(part * steps))
    ends = [loss.isel(step=slice(at, at + window)).mean("step") for at in (start, steps - window)]
    return np.log10(ends[0] / ends[1]).values


def still_gains(curves: Curves, one: Label, part: float = 1 / 5) -> np.ndarray:
    """Training accuracy at the end minus that where the last part of training begins.

    Each is a mean over a thirtieth of training.
    """
    accuracy = curves[one].accuracy.fillna(CHANCE)
    steps, window = accuracy.sizes["step"], max(1, accuracy.sizes["step"] // 30)
    start = steps - max(window, int(part * steps))
    ends = [accuracy.isel(step=slice(at, at + window)).mean("step") for at in (start, steps - window)]
    return (ends[1] - ends[0]).values


def theorem(curves: Curves, name: str, one: Label, log: bool = False) -> np.ndarray:
    """Median over steps, layers and units of the size of a term of Theorem 4.1 or 4.2."""
    values = abs(curves[one][f"theorem_{name}"])
    return (np.log10(values) if log else values).median(_but_seed(values)).values


def share(curves: Curves, name: str, one: Label) -> np.ndarray:
    """Share of steps, layers and units at which a term is positive."""
    values = curves[one][f"theorem_{name}"]
    return (values > 0).where(values.notnull()).mean(_but_seed(values)).values


def share_of_nonnegative_forms(curves: Curves, one: Label) -> np.ndarray:
    """Share of steps, layers and units at which both quadratic forms of Theorem 4.2 are non-negative."""
    forms = [curves[one][f"theorem_{name}"] for name in ("form_bn", "form_plain")]
    known = forms[0].notnull() & forms[1].notnull()
    return ((forms[0] >= 0) & (forms[1] >= 0)).where(known).mean(_but_seed(known)).values


def share_of_smaller_forms(curves: Curves, one: Label) -> np.ndarray:
    """Share of steps, layers and units at which the projection alone makes g'Hg no larger: (Pg)'H(Pg) <= g'Hg.

    v = (gamma/sigma) Pg, so that v'Hv says as much of the size of gamma/sigma as of the projection.
    """
    curve = curves[one]
    projected = curve.theorem_form_bn / curve.theorem_scale**2
    known = projected.notnull() & curve.theorem_form_plain.notnull()
    return (projected <= curve.theorem_form_plain).where(known).mean(_but_seed(known)).values


def _but_seed(values: xr.DataArray) -> list[str]:
    return [dim for dim in values.dims if dim != "seed"]


# --- phases of training, equal loss, spikes ------------------------------------------------

#: Shares of the loss's whole fall at which the plateau ends, training counts as late, and as settled.
LEFT_PLATEAU, HALF_WAY, SETTLED = 0.05, 0.5, 0.9
PHASES = {
    "plateau": (-np.inf, LEFT_PLATEAU),
    "falling": (LEFT_PLATEAU, SETTLED),
    "settled": (SETTLED, np.inf),
    "early": (-np.inf, HALF_WAY),
    "late": (HALF_WAY, np.inf),
    "trained": (LEFT_PLATEAU, np.inf),
}


def progress(curve: xr.Dataset, window: int = 50) -> xr.DataArray:
    """How much of its whole fall the training loss has behind it at each step, 0 to 1: [step, seed].

    The loss is averaged over `window` steps; the share never decreases, and a loss that diverges stops it. Where the
    loss falls by less than a twentieth of its first value in all, the network has not trained, and the share is 0.
    """
    window = min(window, max(1, curve.sizes["step"] // 4))
    loss = curve.loss.rolling(step=window, min_periods=1).mean()
    first = curve.loss.isel(step=slice(0, window)).mean("step")
    fall = (first - loss).where(np.isfinite(loss))
    best = fall.reduce(np.fmax.accumulate, "step") if curve.sizes["step"] else fall
    whole = best.isel(step=-1)
    share = (best / whole).clip(0, 1).where(whole > 0.05 * abs(first), 0.0)
    return share.fillna(0.0)


def in_phase(values: xr.DataArray, dim: str, curve: xr.Dataset, phase: str) -> xr.DataArray:
    """`values` along the probed steps `dim`, NaN where `curve` is in another phase of its training (see `PHASES`)."""
    low, high = PHASES[phase]
    share = progress(curve).sel(step=values[dim].values).rename(step=dim).assign_coords({dim: values[dim]})
    return values.where((share >= low) & (share < high))


def log_ratio_in(
    curves: Curves, phase: str, quantity: str, one: Label, other: Label, of: Label | None = None
) -> np.ndarray:
    """`log_ratio` over the steps at which network `of` (`one` by default) is in a phase; NaN for seeds without any."""
    ratio = _ratio(curves, quantity, one, other)
    return in_phase(ratio, "landscape_step", curves[of or one], phase).median("landscape_step").values


def at_equal_loss(
    one: xr.DataArray, other: xr.DataArray, curves: tuple[xr.Dataset, xr.Dataset], bins: int = 12
) -> Iterator[np.ndarray]:
    """For each seed, values of `one` and `other` [seed, probed step] where both networks have the same training loss.

    The losses that both pass after their plateaus are cut into `bins` of equal width; each bin that both were probed in
    gives the medians of the two, as pairs [bin, 2] a seed.
    """
    values, losses = [], []
    for part, curve in zip((one, other), curves):
        (dim,) = set(part.dims) - {"seed"}
        part = in_phase(part, dim, curve, "trained").transpose("seed", dim)
        loss = curve.loss.rolling(step=min(50, curve.sizes["step"]), min_periods=1).mean()
        loss = loss.sel(step=part[dim].values).transpose("seed", "step").values
        values.append(part.values)
        losses.append(np.where(np.isfinite(part.values), loss, np.nan))
    for seed in range(len(values[0])):
        value, loss = [part[seed] for part in values], [part[seed] for part in losses]
        pairs = []
        if all(np.isfinite(part).any() for part in loss):
            edges = np.linspace(max(map(np.nanmin, loss)), min(map(np.nanmax, loss)), bins + 1)
            for low, high in itertools.pairwise(edges):
                inside = [v[(part >= low) & (part <= high)] for v, part in zip(value, loss)]
                if all(map(len, inside)):
                    pairs.append([np.median(part) for part in inside])
        yield np.array(pairs).reshape(-1, 2)


def log_ratio_at_equal_loss(curves: Curves, quantity: str, one: Label, other: Label, bins: int = 12) -> np.ndarray:
    """log10 of quantity(one) / quantity(other) where both have the same training loss instead of the same step.

    The median over losses (see `at_equal_loss`); NaN where there is none that both have.
    """
    pair = curves[one], curves[other]
    found = at_equal_loss(*(QUANTITIES[quantity](curve) for curve in pair), pair, bins)
    return np.array([np.median(np.log10(pairs[:, 0] / pairs[:, 1])) if len(pairs) else np.nan for pairs in found])


def shift_difference_at_equal_loss(curves: Curves, one: Label, other: Label, bins: int = 12) -> np.ndarray:
    """Cosine of G and G', one minus other, at equal training loss of both: medians over layers, then over losses."""
    pair = curves[one], curves[other]
    cosines = [curve.shift_cosine.isel(layer=slice(1, None)).median("layer") for curve in pair]
    found = at_equal_loss(*cosines, pair, bins)
    return np.array([np.median(pairs[:, 0] - pairs[:, 1]) if len(pairs) else np.nan for pairs in found])


def shift_difference_in(curves: Curves, phase: str, one: Label, other: Label) -> np.ndarray:
    """Cosine of G and G', one minus other, while `one` is in a phase of its training: median over layers and steps."""
    parts = [curves[label].shift_cosine.isel(layer=slice(1, None)) for label in (one, other)]
    return in_phase(parts[0] - parts[1], "shift_step", curves[one], phase).median(("shift_step", "layer")).values


def share_above(curves: Curves, factor: float, quantity: str, one: Label, other: Label) -> np.ndarray:
    """Share of probed steps after `one` leaves its plateau at which quantity(one) > `factor` times quantity(other)."""
    known = in_phase(_ratio(curves, quantity, one, other), "landscape_step", curves[one], "trained")
    return (known > math.log10(factor)).where(known.notnull()).mean("landscape_step").values


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
    ratio = _ratio(curves, "effective smoothness", small, large)
    last = math.ceil(ratio.sizes["landscape_step"] * part)
    sizes = [float(step_size(curves[label]).isel(landscape_step=-1)) for label in (small, large)]
    return ratio.isel(landscape_step=slice(-last, None)).median("landscape_step").values / math.log10(
        sizes[1] / sizes[0]
    )


def at_start(curves: Curves, quantity: str, one: Label, other: Label) -> np.ndarray:
    """log10 of quantity(one) / quantity(other) at the first step."""
    return _ratio(curves, quantity, one, other).isel(landscape_step=0).values


def share_of_speed(curves: Curves, level: float, none: Label, norm: Label, noisy: Label) -> np.ndarray:
    """Share of BatchNorm's speed-up that noisy BatchNorm keeps, in the logarithm of steps to an accuracy of `level`."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return steps_ratio(curves, none, noisy, level) / steps_ratio(curves, none, norm, level)


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


# --- how uneven the landscape is, and gradients by layer (section 3.1) ---------------------


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


def plateau_difference(curves: Curves, one: Label, other: Label) -> np.ndarray:
    """Share of training that is spent on the plateau, one minus other."""
    shares = [(progress(curves[label]) < LEFT_PLATEAU).mean("step") for label in (one, other)]
    return (shares[0] - shares[1]).values


def gradient_range(curves: Curves, one: Label, part: slice = slice(0, 1)) -> np.ndarray:
    """log10 of the largest over the smallest gradient of a layer: median over part of the steps, the first by default.

    Each gradient is in units of its layer's weights. Infinite where a layer has no gradient at all, as 10^DIVERGED.
    """
    relative = (curves[one].layer_gradient / curves[one].layer_weight).isel(gradient_step=part)
    return log_of_ratio(relative.max("layer"), relative.min("layer")).median("gradient_step").values


def gradient_range_ratio(curves: Curves, one: Label, other: Label, part: slice = slice(0, 1)) -> np.ndarray:
    """`gradient_range` of one minus that of other: the log10 of their ratio."""
    return gradient_range(curves, one, part) - gradient_range(curves, other, part)


# --- what deep linear networks have learned ------------------------------------------------


def rank(curve: xr.Dataset) -> xr.DataArray:
    """Directions learned by the last step at which they were looked at: those with a share above a half."""
    last = curve.mode_share.isel(mode_step=-1)
    return (last > 0.5).sum("mode").where(last.notnull().all("mode"))


def rank_difference(curves: Curves, one: Label, other: Label) -> np.ndarray:
    """`rank` of one minus that of other."""
    return (rank(curves[one]) - rank(curves[other])).values


def off_best_fit(curves: Curves, one: Label) -> np.ndarray:
    """How far the network is from a best fit of its rank, whose directions are learned wholly or not at all.

    The largest distance of a direction's share from 0 or 1, whichever is nearer, at the last step at which they were
    looked at.
    """
    last = curves[one].mode_share.isel(mode_step=-1)
    return np.minimum(abs(last), abs(1 - last)).max("mode", skipna=False).values


def loss_left_to_fall(curves: Curves, one: Label, step: int) -> np.ndarray:
    """log10 of the loss at `step` (at the end, if that comes first) over that at the end.

    Each is a mean over a hundredth of training.
    """
    loss = curves[one].loss
    loss = loss.where(np.isfinite(loss), loss.isel(step=0))
    window = max(1, loss.sizes["step"] // 100)
    at = min(step, loss.sizes["step"] - window)
    ends = [loss.isel(step=slice(first, first + window)).mean("step") for first in (at, loss.sizes["step"] - window)]
    return np.log10(ends[0] / ends[1]).values


# --- several settings, other probes, distributions ----------------------------------------


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


def values_of(curves: Curves, norm: str) -> np.ndarray:
    """Values [n] of the setting that the curves of `norm` differ in, increasing."""
    return np.array(sorted(label.setting for label in curves if label.norm == norm), float)


def settings(curves: Curves, norm: str) -> tuple[np.ndarray, np.ndarray]:
    """`values_of` a setting [n], and late accuracies there [n, seed]."""
    values = values_of(curves, norm)
    return values, np.stack([late(curves[Label(norm, value)], "accuracy").values for value in values])


def largest(curves: Curves, norm: str) -> np.ndarray:
    """log10 of the largest step size at which late training accuracy is above twice chance."""
    sizes, accuracy = settings(curves, norm)
    usable = accuracy > 2 * CHANCE
    # Where none is usable, the largest one that is lies below all of them.
    return np.log10(np.where(usable.any(0), (sizes[:, None] * usable).max(0), sizes[0] ** 2 / sizes[1]))


def largest_ratio(curves: Curves, one: str, other: str) -> np.ndarray:
    """log10 of the ratio of the largest usable step sizes (see `largest`)."""
    return largest(curves, one) - largest(curves, other)


def sensitivity(curves: Curves, one: str, other: str) -> np.ndarray:
    """Range of late training accuracy over a setting, one minus other."""
    spreads = [np.ptp(settings(curves, norm)[1], 0) for norm in (one, other)]
    return spreads[0] - spreads[1]


def best_off(curves: Curves, value: float, name: str) -> np.ndarray:
    """How far the setting at which training is best lies from `value`, in log10, either way: the farther network's.

    Best is the highest late training accuracy ("accuracy") or the lowest late loss ("loss").
    """
    found = []
    for norm in dict.fromkeys(label.norm for label in curves):
        values = values_of(curves, norm)
        ends = np.stack([late(curves[Label(norm, one)], name).values for one in values])
        best = (ends if name == "accuracy" else -ends).argmax(0)
        found.append(abs(np.log10(values[best] / value)))
    return np.max(found, 0)


def fall_range(curves: Curves, norm: str) -> np.ndarray:
    """Range over a setting of the share of its first value that training loss loses by the last quarter of steps."""
    falls = []
    for value in values_of(curves, norm):
        curve = curves[Label(norm, value)]
        falls.append((1 - late(curve, "loss") / curve.loss.isel(step=0)).values)
    return np.ptp(np.stack(falls), 0)


def fall_range_difference(curves: Curves, one: str, other: str) -> np.ndarray:
    """`fall_range` of one minus that of other."""
    return fall_range(curves, one) - fall_range(curves, other)


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
    """Total-variation distance of activations' histograms from the Gaussian of their mean and variance, one a seed.

    Median over layers, units and the steps after the first; 0 is Gaussian, 1 nothing in common. A sample of a Gaussian
    as large as a batch comes out at a few hundredths.
    """
    shares, edges = _histograms(curve)
    with np.errstate(divide="ignore", invalid="ignore"):
        middles = (edges[..., 1:] + edges[..., :-1]) / 2
        mean = (shares * middles).sum(-1, keepdims=True)
        deviation = np.sqrt((shares * (middles - mean) ** 2).sum(-1, keepdims=True))
        cumulated = ndtr((edges - mean) / deviation)
    outside = 1 - (cumulated[..., -1] - cumulated[..., 0])
    distance = (abs(shares - np.diff(cumulated)).sum(-1) + outside) / 2
    return _typical(distance[:, 1:])


def distribution_change(curve: xr.Dataset) -> np.ndarray:
    """Kolmogorov distance of an activation's histograms at successive recorded steps (Figure 1c), one value a seed.

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


def distribution_change_ratio(curves: Curves, one: Label, other: Label) -> np.ndarray:
    """log10 of the ratio of `distribution_change`."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.log10(distribution_change(curves[one]) / distribution_change(curves[other]))


def gaussian_difference(curves: Curves, one: Label, other: Label) -> np.ndarray:
    """Distance from a Gaussian, one minus other."""
    return distance_from_gaussian(curves[one]) - distance_from_gaussian(curves[other])
