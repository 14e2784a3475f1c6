"""Controls of the landscape probe against brute force, and the mistakes against what they should be."""

import copy
import math

import pytest
import torch
from curvlinops import HessianLinearOperator
from torch import nn
from torch.nn import functional as F

from lib import probes
from lib.errors import UsageError
from lib.models import resnet, vgg
from lib.norms import EPS, BatchNorm
from lib.probes import controls, precision
from lib.records import layout
from lib.specs import ImageSpec

LENGTHS = (0.5, 2.0)
SPEC = ImageSpec(norm="batchnorm", width=1 / 32, depth=7, precision="float64", train_images=64, batch_size=8)


def images(seed=0):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(8, 3, 32, 32, generator=generator, dtype=torch.float64)
    return x, torch.randint(0, 10, (8,), generator=generator)


def network(**changes):
    model = vgg(SPEC.but(**changes)).train()
    for _ in range(3):  # running statistics that are not the batch's
        model(images(9)[0].to(next(model.parameters()).dtype))
    return model


def moved(model, direction, distance):
    other = copy.deepcopy(model)
    with torch.no_grad():
        for parameter, part in zip(other.parameters(), direction):
            parameter -= distance * part
    return other


def gradient(model, x, y):
    return torch.cat([g.flatten() for g in probes.gradients(model, F.cross_entropy, x, y)[1]])


@pytest.fixture
def measured():
    model, batch, fresh = network(), images(1), images(2)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    point = probes.Point.at(model, F.cross_entropy, *batch, 0.1)
    found = controls.measure(point, fresh, LENGTHS, seed=3)
    after = model.state_dict()
    assert model.training and all(torch.equal(after[name], value) for name, value in before.items())
    found = {name.removeprefix("control_"): value for name, value in found.items()}
    assert found.keys() == {*layout.CONTROLS_PER_LENGTH, *layout.CONTROLS_PER_STEP}
    return model, batch, fresh, point.grads, found


def test_each_control_by_deep_copies(measured):
    model, (x, y), fresh, grads, found = measured
    g = torch.cat([part.flatten() for part in grads])
    random = controls.random_direction(grads, 3)
    assert probes.norm(random).item() == pytest.approx(g.norm().item())
    total = g.clone()
    for index, length in enumerate(LENGTHS):
        there = gradient(moved(model, random, 0.1 * length), x, y)
        assert found["random_change"][index].item() == pytest.approx((there - g).norm().item())
        ahead = moved(model, grads, 0.1 * length)
        elsewhere = gradient(ahead, *fresh) - gradient(copy.deepcopy(model), *fresh)
        assert found["fresh_change"][index].item() == pytest.approx(elsewhere.norm().item())
        total += gradient(ahead, x, y)
        assert found["accumulated_change"][index].item() == pytest.approx((total - g).norm().item())
        own = gradient(copy.deepcopy(model).eval(), x, y)
        pieces = [part.view_as(p) for part, p in zip(own.split([p.numel() for p in grads]), grads)]
        change = gradient(moved(model, pieces, 0.1 * length).eval(), x, y) - own
        assert found["evaluation_change"][index].item() == pytest.approx(change.norm().item())
    assert found["evaluation_norm"].item() == pytest.approx(own.norm().item())
    step = gradient(moved(model, grads, 0.1), *fresh) - g
    assert found["step_change"].item() == pytest.approx(step.norm().item())


def test_frozen_statistics_are_the_batchs_and_constant():
    model, (x, y) = network(), images(1)
    expected = copy.deepcopy(model)(x)
    with controls.frozen_statistics(probes.Point.at(model, F.cross_entropy, x, y, 0.1)):
        torch.testing.assert_close(model(x), expected)
        frozen = gradient(model, x, y)
        half = model(x[:4])  # no longer a function of the whole batch
        torch.testing.assert_close(half, expected[:4])
    assert (frozen - gradient(model, x, y)).norm() > 1e-3 * frozen.norm()


