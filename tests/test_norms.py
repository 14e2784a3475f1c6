"""Normalization layers against torch's own, closed forms and finite differences."""

import contextlib
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.func import functional_call

from lib import fast
from lib.errors import UsageError
from lib.norms import EPS, ActivationNoise, BatchNorm, LpNorm, NoisyBatchNorm, make_norm
from lib.specs import Noise

SHAPES = [(16, 3), (4, 3, 5, 6)]
LAYERS = {
    "batchnorm": lambda channels: BatchNorm(channels),
    "noisy": lambda channels: NoisyBatchNorm(channels, Noise(), 0),
    **{f"l{p}": lambda channels, p=p: LpNorm(channels, p) for p in (1, 2, math.inf)},
    **{
        f"l{p}, {how}": lambda channels, p=p, how=how: LpNorm(channels, p, how)
        for p in (1, math.inf)
        for how in ("sum", "sample")
    },
}


@pytest.fixture(params=["fast", "formula"])
def side(request):
    """Both sides of the switch."""
    with fast.plain() if request.param == "formula" else contextlib.nullcontext():
        yield request.param


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


@pytest.mark.parametrize("sign", [1, -1])  # the value that is the largest without its sign has one
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("name", "p"), [("l1", 1), ("l2", 2), ("linf", math.inf)])
def test_lp_norm_is_the_formula_sample_by_sample(shape, name, p, sign, side):
    y = sign * batch(shape).transpose(0, 1).flatten(1)
    got = make_norm(name, 3, Noise(), 0).double()(sign * batch(shape)).transpose(0, 1).flatten(1)
    for row, values in zip(y.tolist(), got.tolist()):
        size = max(map(abs, row)) if p == math.inf else (sum(abs(v) ** p for v in row) / len(row)) ** (1 / p)
        mean = sum(row) / len(row)
        assert values == pytest.approx([(v - mean) / size for v in row], rel=1e-4)


@pytest.mark.parametrize("shape", [(5, 2), (3, 2, 4, 2)])
@pytest.mark.parametrize("p", [1, 2, math.inf])
def test_lp_norm_gradient_by_finite_differences(p, shape, side):
    layer = LpNorm(2, p).double()

    def function(y, gamma, beta):
        return functional_call(layer, {"gamma": gamma, "beta": beta}, y)

    inputs = (batch(shape)[:, :2], torch.tensor([1.5, -0.7]), torch.tensor([0.2, 3.0]))
    assert torch.autograd.gradcheck(
        function, [value.double().requires_grad_() for value in inputs], eps=1e-7, atol=1e-6
    )


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
def test_other_readings_of_the_lp_formula_value_by_value(p, side):
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
        inputs = [
            value.double().requires_grad_()
            for value in (y, torch.tensor([1.5, -0.7, 1.0]), torch.tensor([0.2, 3.0, 0.0]))
        ]
        assert torch.autograd.gradcheck(
            lambda y, gamma, beta, layer=layer: functional_call(layer, {"gamma": gamma, "beta": beta}, y),
            inputs,
            eps=1e-7,
            atol=1e-6,
        )


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


def function_of(layer):
    """The layer as a function of its input, gamma and beta, all else fresh at every call."""
    buffers = {name: value.clone() for name, value in layer.named_buffers()}
    norm = "0." if isinstance(layer, NoisyBatchNorm) else ""

    def function(y, gamma, beta):
        if norm:
            layer[1].calls = 0
        state = {name: value.clone() for name, value in buffers.items()}
        return functional_call(layer, {norm + "gamma": gamma, norm + "beta": beta, **state}, y)

    return function


@pytest.mark.parametrize("shape", [(5, 2), (3, 2, 2, 2)])
@pytest.mark.parametrize("name", LAYERS)
def test_second_derivatives_by_finite_differences(name, shape, side):
    inputs = [batch(shape), torch.tensor([1.5, -0.7]), torch.tensor([0.2, 3.0])]
    inputs = [value.double().requires_grad_() for value in inputs]
    assert torch.autograd.gradgradcheck(function_of(LAYERS[name](2).double()), inputs, eps=1e-6, atol=1e-5)


@pytest.mark.parametrize("name", [name for name in LAYERS if "sample" not in name])
def test_second_derivatives_in_float32_are_the_formulas(name):
    # In float32 the noise is compiled, too; a product with the Hessian as `lib.probes.controls` takes it.
    found = []
    for context in (contextlib.nullcontext(), fast.plain()):
        with context:
            y = batch((6, 3, 4, 4)).float().requires_grad_()
            z = LAYERS[name](3)(y)
            (grad,) = torch.autograd.grad(z.pow(3).sum(), y, create_graph=True)
            found.append(torch.autograd.grad((grad * batch(y.shape, 1).float()).sum(), y)[0])
    torch.testing.assert_close(*found, rtol=1e-3, atol=1e-3 * found[1].abs().max().item())


