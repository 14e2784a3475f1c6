"""The two ways things go wrong, and the checks that say so before work starts.

A message names the value, what is allowed and the way out. The command line
turns `UsageError` into exit code 2 and `Failure` into exit code 1.
"""

from __future__ import annotations

import difflib
import math
import textwrap
from collections.abc import Iterable
from numbers import Integral, Real


class UsageError(ValueError):
    """The caller asked for something that cannot be: an unknown name, a value out of range.

    However long the value, a message has at most 900 characters; what stands in the middle goes first.
    """

    def __str__(self) -> str:
        text = super().__str__()
        return text if len(text) <= 900 else f"{text[:600]} ... {text[-250:]}"


class Failure(RuntimeError):
    """The request was sound but could not be carried out: a bad file, no space, a failing cell."""


def check_choice(name: str, value: object, allowed: Iterable[object]) -> None:
    """Raise `UsageError` unless `value` is one of `allowed`. It names them all, or of many those that come nearest."""
    allowed = list(allowed)
    if value not in allowed:
        choices = [str(choice) for choice in allowed]
        names = ", ".join(choices)
        if len(names) > 400:
            near = difflib.get_close_matches(str(value)[:60], choices, len(choices), 0)
            names = textwrap.shorten(
                ", ".join(near), 300, break_on_hyphens=False, placeholder=f" ... ({len(choices)} in all)"
            )
        raise UsageError(f"{name} is {shown(value)}, but must be one of: {names}.")


def shown(value: object) -> str:
    """A value as a message names it: its `repr`, in one line of at most 60 characters."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # a whole number of thousands of digits, a list of lists of lists ...
        text = f"a {type(value).__name__} that is too long to show"
    return text if len(text) <= 60 else f"{text[:50]}... ({len(text)} characters)"


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
    sound = isinstance(value, Real) and not isinstance(value, bool) and value == value and abs(value) != math.inf
    if sound and integer:
        sound = isinstance(value, Integral)
    if not sound or value > high or value < low or (low_open and value == low):
        raise UsageError(f"{name} is {shown(value)}, but must be {bounds}; change {name}.")
