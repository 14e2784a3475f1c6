"""Experiments: which runs each figure of the paper needs, at each scale.

One code path, three scales. An experiment is a mapping from the label of a curve to its
specs (one a seed for VGG; the deep linear networks train their seeds side by side).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from lib import records
from lib.data import TRAIN_IMAGES, available
from lib.errors import check_choice
from lib.paper.labels import BATCHNORM, NOISE, NOISY, NONE, Label
from lib.paper.measures import CHANCE, late
from lib.specs import LP_FORMULAS, LP_NORMS, ImageSpec, LinearSpec, Noise, Spec

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
    "smoke": ImageSpec(
        width=1 / 16,
        depth=7,
        data="synthetic",
        train_images=512,
        batch_size=32,
        steps=13,
        precision="float64",
        step_lengths=(0.5, 1.0, 4.0),
        landscape_every=4,
        shift_every=4,
        moments_every=4,
        histogram_every=6,
        eval_every=6,
        eval_images=200,
    ),
    "laptop": ImageSpec(
        width=1 / 4,
        steps=2_000,
        landscape_every=50,
        shift_every=50,
        moments_every=10,
        histogram_every=200,
        eval_every=200,
    ),
    "paper": ImageSpec(
        steps=15_000,
        landscape_every=100,
        shift_every=100,
        moments_every=50,
        histogram_every=1_000,
        eval_every=500,
        eval_images=10_000,
    ),
}
_LINEAR = {
    "smoke": LinearSpec(
        layers=8,
        samples=100,
        steps=61,
        seeds=2,
        step_lengths=(0.01, 1.0, 30.0),
        landscape_every=10,
        shift_every=10,
        histogram_every=30,
    ),
    "laptop": LinearSpec(seeds=16, landscape_every=25, histogram_every=1_000),
    "paper": LinearSpec(seeds=16, landscape_every=1, histogram_every=1_000),
}
# Accuracies need long runs and no probes; on a CPU bfloat16 makes them twice as fast.
_NO_PROBES = {"landscape_every": 0, "shift_every": 0, "moments_every": 0, "histogram_every": 0}
_ACCURACY = {
    "smoke": _VGG["smoke"].but(**_NO_PROBES),
    "laptop": ImageSpec(precision="bfloat16", eval_every=1_000),
    "paper": _VGG["paper"],  # without augmentation, these are other figures' runs
}
#: Runs by the dozen: smaller networks, fewer steps.
_SMALLER = {"smoke": {}, "laptop": {"width": 1 / 8, "steps": 1_000}, "paper": {}}
_LANDSCAPE_OFTEN = {"smoke": 6, "laptop": 50, "paper": 500}
_SEEDS = {"smoke": 2, "laptop": 5, "paper": 3}

Runs = dict[Label, list[Spec]]


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
    return lambda scale: {Label(norm): _vgg(scale, norm) for norm in norms}


def _linear_norms(*norms: str) -> Callable[[str], Runs]:
    return lambda scale: {Label(norm): _linear(scale, norm) for norm in norms}


def _larger_steps(scale: str) -> Runs:
    return {
        Label(norm, size): _vgg(scale, norm, step_size=size) for size in (0.1, 0.5) for norm in ("none", "batchnorm")
    }


def _predictiveness(scale: str) -> Runs:
    smallest, *others = PREDICTIVENESS_STEP_SIZES
    only = {"shift_every": 0, "moments_every": 0, "histogram_every": 0}
    small = {Label(norm, smallest): _vgg(scale, norm, step_size=smallest, **only) for norm in ("none", "batchnorm")}
    return small | {
        Label(norm, size): _vgg(scale, norm, step_size=size) for size in others for norm in ("none", "batchnorm")
    }


def _noise(scale: str) -> Runs:
    return {
        **_vgg_norms("none", "batchnorm", "noisy")(scale),
        NOISE: _vgg(scale, "none", noise_without_norm=True),
    }


def _noise_strength(scale: str) -> Runs:
    base = _VGG[scale].noise
    runs = {Label(norm, 0): _small(scale, norm) for norm in ("none", "batchnorm")}
    for strength in NOISE_STRENGTHS:
        noise = base.scaled(strength)
        runs[Label("none", strength)] = _small(scale, "none", noise_without_norm=True, noise=noise)
        runs[Label("batchnorm", strength)] = _small(scale, "noisy", noise=noise)
    return runs


def _linear_step_sizes(scale: str) -> Runs:
    return {
        Label(norm, size): _linear(scale, norm, size) for size in LINEAR_STEP_SIZES for norm in ("none", "batchnorm")
    }


#: Farthest step length at which Figures 4 and 10 probe each network.
FARTHEST = {"fig-4": 4.0, "fig-10": 30.0}


def _farther(figure: str) -> Callable[[str], Runs]:
    """The runs of a figure with more step lengths beyond its own, along the same trajectory."""

    def runs(scale: str) -> Runs:
        found = {}
        for norm in ("none", "batchnorm"):
            group = _vgg(scale, norm, **_NO_PROBES) if figure == "fig-4" else _linear(scale, norm)
            far = tuple(FARTHEST[figure] * factor for factor in (2, 4, 8))
            every = (_VGG if figure == "fig-4" else _LINEAR)[scale]
            lengths = (*every.step_lengths, *far)
            off = {"shift_every": 0, "histogram_every": 0, "landscape_every": every.landscape_every}
            found[Label(norm)] = [spec.but(step_lengths=lengths, **off) for spec in group]
        return found

    return runs


def _both_step_sizes(scale: str) -> Runs:
    """A decade of step sizes, without a norm: labels have the network where others have the norm."""
    vgg, linear = {"smoke": ((0.03, 0.3), (1e-7, 1e-6))}.get(scale, ((0.03, 0.1, 0.3), (1e-7, 3e-7, 1e-6)))
    return {
        **{Label("VGG", size): _small(scale, "none", step_size=size) for size in vgg},
        **{Label("deep linear", size): _linear(scale, "none", size) for size in linear},
    }


def _theorems(scale: str) -> Runs:
    off = {"landscape_every": 0, "shift_every": 0, "histogram_every": 0}
    every = {"smoke": 6, "laptop": 50, "paper": 500}[scale]
    linear = _LINEAR[scale].but(norm="batchnorm", theorem_every={"smoke": 30}.get(scale, 2_000), **off)
    return {
        Label("batchnorm", "VGG"): _small(scale, "batchnorm", theorem_every=every, eval_every=_VGG[scale].eval_every),
        Label("batchnorm", "deep linear"): [linear],
    }


def _each_norm(scale: str, values: Iterable[float], field: str, **changes) -> Runs:
    """VGG with and without BatchNorm at several values of one field of the spec, which labels have as their setting."""
    return {
        Label(norm, value): _small(scale, norm, **{field: value}, **changes)
        for value in (tuple(values)[::2] if scale == "smoke" else values)
        for norm in ("none", "batchnorm")
    }


def _controls(scale: str) -> Runs:
    cadence = {"smoke": (6, 6), "laptop": (100, 250), "paper": (3_000, 3_000)}[scale]
    changes = {
        "landscape_every": cadence[0],
        "controls_every": cadence[0],
        "precision_every": cadence[1],
        "step_lengths": (0.5, 1.0, 2.0, 4.0),
    }
    return {Label(norm): _small(scale, norm, **changes) for norm in ("none", "batchnorm")}


#: Depths of the VGG of Simonyan and Zisserman that "VGG-like" may mean, the deepest first: it is recorded first.
DEPTHS = (16, 13, 11)


def _depths(scale: str) -> Runs:
    """VGG of several depths, with and without BatchNorm and noise, on original images; labels' setting is the depth."""
    often = {
        "smoke": {"landscape_every": 4, "shift_every": 4},
        "laptop": {"steps": 1_000, "landscape_every": 25, "shift_every": 50, "moments_every": 10},
        "paper": {
            "data": "cifar10",
            "landscape_every": 100,
            "shift_every": 100,
            "early_steps": 1_000,
            "early_times": 4,
        },
    }[scale]
    runs: Runs = {}
    for depth in {"smoke": (11,)}.get(scale, DEPTHS):
        changes = {**often, "depth": depth}
        for norm in ("none", "batchnorm", "noisy"):
            runs[Label(norm, depth)] = _vgg(scale, norm, **changes)[:3]
        runs[NOISE._replace(setting=depth)] = _vgg(scale, "none", noise_without_norm=True, **changes)[:3]
    return runs


