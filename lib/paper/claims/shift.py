"""Internal covariate shift by Definition 2.1 (section 2.2, Figure 3)."""

from __future__ import annotations

import math
from functools import partial

from lib.paper import measures
from lib.paper.claims.claim import TRAINED, Claim, Thesis
from lib.paper.labels import BATCHNORM, NONE, Label


def statements() -> list[Claim]:
    """Internal covariate shift by Definition 2.1 (Figure 3, section 2.2)."""
    vgg = {"thesis": Thesis.SHIFT, "figures": ("fig-3-vgg",), "experiment": "fig-3-vgg"}
    cosine = partial(measures.shift_difference, one=NONE, other=BATCHNORM)
    l2 = partial(measures.shift_l2_ratio, one=BATCHNORM, other=NONE)
    found = [
        Claim(
            "fig-3-vgg-cosine",
            "Figure 3",
            "In VGG, BatchNorm does not reduce covariate shift (cosine similar or worse).",
            "cosine of G and G', none minus BatchNorm, median over layers and training",
            weight=1,
            bound=-0.1,
            measure=cosine,
            **vgg,
        ),
        *(
            Claim(
                f"fig-3-vgg-cosine-{phase}",
                "Figure 3",
                f"In VGG, BatchNorm does not reduce covariate shift (cosine similar or worse): {words}.",
                "cosine of G and G', none minus BatchNorm, median over layers and the steps of that phase",
                counts=False,
                phase=phase,
                bound=-0.1,
                after=True,
                measure=partial(measures.shift_difference_in, phase=phase, one=NONE, other=BATCHNORM),
                **vgg,
            )
            for phase, words in (("plateau", "on the standard network's plateau"), ("trained", TRAINED))
        ),
        Claim(
            "fig-3-vgg-l2",
            "Figure 3",
            "In VGG, BatchNorm does not reduce covariate shift (l2 difference similar or larger).",
            "|G - G'|, BatchNorm over none, median over layers and training",
            counts=False,
            bound=-math.log10(2),
            log=True,
            measure=l2,
            **vgg,
        ),
        Claim(
            "prose-shift-increase-cosine",
            "Section 2.2",
            "In VGG, BatchNorm increases covariate shift (cosine).",
            "cosine of G and G', none minus BatchNorm, median over layers and training",
            counts=False,
            after=True,
            measure=cosine,
            **vgg,
        ),
        Claim(
            "prose-shift-increase-l2",
            "Section 2.2",
            "In VGG, BatchNorm increases covariate shift (l2 difference).",
            "|G - G'|, BatchNorm over none, median over layers and training",
            counts=False,
            log=True,
            after=True,
            measure=l2,
            **vgg,
        ),
        Claim(
            "prose-artifact",
            "Section 2.2, Figure 3",
            "That covariate shift with BatchNorm settles sooner is an artifact of faster convergence: at the same "
            "loss it is no smaller.",
            "cosine of G and G' where both have the same training loss, none minus BatchNorm, median over layers "
            "and losses",
            bound=-0.1,
            phase="equal loss",
            after=True,
            measure=partial(measures.shift_difference_at_equal_loss, one=NONE, other=BATCHNORM),
            **vgg,
        ),
    ]
    for size, figure in ((1e-6, "fig-3-linear"), (1e-7, "fig-3-linear-small")):
        none, norm = Label("none", size), Label("batchnorm", size)
        on = {"thesis": Thesis.SHIFT, "figures": (figure,), "experiment": "fig-3-linear"}
        # Two step sizes show the same sentence: the larger one, at which networks train, counts.
        counts = size == 1e-6
        found += [
            Claim(
                f"fig-3-linear-standard-{size:g}",
                "Figure 3",
                f"The standard deep linear network has almost no covariate shift (step size {size:g}).",
                "cosine of G and G' without BatchNorm, median over layers and training",
                counts=counts,
                bound=0.9,
                measure=partial(measures.shift, one=none),
                **on,
            ),
            Claim(
                f"fig-3-linear-entirety-{size:g}",
                "Section 2.2",
                f"It has almost none for the entirety of training (step size {size:g}).",
                "cosine of G and G' without BatchNorm, below which 5 % of all layers and steps lie",
                counts=counts,
                bound=0.9,
                after=True,
                measure=partial(measures.least_shift_cosine, one=none),
                **on,
            ),
            Claim(
                f"fig-3-linear-batchnorm-{size:g}",
                "Figure 3",
                f"With BatchNorm, G and G' are almost uncorrelated in deep linear networks (step size {size:g}).",
                "cosine of G and G' with BatchNorm, median over layers and training",
                counts=counts,
                side="below",
                bound=0.2,
                measure=partial(measures.shift, one=norm),
                **on,
            ),
            Claim(
                f"fig-3-linear-l2-{size:g}",
                "Figure 3",
                "In deep linear networks, BatchNorm does not reduce covariate shift (l2 difference similar or "
                f"larger; step size {size:g}).",
                "|G - G'|, BatchNorm over none, median over layers and training",
                counts=False,
                bound=-math.log10(2),
                log=True,
                after=True,
                measure=partial(measures.shift_l2_ratio, one=norm, other=none),
                **on,
            ),
        ]
    return found
