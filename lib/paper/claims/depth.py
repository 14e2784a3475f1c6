"""Central sentences for each depth that "VGG-like" may mean."""

from __future__ import annotations

from functools import partial

from lib.paper import measures
from lib.paper.claims.claim import PANELS, Claim, Thesis
from lib.paper.experiments import DEPTHS
from lib.paper.labels import BATCHNORM, NOISE, NOISY, NONE
from lib.paper.measures import CHANCE


def statements() -> list[Claim]:
    """Central sentences judged for each depth that "VGG-like" may mean; these rules stand before any record of them.

    The main figures are those of the deepest network, of 11, 13 and 16 layers, whose standard form trains at the
    paper's step size (`lib.paper.experiments.main_depth`). The paper says that its standard network does, and nothing
    else of its depth; no verdict on smoothness or noise enters this choice. The other depths stand beside it, and none
    of them counts a sentence again.
    """
    found = []
    for depth in DEPTHS:
        none, norm, noisy, noise = (label._replace(setting=depth) for label in (NONE, BATCHNORM, NOISY, NOISE))
        both = {"one": none, "other": norm}
        name = f"VGG-{depth}"
        seen = depth == 16  # of its three seeds one was recorded when the three rules that say so were written
        claim = partial(Claim, thesis=Thesis.DEPTH, figures=("depth",), experiment="depth", counts=False)
        for quantity, panel in PANELS.items():
            found += [
                claim(
                    f"depth-{depth}-fig-4{panel}",
                    f"Figure 4{panel}",
                    f"In {name}, the {quantity} along the gradient is smaller with BatchNorm.",
                    f"{quantity} without BatchNorm over with it, median over the steps after the standard network's "
                    "plateau",
                    phase="trained",
                    log=True,
                    measure=partial(measures.log_ratio_in, phase="trained", quantity=quantity, **both),
                ),
                claim(
                    f"depth-{depth}-fig-4{panel}-equal-loss",
                    f"Figure 4{panel}",
                    f"In {name}, the {quantity} is smaller with BatchNorm at the same loss, too.",
                    f"{quantity} without BatchNorm over with it where both have the same training loss, median over "
                    "losses",
                    phase="equal loss",
                    log=True,
                    measure=partial(measures.log_ratio_at_equal_loss, quantity=quantity, **both),
                ),
                claim(
                    f"depth-{depth}-start-{panel}",
                    "Section 3.1",
                    f"In {name}, the {quantity} is smaller with BatchNorm from the start.",
                    f"{quantity} without BatchNorm over with it at the first step",
                    phase="start",
                    log=True,
                    measure=partial(measures.at_start, quantity=quantity, **both),
                ),
            ]
        for quantity in ("loss band", "gradient change"):
            for factor in (10, 100):
                found.append(
                    claim(
                        f"depth-{depth}-spikes-{quantity.split()[0]}-{factor}",
                        "Figure 4",
                        f"In {name}, BatchNorm spares training spikes of the {quantity}.",
                        f"share of probed steps after the standard network's plateau at which its {quantity} is "
                        f"over {factor} times BatchNorm's",
                        phase="trained",
                        bound=0.1,
                        measure=partial(measures.share_above, factor=factor, quantity=quantity, **both),
                    )
                )
        found.append(
            claim(
                f"depth-{depth}-two-orders",
                "Section 3.2",
                f"In {name}, the gap in gradient predictiveness is near two orders of magnitude early in training.",
                "gradient change without BatchNorm over with it, median until the standard network's loss is "
                "half-way down",
                phase="early",
                log=True,
                bound=1.5,
                measure=partial(measures.log_ratio_in, phase="early", quantity="gradient change", **both),
            )
        )
        for label, words in ((none, "without"), (norm, "with")):
            found.append(
                claim(
                    f"depth-{depth}-edge-{words}",
                    "Section 3.2",
                    f"In {name} {words} BatchNorm, the step size sets the effective smoothness: training is at the "
                    "edge of stability.",
                    "effective smoothness times step size (2 at the edge), median after the plateau",
                    phase="trained",
                    log=True,
                    measure=partial(measures.edge, one=label),
                )
            )
        found += [
            claim(
                f"depth-{depth}-speed",
                "Figure 1a",
                f"{name} trains faster with BatchNorm.",
                "steps to a training accuracy of 40 % (mean of 50 steps), none over BatchNorm",
                log=True,
                measure=partial(measures.steps_ratio, level=0.4, **both),
            ),
            claim(
                f"depth-{depth}-noisy-speed",
                "Figure 2",
                f"In {name}, noisy BatchNorm trains almost as fast as BatchNorm.",
                "share of BatchNorm's speed-up, in the logarithm of the steps to a training accuracy of 40 %, that "
                "noisy BatchNorm keeps",
                bound=0.8,
                measure=partial(measures.share_of_speed, level=0.4, none=none, norm=norm, noisy=noisy),
            ),
            claim(
                f"depth-{depth}-noise-prevents",
                "Section 2.1",
                f"The same noise keeps the standard {name} from training at all.",
                "training accuracy in the last quarter, standard network with noise (chance is 0.1)",
                phase="late",
                side="below",
                bound=2 * CHANCE,
                measure=partial(measures.late_accuracy, one=noise),
            ),
            *(
                claim(
                    f"depth-{depth}-noisy-{words}",
                    "Figures 2 and 8",
                    f"In {name}, the {words} of noisy BatchNorm's activations are less stable than the standard "
                    "network's.",
                    f"change of activation {words} between successive steps as it is, noisy BatchNorm over none",
                    log=True,
                    measure=partial(measures.moment_ratio, moment=moment, one=noisy, other=none),
                )
                for moment, words in (("mean", "means"), ("var", "variances"))
            ),
            claim(
                f"depth-{depth}-gradient-size",
                "Section 3.1",
                f"In {name}, gradients are smaller with BatchNorm.",
                "norm of the gradient without BatchNorm over with it, median after the standard network's plateau",
                phase="trained",
                log=True,
                measure=partial(measures.log_ratio_in, phase="trained", quantity="gradient norm", **both),
            ),
            claim(
                f"depth-{depth}-kinks",
                "Section 3.1",
                f"In {name}, the loss has more of kinks without BatchNorm.",
                "largest bend of the loss along the gradient over the median bend, each after the network's "
                "plateau, none over BatchNorm",
                phase="trained",
                log=True,
                after=seen,
                measure=partial(measures.kink_ratio, **both),
            ),
            claim(
                f"depth-{depth}-flat-regions",
                "Section 3.1",
                f"{name} spends more of its training on a plateau without BatchNorm.",
                "share of training before a twentieth of the loss's whole fall, none minus BatchNorm",
                phase="plateau",
                after=seen,
                measure=partial(measures.plateau_difference, **both),
            ),
            claim(
                f"depth-{depth}-unstable",
                "Section 3.1",
                f"Without BatchNorm training of {name} is less stable: steps raise the loss more often.",
                "share of steps, each after the network's plateau, that raise the loss of their own batch, none "
                "minus BatchNorm",
                phase="trained",
                after=seen,
                measure=partial(measures.rises_difference, **both),
            ),
            claim(
                f"depth-{depth}-smooth-is-fast",
                "Abstract",
                f"Smoothness is what makes training faster: of four {name}s the smoother ones train better.",
                "rank correlation of smoothness (minus the effective one, after the plateau) with mean training "
                "accuracy over none, BatchNorm, noisy and none with noise",
                phase="trained",
                bound=0.5,
                measure=partial(measures.smoothness_predicts_training, labels=(none, norm, noisy, noise)),
            ),
            claim(
                f"depth-{depth}-shift-cosine",
                "Figure 3",
                f"In {name}, BatchNorm does not reduce covariate shift (cosine similar or worse).",
                "cosine of G and G', none minus BatchNorm, median over layers and training",
                bound=-0.1,
                measure=partial(measures.shift_difference, **both),
            ),
        ]
    return found
