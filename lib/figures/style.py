"""What all figures share: a figure is made of panels, which are plain data, and drawn by one function.

A `Panel` holds `Series`: what one network measured, a row a seed. `draw` turns panels into a `Drawn`, a matplotlib
figure that still has its panels. So the picture, its alternative text (`lib.figures.words.describe`) and its table
(`lib.figures.words.table`) show the same numbers. Thin lines are seeds and thick lines their median; with more than
`MANY` seeds a shade from the lower to the upper quartile stands for the thin lines.
"""

from __future__ import annotations

import functools
import io
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import matplotlib

matplotlib.use("agg")
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.path import Path
from matplotlib.ticker import AutoLocator, FuncFormatter, LogLocator, NullFormatter, NullLocator

from lib.paper.labels import Label
from lib.specs import ImageSpec, spec_of

Curves = Mapping[Label | str, xr.Dataset]

#: With more seeds than this, thin lines would hide one another.
MANY = 8
#: More shaded bands than this would mix into grey.
MOST_BANDS = 3
#: More passes over the images than this are not marked.
MOST_EPOCHS = 12
#: Widths in inches: of a page, of one panel on it, of one column of panels, of a phone.
PAGE, PANEL, COLUMN, PHONE = 8.8, 6.4, 4.4, 3.6
GROUND = {"light": "#ffffff", "dark": "#121212"}
INK = ("#222222", "#e6e6e6")  # on a light ground, on a dark one
FAINT = ("#767676", "#8f949c")
#: A network's colours on a light and on a dark ground, and its marker: either tells it from the others.
LOOKS = {
    "none": ("#0072b2", "#56b4e9", "o"),
    "batchnorm": ("#d55e00", "#ff8a3d", "s"),
    "noisy": ("#00845f", "#2cc295", "^"),
    "l1": ("#c0447c", "#f08fc0", "D"),
    "l2": ("#8a6100", "#e0b040", "v"),
    "linf": ("#6a3d9a", "#b794f4", "P"),
    "none + noise": ("#555555", "#b5b5b5", "X"),
}
#: Networks that are not ours have these in the order in which a figure meets them (see `_stranger`).
OTHERS = (
    ("#117a8b", "#5bd1e0", "<"),
    ("#a33b20", "#f5a08c", ">"),
    ("#4d7c0f", "#a3d65c", "h"),
    ("#8b3a8b", "#e39be3", "*"),
    ("#3f51b5", "#9fa8ff", "p"),
)
#: Every colour of a figure on a light ground, and the one that replaces it on a dark ground.
DARKER = dict([INK, FAINT, *((light, dark) for light, dark, _ in (*LOOKS.values(), *OTHERS))])
NAMES = {
    "none": "no normalization",
    "batchnorm": "BatchNorm",
    "noisy": "noisy BatchNorm",
    "l1": "$\\ell_1$",
    "l2": "$\\ell_2$",
    "linf": "$\\ell_\\infty$",
    "none + noise": "noise, no normalization",
    "ratio": "without BatchNorm / with",
    "gamma": "$\\gamma = \\sqrt{\\pi/2}$",
    "inner product positive": "$\\langle\\hat y, g\\rangle > 0$",
    "form not larger": "$v^THv \\leq g^THg$",
}
#: Lines of a network's first to fifth setting.
DASHES = ("-", (0, (5, 2)), (0, (1.5, 1.5)), (0, (6, 2, 1.5, 2)), (0, (9, 3)))
_RC = {
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": FAINT[0],
    "grid.alpha": 0.25,
    "grid.linewidth": 0.6,
    "text.color": INK[0],
    "axes.labelcolor": INK[0],
    "axes.edgecolor": INK[0],
    "xtick.color": INK[0],
    "ytick.color": INK[0],
    "svg.fonttype": "path",
    "path.simplify_threshold": 0.3,
}


