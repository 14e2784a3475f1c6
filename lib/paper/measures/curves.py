"""Quantities of one curve, and what every measure is made of.

A network that has diverged is not left out: its accuracy counts as chance, its loss as that of the untrained network,
its landscape as 10^DIVERGED times as rough as one that has not.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import xarray as xr

from lib.paper.labels import Label
from lib.quantities import effective_smoothness
from lib.specs import spec_of

Curves = dict[Label, xr.Dataset]
Measure = Callable[[Curves], np.ndarray]
CHANCE = 0.1
DIVERGED = 12.0


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


def tail(curve: xr.Dataset, name: str, part: float = 1 / 4) -> xr.DataArray:
    """The last part of training, with a value in place of divergence."""
    tail = curve[name].isel(step=slice(-(int(part * curve.sizes["step"]) or 1), None))
    return tail.where(np.isfinite(tail), CHANCE if name == "accuracy" else curve[name].isel(step=0))


def late(curve: xr.Dataset, name: str) -> xr.DataArray:
    """Mean of the training accuracy or loss over the last quarter of training, one value a seed."""
    return tail(curve, name).mean("step")


def log_of_ratio(one: xr.DataArray, other: xr.DataArray) -> xr.DataArray:
    """log10(one / other), with a value where one of them has diverged; NaN, nothing to compare, where both have.

    >>> log_of_ratio(xr.DataArray([100.0, np.nan]), xr.DataArray([1.0, np.nan])).values
    array([ 2., nan])
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.log10(one.fillna(np.inf) / other.fillna(np.inf))
    return ratio.clip(-DIVERGED, DIVERGED)


def log_ratios(curves: Curves, quantity: str, one: Label, other: Label) -> xr.DataArray:
    """log10 of quantity(one) / quantity(other) at each probed step."""
    return log_of_ratio(*(QUANTITIES[quantity](curves[label]) for label in (one, other)))


def least(curves: Curves, each: tuple[Measure, ...]) -> np.ndarray:
    """The smallest of several measures, seed by seed: above a bound only if all of them are."""
    return np.min([measure(curves) for measure in each], 0)


def greatest(curves: Curves, each: tuple[Measure, ...]) -> np.ndarray:
    """The largest of several measures, seed by seed: below a bound only if all of them are."""
    return np.max([measure(curves) for measure in each], 0)


def but_seed(values: xr.DataArray) -> list[str]:
    return [dim for dim in values.dims if dim != "seed"]
