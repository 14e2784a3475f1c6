"""The two networks: shapes, initialization, and what they share across norms."""

from dataclasses import fields

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from lib.errors import UsageError
from lib.models import FixedScale, deep_linear, glorot_weights, resnet, vgg, weights
from lib.models.images import RESNET_BLOCKS, VGG_PLANS
from lib.norms import EPS, ActivationNoise
from lib.probes import Activations
from lib.specs import DEPTHS, NORMS, ImageSpec, LinearSpec, Noise, from_canonical


def test_a_spec_allows_the_depths_that_there_are_tables_for():
    assert {"vgg": set(VGG_PLANS), "resnet": set(RESNET_BLOCKS)} == {
        name: set(depths) for name, depths in DEPTHS.items()
    }


def test_vgg_a_has_its_layers_and_parameters():
    model = vgg(ImageSpec())
    shapes = [tuple(weight.shape) for weight in weights(model)]
    assert [shape[0] for shape in shapes] == [64, 128, 256, 256, 512, 512, 512, 512, 512, 512, 10]
    assert all(shape[2:] == (3, 3) for shape in shapes[:8])
    expected = sum(torch.tensor(shape).prod().item() + shape[0] for shape in shapes)
    assert sum(p.numel() for p in model.parameters()) == expected == 9_750_922
    assert model(torch.zeros(2, 3, 32, 32)).shape == (2, 10)


@pytest.mark.parametrize("depth", [7, 11])
@pytest.mark.parametrize("norm", [norm for norm in NORMS if norm != "instancenorm"])
def test_every_norm_starts_from_the_same_weights(depth, norm):
    base = ImageSpec(width=1 / 16, depth=depth, seed=4)
    for one, other in zip(weights(vgg(base)), weights(vgg(base.but(norm=norm))), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-6 if norm == "weightnorm" else 0, atol=0)
    assert not torch.equal(weights(vgg(base))[0], weights(vgg(base.but(seed=5)))[0])


def test_weights_are_glorot_uniform_and_biases_zero():
    for layer in vgg(ImageSpec(width=0.5)):
        fan_out, fan_in = layer[0].weight.shape[:2]
        area = layer[0].weight[0, 0].numel()
        bound = (6 / ((fan_in + fan_out) * area)) ** 0.5
        assert bound * 0.95 < layer[0].weight.abs().max() <= bound
        assert not layer[0].bias.any()


def test_every_layer_but_the_last_is_normalized_before_its_relu():
    names = [[type(part).__name__ for part in layer] for layer in vgg(ImageSpec(norm="l1", width=1 / 16))]
    assert all(layer[1:3] == ["LpNorm", "ReLU"] for layer in names[:-1])
    assert names[-1] == ["Linear"]


def test_placement_affine_and_initial_scale():
    after = vgg(ImageSpec(norm="batchnorm", width=1 / 16, placement="after"))
    assert [type(part).__name__ for part in after[1]] == ["Conv2d", "ReLU", "BatchNorm", "MaxPool2d"]
    fixed = vgg(ImageSpec(norm="batchnorm", width=1 / 16, affine=False))
    assert sum(not parameter.requires_grad for parameter in fixed.parameters()) == 20
    one, four = (vgg(ImageSpec(width=1 / 16, init_scale=scale)) for scale in (1, 4))
    torch.testing.assert_close(four[3][0].weight, 4 * one[3][0].weight)


def test_norms_in_the_head_and_the_reading_of_the_lp_formula():
    bare = [
        [type(part).__name__ for part in layer]
        for layer in vgg(ImageSpec(norm="batchnorm", width=1 / 16, norm_head=False))
    ]
    assert [("BatchNorm" in layer) for layer in bare] == [True] * 8 + [False] * 3
    assert bare[8:] == [["Linear", "ReLU"], ["Linear", "ReLU"], ["Linear"]]
    assert {layer[1].formula for layer in vgg(ImageSpec(norm="l1", width=1 / 16, lp_formula="sample"))[:-1]} == {
        "sample"
    }


@pytest.mark.parametrize(
    ("norm", "over"),
    [
        ("layernorm", lambda z: z.flatten(1)),
        ("groupnorm", lambda z: z.reshape(6, 8, -1)),
        ("instancenorm", lambda z: z.flatten(2)),
    ],
)
def test_norms_of_single_samples_average_over_what_they_are_named_for(norm, over):
    layer = vgg(ImageSpec(norm=norm, width=1 / 4, norm_head=norm != "instancenorm"))[0][:2].double()
    z = over(layer(3 + torch.randn(6, 3, 32, 32, dtype=torch.float64)))
    torch.testing.assert_close(z.mean(-1), torch.zeros_like(z[..., 0]), rtol=0, atol=1e-12)
    torch.testing.assert_close(z.var(-1, correction=0), torch.ones_like(z[..., 0]), rtol=1e-2, atol=0)