@dataclass(frozen=True)
class Series:
    """What one network measured in one panel.

    `rows` [seed, n] holds the value of every seed at `x` [n]; NaN is a network that has diverged. A band goes from
    `low` to `high` [n] and has no rows. `lost` [seed, n] tells which points belong to a seed that diverged later.
    `points` asks for markers without lines.
    """

    label: Label
    x: np.ndarray
    rows: np.ndarray | None = None
    low: np.ndarray | None = None
    high: np.ndarray | None = None
    lost: np.ndarray | None = None
    points: bool = False

    @property
    def middle(self) -> np.ndarray:
        """The median over seeds [n], NaN where more than half of them have diverged; of a band, its upper edge."""
        if self.rows is None:
            return self.high
        known = np.isfinite(self.rows)
        with np.errstate(all="ignore"):
            value = np.nanmedian(np.where(known | known.any(0, keepdims=True), self.rows, 0.0), 0)
        return np.where(2 * known.sum(0) >= len(self.rows), value, np.nan)

    @property
    def ends(self) -> tuple[np.ndarray, np.ndarray] | None:
        """The edges of a band, or the quartiles of more than `MANY` seeds, or None."""
        if self.rows is None:
            return self.low, self.high
        if len(self.rows) <= MANY:
            return None
        known = np.isfinite(self.middle)
        rows = np.where(known, self.rows, 0.0)
        low, high = np.nanquantile(rows, (0.25, 0.75), axis=0)
        return np.where(known, low, np.nan), np.where(known, high, np.nan)


@dataclass(frozen=True)
class Shape:
    """A distribution at `step`: `counts` [bins] between `edges` [bins + 1]."""

    step: int
    counts: np.ndarray
    edges: np.ndarray


@dataclass(frozen=True)
class Panel:
    """One panel: what its axes are called, and what is in it.

    `what` names the quantity in words, without formulas, and `where` what tells this panel from others with the same
    quantity ("in layer 2"). `level` is a value that a dotted line marks, and `level_name` what it is. Panels of one
    figure with the same `share` have one vertical axis in common.
    """

    title: str
    x: str
    y: str
    what: str
    series: Sequence[Series] = ()
    log: bool = False
    log_x: bool = False
    level: float | None = None
    level_name: str = ""
    limits: tuple[float, float] | None = None
    ticks: np.ndarray | None = None
    epoch: int | None = None
    share: str = ""
    shapes: Mapping[Label, Sequence[Shape]] = field(default_factory=dict)
    spans: Sequence[tuple[float, float, str]] = ()
    room: float | None = None
    where: str = ""

    @property
    def labels(self) -> list[Label]:
        """The networks in the panel."""
        return list(dict.fromkeys([*(series.label for series in self.series), *self.shapes]))


class Drawn(Figure):
    """A matplotlib figure that knows the panels it was drawn from; `narrow` draws it for a phone, in one column."""

    panels: tuple[Panel, ...] = ()
    setting: str = ""
    narrow: Callable[[], Drawn] | None = None


def of_curves(function: Callable[..., Drawn]) -> Callable[..., Drawn]:
    """A figure function that draws nothing where there are no curves, because nothing has been measured yet."""

    @functools.wraps(function)
    def drawn(curves: Curves | xr.Dataset, *options, **more) -> Drawn:
        return Drawn() if isinstance(curves, Mapping) and not len(curves) else function(curves, *options, **more)

    return drawn


def curves_of(curves: Curves | xr.Dataset) -> dict[Label, xr.Dataset]:
    """Curves with a `Label` each and a `seed` dimension, from a mapping of names to records, or from one record.

    >>> list(curves_of({"mine": xr.Dataset()}))
    [Label(norm='mine', setting=None)]
    """
    if isinstance(curves, xr.Dataset):
        curves = {curves.attrs.get("name", "network"): curves}
    return {
        label if isinstance(label, Label) else Label(str(label)): curve
        if "seed" in curve.dims
        else curve.expand_dims("seed")
        for label, curve in curves.items()
    }


