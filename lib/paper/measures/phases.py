"""Phases of training, fixed in advance by the loss, and places of equal loss."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
import xarray as xr

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
