"""Deep linear networks by their moments, against the plain network and its samples."""

import multiprocessing

import numpy as np
import pytest
import torch
import xarray as xr

from lib import fast
from lib.data import gaussian_regression
from lib.fast import kernels
from lib.models import deep_linear, linear, moments
from lib.models.moments import LinearProblem
from lib.runs.training import run
from lib.specs import LinearSpec

NORMS = ("none", "batchnorm", "l1", "l2", "linf")
SPEC = LinearSpec(layers=6, dim=4, samples=50, seeds=3, step_size=1e-4, step_lengths=(0.1, 1.0, 5.0))


def plain(spec, seed, values=None):
    """Loss and gradient of the plain network by autograd, at its own or other weights.

    Weights and gradient are [k, d, d], or with trained scales [k, d, d + 2].
    """
    model, (x, y) = deep_linear(spec, seed), gaussian_regression(seed, spec.samples, spec.dim)
    if values is not None:
        with torch.no_grad():
            for layer, value in zip(model, values):
                layer[0].weight.copy_(value[:, : spec.dim])
                if spec.affine and len(layer) > 1:
                    layer[1].gamma.copy_(value[:, -2])
                    layer[1].beta.copy_(value[:, -1])
    loss = (model(x) - y).square().sum()
    loss.backward()
    slopes = [layer[0].weight.grad for layer in model]
    if spec.affine:
        none = torch.zeros(spec.dim, 2, dtype=torch.float64)
        scales = [
            torch.stack([layer[1].gamma.grad, layer[1].beta.grad], -1) if len(layer) > 1 else none for layer in model
        ]
        slopes = [torch.cat(pair, -1) for pair in zip(slopes, scales)]
    return loss.detach(), torch.stack(slopes)


def test_the_targets_are_a_times_x_and_not_its_transpose():
    # The order of the draws is part of every record: x first, then A.
    generator = torch.Generator().manual_seed(3)
    x, a = (torch.randn(*shape, generator=generator, dtype=torch.float64) for shape in ((40, 5), (5, 5)))
    found = gaussian_regression(3, 40, 5)
    assert torch.equal(found[0], x)
    for n in range(40):
        torch.testing.assert_close(found[1][n], a @ x[n])


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
@pytest.mark.parametrize("dim", [1, 2, 5, 6, 10, 13])  # loops take three columns and five units at a time
def test_any_dimension(norm, dim):
    spec = SPEC.but(norm=norm, dim=dim, layers=3, seeds=2)
    problem = LinearProblem(spec)
    loss, gradient = problem.gradient(problem.weights)
    for seed in range(spec.seeds):
        expected, slope = plain(spec, seed)
        torch.testing.assert_close(loss[seed], expected, rtol=1e-11, atol=1e-20)
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


