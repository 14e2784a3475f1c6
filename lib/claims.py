"""Claims: what the paper says, and what would count as reproducing it.

A claim's acceptance rule is a bound on the 95 % t-interval over seeds of one of `lib.measures`, written before the runs. Where a rule was
written or changed when its runs had been seen, the claim is marked `after`. `lib.ledger` judges claims by the records.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from lib import measures
from lib.errors import check_choice
from lib.experiments import PREDICTIVENESS_STEP_SIZES
from lib.measures import CHANCE, Measure
from lib.specs import LP_NORMS

WITHIN = 0.02


@dataclass(frozen=True)
class Claim:
    """One testable statement of the paper.

    `measure` gives one value a seed; `what` says it in words. The claim is reproduced if the whole 95 %
    interval lies `side` ("above", "below" or, to 0.02, "within") `bound`, partly if only the mean does. With `log`,
    measure and bound are in log10 and are shown as factors. Without a measure it is not testable, and `what` says why.
    """

    id: str
    where: str
    paper: str
    what: str
    side: str = "above"
    bound: float = 0.0
    log: bool = False
    experiment: str = ""
    measure: Measure | None = None
    curves: tuple[str, ...] | None = None  # those it is about, where an experiment has others, too
    after: bool = False  # the rule was written, or changed, after the runs had been seen

    @property
    def rule(self) -> str:
        """The acceptance rule in words."""
        if self.measure is None:
            return f"none: {self.what}"
        bound = 10**self.bound if self.log else self.bound
        if self.side == "within":
            rule = f"{self.what}: 95 % interval over seeds within {WITHIN} of {bound:.3g}"
        else:
            rule = f"{self.what}: 95 % interval over seeds {self.side} {bound:.3g}"
        return f"{rule}; set after the runs" if self.after else rule

    def undecided(self, low: float | None, high: float | None) -> bool:
        """Whether the interval from `low` to `high`, as the ledger shows it, contains the bound: the seeds tell neither."""
        if self.measure is None or low is None or high is None:
            return False
        bound = 10**self.bound if self.log else self.bound
        if self.side == "within":
            return low < bound + WITHIN < high or low < bound - WITHIN < high
        return low < bound < high


def _landscape_claims() -> list[Claim]:
    """Panels of Figures 4, 10, 12 and 13: smoother than the network without normalization."""
    found = []
    panels = {"loss band": "a", "gradient change": "b", "effective smoothness": "c"}
    for figure, network in (("fig-4", "VGG"), ("fig-10", "deep linear networks")):
        for quantity, panel in panels.items():
            found.append(
                Claim(
                    f"{figure}{panel}", f"Figure {figure[4:]}{panel}",
                    f"In {network}, the {quantity} along the gradient is smaller with BatchNorm.",
                    f"{quantity} without BatchNorm over with it, median over training",
                    log=True, experiment=figure, measure=measures.log_ratio(quantity, "none", "batchnorm"),
                )
            )  # fmt: skip
    panels = {"loss band": "b", "gradient change": "c", "effective smoothness": "d"}
    for figure, network in (("fig-12", "VGG"), ("fig-13", "deep linear networks")):
        for quantity, panel in panels.items():
            for norm in LP_NORMS:
                found.append(
                    Claim(
                        f"{figure}{panel}-{norm}", f"Figure {figure[4:]}{panel}",
                        f"In {network}, the {quantity} along the gradient is smaller with {norm} normalization.",
                        f"{quantity} without normalization over with {norm}, median over training",
                        log=True, experiment=figure, measure=measures.log_ratio(quantity, "none", norm),
                    )
                )  # fmt: skip
    for figure, network in (("fig-12", "VGG"), ("fig-13", "deep linear networks")):
        for norm in LP_NORMS:
            found.append(
                Claim(
                    f"prose-as-smooth-{figure}-{norm}", "Sections 1 and 3.3",
                    f"In {network}, {norm} normalization smooths the landscape as much as BatchNorm, or more.",
                    f"effective smoothness with BatchNorm over with {norm}, median over training",
                    bound=math.log10(0.8), log=True, experiment=figure, after=True,
                    measure=measures.log_ratio("effective smoothness", "batchnorm", norm),
                )
            )  # fmt: skip
    for figure, network in (("fig-4", "VGG"), ("fig-10", "deep linear networks")):
        found.append(
            Claim(
                f"prose-gradient-size-{figure}", "Section 3.1", f"In {network}, gradients are smaller with BatchNorm.",
                "norm of the gradient without BatchNorm over with it, median over training",
                log=True, experiment=figure, after=True, measure=measures.log_ratio("gradient norm", "none", "batchnorm"),
            )
        )  # fmt: skip
    for quantity, panel in (("loss band", "a"), ("gradient change", "b")):
        found.append(
            Claim(
                f"prose-early-{panel}", "Section 3.2", f"In VGG, BatchNorm's effect on the {quantity} is largest early in training.",
                f"{quantity} without BatchNorm over with it, in the first third of training over that in the last",
                log=True, experiment="fig-4", after=True, measure=measures.early_over_late(quantity, "none", "batchnorm"),
            )
        )  # fmt: skip
    for figure, network, near, far in (
        ("fig-4", "VGG", "none, 0.1", "batchnorm, 0.5"), ("fig-10", "deep linear networks", "none, 1e-06", "batchnorm, 3e-06")
    ):
        found.append(
            Claim(
                f"{figure}-farther", f"Figure {figure[4:]}",
                f"In {network}, BatchNorm's smoothing reaches beyond the distances at which the standard network is probed.",
                f"effective smoothness of {near} over that of {far}, each up to its own farthest point, median over training",
                log=True, experiment={"fig-4": "fig-11", "fig-10": "linear-step-size"}[figure], after=True, curves=(near, far),
                measure=measures.log_ratio("effective smoothness", near, far),
            )
        )  # fmt: skip
    return found


def _whole_panels() -> list[Claim]:
    """Panels that show three l_p norms, as one claim about all of them: the least favourable norm of each seed decides."""

    def least(measure: Callable[[str], Measure]) -> Measure:
        return measures.least(*map(measure, LP_NORMS))

    found = [
        Claim(
            "fig-6", "Figure 6", "With l_p normalizations activations are no longer Gaussian-like.",
            "distance of activations' distributions from a Gaussian in total variation, minus BatchNorm's, smallest of the three norms",
            experiment="fig-6", after=True, measure=least(lambda norm: measures.gaussian_difference(norm, "batchnorm")),
        ),
        Claim(
            "fig-12a", "Figures 5 and 12a", "In VGG, all l_p normalizations perform comparably to BatchNorm or better.",
            "training accuracy in the last quarter minus BatchNorm's, smallest of the three norms",
            bound=-0.05, experiment="fig-5-vgg", after=True,
            measure=least(lambda norm: measures.late_difference("accuracy", norm, "batchnorm")),
        ),
        Claim(
            "fig-13a", "Figures 5 and 13a", "In deep linear networks, all l_p normalizations perform comparably to BatchNorm or better.",
            "loss in the last quarter, BatchNorm over l_p, smallest of the three norms",
            bound=math.log10(0.8), log=True, experiment="fig-5-linear", after=True,
            measure=least(lambda norm: measures.linear_loss_ratio("batchnorm", norm)),
        ),
    ]  # fmt: skip
    for figure, network in (("fig-12", "VGG"), ("fig-13", "deep linear networks")):
        for quantity, panel in (("loss band", "b"), ("gradient change", "c"), ("effective smoothness", "d")):
            found.append(
                Claim(
                    f"{figure}{panel}", f"Figure {figure[4:]}{panel}",
                    f"In {network}, the {quantity} along the gradient is smaller with each l_p normalization than with none.",
                    f"{quantity} without normalization over with l_p, median over training, smallest of the three norms",
                    log=True, experiment=figure, after=True,
                    measure=least(lambda norm, quantity=quantity: measures.log_ratio(quantity, "none", norm)),
                )
            )  # fmt: skip
    return found


def _training_claims() -> list[Claim]:
    """Panels about how well networks with l_p norms train (Figures 5, 12a and 13a)."""
    found = []
    for norm in LP_NORMS:
        found += [
            Claim(
                f"fig-5-vgg-{norm}", "Figure 5, 12a",
                f"In VGG, {norm} normalization trains better than none.",
                f"training accuracy in the last quarter, {norm} minus none",
                experiment="fig-5-vgg", measure=measures.late_difference("accuracy", norm, "none"),
            ),
            Claim(
                f"fig-5-vgg-{norm}-batchnorm", "Section 3.3",
                f"In VGG, {norm} normalization performs comparably to BatchNorm or better.",
                f"training accuracy in the last quarter, {norm} minus BatchNorm",
                bound=-0.05, experiment="fig-5-vgg", measure=measures.late_difference("accuracy", norm, "batchnorm"),
            ),
            Claim(
                f"fig-5-linear-{norm}", "Figure 5, 13a",
                f"In deep linear networks, {norm} normalization trains better than none.",
                f"loss in the last quarter, none over {norm}",
                log=True, experiment="fig-5-linear", measure=measures.linear_loss_ratio("none", norm),
            ),
            Claim(
                f"fig-5-linear-{norm}-batchnorm", "Figure 5",
                f"In deep linear networks, {norm} normalization performs comparably to BatchNorm or better.",
                f"loss in the last quarter, BatchNorm over {norm}",
                bound=math.log10(0.8), log=True, experiment="fig-5-linear", after=True,
                measure=measures.linear_loss_ratio("batchnorm", norm),
            ),
        ]  # fmt: skip
    return found


def _theorem_claims() -> list[Claim]:
    """What section 4 says of its terms in practice, measured along training."""
    found = []
    for network, id in (("VGG", "vgg"), ("deep linear", "linear")):
        found += [
            Claim(
                f"prose-reduction-{id}", "Section 4.2", f"The additive terms reduce the gradient significantly ({network}).",
                "share of |g|^2 that the two terms of Theorem 4.1 remove, median over training, layers and units",
                bound=0.1, experiment="theorems", measure=measures.theorem("removed", network), curves=(network,),
            ),
            Claim(
                f"prose-sigma-large-{id}", "Section 4.2", f"sigma tends to be large, so that gamma/sigma flattens the landscape ({network}).",
                "|gamma|/sigma, median over training, layers and units",
                side="below", log=True, experiment="theorems", measure=measures.theorem("scale", network, log=True), curves=(network,),
            ),
            Claim(
                f"prose-inner-positive-{id}", "Section 4.2", f"<yhat, g> is positive, a mild assumption ({network}).",
                "share of steps, layers and units at which it is",
                bound=0.9, experiment="theorems", measure=measures.share("inner", network), curves=(network,),
            ),
            Claim(
                f"prose-forms-{id}", "Section 4.2", f"The quadratic forms of the Hessian are non-negative, a mild assumption ({network}).",
                "share of steps, layers and units at which v^T H v and g^T H g are",
                bound=0.9, experiment="theorems", after=True, measure=measures.share_of_nonnegative_forms(network), curves=(network,),
            ),
            Claim(
                f"prose-condition-{id}", "Section 4.2", f"Theorem 4.2's second display applies in training: what it needs holds ({network}).",
                "share of steps, layers and units at which v^T H v <= g^T H g",
                bound=0.9, experiment="theorems", measure=measures.share("condition", network), curves=(network,),
            ),
        ]  # fmt: skip
    return found


def _beyond_one_setting() -> list[Claim]:
    """Sentences about other directions, architectures, step sizes and initial weights."""
    panels = ("loss band", "gradient change", "effective smoothness")
    return [
        Claim(
            "prose-random-directions-loss", "Section 3.2", "Along random directions the loss varies less with BatchNorm, too.",
            "range of the loss along a random direction as long as the gradient, none over BatchNorm, median over training",
            log=True, experiment="controls", after=True, measure=measures.control_band_ratio("random_loss", "none", "batchnorm"),
        ),
        Claim(
            "prose-random-directions", "Section 3.2", "Along random directions the landscape is smoother with BatchNorm, too.",
            "change of the gradient along a random direction as long as the gradient, none over BatchNorm, median over training",
            log=True, experiment="controls", measure=measures.control_ratio("random_change", "none", "batchnorm"),
        ),
        *(
            Claim(
                f"prose-architectures-{panel}", "Appendix A.1", f"Other architectures give similar results: {quantity} of a ResNet.",
                f"{quantity} without BatchNorm over with it, median over training",
                log=True, experiment="resnet", measure=measures.log_ratio(quantity, "none", "batchnorm"),
            )
            for panel, quantity in zip("abc", panels)
        ),
        Claim(
            "prose-largest-step", "Section 3.1", "BatchNorm widens the range of usable step sizes.",
            "largest step size tried (up to 3) with late training accuracy above twice chance, BatchNorm over none",
            log=True, experiment="step-size", measure=measures.difference(measures.largest("batchnorm"), measures.largest("none")),
        ),
        Claim(
            "prose-diverges", "Appendix A.2.2", "Without BatchNorm VGG diverges at step sizes not far above 0.4.",
            "largest step size tried with late training accuracy above twice chance, without BatchNorm",
            side="below", log=True, experiment="step-size", after=True, measure=measures.largest("none"),
        ),
        Claim(
            "prose-step-sensitivity", "Section 3.1", "Training is less sensitive to the step size with BatchNorm.",
            "range of late training accuracy over step sizes 0.03 to 3, none minus BatchNorm",
            experiment="step-size", measure=measures.sensitivity("none", "batchnorm"),
        ),
        Claim(
            "prose-initialization", "Sections 3.1 and 5", "Training is less sensitive to the initialization with BatchNorm.",
            "range of late training accuracy over weights of 1/4 to 4 times Glorot's, none minus BatchNorm",
            experiment="initialization", measure=measures.sensitivity("none", "batchnorm"),
        ),
    ]  # fmt: skip


def _distribution_claims() -> list[Claim]:
    """What section 3.3 says of distributions under l_p normalization."""
    found = []
    for norm in LP_NORMS:
        found += [
            Claim(
                f"prose-lp-shift-{norm}", "Section 3.3", f"Means of activations shift more with {norm} normalization than with none.",
                f"change of activation means between successive steps in units of their deviations, {norm} over none",
                log=True, experiment="fig-6", after=True, measure=measures.moment_ratio("mean", norm, "none"),
            ),
            Claim(
                f"prose-lp-shift-variance-{norm}", "Section 3.3", f"Variances of activations shift more with {norm} normalization than with none.",
                f"relative change of activation variances between successive steps, {norm} over none",
                log=True, experiment="fig-6", after=True, measure=measures.moment_ratio("var", norm, "none"),
            ),
            Claim(
                f"prose-lp-gaussian-{norm}", "Section 3.3", f"With {norm} normalization activations are no longer Gaussian-like.",
                f"distance of activations' distributions from a Gaussian in total variation, {norm} minus BatchNorm",
                experiment="fig-6", after=True, measure=measures.gaussian_difference(norm, "batchnorm"),
            ),
        ]  # fmt: skip
    return found


def _accuracy_claims() -> list[Claim]:
    """The four test accuracies of appendix A.1 and what is said beside them, at full width and, where that is too costly, at half."""
    found = []
    for experiment, end, width in (("accuracy", "", ""), ("accuracy-half", "-half", " at half width")):
        for id, text, label, value in (
            ("acc-bn", "with BatchNorm", "batchnorm", 83),
            ("acc-standard", "without BatchNorm", "none", 80),
            ("acc-bn-augmented", "with BatchNorm and data augmentation", "batchnorm, augmented", 92),
            ("acc-standard-augmented", "without BatchNorm, with data augmentation", "none, augmented", 88),
        ):
            found.append(
                Claim(
                    id + end, "Appendix A.1", f"Test accuracy of VGG {text} is {value} %.",
                    f"test accuracy after 15,000 steps{width}", side="within", bound=value / 100,
                    experiment=experiment, measure=measures.final("test_accuracy", label), curves=(label,),
                )
            )  # fmt: skip
        found.append(
            Claim(
                f"acc-gap{end}", "Appendix A.1", "Without augmentation, test accuracy is 3 points higher with BatchNorm.",
                f"test accuracy after 15,000 steps{width}, BatchNorm minus none", side="within", bound=0.03, after=True,
                experiment=experiment, measure=measures.final_difference("test_accuracy", "batchnorm", "none"), curves=("none", "batchnorm"),
            )
        )  # fmt: skip
        found += [
            Claim(
                f"prose-fits-{label}{end}", "Appendix A.1", f"VGG can fit the training data well ({label}).",
                f"training accuracy after 15,000 steps{width}", bound=0.95, after=True,
                experiment=experiment, measure=measures.final("train_accuracy", label), curves=(label,),
            )
            for label in ("none", "batchnorm")
        ]  # fmt: skip
    return found


def _untestable_claims() -> list[Claim]:
    """What the paper says without saying what would show it."""
    return [
        Claim("fig-7", "Figure 7", "The two networks that the theorems compare.", "a drawing; what is said of the networks is tested one by one"),
        Claim("fig-9", "Figure 9", "Activations of deep linear networks over training.", "the figure is shown, and nothing is said of it", experiment="fig-9"),
        Claim(
            "prose-artifact", "Section 2.2, Figure 3", "That covariate shift with BatchNorm settles sooner is an artifact of faster convergence.",
            "no measure of convergence is named that shift could be compared at", experiment="fig-3-vgg",
        ),
        Claim(
            "prose-flat-minima", "Section 6", "Smoothing may lead training to flatter minima, and so to better generalization.",
            "a conjecture that the paper leaves to future work",
        ),
    ]  # fmt: skip


CLAIMS: tuple[Claim, ...] = (
    Claim(
        "fig-1a", "Figure 1a", "At step size 0.1, VGG trains faster with BatchNorm.",
        "training accuracy in the last quarter, BatchNorm minus none",
        experiment="fig-1", measure=measures.late_difference("accuracy", "batchnorm, 0.1", "none, 0.1"),
    ),
    Claim(
        "fig-1a-speed", "Figure 1a", "VGG reaches a training accuracy of 50 % in fewer steps with BatchNorm.",
        "steps to a training accuracy of 50 % (mean of 50 steps), none over BatchNorm",
        log=True, experiment="fig-1", after=True, measure=measures.steps_ratio("none, 0.1", "batchnorm, 0.1", 0.5),
        curves=("none, 0.1", "batchnorm, 0.1"),
    ),
    Claim(
        "fig-1b", "Figure 1b", "At step size 0.1, VGG generalizes better with BatchNorm.",
        "test accuracy at the end, BatchNorm minus none",
        experiment="fig-1", measure=measures.final_difference("test_accuracy", "batchnorm, 0.1", "none, 0.1"),
    ),
    Claim(
        "fig-1c", "Figure 1c", "BatchNorm makes the means of layer inputs only marginally more stable.",
        "change of activation means between successive steps in units of their deviations, none over BatchNorm",
        side="below", bound=math.log10(2), log=True,
        experiment="fig-8", measure=measures.moment_ratio("mean", "none", "batchnorm"),
    ),
    Claim(
        "fig-1c-variance", "Figure 1c", "BatchNorm makes the variances of layer inputs only marginally more stable.",
        "relative change of activation variances between successive steps, none over BatchNorm",
        side="below", bound=math.log10(2), log=True, after=True,
        experiment="fig-8", measure=measures.moment_ratio("var", "none", "batchnorm"),
    ),
    Claim(
        "fig-1c-shape", "Figure 1c", "BatchNorm makes whole distributions of layer inputs only marginally more stable.",
        "Kolmogorov distance between an activation's distributions at successive recorded steps, none over BatchNorm",
        side="below", bound=math.log10(2), log=True, after=True,
        experiment="fig-4", measure=measures.distribution_change_ratio("none", "batchnorm"),
    ),
    Claim(
        "prose-larger-steps", "Section 3.1", "BatchNorm makes larger step sizes usable: at 0.5 VGG trains much better with it.",
        "training accuracy in the last quarter at step size 0.5, BatchNorm minus none",
        bound=0.1, experiment="fig-1", after=True, measure=measures.late_difference("accuracy", "batchnorm, 0.5", "none, 0.5"),
    ),
    Claim(
        "fig-2", "Figure 2", "Noisy BatchNorm trains almost as well as BatchNorm.",
        "share of BatchNorm's gain in late training accuracy that noisy BatchNorm keeps",
        bound=0.8, experiment="fig-2", measure=measures.share_of_gain,
    ),
    Claim(
        "prose-noisy-beats-standard", "Section 2.1", "Noisy BatchNorm trains better than the standard network.",
        "training accuracy in the last quarter, noisy BatchNorm minus none",
        experiment="fig-2", measure=measures.late_difference("accuracy", "noisy", "none"),
    ),
    Claim(
        "prose-noise-prevents-training", "Section 2.1", "The same noise keeps the standard network from training at all.",
        "training accuracy in the last quarter, standard network with noise (chance is 0.1)",
        side="below", bound=2 * CHANCE, experiment="fig-2",
        measure=lambda curves: measures.late(curves["none + noise"], "accuracy").values,
    ),
    Claim(
        "fig-8", "Figures 2 and 8", "The means of noisy BatchNorm's activations are less stable than the standard network's.",
        "change of activation means between successive steps in units of their deviations, noisy BatchNorm over none",
        log=True, experiment="fig-8", after=True, measure=measures.moment_ratio("mean", "noisy", "none"),
    ),
    Claim(
        "fig-8-variance", "Figures 2 and 8", "The variances of noisy BatchNorm's activations are less stable than the standard network's.",
        "relative change of activation variances between successive steps, noisy BatchNorm over none",
        log=True, experiment="fig-8", after=True, measure=measures.moment_ratio("var", "noisy", "none"),
    ),
    Claim(
        "prose-sigma-standard", "Section 4.1", "sigma, the deviation of activations, tends to be large in practice (standard VGG).",
        "deviation of activations over the batch, standard network, median over training, layers and units",
        log=True, experiment="fig-8", after=True, measure=measures.deviation("none"), curves=("none",),
    ),
    Claim(
        "fig-3-vgg-cosine", "Figure 3", "In VGG, BatchNorm does not reduce covariate shift (cosine similar or worse).",
        "cosine of G and G', none minus BatchNorm, median over layers and training",
        bound=-0.1, experiment="fig-3-vgg",
        measure=measures.difference(measures.shift("shift_cosine", "none"), measures.shift("shift_cosine", "batchnorm")),
    ),
    Claim(
        "fig-3-vgg-l2", "Figure 3", "In VGG, BatchNorm does not reduce covariate shift (l2 difference similar or larger).",
        "|G - G'|, BatchNorm over none, median over layers and training",
        bound=-math.log10(2), log=True, experiment="fig-3-vgg", measure=measures.shift_l2_ratio("batchnorm", "none"),
    ),
    Claim(
        "prose-shift-increase-cosine", "Section 2.2", "In VGG, BatchNorm increases covariate shift (cosine).",
        "cosine of G and G', none minus BatchNorm, median over layers and training",
        experiment="fig-3-vgg", after=True,
        measure=measures.difference(measures.shift("shift_cosine", "none"), measures.shift("shift_cosine", "batchnorm")),
    ),
    Claim(
        "prose-shift-increase-l2", "Section 2.2", "In VGG, BatchNorm increases covariate shift (l2 difference).",
        "|G - G'|, BatchNorm over none, median over layers and training",
        log=True, experiment="fig-3-vgg", after=True, measure=measures.shift_l2_ratio("batchnorm", "none"),
    ),
    *(
        Claim(
            f"fig-3-linear-l2-{size:g}", "Figure 3",
            f"In deep linear networks, BatchNorm does not reduce covariate shift (l2 difference similar or larger; step size {size:g}).",
            "|G - G'|, BatchNorm over none, median over layers and training",
            bound=-math.log10(2), log=True, experiment="fig-3-linear", after=True,
            measure=measures.shift_l2_ratio(f"batchnorm, {size:g}", f"none, {size:g}"),
        )
        for size in (1e-7, 1e-6)
    ),
    *(
        Claim(
            f"fig-3-linear-standard-{size:g}", "Figure 3",
            f"The standard deep linear network has almost no covariate shift (step size {size:g}).",
            "cosine of G and G' without BatchNorm, median over layers and training",
            bound=0.9, experiment="fig-3-linear", measure=measures.shift("shift_cosine", f"none, {size:g}"),
        )
        for size in (1e-7, 1e-6)
    ),
    *(
        Claim(
            f"fig-3-linear-batchnorm-{size:g}", "Figure 3",
            f"With BatchNorm, G and G' are almost uncorrelated in deep linear networks (step size {size:g}).",
            "cosine of G and G' with BatchNorm, median over layers and training",
            side="below", bound=0.2, experiment="fig-3-linear", measure=measures.shift("shift_cosine", f"batchnorm, {size:g}"),
        )
        for size in (1e-7, 1e-6)
    ),
    *_landscape_claims(),
    *_whole_panels(),
    Claim(
        "prose-two-orders", "Section 3.2", "Early in training the gap in gradient predictiveness is near two orders of magnitude.",
        "gradient change without BatchNorm over with it, median over the first third of training",
        bound=1.5, log=True, experiment="fig-4",
        measure=lambda curves: measures.log_ratio(
            "gradient change", "none", "batchnorm", slice(0, -(-curves["none"].sizes["landscape_step"] // 3))
        )(curves),
    ),
    *(
        Claim(
            f"fig-11-{size}", "Figure 11", f"Gradients stay predictive over larger distances with BatchNorm (step size {size}).",
            "|g(W - c eta g) - g| / |g|, largest over c, without BatchNorm over with it, median over training",
            log=True, experiment="fig-11", after=True,
            measure=measures.log_ratio("relative gradient change", f"none, {size}", f"batchnorm, {size}"),
        )
        for size in PREDICTIVENESS_STEP_SIZES
    ),
    *_theorem_claims(),
    *_training_claims(),
    Claim(
        "fig-5-linear-batchnorm", "Figures 5 and 13a", "Deep linear networks train better with BatchNorm.",
        "loss in the last quarter, none over BatchNorm",
        log=True, experiment="fig-5-linear", measure=measures.linear_loss_ratio("none", "batchnorm"),
    ),
    Claim(
        "prose-l1-better", "Section 3.3", "In deep linear networks l1 normalization does better than BatchNorm.",
        "loss in the last quarter, BatchNorm over l1",
        log=True, experiment="fig-5-linear", measure=measures.linear_loss_ratio("batchnorm", "l1"),
    ),
    Claim(
        "prose-l1-faster", "Section 3.3", "In deep linear networks l1 normalization trains faster than BatchNorm.",
        "loss, geometric mean over all of training, BatchNorm over l1",
        log=True, experiment="fig-5-linear", after=True, measure=measures.linear_loss_ratio("batchnorm", "l1", part=1.0),
    ),
    *_beyond_one_setting(),
    *_distribution_claims(),
    *_accuracy_claims(),
    *_untestable_claims(),
)  # fmt: skip


def get(id: str) -> Claim:
    """The claim called `id`."""
    known = {claim.id: claim for claim in CLAIMS}
    check_choice("claim", id, known)
    return known[id]
