"""Equations (1) to (62) of appendix C, each as it is printed, against automatic differentiation."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.func import grad, jacrev, vmap

from lib.theory import formulas
from lib.theory.evidence import Evidence, excess, relative
from lib.theory.formulas import dot, form, mean_part, outer
from lib.theory.samples import LOSSES, Landscapes, Layers


class Terms:
    """The letters of appendix C for N layers: c = <g, yhat>, gc = g - mean(g), M = 11^T, and sizes to compare with."""

    def __init__(self, layers: Layers) -> None:
        self.m = m = layers.y.shape[-1]
        self.I, self.M = torch.eye(m, dtype=torch.float64), torch.ones(m, m, dtype=torch.float64)
        self.gamma, self.s, self.yhat, self.g, self.H = layers.gamma, layers.s, layers.yhat, layers.g, layers.H
        self.c, self.mu, self.gc = dot(self.g, self.yhat), self.g.mean(-1), self.g - mean_part(self.g)
        self.P, self.yy = formulas.projection(self.yhat), outer(self.yhat, self.yhat)
        self.ratio = self.gamma / self.s
        self.gradient_size = self.ratio.abs() * self.g.norm(dim=-1)
        curvature = self.gamma.abs() * self.H.norm(dim=(-1, -2)) + self.g.norm(dim=-1)
        self.hessian_size = self.gamma.abs() / self.s**2 * curvature
        self.bracket = self.gc - self.yhat * (self.c / m)[:, None]  # Pg
        self.slope = -(self.gamma / (m * self.s**2))[:, None] * self.yhat  # (30)
        cI, yg = self.c[:, None, None] * self.I, outer(self.yhat, self.g)
        inverse = (1 / self.gamma)[:, None, None]
        self.A = m * self.H - self.M @ self.H - inverse * cI - self.yy @ self.H - inverse * yg  # (31)


def _column(a: Tensor) -> Tensor:
    return a[:, None, None]


def _vector(right: Callable[[Layers, Terms], Tensor]) -> Callable[[Layers], Evidence]:
    """The check that the gradient v of the normalized loss equals `right`."""

    def check(layers: Layers) -> Evidence:
        terms = Terms(layers)
        return Evidence(relative(layers.v - right(layers, terms), terms.gradient_size, 1))

    return check


def _matrix(right: Callable[[Layers, Terms], Tensor]) -> Callable[[Layers], Evidence]:
    """The check that the Hessian Q of the normalized loss equals `right`."""

    def check(layers: Layers) -> Evidence:
        terms = Terms(layers)
        return Evidence(relative(layers.Q - right(layers, terms), terms.hessian_size, 2))

    return check


def _identity(
    sides: Callable[[Layers, Terms], tuple[Tensor, Tensor, Tensor]], dims: int
) -> Callable[[Layers], Evidence]:
    """The check that two computed sides agree; `sides` gives both and their size."""

    def check(layers: Layers) -> Evidence:
        left, right, size = sides(layers, Terms(layers))
        return Evidence(relative(left - right, size, dims))

    return check


def _along_z(layers: Layers, value: Callable[[Tensor, Tensor, Tensor], Tensor]) -> Tensor:
    """The Jacobian with respect to z of value(g(z), yhat(z), gamma), by autograd [N, ..., m]."""

    def of_z(z: Tensor, gamma: Tensor, beta: Tensor, p: dict[str, Tensor]) -> Tensor:
        return value(grad(LOSSES[layers.loss])(z, p), (z - beta) / gamma, gamma)

    return vmap(jacrev(of_z))(layers.z, layers.gamma, layers.beta, layers.parameters)


def _scale_gradient(layers: Layers) -> Tensor:
    """d(gamma/sigma)/dy by autograd [N, m]."""

    def ratio(y: Tensor, gamma: Tensor, eps: Tensor) -> Tensor:
        return gamma / (y.var(correction=0) + eps).sqrt()

    return vmap(grad(ratio))(layers.y, layers.gamma, layers.eps)


def _product_rule(layers: Layers, t: Terms) -> Tensor:
    inside = _along_z(layers, lambda g, yhat, gamma: g - g.mean() - yhat * (g @ yhat) / t.m)
    return _column(t.ratio) * inside @ layers.jacobian + outer(t.bracket, _scale_gradient(layers))


def _eq_9(layers: Layers) -> Evidence:
    sides = formulas.lipschitz(layers.y, layers.g, layers.gamma, layers.eps)
    lhs = dot(layers.v, layers.v)
    return Evidence(relative(lhs - sides.printed, sides.scale), relative(lhs - sides.corrected, sides.scale))


def _eq_10(layers: Layers) -> Evidence:
    skew = outer(layers.z, layers.y)
    symmetric = torch.arange(len(layers.y)) % 2 == 0
    matrix = layers.parameters["form"] + torch.where(symmetric, 0.0, 1.0)[:, None, None] * (skew - skew.mT)
    values, vectors = torch.linalg.eigh((matrix + matrix.mT) / 2)
    attained = form(vectors[..., -1], matrix)
    size = torch.linalg.matrix_norm(matrix, 2)
    claim = torch.linalg.eigvals(matrix).real.amax(-1)
    bound = excess(form(layers.y, matrix), size * dot(layers.y, layers.y), size * dot(layers.y, layers.y))
    fixed = torch.maximum(relative(attained - values[..., -1], size), bound)
    return Evidence(relative(attained - claim, size), fixed, condition=symmetric)


def _weight_gradient(layers: Layers) -> Evidence:
    from_y = torch.einsum("nmd,nm->nd", layers.x, layers.v)
    return Evidence(relative(layers.w_grad - from_y, Terms(layers).gradient_size * layers.x.norm(dim=(-1, -2)), 1))


def _eq_15(layers: Layers) -> Evidence:
    right = form(layers.v, layers.x @ layers.x.mT)
    size = Terms(layers).gradient_size ** 2 * layers.x.norm(dim=(-1, -2)) ** 2
    return Evidence(relative(dot(layers.w_grad, layers.w_grad) - right, size))


def extremal_inputs(layers: Layers, v: Tensor) -> tuple[Tensor, Tensor]:
    """Inputs X [N, m, d] with |X|_2 <= bound that maximize |X^T v|, and where they also have X w = y [N].

    The rest that X w = y leaves free, bound^2 I - a a^T with a = y/|w|, is spent along one direction q orthogonal to w.
    """
    unit = layers.w / layers.w.norm(dim=-1, keepdim=True)
    q = torch.roll(layers.w, 1, -1)
    q = q - unit * dot(q, unit)[:, None]
    q = q / q.norm(dim=-1, keepdim=True)
    a = layers.y / layers.w.norm(dim=-1, keepdim=True)
    square = layers.bound[:, None] ** 2
    keeps = dot(a, a) < layers.bound**2
    a = torch.where(keeps[:, None], a, 0.0)
    rest = square * v - a * dot(a, v)[:, None]
    b = rest / dot(rest, v).clamp_min(1e-300).sqrt()[:, None]
    return outer(a, unit) + outer(b, q), keeps


def maximal_gradient(layers: Layers, norm: bool) -> Tensor:
    """max |dL/dW|^2 over |X|_2 <= bound at fixed y [N]: by autograd at extremal inputs that keep y, else |X^T v|^2."""
    v = layers.v if norm else layers.g_plain
    x, keeps = extremal_inputs(layers, v)
    found, direct = layers.weight_gradient(x, norm), torch.einsum("nmd,nm->nd", x, v)
    return torch.where(keeps, dot(found, found), dot(direct, direct))


def random_inputs_excess(layers: Layers, v: Tensor, value: Tensor, size: Tensor) -> Tensor:
    """How far |X^T v|^2 at the trial's own X, scaled to |X|_2 = bound, exceeds `value` [N]."""
    x = layers.x * (layers.bound / torch.linalg.matrix_norm(layers.x, 2))[:, None, None]
    direct = torch.einsum("nmd,nm->nd", x, v)
    return excess(dot(direct, direct), value, size)


