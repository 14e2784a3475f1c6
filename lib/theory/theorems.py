"""The theorems, the observation, the lemma and the sentences around them, checked as they are printed."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from lib.theory import formulas
from lib.theory.equations import CHECKS as EQUATIONS
from lib.theory.equations import maximal_gradient, random_inputs_excess
from lib.theory.evidence import Evidence, excess, relative
from lib.theory.formulas import dot, form
from lib.theory.samples import PIECEWISE_LINEAR, Landscapes, Layers, Numbers

GROWTH_TOLERANCE = 0.25


def theorem_4_1(layers: Layers) -> Evidence:
    sides = formulas.lipschitz(layers.y, layers.g, layers.gamma, layers.eps)
    lhs = dot(layers.v, layers.v)
    return Evidence(excess(lhs, sides.printed, sides.scale), relative(lhs - sides.corrected, sides.scale))


def theorem_4_2_first(layers: Layers) -> Evidence:
    first, _, _ = formulas.smoothness(layers.y, layers.g, layers.H, layers.gamma, layers.eps)
    lhs = form(layers.v, layers.Q)
    return Evidence(excess(lhs, first.printed, first.scale), relative(lhs - first.corrected, first.scale))


def theorem_4_2_second(layers: Layers) -> Evidence:
    """The two sides differ by (gamma/s)^2 (g^T H g - v^T H v), which `corrected` checks at eps = 0.

    That H preserves the relative norms of g and v is read as: v^T H v and g^T H g are ordered as |v| and |g| are.
    """
    first, second, _ = formulas.smoothness(layers.y, layers.g, layers.H, layers.gamma, layers.eps)
    lhs = form(layers.v, layers.Q)
    ratio = (layers.gamma / layers.s) ** 2
    forms, norms = (
        form(layers.g, layers.H) - form(layers.v, layers.H),
        dot(layers.g, layers.g) - dot(layers.v, layers.v),
    )
    gap = relative(second.printed - lhs - ratio * forms - first.printed + first.corrected, second.scale)
    smaller = layers.gamma.abs() <= layers.s  # so that |v| <= |g|
    return Evidence(excess(lhs, second.printed, second.scale), gap, smaller, domain=forms * norms >= 0)


def theorem_4_4(layers: Layers) -> Evidence:
    sides = formulas.weight_lipschitz(layers.y, layers.g, layers.gamma, layers.bound, layers.eps)
    lhs = maximal_gradient(layers, True)
    above = random_inputs_excess(layers, layers.v, sides.corrected, sides.scale)
    gap = torch.maximum(relative(lhs - sides.corrected, sides.scale), above)
    return Evidence(excess(lhs, sides.printed, sides.scale), gap)


def theorem_c_1(layers: Layers) -> Evidence:
    """The paper's hypothesis is Theorem 4.2's condition.

    Ours: the exact maximum (58), and the value at X X^T = bound^2 I.
    """
    sides = formulas.weight_smoothness(layers.y, layers.g, layers.H, layers.gamma, layers.bound, layers.eps)
    _, _, condition = formulas.smoothness(layers.y, layers.g, layers.H, layers.gamma, layers.eps)
    at_identity = relative(layers.bound**4 * form(layers.v, layers.Q) - sides.corrected, sides.scale)
    gap = torch.maximum(at_identity, EQUATIONS["58"](layers).corrected)
    return Evidence(excess(sides.lhs, sides.printed, sides.scale), gap, domain=condition)


def observation_activations(layers: Layers) -> Evidence:
    """gamma = sigma and beta = mean give z = y: printed with sigma itself, corrected with sqrt(sigma^2 + eps)."""
    sigma, size = layers.y.std(-1, correction=0), layers.y.norm(dim=-1)
    gamma, beta = formulas.matching_constants(layers.y, layers.eps)
    printed, fixed = (formulas.batchnorm(layers.y, a, beta, layers.eps) - layers.y for a in (sigma, gamma))
    return Evidence(relative(printed, size, 1), relative(fixed, size, 1))


def _at_minimum(spaces: Landscapes, w: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Three measures of BatchNorm's loss around weights w.

    They are |gradient| relative to its parts, how far the Hessian is from PSD, and dLhat/d(gamma, beta).
    """
    y = (spaces.x @ w[..., None])[..., 0]
    z = formulas.batchnorm(y, spaces.gamma, spaces.beta, spaces.eps)
    g = (spaces.A @ (z - spaces.t)[..., None])[..., 0]
    v = formulas.gradient(y, g, spaces.gamma, spaces.eps)
    Q = spaces.x.mT @ formulas.hessian(y, g, spaces.A, spaces.gamma, spaces.eps) @ spaces.x
    ratio = (spaces.gamma / formulas.normalize(y, spaces.eps)[1]).abs()
    size = ratio * g.norm(dim=-1) * spaces.x.norm(dim=(-1, -2))
    slope = relative((spaces.x.mT @ v[..., None])[..., 0], size, 1)
    # With one weight and a bias the landscape is flat and Q all rounding: compare with the parts of Q.
    parts = ratio * (ratio * spaces.A.norm(dim=(-1, -2)) + g.norm(dim=-1) / formulas.normalize(y, spaces.eps)[1])
    lowest = torch.linalg.eigvalsh(Q)[..., 0].clamp_max(0)
    negative = relative(lowest, parts * spaces.x.norm(dim=(-1, -2)) ** 2)
    return slope, negative, torch.stack(formulas.own_gradients(y, g, spaces.eps), -1).abs().amax(-1) / g.norm(dim=-1)


