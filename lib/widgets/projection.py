"""Theorems 4.1 and 4.2 for two or three samples, computed in the browser as the reader drags y, g and gamma."""

from __future__ import annotations

import numpy as np
import traitlets

from lib.errors import check_choice
from lib.figures.style import Drawn, Panel, Series, draw
from lib.paper.labels import Label
from lib.widgets import Explorable, source


class Projection(Explorable):
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
    words = (
        "The gradient with respect to a unit's outputs, and what the norm lets through to its inputs, sample by sample."
    )

    def still(self) -> tuple[Drawn, str]:
        y, g = (np.array(values[: self.samples]) for values in (self.y, self.g))
        yhat = (y - y.mean()) / y.std()
        through = self.gamma / y.std() * (g - g.mean() - yhat * (g * yhat).mean())
        samples = np.arange(1, self.samples + 1)
        parts = {"the gradient g": g, "what reaches y": through, "the unit, normalized": yhat}
        series = [Series(Label(name), samples, values[None], points=True) for name, values in parts.items()]
        figure = draw([Panel("one unit and its batch", "sample", "value", "value", series)], 1)
        return figure, "; ".join(
            f"{name}: {', '.join(f'{x:.3g}' for x in values)}" for name, values in parts.items()
        ) + "."


def projection(samples: int = 3) -> Projection:
    """The widget, at the counterexample to Theorem 4.2's second display (three samples) or to Theorem 4.1 (two)."""
    check_choice("samples", samples, (2, 3))
    if samples == 2:
        return Projection(samples=2, y=[1.0, -1.0, 0.0], g=[1.0, -1.0, 0.0], h=[1.0, 1.0, 1.0], gamma=1.0)
    return Projection()
