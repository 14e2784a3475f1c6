"""Labels: what a curve of an experiment is called."""

from __future__ import annotations

from typing import NamedTuple


class Label(NamedTuple):
    """The normalization of a network and, where an experiment varies something else, too, the value of that.

    >>> print(Label("none", 0.1))
    none, 0.1
    >>> Label("none", 1) == Label("none", 1.0)
    True
    """

    norm: str
    setting: float | str | None = None

    def __str__(self) -> str:
        if self.setting is None:
            return self.norm
        return f"{self.norm}, {self.setting if isinstance(self.setting, str) else format(self.setting, 'g')}"


#: Networks of most experiments; the last has Algorithm 1's noise and no normalization.
NONE, BATCHNORM, NOISY, NOISE = map(Label, ("none", "batchnorm", "noisy", "none + noise"))
