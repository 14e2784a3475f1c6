"""Other normalizations and non-linearities (section 5)."""

from __future__ import annotations

from functools import partial

from lib.paper import measures
from lib.paper.claims.claim import Claim, Thesis
from lib.paper.experiments import OTHERS
from lib.paper.labels import BATCHNORM, NONE, Label


def statements() -> list[Claim]:
    """What section 5 says of layer, group, instance and weight normalization, ELU and SELU.

    These rules stand before any record of them. "Comparable" is what it is for l_p normalizations: late training
    accuracy at most 0.05 below BatchNorm's.
    """
    labels = tuple(map(Label, OTHERS))
    on = {"figures": ("section-5",), "experiment": "other-norms"}
    late = {label: partial(measures.late_difference, one=label, other=BATCHNORM) for label in labels}
    return [
        Claim(
            "prose-others-comparable",
            "Section 5",
            "Layer, group, instance and weight normalization, ELU and SELU improve training as much as BatchNorm does.",
            "training accuracy in the last quarter minus BatchNorm's, smallest of the six",
            thesis=Thesis.OTHERS_TRAIN,
            phase="late",
            bound=-0.05,
            measure=partial(measures.least, each=tuple(late.values())),
            **on,
        ),
        *(
            Claim(
                f"prose-others-comparable-{label}",
                "Section 5",
                f"VGG trains as well with {label} as with BatchNorm.",
                f"training accuracy in the last quarter, {label} minus BatchNorm",
                thesis=Thesis.OTHERS_TRAIN,
                counts=False,
                phase="late",
                bound=-0.05,
                measure=late[label],
                **on,
            )
            for label in labels
        ),
        *(
            Claim(
                f"prose-others-improve-{label}",
                "Section 5",
                f"VGG trains better with {label} than as the standard network.",
                f"training accuracy in the last quarter, {label} minus none",
                thesis=Thesis.OTHERS_TRAIN,
                counts=False,
                phase="late",
                measure=partial(measures.late_difference, one=label, other=NONE),
                **on,
            )
            for label in labels
        ),
        Claim(
            "prose-smooth-is-fast-others",
            "Abstract, sections 1, 3.1 and 6",
            "Smoothness is what makes training faster: of eight VGGs the smoother ones train better.",
            "rank correlation of smoothness (minus the effective one, after the plateau) with mean training accuracy "
            "over none, BatchNorm and the six of section 5",
            thesis=Thesis.REASON,
            counts=False,
            phase="trained",
            bound=0.5,
            measure=partial(measures.smoothness_predicts_training, labels=(NONE, BATCHNORM, *labels)),
            **on,
        ),
    ]
