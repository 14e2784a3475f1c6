"""The layout of records: what the loop fills is what the reader expects, for every kind of run."""

import numpy as np
import pytest

from lib.models import resnet, vgg
from lib.records import layout
from lib.runs import training
from lib.specs import ImageSpec, LinearSpec

VGG = ImageSpec(width=1 / 32, depth=7, data="synthetic", train_images=32, batch_size=16, steps=5, eval_images=20)
LINEAR = LinearSpec(layers=3, dim=3, samples=20, steps=7, seeds=2, landscape_every=3, shift_every=4)
KINDS = {
    "plain": VGG,
    "all of a batchnorm": VGG.but(
        norm="batchnorm",
        eval_every=2,
        landscape_every=2,
        shift_every=2,
        moments_every=3,
        histogram_every=4,
        theorem_every=3,
        controls_every=4,
        precision_every=4,
        step_lengths=(0.5, 1.0),
    ),
    "early": VGG.but(landscape_every=4, early_steps=2, early_times=4),
    # In float64: oneDNN of torch 2 corrupts memory in float32 convolutions of so few channels.
    "resnet": VGG.but(architecture="resnet", depth=8, precision="float64", eval_every=5, landscape_every=2),
    "linear": LINEAR,
    "all of a linear": LINEAR.but(norm="batchnorm", histogram_every=2, theorem_every=5),
}


@pytest.mark.parametrize("spec", KINDS.values(), ids=KINDS)
def test_a_run_fills_its_layout(spec):
    """Every array is there, of the shape and type that the reader expects, and measured at every step of its axis."""
    made, expected = training.run(spec), layout.layout(spec)
    assert set(made.data_vars) == set(expected.arrays) and set(made.coords) == set(expected.axes)
    for name, (dims, dtype) in expected.arrays.items():
        assert made[name].dims == dims and made[name].dtype == dtype and made[name].shape == expected.shape(name), name
        if name not in ("control_top_eigenvalue",) and dtype.kind == "f":
            assert np.isfinite(made[name]).all(), name
    for name, values in expected.axes.items():
        assert made[name].dims == (name,) and np.array_equal(made[name], values), name


@pytest.mark.parametrize("depth", [7, 11, 16])
def test_layers_are_named_as_in_the_network(depth):
    spec = VGG.but(depth=depth)
    assert layout.layer_names(spec) == [name for name, _ in vgg(spec).named_children()]


def test_modules_of_a_resnet_are_named_as_in_the_network():
    for depth in (8, 14):
        spec = VGG.but(depth=depth, architecture="resnet")
        assert layout.layer_names(spec) == [name for name, _ in resnet(spec).named_children()]
