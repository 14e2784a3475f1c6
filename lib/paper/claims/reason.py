"""That smoothness is what makes training faster (abstract, sections 1, 3.1 and 6)."""

from __future__ import annotations

from functools import partial

from lib.paper import measures
from lib.paper.claims.claim import Claim, Thesis
from lib.paper.labels import BATCHNORM, NOISE, NOISY, NONE


def statements() -> list[Claim]:
    """That smoothness is what makes training faster (abstract, sections 1, 3.1 and 6)."""
    on = {"thesis": Thesis.REASON, "figures": ("fig-2",), "experiment": "fig-2", "after": True}
    return [
        Claim(
            "prose-smooth-is-fast",
            "Abstract, sections 1, 3.1 and 6",
            "Smoothness is what makes training faster: of four VGGs the smoother ones train better.",
            "rank correlation of smoothness (minus the effective one, after the plateau) with mean training accuracy "
            "over none, BatchNorm, noisy BatchNorm and none with noise",
            weight=1,
            bound=0.5,
            phase="trained",
            measure=partial(measures.smoothness_predicts_training, labels=(NONE, BATCHNORM, NOISY, NOISE)),
            **on,
        ),
        Claim(
            "prose-smooth-and-slow",
            "Abstract, sections 1, 3.1 and 6",
            "No network is smoother and slower: the standard network with noise, which trains worse, is rougher "
            "than without.",
            "effective smoothness of the standard network with noise over that without, median over training",
            counts=False,
            log=True,
            measure=partial(measures.log_ratio, quantity="effective smoothness", one=NOISE, other=NONE),
            **on,
        ),
    ]