def main_depth() -> int | None:
    """The depth of the VGG that carries the main figures; None while the records that decide it are not there.

    It is the deepest of `DEPTHS` whose standard form trains at the paper's step size: its training accuracy in the last
    quarter of experiment "depth" at laptop scale is above twice chance in each of three seeds. Nothing on smoothness or
    noise enters.
    """
    for depth in DEPTHS:
        paths = [records.COMMITTED / records.file_name(spec) for spec in _depths("laptop")[Label("none", depth)]]
        if not all(path.is_file() for path in paths):
            return None
        if all(_late_accuracy(path) > 2 * CHANCE for path in paths):
            return depth
    return None


@functools.cache
def _late_accuracy(path: Path) -> float:
    return float(late(records.read(path), "accuracy"))


def _gradients(scale: str) -> Runs:
    """Gradients of each layer in the first steps, by depth."""
    changes = {"smoke": {}, "laptop": {"steps": 301}, "paper": {"steps": 1_001}}[scale]
    every = {"smoke": 4, "laptop": 10, "paper": 20}[scale]
    return {
        Label(norm, depth): _vgg(
            scale, norm, **_NO_PROBES, eval_every=0, gradients_every=every, depth=depth, **changes
        )[:3]
        for depth in {"smoke": (11,)}.get(scale, DEPTHS)
        for norm in ("none", "batchnorm")
    }


