"""The figures of the book: of which experiment each is made, by which function, and on which page it stands."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pandas as pd

from lib.errors import check_choice
from lib.figures import style, words
from lib.figures.activations import distributions, moments
from lib.figures.controls import controls, precision
from lib.figures.landscape import edge, landscape, predictiveness, smooth_and_fast
from lib.figures.settings import depths, growth, noise_strength, settings, step_sizes, widths
from lib.figures.shift import shift
from lib.figures.theory import networks, shares, theorems
from lib.figures.training import accuracies, accuracy, envelope, losses, phases, training


@dataclass(frozen=True)
class Plan:
    """A figure: `draw` makes it from the curves of `experiment`, or from something else where there is none.

    `page` is the chapter's stem. A `whole` figure compares all curves at once: it is drawn when there is every one of
    them. `words` is the alternative text of a picture without numbers.
    """

    title: str
    draw: Callable[..., style.Drawn]
    page: str
    experiment: str = ""
    whole: bool = False
    words: str = ""


_set = functools.partial
#: Every figure by its name.
PLANS = {
    "fig-1": Plan("Figure 1a, b: training and test accuracy of VGG", training, "covariate-shift", "fig-1"),
    "fig-1c": Plan(
        "Figure 1c: one activation of three layers over training", distributions, "covariate-shift", "fig-4"
    ),
    "fig-2": Plan("Figure 2: training accuracy with noise after BatchNorm", accuracies, "covariate-shift", "fig-2"),
    "fig-2-activations": Plan("Figure 2, right: activations under noise", distributions, "covariate-shift", "fig-2"),
    "noise-strength": Plan(
        "Training under weaker and stronger noise",
        noise_strength,
        "covariate-shift",
        "noise-strength",
        whole=True,
    ),
    "fig-3-vgg": Plan("Figure 3: internal covariate shift in VGG", shift, "covariate-shift", "fig-3-vgg"),
    "fig-3-linear": Plan(
        "Figure 3: internal covariate shift in deep linear networks, step size 1e-6",
        _set(shift, setting=1e-6),
        "covariate-shift",
        "fig-3-linear",
    ),
    "fig-3-linear-small": Plan(
        "The same at a tenth of the step size, 1e-7",
        _set(shift, setting=1e-7),
        "covariate-shift",
        "fig-3-linear",
    ),
    "fig-4": Plan("Figure 4: loss landscape of VGG along the gradient", landscape, "smoothing", "fig-4"),
    "phases": Plan("The phases of training", phases, "smoothing", "fig-4"),
    "edge-vgg": Plan("Smoothness times step size, VGG", edge, "smoothing", "fig-4"),
    "switched": Plan("A step size that is switched in mid-run", edge, "smoothing", "switched"),
    "depth": Plan("VGG of several depths", depths, "smoothing", "depth"),
    "smooth-and-fast": Plan("Smoothness against speed", smooth_and_fast, "smoothing", "depth"),
    "resnet": Plan("Loss landscape of a residual network along the gradient", landscape, "smoothing", "resnet"),
    "step-size": Plan(
        "Training accuracy against the step size",
        _set(settings, axis="step size"),
        "smoothing",
        "step-size",
        whole=True,
    ),
    "initialization": Plan(
        "Training accuracy against the size of the initial weights",
        _set(settings, axis="initial weights, in units of Glorot's"),
        "smoothing",
        "initialization",
        whole=True,
    ),
    "width": Plan("The landscape of VGG at other widths", widths, "smoothing", "width", whole=True),
    "fig-5-vgg": Plan(
        "Figures 5 and 12a: training accuracy of VGG with other normalizations",
        accuracies,
        "smoothing",
        "fig-5-vgg",
    ),
    "fig-5-linear": Plan(
        "Figures 5 and 13a: training loss of deep linear networks", losses, "smoothing", "fig-5-linear"
    ),
    "fig-6": Plan("Figure 6: activations under other normalizations", distributions, "smoothing", "fig-6"),
    "linear-gamma": Plan("Training loss with the scale of l1", losses, "smoothing", "linear-gamma"),
    "fig-7": Plan(
        "Figure 7: the two networks that section 4 compares",
        networks,
        "theory",
        words="Two rows of boxes. (a): x, W, y = Wx, the rest of the network, the loss. (b): x, W, y = Wx, BatchNorm "
        "with gamma and beta, z, the same rest, its loss.",
    ),
    "removed-shares": Plan("What the two terms of Theorem 4.1 remove, by batch size", shares, "theory"),
    "theorems": Plan("Terms of Theorems 4.1 and 4.2 in training", theorems, "theory", "theorems"),
    "fig-8": Plan("Figure 8: moments of activations between successive steps", moments, "omitted-figures", "fig-8"),
    "fig-9": Plan(
        "Figure 9: activations in deep linear networks",
        _set(distributions, layers=4),
        "omitted-figures",
        "fig-9",
    ),
    "fig-10": Plan("Figure 10: loss landscape of deep linear networks", landscape, "omitted-figures", "fig-10"),
    "edge-linear": Plan("Smoothness times step size, deep linear networks", edge, "omitted-figures", "fig-10"),
    "step-sizes": Plan(
        "Deep linear networks against the step size",
        step_sizes,
        "omitted-figures",
        "linear-step-size",
        whole=True,
    ),
    "fig-11": Plan(
        "Figure 11: predictiveness of the gradient against distance",
        predictiveness,
        "omitted-figures",
        "fig-11",
    ),
    "fig-12": Plan("Figure 12b-d: landscape of VGG with other normalizations", landscape, "omitted-figures", "fig-12"),
    "fig-13": Plan("Figure 13b-d: landscape of deep linear networks", landscape, "omitted-figures", "fig-13"),
    "controls": Plan("The gradient's change, measured in eight ways", controls, "probes", "controls"),
    "envelope": Plan(
        "The envelope of training runs at step sizes from 0.03 to 0.3",
        envelope,
        "probes",
        "step-size",
        whole=True,
    ),
    "precision": Plan("Error of the landscape probe by precision", precision, "probes", "controls"),
    "accuracy": Plan("Test accuracy at full width", accuracy, "setup", "accuracy"),
    "accuracy-half": Plan("Test accuracy at half width", accuracy, "setup", "accuracy-half"),
    "growth": Plan("Cost along one axis at a time", growth, "speed"),
}

#: The figures that are made from records.
RECORDED = {name: plan for name, plan in PLANS.items() if plan.experiment}


def draw(name: str, curves: Any = None) -> style.Drawn:
    """Figure `name` from `curves`, those of its experiment.

    `growth` takes the rows of a benchmark, `fig-7` and `removed-shares` take nothing.
    """
    check_choice("figure", name, PLANS)
    return PLANS[name].draw() if curves is None else PLANS[name].draw(curves)


def describe(name: str, curves: Any = None) -> str:
    """Figure `name`'s alternative text, under 60 words: what is drawn, start and end, who is above, by what factor."""
    figure = draw(name, curves)
    return PLANS[name].words or words.describe(figure)


def table(name: str, curves: Any = None) -> pd.DataFrame:
    """The numbers that figure `name` shows: see `lib.figures.words.table`.

    A picture without numbers has an empty table.
    """
    return words.table(draw(name, curves))
