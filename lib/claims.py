"""Claims: what the paper says, and what would count as reproducing it.

A claim's measure is a pure function from the curves of an experiment to one value a seed.
Its acceptance rule, a bound on the 95 % t-interval over seeds, was written before the runs.
`lib.ledger` judges claims by the records.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import xarray as xr

from lib.errors import check_choice
from lib.probes import effective_smoothness
from lib.records import from_canonical

Curves = dict[str, xr.Dataset]
Measure = Callable[[Curves], np.ndarray]
CHANCE = 0.1
DIVERGED = 12.0


# --- quantities of one curve -------------------------------------------------------------


def loss_band(curve: xr.Dataset) -> xr.DataArray:
    """Width of the shaded region of Figure 4a: max - min of the loss over the step lengths."""
    loss = curve.landscape_loss
    return loss.max("step_length", skipna=False) - loss.min("step_length", skipna=False)


def grad_change(curve: xr.Dataset) -> xr.DataArray:
    """Largest l2 change of the gradient over the step lengths (Figure 4b)."""
    return curve.grad_change.max("step_length", skipna=False)


def relative_change(curve: xr.Dataset) -> xr.DataArray:
    """Largest change of the gradient over the step lengths, in units of its norm (Figure 11)."""
    return grad_change(curve) / curve.grad_norm


def smoothness(curve: xr.Dataset) -> xr.DataArray:
    """Largest effective smoothness over the step lengths (Figure 4c)."""
    step_size = from_canonical(curve.attrs["spec"]).step_size
    beta = effective_smoothness(curve.grad_change, curve.step_length, step_size, curve.grad_norm)
    return beta.max("step_length", skipna=False)


def moment_change(curve: xr.Dataset, moment: str) -> np.ndarray:
    """Change of activations between successive steps (Figure 8): [seed, step, layer, unit].

    Of the "mean" in units of the activation's deviation, of the "var" in units of itself.
    """
    count = curve.sizes["moments_step"] // 2
    values = curve[f"activation_{moment}"].transpose("seed", "moments_step", ...).values
    var = curve.activation_var.transpose("seed", "moments_step", ...).values[:, 0 : 2 * count : 2]
    change = abs(values[:, 1 : 2 * count : 2] - values[:, 0 : 2 * count : 2])
    with np.errstate(divide="ignore", invalid="ignore"):
        return change / (np.sqrt(var) if moment == "mean" else var)


QUANTITIES = {
    "loss band": loss_band, "gradient change": grad_change, "relative gradient change": relative_change,
    "effective smoothness": smoothness,
}  # fmt: skip


# --- measures: one value a seed ----------------------------------------------------------
# A network that has diverged is not left out: its accuracy counts as chance, its loss as that of
# the untrained network, its landscape as 10^DIVERGED times as rough as one that has not.


def _tail(curve: xr.Dataset, name: str) -> xr.DataArray:
    """The last quarter of training, with a value in place of divergence."""
    tail = curve[name].isel(step=slice(-(curve.sizes["step"] // 4 or 1), None))
    return tail.where(np.isfinite(tail), CHANCE if name == "accuracy" else curve[name].isel(step=0))


def _late(curve: xr.Dataset, name: str) -> xr.DataArray:
    """Mean over the last quarter of training."""
    return _tail(curve, name).mean("step")


def _late_difference(name: str, one: str, other: str) -> Measure:
    return lambda curves: (_late(curves[one], name) - _late(curves[other], name)).values


def _final(name: str, label: str) -> Measure:
    return lambda curves: curves[label][name].isel(eval_step=-1).fillna(CHANCE).values


def _final_difference(name: str, one: str, other: str) -> Measure:
    return lambda curves: _final(name, one)(curves) - _final(name, other)(curves)


def _log_ratio(quantity: str, one: str, other: str, part: slice = slice(None)) -> Measure:
    """log10 of quantity(one) / quantity(other): median over the probed steps."""

    def measure(curves: Curves) -> np.ndarray:
        values = [QUANTITIES[quantity](curves[label]).isel(landscape_step=part) for label in (one, other)]
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = np.log10(values[0].fillna(np.inf) / values[1].fillna(np.inf))
        # Where both have diverged there is nothing to compare.
        return ratio.clip(-DIVERGED, DIVERGED).median("landscape_step").values

    return measure


def _shift(name: str, label: str) -> Measure:
    """Median over steps and over the layers that have a predecessor."""
    return lambda curves: curves[label][name].isel(layer=slice(1, None)).median(("shift_step", "layer")).values


def _shift_l2_ratio(one: str, other: str) -> Measure:
    """log10 of the ratio of |G - G'|: median over steps and layers."""

    def measure(curves: Curves) -> np.ndarray:
        parts = [curves[label].shift_l2.isel(layer=slice(1, None)) for label in (one, other)]
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = np.log10(parts[0] / parts[1])
        return ratio.where(np.isfinite(ratio)).median(("shift_step", "layer")).values

    return measure