@pytest.mark.parametrize("norm", NORMS[1:])
@pytest.mark.parametrize(
    "other", [{"norm_last": True}, {"affine": True, "gamma": 1.25}, {"affine": True, "norm_last": True}]
)
def test_a_last_norm_and_trained_scales_are_the_plain_networks(norm, other):
    spec = SPEC.but(norm=norm, **other)
    problem = LinearProblem(spec)
    moved = torch.randn(problem.weights.shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    weights = problem.weights + 0.3 * moved  # no scale is 1 and no shift 0
    loss, gradient = problem.gradient(weights)
    torch.testing.assert_close(loss, problem.loss(weights))
    _, shift_from = problem.gradient(weights)
    l2, cosine = moments.covariate_shift(problem, weights, shift_from)
    new = weights - spec.step_size * gradient
    for seed in range(spec.seeds):
        expected, slope = plain(spec, seed, weights[:, seed])
        torch.testing.assert_close(loss[seed], expected, rtol=1e-10, atol=0)
        torch.testing.assert_close(gradient[:, seed], slope, rtol=1e-8, atol=1e-9 * slope.abs().max().item())
        _, there = plain(spec, seed, torch.cat([new[:3, seed], weights[3:, seed]]))
        before, after = (values[3, :, : spec.dim] for values in (slope, there))
        torch.testing.assert_close(l2[3, seed], (after - before).norm(), rtol=1e-6, atol=0)
    start, slope = plain(spec, 0)
    torch.testing.assert_close(
        problem.gradient(problem.weights)[1][:, 0], slope, rtol=1e-8, atol=1e-9 * slope.abs().max().item()
    )
    assert start > 0 and cosine.isfinite().all()


def test_glorots_normal_weights_have_the_variance_of_the_uniform_ones():
    uniform, normal = (
        moments.LinearProblem(LinearSpec(initialization=name, dim=40, layers=40, samples=50, seeds=1)).weights
        for name in ("uniform", "normal")
    )
    assert uniform.abs().max() <= (6 / 80) ** 0.5 < normal.abs().max()
    for weights in (uniform, normal):
        assert weights.var().item() == pytest.approx(1 / 40, rel=0.02)


@pytest.mark.parametrize("norm", ["none", "batchnorm"])
def test_modes_are_those_of_the_outputs_over_the_batch(norm):
    """The best fit of rank r has r shares of 1 and no others."""
    spec = SPEC.but(norm=norm)
    problem = LinearProblem(spec)
    found = problem.modes(problem.weights)
    x, y = gaussian_regression(1, spec.samples, spec.dim)
    outputs = deep_linear(spec, 1)(x).detach()
    ours, theirs = (np.linalg.svd((v - v.mean(0)).numpy(), compute_uv=False) for v in (outputs, y))
    np.testing.assert_allclose(found[:, 1], ours / theirs, rtol=1e-8)
    problem.weights[2, 0] = torch.nan
    broken = problem.modes(problem.weights)
    assert broken[:, 0].isnan().all() and broken[:, 1:].isfinite().all()
    # One layer, at the best weights of rank 2.
    one = LinearProblem(LinearSpec(layers=1, dim=4, samples=50, seeds=1))
    targets, inputs = one.targets[0, :, :-1], one.inputs[0, :, :-1]
    u, s, v = torch.linalg.svd(targets, full_matrices=False)
    s[2:] = 0
    best = (u * s) @ v @ torch.linalg.inv(inputs)
    torch.testing.assert_close(one.modes(best[None, None])[:, 0], torch.tensor([1.0, 1, 0, 0], dtype=torch.float64))


def test_runs_keep_the_modes_and_never_change_what_they_had():
    spec = SPEC.but(norm="batchnorm", steps=9, landscape_every=4, shift_every=4)
    record, before = run(spec.but(modes_every=4)), run(spec)
    assert record.mode_share.dims == ("mode_step", "mode", "seed") and record.mode_step.values.tolist() == [0, 4, 8]
    xr.testing.assert_equal(record.drop_dims(["mode_step", "mode"]), before)
    np.testing.assert_allclose(record.mode_share[0], LinearProblem(spec).modes(LinearProblem(spec).weights))
    assert spec.but(modes_every=0, initialization="uniform", norm_last=False, affine=False).hash == spec.hash


@pytest.mark.parametrize("norm", NORMS)
def test_landscape_is_the_plain_networks(norm):
    spec = SPEC.but(norm=norm)
    problem = LinearProblem(spec)
    _, gradient = problem.gradient(problem.weights)
    loss, change, ahead = moments.landscape(problem, problem.weights, gradient)
    for index, length in enumerate(spec.step_lengths):
        moved = problem.weights[:, 1] - length * spec.step_size * gradient[:, 1]
        expected, there = plain(spec, 1, moved)
        torch.testing.assert_close(loss[index, 1], expected, rtol=1e-9, atol=0)
        torch.testing.assert_close(change[index, 1], (there - gradient[:, 1]).norm(), rtol=1e-7, atol=0)
        if length == 1:
            torch.testing.assert_close(ahead[0][1], expected, rtol=1e-9, atol=0)
            torch.testing.assert_close(ahead[1][:, 1], there, rtol=1e-8, atol=1e-9 * there.abs().max().item())


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("copies", [1, 3, 4])  # 3, 9 and 12 networks: spare lanes, and more than one group of eight
def test_compiled_loops_are_the_tensor_operations(norm, copies):
    problem = LinearProblem(SPEC.but(norm=norm, gamma=1.25))
    generator = torch.Generator().manual_seed(1)
    shape = (SPEC.layers, SPEC.seeds * copies, SPEC.dim, SPEC.dim)
    weights = torch.randn(shape, generator=generator, dtype=torch.float64)
    direction = problem.gradient(problem.weights)[1]
    along = problem.weights, direction, torch.tensor([1e-5, 1e-4], dtype=torch.float64), 1
    compiled = [*problem.gradient(weights), *problem.along(*along)]
    with fast.plain():
        plain = [*problem.gradient(weights), *problem.along(*along)]
    assert problem.compiled and not all(map(torch.equal, compiled, plain))  # otherwise one is compared with itself
    for ours, theirs in zip(compiled, plain):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-12 * theirs.abs().max().item())


def test_a_norm_that_has_only_a_formula_is_a_norm(monkeypatch):
    monkeypatch.setitem(linear.SIZES, "l3", lambda y: y.abs().pow(3).mean(0).pow(1 / 3))
    spec = SPEC.but(norm="l2")
    object.__setattr__(spec, "norm", "l3")
    problem = LinearProblem(spec)
    loss, gradient = problem.gradient(problem.weights)
    assert not problem.compiled
    for seed in range(spec.seeds):
        expected, slope = plain(spec, seed)
        torch.testing.assert_close(loss[seed], expected, rtol=1e-9, atol=0)
        torch.testing.assert_close(gradient[:, seed], slope, rtol=1e-8, atol=1e-9 * slope.abs().max().item())


@pytest.fixture
def threads():
    usual = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(usual)


