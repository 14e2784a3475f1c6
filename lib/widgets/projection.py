"""Theorems 4.1 and 4.2 for two or three samples, computed in the browser as the reader drags y, g and gamma."""

from __future__ import annotations

import anywidget
import traitlets

from lib.errors import check_choice
from lib.widgets import source


class Projection(anywidget.AnyWidget):
    """One unit with its batch in the plane orthogonal to 1, and both sides of the theorems.

    samples is 2 or 3; y, g and h [3] are the unit's values, the loss's gradient at z and the diagonal of
    its Hessian, of which the first `samples` count; gamma is the norm's scale; eps is 0.
    """

    _esm = source("projection")
    samples = traitlets.Int(3).tag(sync=True)
    y = traitlets.List(traitlets.Float(), [-1.0, 0.0, 1.0], minlen=3, maxlen=3).tag(sync=True)
    g = traitlets.List(traitlets.Float(), [0.0, -2.0, 2.0], minlen=3, maxlen=3).tag(sync=True)
    h = traitlets.List(traitlets.Float(), [1.0, 0.0, 0.0], minlen=3, maxlen=3).tag(sync=True)
    gamma = traitlets.Float(0.8).tag(sync=True)


def projection(samples: int = 3) -> Projection:
    """The widget, at the counterexample to Theorem 4.2's second display (three samples) or to Theorem 4.1 (two)."""
    check_choice("samples", samples, (2, 3))
    if samples == 2:
        return Projection(samples=2, y=[1.0, -1.0, 0.0], g=[1.0, -1.0, 0.0], h=[1.0, 1.0, 1.0], gamma=1.0)
    return Projection()
