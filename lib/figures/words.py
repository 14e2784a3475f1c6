"""A figure in words and as a table: both are computed from the panels it was drawn from."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import pandas as pd

from lib.figures import style
from lib.figures.style import Drawn, Panel, Series
from lib.paper.labels import Label

#: An alternative text has fewer words than this.
MOST_WORDS = 60


def number(value: float) -> str:
    """A number as it is read aloud: three digits, and a power of ten where it would be long.

    >>> number(0.12345), number(12345), number(3.2e-9)
    ('0.123', '12,300', '3.2e-9')
    """
    if not np.isfinite(value):
        return "nothing (diverged)"
    if value == 0 or 1e-3 <= abs(value) < 1e6:
        rounded = float(f"{value:.3g}")
        return f"{rounded:,.0f}" if abs(rounded) >= 1_000 else f"{rounded:g}"
    digits, power = f"{value:.2g}".split("e") if "e" in f"{value:.2g}" else f"{value:.1e}".split("e")
    return f"{digits}e{int(power)}"


def told(series: Series, panel: Panel) -> np.ndarray:
    """What words compare of a series [n]: its median over seeds, or a band's width (upper edge for a fixed start)."""
    if series.rows is None:
        return series.high if panel.what == "gradient change" else series.high - series.low
    return series.middle


def ratio(one: Series, other: Series, panel: Panel) -> float:
    """How many times as large one series is as the other: median over the points that both have."""
    _, first, second = np.intersect1d(one.x, other.x, return_indices=True)
    with np.errstate(all="ignore"):
        ratios = told(one, panel)[first] / told(other, panel)[second]
    ratios = ratios[np.isfinite(ratios) & (ratios > 0)]
    return float(np.median(ratios)) if ratios.size else np.nan


def _called(series: Series, figure: Drawn) -> str:
    """The name of a series in words; a ratio of two networks has none, or its setting."""
    if series.label == Label("ratio"):
        return ""
    return style.name(series.label, figure.setting, plain=True)


def _begin(text: str) -> str:
    """Text with a capital where it begins with a word."""
    return text[:1].upper() + text[1:]


def _of(name: str, value: str) -> str:
    """A name with its value; a name with a comma in it has a colon, and no name has nothing."""
    return f"{name}{':' if ',' in name else ''} {value}" if name else value


def _listed(items: Sequence[str]) -> str:
    return ("; " if any(":" in item or "," in item for item in items) else ", ").join(items)


def _end(series: Series, panel: Panel) -> float:
    known = told(series, panel)
    known = known[np.isfinite(known)]
    return known[-1] if known.size else np.nan


def _course(series: Series, panel: Panel) -> str:
    """Start and end of a series, or the middle of its points."""
    if series.points:
        return f"{number(np.nanmedian(series.rows))} at {number(np.median(series.x))}"
    values = told(series, panel)
    known = values[np.isfinite(values)]
    if not known.size:
        return number(np.nan)
    text = f"{number(known[0])} to {number(known[-1])}"
    return text if np.isfinite(values[-1]) else f"{text} before it diverges"


def _long(panel: Panel, figure: Drawn) -> str:
    """Start and end of each network, and which of two is above."""
    names = [_called(series, figure) for series in panel.series]
    courses = [_of(name, _course(series, panel)) for series, name in zip(panel.series, names)]
    text = f"{_begin(panel.what)}: {_listed(courses)}"
    if len(panel.series) == 2 and not panel.series[0].points:
        text += _above(panel, names)
    return text + "."


def _above(panel: Panel, names: Sequence[str]) -> str:
    factor = ratio(*panel.series, panel)
    if not np.isfinite(factor):
        return ""
    upper, lower = names if factor >= 1 else names[::-1]
    return f"; typically {upper} is {number(max(factor, 1 / factor))} times {lower}"


def _short(panel: Panel, figure: Drawn) -> str:
    """Which of two networks is above and by what factor, or the highest and the lowest of more at the end."""
    if len(panel.series) == 1:
        return _long(panel, figure)
    if len(panel.series) == 2:
        above = _above(panel, [_called(series, figure) for series in panel.series])
        return f"{_begin(panel.what)}: {above[2:]}." if above else ""
    text = _extremes(panel, figure)
    return f"{_begin(panel.what)} at the end: {text}." if text else ""


