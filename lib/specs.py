"""Specs: frozen descriptions of everything that determines a run.

Two specs, one per network of appendix A.1. A spec's canonical JSON is hashed,
and the hash is the identity of the run and the name of its record.
"""

from __future__ import annotations

import functools
import hashlib
import json
from dataclasses import asdict, dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any

from lib.errors import UsageError, check_choice, check_number

if TYPE_CHECKING:  # a spec is made without it
    import xarray as xr

NORMS = ("none", "batchnorm", "noisy", "l1", "l2", "linf", "layernorm", "groupnorm", "instancenorm", "weightnorm")
#: Those that `lib.models.linear` has, beside "none".
LINEAR_NORMS = ("batchnorm", "l1", "l2", "linf")
ACTIVATIONS = ("relu", "elu", "selu")
INITIALIZATIONS = ("uniform", "normal")
DATA = ("cifar10", "cifar10-jpeg", "synthetic")
DESCRIPTIONS = {
    "cifar10": "CIFAR-10",
    "cifar10-jpeg": "CIFAR-10, JPEG re-encoded",
    "synthetic": "embedded procedural images (not CIFAR-10)",
}
PRECISIONS = ("float32", "float64", "bfloat16")
PLACEMENTS = ("before", "after")
LP_NORMS = ("l1", "l2", "linf")
LP_FORMULAS = ("unit", "sum", "sample")
#: The depths that `lib.models.images` has tables for, by architecture.
DEPTHS = {"vgg": (7, 11, 13, 16, 19), "resnet": (8, 14, 20)}

#: Multiples of the step size at which appendix A.2.2 probes VGG: it names the ends, not the points.
VGG_LENGTHS = (0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0)
#: The same for the deep linear networks: 1/100 to 30 step sizes, roughly geometric.
LINEAR_LENGTHS = (0.01, 0.03, 0.1, 0.3, 1.0, 2.0, 3.0, 6.0, 10.0, 20.0, 30.0)


def _number(default: float, low: float, high: float, *, low_open: bool = False, later: bool = False) -> Any:
    """A field in [low, high], or (low, high]; whole if its default is. Older records do not have a `later` one."""
    rule = {"low": low, "high": high, "low_open": low_open, "integer": isinstance(default, int)}
    return field(default=default, metadata={"number": rule, "later": later})


def _choice(default: Any, allowed: tuple, *, later: bool = False) -> Any:
    """A field that is one of `allowed`."""
    return field(default=default, metadata={"choice": allowed, "later": later})


def _cadence(default: int = 0, *, later: bool = False) -> Any:
    """A field that says every how many steps something is measured; 0 is never."""
    return _number(default, 0, 10_000_000, later=later)


def _lengths(default: tuple[float, ...]) -> Any:
    """A field of multiples of the step size, which increase."""
    return field(default=default, metadata={"lengths": True})


def _check_fields(spec: Any) -> None:
    """Raise `UsageError` unless every field is within its range, and give it the plain type of its default.

    So 1, 1.0 and NumPy's float64 1 are one spec with one hash.
    """
    for one in fields(spec):
        value, kind = getattr(spec, one.name), type(one.default)
        if "number" in one.metadata:
            check_number(one.name, value, **one.metadata["number"])
        elif "choice" in one.metadata:
            check_choice(one.name, value, one.metadata["choice"])
        elif "lengths" in one.metadata:
            _check_lengths(one.name, value)
        if kind in (bool, int, float):
            object.__setattr__(spec, one.name, kind(value))
        elif kind is tuple:
            object.__setattr__(spec, one.name, tuple(map(float, value)))


def _check_lengths(name: str, lengths: tuple[float, ...]) -> None:
    if len(lengths) == 0:
        raise UsageError(f"{name} is empty, but must hold at least one multiple of the step size.")
    for length in lengths:
        check_number(name, length, 0, 1e4, low_open=True)
    if list(lengths) != sorted(set(lengths)):
        raise UsageError(f"{name} is {lengths!r}, but must increase strictly; sort it.")


def _check_theorem(spec: Spec) -> None:
    if spec.theorem_every and spec.norm != "batchnorm":
        raise UsageError(f"theorem_every goes with norm 'batchnorm', not {spec.norm!r}; set it to 0.")


