"""Stability of distributions, and the experiment with noise (section 2.1, Figures 1c, 2 and 8)."""

from __future__ import annotations

import math
from functools import partial

from lib.paper import measures
from lib.paper.claims.claim import Claim, Thesis
from lib.paper.labels import BATCHNORM, NOISE, NOISY, NONE
from lib.paper.measures import CHANCE


def statements() -> list[Claim]:
    """Stability of distributions, and the experiment with noise (Figures 1c, 2, 8)."""
    found = []
    stable = {
        "thesis": Thesis.DISTRIBUTIONS,
        "figures": ("fig-1c",),
        "side": "below",
        "bound": math.log10(2),
        "log": True,
    }
    for moment, words, id, after in (("mean", "means", "fig-1c", False), ("var", "variances", "fig-1c-variance", True)):
        unit = "in units of their deviations" if moment == "mean" else "in units of themselves"
        found.append(
            Claim(
                id,
                "Figure 1c",
                f"BatchNorm makes the {words} of layer inputs only marginally more stable.",
                f"change of activation {words} between successive steps {unit}, none over BatchNorm",
                by_construction=True,  # with BatchNorm the mean is beta and the variance gamma^2
                after=after,
                experiment="fig-8",
                measure=partial(measures.moment_ratio, moment=moment, one=NONE, other=BATCHNORM, plain=False),
                **stable,
            )
        )
    found.append(
        Claim(
            "fig-1c-shape",
            "Figure 1c",
            "BatchNorm makes whole distributions of layer inputs only marginally more stable.",
            "Kolmogorov distance between an activation's distributions at successive recorded steps, none over "
            "BatchNorm",
            after=True,
            experiment="fig-4",
            measure=partial(measures.distribution_change_ratio, one=NONE, other=BATCHNORM),
            **stable,
        )
    )
    noise = {"thesis": Thesis.DISTRIBUTIONS, "figures": ("fig-2",), "experiment": "fig-2"}
    three = {"none": NONE, "norm": BATCHNORM, "noisy": NOISY}
    found += [
        Claim(
            "fig-2",
            "Figure 2",
            "Noisy BatchNorm trains almost as fast as BatchNorm.",
            "share of BatchNorm's speed-up, in the logarithm of the steps to a training accuracy of 40 %, that "
            "noisy BatchNorm keeps",
            weight=2,
            bound=0.8,
            after=True,
            measure=partial(measures.share_of_speed, level=0.4, **three),
            **noise,
        ),
        Claim(
            "fig-2-late",
            "Figure 2",
            "Noisy BatchNorm trains almost as well as BatchNorm.",
            "share of BatchNorm's gain in late training accuracy that noisy BatchNorm keeps",
            counts=False,
            phase="late",
            bound=0.8,
            measure=partial(measures.share_of_gain, **three),
            **noise,
        ),
        Claim(
            "prose-noisy-beats-standard",
            "Section 2.1",
            "Noisy BatchNorm trains better than the standard network.",
            "training accuracy in the last quarter, noisy BatchNorm minus none",
            phase="late",
            measure=partial(measures.late_difference, one=NOISY, other=NONE),
            **noise | {"figures": ("fig-2", "fig-8")},
        ),
        Claim(
            "prose-noise-prevents-training",
            "Section 2.1",
            "The same noise keeps the standard network from training at all.",
            "training accuracy in the last quarter, standard network with noise (chance is 0.1)",
            side="below",
            bound=2 * CHANCE,
            phase="late",
            measure=partial(measures.late_accuracy, one=NOISE),
            **noise,
        ),
    ]
    for moment, words, id in (("mean", "means", "fig-8"), ("var", "variances", "fig-8-variance")):
        relative = "in units of their deviations" if moment == "mean" else "in units of themselves"
        for end, unit, plain in (("", "as it is", True), ("-relative", relative, False)):
            found.append(
                Claim(
                    id + end,
                    "Figures 2 and 8",
                    f"The {words} of noisy BatchNorm's activations are less stable than the standard network's.",
                    f"change of activation {words} between successive steps {unit}, noisy BatchNorm over none",
                    thesis=Thesis.DISTRIBUTIONS,
                    figures=("fig-8", "fig-2-activations"),
                    counts=plain,
                    log=True,
                    experiment="fig-8",
                    after=True,
                    measure=partial(measures.moment_ratio, moment=moment, one=NOISY, other=NONE, plain=plain),
                )
            )
    return found