def _extremes(panel: Panel, figure: Drawn) -> str:
    """The highest and the lowest of several networks at the end."""
    ends = sorted((_end(series, panel), _called(series, figure)) for series in panel.series)
    ends = [(value, name) for value, name in ends if np.isfinite(value)]
    if len(ends) < 2:
        return ""
    (low, lowest), (high, highest) = ends[0], ends[-1]
    return f"highest {_of(highest, number(high))}, lowest {_of(lowest, number(low))}"


def _together(panels: Sequence[Panel], figure: Drawn) -> Sequence[str]:
    """Panels of one quantity in one sentence, the longest first.

    It has factors between two networks, extremes of more, or the course of the first where there is one or another in
    each panel.
    """
    what = _begin(panels[0].what)
    names = [[_called(series, figure) for series in panel.series] for panel in panels]
    if len(names[0]) == 1 or any(found != names[0] for found in names):
        courses = [
            f"{_of(found[0], _course(panel.series[0], panel))} {panel.where}".strip()
            for panel, found in zip(panels, names)
        ]
        return [f"{what}: {_listed(courses[:count])}." for count in range(len(courses), 0, -1)]
    if len(names[0]) == 2:
        factors = [ratio(*panel.series, panel) for panel in panels]
        head = f"{what}, {' over '.join(names[0])}"
        items = [f"{number(factor)} {panel.where}" for factor, panel in zip(factors, panels) if np.isfinite(factor)]
        known = [factor for factor in factors if np.isfinite(factor)]
        if not known:
            return "", ""
        return f"{head}: {', '.join(items)}.", f"{head}: between {number(min(known))} and {number(max(known))}."
    ends = [(_extremes(panel, figure), panel.where) for panel in panels]
    items = [f"{text} {where}".strip() for text, where in ends if text]
    if not items:
        return "", ""
    return f"{what} at the end: {'; '.join(items)}.", f"{what} at the end: {items[-1]}."


def _spread(values: Sequence[float]) -> str:
    low, high = number(min(values)), number(max(values))
    return low if low == high else f"{low} to {high}"


def _shapes(figure: Drawn) -> list[str]:
    """The deviation of each network's activations at the first and last step, over the layers shown."""
    sentences = []
    for label in dict.fromkeys(label for panel in figure.panels for label in panel.shapes):
        drawn = [panel.shapes[label] for panel in figure.panels if label in panel.shapes]
        first, last = ([deviation(shapes[at]) for shapes in drawn] for at in (0, -1))
        sentences.append(
            f"{style.name(label, figure.setting, plain=True)} {_spread(first)} at first, {_spread(last)} at last"
        )
    return sentences


def deviation(shape: style.Shape) -> float:
    """The standard deviation of a histogram."""
    if not shape.counts.sum():
        return np.nan
    middles = (shape.edges[1:] + shape.edges[:-1]) / 2
    mean = np.average(middles, weights=shape.counts)
    return float(np.sqrt(np.average((middles - mean) ** 2, weights=shape.counts)))


def describe(figure: Drawn) -> str:
    """A figure in under `MOST_WORDS` words: axes, start and end of each network, which is above by what factor.

    Numbers are medians over seeds, and factors medians over the axis. Where that is too long, later panels are told in
    short or not.
    """
    panels = [panel for panel in figure.panels if panel.series]
    if not panels:
        labels = list(dict.fromkeys(label for panel in figure.panels for label in panel.shapes))
        shown = f"{len(labels)} network{'s' if len(labels) > 1 else ''} in {len(figure.panels)} panels"
        text = f"Distributions of activations over training steps, {shown}; deviations over layers:"
        return _fit(text, [[f"{sentence}."] for sentence in _shapes(figure)])
    groups: dict[str, list[Panel]] = {}
    for panel in panels:
        groups.setdefault(panel.what, []).append(panel)
    choices = [
        [_long(group[0], figure), _short(group[0], figure)] if len(group) == 1 else [*_together(group, figure)]
        for group in groups.values()
    ]
    return _fit(_opening(panels), choices)


