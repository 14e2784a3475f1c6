"""The smallest counterexamples, with numbers that can be checked by hand.

Each gives the printed statement's left and right side for two or three samples. Two batches serve nearly all: y = (1,
-1), where yhat = y, sigma = 1 and P = 0, so with two samples nothing gets through a norm; and y = (-1, 0, 1), where
sigma^2 = 2/3, yhat = sqrt(3/2) y and P projects on (1, -2, 1)/sqrt(6).
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from lib.theory import formulas
from lib.theory.formulas import dot, form


@dataclass(frozen=True)
class Example:
    """`words` describe the case and end in the two sides, which `sides` computes with `lib.theory`."""

    words: str
    sides: Callable[[], tuple[Tensor, Tensor]]

    def values(self) -> tuple[float, float]:
        """Left and right side as numbers."""
        left, right = self.sides()
        return float(left), float(right)

    def text(self) -> str:
        """The words with the computed numbers in them."""
        left, right = (round(value, 4) + 0.0 for value in self.values())
        return self.words.format(lhs=f"{left:.4g}", rhs=f"{right:.4g}")

    def __str__(self) -> str:
        """The text in lines that fit a page."""
        return textwrap.fill(self.text(), 74)


def vector(*values: float) -> Tensor:
    """A float64 vector, or a number if there is one value."""
    return torch.tensor(values if len(values) > 1 else values[0], dtype=torch.float64)


TWO, THREE = vector(1, -1), vector(-1, 0, 1)
ONE, BEND, TILTED = vector(1), vector(1, -2, 1), vector(0, -2, 2)
SIGMA = (vector(2) / 3).sqrt()
NO_BIAS, TARGET, W_STAR = torch.eye(3, 2, dtype=torch.float64), vector(1, -1, 1), vector(1, -1)


def _theorem_4_1() -> tuple[Tensor, Tensor]:
    sides = formulas.lipschitz(TWO, TWO, ONE)
    return sides.lhs, sides.printed


def _second_display(first_entry: float) -> tuple[Tensor, Tensor]:
    _, second, _ = formulas.smoothness(THREE, TILTED, torch.diag(vector(first_entry, 0, 0)), SIGMA)
    return second.lhs, second.printed


def _norms_preserved() -> tuple[Tensor, Tensor]:
    _, second, _ = formulas.smoothness(THREE, BEND, torch.eye(3, dtype=torch.float64), vector(2))
    return second.lhs, second.printed


def _theorem_4_4() -> tuple[Tensor, Tensor]:
    sides = formulas.weight_lipschitz(TWO, TWO, ONE, vector(0.5))
    return sides.lhs, sides.printed


def _flat() -> Tensor:
    return torch.zeros(3, 3, dtype=torch.float64)


def _theorem_c_1() -> tuple[Tensor, Tensor]:
    sides = formulas.weight_smoothness(THREE, TILTED, _flat(), ONE, ONE)
    return sides.lhs, sides.printed


def _no_bias_gradient() -> tuple[Tensor, Tensor]:
    y = NO_BIAS @ W_STAR
    return (NO_BIAS.T @ formulas.gradient(y, y - TARGET, SIGMA)).norm(), vector(0)


def _lemma_4_5() -> tuple[Tensor, Tensor]:
    optimum = vector(0, -1)
    nearest = optimum * dot(W_STAR, optimum) / dot(optimum, optimum)
    return (W_STAR - nearest).square().sum(), formulas.initialization(W_STAR, W_STAR)[2]


def _eq_10() -> tuple[Tensor, Tensor]:
    matrix, x = torch.tensor([[0.0, 2.0], [0.0, 0.0]], dtype=torch.float64), vector(1, 1) / 2**0.5
    return form(x, matrix), torch.linalg.eigvals(matrix).real.max()


def _eq_18() -> tuple[Tensor, Tensor]:
    return formulas.weight_lipschitz(TWO, TWO, ONE, ONE).lhs, dot(TWO, TWO)


def _eq_34() -> tuple[Tensor, Tensor]:
    g = 2 * TWO
    exact = formulas.hessian(TWO, g, torch.zeros(2, 2, dtype=torch.float64), ONE)
    printed = exact + (formulas.outer(TWO, g) - formulas.outer(g, g)) / 2
    return exact[0, 0], printed[0, 0]


def _eq_57() -> tuple[Tensor, Tensor]:
    g, K = torch.ones(3, dtype=torch.float64), torch.diag(vector(1, 0, 0))
    Q = formulas.hessian(THREE, g, torch.eye(3, dtype=torch.float64), ONE)
    return form(formulas.gradient(THREE, g, ONE), K @ Q @ K), form(g, K @ Q @ K)


def _eq_58() -> tuple[Tensor, Tensor]:
    Q, v = formulas.hessian(THREE, TILTED, _flat(), ONE), formulas.gradient(THREE, TILTED, ONE)
    return formulas.ball_maximum(v, Q, ONE)[0], form(BEND, Q)


def _gradient_rise() -> tuple[Tensor, Tensor]:
    return formulas.lipschitz(THREE, BEND, vector(2)).lhs, dot(BEND, BEND)


def _downstream_norm() -> tuple[Tensor, Tensor]:
    return vector(0), form(BEND, formulas.norm_curvature(THREE, TILTED, ONE))


def _trained() -> tuple[Tensor, Tensor]:
    g = SIGMA * formulas.normalize(THREE)[0] - TILTED
    return dot(g, formulas.normalize(THREE)[0]).square(), dot(g, g)


def _short_of_the_minimum() -> tuple[Tensor, Tensor]:
    yhat, _ = formulas.normalize(THREE)
    return dot(yhat - 2 * yhat, yhat), vector(0)


def _two_points() -> tuple[Tensor, Tensor]:
    return formulas.batchnorm(2 * THREE, ONE, 0 * ONE).square().sum(), (2 * THREE).square().sum()


_PLAIN = "y = (-1, 0, 1), "
EXAMPLES: dict[str, Example] = {
    "thm-4.1": Example(
        "m = 2, y = g = (1, -1), gamma = 1: yhat = y and P g = 0, so the left side is {lhs}; the right is 2 - 0 - "
        "4/sqrt(2) = {rhs} < 0",
        _theorem_4_1,
    ),
    "thm-4.2-second": Example(
        _PLAIN + "g = (0, -2, 2), gamma = sigma, H = diag(1, 0, 0): v = (1, -2, 1), v'Hv = 1 but g'Hg = 0, so "
        "{lhs} <= {rhs} is false. A multiple of the identity preserves every norm and does not help: H = I, "
        "g = (1, -2, 1), gamma = 2 gives 216 <= 36",
        lambda: _second_display(1),
    ),
    "norms-preserved": Example(
        _PLAIN + "g = (1, -2, 1), gamma = 2, H = I: v = sqrt(6) g, and {lhs} <= {rhs} is false", _norms_preserved
    ),
    "thm-4.4": Example(
        "m = 2, y = g = (1, -1), gamma = 1, lambda = 1/2: no gradient passes, so the left side is {lhs}; the right is "
        "(2/4)^2 - 0 - 4/4 = {rhs}, and -0.5 if g_j^2 is read as g_j",
        _theorem_4_4,
    ),
    "thm-c.1": Example(
        _PLAIN
        + "g = (0, -2, 2), a linear loss (H = 0), gamma = lambda = 1: X = 0, or the X = y w'/|w|^2 that keeps y, "
        "makes the "
        "left form 0, so its maximum ({lhs}) is not below {rhs} = -(3/2) sqrt(6) 9/3",
        _theorem_c_1,
    ),
    "obs-4.3-minima": Example(
        "X = ((1, 0), (0, 1), (0, 0)), L = |y - (1, -1, 1)|^2/2: W* = (1, -1), y* = (1, -1, 0), g = (0, 0, -1); "
        "with gamma = sigma, beta = 0 "
        "the weights' gradient is (1/3, 1/3), of norm {lhs} where a minimum has {rhs}",
        _no_bias_gradient,
    ),
    "lemma-4.5": Example(
        "y = (w1, w2, 0), L = |y - (1, -1, 1)|^2/2: W* = (1, -1); BatchNorm's optima are (0, -s), s > 0, for every "
        "gamma > 0 and beta, since there yhat is parallel to the centred "
        "target, to (1, -2, 1). From W0 = W* the nearest is {lhs} away (squared), the bound says {rhs}",
        _lemma_4_5,
    ),
    "eq-10": Example(
        "M = ((0, 2), (0, 0)): at x = (1, 1)/sqrt(2) the form is {lhs}, the only eigenvalue {rhs}", _eq_10
    ),
    "eq-18": Example(
        "m = 2, y = g = (1, -1), gamma = lambda = 1: with the hat the left side is {lhs}, the right |g|^2 = {rhs}",
        _eq_18,
    ),
    "eq-34": Example(
        "m = 2, y = (1, -1), g = (2, -2), gamma = 1, H = 0: z does not depend on y, so the first entry of the "
        "Hessian is {lhs}; "
        "with g g' in the place of yhat g' it comes out as {rhs}",
        _eq_34,
    ),
    "eq-57": Example(
        _PLAIN
        + "g = (1, 1, 1), H = I, gamma = 1, X X' = diag(1, 0, 0): v = 0, so beta = {lhs}, but the printed form is "
        "{rhs}",
        _eq_57,
    ),
    "eq-58": Example(
        _PLAIN
        + "g = (0, -2, 2), H = 0, gamma = lambda = 1: the printed value is {rhs} = -3 sqrt(6), but X = 0 gives 0 "
        "and the maximum is {lhs}",
        _eq_58,
    ),
    "say-any-lipschitz": Example(
        _PLAIN + "g = (1, -2, 1), gamma = 2: |dLhat/dy|^2 = (4/(2/3)) 6 = {lhs}, more than |g|^2 = {rhs}",
        _gradient_rise,
    ),
    "say-psd": Example(
        "a linear loss behind one more BatchNorm, whose input is (-1, 0, 1) and whose g is (0, -2, 2): along (1, "
        "-2, 1) the form is "
        "-(1/2) sqrt(6) 6 = {rhs} < {lhs}",
        _downstream_norm,
    ),
    "say-bounded-away": Example(
        _PLAIN
        + "L = |z - (0, -2, 2)|^2/2, gamma and beta at their optimum sqrt(2/3) and 0: z = (-1, 0, 1), g = (-1, 2, "
        "-1), and "
        "<g, yhat>^2 = {lhs} while |g|^2 = {rhs}",
        _trained,
    ),
    "say-inner-positive": Example(
        _PLAIN
        + "z = yhat, L = |z - 2 yhat|^2/2: -g = yhat points straight at the minimum, but <g, yhat> = {lhs} < {rhs}",
        _short_of_the_minimum,
    ),
    "say-more-predictive": Example(
        _PLAIN
        + "g = (0, -2, 2), gamma = sigma, H = diag(10, 0, 0), <g, yhat> = sqrt(6): the form with BatchNorm is 10 - "
        "6 = {lhs}, without it 0",
        lambda: _second_display(10),
    ),
    "say-same-loss": Example(
        "y = (-2, 0, 2), L = |z|^2/2, gamma = 1, beta = 0: with the norm |dL/dz|^2 = |yhat|^2 = {lhs}, without it "
        "|dL/dy|^2 = |y|^2 = {rhs}",
        _two_points,
    ),
}