@pytest.mark.parametrize("name", LAYERS)
def test_a_layers_output_may_be_changed_in_place(name, side):
    y = batch((4, 3, 5, 5)).float()
    found = []
    for inplace in (True, False):
        own = y.clone().requires_grad_()
        nn.Sequential(LAYERS[name](3), nn.ReLU(inplace))(own).square().sum().backward()
        found.append(own.grad)
    assert torch.equal(*found)


@pytest.mark.parametrize("shape", [(0, 3), (0, 3, 4, 4)])
@pytest.mark.parametrize("name", LAYERS)
def test_an_empty_batch_leaves_the_running_statistics_alone(name, shape, side):
    layer = LAYERS[name](3)
    before = [value.clone() for value in layer.buffers()]
    y = torch.zeros(shape, requires_grad=True)
    z = layer(y)
    z.sum().backward()
    assert z.shape == y.grad.shape == shape and layer.state_dict().keys()
    assert all(torch.equal(one, other) for one, other in zip(layer.buffers(), before))
    assert layer.eval()(torch.ones(4, 3)).isfinite().all()


@pytest.mark.parametrize("shape", [(1, 3), (1, 3, 1, 1)])
@pytest.mark.parametrize("name", LAYERS)
def test_one_value_a_channel_is_refused_in_training_as_by_torch(name, shape, side):
    layer = LAYERS[name](3)
    with pytest.raises(UsageError, match="more than one value.*eval"):
        layer(torch.ones(shape))
    with pytest.raises(ValueError, match="more than 1 value"):
        (nn.BatchNorm1d if len(shape) == 2 else nn.BatchNorm2d)(3)(torch.ones(shape))
    assert layer.eval()(torch.ones(shape)).isfinite().all()


@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", LAYERS)
def test_half_precision_is_taken_as_torchs_layers_take_it(name, dtype, own, autocast, side):
    # Float32 layers, or (own) layers of the same type; 300 squared is no float16.
    layer = LAYERS[name](3).to(dtype if own else torch.float32)
    y = (300 * batch((4, 3, 5, 5))).to(dtype).contiguous(memory_format=torch.channels_last).requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        z = layer(y)
        z.float().square().sum().backward()
        assert (
            z.dtype
            == nn.BatchNorm2d(3).to(layer.state_dict()["0.gamma" if name == "noisy" else "gamma"].dtype)(y).dtype
        )
    assert z.isfinite().all() and y.grad.isfinite().all() and y.grad.dtype == dtype
    expected = LAYERS[name](3).double()(y.detach().double())
    torch.testing.assert_close(z.double(), expected, rtol=3e-2, atol=3e-2 * expected.abs().max().item())


@pytest.mark.parametrize("name", LAYERS)
def test_a_batch_may_be_evaluated_before_one_is_trained_on(name, side):
    layer, y = LAYERS[name](3), batch((4, 3, 5, 5)).float().requires_grad_()
    layer(batch((4, 3, 5, 5), 1).float())
    (expected,) = torch.autograd.grad(layer.eval()(y).square().sum(), y)
    z = layer(y).square().sum()
    layer.train()(batch((4, 3, 5, 5), 2).float())
    assert torch.equal(torch.autograd.grad(z, y)[0], expected)


@pytest.mark.parametrize("name", LAYERS)
def test_torch_func_differentiates_with_the_buffers_as_arguments(name, side):
    layer = LAYERS[name](3)
    state = {key: value.clone() for key, value in layer.named_buffers()}
    weight, y = batch((6, 3), 1).float(), batch((6, 3)).float()

    def value(y, state):
        return (functional_call(layer, state, y) * weight).square().sum()

    own = y.clone().requires_grad_()
    (expected,) = torch.autograd.grad((LAYERS[name](3)(own) * weight).square().sum(), own)
    torch.testing.assert_close(torch.func.grad(value)(y, state), expected)
    if isinstance(layer, LpNorm):
        with pytest.raises(UsageError, match="buffers an argument.*eval"):
            torch.func.grad(lambda y: value(y, {}))(y)


def _hessian(layer: nn.Module, y: torch.Tensor) -> torch.Tensor:
    state = {key: value.clone() for key, value in layer.named_buffers()}
    return torch.func.hessian(lambda y, state: functional_call(layer, state, y).pow(3).sum())(y, state)


def test_what_torch_func_cannot_do_with_the_compiled_noise_names_the_switch():
    layer, y = NoisyBatchNorm(3, Noise(), 0), batch((6, 3)).float()
    with pytest.raises(UsageError, match="lib.fast.plain"):
        _hessian(layer, y)
    with fast.plain():
        assert _hessian(layer, y).shape == (6, 3, 6, 3)


@pytest.mark.parametrize("p", [1, 2, math.inf])
def test_torch_func_differentiates_the_average_norms_twice(p):
    layer, y = LpNorm(3, p).double(), batch((6, 3))
    expected = torch.autograd.functional.hessian(lambda y: layer(y).pow(3).sum(), y)
    torch.testing.assert_close(_hessian(layer, y), expected)


def test_the_switch_is_put_back_even_after_an_error():
    with contextlib.suppress(ZeroDivisionError), fast.plain():
        with fast.plain():
            assert not fast.enabled()
        assert not fast.enabled()
        raise ZeroDivisionError
    assert fast.enabled()