def test_weight_normalization_trains_length_and_direction_apart():
    base = ImageSpec(width=1 / 16, depth=7, precision="float64")
    plain, apart = vgg(base), vgg(base.but(norm="weightnorm"))
    x = torch.randn(4, 3, 32, 32, dtype=torch.float64)
    torch.testing.assert_close(apart(x), plain(x))
    apart(x).square().sum().backward()
    for layer in apart[:-1]:
        length, direction = layer[0].parametrizations.weight.original0, layer[0].parametrizations.weight.original1
        inner = (direction * direction.grad).flatten(1).sum(1)
        assert length.grad.abs().max() > 0 and inner.abs().max() < 1e-9 * direction.grad.abs().max()
    assert not hasattr(apart[-1][0], "parametrizations")


@pytest.mark.parametrize(("name", "kind"), [("elu", torch.nn.ELU), ("selu", torch.nn.SELU)])
def test_other_nonlinearities_stand_where_the_relu_does(name, kind):
    model = vgg(ImageSpec(width=1 / 16, activation=name))
    assert sum(isinstance(part, kind) for layer in model for part in layer) == 10
    assert not any(isinstance(part, torch.nn.ReLU) for part in model.modules())
    watched = Activations(model, 1, 0)
    with watched.watch():
        model(torch.zeros(2, 3, 32, 32))
    assert len(watched.values()) == 10


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"norm": "instancenorm"}, "norm_head"),
        ({"norm": "weightnorm", "shift_every": 5}, "shift_every"),
        ({"norm": "weightnorm", "gradients_every": 5}, "gradients_every"),
        ({"architecture": "resnet", "depth": 8, "norm": "weightnorm"}, "weightnorm"),
        ({"architecture": "resnet", "depth": 8, "activation": "elu"}, "activation"),
        ({"architecture": "resnet", "depth": 8, "gradients_every": 5}, "gradients_every"),
    ],
)
def test_what_other_normalizations_cannot_do_is_named(changes, named):
    with pytest.raises(UsageError, match=named):
        ImageSpec(**changes)


@pytest.mark.parametrize(
    "changes", [{"norm_last": True}, {"affine": True}, {"norm": "batchnorm", "affine": True, "theorem_every": 1}]
)
def test_deep_linear_networks_without_a_norm_have_no_scales(changes):
    with pytest.raises(UsageError, match="norm_last|fixed scales"):
        LinearSpec(**changes)


def test_noise_alone_stands_where_the_norm_would():
    model = vgg(ImageSpec(width=1 / 16, noise_without_norm=True))
    assert [type(layer[1]).__name__ for layer in model[:-1]] == ["ActivationNoise"] * 10
    with pytest.raises(UsageError, match="noise_without_norm"):
        ImageSpec(norm="batchnorm", noise_without_norm=True)


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


def normalized(y):
    """BatchNorm with gamma 1 and beta 0, by its formula."""
    centred = y - y.mean((0, 2, 3), keepdim=True)
    return centred / (centred.square().mean((0, 2, 3), keepdim=True) + EPS).sqrt()


