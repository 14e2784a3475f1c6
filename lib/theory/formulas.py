"""Section 4 and appendix C for one unit of one layer: both sides of every statement.

A unit sees a batch of m numbers. Before the norm they are y [..., m], after it
z = gamma * yhat + beta; g = dL/dz [..., m] and H = d2L/dz2 [..., m, m] are the derivatives of
the rest of the network at z. Leading dimensions are independent cases and broadcast.

The paper sets eps = 0. Every `corrected` value here is exact for eps >= 0 as well, with
s = sqrt(sigma^2 + eps) in the place of sigma and rho = sigma^2 / s^2 = |yhat|^2 / m.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

import torch
from torch import Tensor

from lib.errors import UsageError, check_number


class Sides(NamedTuple):
    """A statement `lhs <= printed` of the paper, and the value that `lhs` really has.

    scale is the sum of the absolute values of the terms: a residual divided by it is relative
    also where the terms cancel.
    """

    lhs: Tensor
    printed: Tensor
    corrected: Tensor
    scale: Tensor


def dot(a: Tensor, b: Tensor) -> Tensor:
    """Inner product over the batch, [..., m] x [..., m] -> [...]."""
    return (a * b).sum(-1)


def form(a: Tensor, matrix: Tensor) -> Tensor:
    """The quadratic form a^T M a, [..., m] and [..., m, m] -> [...]."""
    return torch.einsum("...i,...ij,...j->...", a, matrix, a)


def outer(a: Tensor, b: Tensor) -> Tensor:
    """a b^T, [..., m] x [..., m] -> [..., m, m]."""
    return a[..., :, None] * b[..., None, :]


def mean_part(a: Tensor) -> Tensor:
    """mu(a) times the vector of ones, broadcast over the batch: [..., m] -> [..., 1]."""
    return a.mean(-1, keepdim=True)


def normalize(y: Tensor, eps: float | Tensor = 0.0) -> tuple[Tensor, Tensor]:
    """yhat = (y - mean) / s [..., m] and s = sqrt(var + eps) [...], with the biased variance.

    Raises UsageError for fewer than two samples and for a unit that does not vary at eps = 0.

        >>> normalize(torch.tensor([1.0, 3.0, 1.0, 3.0]))
        (tensor([-1.,  1., -1.,  1.]), tensor(1.))
    """
    if y.shape[-1] < 2:
        raise UsageError(f"the batch holds {y.shape[-1]} sample(s), but a norm needs 2 or more; use a larger batch.")
    centred = y - mean_part(y)
    s = (centred.square().mean(-1) + eps).sqrt()
    if bool((s == 0).any()):
        raise UsageError("a unit is constant over the batch, so it cannot be normalized at eps = 0; use eps > 0.")
    return centred / s[..., None], s


def batchnorm(y: Tensor, gamma: Tensor, beta: Tensor, eps: float | Tensor = 0.0) -> Tensor:
    """z = gamma yhat + beta, the layer of section 4.1."""
    return gamma[..., None] * normalize(y, eps)[0] + beta[..., None]


def projection(yhat: Tensor) -> Tensor:
    """P = I - 11^T/m - yhat yhat^T/m [..., m, m], equation (44); a projection where |yhat|^2 = m."""
    m = yhat.shape[-1]
    eye = torch.eye(m, dtype=yhat.dtype, device=yhat.device)
    return eye - 1 / m - outer(yhat, yhat) / m


def project(yhat: Tensor, a: Tensor) -> Tensor:
    """P a without the matrix."""
    return a - mean_part(a) - yhat * dot(yhat, a)[..., None] / yhat.shape[-1]


def jacobian(y: Tensor, gamma: Tensor, eps: float | Tensor = 0.0) -> Tensor:
    """dz/dy = (gamma/s) P [..., m, m], Fact C.2 and equations (2), (33)."""
    yhat, s = normalize(y, eps)
    return (gamma / s)[..., None, None] * projection(yhat)


def gradient(y: Tensor, g: Tensor, gamma: Tensor, eps: float | Tensor = 0.0) -> Tensor:
    """dLhat/dy = (gamma/s) P g [..., m], Fact C.1 and equations (3) to (5), (47)."""
    yhat, s = normalize(y, eps)
    return (gamma / s)[..., None] * project(yhat, g)


def norm_curvature(y: Tensor, g: Tensor, gamma: Tensor, eps: float | Tensor = 0.0) -> Tensor:
    """sum_b g_b d2z_b/dy2 [..., m, m]: what BatchNorm's own curvature adds, the second half of (42).

    -(gamma/(m s^2)) (gc yhat^T + yhat gc^T - (3c/m) yhat yhat^T + c (I - 11^T/m)), c = <g, yhat>,
    gc = g - mean(g).
    """
    yhat, s = normalize(y, eps)
    m = y.shape[-1]
    c = dot(g, yhat)[..., None, None]
    cross = outer(g - mean_part(g), yhat)
    centring = torch.eye(m, dtype=y.dtype, device=y.device) - 1 / m
    inside = cross + cross.mT - 3 * c / m * outer(yhat, yhat) + c * centring
    return -(gamma / (m * s**2))[..., None, None] * inside


def hessian(y: Tensor, g: Tensor, H: Tensor, gamma: Tensor, eps: float | Tensor = 0.0) -> Tensor:
    """d2Lhat/dy2 = (gamma/s)^2 P H P + norm_curvature [..., m, m], equation (42), exact."""
    J = jacobian(y, gamma, eps)
    return J @ H @ J + norm_curvature(y, g, gamma, eps)


def own_gradients(y: Tensor, g: Tensor, eps: float | Tensor = 0.0) -> tuple[Tensor, Tensor]:
    """BatchNorm's own gradients (dLhat/dgamma, dLhat/dbeta) = (<g, yhat>, <1, g>), [...] each."""
    return dot(g, normalize(y, eps)[0]), g.sum(-1)


