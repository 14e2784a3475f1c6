"""The algebra of appendix C with symbols for numbers: what holds here holds for every batch of that size."""

from __future__ import annotations

from collections.abc import Callable

import sympy as sp


def _batch(m: int) -> tuple[sp.Matrix, sp.Symbol, sp.Matrix, sp.Expr]:
    """y of m symbols, eps, yhat(y) and s(y)."""
    y = sp.Matrix(sp.symbols(f"y1:{m + 1}", real=True))
    eps = sp.symbols("epsilon", positive=True)
    mean = sum(y) / m
    s = sp.sqrt(sum((a - mean) ** 2 for a in y) / m + eps)
    return y, eps, (y - mean * sp.ones(m, 1)) / s, s


def _vanishes(matrix: sp.Matrix) -> bool:
    return all(sp.simplify(entry) == 0 for entry in matrix)


def fact_c_2() -> bool:
    """dyhat/dy = (1/s)(I - 11^T/m - yhat yhat^T/m), three samples, any eps >= 0."""
    y, _, yhat, s = _batch(3)
    return _vanishes(yhat.jacobian(y) - (sp.eye(3) - sp.ones(3, 3) / 3 - yhat * yhat.T / 3) / s)


def norm_curvature() -> bool:
    """The second half of equation (42): the Hessian of sum_b g_b yhat_b, three samples, any eps >= 0."""
    y, _, yhat, s = _batch(3)
    g = sp.Matrix(sp.symbols("g1:4", real=True))
    c, gc = (g.T * yhat)[0], g - sum(g) / 3 * sp.ones(3, 1)
    inside = gc * yhat.T + yhat * gc.T - c * yhat * yhat.T + c * (sp.eye(3) - sp.ones(3, 3) / 3)
    return _vanishes(sp.hessian((g.T * yhat)[0], list(y)) + inside / (3 * s**2))


def _projected() -> tuple[sp.Matrix, sp.Matrix, sp.Expr, sp.Symbol]:
    """g, Pg, <g, yhat> and rho = |yhat|^2 / 3 for every centred yhat of three samples, by its angle in the plane."""
    angle = sp.symbols("theta", real=True)
    rho = sp.symbols("rho", positive=True)
    g = sp.Matrix(sp.symbols("g1:4", real=True))
    first, second = sp.Matrix([1, -1, 0]) / sp.sqrt(2), sp.Matrix([1, 1, -2]) / sp.sqrt(6)
    yhat = sp.sqrt(3 * rho) * (sp.cos(angle) * first + sp.sin(angle) * second)
    c = (g.T * yhat)[0]
    return g, g - sum(g) / 3 * sp.ones(3, 1) - yhat * c / 3, c, rho


def theorem_4_1() -> bool:
    """|Pg|^2 = |g|^2 - <1,g>^2/m - (2 - rho)<g,yhat>^2/m, three samples; rho = 1 is eps = 0."""
    g, Pg, c, rho = _projected()
    return sp.simplify((Pg.T * Pg)[0] - (g.T * g)[0] + sum(g) ** 2 / 3 + (2 - rho) * c**2 / 3) == 0


def theorem_4_1_shortfall() -> bool:
    """The printed Theorem 4.1 misses its left side by (1/sqrt(m) - 1/m)<g,yhat>^2; m = 3, eps = 0, gamma = sigma."""
    g, Pg, c, rho = _projected()
    printed = (g.T * g)[0] - sum(g) ** 2 / 3 - c**2 / sp.sqrt(3)
    shortfall = (1 / sp.sqrt(3) - sp.Rational(1, 3)) * c**2
    return sp.simplify(((Pg.T * Pg)[0] - printed - shortfall).subs(rho, 1)) == 0


def lemma_4_5() -> bool:
    """Equations (59) to (62): |W0 - kW*|^2 - |W0 - W*|^2 = -|W*|^2 (1 - k)^2 with <W*, W0> = k|W*|^2."""
    k, start, star = sp.symbols("k start star", real=True)
    nearest = start - 2 * k * k * star + k**2 * star
    return sp.simplify(nearest - (start - 2 * k * star + star) + star * (1 - k) ** 2) == 0


IDENTITIES: dict[str, Callable[[], bool]] = {
    "Fact C.2": fact_c_2,
    "the norm's curvature in (42)": norm_curvature,
    "Theorem 4.1, corrected": theorem_4_1,
    "Theorem 4.1, what the printed one misses": theorem_4_1_shortfall,
    "(59) to (62)": lemma_4_5,
}