@pytest.mark.parametrize("norm", ["none", "batchnorm"])
def test_a_residual_network_is_the_one_written_by_hand(norm):
    spec = ImageSpec(norm=norm, architecture="resnet", depth=8, width=1 / 16, precision="float64")
    model = resnet(spec)
    bn = normalized if norm == "batchnorm" else (lambda y: y)
    x = torch.randn(4, 3, 32, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    h = F.relu(bn(F.conv2d(x, model[0].weight, model[0].bias, padding=1)))
    assert [block.first.out_channels for block in model[3:6]] == [4, 8, 16]
    for block, stride in zip(model[3:6], (1, 2, 2)):
        inner = F.relu(bn(F.conv2d(h, block.first.weight, block.first.bias, stride, padding=1)))
        inner = bn(F.conv2d(inner, block.second.weight, block.second.bias, padding=1))
        past = F.conv2d(h, block.shortcut.weight, block.shortcut.bias, stride) if stride > 1 else h
        h = F.relu(inner + past)
        assert (inner < 0).any() and h.shape[2] == past.shape[2]
    expected = F.linear(h.mean((2, 3)), model[-1].weight, model[-1].bias)
    torch.testing.assert_close(model(x), expected)


def noises(model):
    return [module for module in model.modules() if isinstance(module, ActivationNoise)]


@pytest.mark.parametrize(
    "spec",
    [
        ImageSpec(norm="noisy", width=1 / 32),
        ImageSpec(norm="none", noise_without_norm=True, width=1 / 32),
        ImageSpec(norm="noisy", architecture="resnet", depth=20, width=1 / 32),
    ],
    ids=["vgg", "without norm", "resnet"],
)
def test_layers_and_runs_have_noise_of_their_own(spec):
    make = resnet if spec.architecture == "resnet" else vgg
    layers = {
        (seed, index): layer for seed in range(6) for index, layer in enumerate(noises(make(spec.but(seed=seed))))
    }
    assert len(layers) == 6 * (19 if spec.architecture == "resnet" else 10)
    assert len({layer.seed for layer in layers.values()}) == len(layers)
    # The numbers themselves, and not the seeds alone: no two layers or runs draw the same.
    drawn = torch.stack([layer.train()(torch.ones(64, 2)).flatten() for layer in layers.values()])
    assert len(drawn.unique(dim=0)) == len(layers)
    again = noises(make(spec.but(seed=3)))
    assert [layer.seed for layer in again] == [layers[3, index].seed for index in range(len(again))]


@pytest.mark.parametrize("kind", [ImageSpec, LinearSpec, Noise])
def test_every_field_of_a_spec_names_its_range(kind):
    for one in fields(kind):
        if one.name in ("noise", "depth"):  # a Noise; one of the architecture's
            continue
        rule = one.metadata.get("number")
        bad = ["nonsense", *([rule["high"] + 1, rule["low"] - 1, float("nan")] if rule else [])]
        for value in [[], [-1.0]] if "lengths" in one.metadata else bad:
            with pytest.raises(UsageError, match=f"^{one.name} is"):
                kind(**{one.name: value})


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda: ImageSpec(width=-1), "width is -1"),
        (lambda: ImageSpec(width=1000), "width is 1000"),
        (lambda: ImageSpec(depth=12), "depth is 12.*11"),
        (lambda: ImageSpec(norm="group"), "norm is 'group'"),
        (lambda: ImageSpec(step_size=-0.1), "step_size is -0.1"),
        (lambda: ImageSpec(step_size=0), "step_size is 0"),
        (lambda: ImageSpec(step_size=1e9), "step_size"),
        (lambda: ImageSpec(steps=2.5), "steps is 2.5"),
        (lambda: ImageSpec(steps=10.0), "steps is 10.0.*whole number"),
        (lambda: ImageSpec(batch_size=60_000), "batch_size is 60000"),
        (lambda: ImageSpec(step_lengths=()), "step_lengths is empty"),
        (lambda: ImageSpec(data="mnist"), "data is 'mnist'.*cifar10"),
        (lambda: ImageSpec(step_lengths=(2.0, 1.0)), "increase"),
        (lambda: ImageSpec(step_lengths=(-1.0,)), "step_lengths"),
        (
            lambda: ImageSpec(precision="bfloat16", landscape_every=5),
            "landscape_every is 5.*0 with precision 'bfloat16'",
        ),
        (lambda: ImageSpec(architecture="resnet", depth=8, shift_every=5), "shift_every is 5.*'resnet'"),
        (lambda: ImageSpec(architecture="resnet"), "depth is 11.*8, 14, 20"),
        (lambda: ImageSpec(norm="l1", controls_every=5), "controls_every is 5.*norm 'none' or 'batchnorm'"),
        (lambda: ImageSpec(momentum=1.0), "momentum is 1.0"),
        (lambda: ImageSpec(init_scale=0), "init_scale is 0"),
        (lambda: ImageSpec(norm="batchnorm", lp_formula="sum"), "lp_formula is 'sum'.*unit"),
        (lambda: ImageSpec(architecture="resnet", depth=8, norm_head=False), "norm_head is False"),
        (lambda: ImageSpec(architecture="resnet", depth=8, placement="after"), "placement is 'after'.*before"),
        (
            lambda: ImageSpec(architecture="resnet", depth=8, noise_without_norm=True),
            "noise_without_norm is True.*'resnet'",
        ),
        (lambda: ImageSpec(norm="l1", precision="bfloat16"), "norm with precision 'bfloat16' is 'l1'.*batchnorm"),
        (lambda: ImageSpec(norm="batchnorm", norm_head=False, theorem_every=2), "theorem_every is 2.*norm_head False"),
        (lambda: ImageSpec(augment="no"), "augment is 'no'.*True, False"),
        (lambda: ImageSpec(noise=0.5), "noise is 0.5.*a Noise"),
        (lambda: ImageSpec(placement="beside"), "placement is 'beside'.*before, after"),
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
    spec = ImageSpec(norm="noisy", seed=3)
    assert from_canonical(spec.canonical()) == spec
    assert spec.hash == ImageSpec(norm="noisy", seed=3).hash != spec.but(seed=4).hash
    linear = LinearSpec(norm="l1")
    assert from_canonical(linear.canonical()) == linear
    # However a number is written.
    numpy = ImageSpec(
        width=np.float64(1), seed=np.int64(0), augment=np.False_, step_lengths=np.array([1, 2]), noise=Noise(n_mu=1)
    )
    plain = ImageSpec(width=1, step_lengths=[1, 2], noise=Noise(n_mu=1.0))
    assert numpy.hash == plain.hash == ImageSpec(step_lengths=(1.0, 2.0), noise=Noise(n_mu=1.0)).hash


def test_every_seed_of_a_deep_linear_network_has_weights_of_its_own():
    one, other = (glorot_weights(LinearSpec(layers=3, dim=4), seed) for seed in (0, 1))
    assert not torch.isclose(one, other).any()
