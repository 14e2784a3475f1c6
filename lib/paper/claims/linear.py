"""Deep linear networks for longer, and with other answers to what the paper leaves open (A.1, Figures 5, 10, 13)."""

from __future__ import annotations

import math
from functools import partial

from lib.paper import measures
from lib.paper.claims.claim import PANELS, Claim, Thesis
from lib.paper.experiments import LINEAR_VARIANTS
from lib.paper.labels import BATCHNORM, NONE

_STEPS = 10_000  # the paper's


def statements() -> list[Claim]:
    """What 50,000 steps and other readings say; these rules stand before any record, and no sentence counts again."""
    return [*_long(), *_variants()]


def _long() -> list[Claim]:
    on = {"figures": ("fig-5-linear",), "experiment": "linear-long", "counts": False}
    found = [
        Claim(
            "prose-plateaus-linear-long",
            "Appendix A.1",
            "The training loss of deep linear networks has reached its plateau after 10,000 steps: 50,000 make it "
            "no smaller.",
            "loss after 10,000 steps over that after 50,000, the larger of none and BatchNorm",
            thesis=Thesis.ACCURACY,
            side="below",
            bound=math.log10(1.05),
            log=True,
            phase="end",
            measure=partial(
                measures.greatest,
                each=tuple(partial(measures.loss_left_to_fall, one=label, step=_STEPS) for label in (NONE, BATCHNORM)),
            ),
            **on,
        ),
        Claim(
            "fig-5-linear-batchnorm-long",
            "Figures 5 and 13a",
            "Deep linear networks train better with BatchNorm, after 50,000 steps, too.",
            "loss in the last quarter of 50,000 steps, none over BatchNorm",
            thesis=Thesis.FASTER,
            log=True,
            phase="late",
            measure=partial(measures.linear_loss_ratio, one=NONE, other=BATCHNORM),
            **on,
        ),
        Claim(
            "prose-linear-rank",
            "Figures 5 and 13a",
            "Deep linear networks train better with BatchNorm: they learn more directions of the targets.",
            "directions whose singular value has come to more than half of the targets' after 50,000 steps, "
            "BatchNorm minus none",
            thesis=Thesis.FASTER,
            phase="end",
            measure=partial(measures.rank_difference, one=BATCHNORM, other=NONE),
            **on,
        ),
    ]
    for label, words in ((NONE, "without BatchNorm"), (BATCHNORM, "with BatchNorm")):
        found.append(
            Claim(
                f"prose-linear-best-fit-{label}",
                "Appendix A.1",
                f"Where the training loss of deep linear networks plateaus ({words}), they are a best fit of their "
                "rank.",
                "distance of the share learned of a direction from 0 or 1 after 50,000 steps, the largest of all "
                "directions",
                thesis=Thesis.FASTER,
                side="below",
                bound=0.05,
                phase="end",
                measure=partial(measures.off_best_fit, one=label),
                **on,
            )
        )
    return found


def _variants() -> list[Claim]:
    found = []
    for name in LINEAR_VARIANTS:
        none, norm = (label._replace(setting=name) for label in (NONE, BATCHNORM))
        end, words = name.lower().replace(" ", "-"), "five seeds" if name == "as assumed" else name
        on = {"experiment": "linear-variants", "counts": False, "log": True}
        found += [
            Claim(
                f"fig-5-linear-batchnorm-{end}",
                "Figures 5 and 13a",
                f"Deep linear networks train better with BatchNorm ({words}).",
                "loss in the last quarter, none over BatchNorm",
                thesis=Thesis.FASTER,
                figures=("fig-5-linear",),
                phase="late",
                measure=partial(measures.linear_loss_ratio, one=none, other=norm),
                **on,
            ),
            *(
                Claim(
                    f"fig-10{panel}-early-{end}",
                    f"Figure 10{panel}",
                    f"In deep linear networks ({words}), the {quantity} along the gradient is smaller with BatchNorm: "
                    "until the standard network's loss is half-way down.",
                    f"{quantity} without BatchNorm over with it, median over the steps of that phase",
                    thesis=Thesis.SMOOTHER_LINEAR,
                    figures=("fig-10",),
                    phase="early",
                    measure=partial(measures.log_ratio_in, phase="early", quantity=quantity, one=none, other=norm),
                    **on,
                )
                for quantity, panel in PANELS.items()
            ),
            Claim(
                f"prose-edge-fig-10-batchnorm-{end}",
                "Section 3.2",
                f"In deep linear networks with BatchNorm ({words}) training is at the edge of stability.",
                "effective smoothness times step size (2 at the edge), median after the network's plateau",
                thesis=Thesis.SMOOTHER_LINEAR,
                figures=("fig-10",),
                side="within",
                bound=math.log10(2),
                tolerance=math.log10(1.5),
                phase="trained",
                measure=partial(measures.edge, one=norm),
                **on,
            ),
        ]
    return found