@dataclass(frozen=True)
class Noise:
    """The constants of Algorithm 1, in units of the normalized activation (whose deviation is 1).

    `r_sigma` is a standard deviation: the paper writes N(sigma, r_sigma) and does
    not say whether it means a deviation or a variance.

        >>> Noise().scaled(2)
        Noise(n_mu=1.0, n_sigma=1.5, r_mu=0.2, r_sigma=0.2)
    """

    n_mu: float = _number(0.5, 0, 100)
    n_sigma: float = _number(1.25, 1, 100)
    r_mu: float = _number(0.1, 0, 100)
    r_sigma: float = _number(0.1, 0, 100)

    def __post_init__(self) -> None:
        _check_fields(self)

    def scaled(self, strength: float) -> Noise:
        """All four deviations from the identity, multiplied by `strength` (1 is the paper's)."""
        check_number("strength", strength, 0, 50)
        return Noise(
            n_mu=self.n_mu * strength,
            n_sigma=1 + (self.n_sigma - 1) * strength,
            r_mu=self.r_mu * strength,
            r_sigma=self.r_sigma * strength,
        )


class _Spec:
    """What both specs share: canonical form, identity, variation."""

    def canonical(self) -> str:
        """JSON with sorted keys: the text that is hashed and stored with the record.

        A field added later is left out while it has its default, so that older records keep their identity.
        """
        values = {"network": self.network, **asdict(self)}
        for one in fields(self):
            if one.metadata.get("later") and values[one.name] == one.default:
                del values[one.name]
        return json.dumps(values, sort_keys=True, separators=(",", ":"))

    @functools.cached_property
    def hash(self) -> str:
        """Twelve hex digits of the SHA-256 of the canonical form."""
        return hashlib.sha256(self.canonical().encode()).hexdigest()[:12]

    def but(self, **changes: Any):
        """A copy with some fields changed (and checked again)."""
        return replace(self, **changes)


