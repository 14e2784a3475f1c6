"""Figures of section 4: its two networks (Figure 7), what Theorem 4.1's terms remove, both theorems along training."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import FancyBboxPatch

from lib.figures import style
from lib.figures.style import INK, LOOKS, Curves, Drawn, Panel, Series
from lib.paper.labels import Label
from lib.specs import spec_of

if TYPE_CHECKING:
    import torch

SIZES = (2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
OFFSETS = (0.0, 0.5, 1.0)


@style.of_curves
def theorems(curves: Curves, columns: int = 3) -> Drawn:
    """Terms of Theorems 4.1 and 4.2 over training: medians over layers and units, shares where a condition holds."""
    curves = style.curves_of(curves)
    removed, scale, holds = [], [], []
    for label, curve in curves.items():
        network = Label(str(label.setting or label.norm))
        x = curve.theorem_step.values / spec_of(curve).steps
        rest = [dim for dim in curve.theorem_removed.dims if dim not in ("seed", "theorem_step")]
        known = curve.theorem_inner.notnull()
        inner = (curve.theorem_inner > 0).where(known).mean(rest)
        removed.append(Series(network, x, style.rows_of(curve.theorem_removed.median(rest))))
        scale.append(Series(network, x, style.rows_of(abs(curve.theorem_scale).median(rest))))
        holds.append(Series(network._replace(setting="inner product positive"), x, style.rows_of(inner)))
        condition = network._replace(setting="form not larger")
        holds.append(Series(condition, x, style.rows_of(curve.theorem_condition.mean(rest))))
    share = "share of training"
    panels = [
        Panel("(a) removed", share, "share of $\\|g\\|^2$ removed", "share of the gradient removed", removed, log=True),
        Panel("(b) scale", share, "$|\\gamma|/\\sigma$", "gamma over sigma", scale, log=True),
        Panel(
            "(c) conditions",
            share,
            "share of units where it holds",
            "share where it holds",
            holds,
            limits=(-0.03, 1.03),
        ),
    ]
    return style.draw(panels, columns, height=2.8)


def _box(axes: Axes, x: float, y: float, text: str, colour: str, width: float = 1.5) -> None:
    shape = FancyBboxPatch(
        (x - width / 2, y - 0.3),
        width,
        0.6,
        boxstyle="round,pad=0.05",
        facecolor=colour + "26",
        edgecolor=colour,
        lw=1.6,
    )
    axes.add_patch(shape)
    axes.text(x, y, text, ha="center", va="center", color=INK[0], fontsize=11)


def _arrow(axes: Axes, start: tuple[float, float], end: tuple[float, float], label: str) -> None:
    """An arrow to the right with its label above it, or downwards with its label beside it."""
    axes.annotate("", end, start, arrowprops={"arrowstyle": "-|>", "color": INK[0], "lw": 1.3})
    (x, y), down = ((one + other) / 2 for one, other in zip(start, end)), start[0] == end[0]
    place = {"ha": "left", "va": "center"} if down else {"ha": "center", "va": "bottom"}
    axes.text(x + 0.13 * down, y + 0.13 * (not down), label, color=INK[0], fontsize=11, **place)


def networks() -> Drawn:
    """Figure 7, the two networks of section 4: the same weights and loss, without and with one BatchNorm layer."""
    figure, axes = _empty(8.6, 1.95, (-1.3, 11.4), (-0.3, 2.4))
    plain, norm = LOOKS["none"][0], LOOKS["batchnorm"][0]
    for y, name, loss in ((1.8, "(a)", "$\\mathcal{L}$"), (0.2, "(b)", "$\\widehat{\\mathcal{L}}$")):
        axes.text(-1.2, y, name, ha="left", va="center", color=INK[0], fontsize=11)
        _arrow(axes, (-0.6, y), (0.55, y), "$x$")
        _box(axes, 1.35, y, "$W$", plain)
        _box(axes, 8.3, y, "the rest", plain, 2.1)
        _arrow(axes, (9.4, y), (10.6, y), "")
        axes.text(10.8, y, loss, ha="left", va="center", color=INK[0], fontsize=13)
    _arrow(axes, (2.15, 1.8), (7.2, 1.8), "$y = Wx$")
    _arrow(axes, (2.15, 0.2), (3.55, 0.2), "$y = Wx$")
    _box(axes, 4.6, 0.2, _NORM, norm, 2.0)
    _arrow(axes, (5.65, 0.2), (7.2, 0.2), "$z$")
    figure.narrow = _upright_networks
    return figure


def _upright_networks() -> Drawn:
    """Figure 7 for a phone: the two networks side by side, from top to bottom."""
    figure, axes = _empty(style.PHONE, 4.2, (-1.3, 4.7), (-0.6, 6.4))
    plain, norm = LOOKS["none"][0], LOOKS["batchnorm"][0]
    for x, name, loss in ((0, "(a)", "$\\mathcal{L}$"), (3.4, "(b)", "$\\widehat{\\mathcal{L}}$")):
        axes.text(x - 1.2, 6.2, name, ha="left", va="center", color=INK[0], fontsize=11)
        _arrow(axes, (x, 6.3), (x, 5.35), "$x$")
        _box(axes, x, 5, "$W$", plain)
        _box(axes, x, 1.1, "the rest", plain, 2.1)
        _arrow(axes, (x, 0.75), (x, 0), "")
        axes.text(x, -0.3, loss, ha="center", va="center", color=INK[0], fontsize=13)
    _arrow(axes, (0, 4.65), (0, 1.45), "$y = Wx$")
    _arrow(axes, (3.4, 4.65), (3.4, 3.4), "$y = Wx$")
    _box(axes, 3.4, 3.05, _NORM, norm, 2.0)
    _arrow(axes, (3.4, 2.7), (3.4, 1.45), "$z$")
    return figure


def _empty(width: float, height: float, x: tuple[float, float], y: tuple[float, float]) -> tuple[Drawn, Axes]:
    """A figure, in inches, with nothing but a plane to draw boxes on."""
    figure = Drawn(figsize=(width, height), facecolor="none", layout="constrained")
    axes = figure.subplots()
    axes.set(xlim=x, ylim=y)
    axes.set_aspect("equal")
    axes.set_axis_off()
    return figure, axes


_NORM = "BatchNorm\n$\\gamma\\,\\hat y + \\beta$"


def removed_shares(sizes: tuple[int, ...], offset: float, draws: int = 200, seed: int = 0) -> torch.Tensor:
    """The mean share of |g|^2 in the span of 1 and yhat, for random g with per-sample mean `offset` [sizes]."""
    import torch

    from lib.theory import formulas

    generator = torch.Generator().manual_seed(seed)
    shares = []
    for m in sizes:
        y, noise = torch.randn(2, draws, m, dtype=torch.float64, generator=generator)
        g = noise + offset
        kept = formulas.project(formulas.normalize(y)[0], g).square().sum(-1)
        shares.append(1 - (kept / g.square().sum(-1)).mean())
    return torch.stack(shares)


def shares() -> Drawn:
    """What the two terms of Theorem 4.1 remove from gradients that do not know yhat, by batch size."""
    x = np.array(SIZES)
    series = [Series(Label("2/m"), x, 2 / x[None])]
    for offset in OFFSETS:
        values = removed_shares(SIZES, offset).numpy()
        series.append(Series(Label(f"per-sample mean {offset:g}, deviation 1"), x, values[None]))
    panel = Panel(
        "",
        "samples m",
        "share of $\\|g\\|^2$ removed",
        "share of the squared gradient removed",
        series,
        log=True,
        log_x=True,
        ticks=x,
    )
    return style.draw([panel], 1, height=3.0, legend_columns=2)