#: What section 5 names beside BatchNorm: changes of the spec.
OTHERS = {
    "layernorm": {"norm": "layernorm"},
    "groupnorm": {"norm": "groupnorm"},
    "instancenorm": {"norm": "instancenorm", "norm_head": False},
    "weightnorm": {"norm": "weightnorm"},
    "elu": {"norm": "none", "activation": "elu"},
    "selu": {"norm": "none", "activation": "selu"},
}


def _others(scale: str) -> Runs:
    """Networks with none, BatchNorm and what section 5 names; labels have its name where others have the norm."""
    changes = {"none": {"norm": "none"}, "batchnorm": {"norm": "batchnorm"}, **OTHERS}
    off = {"shift_every": 0, "moments_every": 0, "histogram_every": 0}
    return {Label(name): _vgg(scale, **{**off, **change})[:3] for name, change in changes.items()}


#: Other answers to what the paper leaves open of its deep linear networks: changes of the spec.
LINEAR_VARIANTS = {
    "as assumed": {},
    "Glorot normal": {"initialization": "normal"},
    "gamma and beta": {"affine": True},
    "a last norm": {"norm_last": True},
}


def _linear_variants(scale: str) -> Runs:
    """Deep linear networks under other answers; what is about a norm leaves the standard network as it is."""
    few = {"smoke": {}, "laptop": {"seeds": 5}, "paper": {"seeds": 5, "landscape_every": 25}}[scale]
    few |= {"modes_every": {"smoke": 30}.get(scale, 100)}
    return {
        Label(norm, name): [
            _LINEAR[scale].but(norm=norm, **few, **(change if norm != "none" or name == "Glorot normal" else {}))
        ]
        for name, change in LINEAR_VARIANTS.items()
        for norm in ("none", "batchnorm")
    }


#: Steps that the deep linear networks are trained for to see whether 10,000 are their plateau.
LONG = 50_000


def _linear_long(scale: str) -> Runs:
    """Deep linear networks trained five times as long, with what they have learned along the way."""
    few = {"smoke": {"modes_every": 10, "steps": 121}}.get(
        scale, {"modes_every": 100, "steps": LONG, "seeds": 5, "landscape_every": 250}
    )
    return {
        Label(norm): [_LINEAR[scale].but(norm=norm, shift_every=0, histogram_every=0, **few)]
        for norm in ("none", "batchnorm")
    }