def epoch(curves: Mapping[Label, xr.Dataset]) -> int | None:
    """Steps to a pass over the images, or None where the curves do not share one or have no spec."""
    found = set()
    for curve in curves.values():
        spec = spec_of(curve) if "spec" in curve.attrs else None
        found.add(spec.train_images // spec.batch_size if isinstance(spec, ImageSpec) else None)
    return found.pop() if len(found) == 1 else None


def smooth(curve: xr.DataArray, dim: str, points: int = 60) -> tuple[np.ndarray, np.ndarray]:
    """About `points` means of successive windows: middles [n] and values [seed, n]; a NaN makes its window NaN."""
    coarse = curve.coarsen({dim: max(1, curve.sizes[dim] // points)}, boundary="trim").reduce(np.mean)
    return coarse[dim].values, coarse.transpose("seed", dim).values


def rows_of(values: xr.DataArray) -> np.ndarray:
    """The values [seed, n] of an array with two dimensions, one of which is `seed`."""
    return values.transpose("seed", ...).values


def name(label: Label, setting: str = "", plain: bool = False) -> str:
    """A network's name in a legend, or in words if `plain`; `setting` says what its value is.

    >>> name(Label("none", 0.1), "step size")
    'no normalization, step size 0.1'
    >>> name(Label("batchnorm", 16), "layers")
    'BatchNorm, 16 layers'
    >>> name(Label("l1"), plain=True)
    'l1'
    >>> name(Label("ratio", "width 2"))
    'width 2'
    """
    if label.norm == "ratio" and label.setting is not None:
        return str(label.setting)
    known = NAMES.get(label.norm, label.norm)
    if plain and "$" in known:
        known = {"l1": "l1", "l2": "l2", "linf": "l-infinity"}.get(label.norm, known.replace("$", ""))
    if label.setting is None:
        return known
    if isinstance(label.setting, str):
        detail = label.setting if plain else NAMES.get(label.setting, label.setting)
    else:
        value = f"{label.setting:g}"
        detail = f"{value} {setting}" if setting == "layers" else f"{setting} {value}".strip()
    return f"{known}, {detail}"


def looks(labels: Sequence[Label]) -> dict[Label, dict]:
    """Colour, marker and dashes of each network: a colour and marker for its norm, dashes for its setting."""
    norms = list(dict.fromkeys(label.norm for label in labels))
    strangers = [norm for norm in norms if norm not in LOOKS]
    found = {}
    for label in labels:
        settings = list(dict.fromkeys(one.setting for one in labels if one.norm == label.norm))
        colour, _, marker = LOOKS.get(label.norm) or _stranger(strangers.index(label.norm))
        found[label] = {
            "color": colour,
            "marker": marker,
            "linestyle": DASHES[settings.index(label.setting) % len(DASHES)],
        }
    return found


def _stranger(place: int) -> tuple[str, str, str]:
    """Colours and marker of a network that is not ours; once all `OTHERS` are used, they come with other markers."""
    count = len(OTHERS)
    light, dark, _ = OTHERS[place % count]
    return light, dark, OTHERS[(place + place // count) % count][2]


def draw(
    panels: Sequence[Panel],
    columns: int,
    setting: str = "",
    height: float = 2.6,
    legend_columns: int = 3,
    width: float | None = None,
) -> Drawn:
    """The panels in `columns`, each `height` inches high, with one legend below.

    A figure is `width` inches wide: if None, as wide as a page with several columns, and narrower with one.
    """
    labels = list(dict.fromkeys(label for panel in panels for label in panel.labels))
    look = looks(labels)
    columns = min(columns, len(panels))
    lines = -(-len(panels) // columns)
    narrow = functools.partial(draw, panels, 1, setting, min(height, 2.4), 1, PHONE)
    width = width or (PAGE if columns > 1 else PANEL if len(panels) == 1 else COLUMN)
    with matplotlib.rc_context(_RC):
        figure = Drawn(figsize=(width, height * lines + 0.5), layout="constrained", facecolor="none")
        grid = figure.subplots(lines, columns, squeeze=False)
        figure.panels, figure.setting, figure.narrow = tuple(panels), setting, narrow
        for axes, panel in zip(grid.ravel(), panels):
            axes.set_facecolor("none")
            _fill(axes, panel, look, setting)
            if columns > 3:
                axes.set_title(panel.title.replace(", ", ",\n", 1), fontsize=10, loc="left")
        for axes in grid.ravel()[len(panels) :]:
            axes.set_visible(False)
        _share(panels, grid.ravel())
        for axes, panel in zip(grid.ravel(), panels):
            _ticks(axes, panel)
        for row in grid:  # what several panels in a row measure is said once
            said = ""
            for axes in row:
                axes.set_ylabel("" if axes.get_ylabel() == said else axes.get_ylabel())
                said = axes.get_ylabel() or said
        handles: dict[str, object] = {}
        for axes in grid.ravel():
            for handle, text in zip(*axes.get_legend_handles_labels()):
                handles.setdefault(text, handle)
        if handles:
            legend = _legend(figure, handles, min(legend_columns, len(handles)))
            # A long legend takes its room from below the panels, not from them.
            figure.set_figheight(height * lines + max(0.5, legend.get_window_extent().height / figure.dpi + 0.1))
    return figure


def _legend(figure: Drawn, handles: Mapping[str, object], columns: int) -> Legend:
    """One legend below all panels, in as many columns as fit, at most `columns`."""
    look = {"loc": "outside lower center", "frameon": False, "fontsize": 9}
    for count in range(columns, 0, -1):
        legend = figure.legend(handles.values(), handles.keys(), ncols=count, **look)
        if count == 1 or legend.get_window_extent().width <= figure.bbox.width:
            break
        legend.remove()
    return legend


def _fill(axes: Axes, panel: Panel, look: dict[Label, dict], setting: str) -> None:
    axes.set_title(panel.title, fontsize=10, loc="left")
    axes.set_xlabel(panel.x)
    axes.set_ylabel(panel.y)
    if panel.log:
        axes.set_yscale("log")
    if panel.log_x:
        axes.set_xscale("log")
    for place, series in enumerate(panel.series):
        _draw_series(axes, series, look[series.label], place, len(panel.series), setting)
    for label, shapes in panel.shapes.items():
        _draw_shapes(axes, shapes, look[label]["color"])
    if panel.level is not None:
        axes.axhline(panel.level, color=INK[0], lw=1, ls=":", label=panel.level_name or None)
    if panel.limits:
        axes.set_ylim(panel.limits)
    for low, high, text in panel.spans:
        bottom, top = axes.get_ylim()
        if np.isfinite(high):
            axes.axhline(high, color=INK[0], lw=0.8, ls=":")
        middle = (max(low, bottom) + min(high, top)) / 2
        axes.text(1.01, middle, text, transform=axes.get_yaxis_transform(), va="center", fontsize=8)
    if panel.room:
        _focus(axes, np.concatenate([series.middle for series in panel.series]), panel.room)
    if panel.epoch:
        last = max((series.x[-1] for series in panel.series if len(series.x)), default=0)
        ends = np.arange(panel.epoch, last, panel.epoch)
        if 0 < len(ends) <= MOST_EPOCHS:
            for at in ends:
                axes.axvline(at, color=FAINT[0], lw=0.5, ls=(0, (1, 3)), zorder=0)
            axes.axvline(ends[0], color=FAINT[0], lw=0.5, ls=(0, (1, 3)), zorder=0, label="a pass over the images ends")


def _draw_series(axes: Axes, series: Series, look: dict, place: int, count: int, setting: str) -> None:
    text = name(series.label, setting)
    thin = {"color": look["color"], "lw": 0.5}
    ends = series.ends
    if ends is not None and len(series.x) == 1:  # a band of no width would not be seen
        axes.vlines(series.x, *ends, color=look["color"], lw=4, alpha=0.5)
    elif ends is not None:
        axes.fill_between(series.x, *ends, color=look["color"], alpha=0.22, lw=0)
        for edge in ends:
            axes.plot(series.x, edge, **thin)
    elif series.rows is not None and not series.points:
        for row in series.rows:
            axes.plot(series.x, row, linestyle=look["linestyle"], **thin)
    every = max(1, len(series.x) // 7)
    marks = {"markevery": (place * every // max(count, 1), every), "ms": 4.5}
    if series.points:
        for row in series.rows:
            axes.plot(series.x, row, look["marker"], color=look["color"], ms=5, label=text)
            text = None
        return
    axes.plot(series.x, series.middle, lw=1.8 if series.rows is not None else 1, **look, **marks, label=text)
    if series.lost is not None:
        # Markers of single seeds, unless a shade stands for them: a cross is one that diverged.
        if ends is None:
            axes.plot(series.x, np.where(series.lost, np.nan, series.rows).T, look["marker"], color=look["color"], ms=3)
        if series.lost.any():
            kept = np.where(series.lost, series.rows, np.nan)
            axes.plot(series.x, kept.T, "x", color=look["color"], ms=8)
            axes.plot([], [], "x", color=INK[0], label="a seed that diverged")


def _draw_shapes(axes: Axes, shapes: Sequence[Shape], colour: str) -> None:
    steps = np.array([shape.step for shape in shapes])
    width = np.diff(steps).min() * 0.9 if len(steps) > 1 else 1
    outlines = []
    for shape in shapes:
        if not np.isfinite(shape.edges).all() or shape.counts.sum() == 0:
            continue
        half = width / 2 * shape.counts / shape.counts.max()
        middles = (shape.edges[1:] + shape.edges[:-1]) / 2
        sides = [np.stack([shape.step + side * half, middles], 1) for side in (-1, 1)]
        outlines.append(Path(np.concatenate([sides[0], sides[1][::-1], sides[0][:1]]), closed=True))
    if outlines:  # one path of all, which takes less room in a file than one each
        axes.add_collection(PathCollection([Path.make_compound_path(*outlines)], color=colour, lw=0))
        axes.autoscale_view()


def _focus(axes: Axes, medians: np.ndarray, room: float) -> None:
    """End a logarithmic axis at `room` times what lies between the 5 % and 95 % quantiles of medians.

    Say so on the figure where anything lies outside.
    """
    finite = medians[np.isfinite(medians) & (medians > 0)]
    if not finite.size:
        return
    ends = np.quantile(finite, (0.05, 0.95)) * (1 / room, room)
    low, high = axes.get_ylim()
    if low < ends[0] or high > ends[1]:
        axes.set_ylim(max(low, ends[0]), min(high, ends[1]))
        axes.text(0.98, 0.97, "some seeds leave the axis", transform=axes.transAxes, ha="right", va="top", fontsize=8)


def _share(panels: Sequence[Panel], axes: Sequence[Axes]) -> None:
    """Give panels that are to be compared the same vertical axis."""
    for share in {panel.share for panel in panels} - {""}:
        group = [one for one, panel in zip(axes, panels) if panel.share == share]
        low, high = (pick(end) for pick, end in zip((min, max), zip(*(one.get_ylim() for one in group))))
        for one in group:
            one.set_ylim(low, high)


def _number(value: float, _=None) -> str:
    """A tick's label: plain where that is short, else a power of ten."""
    if value == 0 or 1e-3 <= abs(value) < 1e5:
        return f"{value:.6g}"
    power = int(np.floor(np.log10(abs(value)) + 1e-9))
    factor = value / 10.0**power
    return f"$10^{{{power}}}$" if abs(factor - 1) < 1e-6 else f"${factor:.3g}\\cdot 10^{{{power}}}$"


def _ticks(axes: Axes, panel: Panel) -> None:
    """Label logarithmic axes at powers of ten, at round numbers in less than one, or at measured values if given."""
    for log, axis, ends in (
        (panel.log, axes.yaxis, axes.get_ylim()),
        (panel.log_x, axes.xaxis, axes.get_xlim()),
    ):
        if not log:
            continue
        decades = np.log10(ends[1] / ends[0])
        if decades > 2.5:
            axis.set_major_locator(LogLocator(numticks=6))
        elif decades > 0.9:
            axis.set_major_locator(LogLocator(subs=(1, 3) if decades > 1.5 else (1, 2, 5), numticks=12))
        else:
            axis.set_major_locator(AutoLocator())
            axis.set_minor_locator(NullLocator())
        axis.set_major_formatter(FuncFormatter(_number))
        axis.set_minor_formatter(NullFormatter())
    if panel.ticks is not None:
        every = 1 + len(panel.ticks) // 8  # more labels would run into one another
        axes.set_xticks(panel.ticks, [f"{value:g}" * (place % every == 0) for place, value in enumerate(panel.ticks)])
        axes.xaxis.set_minor_locator(NullLocator())


def svg(figure: Figure, dark: bool = False, name: str = "figure") -> str:
    """The figure as an SVG element without a ground, in colours for a light or a dark page.

    The same figure gives the same text. Ids begin with `name`, so that figures with different names can stand on one
    page.
    """
    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "path", "svg.hashsalt": name}):
        figure.savefig(buffer, format="svg", facecolor="none", metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :].strip()
    text = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{name}-", text)
    return darkened(_slim(text)) if dark else _slim(text)


def darkened(text: str) -> str:
    """An SVG of `svg` in the colours for a dark page."""
    return re.sub("(?<=: )#[0-9a-f]{6}", lambda colour: DARKER.get(colour[0], colour[0]), text)


def _slim(text: str) -> str:
    """An SVG of half the length: places to a hundredth of a point, no comments, no unused ids, no indentation."""
    text = re.sub(r"<!--.*?-->|<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r'<g id="[^"]*"', "<g", text)
    text = text.replace("-DejaVuSans-", "-")
    # What a tick says of itself again wherever it stands.
    text = re.sub(r'(<use [^>]*) style="fill: (#\w+); stroke: \2; stroke-width: 0\.[68]"', r"\1", text)
    # Letters stand at hundredths of their size.
    text = re.sub(
        r'(<use [^>]*)transform="translate\((\S+) 0\)"', lambda found: f'{found[1]}x="{float(found[2]):.0f}"', text
    )
    # Not a scale, which is small.
    text = re.sub(r' (?:d|x|y)="[^"]*"|translate\([^)]*\)', lambda found: _rounded(found[0]), text)
    return re.sub(r"\n\s*", "\n", text)


def _rounded(text: str) -> str:
    numbers = re.sub(r"-?\d+\.\d{3,}", lambda number: f"{float(number[0]):.2f}".rstrip("0").rstrip("."), text)
    return re.sub(r"\s+", " ", numbers)
