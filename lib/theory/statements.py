"""The list of statements: every theorem, equation and mathematical sentence of section 4 and appendix C.

Formulas are TeX in the paper's letters, with `P = I - 11^T/m - yhat yhat^T/m`, `v = dLhat/dy_j = (gamma/sigma) P g`
and `g = dLhat/dz_j` in the corrections.
"""

from __future__ import annotations

from dataclasses import replace

from lib.theory import theorems
from lib.theory.equations import CHECKS
from lib.theory.evidence import Statement
from lib.theory.examples import EXAMPLES

_PG = r"\tfrac{\gamma^2}{\sigma_j^2}\bigl(\|g\|^2 - \tfrac1m\langle\mathbf 1,g\rangle^2 - \tfrac1m\langle g,\hat y_j\rangle^2\bigr)"
_GARBLED = "The text this was read from may be garbled here: it cannot be told from it whether the slip is the paper's."

_THEOREMS = (
    Statement(
        "thm-4.1", "Theorem 4.1",
        r"the squared gradient with BatchNorm is at most $\frac{\gamma^2}{\sigma_j^2}(\|g\|^2 - \frac1m\langle\mathbf 1,g\rangle^2 - \frac{1}{\sqrt m}\langle g,\hat y_j\rangle^2)$",
        "layers", theorems.theorem_4_1, corrected=rf"$\|v\|^2 = {_PG}$, an equality",
        note=r"The last factor must be $1/m$. With $1/\sqrt m$ the printed right side is too small wherever $\langle g,\hat y_j\rangle\ne0$. With $\epsilon>0$ the factor is $(2-\rho)/m$, $\rho=\sigma_j^2/(\sigma_j^2+\epsilon)$.",
    ),
    Statement(
        "thm-4.2-first", "Theorem 4.2, first display",
        r"$v^\top\frac{\partial^2\widehat{\mathcal L}}{\partial y_j^2}v \le \frac{\gamma^2}{\sigma^2}v^\top H v - \frac{\gamma}{m\sigma^2}\langle g,\hat y_j\rangle\|v\|^2$",
        "layers", theorems.theorem_4_2_first, corrected=r"the same with $=$ for $\le$; two more terms at $\epsilon>0$",
        note=r"An equality, for either sign of $\gamma$.",
    ),
    Statement(
        "thm-4.2-second", "Theorem 4.2, second display",
        r"the same with $g^\top H g$ for $v^\top H v$, if $H$ preserves the relative norms of $g$ and $v$",
        "layers", theorems.theorem_4_2_second, condition=r"$|\gamma|\le\sigma_j$ as well, so that $\|v\|\le\|g\|$",
        note=r"The hypothesis is read as: $H$ orders the two vectors as the Euclidean norm does. Without any hypothesis the display holds exactly where $v^\top H v \le g^\top H g$.",
    ),
    Statement(
        "obs-4.3-activations", "Observation 4.3, activations",
        r"$\gamma=\sigma_j$ (and $\beta$ the mean) lets the layer return $y_j$ itself",
        "layers", theorems.observation_activations, corrected=r"$\gamma=\sqrt{\sigma_j^2+\epsilon}$, $\beta=\mu_j$",
        note="For one batch: other batches have another mean and deviation. A unit that is constant over the batch has no $\\hat y_j$ at $\\epsilon=0$ and is left out.",
    ),
    Statement(
        "obs-4.3-minima", "Observation 4.3, minima",
        "every minimum without a norm is one with BatchNorm at those constants",
        "minima", theorems.observation_minima, condition=r"the layer has a bias, or $\mathbf 1$ is in the range of $X$",
        note=r"Without a bias the minimum is stationary only if the gradient's mean is 0 or $X^\top(\mathbf 1-\frac{\mu_j}{\sigma_j^2}(y_j-\mu_j\mathbf 1))$ is. With one it stays a minimum also where $\gamma$ and $\beta$ are trained.",
    ),
    Statement(
        "thm-4.4", "Theorem 4.4",
        r"$\hat g_j \le \frac{\gamma^2}{\sigma_j^2}(g_j^2 - m\mu_{g_j}^2 - \lambda^2\langle g,\hat y_j\rangle^2)$ for the maxima over $\|X\|\le\lambda$ of the squared weight gradients",
        "layers", theorems.theorem_4_4,
        corrected=r"$\hat g_j = \tfrac{\gamma^2}{\sigma_j^2}\bigl(g_j - \lambda^2 m\mu_g^2 - \tfrac{\lambda^2}{m}\langle g,\hat y_j\rangle^2\bigr)$ with $y_j$ and $g$ held fixed",
        note=r"$g_j$ is a square already; $\lambda^2$ and $1/m$ are missing. The maximum is attained, with $Xw=y_j$ kept if $\|y_j\|<\lambda\|w\|$ and there are two inputs; "
        r"where $\sigma_j$ moves with $X$ the supremum is infinite.",
    ),
    Statement(
        "thm-c.1", "Theorem C.1",
        r"$\max_{\|X\|\le\lambda}$ of the form of the weights' Hessian is below $\frac{\gamma^2}{\sigma^2}[\max_{\|X\|\le\lambda}(\text{the same without the norm}) - \lambda^4\kappa]$",
        "layers", theorems.theorem_c_1,
        corrected=r"$=\tfrac{\gamma^2}{\sigma^2}\lambda^4\bigl(v^\top H v-\kappa\bigr)$ at $XX^\top=\lambda^2 I$; the maximum itself is $\max\{u^\top\frac{\partial^2\widehat{\mathcal L}}{\partial y_j^2}u:\|u-\frac{\lambda^2}2v\|\le\frac{\lambda^2}2\|v\|\}$",
        note=r"The form is not largest at $XX^\top=\lambda^2I$, so Theorem 4.2 cannot be applied to the maximum. $\frac{\gamma^2}{\sigma^2}\kappa$ with $\kappa=\frac1{m\gamma}\langle g,\hat y_j\rangle\|v\|^2$ is what Theorem 4.2 subtracts. Tested where $v^\top Hv\le g^\top Hg$.",
    ),
    Statement(
        "lemma-4.5", "Lemma 4.5",
        r"$\|W_0-\widehat W^*\|^2 \le \|W_0-W^*\|^2 - (\|W^*\|^2-\langle W^*,W_0\rangle)^2/\|W^*\|^2$ for the closest optima, if $\langle W_0,W^*\rangle>0$",
        "optima", theorems.lemma_4_5, condition=r"$W^*$ is itself an optimum with BatchNorm (a bias, $\gamma>0$), $\epsilon=0$, $W$ this layer's weights",
        note="Scale invariance makes $kW^*$ an optimum only if $W^*$ is one. Tested on squared errors, where all optima are known in closed form.",
    ),
    Statement("fact-c.1", "Fact C.1", "the gradient through BatchNorm, entry by entry", "layers", CHECKS["3"], note=r"Holds at $\epsilon>0$ too, with $s_j=\sqrt{\sigma_j^2+\epsilon}$ for $\sigma_j$."),
    Statement("fact-c.2", "Fact C.2", r"$\partial\hat y^{(b)}/\partial y^{(k)}=\frac1\sigma(\mathbf I[b=k]-\frac1m-\frac1m\hat y^{(b)}\hat y^{(k)})$", "layers", CHECKS["1"], note=r"Holds at $\epsilon>0$ too, with $s_j=\sqrt{\sigma_j^2+\epsilon}$ for $\sigma_j$."),
)  # fmt: skip