def _images(scale: str) -> Runs:
    """VGG-A on the images as they were published and on a copy that had been compressed, which labels have as setting.

    At smoke scale there are the embedded images alone.
    """
    kinds = ("synthetic",) if scale == "smoke" else ("cifar10", "cifar10-jpeg")
    return {
        Label(norm, data): [on_images(spec, data) for spec in _vgg(scale, norm)[:3]]
        for data in kinds
        for norm in ("none", "batchnorm")
    }


#: Step sizes that training at 0.1 is switched to in its middle.
SWITCHED = (0.05, 0.2)


def _switched(scale: str) -> Runs:
    """An intervention: training as in Figure 4 whose step size changes in its middle, which labels have as setting."""
    runs: Runs = {}
    for norm in ("none", "batchnorm"):
        for size in SWITCHED:
            changes = {**_NO_PROBES, "landscape_every": _VGG[scale].landscape_every}
            middle = _VGG[scale].steps // 2
            runs[Label(norm, size)] = _vgg(scale, norm, switch_step=middle, switch_size=size, **changes)[:3]
    return runs


def _resnets(scale: str) -> Runs:
    changes = {"landscape_every": _LANDSCAPE_OFTEN[scale]}
    return {
        Label(norm): _small(scale, norm, architecture="resnet", depth=8, **changes) for norm in ("none", "batchnorm")
    }


def _variants(scale: str) -> Runs:
    changes = {"landscape_every": _LANDSCAPE_OFTEN[scale]}
    if scale == "smoke":  # 7 layers are what it has
        changes["depth"] = 11
    runs = {}
    for name, variant in VARIANTS.items():
        without = {key: value for key, value in variant.items() if key not in ("placement", "affine", "norm_head")}
        runs[Label("none", name)] = _small(scale, "none", **{**changes, **without})
        runs[Label("batchnorm", name)] = _small(scale, "batchnorm", **{**changes, **variant})
    return runs


def _lp_formulas(scale: str) -> Runs:
    """The average l_p norm by three readings of the words, which labels have as their setting."""
    changes = {"landscape_every": _LANDSCAPE_OFTEN[scale]}
    readings = [(norm, formula) for norm in LP_NORMS for formula in LP_FORMULAS]
    readings.remove(("linf", "sum"))  # the largest value is not a sum
    return {
        **{Label(norm): _small(scale, norm, **changes) for norm in ("none", "batchnorm")},
        **{Label(norm, formula): _small(scale, norm, lp_formula=formula, **changes) for norm, formula in readings},
    }


def _noise_variance(scale: str) -> Runs:
    """r_sigma read as the variance of s, where else it is its deviation."""
    noise = Noise(r_sigma=math.sqrt(Noise().r_sigma))
    return {
        NONE: _small(scale, "none"),
        BATCHNORM: _small(scale, "batchnorm"),
        NOISY: _small(scale, "noisy", noise=noise),
        NOISE: _small(scale, "none", noise_without_norm=True, noise=noise),
    }


def _linear_gamma(scale: str) -> Runs:
    """l_1 is BatchNorm times sqrt(pi / 2) on Gaussian activations: BatchNorm with that gamma beside it."""
    gamma = math.sqrt(math.pi / 2)
    off = {"shift_every": 0}
    return {
        BATCHNORM: [_LINEAR[scale].but(norm="batchnorm")],
        Label("batchnorm", "gamma"): [_LINEAR[scale].but(norm="batchnorm", gamma=gamma, **off)],
        Label("l1"): [_LINEAR[scale].but(norm="l1", **off)],
    }


def _accuracy(width: float, seeds: int) -> Callable[[str], Runs]:
    def runs(scale: str) -> Runs:
        base = _ACCURACY[scale]
        count = _SEEDS[scale] if scale != "laptop" else seeds
        return {
            Label(norm, "augmented" if augment else None): [
                base.but(norm=norm, width=base.width * width, augment=augment, seed=seed) for seed in range(count)
            ]
            for augment in (False, True)
            for norm in ("none", "batchnorm")
        }

    return runs


