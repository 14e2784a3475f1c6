"""What all figures share: colours, names and styles of networks, lines with their seeds, axes and legends."""

from __future__ import annotations

import html

import matplotlib

matplotlib.use("agg")
import numpy as np
import pandas as pd
import xarray as xr
from IPython.display import HTML
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatterSciNotation, NullFormatter

Curves = dict[str, xr.Dataset]
COLOURS = {
    "none": "#0072B2", "batchnorm": "#D55E00", "noisy": "#009E73", "l1": "#CC79A7", "l2": "#E69F00",
    "linf": "#56B4E9", "none + noise": "#555555",
}  # fmt: skip
NAMES = {
    "none": "no normalization", "batchnorm": "BatchNorm", "noisy": "noisy BatchNorm", "l1": "$\\ell_1$",
    "l2": "$\\ell_2$", "linf": "$\\ell_\\infty$", "none + noise": "noise, no normalization",
}  # fmt: skip
#: What may stand behind the norm in a curve's label, beside a step size.
DETAILS = {"gamma": "$\\gamma = \\sqrt{\\pi/2}$", "augmented": "augmented"}
LINES = dict.fromkeys(("0.5", *DETAILS), "--") | {"0.03": ":"}
#: In deep linear networks l2 is BatchNorm but for the first layer: dashes let one be seen below the other.
OWN_LINES = {"l2": (0, (4, 3))}
STYLE = {"font.size": 10, "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "grid.alpha": 0.25}


def figure(rows: int, columns: int, width: float = 9.0, height: float = 3.1) -> tuple[Figure, np.ndarray]:
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(width, height * rows), layout="constrained", facecolor="white")
        return figure, figure.subplots(rows, columns, squeeze=False)


def style(label: str) -> dict:
    norm, _, detail = label.partition(", ")
    return {"color": COLOURS[norm], "linestyle": LINES.get(detail, OWN_LINES.get(norm, "-"))}


def name(label: str) -> str:
    norm, _, detail = label.partition(", ")
    size = f"step size {detail}" if detail and detail not in DETAILS else DETAILS.get(detail, "")
    return NAMES[norm] + (f", {size}" if size else "")


def lines(axes: Axes, x: np.ndarray, y: np.ndarray, label: str, log: bool = False) -> None:
    """One thin line a seed (rows of y) and their mean, thick."""
    look = style(label)
    for row in y:
        axes.plot(x, row, lw=0.7, alpha=0.4, **look)
    with np.errstate(all="ignore"):
        mean = np.exp(np.log(y).mean(0)) if log else y.mean(0)
    axes.plot(x, mean, lw=1.8, label=name(label), **look)


def smooth(curve: xr.DataArray, dim: str, window: int) -> tuple[np.ndarray, np.ndarray]:
    """Means of successive windows: their middles [n] and values [seed, n]; a NaN makes its window NaN."""
    coarse = curve.coarsen({dim: max(1, window)}, boundary="trim").reduce(np.mean)
    return coarse[dim].values, coarse.transpose("seed", dim).values


def legend(figure: Figure, axes: Axes, columns: int = 4) -> None:
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=min(columns, len(labels)), frameon=False)


class _Plain(LogFormatterSciNotation):
    """Labels of a logarithmic axis, without powers of ten where the numbers are short."""

    def __call__(self, x: float, pos: int | None = None) -> str:
        text = super().__call__(x, pos)
        return f"{x:g}" if text and 1e-3 <= x < 1e4 else text


def label(axes: Axes, title: str, x: str, y: str, log: bool = False) -> None:
    axes.set_title(title, fontsize=10, loc="left")
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    if log:
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(_Plain())
        axes.yaxis.set_minor_formatter(_Plain(labelOnlyBase=False))


def focus(axes: Axes, medians: np.ndarray, room: float = 100) -> None:
    """End a logarithmic axis at `room` times what lies between the 5 % and 95 % quantiles of medians, and say so if anything lies outside."""
    finite = medians[np.isfinite(medians) & (medians > 0)]
    if not finite.size:
        return
    ends = np.quantile(finite, (0.05, 0.95)) * (1 / room, room)
    low, high = axes.get_ylim()
    if low < ends[0] or high > ends[1]:
        axes.set_ylim(max(low, ends[0]), min(high, ends[1]))
        axes.text(0.98, 0.97, "some seeds leave the axis", transform=axes.transAxes, ha="right", va="top", fontsize=7)


def ticks(axes: Axes, values: np.ndarray) -> None:
    """A logarithmic axis that is labelled at the measured values."""
    axes.set_xscale("log")
    axes.set_xticks(values, [f"{value:g}" for value in values])
    axes.xaxis.set_minor_formatter(NullFormatter())


def table(frame: pd.DataFrame, source: str = "", links: dict[str, str] | None = None) -> HTML:
    """A table for a page: small, without an index, sorted by a click on a column's head; below it, where it comes from.

    A cell that is one of `links` leads to its address.
    """
    text = frame.to_html(index=False, classes="bn-ledger", border=0)
    for cell, address in (links or {}).items():
        text = text.replace(f"<td>{html.escape(cell)}</td>", f'<td><a href="{html.escape(address)}">{html.escape(cell)}</a></td>')
    below = f'<p class="bn-provenance">{html.escape(source)}</p>' if source else ""
    return HTML(text + below)
