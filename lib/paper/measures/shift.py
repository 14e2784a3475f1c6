"""Internal covariate shift (Figure 3)."""

from __future__ import annotations

import numpy as np

from lib.paper.labels import Label
from lib.paper.measures.curves import Curves
from lib.paper.measures.phases import at_equal_loss, in_phase


def shift(curves: Curves, one: Label, name: str = "shift_cosine") -> np.ndarray:
    """Median over steps and over the layers that have a predecessor."""
    return curves[one][name].isel(layer=slice(1, None)).median(("shift_step", "layer")).values


def shift_difference(curves: Curves, one: Label, other: Label) -> np.ndarray:
    """`shift` of one minus that of other."""
    return shift(curves, one) - shift(curves, other)


def shift_difference_in(curves: Curves, phase: str, one: Label, other: Label) -> np.ndarray:
    """Cosine of G and G', one minus other, while `one` is in a phase of its training: median over layers and steps."""
    parts = [curves[label].shift_cosine.isel(layer=slice(1, None)) for label in (one, other)]
    return in_phase(parts[0] - parts[1], "shift_step", curves[one], phase).median(("shift_step", "layer")).values


def shift_difference_at_equal_loss(curves: Curves, one: Label, other: Label, bins: int = 12) -> np.ndarray:
    """Cosine of G and G', one minus other, at equal training loss of both: medians over layers, then over losses."""
    pair = curves[one], curves[other]
    cosines = [curve.shift_cosine.isel(layer=slice(1, None)).median("layer") for curve in pair]
    found = at_equal_loss(*cosines, pair, bins)
    return np.array([np.median(pairs[:, 0] - pairs[:, 1]) if len(pairs) else np.nan for pairs in found])


def least_shift_cosine(curves: Curves, one: Label, part: float = 0.05) -> np.ndarray:
    """Cosine of G and G' below which only a `part` of all steps and layers lies."""
    return curves[one].shift_cosine.isel(layer=slice(1, None)).quantile(part, ("shift_step", "layer")).values


def shift_l2_ratio(curves: Curves, one: Label, other: Label) -> np.ndarray:
    """log10 of the ratio of |G - G'|: median over steps and layers."""
    parts = [curves[label].shift_l2.isel(layer=slice(1, None)) for label in (one, other)]
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.log10(parts[0] / parts[1])
    return ratio.where(np.isfinite(ratio)).median(("shift_step", "layer")).values