def _difference(one: Measure, other: Measure) -> Measure:
    return lambda curves: one(curves) - other(curves)


def _share_of_gain(curves: Curves) -> np.ndarray:
    """The share of BatchNorm's gain in late training accuracy that noisy BatchNorm keeps."""
    none, norm, noisy = (_late(curves[label], "accuracy") for label in ("none", "batchnorm", "noisy"))
    return ((noisy - none) / (norm - none)).values


def _moment_ratio(moment: str, one: str, other: str) -> Measure:
    """log10 of the ratio of the median changes between successive steps."""

    def measure(curves: Curves) -> np.ndarray:
        changes = [moment_change(curves[label], moment) for label in (one, other)]
        medians = [np.nanmedian(change.reshape(len(change), -1), 1) for change in changes]
        return np.log10(medians[0] / medians[1])

    return measure


def _linear_loss_ratio(one: str, other: str) -> Measure:
    """log10 of the ratio of losses, averaged over the last quarter of training (in log10)."""

    def late(curve: xr.Dataset) -> xr.DataArray:
        return np.log10(_tail(curve, "loss")).mean("step")

    return lambda curves: (late(curves[one]) - late(curves[other])).values


def _theorem(name: str, network: str, log: bool = False) -> Measure:
    """Median over steps, layers and units of a term of Theorem 4.1 or 4.2."""

    def measure(curves: Curves) -> np.ndarray:
        values = abs(curves[network][f"theorem_{name}"])
        return (np.log10(values) if log else values).median(_but_seed(values)).values

    return measure


def _share(name: str, network: str) -> Measure:
    """Share of steps, layers and units at which a term is positive."""

    def measure(curves: Curves) -> np.ndarray:
        values = curves[network][f"theorem_{name}"]
        return (values > 0).where(values.notnull()).mean(_but_seed(values)).values

    return measure


def _but_seed(values: xr.DataArray) -> list[str]:
    return [dim for dim in values.dims if dim != "seed"]


# --- the registry -------------------------------------------------------------------------


@dataclass(frozen=True)
class Claim:
    """One testable statement of the paper.

    `measure` gives one value a seed; `what` says it in words. The claim is reproduced if the whole 95 %
    interval lies `side` ("above" or "below") `bound`, partly if only the mean does. With `log`,
    measure and bound are in log10 and are shown as factors. Without an `experiment`, not measured yet.
    """

    id: str
    where: str
    paper: str
    what: str
    side: str = "above"
    bound: float = 0.0
    log: bool = False
    experiment: str | None = None
    measure: Measure | None = None
    curve: str | None = None  # the one curve it is about, where an experiment has several networks

    @property
    def rule(self) -> str:
        """The acceptance rule in words."""
        if self.experiment is None:
            return self.what
        bound = 10**self.bound if self.log else self.bound
        return f"{self.what}: 95 % interval over seeds {self.side} {bound:.3g}"


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
                    log=True, experiment=figure, measure=_log_ratio(quantity, "none", "batchnorm"),
                )
            )  # fmt: skip
    panels = {"loss band": "b", "gradient change": "c", "effective smoothness": "d"}
    for figure, network in (("fig-12", "VGG"), ("fig-13", "deep linear networks")):
        for quantity, panel in panels.items():
            for norm in ("l1", "l2", "linf"):
                found.append(
                    Claim(
                        f"{figure}{panel}-{norm}", f"Figure {figure[4:]}{panel}",
                        f"In {network}, the {quantity} along the gradient is smaller with {norm} normalization.",
                        f"{quantity} without normalization over with {norm}, median over training",
                        log=True, experiment=figure, measure=_log_ratio(quantity, "none", norm),
                    )
                )  # fmt: skip
    return found


