"""Deep linear networks by their moments, against the plain network and its samples."""

import pytest
import torch

from lib import linear
from lib.data import gaussian_regression
from lib.linear import LinearProblem
from lib.models import deep_linear
from lib.specs import LinearSpec

NORMS = ("none", "batchnorm", "l1", "l2", "linf")
SPEC = LinearSpec(layers=6, dim=4, samples=50, seeds=3, step_size=1e-4, step_lengths=(0.1, 1.0, 5.0))


def plain(spec, seed, values=None):
    """Loss and gradient [k, d, d] of the plain network by autograd, at its own or other weights."""
    model, (x, y) = deep_linear(spec, seed), gaussian_regression(seed, spec.samples, spec.dim)
    if values is not None:
        with torch.no_grad():
            for layer, value in zip(model, values):
                layer[0].weight.copy_(value)
    loss = (model(x) - y).square().sum()
    loss.backward()
    return loss.detach(), torch.stack([layer[0].weight.grad for layer in model])


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("gamma", [1.0, 1.25])
def test_loss_and_gradient_are_those_of_the_samples(norm, gamma):
    spec = SPEC.but(norm=norm, gamma=gamma)
    problem = LinearProblem(spec)
    loss, gradient = problem.gradient(problem.weights)
    torch.testing.assert_close(loss, problem.loss(problem.weights))
    for seed in range(spec.seeds):
        expected, slope = plain(spec, seed)
        torch.testing.assert_close(loss[seed], expected, rtol=1e-11, atol=0)
        torch.testing.assert_close(gradient[:, seed], slope, rtol=1e-9, atol=1e-9 * slope.abs().max().item())


@pytest.mark.parametrize("norm", NORMS)
def test_gradient_by_finite_differences(norm):
    problem = LinearProblem(SPEC.but(norm=norm, seeds=1))
    w = problem.weights
    _, gradient = problem.gradient(w)
    direction = torch.randn(w.shape, dtype=w.dtype, generator=torch.Generator().manual_seed(0))
    eps = 1e-6
    slope = (problem.loss(w + eps * direction) - problem.loss(w - eps * direction)) / (2 * eps)
    assert slope.item() == pytest.approx((gradient * direction).sum().item(), rel=1e-5)


@pytest.mark.parametrize("norm", NORMS)
def test_landscape_is_the_plain_networks(norm):
    spec = SPEC.but(norm=norm)
    problem = LinearProblem(spec)
    _, gradient = problem.gradient(problem.weights)
    loss, change = linear.landscape(problem, problem.weights, gradient)
    for index, length in enumerate(spec.step_lengths):
        moved = problem.weights[:, 1] - length * spec.step_size * gradient[:, 1]
        expected, there = plain(spec, 1, moved)
        torch.testing.assert_close(loss[index, 1], expected, rtol=1e-9, atol=0)
        torch.testing.assert_close(change[index, 1], (there - gradient[:, 1]).norm(), rtol=1e-7, atol=0)


@pytest.mark.parametrize("norm", NORMS)
def test_covariate_shift_is_definition_2_1(norm):
    spec = SPEC.but(norm=norm)
    problem = LinearProblem(spec)
    _, gradient = problem.gradient(problem.weights)
    l2, cosine = linear.covariate_shift(problem, problem.weights, gradient)
    old = problem.weights[:, 2]
    new = old - spec.step_size * gradient[:, 2]
    for layer in range(spec.layers):
        _, there = plain(spec, 2, torch.cat([new[:layer], old[layer:]]))
        before, after = gradient[layer, 2].flatten(), there[layer].flatten()
        scale = before.norm().item()
        torch.testing.assert_close(l2[layer, 2], (after - before).norm(), rtol=1e-6, atol=1e-10 * scale)
        torch.testing.assert_close(cosine[layer, 2], after @ before / after.norm() / before.norm())
    assert cosine[0] == pytest.approx(torch.ones(3)) and l2[1:].min() > 0


def test_l2_is_batchnorm_but_for_the_first_layer():
    two, batch = (LinearProblem(SPEC.but(norm=norm)) for norm in ("l2", "batchnorm"))
    deeper = [problem._forward(problem.weights)[2] for problem in (two, batch)]
    first = [norms[0][1] for norms in deeper]
    assert not torch.allclose(*first)
    for one, other in zip(deeper[0][1:], deeper[1][1:]):
        torch.testing.assert_close(one[0].norm(dim=-1), other[0].norm(dim=-1))


def test_activations_are_the_plain_networks():
    spec = SPEC.but(norm="l1")
    problem = LinearProblem(spec)
    got = problem.activations(problem.weights, unit=1)
    x, _ = gaussian_regression(2, spec.samples, spec.dim)
    h = x
    for index, layer in enumerate(deep_linear(spec, 2)[:-1]):
        h = layer(h)
        torch.testing.assert_close(got[index, 2], h[:, 1].detach())