@pytest.mark.parametrize("make", [lambda: BatchNorm(3), lambda: NoisyBatchNorm(3, Noise(), 0)])
def test_a_state_of_torchs_batchnorm_can_be_loaded(make):
    theirs, ours = nn.BatchNorm2d(3), make()
    with torch.no_grad():
        theirs.weight.copy_(torch.tensor([1.0, -2.0, 0.5]))
        theirs.bias.copy_(torch.tensor([0.0, 1.0, -1.0]))
    theirs(batch((4, 3, 5, 5)).float())
    state = nn.Sequential(theirs).state_dict() if len(list(ours.children())) else theirs.state_dict()
    kept = dict(state)
    assert ours.load_state_dict(state).missing_keys == []
    assert state.keys() == kept.keys()  # the caller's is not changed
    y = batch((4, 3, 5, 5), 1).float()
    assert torch.equal(ours.eval()(y), theirs.eval()(y))
    again = make()
    again.load_state_dict(ours.state_dict())
    assert torch.equal(again.eval()(y), theirs(y))
    with pytest.raises(RuntimeError, match="gamma"):
        ours.load_state_dict({})


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("name", [name for name in LAYERS if "sample" not in name])
def test_a_bad_value_stays_in_its_channel(name, bad, side):
    y = batch((4, 3, 5, 5)).float()
    sound = LAYERS[name](3)(y.clone())
    y[1, 1, 2, 2] = bad
    y.requires_grad_()
    z = LAYERS[name](3)(y)
    theirs = nn.BatchNorm2d(3)(y)
    assert z[:, 1].isnan().any() and theirs[:, 1].isnan().any()
    assert torch.equal(z[:, [0, 2]], sound[:, [0, 2]])
    z[:, [0, 2]].sum().backward()
    assert y.grad[:, [0, 2]].isfinite().all()


@pytest.mark.parametrize("level", [0.0, 3.0, -100.0])
@pytest.mark.parametrize("name", [name for name in LAYERS if name != "noisy"])
def test_a_constant_channel_gives_beta_as_torchs_does(name, level, side):
    y = batch((4, 3, 5, 5)).float()
    y[:, 1] = level
    layer, theirs = LAYERS[name](3), nn.BatchNorm2d(3)
    with torch.no_grad():
        layer.beta.fill_(0.5), theirs.bias.fill_(0.5)
    for norm in (layer, theirs):
        torch.testing.assert_close(norm(y)[:, 1], torch.full((4, 5, 5), 0.5), rtol=0, atol=1e-3)


def test_huge_values_are_normalized_until_their_squares_overflow(side):
    y = 1e25 * batch((64, 3))
    for p in (1, 2, math.inf):
        expected = LpNorm(3, p).double()(y)
        found = LpNorm(3, p)(y.float())
        torch.testing.assert_close(found.double(), expected * (p != 2), rtol=1e-4, atol=1e-5)
    assert torch.equal(BatchNorm(3)(y.float()), nn.BatchNorm1d(3)(y.float()))
    assert torch.equal(BatchNorm(3)(y.float()), torch.zeros(64, 3))


@pytest.mark.parametrize("shape", [(64, 3), (4, 3, 5, 5), (5, 3, 4, 4), (4, 1, 3, 3), (4, 3, 1, 1)])
@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("name", LAYERS)
def test_both_sides_of_the_switch_are_one_layer(name, shape, last):
    found = []
    for context in (contextlib.nullcontext(), fast.plain()):
        with context:
            y = batch(shape).float()
            y = (y.movedim(1, -1).contiguous().movedim(-1, 1) if last else y).requires_grad_()
            layer = LAYERS[name](shape[1])
            z = layer(y)
            z.pow(3).sum().backward()
            found.append([z, y.grad, *(value.grad for value in layer.parameters()), *layer.buffers()])
    for one, other in zip(*found):
        torch.testing.assert_close(one, other, rtol=2e-5, atol=2e-5 * other.abs().max().item())


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda: make_norm("rmsnorm", 3, Noise(), 0), "norm.*'rmsnorm'.*batchnorm"),
        (lambda: LpNorm(3, 3), "p is 3"),
        (lambda: LpNorm(3, 1, "mean"), "formula is 'mean'.*unit, sum, sample"),
        (lambda: BatchNorm(0), "channels"),
        (lambda: Noise(n_mu=-1), "n_mu"),
        (lambda: Noise(n_sigma=0.5), "n_sigma"),
        (lambda: Noise(r_sigma=float("nan")), "r_sigma"),
        (lambda: BatchNorm(3)(torch.zeros(4, 2)), r"\(4, 2\)"),
        (lambda: LpNorm(3, 1)(torch.zeros(4)), "must be"),
        (lambda: LpNorm(3, 1)(torch.zeros(4, 3, dtype=torch.int64)), "int64.*float"),
    ],
)
def test_bad_input_is_named(make, named):
    with pytest.raises(UsageError, match=named):
        make()