_SENTENCES = (
    Statement("say-same-loss", "section 4.1 and the proofs", r"$\partial\widehat{\mathcal L}/\partial z_j = \partial\mathcal L/\partial y_j$ for networks that differ by the norm only", "layers", theorems.same_loss_gradient, condition="$z_j = y_j$ (Observation 4.3's constants), or a loss that is linear in this unit", note="Else the two gradients are taken at different points, and the theorems compare $v$ with $g$, not with the plain network's gradient."),
    Statement("say-any-lipschitz", "before Theorem 4.1", "without assumptions the gradient with BatchNorm is smaller", "layers", theorems.smaller_gradient, condition=r"guaranteed where $|\gamma|\le\sigma_j$; exactly where $\gamma^2/\sigma_j^2$ times the share of $\|g\|^2$ that $P$ keeps is at most 1"),
    Statement("say-additive", "before Theorem 4.1", r"there is a reduction even at $\gamma=\sigma_j$", "layers", theorems.reduction_without_scaling, note=r"Strict wherever $\partial\widehat{\mathcal L}/\partial\gamma$ or $\partial\widehat{\mathcal L}/\partial\beta$ is not 0."),
    Statement("say-quadratic-growth", "after Theorem 4.1", r"$\langle\mathbf 1,\partial\mathcal L/\partial y\rangle^2$ grows quadratically in the dimension", "numbers", theorems.quadratic_growth, condition="a summed loss whose per-sample gradients have a mean other than 0", counterexample="an averaged loss: per-sample gradients 1/m give <1, g>^2 = 1 for every m", note=r"As a share of $\|g\|^2$ the mean term never grows: it is at most 1."),
    Statement("say-bounded-away", "after Theorem 4.1", r"$\langle g,\hat y_j\rangle^2$ is bounded away from 0", "numbers", theorems.bounded_away, note=r"$\langle g,\hat y_j\rangle$ is the gradient of $\gamma$, which training drives to 0."),
    Statement("say-psd", "after Theorem 4.2", "the Hessian is positive semi-definite for piecewise-linear networks with a convex loss", "layers", theorems.positive_semidefinite, condition="no further BatchNorm follows; almost everywhere (the kinks have no Hessian)"),
    Statement("say-inner-positive", "after Theorem 4.2", r"$\langle\hat y_j,g\rangle>0$ if the negative gradient points to the minimum", "numbers", theorems.towards_minimum, note=r"It holds exactly where $\partial\widehat{\mathcal L}/\partial\gamma>0$, that is where a smaller $\gamma$ would do better."),
    Statement("say-more-predictive", "after Theorem 4.2", r"if the forms of $H$ and $\langle\hat y_j,g\rangle$ are non-negative, the form with BatchNorm is the smaller", "layers", theorems.more_predictive, condition=r"guaranteed where $v^\top H v\le g^\top H g$ and $|\gamma|\le\sigma_j$ as well"),
    Statement("say-scale-invariance", "proof of Lemma 4.5", r"$\mathrm{BN}((aW)x)=\mathrm{BN}(Wx)$ for $a>0$", "layers", theorems.scale_invariance),
    Statement("own-gradients", "our remark", r"$\langle g,\hat y_j\rangle=\partial\widehat{\mathcal L}/\partial\gamma$ and $\langle\mathbf 1,g\rangle=\partial\widehat{\mathcal L}/\partial\beta$", "layers", theorems.own_gradients),
)  # fmt: skip