def _eq_16(layers: Layers) -> Evidence:
    size = layers.bound**2 * Terms(layers).gradient_size ** 2
    right = layers.bound**2 * dot(layers.v, layers.v)
    attained = relative(maximal_gradient(layers, True) - right, size)
    return Evidence(torch.maximum(attained, random_inputs_excess(layers, layers.v, right, size)))


def _eq_17(layers: Layers) -> Evidence:
    sides = formulas.lipschitz(layers.y, layers.g, layers.gamma, layers.eps)
    square = layers.bound**2
    lhs, size = maximal_gradient(layers, True), square * sides.scale
    return Evidence(excess(lhs, square * sides.printed, size), relative(lhs - square * sides.corrected, size))


def _eq_18(layers: Layers) -> Evidence:
    square = layers.bound**2
    printed, plain = square * dot(layers.g, layers.g), square * dot(layers.g_plain, layers.g_plain)
    with_norm, without = maximal_gradient(layers, True), maximal_gradient(layers, False)
    return Evidence(relative(with_norm - printed, printed + with_norm), relative(without - plain, plain))


def _eq_34(layers: Layers) -> Evidence:
    t = Terms(layers)
    inverse = _column(1 / t.gamma)
    front, tail = _column(t.gamma**2 / (t.m * t.s**2)), outer(t.bracket, t.slope)
    rest = front * (t.A @ (t.M + t.yy) / t.m)
    printed = front * (t.A + inverse * (outer(t.yhat, t.g) - outer(t.g, t.g))) - rest + tail
    fixed = front * t.A - rest + tail
    return Evidence(*(relative(layers.Q - value, t.hessian_size, 2) for value in (printed, fixed)))