def lipschitz(y: Tensor, g: Tensor, gamma: Tensor, eps: float | Tensor = 0.0) -> Sides:
    """Theorem 4.1: |dLhat/dy|^2 against (gamma/s)^2 (|g|^2 - <1,g>^2/m - w <g,yhat>^2).

    Printed with w = 1/sqrt(m); exact, as an equality, with w = (2 - rho)/m, which is 1/m at eps = 0.
    """
    yhat, s = normalize(y, eps)
    m = y.shape[-1]
    ratio, total = (gamma / s) ** 2, dot(g, g)
    mean, correlation = g.sum(-1) ** 2 / m, dot(g, yhat) ** 2
    rho = dot(yhat, yhat) / m
    lhs = gradient(y, g, gamma, eps).square().sum(-1)
    printed = ratio * (total - mean - correlation / m**0.5)
    corrected = ratio * (total - mean - (2 - rho) * correlation / m)
    return Sides(lhs, printed, corrected, ratio * (total + mean + correlation / m**0.5))


def separation(y: Tensor, g: Tensor, gamma: Tensor, eps: float | Tensor = 0.0) -> Tensor:
    """gamma kappa = <g,yhat> |dLhat/dy|^2 / m [...]; Theorem 4.2 subtracts kappa, its last term."""
    v = gradient(y, g, gamma, eps)
    return dot(g, normalize(y, eps)[0]) * dot(v, v) / y.shape[-1]


def smoothness(
    y: Tensor, g: Tensor, H: Tensor, gamma: Tensor, eps: float | Tensor = 0.0
) -> tuple[Sides, Sides, Tensor]:
    """Theorem 4.2: v^T (d2Lhat/dy2) v with v = dLhat/dy, its first and second display, and the condition.

    The first display is an equality at eps = 0; in general v is replaced by Pv in the form of H and
    the curvature of the norm has two more terms. The second display differs from it only by g^T H g in the
    place of v^T H v: it holds exactly where `condition` [...], v^T H v <= g^T H g, does (eps = 0).
    """
    yhat, s = normalize(y, eps)
    m = y.shape[-1]
    v = gradient(y, g, gamma, eps)
    ratio, slope = (gamma / s) ** 2, gamma / (m * s**2)
    lhs = form(v, hessian(y, g, H, gamma, eps))
    removed = slope * m * separation(y, g, gamma, eps)
    leak = dot(yhat, v)
    extra = slope * (2 * dot(g - mean_part(g), v) * leak - 3 * dot(g, yhat) * leak**2 / m)
    bn, plain, exact = form(v, H), form(g, H), form(project(yhat, v), H)
    size = torch.linalg.matrix_norm(H)
    scale = ratio * size * dot(v, v) + slope.abs() * dot(g, g).sqrt() * m**0.5 * (gamma / s) ** 2 * dot(g, g)
    first = Sides(lhs, ratio * bn - removed, ratio * exact - removed - extra, scale)
    second = Sides(lhs, ratio * plain - removed, first.corrected, scale + ratio * size * dot(g, g))
    return first, second, bn <= plain