def _equation(numbers: str, paper: str, check: str | None, source: str = "layers", **more: str) -> Statement:
    """The entry for equation `numbers`, "26" or "25-27"; `check` is the key of its check."""
    first, _, last = numbers.partition("-")
    covered = tuple(range(int(first), int(last or first) + 1))
    where = f"appendix C, ({first})" + (f" to ({last})" if last else "")
    return Statement(f"eq-{first}", where, paper, source, CHECKS[check] if check else None, numbers=covered, **more)


_EQUATIONS = (
    _equation("1", "Jacobian of the normalized outputs", "1"),
    _equation("2", "Jacobian of z", "2"),
    _equation("3", "gradient through the norm, entry by entry", "3"),
    _equation("4", "the same as vectors", "4"),
    _equation("5", "the same with the mean taken out first", "5"),
    _equation("6", "the same with the unit vector along yhat", "6", note="Needs |yhat|^2 = m, so eps = 0."),
    _equation("7", "its squared norm", "7", note="Needs eps = 0."),
    _equation("8", "Pythagoras", "8", note="Needs eps = 0."),
    _equation("9", r"expanded, with the factor $1/\sqrt m$", "9", corrected=r"$1/m$: $\langle g,\hat y/\|\hat y\|\rangle^2=\langle g,\hat y\rangle^2/m$"),
    _equation("10", "the largest eigenvalue is the maximum of the quadratic form", "10", condition="M is symmetric, as in (15)", corrected="the largest eigenvalue of $(M+M^\\top)/2$", note="What is drawn from it, $v^\\top X v\\le\\lambda\\|v\\|^2$, holds for every X."),
    _equation("11-14", "weight gradient by the chain rule", "11"),
    _equation("15", "its squared norm", "15"),
    _equation("16", r"its maximum over $\|X\|\le\lambda$", "16", note="An equality, with y held fixed."),
    _equation("17", "(16) with Theorem 4.1 put in", "17", corrected=rf"$\lambda^2{_PG}$, an equality"),
    _equation("18", r"the plain network's maximum is $\lambda^2\|\partial\mathcal L/\partial y_j\|^2$, printed with a hat on the left", "18", corrected="the same without the hat", note=_GARBLED),
    _equation("19-21", "Hessian as the derivative of (4), by the product rule", "19", note="The index (b) on yhat in (19) does not belong there; (21) is an outer product."),
    _equation("22-23", "the same, term by term", "22"),
    _equation("24", "derivative of the gradient's mean", "24", note="Of the vector of means; the middle expression lacks a factor 1."),
    _equation("25-27", "derivative of yhat <yhat, g> with respect to z", "25"),
    _equation("28-30", r"derivative of $\gamma/\sigma_j$", "28", note="(30) holds at eps > 0 too, (28) and (29) need eps = 0."),
    _equation("31-32", "the Hessian put together", "31"),
    _equation("33", "Jacobian of z as a matrix", "33"),
    _equation("34", r"(31) times (33), first line, with $\hat g_j\hat g_j^\top$ as its last term", "34", corrected=r"$\hat y_j\hat g_j^\top$", note=_GARBLED),
    _equation("35", "second line", "35"),
    _equation("36", "third line", "36"),
    _equation("37", "fourth line", None, note="Cut off in the text this was read from; the tail of (32) belongs here, and with it (34) as corrected is exact."),
    _equation("38-40", "terms collected", "38", note="The third line's number is lost in the text; we count it as (40)."),
    _equation("41-42", "the Hessian with P on both sides", "42", note="Exact, at eps > 0 too."),
    _equation("43", "1 1' removes nothing more from a centred vector", "43"),
    _equation("44", "P is idempotent", "44", note="Needs eps = 0."),
    _equation("45", "yhat is removed by its projector", "45", note="Needs eps = 0."),
    _equation("46", "centring twice", "46"),
    _equation("47", "gradient with the projector", "47"),
    _equation("48-49", "the quadratic form along the gradient", "48", note="A minus sign between the two lines stands apart in the text. Needs eps = 0."),
    _equation("50", "Theorem 4.2, first display", "50", note="As an equality. Needs eps = 0."),
    replace(_THEOREMS[2], id="eq-51", where="appendix C, (51)", paper="Theorem 4.2, second display", numbers=(51,)),
    _equation("52", "weights' Hessian, entry by entry", "52", note="Printed twice; we read the first with hats, the second without."),
    _equation("53", "the same", "53"),
    _equation("54", "as a matrix", "54"),
    _equation("55", "an empty line", None, note="Nothing is printed."),
    replace(_equation("56-57", r"the form along the weights' gradient, without $\gamma^2/\sigma^2$ and with $g$ not centred", "57", corrected=r"$v^\top XX^\top\frac{\partial^2\widehat{\mathcal L}}{\partial y_j^2}XX^\top v$"), id="eq-57"),
    _equation("58", r"its maximum is the value at $XX^\top=\lambda^2I$", "58", corrected=r"the maximum of $u^\top\frac{\partial^2\widehat{\mathcal L}}{\partial y_j^2}u$ over the ball with diameter from 0 to $\lambda^2v$"),
    _equation("59", "difference of the squared distances", "59", "optima", note="k W* is the nearest multiple of W*."),
    _equation("60", "expanded", "60", "optima"),
    _equation("61", "simplified", "61", "optima"),
    _equation("62", "as a square", "62", "optima"),
)  # fmt: skip

_EXAMPLE_OF = {"eq-9": "thm-4.1", "eq-17": "thm-4.1", "eq-51": "thm-4.2-second"}


def _with_example(statement: Statement) -> Statement:
    example = EXAMPLES.get(_EXAMPLE_OF.get(statement.id, statement.id))
    return replace(statement, counterexample=example.text()) if example else statement


STATEMENTS: tuple[Statement, ...] = tuple(map(_with_example, _THEOREMS + _SENTENCES + _EQUATIONS))