def _training_claims() -> list[Claim]:
    """Panels about how well networks with l_p norms train (Figures 5, 12a and 13a)."""
    found = []
    for norm in ("l1", "l2", "linf"):
        found += [
            Claim(
                f"fig-5-vgg-{norm}", "Figure 5, 12a",
                f"In VGG, {norm} normalization trains better than none.",
                f"training accuracy in the last quarter, {norm} minus none",
                experiment="fig-5-vgg", measure=_late_difference("accuracy", norm, "none"),
            ),
            Claim(
                f"fig-5-vgg-{norm}-batchnorm", "Section 3.3",
                f"In VGG, {norm} normalization performs comparably to BatchNorm or better.",
                f"training accuracy in the last quarter, {norm} minus BatchNorm",
                bound=-0.05, experiment="fig-5-vgg", measure=_late_difference("accuracy", norm, "batchnorm"),
            ),
            Claim(
                f"fig-5-linear-{norm}", "Figure 5, 13a",
                f"In deep linear networks, {norm} normalization trains better than none.",
                f"loss in the last quarter, none over {norm}",
                log=True, experiment="fig-5-linear", measure=_linear_loss_ratio("none", norm),
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
                bound=0.1, experiment="theorems", measure=_theorem("removed", network), curve=network,
            ),
            Claim(
                f"prose-sigma-large-{id}", "Section 4.2", f"sigma tends to be large, so that gamma/sigma flattens ({network}).",
                "|gamma|/sigma, median over training, layers and units",
                side="below", log=True, experiment="theorems", measure=_theorem("scale", network, log=True), curve=network,
            ),
            Claim(
                f"prose-inner-positive-{id}", "Section 4.2", f"<yhat, g> is positive, a mild assumption ({network}).",
                "share of steps, layers and units at which it is",
                bound=0.9, experiment="theorems", measure=_share("inner", network), curve=network,
            ),
            Claim(
                f"prose-condition-{id}", "Section 4.2", f"The condition of Theorem 4.2's second display holds in training ({network}).",
                "share of steps, layers and units at which v^T H v <= g^T H g",
                bound=0.9, experiment="theorems", measure=_share("condition", network), curve=network,
            ),
        ]  # fmt: skip
    return found