def weight_lipschitz(y: Tensor, g: Tensor, gamma: Tensor, bound: Tensor, eps: float | Tensor = 0.0) -> Sides:
    """Theorem 4.4: max |dLhat/dW|^2 over |X|_2 <= bound with y and g held fixed, against the bound.

    Printed: (gamma/s)^2 (g_j^2 - m mu_g^2 - bound^2 <g,yhat>^2) with g_j = bound^2 |g|^2. Exact: bound^2 times
    the right side of the corrected Theorem 4.1.
    """
    sides = lipschitz(y, g, gamma, eps)
    yhat, s = normalize(y, eps)
    ratio, square = (gamma / s) ** 2, bound**2
    plain = square * dot(g, g)
    mean, correlation = g.sum(-1) ** 2 / y.shape[-1], square * dot(g, yhat) ** 2
    printed = ratio * (plain**2 - mean - correlation)
    scale = square * sides.scale + ratio * (plain**2 + mean + correlation)
    return Sides(square * sides.lhs, printed, square * sides.corrected, scale)


def ball_maximum(v: Tensor, A: Tensor, bound: Tensor) -> tuple[Tensor, Tensor]:
    """max of (K v)^T A (K v) over K = X X^T with |X|_2 <= bound: the value [...] and a maximizing K v [..., m].

    The reachable u = K v are the ball whose diameter runs from 0 to bound^2 v. The dual of this trust-region problem,
    min over t >= max(top eigenvalue, 0) of t^2 c^T (t - A)^-1 c with c = bound^2 v / 2, has no gap.
    """
    values, vectors = torch.linalg.eigh(A)
    c = torch.einsum("...ij,...i->...j", vectors, v) * (bound**2 / 2)[..., None]
    floor = values[..., -1:].clamp_min(0)
    size = values.abs().amax(-1, keepdim=True).clamp_min(1e-150)
    low, high = torch.full_like(size, -40.0), torch.full_like(size, 5.0)
    radius = c.square().sum(-1, keepdim=True)
    for _ in range(100):  # |u - c| falls with t: bisect log10 of t's distance from the floor
        middle = (low + high) / 2
        gap = (floor - values) + size * 10**middle
        outside = (values / gap * c).square().sum(-1, keepdim=True) > radius
        low, high = torch.where(outside, middle, low), torch.where(outside, high, middle)
    gap = (floor - values) + size * 10**high
    u = (gap + values) / gap * c
    # Where c has no part along the top eigenvector u stays inside the sphere: that direction takes the rest.
    rest = radius[..., 0] - (u - c).square().sum(-1)
    u[..., -1] += torch.where(rest > 1e-6 * radius[..., 0], rest.clamp_min(0).sqrt(), 0.0)
    u = torch.where(values[..., -1:] > 0, u, 0.0)
    return (values * u.square()).sum(-1), torch.einsum("...ij,...j->...i", vectors, u)


def weight_smoothness(
    y: Tensor, g: Tensor, H: Tensor, gamma: Tensor, bound: Tensor, eps: float | Tensor = 0.0
) -> Sides:
    """Theorem C.1, the maxima over |X|_2 <= bound with y, g and H held fixed; gamma != 0.

    lhs is the true maximum, printed the right side with both of its own maxima exact; corrected is the value
    of the left side at X X^T = bound^2 I, where the theorem is Theorem 4.2 times bound^4 (a lower bound of lhs).
    """
    first, _, _ = smoothness(y, g, H, gamma, eps)
    _, s = normalize(y, eps)
    v, Q = gradient(y, g, gamma, eps), hessian(y, g, H, gamma, eps)
    fourth = bound**4
    lhs, plain = ball_maximum(v, Q, bound)[0], ball_maximum(g, H, bound)[0]
    ratio, kappa = (gamma / s) ** 2, separation(y, g, gamma, eps) / gamma
    scale = fourth * (first.scale + torch.linalg.matrix_norm(Q) * dot(v, v)) + ratio * (plain + fourth * kappa.abs())
    return Sides(lhs, ratio * (plain - fourth * kappa), fourth * first.corrected, scale)