def _part(which: str) -> Callable[[Layers], Evidence]:
    """Equations (35) and (36) as printed, against (31)'s bracket times the second or third term of (33)."""

    def sides(layers: Layers, t: Terms) -> tuple[Tensor, Tensor, Tensor]:
        B = t.M if which == "M" else t.yy
        inverse, front = _column(1 / (t.m * t.gamma)), _column(t.gamma**2 / (t.m * t.s**2))
        yg = outer(t.yhat, t.g)
        inside = t.H @ B - t.M @ t.H @ B / t.m - inverse * _column(t.c) * B - t.yy @ t.H @ B / t.m - inverse * (yg @ B)
        return front * t.A @ B / t.m, front * inside, t.hessian_size

    return _identity(sides, 2)


def _collected(layers: Layers, t: Terms) -> Tensor:
    m, H, M, yy = t.m, t.H, t.M, t.yy
    first = m * H - M @ H - yy @ H - H @ M + M @ H @ M / m
    first = first + yy @ H @ M / m - H @ yy + M @ H @ yy / m + yy @ H @ yy / m
    cI = _column(t.c) * t.I
    second = outer(t.gc, t.yhat) - 3 / m * _column(t.c) * yy + (cI + outer(t.yhat, t.g)) @ (t.I - M / m)
    return _column(t.gamma / (m * t.s**2)) * (_column(t.gamma) * first - second)


def _factored(layers: Layers, t: Terms) -> Tensor:
    cross = outer(t.gc, t.yhat)
    inside = cross + cross.mT - 3 / t.m * _column(t.c) * t.yy + _column(t.c) * (t.I - t.M / t.m)
    return _column(t.ratio**2) * (t.P @ t.H @ t.P - _column(1 / (t.m * t.gamma)) * inside)


def _quadratic(right: Callable[[Layers, Terms], Tensor]) -> Callable[[Layers], Evidence]:
    def check(layers: Layers) -> Evidence:
        first, _, _ = formulas.smoothness(layers.y, layers.g, layers.H, layers.gamma, layers.eps)
        lhs = form(layers.v, layers.Q)
        return Evidence(
            relative(lhs - right(layers, Terms(layers)), first.scale), relative(lhs - first.corrected, first.scale)
        )

    return check


def _eq_48(layers: Layers, t: Terms) -> Tensor:
    a = t.gc - t.yhat * (dot(t.yhat, t.gc) / t.m)[:, None]
    return t.ratio**4 * form(a, t.H) - t.gamma**3 / (t.m * t.s**4) * dot(t.gc, a) * t.c


