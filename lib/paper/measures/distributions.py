"""Distributions of activations: moments and histograms (Figures 1c, 6, 8 and 9)."""

from __future__ import annotations

import numpy as np
import xarray as xr
from scipy.special import ndtr

from lib.paper.labels import Label
from lib.paper.measures.curves import Curves, but_seed


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


def moment_ratio(curves: Curves, moment: str, one: Label, other: Label, plain: bool = True) -> np.ndarray:
    """log10 of the ratio of the median changes of a moment between successive steps (see `moment_change`)."""
    changes = [moment_change(curves[label], moment, plain) for label in (one, other)]
    medians = [np.nanmedian(change.reshape(len(change), -1), 1) for change in changes]
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.log10(medians[0] / medians[1])


def deviation(curves: Curves, one: Label) -> np.ndarray:
    """log10 of the deviation of activations over the batch: median over steps, layers and units."""
    values = np.log10(curves[one].activation_var)
    return values.median(but_seed(values)).values / 2


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


def gaussian_difference(curves: Curves, one: Label, other: Label) -> np.ndarray:
    """Distance from a Gaussian, one minus other."""
    return distance_from_gaussian(curves[one]) - distance_from_gaussian(curves[other])


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
