"""Widgets: sliders and drawings that compute in the browser, with or without a kernel.

Each widget is an anywidget whose JavaScript is `common.js` (sliders, plots, colours)
followed by its own file. In a static page everything the sliders need has been sent along;
in JupyterLab a widget also finds its kernel and can ask it for new runs.
"""

from __future__ import annotations

from pathlib import Path

_HERE = Path(__file__).resolve().parent


def source(name: str) -> str:
    """The JavaScript module of widget `name`: the shared part, then its own."""
    return (_HERE / "common.js").read_text() + (_HERE / f"{name}.js").read_text()