def matching_constants(y: Tensor, eps: float | Tensor = 0.0) -> tuple[Tensor, Tensor]:
    """Observation 4.3: the (gamma, beta) = (s, mean) with which BatchNorm returns y itself, [...] each.

    >>> y = torch.tensor([1.0, 5.0])
    >>> batchnorm(y, *matching_constants(y)).equal(y)
    True
    """
    return normalize(y, eps)[1], y.mean(-1)


def initialization(w0: Tensor, w_star: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Lemma 4.5: k = <W*, W0>/|W*|^2, |W0 - k W*|^2 and the bound |W0 - W*|^2 - |W*|^2 (1 - k)^2, [...] each.

    The last two are equal, equations (59) to (62); the lemma adds that k W* is an optimum with BatchNorm.
    """
    square = dot(w_star, w_star)
    k = dot(w_star, w0) / square
    distance = (w0 - k[..., None] * w_star).square().sum(-1)
    bound = (w0 - w_star).square().sum(-1) - (square - dot(w_star, w0)) ** 2 / square
    return k, distance, bound


def layer_terms(
    y: Tensor,
    g: Tensor,
    gamma: Tensor,
    eps: float = 1e-5,
    hvp: Callable[[Tensor], Tensor] | None = None,
    units: Iterable[int] = (),
) -> dict[str, Tensor]:
    """The terms of Theorems 4.1 and 4.2 for each unit of a norm layer, for use along a training run.

    y and g = dL/dz are the layer's input and the gradient at its output, [m, d] or [B, d, height, width] (every
    position is a sample then), gamma [d]. Returns float64 vectors [d]: `plain` |g|^2, `mean` <1,g>^2/m, `correlation`
    (2-rho)<g,yhat>^2/m, `bn` |dLhat/dy|^2 = scale^2 (plain - mean - correlation), `scale` gamma/s, `inner` <g,yhat>,
    `beta_gradient` <1,g>, `removed` the share of |g|^2 the two terms remove. With `hvp`, which maps a direction of y's
    shape to (d2L/dz2) times it, also, for `units` (two products each) and in their order, `form_bn` v^T H v,
    `form_plain` g^T H g and `condition`, whether the second display of Theorem 4.2 applies.
    """
    if y.shape != g.shape or y.dim() not in (2, 4) or gamma.shape != y.shape[1:2]:
        raise UsageError(
            f"y is {tuple(y.shape)}, g {tuple(g.shape)} and gamma {tuple(gamma.shape)}, but must be [m, d] or "
            "[B, d, height, width] twice and [d]."
        )
    check_number("eps", eps, 0, 1)

    def rows(a: Tensor) -> Tensor:
        return a.detach().double().transpose(0, 1).reshape(a.shape[1], -1)

    def from_row(row: Tensor, unit: int) -> Tensor:
        out = torch.zeros_like(y)
        out[:, unit] = row.reshape(y[:, unit].shape).to(y.dtype)
        return out

    batch, grad, weight = rows(y), rows(g), gamma.detach().double()
    yhat, s = normalize(batch, eps)
    m = batch.shape[-1]
    plain, inner, total = dot(grad, grad), dot(grad, yhat), grad.sum(-1)
    mean, correlation = total**2 / m, (2 - dot(yhat, yhat) / m) * inner**2 / m
    scale = weight / s
    terms = {
        "plain": plain,
        "mean": mean,
        "correlation": correlation,
        "scale": scale,
        "inner": inner,
        "beta_gradient": total,
        "bn": scale**2 * (plain - mean - correlation),
        "removed": (mean + correlation) / plain.clamp_min(torch.finfo(torch.float64).tiny),
    }
    if hvp is None:
        return terms
    v = gradient(batch, grad, weight, eps)
    forms: dict[str, list[Tensor]] = {"form_bn": [], "form_plain": []}
    for unit in units:
        values = [dot(a[unit], rows(hvp(from_row(a[unit], unit)))[unit]) for a in (v, grad)]
        forms["form_bn"].append(values[0])
        forms["form_plain"].append(values[1])
    terms |= {name: torch.stack(values) for name, values in forms.items() if values}
    if "form_bn" in terms:
        terms["condition"] = terms["form_bn"] <= terms["form_plain"]
    return terms