def test_frozen_gradient_is_that_of_an_affine_layer():
    layer = nn.Sequential(BatchNorm(3).double())
    y = images(1)[0].flatten(1)[:, :3].requires_grad_()
    with controls.frozen_statistics(probes.Point.at(layer, lambda z, _: z.sum(), y, None, 0.1)):
        (got,) = torch.autograd.grad((layer(y) ** 2).sum(), y)
    centred = y - y.mean(0)
    expected = 2 * centred / (y.var(0, correction=0) + EPS)
    torch.testing.assert_close(got, expected.detach())


def test_top_eigenvalue_is_the_hessians():
    model, (x, y) = network(), images(1)
    got = controls.top_eigenvalue(probes.Point.at(model, F.cross_entropy, x, y, 0.1), tolerance=1e-8)
    small = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 10)).double()
    inputs = x.flatten(1)[:, :3]
    names = [name for name, _ in small.named_parameters()]

    def loss(vector):
        parts = vector.split([p.numel() for p in small.parameters()])
        values = {name: part.view_as(p) for name, part, p in zip(names, parts, small.parameters())}
        return F.cross_entropy(torch.func.functional_call(small, values, inputs), y)

    start = torch.cat([p.detach().flatten() for p in small.parameters()])
    exact = torch.linalg.eigvalsh(torch.autograd.functional.hessian(loss, start))[-1].item()
    point = probes.Point.at(small, F.cross_entropy, inputs, y, 0.1)
    assert controls.top_eigenvalue(point, 1e-8) == pytest.approx(exact, rel=1e-6)
    # The convolutional network against curvlinops, by powers of a vector.
    parameters = list(model.parameters())
    operator = HessianLinearOperator(model, nn.CrossEntropyLoss(), parameters, [(x, y)], check_deterministic=False)
    vector = torch.randn(operator.shape[0], dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    for _ in range(300):  # shifted, so that the largest and not the most negative one wins
        vector = operator @ vector + abs(got) * vector
        vector /= vector.norm()
    assert got == pytest.approx((vector @ (operator @ vector)).item(), rel=1e-2)


def test_an_eigenvalue_that_lanczos_does_not_reach_is_nan():
    model, x = nn.Linear(1, 2_000, bias=False).double(), torch.ones(1, 1, dtype=torch.float64)
    curvatures = torch.linspace(1, 2, 2_000, dtype=torch.float64)  # so near to one another that they are hard to part

    def loss(z, y):
        return (curvatures * z.square()).sum() / 2

    point = probes.Point.at(model, loss, x, x, 0.1)
    assert controls.top_eigenvalue(point, tolerance=1e-2) == pytest.approx(2, rel=1e-2)
    assert math.isnan(controls.top_eigenvalue(point, tolerance=1e-14))


def test_precision_errors_grow_with_coarseness():
    model, (x, y) = network(precision="float32", norm="none"), images(1)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    point = probes.Point.at(model, F.cross_entropy, x.float(), y, 0.1)
    errors = {name.removeprefix("error_"): value for name, value in precision.precision_errors(point, LENGTHS).items()}
    assert all(torch.equal(model.state_dict()[name], value) for name, value in before.items())
    for name in layout.COMPARED:
        single, tf32, half = errors[name]
        assert single.max() < 1e-2 and (single < half).all() and (single < tf32).all()
    single, tf32, half = sum(errors.values()).sum(1)  # one by one they are a matter of chance
    assert 10 * single < tf32 < half


def test_tf32_keeps_ten_bits():
    ulp = 2.0**-10
    given = [
        1,
        1 + ulp,
        1 + 0.49 * ulp,
        1 + 0.5 * ulp,
        -1 - 0.5 * ulp,
        2 - 0.5 * ulp,
        3e-39,
        0.0,
        math.inf,
        -math.inf,
        math.nan,
    ]
    kept = [1, 1 + ulp, 1, 1 + ulp, -1 - ulp, 2, 3e-39, 0.0, math.inf, -math.inf, math.nan]
    found = precision.to_tf32(torch.tensor(given))
    torch.testing.assert_close(found, torch.tensor(kept), rtol=0, atol=1e-41, equal_nan=True)
    values = torch.randn(1000, generator=torch.Generator().manual_seed(0)) * 2.0 ** torch.arange(-50, 50).repeat(10)
    mantissa, exponent = torch.frexp(values.double())  # in [1/2, 1): eleven bits with the leading one
    exact = torch.ldexp(torch.floor(mantissa.abs() * 2**11 + 0.5) / 2**11 * mantissa.sign(), exponent)
    assert torch.equal(precision.to_tf32(values).double(), exact)


@pytest.mark.parametrize(
    "layer, multiply",
    [
        (nn.Conv2d(3, 4, 3, padding=1), lambda x, w: F.conv2d(x, w, padding=1)),
        (nn.Linear(32, 5), lambda x, w: x @ w.T),
    ],
)
def test_tf32_rounds_the_factors_of_every_product_and_nothing_else(layer, multiply):
    x = images()[0].float().requires_grad_()
    g = torch.randn(layer(x).shape, generator=torch.Generator().manual_seed(1))
    with precision._arithmetic("tf32", "cpu"):
        z = layer(x)
        found = torch.autograd.grad(z, [x, layer.weight, layer.bias], g)
    # In float64 products of eleven-bit factors are exact.
    exact = [precision.to_tf32(value.detach()).double().requires_grad_() for value in (x, layer.weight)]
    product = multiply(*exact)
    expected = torch.autograd.grad(product, exact, precision.to_tf32(g).double())
    bias = layer.bias.view(-1, 1, 1) if z.shape[1] == 4 else layer.bias
    rest = [dim for dim in range(4) if dim != (1 if z.shape[1] == 4 else 3)]
    for one, other in zip((z, *found), (product + bias, *expected, g.double().sum(rest))):
        assert (one - other).norm() < 1e-5 * other.norm()  # rounding the factors makes 3e-4
    assert (layer(x) - z).abs().max() > 1e-4, "outside, products are float32's"


@pytest.mark.parametrize(
    "multiply, shapes",
    [
        (torch.bmm, [(2, 3, 8), (2, 8, 4)]),
        (torch.mv, [(3, 8), (8,)]),
        (torch.dot, [(8,), (8,)]),
        (lambda a, b: torch.baddbmm(torch.zeros(2, 3, 4, dtype=a.dtype), a, b), [(2, 3, 8), (2, 8, 4)]),
        (lambda a, b: torch.addmv(torch.zeros(3, dtype=a.dtype), a, b), [(3, 8), (8,)]),
        (F.conv1d, [(2, 3, 9), (4, 3, 3)]),
    ],
)
def test_products_of_every_shape_are_rounded(multiply, shapes):
    generator = torch.Generator().manual_seed(0)
    factors = [torch.randn(shape, generator=generator) for shape in shapes]
    with precision._arithmetic("tf32", "cpu"):
        found = multiply(*factors)
    expected = multiply(*(precision.to_tf32(factor).double() for factor in factors))
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-5)
    assert (found - multiply(*factors)).abs().max() > 1e-4


def test_a_product_that_has_no_tf32_is_not_made_unseen():
    with precision._arithmetic("tf32", "cpu"), pytest.raises(UsageError, match="_trilinear makes products.*GPU"):
        nn.Bilinear(3, 3, 2)(torch.ones(2, 3), torch.ones(2, 3))


def test_resnet_starts_from_the_same_weights_whatever_the_norm():
    spec = SPEC.but(architecture="resnet", depth=8)
    one, other = resnet(spec), resnet(spec.but(norm="none"))
    weights = [
        {name: p for name, p in model.named_parameters() if "norm" not in name and not name.startswith("1.")}
        for model in (one, other)
    ]
    assert weights[0].keys() == weights[1].keys()
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    assert sum(isinstance(module, nn.Conv2d) for module in one.modules()) == 9  # 7 and two shortcuts
    assert one(images()[0]).shape == (8, 10)