def _eq_50(layers: Layers, t: Terms) -> Tensor:
    v = layers.v
    return t.ratio**2 * form(v, t.H) - t.gamma / (t.m * t.s**2) * t.c * dot(v, v)


def _weight_hessian(norm: bool) -> Callable[[Layers], Evidence]:
    def check(layers: Layers) -> Evidence:
        found, inner = (layers.w_hessian, layers.Q) if norm else (layers.w_hessian_plain, layers.H_plain)
        size = Terms(layers).hessian_size if norm else inner.norm(dim=(-1, -2))
        return Evidence(relative(found - layers.x.mT @ inner @ layers.x, size * layers.x.norm(dim=(-1, -2)) ** 2, 2))

    return check


def _eq_57(layers: Layers) -> Evidence:
    t = Terms(layers)
    beta = form(layers.w_grad, layers.w_hessian)
    K = layers.x @ layers.x.mT
    inner = K @ layers.Q @ K
    a = t.g - t.yhat * (t.c / t.m)[:, None]
    size = t.hessian_size * layers.x.norm(dim=(-1, -2)) ** 4 * t.g.norm(dim=-1) ** 2
    size = size * (1 + t.ratio**2)
    return Evidence(relative(beta - form(a, inner), size), relative(beta - form(layers.v, inner), size))


def _eq_58(layers: Layers) -> Evidence:
    t, fourth = Terms(layers), layers.bound**4
    maximum, u = formulas.ball_maximum(layers.v, layers.Q, layers.bound)
    a = t.g - t.yhat * (t.c / t.m)[:, None]
    size = fourth * t.hessian_size * t.g.norm(dim=-1) ** 2 * (1 + t.ratio**2)
    # u = K v belongs to K = u u^T / <u, v>, which is the smallest such K and must have norm at most bound^2.
    inner = dot(u, layers.v).clamp_min(0)
    infeasible = excess(dot(u, u), layers.bound**2 * inner, fourth * t.gradient_size**2)
    K = layers.x @ layers.x.mT
    K = K * (layers.bound**2 / torch.linalg.matrix_norm(K, 2))[:, None, None]
    above = excess(form(torch.einsum("nij,nj->ni", K, layers.v), layers.Q), maximum, size)
    gaps = [relative(maximum - form(u, layers.Q), size), above, infeasible]
    return Evidence(relative(maximum - fourth * form(a, layers.Q), size), torch.stack(gaps).amax(0))


def _lemma_algebra(line: int) -> Callable[[Landscapes], Evidence]:
    def check(spaces: Landscapes) -> Evidence:
        k, distance, _ = formulas.initialization(spaces.w0, spaces.w_star)
        square, start = dot(spaces.w_star, spaces.w_star), dot(spaces.w0, spaces.w0)
        lhs = distance - (spaces.w0 - spaces.w_star).square().sum(-1)
        right = {
            60: (start - k**2 * square) - (start - 2 * k * square + square),
            61: 2 * k * square - k**2 * square - square,
            62: -square * (1 - k) ** 2,
        }[line]
        return Evidence(relative(lhs - right, start + square))

    return check


def _eq_59(spaces: Landscapes) -> Evidence:
    """k W* is the point of the line through W* that is nearest to W0, so no other multiple can do better."""
    k, distance, _ = formulas.initialization(spaces.w0, spaces.w_star)
    other = (spaces.w0 - (k + 0.1)[:, None] * spaces.w_star).square().sum(-1)
    return Evidence(excess(distance, other, other))


