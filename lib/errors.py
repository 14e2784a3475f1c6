"""The two ways things go wrong, and the checks that say so before work starts.

A message names the value, what is allowed and the way out. The command line
turns `UsageError` into exit code 2 and `Failure` into exit code 1.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from numbers import Integral, Real


class UsageError(ValueError):
    """The caller asked for something that cannot be: an unknown name, a value out of range."""


class Failure(RuntimeError):
    """The request was sound but could not be carried out: a bad file, no space, a failing cell."""


def check_choice(name: str, value: object, allowed: Iterable[object]) -> None:
    """Raise `UsageError` unless `value` is one of `allowed`."""
    allowed = list(allowed)
    if value not in allowed:
        names = ", ".join(str(choice) for choice in allowed)
        raise UsageError(f"{name} is {value!r}, but must be one of: {names}.")


def check_number(
    name: str,
    value: object,
    low: float = -math.inf,
    high: float = math.inf,
    *,
    low_open: bool = False,
    integer: bool = False,
) -> None:
    """Raise `UsageError` unless `value` is a finite number in [low, high] (or (low, high])."""
    kind = "a whole number" if integer else "a number"
    bounds = f"{kind} in {'(' if low_open else '['}{low:g}, {high:g}]"
    sound = isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)
    if sound and integer:
        sound = isinstance(value, Integral)
    if not sound or value > high or value < low or (low_open and value == low):
        raise UsageError(f"{name} is {value!r}, but must be {bounds}; change {name}.")
