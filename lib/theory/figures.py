"""Figure 7, and how much of a gradient the two terms of Theorem 4.1 can remove."""

from __future__ import annotations

import torch
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from lib.drawing import COLOURS
from lib.theory import formulas

INK = "#222222"


def _box(axes, x: float, y: float, text: str, colour: str, width: float = 1.5) -> None:
    shape = FancyBboxPatch(
        (x - width / 2, y - 0.3), width, 0.6, boxstyle="round,pad=0.05", facecolor=colour + "26", edgecolor=colour, lw=1.6
    )
    axes.add_patch(shape)
    axes.text(x, y, text, ha="center", va="center", color=INK, fontsize=11)


def _arrow(axes, start: float, end: float, y: float, label: str) -> None:
    axes.annotate("", (end, y), (start, y), arrowprops={"arrowstyle": "-|>", "color": INK, "lw": 1.3})
    axes.text((start + end) / 2, y + 0.13, label, ha="center", va="bottom", color=INK, fontsize=11)


def figure_7() -> Figure:
    """The two networks that section 4 compares: the same weights and loss, without and with one BatchNorm layer."""
    figure = Figure(figsize=(8.6, 1.95), facecolor="white", layout="constrained")
    axes = figure.subplots()
    axes.set(xlim=(-1.3, 11.4), ylim=(-0.3, 2.4))
    axes.set_aspect("equal")
    axes.set_axis_off()
    plain, norm = COLOURS["none"], COLOURS["batchnorm"]
    for y, name in ((1.8, "(a)"), (0.2, "(b)")):
        axes.text(-1.2, y, name, ha="left", va="center", color=INK, fontsize=11)
        _arrow(axes, -0.6, 0.55, y, "$x$")
        _box(axes, 1.35, y, "$W$", plain)
    _arrow(axes, 2.15, 7.2, 1.8, "$y = Wx$")
    _arrow(axes, 2.15, 3.55, 0.2, "$y = Wx$")
    _box(axes, 4.6, 0.2, "BatchNorm\n$\\gamma\\,\\hat y + \\beta$", norm, 2.0)
    _arrow(axes, 5.65, 7.2, 0.2, "$z$")
    for y, name in ((1.8, "$\\mathcal{L}$"), (0.2, "$\\widehat{\\mathcal{L}}$")):
        _box(axes, 8.3, y, "the rest", plain, 2.1)
        _arrow(axes, 9.4, 10.6, y, "")
        axes.text(10.8, y, name, ha="left", va="center", color=INK, fontsize=13)
    return figure


def removed_shares(sizes: tuple[int, ...], offset: float, draws: int = 200, seed: int = 0) -> torch.Tensor:
    """The mean share of |g|^2 that lies in the span of 1 and yhat, for random g with per-sample mean `offset` [sizes]."""
    generator = torch.Generator().manual_seed(seed)
    shares = []
    for m in sizes:
        y, noise = torch.randn(2, draws, m, dtype=torch.float64, generator=generator)
        g = noise + offset
        kept = formulas.project(formulas.normalize(y)[0], g).square().sum(-1)
        shares.append(1 - (kept / g.square().sum(-1)).mean())
    return torch.stack(shares)


def figure_shares(sizes: tuple[int, ...] = (2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)) -> Figure:
    """What the two terms remove from gradients that do not know yhat, by batch size."""
    figure = Figure(figsize=(6.4, 3.3), facecolor="white", layout="constrained")
    axes = figure.subplots()
    axes.plot(sizes, [2 / m for m in sizes], color=INK, ls=":", label="2/m")
    for offset, name in ((0.0, "none"), (0.5, "noisy"), (1.0, "batchnorm")):
        label = f"per-sample mean {offset:g}, deviation 1"
        axes.plot(sizes, removed_shares(sizes, offset), "o-", ms=4, color=COLOURS[name], label=label)
    axes.set(xscale="log", yscale="log", xlabel="samples m", ylabel="share of $|g|^2$ removed")
    axes.set_xscale("log", base=2)
    axes.grid(alpha=0.25)
    axes.legend(frameon=False)
    return figure
