"""Experiments: which runs each figure of the paper needs, at each scale.

One code path, three scales. An experiment is a mapping from the label of a curve to its
specs (one a seed for VGG; the deep linear networks train their seeds side by side).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from lib import records
from lib.data import available
from lib.errors import check_choice
from lib.specs import LP_FORMULAS, LP_NORMS, LinearSpec, Noise, Spec, VGGSpec

SCALES = ("smoke", "laptop", "paper")
WITH_LP = ("none", "batchnorm", *LP_NORMS)
LINEAR_STEP_SIZES = (1e-8, 1e-7, 3e-7, 1e-6, 3e-6)
NOISE_STRENGTHS = (0.5, 1.0, 2.0, 4.0)
PREDICTIVENESS_STEP_SIZES = (0.03, 0.1, 0.5)
VGG_STEP_SIZES = (0.03, 0.1, 0.3, 1.0, 3.0)
INIT_SCALES = (0.25, 0.5, 1.0, 2.0, 4.0)
WIDTHS = (1 / 8, 1 / 4, 1 / 2, 1.0)
#: Answers to questions the paper leaves open, other than the ones assumed: changes of the spec.
VARIANTS = {
    "as assumed": {},
    "7 layers": {"depth": 7},
    "momentum 0.9": {"momentum": 0.9},
    "norm after the ReLU": {"placement": "after"},
    "no gamma and beta": {"affine": False},
    "no norm in the head": {"norm_head": False},
}

_VGG = {
    "smoke": VGGSpec(
        width=1 / 16, depth=7, data="synthetic", train_images=512, batch_size=32, steps=13, precision="float64",
        step_lengths=(0.5, 1.0, 4.0), landscape_every=4, shift_every=4, moments_every=4, histogram_every=6,
        eval_every=6, eval_images=200,
    ),
    "laptop": VGGSpec(
        width=1 / 4, data="cifar10-jpeg", steps=2_000, landscape_every=50, shift_every=50, moments_every=10,
        histogram_every=200, eval_every=200,
    ),
    "paper": VGGSpec(
        steps=15_000, landscape_every=100, shift_every=100, moments_every=50, histogram_every=1_000,
        eval_every=500, eval_images=10_000,
    ),
}  # fmt: skip
_LINEAR = {
    "smoke": LinearSpec(
        layers=8, samples=100, steps=61, seeds=2, step_lengths=(0.01, 1.0, 30.0), landscape_every=10,
        shift_every=10, histogram_every=30,
    ),
    "laptop": LinearSpec(seeds=16, landscape_every=25, histogram_every=1_000),
    "paper": LinearSpec(seeds=16, landscape_every=1, histogram_every=1_000),
}  # fmt: skip
# Accuracies need long runs and no probes; on a CPU bfloat16 makes them twice as fast.
_NO_PROBES = {"landscape_every": 0, "shift_every": 0, "moments_every": 0, "histogram_every": 0}
_ACCURACY = {
    "smoke": _VGG["smoke"].but(**_NO_PROBES),
    "laptop": VGGSpec(data="cifar10-jpeg", precision="bfloat16", eval_every=1_000),
    "paper": _VGG["paper"],  # without augmentation, these are other figures' runs
}
#: Runs by the dozen: smaller networks, fewer steps.
_SMALLER = {"smoke": {}, "laptop": {"width": 1 / 8, "steps": 1_000}, "paper": {}}
_LANDSCAPE_OFTEN = {"smoke": 6, "laptop": 50, "paper": 500}
_SEEDS = {"smoke": 2, "laptop": 5, "paper": 3}

Runs = dict[str, list[Spec]]


def _vgg(scale: str, norm: str, **changes) -> list[Spec]:
    return [_VGG[scale].but(norm=norm, seed=seed, **changes) for seed in range(_SEEDS[scale])]


def _small(scale: str, norm: str, **changes) -> list[Spec]:
    """A run among dozens, without the probes that `changes` does not ask for."""
    return _vgg(scale, norm, **{**_NO_PROBES, **_SMALLER[scale], **changes})


def _linear(scale: str, norm: str, step_size: float = 1e-6) -> list[Spec]:
    # Covariate shift is a question about none and BatchNorm only, and costly where samples are needed.
    shift = {} if norm in ("none", "batchnorm") else {"shift_every": 0}
    return [_LINEAR[scale].but(norm=norm, step_size=step_size, **shift)]


def _vgg_norms(*norms: str) -> Callable[[str], Runs]:
    return lambda scale: {norm: _vgg(scale, norm) for norm in norms}


def _linear_norms(*norms: str) -> Callable[[str], Runs]:
    return lambda scale: {norm: _linear(scale, norm) for norm in norms}


def _larger_steps(scale: str) -> Runs:
    return {f"{norm}, {size}": _vgg(scale, norm, step_size=size) for size in (0.1, 0.5) for norm in ("none", "batchnorm")}


def _predictiveness(scale: str) -> Runs:
    smallest, *others = PREDICTIVENESS_STEP_SIZES
    only = {"shift_every": 0, "moments_every": 0, "histogram_every": 0}
    small = {f"{norm}, {smallest}": _vgg(scale, norm, step_size=smallest, **only) for norm in ("none", "batchnorm")}
    return small | {f"{norm}, {size}": _vgg(scale, norm, step_size=size) for size in others for norm in ("none", "batchnorm")}


def _noise(scale: str) -> Runs:
    return {
        **_vgg_norms("none", "batchnorm", "noisy")(scale),
        "none + noise": _vgg(scale, "none", noise_without_norm=True),
    }


def _noise_strength(scale: str) -> Runs:
    base = _VGG[scale].noise
    runs = {"none, 0": _small(scale, "none"), "batchnorm, 0": _small(scale, "batchnorm")}
    for strength in NOISE_STRENGTHS:
        noise = base.scaled(strength)
        runs[f"none, {strength:g}"] = _small(scale, "none", noise_without_norm=True, noise=noise)
        runs[f"batchnorm, {strength:g}"] = _small(scale, "noisy", noise=noise)
    return runs


def _linear_step_sizes(scale: str) -> Runs:
    return {
        f"{norm}, {size:g}": _linear(scale, norm, size)
        for size in LINEAR_STEP_SIZES
        for norm in ("none", "batchnorm")
    }


def _theorems(scale: str) -> Runs:
    off = {"landscape_every": 0, "shift_every": 0, "histogram_every": 0}
    every = {"smoke": 6, "laptop": 50, "paper": 500}[scale]
    linear = _LINEAR[scale].but(norm="batchnorm", theorem_every={"smoke": 30}.get(scale, 2_000), **off)
    return {
        "VGG": _small(scale, "batchnorm", theorem_every=every, eval_every=_VGG[scale].eval_every),
        "deep linear": [linear],
    }


def _each_norm(scale: str, values: Iterable[float], field: str, **changes) -> Runs:
    """VGG with and without BatchNorm at several values of one field of the spec; labels are "norm, value"."""
    return {
        f"{norm}, {value:g}": _small(scale, norm, **{field: value}, **changes)
        for value in (tuple(values)[::2] if scale == "smoke" else values)
        for norm in ("none", "batchnorm")
    }


def _controls(scale: str) -> Runs:
    cadence = {"smoke": (6, 6), "laptop": (100, 250), "paper": (3_000, 3_000)}[scale]
    changes = {
        "landscape_every": cadence[0], "controls_every": cadence[0],
        "precision_every": cadence[1], "step_lengths": (0.5, 1.0, 2.0, 4.0),
    }  # fmt: skip
    return {norm: _small(scale, norm, **changes) for norm in ("none", "batchnorm")}


def _resnets(scale: str) -> Runs:
    changes = {"landscape_every": _LANDSCAPE_OFTEN[scale]}
    return {norm: _small(scale, norm, architecture="resnet", depth=8, **changes) for norm in ("none", "batchnorm")}


def _variants(scale: str) -> Runs:
    changes = {"landscape_every": _LANDSCAPE_OFTEN[scale]}
    if scale == "smoke":  # 7 layers are what it has
        changes["depth"] = 11
    runs = {}
    for name, variant in VARIANTS.items():
        without = {key: value for key, value in variant.items() if key not in ("placement", "affine", "norm_head")}
        runs[f"none, {name}"] = _small(scale, "none", **{**changes, **without})
        runs[f"batchnorm, {name}"] = _small(scale, "batchnorm", **{**changes, **variant})
    return runs


def _lp_formulas(scale: str) -> Runs:
    """The average l_p norm by three readings of the words; labels are "norm, formula"."""
    changes = {"landscape_every": _LANDSCAPE_OFTEN[scale]}
    readings = [(norm, formula) for norm in LP_NORMS for formula in LP_FORMULAS]
    readings.remove(("linf", "sum"))  # the largest value is not a sum
    return {
        **{norm: _small(scale, norm, **changes) for norm in ("none", "batchnorm")},
        **{f"{norm}, {formula}": _small(scale, norm, lp_formula=formula, **changes) for norm, formula in readings},
    }


def _noise_variance(scale: str) -> Runs:
    """r_sigma read as the variance of s, where else it is its deviation."""
    noise = Noise(r_sigma=math.sqrt(Noise().r_sigma))
    return {
        "none": _small(scale, "none"),
        "batchnorm": _small(scale, "batchnorm"),
        "noisy": _small(scale, "noisy", noise=noise),
        "none + noise": _small(scale, "none", noise_without_norm=True, noise=noise),
    }


def _linear_gamma(scale: str) -> Runs:
    """l_1 is BatchNorm times sqrt(pi / 2) on Gaussian activations: BatchNorm with that gamma beside it."""
    gamma = math.sqrt(math.pi / 2)
    off = {"shift_every": 0}
    return {
        "batchnorm": [_LINEAR[scale].but(norm="batchnorm")],
        "batchnorm, gamma": [_LINEAR[scale].but(norm="batchnorm", gamma=gamma, **off)],
        "l1": [_LINEAR[scale].but(norm="l1", **off)],
    }


def _accuracy(width: float, seeds: int) -> Callable[[str], Runs]:
    def runs(scale: str) -> Runs:
        base = _ACCURACY[scale]
        count = _SEEDS[scale] if scale != "laptop" else seeds
        return {
            norm + (", augmented" if augment else ""): [
                base.but(norm=norm, width=base.width * width, augment=augment, seed=seed) for seed in range(count)
            ]
            for augment in (False, True)
            for norm in ("none", "batchnorm")
        }

    return runs


@dataclass(frozen=True)
class Experiment:
    """What a figure compares, in words, and the runs it needs at a scale.

    A `long` experiment is never run by a build but at smoke scale: see `on_demand`.
    """

    title: str
    runs: Callable[[str], Runs]
    long: bool = False


EXPERIMENTS = {
    "fig-1": Experiment("VGG with and without BatchNorm, two step sizes", _larger_steps),
    "fig-2": Experiment("VGG with BatchNorm, noisy BatchNorm, neither, and noise alone", _noise),
    "fig-3-vgg": Experiment("Internal covariate shift in VGG", _vgg_norms("none", "batchnorm")),
    "fig-3-linear": Experiment("Internal covariate shift in deep linear networks, by step size", _linear_step_sizes),
    "fig-4": Experiment("Loss landscape of VGG along the gradient", _vgg_norms("none", "batchnorm")),
    "fig-5-vgg": Experiment("VGG with l_p normalizations", _vgg_norms(*WITH_LP)),
    "fig-5-linear": Experiment("Deep linear networks with l_p normalizations", _linear_norms(*WITH_LP)),
    "fig-6": Experiment("Activations under different normalizations", _vgg_norms(*WITH_LP)),
    "fig-8": Experiment("Moments of activations between successive steps", _vgg_norms("none", "batchnorm", "noisy")),
    "fig-9": Experiment("Activations in deep linear networks", _linear_norms("none", "batchnorm")),
    "fig-10": Experiment("Loss landscape of deep linear networks", _linear_norms("none", "batchnorm")),
    "fig-11": Experiment("Gradient predictiveness against distance, three step sizes", _predictiveness),
    "fig-12": Experiment("Landscape of VGG with l_p normalizations", _vgg_norms(*WITH_LP)),
    "fig-13": Experiment("Landscape of deep linear networks with l_p normalizations", _linear_norms(*WITH_LP)),
    "noise-strength": Experiment("Training under scaled noise, with and without BatchNorm", _noise_strength),
    "theorems": Experiment("Terms of Theorems 4.1 and 4.2 along training", _theorems),
    "linear-step-size": Experiment("Deep linear networks at several step sizes", _linear_step_sizes),
    "linear-gamma": Experiment("l_1 normalization against BatchNorm with its scale", _linear_gamma),
    "step-size": Experiment("VGG at several step sizes", lambda scale: _each_norm(scale, VGG_STEP_SIZES, "step_size")),
    "initialization": Experiment(
        "VGG from larger and smaller weights", lambda scale: _each_norm(scale, INIT_SCALES, "init_scale")
    ),
    "width": Experiment(
        "VGG from an eighth of its width to the whole",
        lambda scale: _each_norm(
            scale, WIDTHS, "width", landscape_every=_LANDSCAPE_OFTEN[scale], shift_every=_LANDSCAPE_OFTEN[scale]
        ),
        long=True,
    ),
    "resnet": Experiment("Loss landscape of a residual network", _resnets),
    "controls": Experiment("The landscape probe in other ways, VGG", _controls),
    "variants": Experiment("VGG under other answers to open questions", _variants),
    "bfloat16": Experiment(
        "VGG trained in bfloat16", lambda scale: {norm: _small(scale, norm, precision="bfloat16") for norm in ("none", "batchnorm")}
    ),
    "lp-formula": Experiment("VGG with three readings of the l_p formula", _lp_formulas),
    "noise-variance": Experiment("VGG with r_sigma as a variance", _noise_variance),
    "accuracy": Experiment("Test accuracy of VGG at full width", _accuracy(1.0, 1), long=True),
    "accuracy-half": Experiment("Test accuracy of VGG at half width", _accuracy(0.5, 3), long=True),
}


def live(scale: str, norm: str) -> VGGSpec:
    """A run of seconds for a chapter to make before the reader's eyes, on the best images at hand.

    At smoke scale always on the embedded images, so that its numbers are the same everywhere.
    """
    check_choice("scale", scale, SCALES)
    data = "synthetic" if scale == "smoke" else available()
    base = _VGG["smoke"].but(norm=norm, data=data, moments_every=0, histogram_every=0, shift_every=0, eval_every=0)
    return base if scale == "smoke" else base.but(precision="float32", train_images=4_000, batch_size=128, steps=31, landscape_every=30)


def specs(name: str, scale: str) -> Runs:
    """The runs of experiment `name` at `scale`: label of a curve to its specs.

    At paper scale, where more records on the re-encoded images are committed than on the originals, they stand in.
    All runs of an experiment see the same images.
    """
    check_choice("experiment", name, EXPERIMENTS)
    check_choice("scale", scale, SCALES)
    runs = EXPERIMENTS[name].runs(scale)
    if scale != "paper":
        return runs
    others = {label: [on_images(spec, "cifar10-jpeg") for spec in group] for label, group in runs.items()}
    return others if _committed(others) > _committed(runs) else runs


def on_images(spec: Spec, data: str) -> Spec:
    """The same run on other images; a deep linear network sees none."""
    return spec.but(data=data) if isinstance(spec, VGGSpec) else spec


def _committed(runs: Runs) -> int:
    return sum((records.COMMITTED / records.file_name(spec)).is_file() for group in runs.values() for spec in group)


def unique(names: Iterable[str], scale: str) -> list[Spec]:
    """The specs of several experiments, each once, in order."""
    return list(dict.fromkeys(spec for name in names for group in specs(name, scale).values() for spec in group))


def on_demand(name: str, scale: str, device: str) -> bool:
    """Whether a build makes the records that experiment `name` lacks; else it shows what there is.

    It does not where that takes hours: long experiments, and a VGG at paper scale without a GPU.
    """
    if scale == "smoke":
        return True
    vgg = any(isinstance(spec, VGGSpec) for group in specs(name, scale).values() for spec in group)
    return not EXPERIMENTS[name].long and not (vgg and scale == "paper" and device == "cpu")
