"""Accuracies and plateaus (appendix A.1)."""

from __future__ import annotations

import math
from functools import partial

from lib.paper import measures
from lib.paper.claims.claim import Claim, Thesis
from lib.paper.labels import BATCHNORM, NONE, Label


def statements() -> list[Claim]:
    """The four test accuracies of appendix A.1 and what is said beside them.

    They are at full width and, where that is too costly, at half.
    """
    found = []
    for experiment, end, width in (("accuracy", "", ""), ("accuracy-half", "-half", " at half width")):
        on = {
            "thesis": Thesis.ACCURACY,
            "figures": (experiment,),
            "experiment": experiment,
            "counts": experiment == "accuracy",
        }
        for id, text, label, value in (
            ("acc-bn", "with BatchNorm", BATCHNORM, 83),
            ("acc-standard", "without BatchNorm", NONE, 80),
            ("acc-bn-augmented", "with BatchNorm and data augmentation", Label("batchnorm", "augmented"), 92),
            ("acc-standard-augmented", "without BatchNorm, with data augmentation", Label("none", "augmented"), 88),
        ):
            found.append(
                Claim(
                    id + end,
                    "Appendix A.1",
                    f"Test accuracy of VGG {text} is {value} %.",
                    f"test accuracy after 15,000 steps{width}",
                    side="within",
                    bound=value / 100,
                    phase="end",
                    measure=partial(measures.final, one=label),
                    **on,
                )
            )
        found.append(
            Claim(
                f"acc-gap{end}",
                "Appendix A.1",
                "Without augmentation, test accuracy is 3 points higher with BatchNorm.",
                f"test accuracy after 15,000 steps{width}, BatchNorm minus none",
                side="within",
                bound=0.03,
                phase="end",
                after=True,
                measure=partial(measures.final_difference, one=BATCHNORM, other=NONE),
                **on | {"counts": False},
            )
        )
        for label in (NONE, BATCHNORM):
            found.append(
                Claim(
                    f"prose-fits-{label}{end}",
                    "Appendix A.1",
                    f"VGG can fit the training data well ({label}).",
                    f"training accuracy after 15,000 steps{width}",
                    bound=0.95,
                    phase="end",
                    after=True,
                    measure=partial(measures.final, one=label, name="train_accuracy"),
                    **on,
                )
            )
        found.append(
            Claim(
                f"prose-plateaus{end}",
                "Appendix A.1",
                "Training accuracy has reached its plateau after 15,000 steps.",
                f"gain in training accuracy over the last fifth of 15,000 steps{width}, the larger of none and "
                "BatchNorm",
                side="below",
                bound=0.02,
                phase="end",
                after=True,
                measure=partial(
                    measures.greatest,
                    each=tuple(partial(measures.still_gains, one=label) for label in (NONE, BATCHNORM)),
                ),
                **on,
            )
        )
    found.append(
        Claim(
            "prose-plateaus-linear",
            "Appendix A.1",
            "The training loss of deep linear networks has reached its plateau after 10,000 steps.",
            "loss three quarters through training over that at the end, the larger of none and BatchNorm",
            side="below",
            bound=math.log10(1.05),
            log=True,
            phase="end",
            after=True,
            thesis=Thesis.ACCURACY,
            figures=("fig-5-linear",),
            experiment="fig-5-linear",
            measure=partial(
                measures.greatest, each=tuple(partial(measures.still_falls, one=label) for label in (NONE, BATCHNORM))
            ),
        )
    )
    return found
