"""How fast and how well networks train (Figures 1, 2 and 5)."""

from __future__ import annotations

import numpy as np
import xarray as xr

from lib.paper.labels import Label
from lib.paper.measures.curves import CHANCE, Curves, late
from lib.paper.measures.phases import LEFT_PLATEAU, progress


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


def share_of_gain(curves: Curves, none: Label, norm: Label, noisy: Label) -> np.ndarray:
    """The share of BatchNorm's gain in late training accuracy that noisy BatchNorm keeps."""
    none, norm, noisy = (late(curves[label], "accuracy") for label in (none, norm, noisy))
    return ((noisy - none) / (norm - none)).values


def share_of_speed(curves: Curves, level: float, none: Label, norm: Label, noisy: Label) -> np.ndarray:
    """Share of BatchNorm's speed-up that noisy BatchNorm keeps, in the logarithm of steps to an accuracy of `level`."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return steps_ratio(curves, none, noisy, level) / steps_ratio(curves, none, norm, level)


def plateau_difference(curves: Curves, one: Label, other: Label) -> np.ndarray:
    """Share of training that is spent on the plateau, one minus other."""
    shares = [(progress(curves[label]) < LEFT_PLATEAU).mean("step") for label in (one, other)]
    return (shares[0] - shares[1]).values
