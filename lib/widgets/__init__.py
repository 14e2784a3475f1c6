"""Widgets: sliders and drawings that compute in the browser, with or without a kernel.

Each widget is an anywidget whose JavaScript is `common.js` (sliders, plots, colours)
followed by its own file. In a static page everything the sliders need has been sent along;
in JupyterLab a widget also finds its kernel and can ask it for new runs.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from IPython.display import HTML

from lib import experiments, results

_HERE = Path(__file__).resolve().parent


def source(name: str) -> str:
    """The JavaScript module of widget `name`: the shared part, then its own."""
    return (_HERE / "common.js").read_text() + (_HERE / f"{name}.js").read_text()


def explore(widget: Callable[..., Any], experiment: str, scale: str, device: str = "cpu", **options: Any) -> Any:
    """The widget over the curves of an experiment or, where records of some are missing, a line that says so."""
    curves = results.whole(experiment, scale, device)
    if not curves:
        return HTML(f"<p><strong>{experiments.EXPERIMENTS[experiment].title}</strong>: not measured yet at {scale} scale.</p>")
    return widget(curves, **options)
