"""The landscape along the gradient and along random directions (sections 3.1 and 3.2, Figures 4, 10 and 11)."""

from __future__ import annotations

import math
from functools import partial

from lib.paper import measures
from lib.paper.claims.claim import PANELS, SEEDS_DIVERGE, TRAINED, Claim, Thesis
from lib.paper.experiments import FARTHEST, PREDICTIVENESS_STEP_SIZES
from lib.paper.labels import BATCHNORM, NONE, Label


def statements() -> list[Claim]:
    """Figures 4, 10: BatchNorm's landscape along the gradient is smoother; in phases, at equal loss, from the start."""
    found = []
    both = {"one": NONE, "other": BATCHNORM}
    for figure, network, thesis in (
        ("fig-4", "VGG", Thesis.SMOOTHER),
        ("fig-10", "deep linear networks", Thesis.SMOOTHER_LINEAR),
    ):
        linear = figure == "fig-10"
        on = {"thesis": thesis, "figures": (figure,), "experiment": figure, "log": True}
        for quantity, panel in PANELS.items():
            place, says = (
                f"Figure {figure[4:]}{panel}",
                f"In {network}, the {quantity} along the gradient is smaller with BatchNorm",
            )
            over = f"{quantity} without BatchNorm over with it"
            found += [
                Claim(
                    f"{figure}{panel}",
                    place,
                    f"{says}.",
                    f"{over}, median over training",
                    weight=2 if panel == "c" and not linear else 0,
                    after=linear and SEEDS_DIVERGE,
                    measure=partial(measures.log_ratio, quantity=quantity, **both),
                    **on,
                ),
                *(
                    Claim(
                        f"{figure}{panel}-{phase}",
                        place,
                        f"{says}: {words}.",
                        f"{over}, median over the steps of that phase",
                        counts=False,
                        phase=phase,
                        after=True,
                        measure=partial(measures.log_ratio_in, phase=phase, quantity=quantity, **both),
                        **on,
                    )
                    for phase, words in (
                        ("early", "until the standard network's loss is half-way down"),
                        ("trained", TRAINED),
                    )
                ),
                Claim(
                    f"{figure}{panel}-equal-loss",
                    place,
                    f"{says} at the same loss, too.",
                    f"{over} where both have the same training loss, median over losses",
                    counts=False,
                    phase="equal loss",
                    after=True,
                    measure=partial(measures.log_ratio_at_equal_loss, quantity=quantity, **both),
                    **on,
                ),
                Claim(
                    f"{figure}{panel}-start",
                    "Section 3.1",
                    f"{says} from the start.",
                    f"{over}, at the first step",
                    counts=False,
                    phase="start",
                    after=True,
                    measure=partial(measures.at_start, quantity=quantity, **both),
                    **on,
                ),
            ]
        found += [
            Claim(
                f"prose-gradient-size-{figure}",
                "Section 3.1",
                f"In {network}, gradients are smaller with BatchNorm.",
                "norm of the gradient without BatchNorm over with it, median over training",
                counts=not linear,
                after=True,
                measure=partial(measures.log_ratio, quantity="gradient norm", **both),
                **on,
            ),
            Claim(
                f"{figure}-farther",
                f"Figure {figure[4:]}",
                f"In {network}, BatchNorm's smoothing reaches beyond the distances at which the standard network is "
                "probed.",
                "effective smoothness of the standard network over that of BatchNorm's farther along the same "
                "gradients, median over training",
                after=True,
                measure=partial(measures.farther, near=FARTHEST[figure], **both),
                **on | {"experiment": f"{figure}-farther"},
            ),
            *(
                Claim(
                    f"prose-edge-{figure}-{label}",
                    "Section 3.2",
                    f"In {network} ({'with' if label == BATCHNORM else 'without'} BatchNorm) training is at the edge "
                    "of stability: the step size sets the effective smoothness.",
                    "effective smoothness times step size (2 at the edge), median after the network's plateau",
                    counts=False,
                    side="within",
                    bound=math.log10(2),
                    tolerance=math.log10(1.5),
                    phase="trained",
                    after=True,
                    measure=partial(measures.edge, one=label),
                    **on,
                )
                for label in (NONE, BATCHNORM)
            ),
        ]
    found += [
        Claim(
            f"prose-step-size-sets-{label}",
            "Section 3.2",
            f"The step size sets the effective smoothness of VGG-A {'with' if label == BATCHNORM else 'without'} "
            "BatchNorm: where it is switched in mid-run, smoothness follows.",
            "effective smoothness after a switch of the step size to 0.05 over that after one to 0.2, as a power of 4 "
            "(1: inverse to the step size; 0: it knows nothing of it), median over the last quarter",
            thesis=Thesis.SMOOTHER,
            figures=("switched",),
            experiment="switched",
            counts=False,
            bound=0.5,
            phase="late",
            measure=partial(measures.follows, small=Label(str(label), 0.05), large=Label(str(label), 0.2)),
        )
        for label in (NONE, BATCHNORM)
    ]
    vgg = {"thesis": Thesis.SMOOTHER, "figures": ("fig-4",), "experiment": "fig-4", "log": True}
    for quantity, panel in (("loss band", "a"), ("gradient change", "b")):
        found.append(
            Claim(
                f"prose-early-{panel}",
                "Section 3.2",
                f"In VGG, BatchNorm's effect on the {quantity} is largest early in training.",
                f"{quantity} without BatchNorm over with it, in the first third of training over that in the last",
                counts=panel == "b",
                phase="early over late",
                after=True,
                measure=partial(measures.early_over_late, quantity=quantity, **both),
                **vgg,
            )
        )
    found += [
        Claim(
            "prose-two-orders",
            "Section 3.2",
            "Early in training the gap in gradient predictiveness is near two orders of magnitude.",
            "gradient change without BatchNorm over with it, median over the first third of training",
            bound=1.5,
            phase="early",
            measure=partial(measures.log_ratio_in_first_third, quantity="gradient change", **both),
            **vgg,
        ),
        Claim(
            "prose-two-orders-linear",
            "Section 3.2",
            "In deep linear networks, too, the gap in gradient predictiveness is near two orders of magnitude while "
            "the loss falls.",
            "gradient change without BatchNorm over with it, median until the standard network's loss is half-way down",
            counts=False,
            bound=1.5,
            phase="early",
            after=True,
            measure=partial(measures.log_ratio_in, phase="early", quantity="gradient change", **both),
            **vgg | {"thesis": Thesis.SMOOTHER_LINEAR, "figures": ("fig-10",), "experiment": "fig-10"},
        ),
        Claim(
            "prose-later-stages",
            "Section 3.2",
            "In the later stages the gap in gradient predictiveness closes.",
            "gradient change without BatchNorm over with it, median once the standard network's loss has settled",
            side="below",
            bound=math.log10(2),
            phase="settled",
            after=True,
            measure=partial(measures.log_ratio_in, phase="settled", quantity="gradient change", **both),
            **vgg,
        ),
    ]
    vgg_runs = {"thesis": Thesis.SMOOTHER, "figures": ("fig-4",), "experiment": "fig-4", "after": True}
    found += [
        Claim(
            "prose-kinks",
            "Section 3.1",
            "Without BatchNorm the loss has more of kinks.",
            "largest bend of the loss along the gradient over the median bend, each after the network's plateau, "
            "none over BatchNorm",
            log=True,
            phase="trained",
            measure=partial(measures.kink_ratio, **both),
            **vgg_runs,
        ),
        Claim(
            "prose-flat-regions",
            "Section 3.1",
            "Without BatchNorm the loss has more of flat regions: training spends more of its time on a plateau.",
            "share of training before a twentieth of the loss's whole fall, none minus BatchNorm",
            counts=False,
            phase="plateau",
            measure=partial(measures.plateau_difference, **both),
            **vgg_runs,
        ),
        Claim(
            "prose-unstable",
            "Section 3.1",
            "Without BatchNorm training is less stable: steps raise the loss more often.",
            "share of steps, each after the network's plateau, that raise the loss of their own batch, none minus "
            "BatchNorm",
            phase="trained",
            measure=partial(measures.rises_difference, **both),
            **vgg_runs,
        ),
    ]
    for size in PREDICTIVENESS_STEP_SIZES:
        found.append(
            Claim(
                f"fig-11-{size}",
                "Figure 11",
                f"Gradients stay predictive over larger distances with BatchNorm (step size {size}).",
                "|g(W - c eta g) - g| / |g|, largest over c, without BatchNorm over with it, median over training",
                counts=size == 0.1,
                by_construction=size == 0.5,  # the standard network hardly leaves chance there
                after=True,
                measure=partial(
                    measures.log_ratio,
                    quantity="relative gradient change",
                    one=Label("none", size),
                    other=Label("batchnorm", size),
                ),
                **vgg | {"figures": ("fig-11",), "experiment": "fig-11"},
            )
        )
    random = vgg | {"figures": ("controls",), "experiment": "controls"}
    found += [
        Claim(
            "prose-random-directions-loss",
            "Section 3.2",
            "Along random directions the loss varies less with BatchNorm, too.",
            "range of the loss along a random direction as long as the gradient, none over BatchNorm, median over "
            "training",
            after=True,
            measure=partial(measures.control_band_ratio, name="random_loss", **both),
            **random,
        ),
        Claim(
            "prose-random-directions",
            "Section 3.2",
            "Along random directions the landscape is smoother with BatchNorm, too.",
            "change of the gradient along a random direction as long as the gradient, none over BatchNorm, median "
            "over training",
            counts=False,
            measure=partial(measures.control_ratio, name="random_change", **both),
            **random,
        ),
    ]
    resnet = vgg | {"figures": ("resnet",), "experiment": "resnet"}
    each = {panel: partial(measures.log_ratio, quantity=quantity, **both) for quantity, panel in PANELS.items()}
    found.append(
        Claim(
            "prose-architectures",
            "Appendix A.1",
            "Other architectures give similar results: the landscape of a ResNet is smoother with BatchNorm.",
            "without BatchNorm over with it, median over training, smallest of loss band, gradient change and "
            "effective smoothness",
            after=True,
            measure=partial(measures.least, each=tuple(each.values())),
            **resnet,
        )
    )
    for quantity, panel in PANELS.items():
        found.append(
            Claim(
                f"prose-architectures-{panel}",
                "Appendix A.1",
                f"Other architectures give similar results: {quantity} of a ResNet.",
                f"{quantity} without BatchNorm over with it, median over training",
                counts=False,
                measure=each[panel],
                **resnet,
            )
        )
    return found
