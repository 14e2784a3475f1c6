"""Widgets: sliders and drawings that compute in the browser, with or without a kernel.

Each widget is an anywidget whose JavaScript is `common.js` (sliders, plots, colours)
followed by its own file. In a static page everything the sliders need has been sent along;
in JupyterLab a widget also finds its kernel and can ask it for new runs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import anywidget
import numpy as np
from IPython.display import HTML, display
from matplotlib.figure import Figure

from lib import pages
from lib.paper import experiments, results

_HERE = Path(__file__).resolve().parent


def source(name: str, shared: bool = True) -> str:
    """The JavaScript of `name`: the part that widgets share, where `shared`, then its own."""
    return ((_HERE / "common.js").read_text() if shared else "") + (_HERE / f"{name}.js").read_text()


class Explorable(anywidget.AnyWidget):
    """A widget of the book.

    Displayed, it comes with a still picture, which a browser shows where JavaScript does not run.
    """

    #: What the picture shows, in a sentence.
    words = ""

    def still(self) -> tuple[Figure, str] | None:
        """The picture of what the widget opens on, and its alternative text; None where there are only words."""
        return None

    def _ipython_display_(self) -> None:
        figure, alt = self.still() or (None, "")
        display(pages.still(figure, alt, self.words))
        display(self._repr_mimebundle_()[0], raw=True)


def packed(arrays: Iterable[np.ndarray]) -> bytes:
    """The numbers of `arrays` in a row in float32, which is what a drawing can show; larger ones become infinite."""
    with np.errstate(over="ignore"):
        return b"".join(np.ascontiguousarray(array, "<f4").tobytes() for array in arrays)


def explore(widget: Callable[..., Any], experiment: str, scale: str, device: str = "cpu", **options: Any) -> Any:
    """The widget over the curves of an experiment or, where records of some are missing, a line that says so."""
    curves = results.whole(experiment, scale, device)
    if not curves:
        return HTML(
            f"<p><strong>{experiments.EXPERIMENTS[experiment].title}</strong>: not measured yet at {scale} scale.</p>"
        )
    return widget(curves, **options)
