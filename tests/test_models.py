"""The two networks: shapes, initialization, and what they share across norms."""

import numpy as np
import pytest
import torch

from lib.errors import UsageError
from lib.models import FixedScale, deep_linear, glorot_weights, vgg, weights
from lib.specs import LinearSpec, Noise, VGGSpec, from_canonical


def test_vgg_a_has_its_layers_and_parameters():
    model = vgg(VGGSpec())
    shapes = [tuple(weight.shape) for weight in weights(model)]
    assert [shape[0] for shape in shapes] == [64, 128, 256, 256, 512, 512, 512, 512, 512, 512, 10]
    assert all(shape[2:] == (3, 3) for shape in shapes[:8])
    expected = sum(torch.tensor(shape).prod().item() + shape[0] for shape in shapes)
    assert sum(p.numel() for p in model.parameters()) == expected == 9_750_922
    assert model(torch.zeros(2, 3, 32, 32)).shape == (2, 10)


@pytest.mark.parametrize("depth", [7, 11])
@pytest.mark.parametrize("norm", ["none", "batchnorm", "noisy", "l1", "l2", "linf"])
def test_every_norm_starts_from_the_same_weights(depth, norm):
    base = VGGSpec(width=1 / 16, depth=depth, seed=4)
    for one, other in zip(weights(vgg(base)), weights(vgg(base.but(norm=norm))), strict=True):
        assert torch.equal(one, other)
    assert not torch.equal(weights(vgg(base))[0], weights(vgg(base.but(seed=5)))[0])


def test_weights_are_glorot_uniform_and_biases_zero():
    for layer in vgg(VGGSpec(width=0.5)):
        fan_out, fan_in = layer[0].weight.shape[:2]
        area = layer[0].weight[0, 0].numel()
        bound = (6 / ((fan_in + fan_out) * area)) ** 0.5
        assert bound * 0.95 < layer[0].weight.abs().max() <= bound
        assert not layer[0].bias.any()


def test_every_layer_but_the_last_is_normalized_before_its_relu():
    names = [[type(part).__name__ for part in layer] for layer in vgg(VGGSpec(norm="l1", width=1 / 16))]
    assert all(layer[1:3] == ["LpNorm", "ReLU"] for layer in names[:-1])
    assert names[-1] == ["Linear"]


def test_placement_affine_and_initial_scale():
    after = vgg(VGGSpec(norm="batchnorm", width=1 / 16, placement="after"))
    assert [type(part).__name__ for part in after[1]] == ["Conv2d", "ReLU", "BatchNorm", "MaxPool2d"]
    fixed = vgg(VGGSpec(norm="batchnorm", width=1 / 16, affine=False))
    assert sum(not parameter.requires_grad for parameter in fixed.parameters()) == 20
    one, four = (vgg(VGGSpec(width=1 / 16, init_scale=scale)) for scale in (1, 4))
    torch.testing.assert_close(four[3][0].weight, 4 * one[3][0].weight)


def test_norms_in_the_head_and_the_reading_of_the_lp_formula():
    bare = [[type(part).__name__ for part in layer] for layer in vgg(VGGSpec(norm="batchnorm", width=1 / 16, norm_head=False))]
    assert [("BatchNorm" in layer) for layer in bare] == [True] * 8 + [False] * 3
    assert bare[8:] == [["Linear", "ReLU"], ["Linear", "ReLU"], ["Linear"]]
    assert {layer[1].formula for layer in vgg(VGGSpec(norm="l1", width=1 / 16, lp_formula="sample"))[:-1]} == {"sample"}


def test_noise_alone_stands_where_the_norm_would():
    model = vgg(VGGSpec(width=1 / 16, noise_without_norm=True))
    assert [type(layer[1]).__name__ for layer in model[:-1]] == ["ActivationNoise"] * 10
    with pytest.raises(UsageError, match="noise_without_norm"):
        VGGSpec(norm="batchnorm", noise_without_norm=True)


def test_deep_linear_is_a_product_of_matrices():
    spec = LinearSpec(layers=4, dim=3, samples=20)
    x = torch.randn(20, 3, dtype=torch.float64)
    w = glorot_weights(spec, 7)
    torch.testing.assert_close(deep_linear(spec, 7)(x), x @ (w[3] @ w[2] @ w[1] @ w[0]).T)
    assert w.abs().max() <= 1.0  # sqrt(6 / (3 + 3))


def test_deep_linear_normalizes_all_layers_but_the_last():
    model = deep_linear(LinearSpec(layers=3, norm="batchnorm"), 0)
    assert [len(layer) for layer in model] == [2, 2, 1]


