"""Layout: which arrays the record of a run holds, along which axes.

The loop that fills them and the reader that checks them share it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from lib.specs import ImageSpec, LinearSpec, Spec

#: Bins of a histogram of activations.
BINS = 40
#: Units of each layer whose terms of Theorems 4.1 and 4.2 a VGG keeps.
THEOREM_UNITS = 2
#: What `lib.probes.theorems` measures of a unit.
THEOREM_TERMS = ("removed", "scale", "inner", "form_bn", "form_plain", "condition")
#: What `lib.probes.controls` measures at each step length, and as one number a step.
CONTROLS_PER_LENGTH = (
    "random_loss",
    "random_change",
    "evaluation_change",
    "frozen_change",
    "fresh_change",
    "accumulated_change",
)
CONTROLS_PER_STEP = ("fresh_norm", "evaluation_norm", "step_change", "top_eigenvalue")
#: Precisions whose landscape probe is compared with float64's, and what of it.
COMPARED_PRECISIONS = ("float32", "tf32", "bfloat16")
COMPARED = ("loss_change", "grad_change", "beta")


@dataclass
class Layout:
    """The axes and arrays of a record."""

    #: Coordinates: the values along the dimension of that name, steps (int32) for example.
    axes: dict[str, np.ndarray] = field(default_factory=dict)
    #: Sizes of the dimensions that have no coordinate.
    sizes: dict[str, int] = field(default_factory=dict)
    #: Dimensions and type of each array; the first dimension is an axis of steps.
    arrays: dict[str, tuple[tuple[str, ...], np.dtype]] = field(default_factory=dict)

    def steps(self, dim: str, steps: list[int]) -> None:
        """Add an axis of the steps at which something is measured."""
        self.axes[dim] = np.array(steps, np.int32)

    def add(self, names: tuple[str, ...], dims: tuple[str, ...], dtype: type = np.float32) -> None:
        """Add arrays that share dimensions and type."""
        self.arrays |= {name: (dims, np.dtype(dtype)) for name in names}

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of the array called `name`."""
        return tuple(len(self.axes[dim]) if dim in self.axes else self.sizes[dim] for dim in self.arrays[name][0])


def layout(spec: Spec) -> Layout:
    """What the record of `spec` holds."""
    return _linear(spec) if isinstance(spec, LinearSpec) else _images(spec)


def _ticks(every: int, steps: int) -> list[int]:
    return list(range(0, steps, every)) if every else []