@pytest.mark.parametrize("norm", NORMS)
def test_threads_change_no_bit(norm, threads):
    problem = LinearProblem(SPEC.but(norm=norm, step_lengths=(0.5, 1.0, 2.0, 4.0)))
    _, gradient = problem.gradient(problem.weights)

    def results() -> list[torch.Tensor]:
        loss, change, ahead = moments.landscape(problem, problem.weights, gradient)
        return [*problem.gradient(problem.weights), loss, change, *ahead]

    threads(1)
    alone = results()
    threads(3)
    for one, three in zip(alone, results()):
        assert torch.equal(one, three)
    assert len(problem._work) > 1  # more than one did work


def test_a_fork_has_threads_of_its_own(threads):
    threads(2)
    problem = LinearProblem(SPEC.but(norm="l1"))
    expected, _ = problem.gradient(problem.weights)
    with multiprocessing.get_context("fork").Pool(1) as fork:
        loss = fork.apply_async(_loss, (problem,)).get(timeout=60)
    assert torch.equal(torch.from_numpy(loss), expected)


def _loss(problem: LinearProblem) -> np.ndarray:
    return problem.gradient(problem.weights)[0].numpy()


@pytest.mark.parametrize("norm", ["l1", "linf"])
@pytest.mark.parametrize("scale", [1.0, 1e-150, 1e150])
def test_samples_that_float32_cannot_tell_apart(norm, scale):
    # Unit 0 of the first layer is zero on sample 0 to 1e-12, or as large on sample 1 as on sample 0 to 1e-12.
    spec = SPEC.but(norm=norm, seeds=1)
    problem = LinearProblem(spec)
    weights, x = problem.weights.clone(), gaussian_regression(0, spec.samples, spec.dim)[0]
    row = weights[0, 0, 0]
    if norm == "l1":
        row -= (row @ x[0] - 1e-12) * x[0] / x[0].square().sum()
    else:
        # Two largest samples: the row moves until the second catches up with the first, but for 1e-12.
        first, second = (x @ row).abs().topk(2).indices
        signs = (x @ row).sign()
        gap = signs[first] * x[first] - signs[second] * x[second]
        row -= gap * (gap @ row - 1e-12 * (x @ row).abs().max()) / gap.square().sum()
        assert set((x @ row).abs().topk(2).indices.tolist()) == {first.item(), second.item()}
    weights[0, 0] *= scale
    loss, gradient = problem.gradient(weights)
    expected, slope = plain(spec, 0, weights[:, 0])
    torch.testing.assert_close(loss[0], expected, rtol=1e-10, atol=0)
    torch.testing.assert_close(gradient[1:, 0], slope[1:], rtol=1e-7, atol=1e-9 * slope[1:].abs().max().item())
    torch.testing.assert_close(
        gradient[0, 0] * scale, slope[0] * scale, rtol=1e-7, atol=1e-9 * slope[0].abs().max().item() * scale
    )


@pytest.mark.parametrize("norm", NORMS)
def test_a_network_that_diverged_does_not_touch_the_others(norm):
    problem = LinearProblem(SPEC.but(norm=norm))
    sound, _ = problem.gradient(problem.weights)
    weights = problem.weights.clone()
    weights[2, 1] = float("nan")
    loss, gradient = problem.gradient(weights)
    assert loss[[0, 2]].tolist() == sound[[0, 2]].tolist() and gradient[:, [0, 2]].isfinite().all()
    assert loss[1].isnan() and gradient[0, 1].isnan().any()


@pytest.mark.parametrize("norm", ["none", "l1"])
def test_probing_every_step_changes_nothing(norm):
    spec = SPEC.but(norm=norm, steps=9, shift_every=0)
    often, never = (run(spec.but(landscape_every=every)).loss.values for every in (1, 0))
    assert (often == never).all()


@pytest.mark.parametrize("norm", NORMS)
def test_covariate_shift_is_definition_2_1(norm):
    spec = SPEC.but(norm=norm)
    problem = LinearProblem(spec)
    _, gradient = problem.gradient(problem.weights)
    l2, cosine = moments.covariate_shift(problem, problem.weights, gradient)
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


@pytest.mark.parametrize("width", [2, 11, 101, 1_001])
def test_products_in_float32_are_off_by_less_than_is_doubted(width):
    generator = np.random.default_rng(0)
    directions = np.stack([np.ones(width), *generator.standard_normal((4, width))])
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    # Constant vectors have rounding errors of one sign; samples along a direction have the largest sums.
    samples = np.concatenate(
        [np.full((1, width), 1 / 3), 3 * directions[1:], generator.standard_normal((200, width))]
    ).T
    y = np.empty((5, samples.shape[1]), np.float32)
    kernels._rounded_products(directions, samples.astype(np.float32), y)
    worst = abs(y - directions @ samples).max(0)
    lengths = np.linalg.norm(samples, axis=0)
    assert (worst < [kernels._doubt(width, length) for length in lengths]).all()
