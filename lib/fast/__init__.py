"""The same numbers sooner: compiled loops behind one switch.

The formulas in `lib.norms` and `lib.models` are the definitions. Each twin here computes what its formula says and is
tested against it; its docstring says what it buys. Inside `plain()` every layer and problem computes by its formula.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

_enabled = True


def enabled() -> bool:
    """Whether layers and problems may use the fast twins: true but inside `plain()`."""
    return _enabled


@contextlib.contextmanager
def plain() -> Iterator[None]:
    """A context in which everything computes by its formula, for the whole process.

    The results differ from the twins' by rounding.

        >>> from lib import fast
        >>> from lib.norms import ActivationNoise
        >>> from lib.specs import Noise
        >>> a = torch.randn(8, 3)
        >>> with fast.plain():
        ...     noisy = ActivationNoise(Noise(), seed=0)(a)
        >>> torch.allclose(noisy, ActivationNoise(Noise(), seed=0)(a), atol=1e-5)
        True
    """
    global _enabled
    before, _enabled = _enabled, False
    try:
        yield
    finally:
        _enabled = before