def _early_ticks(every: int, spec: ImageSpec) -> list[int]:
    """The steps of a cadence that is denser in the first `spec.early_steps` steps."""
    early = _ticks(every // spec.early_times, min(spec.early_steps, spec.steps)) if every else []
    return sorted({*early, *_ticks(every, spec.steps)})


def layer_names(spec: ImageSpec) -> list[str]:
    """The names of the network's parts: a VGG's layers, each a weight and what follows it, or a ResNet's modules."""
    if spec.architecture == "vgg":  # its depth counts the layers with weights
        return [f"layer{index + 1}" for index in range(spec.depth)]
    blocks = (spec.depth - 2) // 2  # of two convolutions each, between stem, norm, ReLU and mean, flattening, head
    return [str(index) for index in range(3 + blocks + 3)]


def _images(spec: ImageSpec) -> Layout:
    found, steps, names = Layout(), spec.steps, layer_names(spec)
    found.axes |= {"step_length": np.array(spec.step_lengths, np.float32), "layer": np.array(names)}
    found.steps("step", list(range(steps)))
    found.add(("loss", "accuracy"), ("step",))
    if spec.eval_every:
        # After `eval_step` updates; the end is always evaluated.
        found.steps("eval_step", sorted({*range(0, steps, spec.eval_every), steps}))
        found.add(("train_accuracy", "test_accuracy"), ("eval_step",))
    if spec.landscape_every:
        found.steps("landscape_step", _early_ticks(spec.landscape_every, spec))
        found.add(("grad_norm",), ("landscape_step",))
        found.add(("landscape_loss", "grad_change"), ("landscape_step", "step_length"))
    if spec.shift_every:
        found.steps("shift_step", _early_ticks(spec.shift_every, spec))
        found.add(("shift_l2", "shift_cosine"), ("shift_step", "layer"))
    if spec.gradients_every:
        found.steps("gradient_step", _ticks(spec.gradients_every, steps))
        found.add(("layer_gradient", "layer_weight"), ("gradient_step", "layer"))
    if spec.moments_every or spec.histogram_every or spec.theorem_every:
        found.sizes["norm_layer"] = len(names) - 1
    if spec.moments_every or spec.histogram_every:
        found.sizes["unit"] = spec.units
    if spec.moments_every:
        # Pairs of successive steps: Figure 8 is about the change from one to the next.
        pairs = {step + after for step in _ticks(spec.moments_every, steps) for after in (0, 1)}
        found.steps("moments_step", sorted(pairs & set(range(steps))))
        found.add(("activation_mean", "activation_var"), ("moments_step", "norm_layer", "unit"))
    if spec.histogram_every:
        _histograms(found, spec, ("norm_layer", "unit"))
    if spec.theorem_every:
        found.sizes["theorem_unit"] = THEOREM_UNITS
        _theorem_terms(found, spec, "theorem_unit")
    if spec.controls_every:
        found.steps("control_step", _ticks(spec.controls_every, steps))
        found.add(tuple(f"control_{name}" for name in CONTROLS_PER_LENGTH), ("control_step", "step_length"))
        found.add(tuple(f"control_{name}" for name in CONTROLS_PER_STEP), ("control_step",))
    if spec.precision_every:
        found.axes["precision"] = np.array(COMPARED_PRECISIONS)
        found.steps("precision_step", _ticks(spec.precision_every, steps))
        found.add(tuple(f"error_{name}" for name in COMPARED), ("precision_step", "precision", "step_length"))
    return found


def _linear(spec: LinearSpec) -> Layout:
    found, steps = Layout(), spec.steps
    found.axes |= {
        "step_length": np.array(spec.step_lengths),
        "layer": np.array([f"layer{index + 1}" for index in range(spec.layers)]),
        "seed": np.arange(spec.seeds),
    }
    found.steps("step", list(range(steps)))
    found.add(("loss",), ("step", "seed"), np.float64)
    if spec.landscape_every:
        found.steps("landscape_step", _ticks(spec.landscape_every, steps))
        found.add(("grad_norm",), ("landscape_step", "seed"), np.float64)
        found.add(("landscape_loss", "grad_change"), ("landscape_step", "step_length", "seed"), np.float64)
    if spec.shift_every:
        found.steps("shift_step", _ticks(spec.shift_every, steps))
        found.add(("shift_l2", "shift_cosine"), ("shift_step", "layer", "seed"), np.float64)
    if spec.modes_every:
        found.axes["mode"] = np.arange(1, spec.dim + 1, dtype=np.int32)
        found.steps("mode_step", _ticks(spec.modes_every, steps))
        found.add(("mode_share",), ("mode_step", "mode", "seed"), np.float64)
    if spec.histogram_every or spec.theorem_every:
        found.sizes["norm_layer"] = spec.layers - 1
    if spec.histogram_every:
        _histograms(found, spec, ("norm_layer", "seed"))
    if spec.theorem_every:
        _theorem_terms(found, spec, "seed")
    return found


def _histograms(found: Layout, spec: Spec, dims: tuple[str, str]) -> None:
    """Counts of activations, and the ends of the bins' range."""
    found.sizes |= {"bin": BINS, "end": 2}
    found.steps("histogram_step", _ticks(spec.histogram_every, spec.steps))
    found.add(("histogram",), ("histogram_step", *dims, "bin"), np.int32)
    found.add(("histogram_range",), ("histogram_step", *dims, "end"))


def _theorem_terms(found: Layout, spec: Spec, of: str) -> None:
    found.steps("theorem_step", _ticks(spec.theorem_every, spec.steps))
    found.add(tuple(f"theorem_{name}" for name in THEOREM_TERMS), ("theorem_step", "norm_layer", of))
