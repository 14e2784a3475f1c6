"""l_p normalizations (section 3.3, Figures 5, 6, 12 and 13)."""

from __future__ import annotations

import math
from functools import partial

from lib.paper import measures
from lib.paper.claims.claim import PANELS, SEEDS_DIVERGE, Claim, Thesis
from lib.paper.labels import BATCHNORM, NONE, Label
from lib.specs import LP_NORMS

_LP = tuple(map(Label, LP_NORMS))


def _training_and_smoothness() -> list[Claim]:
    """Training and smoothness: whole panels count, single norms are their parts."""
    found = []
    train = {"thesis": Thesis.OTHERS_TRAIN, "phase": "late"}
    vgg, linear = (train | {"figures": (name,), "experiment": name} for name in ("fig-5-vgg", "fig-5-linear"))
    late = {norm: partial(measures.late_difference, one=norm, other=BATCHNORM) for norm in _LP}
    loss = {norm: partial(measures.linear_loss_ratio, one=BATCHNORM, other=norm) for norm in _LP}
    found += [
        Claim(
            "fig-12a",
            "Figures 5 and 12a",
            "In VGG, all l_p normalizations perform comparably to BatchNorm or better.",
            "training accuracy in the last quarter minus BatchNorm's, smallest of the three norms",
            bound=-0.05,
            after=True,
            measure=partial(measures.least, each=tuple(late.values())),
            **vgg,
        ),
        Claim(
            "fig-13a",
            "Figures 5 and 13a",
            "In deep linear networks, all l_p normalizations perform comparably to BatchNorm or better.",
            "loss in the last quarter, BatchNorm over l_p, smallest of the three norms",
            bound=math.log10(0.8),
            log=True,
            after=True,
            measure=partial(measures.least, each=tuple(loss.values())),
            **linear,
        ),
    ]
    for norm in _LP:
        found += [
            Claim(
                f"fig-5-vgg-{norm}",
                "Figure 5, 12a",
                f"In VGG, {norm} normalization trains better than none.",
                f"training accuracy in the last quarter, {norm} minus none",
                counts=False,
                measure=partial(measures.late_difference, one=norm, other=NONE),
                **vgg,
            ),
            Claim(
                f"fig-5-vgg-{norm}-batchnorm",
                "Section 3.3",
                f"In VGG, {norm} normalization performs comparably to BatchNorm or better.",
                f"training accuracy in the last quarter, {norm} minus BatchNorm",
                counts=False,
                bound=-0.05,
                measure=late[norm],
                **vgg,
            ),
            Claim(
                f"fig-5-linear-{norm}",
                "Figure 5, 13a",
                f"In deep linear networks, {norm} normalization trains better than none.",
                f"loss in the last quarter, none over {norm}",
                counts=False,
                log=True,
                measure=partial(measures.linear_loss_ratio, one=NONE, other=norm),
                **linear,
            ),
            Claim(
                f"fig-5-linear-{norm}-batchnorm",
                "Figure 5",
                f"In deep linear networks, {norm} normalization performs comparably to BatchNorm or better.",
                f"loss in the last quarter, BatchNorm over {norm}",
                counts=False,
                by_construction=norm == Label("l2"),  # from the second layer on, l2 is BatchNorm
                bound=math.log10(0.8),
                log=True,
                after=True,
                measure=loss[norm],
                **linear,
            ),
        ]
    found += [
        Claim(
            "prose-l1-better",
            "Section 3.3",
            "In deep linear networks l1 normalization does better than BatchNorm.",
            "loss in the last quarter, BatchNorm over l1",
            log=True,
            measure=loss[Label("l1")],
            **linear | {"figures": ("fig-5-linear", "linear-gamma")},
        ),
        Claim(
            "prose-l1-faster",
            "Section 3.3",
            "In deep linear networks l1 normalization trains faster than BatchNorm.",
            "loss, geometric mean over all of training, BatchNorm over l1",
            counts=False,
            log=True,
            after=True,
            measure=partial(measures.linear_loss_ratio, one=BATCHNORM, other=Label("l1"), part=1.0),
            **linear | {"figures": ("fig-5-linear", "linear-gamma"), "phase": ""},
        ),
    ]
    for figure, network in (("fig-12", "VGG"), ("fig-13", "deep linear networks")):
        diverge = figure == "fig-13" and SEEDS_DIVERGE
        on = {"thesis": Thesis.OTHERS_SMOOTH, "figures": (figure,), "experiment": figure, "log": True}
        for quantity, panel in zip(PANELS, "bcd"):
            place = f"Figure {figure[4:]}{panel}"
            each = {norm: partial(measures.log_ratio, quantity=quantity, one=NONE, other=norm) for norm in _LP}
            found.append(
                Claim(
                    f"{figure}{panel}",
                    place,
                    f"In {network}, the {quantity} along the gradient is smaller with each l_p normalization than "
                    "with none.",
                    f"{quantity} without normalization over with l_p, median over training, smallest of the three "
                    "norms",
                    after=True,
                    measure=partial(measures.least, each=tuple(each.values())),
                    **on,
                )
            )
            for norm in _LP:
                found.append(
                    Claim(
                        f"{figure}{panel}-{norm}",
                        place,
                        f"In {network}, the {quantity} along the gradient is smaller with {norm} normalization.",
                        f"{quantity} without normalization over with {norm}, median over training",
                        counts=False,
                        after=diverge,
                        measure=each[norm],
                        **on,
                    )
                )
        each = {
            norm: partial(measures.log_ratio, quantity="effective smoothness", one=BATCHNORM, other=norm)
            for norm in _LP
        }
        found.append(
            Claim(
                f"prose-as-smooth-{figure}",
                "Sections 1 and 3.3",
                f"In {network}, each l_p normalization smooths the landscape as much as BatchNorm, or more.",
                "effective smoothness with BatchNorm over with l_p, median over training, smallest of the three norms",
                bound=math.log10(0.8),
                after=True,
                measure=partial(measures.least, each=tuple(each.values())),
                **on,
            )
        )
        for norm in _LP:
            found.append(
                Claim(
                    f"prose-as-smooth-{figure}-{norm}",
                    "Sections 1 and 3.3",
                    f"In {network}, {norm} normalization smooths the landscape as much as BatchNorm, or more.",
                    f"effective smoothness with BatchNorm over with {norm}, median over training",
                    counts=False,
                    by_construction=figure == "fig-13" and norm == Label("l2"),
                    bound=math.log10(0.8),
                    after=True,
                    measure=each[norm],
                    **on,
                )
            )
    return found