@pytest.mark.parametrize("norm", ["batchnorm", "l2"])
def test_fixed_scale_gives_deviation_gamma(norm):
    y = torch.randn(500, 4, dtype=torch.float64)
    z = FixedScale(norm, gamma=1.25)(y - y.mean(0))
    torch.testing.assert_close(z.var(0, correction=0).sqrt(), torch.full((4,), 1.25, dtype=torch.float64))


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda: VGGSpec(width=-1), "width is -1"),
        (lambda: VGGSpec(width=1000), "width is 1000"),
        (lambda: VGGSpec(depth=12), "depth is 12.*11"),
        (lambda: VGGSpec(norm="group"), "norm is 'group'"),
        (lambda: VGGSpec(step_size=-0.1), "step_size is -0.1"),
        (lambda: VGGSpec(step_size=0), "step_size is 0"),
        (lambda: VGGSpec(step_size=1e9), "step_size"),
        (lambda: VGGSpec(steps=2.5), "steps is 2.5"),
        (lambda: VGGSpec(steps=10.0), "steps is 10.0.*whole number"),
        (lambda: VGGSpec(batch_size=60_000), "batch_size is 60000"),
        (lambda: VGGSpec(step_lengths=()), "step_lengths is empty"),
        (lambda: VGGSpec(data="mnist"), "data is 'mnist'.*cifar10"),
        (lambda: VGGSpec(step_lengths=(2.0, 1.0)), "increase"),
        (lambda: VGGSpec(step_lengths=(-1.0,)), "step_lengths"),
        (lambda: VGGSpec(precision="bfloat16", landscape_every=5), "landscape_every is 5.*0 with precision 'bfloat16'"),
        (lambda: VGGSpec(architecture="resnet", depth=8, shift_every=5), "shift_every is 5.*'resnet'"),
        (lambda: VGGSpec(architecture="resnet"), "depth is 11.*8, 14, 20"),
        (lambda: VGGSpec(norm="l1", controls_every=5), "controls_every is 5.*norm 'none' or 'batchnorm'"),
        (lambda: VGGSpec(momentum=1.0), "momentum is 1.0"),
        (lambda: VGGSpec(init_scale=0), "init_scale is 0"),
        (lambda: VGGSpec(norm="batchnorm", lp_formula="sum"), "lp_formula is 'sum'.*unit"),
        (lambda: VGGSpec(architecture="resnet", depth=8, norm_head=False), "norm_head is False"),
        (lambda: VGGSpec(architecture="resnet", depth=8, placement="after"), "placement is 'after'.*before"),
        (lambda: VGGSpec(architecture="resnet", depth=8, noise_without_norm=True), "noise_without_norm is True.*'resnet'"),
        (lambda: VGGSpec(norm="l1", precision="bfloat16"), "norm with precision 'bfloat16' is 'l1'.*batchnorm"),
        (lambda: VGGSpec(norm="batchnorm", norm_head=False, theorem_every=2), "theorem_every is 2.*norm_head False"),
        (lambda: VGGSpec(augment="no"), "augment is 'no'.*True, False"),
        (lambda: VGGSpec(noise=0.5), "noise is 0.5.*a Noise"),
        (lambda: VGGSpec(placement="beside"), "placement is 'beside'.*before, after"),
        (lambda: LinearSpec(norm="noisy"), "norm is 'noisy'"),
        (lambda: LinearSpec(layers=0), "layers is 0"),
        (lambda: LinearSpec(samples=5), "samples is 5"),
        (lambda: FixedScale("none", 1), "norm is 'none'"),
        (lambda: from_canonical('{"network": "resnet"}'), "network is 'resnet'"),
        (lambda: from_canonical('{"network": "vgg"}'), "is not a spec"),
        (lambda: from_canonical("vgg"), "'vgg' is not a spec"),
    ],
)
def test_bad_specs_are_named(make, named):
    with pytest.raises(UsageError, match=named):
        make()


def test_identity_of_a_spec_is_its_content():
    spec = VGGSpec(norm="noisy", seed=3)
    assert from_canonical(spec.canonical()) == spec
    assert spec.hash == VGGSpec(norm="noisy", seed=3).hash != spec.but(seed=4).hash
    linear = LinearSpec(norm="l1")
    assert from_canonical(linear.canonical()) == linear
    # However a number is written.
    numpy = VGGSpec(width=np.float64(1), seed=np.int64(0), augment=np.False_, step_lengths=np.array([1, 2]), noise=Noise(n_mu=1))
    plain = VGGSpec(width=1, step_lengths=[1, 2], noise=Noise(n_mu=1.0))
    assert numpy.hash == plain.hash == VGGSpec(step_lengths=(1.0, 2.0), noise=Noise(n_mu=1.0)).hash
