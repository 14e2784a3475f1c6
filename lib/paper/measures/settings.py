"""Several settings at once: step sizes, initial weights."""

from __future__ import annotations

import numpy as np

from lib.paper.labels import Label
from lib.paper.measures.curves import CHANCE, Curves, late


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
