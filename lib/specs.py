"""Specs: frozen descriptions of everything that determines a run.

Two specs, one per network of appendix A.1. A spec's canonical JSON is hashed,
and the hash is the identity of the run and the name of its record.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from lib.errors import UsageError, check_choice, check_number

NORMS = ("none", "batchnorm", "noisy", "l1", "l2", "linf")
DATA = ("cifar10", "cifar10-jpeg", "synthetic")
PRECISIONS = ("float32", "float64", "bfloat16")
PLACEMENTS = ("before", "after")
LP_NORMS = ("l1", "l2", "linf")
LP_FORMULAS = ("unit", "sum", "sample")
RESNET_BLOCKS = {8: 1, 14: 2, 20: 3}  # blocks a stage, by depth
VGG_PLANS = {
    # Width multipliers of 64 channels; "M" halves the image. VGG-A of Simonyan and
    # Zisserman, and a shallow relative that trains in seconds.
    11: (1, "M", 2, "M", 4, 4, "M", 8, 8, "M", 8, 8, "M"),
    7: (1, "M", 2, "M", 4, "M", 8, "M"),
}

#: Multiples of the step size at which appendix A.2.2 probes VGG: it names the ends, not the points.
VGG_LENGTHS = (0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0)
#: The same for the deep linear networks: 1/100 to 30 step sizes, roughly geometric.
LINEAR_LENGTHS = (0.01, 0.03, 0.1, 0.3, 1.0, 2.0, 3.0, 6.0, 10.0, 20.0, 30.0)


def _check_lengths(lengths: tuple[float, ...]) -> None:
    if len(lengths) == 0:
        raise UsageError("step_lengths is empty, but must hold at least one multiple of the step size.")
    for length in lengths:
        check_number("step_lengths", length, 0, 1e4, low_open=True)
    if list(lengths) != sorted(set(lengths)):
        raise UsageError(f"step_lengths is {lengths!r}, but must increase strictly; sort it.")


def _check_theorem(spec: Spec) -> None:
    if spec.theorem_every and spec.norm != "batchnorm":
        raise UsageError(f"theorem_every goes with norm 'batchnorm', not {spec.norm!r}; set it to 0.")


@dataclass(frozen=True)
class Noise:
    """The constants of Algorithm 1, in units of the normalized activation (whose deviation is 1).

    `r_sigma` is a standard deviation: the paper writes N(sigma, r_sigma) and does
    not say whether it means a deviation or a variance.
    """

    n_mu: float = 0.5
    n_sigma: float = 1.25
    r_mu: float = 0.1
    r_sigma: float = 0.1

    def __post_init__(self) -> None:
        check_number("n_mu", self.n_mu, 0, 100)
        check_number("n_sigma", self.n_sigma, 1, 100)
        check_number("r_mu", self.r_mu, 0, 100)
        check_number("r_sigma", self.r_sigma, 0, 100)
        _settle(self)

    def scaled(self, strength: float) -> Noise:
        """All four deviations from the identity, multiplied by `strength` (1 is the paper's)."""
        check_number("strength", strength, 0, 50)
        return Noise(
            n_mu=self.n_mu * strength,
            n_sigma=1 + (self.n_sigma - 1) * strength,
            r_mu=self.r_mu * strength,
            r_sigma=self.r_sigma * strength,
        )


def _settle(spec: Any) -> None:
    """Give every field the plain type of its default, so that 1, 1.0 and NumPy's float64 1 are one spec with one hash."""
    for one in fields(spec):
        value, kind = getattr(spec, one.name), type(one.default)
        if kind in (bool, int, float):
            object.__setattr__(spec, one.name, kind(value))
        elif kind is tuple:
            object.__setattr__(spec, one.name, tuple(map(float, value)))


class _Spec:
    """What both specs share: canonical form, identity, variation."""

    _later: tuple[str, ...] = ()  # fields that older records do not have

    def canonical(self) -> str:
        """JSON with sorted keys: the text that is hashed and stored with the record.

        A field added later is left out while it has its default, so that older records keep their identity.
        """
        values = {"network": self.network, **asdict(self)}
        for one in fields(self):
            if one.name in self._later and values[one.name] == one.default:
                del values[one.name]
        return json.dumps(values, sort_keys=True, separators=(",", ":"))

    @property
    def hash(self) -> str:
        """Twelve hex digits of the SHA-256 of the canonical form."""
        return hashlib.sha256(self.canonical().encode()).hexdigest()[:12]

    def but(self, **changes: Any):
        """A copy with some fields changed (and checked again)."""
        return replace(self, **changes)


@dataclass(frozen=True)
class VGGSpec(_Spec):
    """A VGG on 32x32 images trained with plain SGD (appendix A.1, item 1).

    Cadences are in steps; 0 switches a measurement off. Activations are those of
    `units` randomly chosen units of each normalized layer, before the ReLU. "bfloat16" trains
    with float32 weights and bfloat16 arithmetic (autocast), whose error of a per cent is too coarse for a probe.
    """

    norm: str = "none"
    noise_without_norm: bool = False  # Algorithm 1 on the un-normalized network (section 2.1)
    noise: Noise = field(default_factory=Noise)
    width: float = 1.0  # multiplies the channels of VGG-A
    depth: int = 11
    data: str = "cifar10"
    train_images: int = 50_000
    augment: bool = False
    step_size: float = 0.1
    batch_size: int = 128
    steps: int = 15_000
    seed: int = 0
    precision: str = "float32"
    step_lengths: tuple[float, ...] = VGG_LENGTHS
    landscape_every: int = 0
    shift_every: int = 0
    moments_every: int = 0
    histogram_every: int = 0
    units: int = 3
    eval_every: int = 0
    eval_images: int = 2_000  # of the training and of the test set; the last evaluation uses all test images
    theorem_every: int = 0  # terms of Theorems 4.1 and 4.2, with BatchNorm only
    controls_every: int = 0  # `lib.controls`: the landscape probed in other ways
    precision_every: int = 0  # the landscape probe's error by precision, without noise only
    architecture: str = "vgg"  # or "resnet": same loop, its own network
    placement: str = "before"  # the norm stands before or after the ReLU
    affine: bool = True  # whether gamma and beta are trained
    init_scale: float = 1.0  # multiplies the initial weights
    momentum: float = 0.0
    norm_head: bool = True  # whether the hidden linear layers have norms, too
    lp_formula: str = "unit"  # how `lib.norms.LpNorm` reads "the average of their l_p norm"

    network = "vgg"
    _later = (
        "theorem_every", "controls_every", "precision_every", "architecture", "placement", "affine", "init_scale",
        "momentum", "norm_head", "lp_formula",
    )  # fmt: skip

    def __post_init__(self) -> None:
        check_choice("norm", self.norm, NORMS)
        check_choice("data", self.data, DATA)
        check_choice("precision", self.precision, PRECISIONS)
        check_choice("architecture", self.architecture, ("vgg", "resnet"))
        check_choice("depth", self.depth, VGG_PLANS if self.architecture == "vgg" else RESNET_BLOCKS)
        check_choice("placement", self.placement, PLACEMENTS)
        for name in ("noise_without_norm", "augment", "affine", "norm_head"):
            check_choice(name, getattr(self, name), (True, False))
        if not isinstance(self.noise, Noise):
            raise UsageError(f"noise is {self.noise!r}, but must be a Noise; use Noise(r_sigma=0.2), for example.")
        check_choice("lp_formula", self.lp_formula, LP_FORMULAS if self.norm in LP_NORMS else ("unit",))
        check_number("init_scale", self.init_scale, 0, 1_000, low_open=True)
        check_number("momentum", self.momentum, 0, 0.999)
        check_number("width", self.width, 1 / 32, 4)
        check_number("batch_size", self.batch_size, 2, 50_000, integer=True)
        check_number("train_images", self.train_images, self.batch_size, 50_000, integer=True)
        check_number("step_size", self.step_size, 0, 100, low_open=True)
        check_number("steps", self.steps, 0, 10_000_000, integer=True)
        check_number("seed", self.seed, 0, 2**31 - 1, integer=True)
        check_number("units", self.units, 1, 64, integer=True)
        check_number("eval_images", self.eval_images, 1, 50_000, integer=True)
        for name in ("landscape_every", "shift_every", "moments_every", "histogram_every", "eval_every",
                     "theorem_every", "controls_every", "precision_every"):
            check_number(name, getattr(self, name), 0, 10_000_000, integer=True)
        _check_lengths(self.step_lengths)
        _check_theorem(self)
        layered = ("shift_every", "moments_every", "histogram_every", "theorem_every")
        probes = (*layered, "landscape_every", "controls_every", "precision_every")
        if self.precision == "bfloat16":
            self._check_off(probes, "with precision 'bfloat16': probe in 'float32'")
            check_choice("norm with precision 'bfloat16'", self.norm, tuple(norm for norm in NORMS if norm not in LP_NORMS))
        if not self.norm_head:
            self._check_off(("theorem_every",), "with norm_head False: the terms are taken at every layer's norm")
        if self.architecture == "resnet":
            self._check_off(layered, "with architecture 'resnet': it needs a chain of layers, a 'vgg'")
            check_choice("norm_head", self.norm_head, (True,))  # its head is a single linear map
            check_choice("placement", self.placement, ("before",))
            if self.noise_without_norm:
                raise UsageError("noise_without_norm is True, but must be False with architecture 'resnet'; use a 'vgg'.")
        if self.norm not in ("none", "batchnorm") or self.noise_without_norm:
            self._check_off(("controls_every", "precision_every"), "but with norm 'none' or 'batchnorm'")
        if self.noise_without_norm and self.norm != "none":
            raise UsageError(
                f"noise_without_norm goes with norm 'none', not {self.norm!r}; use norm 'noisy'."
            )
        _settle(self)

    def _check_off(self, cadences: tuple[str, ...], when: str) -> None:
        for name in cadences:
            if getattr(self, name):
                raise UsageError(f"{name} is {getattr(self, name)}, but must be 0 {when}.")

    @property
    def dtype(self) -> str:
        """The type of the weights, and of everything but a "bfloat16" network's products."""
        return "float32" if self.precision == "bfloat16" else self.precision


@dataclass(frozen=True)
class LinearSpec(_Spec):
    """Deep linear networks trained by full-batch gradient descent (appendix A.1, item 2).

    All `seeds` are trained side by side: seed s draws the data, A and the weights.
    `gamma` is the fixed scale after each normalization; there is no shift.
    """

    norm: str = "none"
    layers: int = 25
    dim: int = 10
    samples: int = 1_000
    step_size: float = 1e-6
    steps: int = 10_000
    seeds: int = 5
    gamma: float = 1.0
    step_lengths: tuple[float, ...] = LINEAR_LENGTHS
    landscape_every: int = 50
    shift_every: int = 50
    histogram_every: int = 0
    theorem_every: int = 0  # terms of Theorems 4.1 and 4.2, with BatchNorm only

    network = "deep_linear"
    _later = ("theorem_every",)

    def __post_init__(self) -> None:
        check_choice("norm", self.norm, [norm for norm in NORMS if norm != "noisy"])
        check_number("layers", self.layers, 1, 1_000, integer=True)
        check_number("dim", self.dim, 1, 1_000, integer=True)
        check_number("samples", self.samples, self.dim + 1, 1_000_000, integer=True)
        check_number("step_size", self.step_size, 0, 1, low_open=True)
        check_number("steps", self.steps, 0, 10_000_000, integer=True)
        check_number("seeds", self.seeds, 1, 1_000, integer=True)
        check_number("gamma", self.gamma, 0, 100, low_open=True)
        for name in ("landscape_every", "shift_every", "histogram_every", "theorem_every"):
            check_number(name, getattr(self, name), 0, 10_000_000, integer=True)
        _check_lengths(self.step_lengths)
        _check_theorem(self)
        _settle(self)


Spec = VGGSpec | LinearSpec


def from_canonical(text: str) -> Spec:
    """The spec whose canonical form is `text`; raises `UsageError` if it is not one."""
    kinds = {"vgg": VGGSpec, "deep_linear": LinearSpec}
    try:
        values = json.loads(text)
        network = values.pop("network", None)
        check_choice("network", network, kinds)
        values["step_lengths"] = tuple(values["step_lengths"])
        if "noise" in values:
            values["noise"] = Noise(**values["noise"])
        return kinds[network](**values)
    except (json.JSONDecodeError, AttributeError, KeyError, TypeError) as error:
        raise UsageError(f"{text[:60]!r} is not a spec ({error}); give one as `spec.canonical()` writes it.") from error
