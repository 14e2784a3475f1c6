"""BatchNorm against none: speed, step sizes, initial weights (Figures 1 and 5; sections 2, 2.2, 3.1, 5; appendix A)."""

from __future__ import annotations

import math
from functools import partial

from lib.paper import measures
from lib.paper.claims.claim import Claim, Thesis
from lib.paper.labels import BATCHNORM, NONE, Label


def statements() -> list[Claim]:
    """BatchNorm against none: speed, accuracy, step sizes, initial weights (Figure 1; sections 3.1, 5; appendix A)."""
    none, norm = Label("none", 0.1), Label("batchnorm", 0.1)
    on = {"thesis": Thesis.FASTER, "figures": ("fig-1",), "experiment": "fig-1"}
    sweep = {"thesis": Thesis.FASTER, "figures": ("step-size",), "experiment": "step-size"}
    return [
        Claim(
            "fig-1a-speed",
            "Figure 1a",
            "VGG reaches a training accuracy of 50 % in fewer steps with BatchNorm.",
            "steps to a training accuracy of 50 % (mean of 50 steps), none over BatchNorm",
            log=True,
            after=True,
            measure=partial(measures.steps_ratio, one=none, other=norm, level=0.5),
            **on,
        ),
        Claim(
            "fig-1a",
            "Figure 1a",
            "At step size 0.1, VGG trains faster with BatchNorm.",
            "training accuracy in the last quarter, BatchNorm minus none",
            counts=False,
            phase="late",
            measure=partial(measures.late_difference, one=norm, other=none),
            **on,
        ),
        Claim(
            "fig-1b",
            "Figure 1b",
            "At step size 0.1, VGG generalizes better with BatchNorm.",
            "test accuracy at the end, BatchNorm minus none",
            phase="end",
            measure=partial(measures.final_difference, one=norm, other=none),
            **on,
        ),
        Claim(
            "prose-drastic",
            "Sections 2 and 2.2",
            "BatchNorm improves training drastically: VGG gets there in less than half the steps.",
            "steps to a training accuracy of 50 % (mean of 50 steps), none over BatchNorm",
            bound=math.log10(2),
            log=True,
            after=True,
            measure=partial(measures.steps_ratio, one=none, other=norm, level=0.5),
            **on,
        ),
        Claim(
            "prose-larger-steps",
            "Section 3.1",
            "BatchNorm makes larger step sizes usable: at 0.5 VGG trains much better with it.",
            "training accuracy in the last quarter at step size 0.5, BatchNorm minus none",
            bound=0.1,
            phase="late",
            after=True,
            measure=partial(measures.late_difference, one=Label("batchnorm", 0.5), other=Label("none", 0.5)),
            **on,
        ),
        Claim(
            "prose-largest-step",
            "Section 3.1",
            "BatchNorm widens the range of usable step sizes.",
            "largest step size tried (up to 3) with late training accuracy above twice chance, BatchNorm over none",
            log=True,
            phase="late",
            measure=partial(measures.largest_ratio, one="batchnorm", other="none"),
            **sweep,
        ),
        Claim(
            "prose-diverges",
            "Appendix A.2.2",
            "Without BatchNorm VGG trains at step sizes up to about 0.4 and not beyond.",
            "largest step size tried (0.1, 0.3, 1, ...) with late training accuracy above twice chance, without "
            "BatchNorm",
            side="within",
            bound=math.log10(0.4),
            tolerance=math.log10(2),
            log=True,
            phase="late",
            after=True,
            measure=partial(measures.largest, norm="none"),
            **sweep,
        ),
        Claim(
            "prose-step-sensitivity",
            "Section 3.1",
            "Training is less sensitive to the step size with BatchNorm.",
            "range of late training accuracy over step sizes 0.03 to 3, none minus BatchNorm",
            phase="late",
            measure=partial(measures.sensitivity, one="none", other="batchnorm"),
            **sweep,
        ),
        Claim(
            "prose-best-step",
            "Appendix A.1",
            "0.1 is the step size at which VGG trains best, with and without BatchNorm.",
            "step size with the highest late training accuracy, as a factor from 0.1 either way, the farther of the "
            "two networks",
            side="below",
            bound=math.log10(2),
            log=True,
            phase="late",
            after=True,
            measure=partial(measures.best_off, value=0.1, name="accuracy"),
            **sweep,
        ),
        Claim(
            "prose-best-step-linear",
            "Appendix A.1",
            "1e-6 is the step size at which deep linear networks train best, with and without BatchNorm.",
            "step size with the lowest late loss, as a factor from 1e-6 either way, the farther of the two networks",
            side="below",
            bound=math.log10(2),
            log=True,
            phase="late",
            after=True,
            thesis=Thesis.FASTER,
            figures=("step-sizes",),
            experiment="linear-step-size",
            measure=partial(measures.best_off, value=1e-6, name="loss"),
        ),
        Claim(
            "prose-vgg-more-sensitive",
            "Appendix A.2.2",
            "VGG is much more sensitive to the step size than the deep linear network.",
            "range over a decade of step sizes of the share of its loss that a network without norm gets rid of, "
            "VGG minus deep linear",
            bound=0.2,
            phase="late",
            after=True,
            thesis=Thesis.FASTER,
            figures=("step-sizes",),
            experiment="both-step-sizes",
            measure=partial(measures.fall_range_difference, one="VGG", other="deep linear"),
        ),
        Claim(
            "prose-initialization",
            "Sections 3.1 and 5",
            "Training is less sensitive to the initialization with BatchNorm.",
            "range of late training accuracy over weights of 1/4 to 4 times Glorot's, none minus BatchNorm",
            phase="late",
            thesis=Thesis.FASTER,
            figures=("initialization",),
            experiment="initialization",
            measure=partial(measures.sensitivity, one="none", other="batchnorm"),
        ),
        Claim(
            "fig-5-linear-batchnorm",
            "Figures 5 and 13a",
            "Deep linear networks train better with BatchNorm.",
            "loss in the last quarter, none over BatchNorm",
            log=True,
            phase="late",
            thesis=Thesis.FASTER,
            figures=("fig-5-linear",),
            experiment="fig-5-linear",
            measure=partial(measures.linear_loss_ratio, one=NONE, other=BATCHNORM),
        ),
        Claim(
            "prose-drastic-linear",
            "Section 2.2",
            "Deep linear networks train drastically better with BatchNorm: to a tenth of the loss.",
            "loss in the last quarter, none over BatchNorm",
            bound=1.0,
            log=True,
            phase="late",
            after=True,
            thesis=Thesis.FASTER,
            figures=("fig-5-linear",),
            experiment="fig-5-linear",
            measure=partial(measures.linear_loss_ratio, one=NONE, other=BATCHNORM),
        ),
    ]
