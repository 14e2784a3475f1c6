"""Figures: pure functions from the curves of an experiment to a matplotlib Figure.

Thin lines are seeds, thick lines their mean (geometric on logarithmic axes). Figures keep a
white ground so that they read the same on a dark page. `draw` adds what every figure owes its
reader: alternative text, what the claims say, and where the numbers come from.
"""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import xarray as xr
from IPython.display import HTML
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lib import beyond, claims, drawing, ledger, measures, results
from lib.drawing import Curves
from lib.errors import check_choice
from lib.records import from_canonical

#: With more seeds than this, lines would hide one another.
MANY = 8


def _training(axes: Axes, curves: Curves, name: str, log: bool = False) -> None:
    for label, curve in curves.items():
        x, y = drawing.smooth(curve[name], "step", curve.sizes["step"] // 60)
        drawing.lines(axes, x, y, label, log)


def training(curves: Curves) -> Figure:
    """Training and test accuracy against steps (Figures 1a, 1b)."""
    figure, ((left, right),) = drawing.figure(1, 2)
    _training(left, curves, "accuracy")
    for label, curve in curves.items():
        drawing.lines(right, curve.eval_step.values, curve.test_accuracy.transpose("seed", "eval_step").values, label)
    drawing.label(left, "(a) training", "step", "accuracy on the batches")
    drawing.label(right, "(b) test", "step", "test accuracy")
    drawing.legend(figure, left, 2)
    return figure


def accuracies(curves: Curves) -> Figure:
    """Training accuracy against steps (Figures 2, 5 and 12a)."""
    figure, ((axes,),) = drawing.figure(1, 1, 6.5, 3.6)
    _training(axes, curves, "accuracy")
    drawing.label(axes, "", "step", "accuracy on the batches")
    drawing.legend(figure, axes, 3)
    return figure


def losses(curves: Curves) -> Figure:
    """Training loss against steps, logarithmic (Figures 5 and 13a)."""
    figure, ((axes,),) = drawing.figure(1, 1, 6.5, 3.6)
    _training(axes, curves, "loss", log=True)
    drawing.label(axes, "", "step", "training loss", log=True)
    drawing.legend(figure, axes, 3)
    return figure


def distributions(curves: Curves, layers: Iterable[int]) -> Figure:
    """One activation's distribution over training, seed 0, for some layers (Figures 1c, 2, 6, 9).

    A shape is the histogram at one step, upright and scaled to its own maximum: wider is denser.
    """
    layers = list(layers)
    figure, grid = drawing.figure(len(curves), len(layers), 9.0, 1.7)
    for row, (label, curve) in zip(grid, curves.items()):
        part = curve.isel(seed=0)
        if "unit" in part.dims:
            part = part.isel(unit=0)
        for axes, layer in zip(row, layers):
            _ridges(axes, part.isel(norm_layer=layer), drawing.COLOURS[label.partition(",")[0]])
            axes.set_title(f"{drawing.name(label)}, layer {layer + 1}", fontsize=9, loc="left")
    for axes in grid[-1]:
        axes.set_xlabel("step")
    for axes in grid[:, 0]:
        axes.set_ylabel("activation")
    return figure


def _ridges(axes: Axes, part: xr.Dataset, colour: str) -> None:
    steps = part.histogram_step.values
    width = np.diff(steps).min() * 0.9 if len(steps) > 1 else 1
    for step, counts, (low, high) in zip(steps, part.histogram.values, part.histogram_range.values):
        if not np.isfinite(high - low) or counts.sum() == 0:
            continue
        edges = np.linspace(low, high, len(counts) + 1)
        half = width / 2 * counts / counts.max()
        axes.fill_betweenx((edges[1:] + edges[:-1]) / 2, step - half, step + half, color=colour, lw=0)


def moments(curves: Curves) -> Figure:
    """Change of mean and variance of activations between successive steps (Figure 8)."""
    figure, ((left, right),) = drawing.figure(1, 2)
    for label, curve in curves.items():
        for axes, name in ((left, "mean"), (right, "var")):
            change = measures.moment_change(curve, name)
            count = change.shape[1]
            x = curve.moments_step.values[0 : 2 * count : 2]
            typical = np.median(change.reshape(*change.shape[:2], -1), -1)
            window = max(1, count // 40)
            shape = (len(typical), -1, window)
            kept = count // window * window
            drawing.lines(axes, x[:kept:window], np.median(typical[:, :kept].reshape(shape), -1), label, log=True)
    drawing.label(left, "mean, in units of the deviation", "step", "change to the next step", log=True)
    drawing.label(right, "variance, in units of itself", "step", "change to the next step", log=True)
    drawing.legend(figure, left)
    return figure


def shift(curves: Curves, layers: Iterable[int]) -> Figure:
    """Internal covariate shift of Definition 2.1 for some layers (Figure 3)."""
    layers = list(layers)
    figure, grid = drawing.figure(2, len(layers), 9.0, 2.3)
    for label, curve in curves.items():
        for column, layer in enumerate(layers):
            for row, (name, log) in enumerate((("shift_l2", True), ("shift_cosine", False))):
                values = curve[name].isel(layer=layer).transpose("seed", "shift_step").values
                drawing.lines(grid[row, column], curve.shift_step.values, values, label, log)
    for column, layer in enumerate(layers):
        drawing.label(grid[0, column], f"layer {layer + 1}", "", "$\\|G-G'\\|_2$" if column == 0 else "", log=True)
        drawing.label(grid[1, column], "", "step", "$\\cos(G, G')$" if column == 0 else "")
        grid[1, column].set_ylim(-1.05, 1.05)
    drawing.legend(figure, grid[0, 0], 2)
    return figure


def landscape(curves: Curves) -> Figure:
    """Loss, gradient change and effective smoothness along the gradient (Figures 4, 10, 12, 13).

    Bands run from the lowest to the highest value over all step lengths (median over seeds);
    the third panel is the largest effective smoothness, one thin line a seed, or median and quartiles if there are `MANY`. Its axis keeps to the
    medians over seeds: single ones can be astronomically rough.
    """
    figure, ((a, b, c),) = drawing.figure(1, 3, 8.8, 3.1)
    medians = []
    for label, curve in curves.items():
        steps = curve.landscape_step.values
        for axes, name in ((a, "landscape_loss"), (b, "grad_change")):
            low, high = (getattr(curve[name], end)("step_length").median("seed") for end in ("min", "max"))
            axes.fill_between(steps, low, high, color=drawing.COLOURS[label], alpha=0.3, lw=0.8, label=drawing.name(label))
            axes.plot(steps, high, color=drawing.COLOURS[label], lw=0.8)
            axes.plot(steps, low, color=drawing.COLOURS[label], lw=0.8)
        smoothness = measures.smoothness(curve).transpose("seed", "landscape_step").values
        medians.append(np.nanmedian(smoothness, 0))
        if len(smoothness) <= MANY:
            drawing.lines(c, steps, smoothness, label, log=True)
        else:
            c.fill_between(steps, *np.nanquantile(smoothness, (0.25, 0.75), axis=0), color=drawing.COLOURS[label], alpha=0.25, lw=0)
            c.plot(steps, medians[-1], lw=1.8, label=drawing.name(label), **drawing.style(label))
    first = next(iter(curves.values())).step_length.values
    drawing.label(a, f"(a) loss, {first[0]:g} to {first[-1]:g} step sizes", "step", "loss", log=True)
    drawing.label(b, "(b) change of the gradient", "step", "$\\ell_2$ distance", log=True)
    drawing.label(c, "(c) effective $\\beta$-smoothness", "step", "largest $\\beta$", log=True)
    drawing.focus(c, np.stack(medians))
    drawing.legend(figure, c, 5)
    return figure


def predictiveness(curves: Curves, moments: Iterable[float] = (0.1, 0.5, 0.9)) -> Figure:
    """Change of the gradient against the distance moved, at some shares of training (Figure 11)."""
    moments = list(moments)
    figure, (row,) = drawing.figure(1, len(moments), 8.8, 3.0)
    for label, curve in curves.items():
        step_size = from_canonical(curve.attrs["spec"]).step_size
        for axes, moment in zip(row, moments):
            at = int(moment * (curve.sizes["landscape_step"] - 1))
            values = curve.grad_change.isel(landscape_step=at).transpose("seed", "step_length").values
            drawing.lines(axes, curve.step_length.values * step_size, values, label, log=True)
            drawing.label(axes, f"step {int(curve.landscape_step[at])}", "distance / |gradient|", "", log=True)
            axes.set_xscale("log")
    row[0].set_ylabel("$\\ell_2$ change of the gradient")
    drawing.legend(figure, row[0], 2)
    return figure


def step_sizes(curves: Curves) -> Figure:
    """Deep linear networks against the step size: verdicts of Figures 3 and 10 on one axis.

    Each point is a seed's median over training: cosine of G and G', largest beta times step size, loss
    band. A cross is a seed that diverged; its median is over the steps before. Values above an axis sit on its upper edge.
    """
    figure, row = drawing.figure(1, 3, 8.8, 3.0)
    panels = (
        ("cosine of $G$ and $G'$", False, 1.0, lambda curve: curve.shift_cosine.isel(layer=slice(1, None)).median(("shift_step", "layer"))),
        ("$\\beta \\times$ step size", True, 1e2, lambda curve: measures.smoothness(curve).median("landscape_step")),
        ("loss band", True, 1e8, lambda curve: measures.loss_band(curve).median("landscape_step")),
    )  # fmt: skip
    for norm in ("none", "batchnorm"):
        group = {label: curve for label, curve in curves.items() if label.startswith(norm)}
        sizes = np.array([from_canonical(curve.attrs["spec"]).step_size for curve in group.values()])
        for axes, (title, log, top, measure) in zip(row[0], panels):
            values = np.stack([measure(curve).values for curve in group.values()], 1)
            if "beta" in title:
                values = values * sizes
            values = np.minimum(values, top)
            drawing.lines(axes, sizes, values, norm, log)
            lost = np.stack([~np.isfinite(curve.loss.isel(step=-1).values) for curve in group.values()], 1)
            for marker, which in (("o", ~lost), ("x", lost)):
                axes.plot(sizes, np.where(which, values, np.nan).T, marker, ms=4, color=drawing.COLOURS[norm])
            drawing.label(axes, title, "step size", "", log)
            axes.set_xscale("log")
    row[0, 1].axhline(2, color="black", lw=0.8, ls=":")
    drawing.legend(figure, row[0, 0])
    return figure


def theorems(curves: Curves) -> Figure:
    """Terms of Theorems 4.1 and 4.2 over training: medians over layers and units, shares where a condition holds."""
    figure, ((a, b, c),) = drawing.figure(1, 3, 8.8, 3.0)
    for (network, curve), colour in zip(curves.items(), (drawing.COLOURS["batchnorm"], drawing.COLOURS["noisy"])):
        x = curve.theorem_step.values / from_canonical(curve.attrs["spec"]).steps
        rest = [dim for dim in curve.theorem_removed.dims if dim not in ("seed", "theorem_step")]
        panels = (
            (a, curve.theorem_removed.median(rest), "-"),
            (b, abs(curve.theorem_scale).median(rest), "-"),
            (c, (curve.theorem_inner > 0).where(curve.theorem_inner.notnull()).mean(rest), "-"),
            (c, curve.theorem_condition.mean(rest), "--"),
        )
        for axes, values, line in panels:
            rows = values.transpose("seed", "theorem_step").values
            axes.plot(x, rows.T, color=colour, lw=0.7, alpha=0.4, ls=line)
            label = network if axes is a else f"{network}: " + ("$\\langle\\hat y, g\\rangle > 0$" if line == "-" else "$v^THv \\leq g^THg$")
            axes.plot(x, rows.mean(0), color=colour, lw=1.8, ls=line, label=label)
    drawing.label(a, "share of $\\|g\\|^2$ removed", "share of training", "", log=True)
    drawing.label(b, "$|\\gamma|/\\sigma$", "share of training", "", log=True)
    drawing.label(c, "share of units where it holds", "share of training", "")
    c.set_ylim(-0.03, 1.03)
    drawing.legend(figure, c, 2)
    return figure


def noise_strength(curves: Curves) -> Figure:
    """Late training accuracy against the strength of Algorithm 1's noise, with and without BatchNorm; a cross is a seed that diverged."""
    figure, ((axes,),) = drawing.figure(1, 1, 6.5, 3.2)
    for norm in ("none", "batchnorm"):
        beyond.late_accuracies(axes, curves, norm)
    axes.axhline(measures.CHANCE, color="black", lw=0.8, ls=":")
    drawing.label(axes, "", "noise strength (1 is the paper's)", "late training accuracy")
    drawing.legend(figure, axes)
    return figure


def _spread(curves: Curves, dim: str, count: int) -> list[int]:
    """`count` indices of `dim`, evenly spread from the second to the last."""
    size = next(iter(curves.values())).sizes[dim]
    return sorted({int(index) for index in np.linspace(1, size - 1, count).round()})


def _one_step_size(size: str) -> Callable[[Curves], Figure]:
    """Covariate shift at one of the measured step sizes."""

    def draw(curves: Curves) -> Figure:
        chosen = {label.partition(", ")[0]: curve for label, curve in curves.items() if label.endswith(size)}
        return shift(chosen, _spread(curves, "layer", 4))

    return draw


def _activations(count: int) -> Callable[[Curves], Figure]:
    return lambda curves: distributions(curves, _spread(curves, "norm_layer", count))


@dataclass(frozen=True)
class Plan:
    """A figure made from the records of an experiment; one that compares all curves at once is drawn when it has every one of them."""

    experiment: str
    title: str
    draw: Callable[[Curves], Figure]
    whole: bool = False


#: What `draw` knows.
FIGURES = {
    "fig-1": Plan("fig-1", "Figure 1a, b: training and test accuracy of VGG", training),
    "fig-1c": Plan("fig-4", "Figure 1c: one activation of three layers over training", _activations(3)),
    "fig-2": Plan("fig-2", "Figure 2: training accuracy with noise after BatchNorm", accuracies),
    "fig-2-activations": Plan("fig-2", "Figure 2, right: activations under noise", _activations(3)),
    "fig-3-vgg": Plan("fig-3-vgg", "Figure 3: internal covariate shift in VGG", lambda c: shift(c, _spread(c, "layer", 4))),
    "fig-3-linear": Plan(
        "fig-3-linear", "Figure 3: internal covariate shift in deep linear networks, step size 1e-6", _one_step_size("1e-06"),
    ),
    "fig-3-linear-small": Plan(
        "fig-3-linear", "The same at a tenth of the step size, 1e-7", _one_step_size("1e-07"),
    ),
    "fig-4": Plan("fig-4", "Figure 4: loss landscape of VGG along the gradient", landscape),
    "fig-5-vgg": Plan("fig-5-vgg", "Figures 5 and 12a: training accuracy of VGG with other normalizations", accuracies),
    "fig-5-linear": Plan("fig-5-linear", "Figures 5 and 13a: training loss of deep linear networks", losses),
    "fig-6": Plan("fig-6", "Figure 6: activations under other normalizations", _activations(3)),
    "fig-8": Plan("fig-8", "Figure 8: moments of activations between successive steps", moments),
    "fig-9": Plan("fig-9", "Figure 9: activations in deep linear networks", _activations(4)),
    "fig-10": Plan("fig-10", "Figure 10: loss landscape of deep linear networks", landscape),
    "fig-11": Plan("fig-11", "Figure 11: predictiveness of the gradient against distance", predictiveness),
    "fig-12": Plan("fig-12", "Figure 12b-d: landscape of VGG with other normalizations", landscape),
    "fig-13": Plan("fig-13", "Figure 13b-d: landscape of deep linear networks", landscape),
    "step-sizes": Plan("linear-step-size", "Deep linear networks against the step size", step_sizes, whole=True),
    "theorems": Plan("theorems", "Terms of Theorems 4.1 and 4.2 in training", theorems),
    "noise-strength": Plan("noise-strength", "Training under weaker and stronger noise", noise_strength, whole=True),
    "step-size": Plan("step-size", "Training accuracy against the step size", lambda c: beyond.settings(c, "step size"), whole=True),
    "initialization": Plan(
        "initialization", "Training accuracy against the size of the initial weights",
        lambda c: beyond.settings(c, "initial weights, in units of Glorot's"), whole=True,
    ),
    "envelope": Plan("step-size", "The envelope of training runs at step sizes from 0.03 to 0.3", beyond.envelope, whole=True),
    "width": Plan("width", "The landscape of VGG at other widths", beyond.widths, whole=True),
    "resnet": Plan("resnet", "Loss landscape of a residual network along the gradient", landscape),
    "controls": Plan("controls", "The gradient's change, measured in eight ways", beyond.controls),
    "precision": Plan("controls", "Error of the landscape probe by precision", beyond.precision),
    "linear-gamma": Plan("linear-gamma", "Training loss with the scale of l1", losses),
    "accuracy": Plan("accuracy", "Test accuracy at full width", beyond.accuracy),
    "accuracy-half": Plan("accuracy-half", "Test accuracy at half width", beyond.accuracy),
}  # fmt: skip


class Shown:
    """A figure with its alternative text and caption, as HTML."""

    def __init__(self, figure: Figure, alt: str, caption: str = "", name: str = "") -> None:
        self.figure, self._alt, self._caption, self._name = figure, alt, caption, name

    def _repr_html_(self) -> str:
        buffer = io.BytesIO()
        self.figure.savefig(buffer, format="png", dpi=130)
        image = base64.b64encode(buffer.getvalue()).decode()
        anchor = f' id="figure-{self._name}"' if self._name else ""
        # One panel fits a phone; several scroll there, rather than shrink beyond reading.
        width = self.figure.get_figwidth()
        least = round(62 * width) if width > 7 else 0
        return (
            f'<figure class="bn-figure"{anchor}><div class="bn-scroll"><img class="dark-light" alt="{html.escape(self._alt)}" '
            f'style="min-width: {least}px" src="data:image/png;base64,{image}"></div><figcaption>{self._caption}</figcaption></figure>'
        )


def draw(name: str, scale: str, device: str = "cpu", ids: Iterable[str] = ()) -> Shown | HTML:
    """Figure `name` at `scale`, with a caption: title, verdicts of the claims `ids`, provenance."""
    check_choice("figure", name, FIGURES)
    plan = FIGURES[name]
    title = plan.title
    curves = (results.whole if plan.whole else results.load)(plan.experiment, scale, device)
    if not curves:
        return HTML(f'<p id="figure-{name}"><strong>{html.escape(title)}</strong>: not measured yet at {scale} scale.</p>')
    rows = [ledger.evaluate(claims.get(id), scale, device) for id in ids]
    says = [f"{row['paper']} {ledger.sentence(row)}" for row in rows]
    items = "".join(
        f'<li>{html.escape(text)} <a href="{ledger.link(row["id"])}">{row["id"]}</a></li>' for text, row in zip(says, rows)
    )
    caption = (
        f"<p><strong>{html.escape(title)}.</strong></p>"
        + (f"<ul>{items}</ul>" if items else "")
        + f'<p class="bn-provenance">{html.escape(results.provenance(curves))}</p>'
    )
    return Shown(plan.draw(curves), " ".join([f"{title}.", *says]), caption, name)


def growth(rows: list[dict], machine: str) -> Shown:
    """A benchmark's growth of cost (`lib.bench.growth`), with the machine it was measured on."""
    caption = (
        "<p><strong>Cost along one axis at a time.</strong> Dotted: proportional.</p>"
        f'<p class="bn-provenance">{html.escape(machine)}</p>'
    )
    return Shown(beyond.growth(rows), "Cost against depth, width, batch size, step lengths and seeds.", caption, "growth")
