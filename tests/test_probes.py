"""Probes against slow, independent computations, and their promise to leave no trace."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from lib import probes
from lib.errors import UsageError
from lib.models import vgg, weights
from lib.specs import VGGSpec

STEP = 0.1
NORMS = ("none", "batchnorm", "noisy", "l1", "l2", "linf")


@pytest.fixture(params=NORMS)
def case(request):
    """A small float64 VGG, a batch, the step's gradients and the noise state before them."""
    spec = VGGSpec(norm=request.param, width=1 / 16, depth=7, precision="float64", seed=3)
    model = vgg(spec).train()
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(16, 3, 32, 32, dtype=torch.float64, generator=generator)
    y = torch.randint(0, 10, (16,), generator=generator)
    noise = probes.NoiseState(model)
    _, grads = probes.gradients(model, F.cross_entropy, x, y)
    return model, x, y, grads, noise


def gradients_at(model, x, y, noise, values):
    """Loss and gradients of a copy of `model` with other parameter values and the step's noise."""
    other = copy.deepcopy(model)
    with torch.no_grad():
        for parameter, value in zip(other.parameters(), values):
            parameter.copy_(value)
    for mine, theirs in zip(other.modules(), model.modules()):
        if theirs in noise.calls:
            mine.calls = noise.calls[theirs]
    loss = F.cross_entropy(other(x), y)
    loss.backward()
    return loss.detach(), [parameter.grad for parameter in other.parameters()]


def test_landscape_equals_separate_copies_of_the_network(case):
    model, x, y, grads, noise = case
    lengths = (0.5, 1.0, 4.0)
    losses, changes = probes.landscape(model, F.cross_entropy, x, y, grads, noise, STEP, lengths)
    for length, loss, change in zip(lengths, losses, changes):
        values = [p - length * STEP * g for p, g in zip(model.parameters(), grads)]
        expected, there = gradients_at(model, x, y, noise, values)
        distance = torch.cat([(a - b).flatten() for a, b in zip(there, grads)]).norm()
        torch.testing.assert_close(loss, expected, rtol=1e-10, atol=0)
        torch.testing.assert_close(change, distance, rtol=1e-9, atol=0)


def test_covariate_shift_equals_definition_2_1_layer_by_layer(case):
    model, x, y, grads, noise = case
    l2, cosine = probes.covariate_shift(model, F.cross_entropy, x, y, grads, noise, STEP)
    step = dict(zip(model.parameters(), grads))
    position = {id(parameter): index for index, parameter in enumerate(model.parameters())}
    for index, weight in enumerate(weights(model)):
        moved = {id(parameter) for parameter in model[:index].parameters()}
        values = [p - STEP * step[p] if id(p) in moved else p for p in model.parameters()]
        _, there = gradients_at(model, x, y, noise, values)
        after, before = there[position[id(weight)]].flatten(), step[weight].flatten()
        torch.testing.assert_close(l2[index], (after - before).norm(), rtol=1e-9, atol=1e-13)
        torch.testing.assert_close(cosine[index], after @ before / after.norm() / before.norm(), rtol=1e-9, atol=1e-12)
    assert l2[0] == 0 and l2[1:].min() > 0


def test_probes_leave_parameters_buffers_and_random_state_bit_identical(case):
    model, x, y, grads, noise = case

    def state():
        tensors = [tensor.clone() for tensor in model.state_dict().values()]
        calls = [torch.tensor(layer.calls) for layer in probes.NoiseState(model).calls]
        return [*tensors, *calls, torch.get_rng_state()]

    before = state()
    probes.landscape(model, F.cross_entropy, x, y, grads, noise, STEP, (0.5, 4.0))
    probes.covariate_shift(model, F.cross_entropy, x, y, grads, noise, STEP)
    assert all(torch.equal(a, b) for a, b in zip(before, state(), strict=True))


def test_state_is_restored_when_a_probe_fails():
    model = nn.Sequential(nn.Sequential(nn.Linear(2, 2)))
    before = model[0][0].weight.clone()
    with pytest.raises(RuntimeError, match="broken"), probes.held(model):
        with torch.no_grad():
            model[0][0].weight.zero_()
        raise RuntimeError("broken")
    assert torch.equal(model[0][0].weight, before)


def test_landscape_of_a_quadratic_with_known_hessian():
    # loss = w H w / 2: the gradient changes by c eta H g, and beta is |H g| / |g| at every length.
    hessian = torch.diag(torch.tensor([1.0, 4.0], dtype=torch.float64))
    model = nn.Linear(2, 1, bias=False, dtype=torch.float64)

    def loss(_, __):
        return (model.weight @ hessian @ model.weight.T).squeeze() / 2

    x = torch.zeros(1, 2, dtype=torch.float64)
    noise = probes.NoiseState(model)
    value, grads = probes.gradients(model, loss, x, None)
    losses, changes = probes.landscape(model, loss, x, None, grads, noise, 0.2, (0.5, 2.0))
    g = grads[0].flatten()
    beta = probes.effective_smoothness(changes, torch.tensor([0.5, 2.0]), 0.2, g.norm())
    torch.testing.assert_close(beta, ((hessian @ g).norm() / g.norm()).expand(2))
    for length, got in zip((0.5, 2.0), losses):
        eta = 0.2 * length
        torch.testing.assert_close(got, value - eta * g @ g + eta**2 * g @ hessian @ g / 2)


@pytest.mark.parametrize("step", [0, -0.1, float("nan"), "0.1"])
def test_bad_step_sizes_are_named(case, step):
    model, x, y, grads, noise = case
    with pytest.raises(UsageError, match="step_size"):
        probes.covariate_shift(model, F.cross_entropy, x, y, grads, noise, step)
    with pytest.raises(UsageError, match="step_size"):
        probes.landscape(model, F.cross_entropy, x, y, grads, noise, step, (1.0,))


def test_activations_are_the_relu_inputs():
    spec = VGGSpec(norm="batchnorm", width=1 / 16, depth=7, precision="float64")
    model = vgg(spec).train()
    x = torch.randn(8, 3, 32, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    with probes.Activations(model, units=2, seed=0) as watched:
        model(x)
        mean, var = watched.moments()
        counts, ends = watched.histograms(bins=10)
        values = watched.values()
    assert mean.shape == var.shape == (len(model) - 1, 2)
    # BatchNorm's outputs start at mean 0 and variance 1 (up to its eps).
    torch.testing.assert_close(mean, torch.zeros_like(mean), rtol=0, atol=1e-10)
    torch.testing.assert_close(var[1:], torch.ones_like(var[1:]), rtol=2e-2, atol=0)
    assert [int(count) for count in counts.sum(-1)[:, 0]] == [value.shape[1] for value in values]
    torch.testing.assert_close(ends[0, 0], torch.stack([values[0][0].min(), values[0][0].max()]).float())