def observation_minima(spaces: Landscapes) -> Evidence:
    """W*, the minimum without a norm, in the landscape with matching constants: stationary, no downward curvature.

    With a bias the gradients of gamma and beta vanish as well, so it stays a minimum where they are trained.
    """
    slope, negative, own = _at_minimum(spaces, spaces.w_star)
    own = torch.where(spaces.bias & spaces.matched, own, 0.0)
    gap = torch.stack([slope, negative, own]).amax(0)
    return Evidence(gap, condition=spaces.bias, domain=spaces.matched)


def batchnorm_optimum(spaces: Landscapes) -> Tensor:
    """The direction [N, d] of BatchNorm's optima for the squared error (A = I): its positive multiples, with any bias.

    |z - t| depends on the weights by the correlation of z and t alone, and that is largest for regression on centred
    inputs.
    """
    x, t = (a - a.mean(1, keepdim=True) for a in (spaces.x, spaces.t))
    return (torch.linalg.pinv(x, rtol=1e-10) @ t[..., None])[..., 0] * torch.sign(spaces.gamma)[:, None]


def lemma_4_5(spaces: Landscapes) -> Evidence:
    """The distance from W0 to BatchNorm's nearest optimum, in closed form, against the lemma's bound."""
    r = batchnorm_optimum(spaces)
    free = torch.zeros_like(r)
    free[:, -1] = spaces.bias.double()  # the norm ignores the bias
    start, star = spaces.w0 * (1 - free), spaces.w_star * (1 - free)
    along = dot(start, r).clamp_min(0) / r.norm(dim=-1)
    distance = dot(start, start) - along**2
    k, nearest, bound = formulas.initialization(spaces.w0, spaces.w_star)
    size = dot(spaces.w0, spaces.w0) + dot(spaces.w_star, spaces.w_star)
    condition = dot(star, r) > (1 - 1e-9) * star.norm(dim=-1) * r.norm(dim=-1)
    optimal = [_at_minimum(spaces, w)[i] for w in (r, k[:, None] * spaces.w_star) for i in (0, 1)]
    kept = torch.stack(
        [*(gap for gap in optimal[:2]), *(torch.where(condition, gap, 0.0) for gap in optimal[2:])]
    ).amax(0)
    ours = torch.where(condition, excess(distance, bound, size), 0.0)
    gap = torch.stack([kept, ours, relative(nearest - bound, size)]).amax(0)
    return Evidence(excess(distance, bound, size), gap, condition)


def same_loss_gradient(layers: Layers) -> Evidence:
    """dLhat/dz = dL/dy, taken at z and at y = X w, for networks that are the same up to the norm."""
    size = layers.g.norm(dim=-1) + layers.g_plain.norm(dim=-1)
    same = (layers.z - layers.y).norm(dim=-1) < 1e-12 * layers.y.norm(dim=-1)
    return Evidence(relative(layers.g - layers.g_plain, size, 1), condition=same | (layers.loss == "linear"))


def smaller_gradient(layers: Layers) -> Evidence:
    size = layers.g.norm(dim=-1)
    rise = excess(layers.v.norm(dim=-1), size, size)
    return Evidence(rise, condition=layers.gamma.abs() <= layers.s)