CLAIMS: tuple[Claim, ...] = (
    Claim(
        "fig-1a", "Figure 1a", "At step size 0.1, VGG trains faster with BatchNorm.",
        "training accuracy in the last quarter, BatchNorm minus none",
        experiment="fig-1", measure=_late_difference("accuracy", "batchnorm, 0.1", "none, 0.1"),
    ),
    Claim(
        "fig-1b", "Figure 1b", "At step size 0.1, VGG generalizes better with BatchNorm.",
        "test accuracy at the end, BatchNorm minus none",
        experiment="fig-1", measure=_final_difference("test_accuracy", "batchnorm, 0.1", "none, 0.1"),
    ),
    Claim(
        "fig-1c", "Figure 1c", "BatchNorm makes distributions of layer inputs only marginally more stable.",
        "change of activation means between successive steps in units of their deviations, none over BatchNorm",
        side="below", bound=math.log10(2), log=True,
        experiment="fig-8", measure=_moment_ratio("mean", "none", "batchnorm"),
    ),
    Claim(
        "prose-larger-steps", "Section 3.1", "BatchNorm makes larger step sizes usable: at 0.5 VGG trains much better with it.",
        "training accuracy in the last quarter at step size 0.5, BatchNorm minus none",
        bound=0.1, experiment="fig-1", measure=_late_difference("accuracy", "batchnorm, 0.5", "none, 0.5"),
    ),
    Claim(
        "fig-2", "Figure 2", "Noisy BatchNorm trains almost as well as BatchNorm.",
        "share of BatchNorm's gain in late training accuracy that noisy BatchNorm keeps",
        bound=0.8, experiment="fig-2", measure=_share_of_gain,
    ),
    Claim(
        "prose-noisy-beats-standard", "Section 2.1", "Noisy BatchNorm trains better than the standard network.",
        "training accuracy in the last quarter, noisy BatchNorm minus none",
        experiment="fig-2", measure=_late_difference("accuracy", "noisy", "none"),
    ),
    Claim(
        "prose-noise-prevents-training", "Section 2.1", "The same noise keeps the standard network from training at all.",
        "training accuracy in the last quarter, standard network with noise (chance is 0.1)",
        side="below", bound=2 * CHANCE, experiment="fig-2",
        measure=lambda curves: _late(curves["none + noise"], "accuracy").values,
    ),
    Claim(
        "fig-8", "Figures 2 and 8", "The means of noisy BatchNorm's activations are less stable than the standard network's.",
        "change of activation means between successive steps in units of their deviations, noisy BatchNorm over none",
        log=True, experiment="fig-8", measure=_moment_ratio("mean", "noisy", "none"),
    ),
    Claim(
        "fig-8-variance", "Figures 2 and 8", "So are their variances.",
        "relative change of activation variances between successive steps, noisy BatchNorm over none",
        log=True, experiment="fig-8", measure=_moment_ratio("var", "noisy", "none"),
    ),
    Claim(
        "fig-3-vgg-cosine", "Figure 3", "In VGG, BatchNorm does not reduce covariate shift (cosine similar or worse).",
        "cosine of G and G', none minus BatchNorm, median over layers and training",
        bound=-0.1, experiment="fig-3-vgg",
        measure=_difference(_shift("shift_cosine", "none"), _shift("shift_cosine", "batchnorm")),
    ),
    Claim(
        "fig-3-vgg-l2", "Figure 3", "In VGG, BatchNorm does not reduce covariate shift (l2 difference similar or larger).",
        "|G - G'|, BatchNorm over none, median over layers and training",
        bound=-math.log10(2), log=True, experiment="fig-3-vgg", measure=_shift_l2_ratio("batchnorm", "none"),
    ),
    *(
        Claim(
            f"fig-3-linear-standard-{size:g}", "Figure 3",
            f"The standard deep linear network has almost no covariate shift (step size {size:g}).",
            "cosine of G and G' without BatchNorm, median over layers and training",
            bound=0.9, experiment="fig-3-linear", measure=_shift("shift_cosine", f"none, {size:g}"),
        )
        for size in (1e-7, 1e-6)
    ),
    *(
        Claim(
            f"fig-3-linear-batchnorm-{size:g}", "Figure 3",
            f"With BatchNorm, G and G' are almost uncorrelated in deep linear networks (step size {size:g}).",
            "cosine of G and G' with BatchNorm, median over layers and training",
            side="below", bound=0.2, experiment="fig-3-linear", measure=_shift("shift_cosine", f"batchnorm, {size:g}"),
        )
        for size in (1e-7, 1e-6)
    ),
    *_landscape_claims(),
    Claim(
        "prose-two-orders", "Section 3.2", "Early in training the gap in gradient predictiveness is near two orders of magnitude.",
        "gradient change without BatchNorm over with it, median over the first third of training",
        bound=1.5, log=True, experiment="fig-4",
        measure=lambda curves: _log_ratio(
            "gradient change", "none", "batchnorm", slice(0, -(-curves["none"].sizes["landscape_step"] // 3))
        )(curves),
    ),
    *(
        Claim(
            f"fig-11-{size}", "Figure 11", f"Gradients stay predictive over larger distances with BatchNorm (step size {size}).",
            "|g(W - c eta g) - g| / |g|, largest over c, without BatchNorm over with it, median over training",
            log=True, experiment="fig-11",
            measure=_log_ratio("relative gradient change", f"none, {size}", f"batchnorm, {size}"),
        )
        for size in (0.1, 0.5)
    ),
    *_theorem_claims(),
    *_training_claims(),
    Claim(
        "fig-5-linear-batchnorm", "Figures 5 and 13a", "Deep linear networks train better with BatchNorm.",
        "loss in the last quarter, none over BatchNorm",
        log=True, experiment="fig-5-linear", measure=_linear_loss_ratio("none", "batchnorm"),
    ),
    Claim(
        "prose-l1-better", "Section 3.3", "In deep linear networks l1 normalization does better than BatchNorm.",
        "loss in the last quarter, BatchNorm over l1",
        log=True, experiment="fig-5-linear", measure=_linear_loss_ratio("batchnorm", "l1"),
    ),
    *(
        Claim(
            id, "Appendix A.1", f"Test accuracy of VGG {text} is {value} %.",
            f"test accuracy after 15,000 steps at full width: 95 % interval over 3 seeds within 2 points of {value} %",
        )
        for id, text, value in (
            ("acc-bn", "with BatchNorm", 83),
            ("acc-standard", "without BatchNorm", 80),
            ("acc-bn-augmented", "with BatchNorm and data augmentation", 92),
            ("acc-standard-augmented", "without BatchNorm, with data augmentation", 88),
        )
    ),
)  # fmt: skip


def get(id: str) -> Claim:
    """The claim called `id`."""
    known = {claim.id: claim for claim in CLAIMS}
    check_choice("claim", id, known)
    return known[id]