@dataclass(frozen=True)
class Experiment:
    """What a figure compares, in words, and the runs it needs at a scale.

    A `long` experiment is never run by a build but at smoke scale: see `on_demand`. A `main` one is of the network that
    `main_depth` names.
    """

    title: str
    runs: Callable[[str], Runs]
    long: bool = False
    main: bool = False


EXPERIMENTS = {
    "fig-1": Experiment("VGG with and without BatchNorm, two step sizes", _larger_steps, main=True),
    "fig-2": Experiment("VGG with BatchNorm, noisy BatchNorm, neither, and noise alone", _noise, main=True),
    "fig-3-vgg": Experiment("Internal covariate shift in VGG", _vgg_norms("none", "batchnorm"), main=True),
    "fig-3-linear": Experiment("Internal covariate shift in deep linear networks, by step size", _linear_step_sizes),
    "fig-4": Experiment("Loss landscape of VGG along the gradient", _vgg_norms("none", "batchnorm"), main=True),
    "fig-5-vgg": Experiment("VGG with l_p normalizations", _vgg_norms(*WITH_LP), main=True),
    "fig-5-linear": Experiment("Deep linear networks with l_p normalizations", _linear_norms(*WITH_LP)),
    "fig-6": Experiment("Activations under different normalizations", _vgg_norms(*WITH_LP), main=True),
    "fig-8": Experiment(
        "Moments of activations between successive steps", _vgg_norms("none", "batchnorm", "noisy"), main=True
    ),
    "fig-9": Experiment("Activations in deep linear networks", _linear_norms("none", "batchnorm")),
    "fig-10": Experiment("Loss landscape of deep linear networks", _linear_norms("none", "batchnorm")),
    "fig-11": Experiment("Gradient predictiveness against distance, three step sizes", _predictiveness, main=True),
    "fig-12": Experiment("Landscape of VGG with l_p normalizations", _vgg_norms(*WITH_LP), main=True),
    "fig-13": Experiment("Landscape of deep linear networks with l_p normalizations", _linear_norms(*WITH_LP)),
    "noise-strength": Experiment("Training under scaled noise, with and without BatchNorm", _noise_strength),
    "theorems": Experiment("Terms of Theorems 4.1 and 4.2 along training", _theorems),
    "linear-step-size": Experiment("Deep linear networks at several step sizes", _linear_step_sizes),
    "fig-4-farther": Experiment(
        "Landscape of VGG, farther along the gradient", _farther("fig-4"), long=True, main=True
    ),
    "fig-10-farther": Experiment(
        "Landscape of linear networks, farther along the gradient", _farther("fig-10"), long=True
    ),
    "both-step-sizes": Experiment("VGG and deep linear networks over a decade of step sizes", _both_step_sizes),
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
    "depth": Experiment("VGG of 11, 13 and 16 layers", _depths, long=True),
    "gradients": Experiment("Gradients of each layer in the first steps, by depth", _gradients, long=True),
    "other-norms": Experiment("VGG with the normalizations of section 5", _others, long=True),
    "linear-variants": Experiment(
        "Deep linear networks under other answers to open questions", _linear_variants, long=True
    ),
    "linear-long": Experiment("Deep linear networks trained five times as long", _linear_long, long=True),
    "images": Experiment("VGG on images as published and on a compressed copy", _images, long=True),
    "switched": Experiment("VGG whose step size is switched in mid-run", _switched, long=True),
    "resnet": Experiment("Loss landscape of a residual network", _resnets),
    "controls": Experiment("The landscape probe in other ways, VGG", _controls),
    "variants": Experiment("VGG under other answers to open questions", _variants),
    "bfloat16": Experiment(
        "VGG trained in bfloat16",
        lambda scale: {Label(norm): _small(scale, norm, precision="bfloat16") for norm in ("none", "batchnorm")},
    ),
    "lp-formula": Experiment("VGG with three readings of the l_p formula", _lp_formulas),
    "noise-variance": Experiment("VGG with r_sigma as a variance", _noise_variance),
    "accuracy": Experiment("Test accuracy of VGG at full width", _accuracy(1.0, 1), long=True),
    "accuracy-half": Experiment("Test accuracy of VGG at half width", _accuracy(0.5, 3), long=True),
}