def reduction_without_scaling(layers: Layers) -> Evidence:
    """At gamma = s, |dLhat/dy| < |g|: the residual is 1 where nothing is removed. Cases with g = 0 say nothing."""
    total = dot(layers.g, layers.g)
    removed = 1 - dot(layers.v, layers.v) / total.clamp_min(1e-300)
    matched = (layers.gamma - layers.s).abs() < 1e-12 * layers.s
    return Evidence((removed < 1e-12).double(), domain=matched & (total > 1e-20))


def positive_semidefinite(layers: Layers) -> Evidence:
    lowest = torch.linalg.eigvalsh(layers.H)[..., 0]
    gap = relative(lowest.clamp_max(0), torch.linalg.matrix_norm(layers.H))
    every = torch.ones(len(lowest), dtype=torch.bool)
    return Evidence(
        gap, condition=every & ("and BatchNorm" not in layers.loss), domain=every & (layers.loss in PIECEWISE_LINEAR)
    )


def more_predictive(layers: Layers) -> Evidence:
    """v^T Q v <= g^T H g where both forms of H and gamma <g, yhat> are non-negative."""
    bn, plain = form(layers.v, layers.H), form(layers.g, layers.H)
    _, second, smaller = formulas.smoothness(layers.y, layers.g, layers.H, layers.gamma, layers.eps)
    domain = (bn >= 0) & (plain >= 0) & (layers.gamma * dot(layers.g, layers.yhat) >= 0)
    size = second.scale + torch.linalg.matrix_norm(layers.H) * dot(layers.g, layers.g)
    condition = smaller & (layers.gamma.abs() <= layers.s)
    return Evidence(excess(form(layers.v, layers.Q), plain, size), None, condition, domain)


def scale_invariance(layers: Layers) -> Evidence:
    factor = 0.1 + 5 * torch.linspace(0, 1, len(layers.y), dtype=torch.float64)
    difference = formulas.normalize(factor[:, None] * layers.y, layers.eps)[0] - layers.yhat
    return Evidence(relative(difference, torch.ones_like(factor), 1))


def own_gradients(layers: Layers) -> Evidence:
    mine = torch.stack(formulas.own_gradients(layers.y, layers.g, layers.eps), -1)
    return Evidence(relative(mine - layers.own, layers.g.norm(dim=-1) * layers.y.shape[-1] ** 0.5, 1))


def _normal(numbers: Numbers, m: int) -> Callable[[], Tensor]:
    generator = torch.Generator().manual_seed(numbers.seed)
    return lambda: torch.randn(numbers.count, m, dtype=torch.float64, generator=generator)


def quadratic_growth(numbers: Numbers) -> Evidence:
    """The exponent of m in <1, g>^2, m = 64 to 1,024, for per-sample gradients with mean 2 or 0, summed or averaged.

    The residual is the exponent's distance from 2, and up to 0.25 counts as quadratic: that is the noise of the fit.
    """
    family = torch.arange(numbers.count) % 4
    draws = _normal(numbers, 1024)() + 2.0 * (family < 2)[:, None]
    squares = []
    for m in (64, 1024):
        weight = torch.where(family % 2 == 0, 1.0, 1 / m)
        squares.append((draws[:, :m].sum(1) * weight) ** 2)
    exponent = (squares[1] / squares[0]).log2() / 4
    return Evidence((exponent - 2).abs(), condition=family == 0, tolerance=GROWTH_TOLERANCE)


def bounded_away(numbers: Numbers) -> Evidence:
    """<g, yhat> != 0 for the squared error, at random (gamma, beta) or, every second case, at their optimum."""
    draw = _normal(numbers, 6)
    yhat, _ = formulas.normalize(draw())
    t, random = draw(), draw()
    trained = torch.arange(numbers.count) % 2 == 0
    gamma = torch.where(trained, dot(t, yhat) / 6, random[:, 0])
    beta = torch.where(trained, t.mean(1), random[:, 1])
    g = gamma[:, None] * yhat + beta[:, None] - t
    vanishes = dot(g, yhat) ** 2 < 1e-20 * 6 * dot(g, g)
    return Evidence(vanishes.double())


def towards_minimum(numbers: Numbers) -> Evidence:
    """<g, yhat> > 0 for L = |z - t|^2 / 2, whose negative gradient points straight at its minimum t."""
    draw = _normal(numbers, 6)
    yhat, _ = formulas.normalize(draw())
    t, random = draw(), draw()
    gamma = random[:, 0].abs()
    g = gamma[:, None] * yhat + random[:, 1:2] - t
    gap = relative(dot(g, yhat).clamp_max(0), g.norm(dim=-1))
    return Evidence(gap)