def _opening(panels: Sequence[Panel]) -> str:
    """How many charts there are, and against what."""
    first = panels[0]
    kind = "scatter" if first.series[0].points else "line"
    head = f"{len(panels)} {kind} charts" if len(panels) > 1 else f"{_begin(kind)} chart"
    axes = {panel.x for panel in panels}
    if len(axes) > 2:
        return f"{head}, each against a setting."
    x = np.concatenate([series.x for series in first.series])
    axis = {"step": "training step"}.get(first.x, first.x.replace("$", "").partition(";")[0])
    return f"{head} against {axis} ({number(x.min())} to {number(x.max())})."


def _fit(text: str, choices: Sequence[Sequence[str]]) -> str:
    """`text` with a sentence of each of `choices`; later ones are shortened first, then left out.

    The first sentence of a choice is its longest.
    """
    places = [0] * len(choices)

    def whole() -> str:
        sentences = [forms[place] for forms, place in zip(choices, places) if place < len(forms)]
        return " ".join([text, *filter(None, sentences)])

    for shorter in (False, True):  # the last form of a sentence is none
        for at in reversed(range(len(choices))):
            while len(whole().split()) >= MOST_WORDS and places[at] < len(choices[at]) - (not shorter):
                places[at] += 1
    return whole()


def table(figure: Drawn) -> pd.DataFrame:
    """The numbers that a figure shows, a row for each network and each point of a panel's axis.

    Columns are the panel, its quantity and axis, the network with its setting, the value on the axis, and the median
    over seeds; `low` and `high` are the edges of a shade or a band. A column for each seed follows, where seeds are
    drawn. A distribution has a row for each bin instead: `low` and `high` are the bin's edges and `median` is its
    count.
    """
    rows = []
    for panel in figure.panels:
        quantity = ", ".join(filter(None, (panel.what, panel.where)))
        head = {"panel": panel.title, "quantity": quantity, "axis": panel.x}
        for series in panel.series:
            network = {"network": style.name(series.label, figure.setting, plain=True)}
            ends = series.ends or (np.full(len(series.x), np.nan),) * 2
            for at, x in enumerate(series.x):
                values = {} if series.rows is None or len(series.rows) > style.MANY else series.rows[:, at]
                seeds = {f"seed {seed + 1}": value for seed, value in enumerate(values)}
                middle = series.middle[at] if series.rows is not None else np.nan
                rows.append(
                    head | network | {"x": x, "median": middle, "low": ends[0][at], "high": ends[1][at]} | seeds
                )
        for label, shapes in panel.shapes.items():
            network = {"network": style.name(label, figure.setting, plain=True)}
            for shape in shapes:
                for count, low, high in zip(shape.counts, shape.edges, shape.edges[1:]):
                    rows.append(head | network | {"x": shape.step, "median": count, "low": low, "high": high})
    return pd.DataFrame(rows).dropna(axis="columns", how="all")


#: Letters that claims spell out, and how the chapters write them: a sign and what stands below it.
_LETTERS = {
    "l_p": ("\u2113", "p"),
    "l1": ("\u2113", "1"),
    "l2": ("\u2113", "2"),
    "linf": ("\u2113", "\u221e"),
    "yhat": ("\u0177", ""),
    "gamma": ("\u03b3", ""),
    "sigma": ("\u03c3", ""),
}


def letters(text: str, below: str = "{}") -> str:
    """A claim's words with letters and numbers as the chapters write them; `below` is how a subscript is.

    >>> letters("l1 at step size 1e-06: <g, yhat> over gamma^2")
    'ℓ1 at step size 1e-6: ⟨g, ŷ⟩ over γ²'
    """

    def sign(word: re.Match) -> str:
        letter, subscript = _LETTERS[word[0]]
        return letter + (below.format(subscript) if subscript else "")

    text = re.sub(r"(?:<|&lt;)(\w+, \w+)(?:>|&gt;)", "\u27e8\\1\u27e9", text).replace("^2", "\u00b2")
    text = re.sub(r"\b(\de-)0(\d)\b", r"\1\2", text)
    return re.sub(rf"\b({'|'.join(_LETTERS)})(?![a-z0-9_])", sign, text)