@dataclass(frozen=True)
class ImageSpec(_Spec):
    """A network for 32x32 images, a VGG or a ResNet, trained with plain SGD (appendix A.1, item 1).

    Cadences are in steps; 0 switches a measurement off. Activations are those of
    `units` randomly chosen units of each normalized layer, before the ReLU. "bfloat16" trains
    with float32 weights and bfloat16 arithmetic (autocast), whose error of a per cent is too coarse for a probe.

        >>> ImageSpec(norm="batchnorm").but(width=0.5, seed=1).depth
        11
        >>> ImageSpec(depth=12)
        Traceback (most recent call last):
        lib.errors.UsageError: depth is 12, but must be one of: 7, 11, 13, 16, 19.
    """

    norm: str = _choice("none", NORMS)
    noise_without_norm: bool = _choice(False, (True, False))  # Algorithm 1 on the un-normalized network (section 2.1)
    noise: Noise = field(default_factory=Noise)
    width: float = _number(1.0, 1 / 32, 4)  # multiplies the channels of the architecture
    depth: int = 11  # one of `DEPTHS`
    data: str = _choice("cifar10", DATA)
    train_images: int = _number(50_000, 2, 50_000)  # and at least a batch
    augment: bool = _choice(False, (True, False))
    step_size: float = _number(0.1, 0, 100, low_open=True)
    batch_size: int = _number(128, 2, 50_000)
    steps: int = _number(15_000, 0, 10_000_000)
    seed: int = _number(0, 0, 2**31 - 1)
    precision: str = _choice("float32", PRECISIONS)
    step_lengths: tuple[float, ...] = _lengths(VGG_LENGTHS)
    landscape_every: int = _cadence()
    shift_every: int = _cadence()
    moments_every: int = _cadence()
    histogram_every: int = _cadence()
    units: int = _number(3, 1, 64)
    eval_every: int = _cadence()
    eval_images: int = _number(2_000, 1, 50_000)  # of the training and of the test set; at the end all test images
    theorem_every: int = _cadence(later=True)  # terms of Theorems 4.1 and 4.2, with BatchNorm only
    controls_every: int = _cadence(later=True)  # `lib.probes.controls`: the landscape probed in other ways
    precision_every: int = _cadence(later=True)  # the landscape probe's error by precision, without noise only
    architecture: str = _choice("vgg", tuple(DEPTHS), later=True)
    placement: str = _choice("before", PLACEMENTS, later=True)  # the norm stands before or after the ReLU
    affine: bool = _choice(True, (True, False), later=True)  # whether gamma and beta are trained
    init_scale: float = _number(1.0, 0, 1_000, low_open=True, later=True)  # multiplies the initial weights
    momentum: float = _number(0.0, 0, 0.999, later=True)
    norm_head: bool = _choice(True, (True, False), later=True)  # whether the hidden linear layers have norms, too
    lp_formula: str = _choice("unit", LP_FORMULAS, later=True)  # how `lib.norms.LpNorm` reads "average l_p norm"
    # In the first `early_steps` steps the landscape and the covariate shift are probed `early_times` as often.
    early_steps: int = _number(0, 0, 10_000_000, later=True)
    early_times: int = _number(1, 1, 1_000, later=True)
    gradients_every: int = _cadence(later=True)  # length of each layer's gradient and weights
    activation: str = _choice("relu", ACTIVATIONS, later=True)  # the non-linearity (section 5)
    # From step `switch_step` on the step size is `switch_size`; both 0 for one step size all along.
    switch_step: int = _number(0, 0, 10_000_000, later=True)
    switch_size: float = _number(0.0, 0, 100, later=True)

    network = "vgg"  # older than the other architectures, and part of every record's name

    def __post_init__(self) -> None:
        _check_fields(self)
        check_choice("depth", self.depth, DEPTHS[self.architecture])
        check_number("train_images", self.train_images, self.batch_size, 50_000)
        if not isinstance(self.noise, Noise):
            raise UsageError(f"noise is {self.noise!r}, but must be a Noise; use Noise(r_sigma=0.2), for example.")
        if self.norm not in LP_NORMS:
            check_choice("lp_formula", self.lp_formula, ("unit",))
        if (self.early_times > 1) != (self.early_steps > 0):
            raise UsageError("early_steps and early_times go together; give both, or leave them at 0 and 1.")
        if (self.switch_step > 0) != (self.switch_size > 0):
            raise UsageError("switch_step and switch_size go together; give both, or leave them at 0.")
        for name in ("landscape_every", "shift_every"):
            if getattr(self, name) % self.early_times:
                raise UsageError(
                    f"{name} is {getattr(self, name)}, but must be a multiple of early_times ({self.early_times})."
                )
        _check_theorem(self)
        layered = ("shift_every", "moments_every", "histogram_every", "theorem_every", "gradients_every")
        probes = (*layered, "landscape_every", "controls_every", "precision_every")
        if self.precision == "bfloat16":
            self._check_off(probes, "with precision 'bfloat16': probe in 'float32'")
            check_choice(
                "norm with precision 'bfloat16'", self.norm, tuple(norm for norm in NORMS if norm not in LP_NORMS)
            )
        if not self.norm_head:
            self._check_off(("theorem_every",), "with norm_head False: the terms are taken at every layer's norm")
        if self.architecture == "resnet":
            self._check_off(layered, "with architecture 'resnet': it needs a chain of layers, a 'vgg'")
            check_choice("norm_head", self.norm_head, (True,))  # its head is a single linear map
            check_choice("activation", self.activation, ("relu",))
            check_choice("norm", self.norm, tuple(norm for norm in NORMS if norm != "weightnorm"))
            check_choice("placement", self.placement, ("before",))
            if self.noise_without_norm:
                raise UsageError(
                    "noise_without_norm is True, but must be False with architecture 'resnet'; use a 'vgg'."
                )
        if self.norm == "weightnorm":
            self._check_off(
                ("shift_every", "gradients_every"), "with norm 'weightnorm': a weight is no parameter there"
            )
        if self.norm == "instancenorm" and self.norm_head:
            raise UsageError(
                "norm_head is True, but must be False with norm 'instancenorm': a linear layer has no positions."
            )
        if self.norm not in ("none", "batchnorm") or self.noise_without_norm:
            self._check_off(("controls_every", "precision_every"), "but with norm 'none' or 'batchnorm'")
        if self.noise_without_norm and self.norm != "none":
            raise UsageError(f"noise_without_norm goes with norm 'none', not {self.norm!r}; use norm 'noisy'.")

    def _check_off(self, cadences: tuple[str, ...], when: str) -> None:
        for name in cadences:
            if getattr(self, name):
                raise UsageError(f"{name} is {getattr(self, name)}, but must be 0 {when}.")

    def step_size_at(self, step: int) -> float:
        """The size of step number `step`, from 0 on.

        >>> spec = ImageSpec(step_size=0.1, switch_step=500, switch_size=0.05)
        >>> spec.step_size_at(499), spec.step_size_at(500)
        (0.1, 0.05)
        """
        return self.switch_size if self.switch_step and step >= self.switch_step else self.step_size

    @property
    def dtype(self) -> str:
        """The type of the weights, and of everything but a "bfloat16" network's products."""
        return "float32" if self.precision == "bfloat16" else self.precision