CHECKS: dict[str, Callable[..., Evidence]] = {
    "1": _identity(lambda a, t: (a.jacobian / _column(t.gamma), t.P / _column(t.s), 1 / t.s), 2),
    "2": _identity(lambda a, t: (a.jacobian, _column(t.ratio) * t.P, t.ratio.abs()), 2),
    "3": _vector(
        lambda a, t: (
            (t.ratio / t.m)[:, None] * (t.m * t.g - t.g.sum(-1)[:, None] - t.yhat * (t.g * t.yhat).sum(-1)[:, None])
        )
    ),
    "4": _vector(
        lambda a, t: (t.ratio / t.m)[:, None] * (t.m * t.g - (t.M @ t.g[..., None])[..., 0] - t.yhat * t.c[:, None])
    ),
    "5": _vector(lambda a, t: t.ratio[:, None] * (t.gc - t.yhat * (dot(t.gc, t.yhat) / t.m)[:, None])),
    "6": _vector(lambda a, t: t.ratio[:, None] * (t.gc - t.yhat * (dot(t.gc, t.yhat) / dot(t.yhat, t.yhat))[:, None])),
    "7": _identity(
        lambda a, t: (
            dot(a.v, a.v),
            t.ratio**2 * (t.gc - t.yhat * (dot(t.gc, t.yhat) / dot(t.yhat, t.yhat))[:, None]).square().sum(-1),
            t.gradient_size**2,
        ),
        0,
    ),
    "8": _identity(
        lambda a, t: (
            dot(a.v, a.v),
            t.ratio**2 * (dot(t.gc, t.gc) - dot(t.gc, t.yhat) ** 2 / dot(t.yhat, t.yhat)),
            t.gradient_size**2,
        ),
        0,
    ),
    "9": _eq_9,
    "10": _eq_10,
    "11": _weight_gradient,
    "15": _eq_15,
    "16": _eq_16,
    "17": _eq_17,
    "18": _eq_18,
    "19": _matrix(lambda a, t: _product_rule(a, t)),
    "22": _matrix(
        lambda a, t: (
            _column(t.ratio)
            * (
                t.H
                - _along_z(a, lambda g, yhat, gamma: g.mean().expand(g.shape))
                - _along_z(a, lambda g, yhat, gamma: yhat * (g @ yhat)) / t.m
            )
            @ a.jacobian
            + outer(t.bracket, _scale_gradient(a))
        )
    ),
    "24": _identity(
        lambda a, t: (
            _along_z(a, lambda g, yhat, gamma: g.mean().expand(g.shape)),
            t.M @ t.H / t.m,
            t.H.norm(dim=(-1, -2)),
        ),
        2,
    ),
    "25": _identity(
        lambda a, t: (
            _along_z(a, lambda g, yhat, gamma: yhat * (g @ yhat)),
            _column(1 / t.gamma) * (_column(t.c) * t.I + outer(t.yhat, t.g)) + t.yy @ t.H,
            t.m * (t.H.norm(dim=(-1, -2)) + t.g.norm(dim=-1) / t.gamma.abs()),
        ),
        2,
    ),
    "28": _identity(lambda a, t: (_scale_gradient(a), t.slope, t.ratio.abs() / t.s), 1),
    "31": _matrix(lambda a, t: _column(t.ratio) / t.m * t.A @ a.jacobian + outer(t.bracket, t.slope)),
    "33": _identity(lambda a, t: (a.jacobian, _column(t.ratio) * t.P, t.ratio.abs()), 2),
    "34": _eq_34,
    "35": _part("M"),
    "36": _part("yy"),
    "38": _matrix(_collected),
    "42": _matrix(_factored),
    "43": _identity(lambda a, t: ((t.M @ t.gc[..., None])[..., 0], 0 * t.g, t.g.norm(dim=-1)), 1),
    "44": _identity(lambda a, t: (t.P @ t.P, t.P, torch.ones_like(t.s)), 2),
    "45": _identity(
        lambda a, t: (t.yhat - t.yhat * (dot(t.yhat, t.yhat) / t.m)[:, None], 0 * t.g, torch.ones_like(t.s)), 1
    ),
    "46": _identity(lambda a, t: (t.bracket - mean_part(t.bracket), t.bracket, t.g.norm(dim=-1)), 1),
    "47": _vector(lambda a, t: t.ratio[:, None] * (t.gc[:, None] @ (t.I - t.yy / t.m))[:, 0]),
    "48": _quadratic(_eq_48),
    "50": _quadratic(_eq_50),
    "52": _weight_hessian(True),
    "53": _weight_hessian(False),
    "54": _weight_hessian(True),
    "57": _eq_57,
    "58": _eq_58,
    "59": _eq_59,
    "60": _lemma_algebra(60),
    "61": _lemma_algebra(61),
    "62": _lemma_algebra(62),
}