def live(scale: str, norm: str) -> ImageSpec:
    """A run of seconds for a chapter to make before the reader's eyes, on the best images at hand.

    At smoke scale always on the embedded images, so that its numbers are the same everywhere.
    """
    check_choice("scale", scale, SCALES)
    data = "synthetic" if scale == "smoke" else available()
    base = _VGG["smoke"].but(norm=norm, data=data, moments_every=0, histogram_every=0, shift_every=0, eval_every=0)
    return (
        base
        if scale == "smoke"
        else base.but(precision="float32", train_images=4_000, batch_size=128, steps=31, landscape_every=30)
    )


def wanted(name: str, scale: str) -> Runs:
    """The runs of experiment `name` at `scale` as they ought to be, on CIFAR-10 as it was published: label to specs."""
    check_choice("experiment", name, EXPERIMENTS)
    check_choice("scale", scale, SCALES)
    depth = main_depth() if EXPERIMENTS[name].main and scale != "smoke" else None
    return {
        label: [spec.but(depth=depth) if depth and isinstance(spec, ImageSpec) else spec for spec in group]
        for label, group in _made(EXPERIMENTS[name].runs, scale).items()
    }


@functools.cache
def _made(runs: Callable[[str], Runs], scale: str) -> Runs:
    """An experiment's runs, made once: some ten thousand fields are checked for a ledger."""
    return runs(scale)


def specs(name: str, scale: str) -> Runs:
    """The runs that experiment `name` shows at `scale`: label of a curve to its specs.

    They are the `wanted` ones, but where more records of VGG-A or on re-encoded images are committed, those stand in.
    All runs of an experiment are of one network and see the same images, unless it compares images.

        >>> {str(label): len(group) for label, group in specs("fig-4", "laptop").items()}
        {'none': 5, 'batchnorm': 5}
    """
    runs = wanted(name, scale)
    images = {spec.data for group in runs.values() for spec in group if isinstance(spec, ImageSpec)}
    if scale == "smoke" or len(images) > 1:
        return runs
    vgg_a = {label: list(group) for label, group in _made(EXPERIMENTS[name].runs, scale).items()}
    others = {label: [on_images(spec, "cifar10-jpeg") for spec in group] for label, group in vgg_a.items()}
    return max(runs, vgg_a, others, key=_committed)  # the first of those with as many


def on_images(spec: Spec, data: str) -> Spec:
    """The same run on other images, on all of them where there are fewer; a deep linear network sees none."""
    check_choice("data", data, TRAIN_IMAGES)
    if not isinstance(spec, ImageSpec):
        return spec
    return spec.but(data=data, train_images=min(spec.train_images, TRAIN_IMAGES[data]))


def _committed(runs: Runs) -> int:
    return sum((records.COMMITTED / records.file_name(spec)).is_file() for group in runs.values() for spec in group)


def unique(names: Iterable[str], scale: str, runs: Callable[[str, str], Runs] = specs) -> list[Spec]:
    """Specs of several experiments, each once, in order: those shown, or with `runs=wanted` those to record."""
    return list(dict.fromkeys(spec for name in names for group in runs(name, scale).values() for spec in group))


def on_demand(name: str, scale: str, device: str) -> bool:
    """Whether a build makes the records that experiment `name` lacks; else it shows what there is.

    It does not where that takes hours: long experiments, and a VGG at paper scale without a GPU.
    """
    if scale == "smoke":
        return True
    vgg = any(isinstance(spec, ImageSpec) for group in specs(name, scale).values() for spec in group)
    return not EXPERIMENTS[name].long and not (vgg and scale == "paper" and device == "cpu")
