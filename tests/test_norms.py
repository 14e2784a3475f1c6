"""Normalization layers against torch's own, closed forms and finite differences."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.func import functional_call

from lib import norms
from lib.errors import UsageError
from lib.norms import EPS, ActivationNoise, BatchNorm, LpNorm, NoisyBatchNorm, make_norm
from lib.specs import Noise

SHAPES = [(16, 3), (4, 3, 5, 6)]


def batch(shape, seed=0):
    return 2 + 3 * torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("shape", SHAPES)
def test_batchnorm_is_torchs_layer_in_both_modes(shape):
    ours = BatchNorm(3).double()
    theirs = (nn.BatchNorm1d if len(shape) == 2 else nn.BatchNorm2d)(3).double()
    with torch.no_grad():
        ours.gamma.copy_(torch.tensor([1.0, -2.0, 0.5]))
        ours.beta.copy_(torch.tensor([0.0, 1.0, -1.0]))
        theirs.weight.copy_(ours.gamma)
        theirs.bias.copy_(ours.beta)
    for seed in range(3):
        torch.testing.assert_close(ours(batch(shape, seed)), theirs(batch(shape, seed)))
    ours.eval(), theirs.eval()
    torch.testing.assert_close(ours(batch(shape, 9)), theirs(batch(shape, 9)))


@pytest.mark.parametrize("shape", SHAPES)
def test_batchnorm_is_the_formula_of_the_paper(shape):
    y = batch(shape).transpose(0, 1).flatten(1)
    expected = (y - y.mean(1, keepdim=True)) / (y.var(1, correction=0, keepdim=True) + EPS).sqrt()
    got = BatchNorm(3).double()(batch(shape)).transpose(0, 1).flatten(1)
    torch.testing.assert_close(got, expected)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("p", [1, 2, math.inf])
def test_lp_norm_is_the_formula_sample_by_sample(shape, p):
    y = batch(shape).transpose(0, 1).flatten(1)
    got = LpNorm(3, p).double()(batch(shape)).transpose(0, 1).flatten(1)
    for row, values in zip(y.tolist(), got.tolist()):
        size = max(map(abs, row)) if p == math.inf else (sum(abs(v) ** p for v in row) / len(row)) ** (1 / p)
        mean = sum(row) / len(row)
        assert values == pytest.approx([(v - mean) / size for v in row], rel=1e-4)


@pytest.mark.parametrize("shape", [(5, 2), (3, 2, 4, 2)])
@pytest.mark.parametrize("p", [1, 2, math.inf])
def test_lp_norm_gradient_by_finite_differences(p, shape):
    layer = LpNorm(2, p).double()

    def function(y, gamma, beta):
        return functional_call(layer, {"gamma": gamma, "beta": beta}, y)

    inputs = (batch(shape)[:, :2], torch.tensor([1.5, -0.7]), torch.tensor([0.2, 3.0]))
    assert torch.autograd.gradcheck(function, [value.double().requires_grad_() for value in inputs], eps=1e-7, atol=1e-6)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("p", [1, 2, math.inf])
def test_lp_norm_gradient_is_autograds(p, layout):
    # On images in both layouts, with values that tie for the largest.
    y = batch((4, 3, 4, 4)).round(decimals=1).contiguous(memory_format=layout).requires_grad_()
    layer = LpNorm(3, p).double()
    rest = (0, 2, 3)
    norm = {1: y.abs().mean(rest), 2: y.square().mean(rest).add(EPS).sqrt(), math.inf: y.abs().amax(rest)}[p]
    expected = (y - y.mean(rest, keepdim=True)) / (norm + (0 if p == 2 else EPS))[:, None, None]
    direction = batch((4, 3, 4, 4), 1)
    for one, other in zip(*(torch.autograd.grad((z * direction).sum(), y) for z in (layer(y), expected))):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("p", [1, 2, math.inf])
def test_other_readings_of_the_lp_formula_value_by_value(p):
    y = batch((4, 3, 2, 2)) + 1
    images = [[float(v) for v in image.flatten()] for image in y]
    units = [[float(v) for v in unit.flatten()] for unit in y.transpose(0, 1)]

    def size(values):
        return max(map(abs, values)) if p == math.inf else sum(abs(v) ** p for v in values) ** (1 / p)

    expected = {"sum": [size(unit) for unit in units], "sample": [sum(map(size, images)) / len(images)] * 3}
    for formula, sizes in expected.items():
        layer = LpNorm(3, p, formula).double()
        got = layer(y).transpose(0, 1).flatten(1)
        for row, values, n in zip(units, got.tolist(), sizes):
            mean = sum(row) / len(row)
            assert values == pytest.approx([(v - mean) / n for v in row], rel=1e-4)
        torch.testing.assert_close(layer.running_norm, 0.9 + 0.1 * torch.tensor(sizes).double(), rtol=1e-4, atol=0)
        inputs = [value.double().requires_grad_() for value in (y, torch.tensor([1.5, -0.7, 1.0]), torch.tensor([0.2, 3.0, 0.0]))]
        assert torch.autograd.gradcheck(
            lambda y, gamma, beta, layer=layer: functional_call(layer, {"gamma": gamma, "beta": beta}, y), inputs, eps=1e-7, atol=1e-6
        )


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_both_ways_to_the_gradient_of_the_largest_value(layout):
    # One of them runs on a GPU only; zeros, where all values tie, and a NaN included.
    y = batch((4, 3, 2, 2)).round(decimals=0).contiguous(memory_format=layout)
    y[:, 1] = 0
    for bad in (0.0, math.nan):
        y[0, 2, 0, 0] = bad
        maxima = norms._maxima(y.abs())
        assert maxima.shape == (16, 3)
        torch.testing.assert_close(maxima.amax(0), y.abs().amax((0, 2, 3)), rtol=0, atol=0, equal_nan=True)
        found = [batch((4, 3, 2, 2), 1).contiguous(memory_format=layout) for _ in range(2)]
        of_norm = torch.tensor([2.0, 3.0, -1.0], dtype=y.dtype)
        norms._add_at_few(found[0], y, maxima, of_norm)
        norms._add_at_all(found[1], y, maxima, of_norm)
        torch.testing.assert_close(found[0], found[1], equal_nan=True)
        assert not torch.equal(found[0], batch((4, 3, 2, 2), 1))


def test_lp_norm_evaluates_with_running_statistics():
    layer = LpNorm(3, 1).double()
    for seed in range(200):
        layer(batch((2048, 3), seed))
    layer.eval()
    y = batch((2048, 3), 999)
    expected = (y - y.mean(0)) / y.abs().mean(0)
    torch.testing.assert_close(layer(y), expected, rtol=0, atol=0.15)
    assert not torch.equal(layer(y), LpNorm(3, 1).double()(y))


@pytest.mark.parametrize("name", ["none", "batchnorm", "noisy", "l1", "l2", "linf"])
def test_a_channel_of_zeros_stays_finite(name):
    layer = make_norm(name, 2, Noise(), seed=0)
    y = torch.zeros(4, 2, requires_grad=True)
    z = layer(y)
    z.sum().backward()
    assert torch.isfinite(z).all() and torch.isfinite(y.grad).all()


def test_noise_has_algorithm_1s_moments():
    n = Noise(n_mu=0.5, n_sigma=1.25, r_mu=0.3, r_sigma=0.2)
    layer = ActivationNoise(n, seed=1)
    a = torch.randn(4000, 50, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    draws = [layer(a) for _ in range(40)]
    means = torch.stack([z.mean(0) for z in draws])
    # mu ~ U(-n_mu, n_mu), once a unit and step
    assert means.abs().max() < n.n_mu + 0.1
    assert means.std() == pytest.approx(n.n_mu / math.sqrt(3), rel=0.05)
    # z = s a + m: variance sigma^2 + r_sigma^2 + r_mu^2/3 for a of variance 1
    expected = (1 + n.n_sigma + n.n_sigma**2) / 3 + n.r_sigma**2 + n.r_mu**2 / 3
    assert torch.stack([z.var(0) for z in draws]).mean() == pytest.approx(expected, rel=0.02)
    # m given mu is uniform with half-width r_mu, independently for every element: from a = 0
    m = ActivationNoise(n, seed=2)(torch.zeros(20000, 1, dtype=torch.float64))
    assert (m.max() - m.min()).item() == pytest.approx(2 * n.r_mu, rel=0.01)


def test_noise_of_images_differs_between_positions_and_is_off_in_evaluation():
    layer = ActivationNoise(Noise(), seed=0)
    z = layer(torch.ones(2, 3, 4, 4))
    assert z.unique().numel() == z.numel()
    assert torch.equal(layer.eval()(torch.ones(2, 3, 4, 4)), torch.ones(2, 3, 4, 4))


def test_noise_without_strength_is_the_identity():
    a = batch((8, 3))
    off = Noise(n_mu=0, n_sigma=1, r_mu=0, r_sigma=0)
    assert torch.equal(ActivationNoise(off, seed=0)(a), a)
    torch.testing.assert_close(NoisyBatchNorm(3, off, 0).double()(a), BatchNorm(3).double()(a))


def test_noise_depends_on_its_seed_and_the_call_only():
    a = batch((8, 3))
    torch.manual_seed(0)
    layer = ActivationNoise(Noise(), seed=5)
    first = layer(a)
    assert not torch.equal(first, layer(a))
    layer.calls = 0
    assert torch.equal(first, layer(a))
    torch.manual_seed(1)
    assert torch.equal(first, ActivationNoise(Noise(), seed=5)(a))
    assert not torch.equal(first, ActivationNoise(Noise(), seed=6)(a))


@given(st.floats(-5, 5), st.floats(0.1, 10), st.sampled_from([1, 2, math.inf]))
def test_normalizations_are_scale_invariant(shift, scale, p):
    y = batch((32, 2))
    for layer, other in ((BatchNorm(2), shift), (LpNorm(2, p), 0.0)):
        torch.testing.assert_close(layer.double()(scale * y + other), layer.double()(y), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda: make_norm("layernorm", 3, Noise(), 0), "norm.*'layernorm'.*batchnorm"),
        (lambda: LpNorm(3, 3), "p is 3"),
        (lambda: LpNorm(3, 1, "mean"), "formula is 'mean'.*unit, sum, sample"),
        (lambda: BatchNorm(0), "channels"),
        (lambda: Noise(n_mu=-1), "n_mu"),
        (lambda: Noise(n_sigma=0.5), "n_sigma"),
        (lambda: Noise(r_sigma=float("nan")), "r_sigma"),
        (lambda: BatchNorm(3)(torch.zeros(4, 2)), r"\(4, 2\)"),
        (lambda: LpNorm(3, 1)(torch.zeros(4)), "must be"),
    ],
)
def test_bad_input_is_named(make, named):
    with pytest.raises(UsageError, match=named):
        make()
