"""What deep linear networks have learned, and whether they still do."""

from __future__ import annotations

import numpy as np
import xarray as xr

from lib.paper.labels import Label
from lib.paper.measures.curves import CHANCE, Curves, tail


def linear_loss_ratio(curves: Curves, one: Label, other: Label, part: float = 1 / 4) -> np.ndarray:
    """log10 of the ratio of losses, averaged over the last part of training (in log10)."""
    losses = [np.log10(tail(curves[label], "loss", part)).mean("step") for label in (one, other)]
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