@dataclass(frozen=True)
class LinearSpec(_Spec):
    """Deep linear networks trained by full-batch gradient descent (appendix A.1, item 2).

    All `seeds` are trained side by side: seed s draws the data, A and the weights. `gamma` is the fixed scale after
    each normalization; there is no shift. With `affine`, it is where trained scales start, and there are trained
    shifts, which start at 0.

        >>> LinearSpec().hash  # the same for ever: records are called after it
        '7d05cbaf6e5b'
    """

    norm: str = _choice("none", ("none", *LINEAR_NORMS))
    layers: int = _number(25, 1, 1_000)
    dim: int = _number(10, 1, 1_000)
    samples: int = _number(1_000, 2, 1_000_000)  # and more than `dim`
    step_size: float = _number(1e-6, 0, 1, low_open=True)
    steps: int = _number(10_000, 0, 10_000_000)
    seeds: int = _number(5, 1, 1_000)
    gamma: float = _number(1.0, 0, 100, low_open=True)
    step_lengths: tuple[float, ...] = _lengths(LINEAR_LENGTHS)
    landscape_every: int = _cadence(50)
    shift_every: int = _cadence(50)
    histogram_every: int = _cadence()
    theorem_every: int = _cadence(later=True)  # terms of Theorems 4.1 and 4.2, with BatchNorm only
    modes_every: int = _cadence(later=True)  # singular values of the network from end to end
    initialization: str = _choice("uniform", INITIALIZATIONS, later=True)  # which of Glorot's two distributions
    norm_last: bool = _choice(False, (True, False), later=True)  # whether a norm follows the last layer, too
    affine: bool = _choice(False, (True, False), later=True)  # whether gamma and beta are trained

    network = "deep_linear"

    def __post_init__(self) -> None:
        _check_fields(self)
        check_number("samples", self.samples, self.dim + 1, 1_000_000)
        if self.norm == "none" and (self.norm_last or self.affine):
            raise UsageError("norm is 'none', but norm_last and affine are about a norm; leave them out, or name one.")
        if self.theorem_every and (self.norm_last or self.affine):
            raise UsageError("theorem_every goes with fixed scales and no norm after the last layer; set it to 0.")
        _check_theorem(self)


Spec = ImageSpec | LinearSpec


def from_canonical(text: str) -> Spec:
    """The spec whose canonical form is `text`; raises `UsageError` if it is not one.

    >>> spec = LinearSpec(norm="batchnorm", layers=3)
    >>> from_canonical(spec.canonical()) == spec
    True
    """
    kinds = {"vgg": ImageSpec, "deep_linear": LinearSpec}
    try:
        values = json.loads(text)
        network = values.pop("network", None)
        check_choice("network", network, kinds)
        values["step_lengths"] = tuple(values["step_lengths"])
        if "noise" in values:
            values["noise"] = Noise(**values["noise"])
        return kinds[network](**values)
    except UsageError:
        raise
    except (ValueError, LookupError, AttributeError, TypeError, RecursionError, OverflowError) as error:
        raise UsageError(
            f"{str(text)[:60]!r} is not a spec ({error}); give one as `spec.canonical()` writes it."
        ) from error


def spec_of(curve: xr.Dataset) -> Spec:
    """The spec of a record (or of a curve, which is one); raises `UsageError` if its attribute "spec" is not one."""
    return from_canonical(curve.attrs["spec"])