def _distributions() -> list[Claim]:
    """What section 3.3 says of distributions under l_p normalization (Figure 6)."""
    on = {"thesis": Thesis.OTHERS_DISTRIBUTIONS, "figures": ("fig-6",), "experiment": "fig-6", "after": True}
    gaussian = {norm: partial(measures.gaussian_difference, one=norm, other=BATCHNORM) for norm in _LP}
    shifts = {
        moment: {norm: partial(measures.moment_ratio, moment=moment, one=norm, other=NONE) for norm in _LP}
        for moment in ("mean", "var")
    }
    found = [
        Claim(
            "fig-6",
            "Figure 6",
            "With l_p normalizations activations are no longer Gaussian-like.",
            "distance of activations' distributions from a Gaussian in total variation, minus BatchNorm's, smallest "
            "of the three norms",
            by_construction=True,  # the distance has no unit, and a norm only shifts and scales a unit
            measure=partial(measures.least, each=tuple(gaussian.values())),
            **on,
        ),
        Claim(
            "prose-lp-shift-variance",
            "Section 3.3",
            "Variances of activations shift more with each l_p normalization than with none.",
            "change of activation variances between successive steps as it is, l_p over none, smallest of the three "
            "norms",
            log=True,
            measure=partial(measures.least, each=tuple(shifts["var"].values())),
            **on,
        ),
        Claim(
            "prose-lp-moments",
            "Section 3.3",
            "l_p normalization does not control the moments of activations: their deviation need not be 1.",
            "factor from 1, either way, of the deviation of activations over the batch, largest of the three norms",
            by_construction=True,  # a largest value of 1 leaves a small deviation
            bound=math.log10(2),
            log=True,
            measure=partial(
                measures.greatest, each=tuple(partial(measures.off_unit_deviation, one=norm) for norm in _LP)
            ),
            **on,
        ),
    ]
    for norm in _LP:
        found += [
            Claim(
                f"prose-lp-shift-{norm}",
                "Section 3.3",
                f"Means of activations shift more with {norm} normalization than with none.",
                f"change of activation means between successive steps as it is, {norm} over none",
                by_construction=True,  # the mean is subtracted
                log=True,
                measure=shifts["mean"][norm],
                **on,
            ),
            Claim(
                f"prose-lp-shift-variance-{norm}",
                "Section 3.3",
                f"Variances of activations shift more with {norm} normalization than with none.",
                f"change of activation variances between successive steps as it is, {norm} over none",
                counts=False,
                log=True,
                measure=shifts["var"][norm],
                **on,
            ),
            Claim(
                f"prose-lp-shift-variance-{norm}-relative",
                "Section 3.3",
                f"Variances of activations shift more with {norm} normalization than with none.",
                f"change of activation variances between successive steps in units of themselves, {norm} over none",
                counts=False,
                log=True,
                measure=partial(measures.moment_ratio, moment="var", one=norm, other=NONE, plain=False),
                **on,
            ),
            Claim(
                f"prose-lp-gaussian-{norm}",
                "Section 3.3",
                f"With {norm} normalization activations are no longer Gaussian-like.",
                f"distance of activations' distributions from a Gaussian in total variation, {norm} minus BatchNorm",
                by_construction=True,
                measure=gaussian[norm],
                **on,
            ),
        ]
    return found


def statements() -> list[Claim]:
    """Training, smoothness and distributions under l_p normalizations."""
    return _training_and_smoothness() + _distributions()
