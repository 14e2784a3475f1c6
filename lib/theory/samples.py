"""Random layers with a random network behind them, and their derivatives by automatic differentiation.

Everything is float64 and comes in batches of N independent cases. The checks of section 4 and
appendix C compare `lib.theory`'s formulas with the derivatives found here, never with themselves.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.func import grad, hessian, vmap

from lib.theory import formulas

BATCHES = (2, 3, 4, 8, 16)
OTHER_UNITS, HIDDEN, CLASSES = 3, 5, 4
Parameters = dict[str, Tensor]


def _outputs(z: Tensor, p: Parameters, link: Callable[[Tensor], Tensor]) -> Tensor:
    """The logits [m, CLASSES] of a network that sees this unit, z [m], beside its layer's others.

    It has two more layers.
    """
    hidden = link(torch.cat([z[:, None], p["others"]], 1) @ p["first"])
    return link(hidden @ p["second"]) @ p["third"]


def _cross_entropy(logits: Tensor, p: Parameters) -> Tensor:
    return (logits.logsumexp(1) - (logits * p["labels"]).sum(1)).mean()


def _squared_sum(z: Tensor, p: Parameters) -> Tensor:
    return (_outputs(z, p, torch.tanh) - p["targets"]).square().sum() / 2


def _squared_mean(z: Tensor, p: Parameters) -> Tensor:
    return (_outputs(z, p, torch.relu) - p["targets"]).square().mean() / 2


def _softmax(z: Tensor, p: Parameters) -> Tensor:
    return _cross_entropy(_outputs(z, p, torch.relu), p)


def _indefinite(z: Tensor, p: Parameters) -> Tensor:
    return z @ p["form"] @ z / 2 + p["slope"] @ z


def _linear(z: Tensor, p: Parameters) -> Tensor:
    return p["slope"] @ z


def _softmax_after_batchnorm(z: Tensor, p: Parameters) -> Tensor:
    def link(a: Tensor) -> Tensor:
        return torch.relu((a - a.mean(0)) / (a.var(0, correction=0) + 1e-2).sqrt())

    return _cross_entropy(_outputs(z, p, link), p)


LOSSES: dict[str, Callable[[Tensor, Parameters], Tensor]] = {
    "squared error, summed, behind tanh": _squared_sum,
    "squared error, averaged, behind ReLU": _squared_mean,
    "cross-entropy behind ReLU": _softmax,
    "indefinite quadratic": _indefinite,
    "linear": _linear,
    "cross-entropy behind ReLU and BatchNorm": _softmax_after_batchnorm,
}
# The networks with convex losses of section 4.2's remark on the Hessian.
PIECEWISE_LINEAR = tuple(name for name in LOSSES if "ReLU" in name or name == "linear")


@dataclass(frozen=True)
class Layers:
    """N cases of one unit: y = X w [N, m], its norm, the downstream loss, and derivatives by autograd.

    g and H are the loss's gradient and Hessian at z = batchnorm(y); g_plain is the gradient at y itself, where the
    network without the norm takes it. v and Q are the gradient and Hessian of the normalized loss with respect to y,
    the w_... with respect to the weights w; own the gradients with respect to gamma and beta [N, 2]; bound is the bound
    on |X|_2.
    """

    loss: str
    eps: Tensor
    x: Tensor
    w: Tensor
    y: Tensor
    gamma: Tensor
    beta: Tensor
    z: Tensor
    yhat: Tensor
    s: Tensor
    jacobian: Tensor
    g: Tensor
    g_plain: Tensor
    H: Tensor
    v: Tensor
    Q: Tensor
    own: Tensor
    w_grad: Tensor
    w_hessian: Tensor
    w_grad_plain: Tensor
    w_hessian_plain: Tensor
    H_plain: Tensor
    bound: Tensor
    parameters: Parameters

    def weight_gradient(self, x: Tensor, norm: bool) -> Tensor:
        """dLhat/dw, or dL/dw without the norm, by autograd, with other inputs x [N, m, d] of the same d."""

        def value(w: Tensor, x: Tensor, gamma: Tensor, beta: Tensor, eps: Tensor, p: Parameters) -> Tensor:
            y = x @ w
            return LOSSES[self.loss](_norm(y, gamma, beta, eps) if norm else y, p)

        return vmap(grad(value))(self.w, x, self.gamma, self.beta, self.eps, self.parameters)


def _norm(y: Tensor, gamma: Tensor, beta: Tensor, eps: Tensor) -> Tensor:
    return gamma * (y - y.mean()) / (y.var(correction=0) + eps).sqrt() + beta


def _parameters(count: int, m: int, normal: Callable[..., Tensor], generator: torch.Generator) -> Parameters:
    labels = torch.randint(CLASSES, (count, m), generator=generator)
    form = normal(count, m, m)
    return {
        "others": normal(count, m, OTHER_UNITS),
        # Scaled by the number of inputs: saturated logits would leave a Hessian that is all rounding.
        "first": normal(count, 1 + OTHER_UNITS, HIDDEN) / (1 + OTHER_UNITS) ** 0.5,
        "second": normal(count, HIDDEN, HIDDEN) / HIDDEN**0.5,
        "third": normal(count, HIDDEN, CLASSES) / HIDDEN**0.5,
        "targets": normal(count, m, CLASSES),
        "labels": torch.nn.functional.one_hot(labels, CLASSES).double(),
        "form": (form + form.mT) / 2,
        "slope": normal(count, m),
    }


def layers(loss: str, m: int, d: int, count: int, seed: int, with_eps: bool) -> Layers:
    """`count` random cases with m samples and d inputs; a quarter of them with gamma and beta such that z = y.

    eps is 0, or log-uniform in [1e-5, 1] with `with_eps`.
    """
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, dtype=torch.float64, generator=generator)

    def uniform(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(count, dtype=torch.float64, generator=generator)

    x, w, p = normal(count, m, d), normal(count, d), _parameters(count, m, normal, generator)
    y = (x @ w[..., None])[..., 0]
    eps = 10 ** uniform(-5, 0) if with_eps else torch.zeros(count, dtype=torch.float64)
    yhat, s = formulas.normalize(y, eps)
    gamma, beta = uniform(0.3, 2.5) * torch.sign(uniform(-1, 1)), normal(count)
    same = torch.arange(count) % 4 == 0
    gamma, beta = torch.where(same, s, gamma), torch.where(same, y.mean(-1), beta)
    value = LOSSES[loss]

    def of_y(y: Tensor, gamma: Tensor, beta: Tensor, eps: Tensor, p: Parameters) -> Tensor:
        return value(_norm(y, gamma, beta, eps), p)

    def of_w(w: Tensor, x: Tensor, gamma: Tensor, beta: Tensor, eps: Tensor, p: Parameters) -> Tensor:
        return of_y(x @ w, gamma, beta, eps, p)

    def plain_of_w(w: Tensor, x: Tensor, p: Parameters) -> Tensor:
        return value(x @ w, p)

    norm_of_y = (gamma, beta, eps)
    z = vmap(_norm)(y, *norm_of_y)
    inputs = (w, x, *norm_of_y, p)
    # The largest singular value is what the maxima over X are bounded by: some cases allow more than |y|/|w|, some
    # less.
    bound = y.norm(dim=-1) / w.norm(dim=-1) * uniform(0.5, 2)
    return Layers(
        loss,
        eps,
        x,
        w,
        y,
        gamma,
        beta,
        z,
        yhat,
        s,
        jacobian=vmap(torch.func.jacrev(_norm))(y, *norm_of_y),
        g=vmap(grad(value))(z, p),
        g_plain=vmap(grad(value))(y, p),
        H=vmap(hessian(value))(z, p),
        v=vmap(grad(of_y))(y, *norm_of_y, p),
        Q=vmap(hessian(of_y))(y, *norm_of_y, p),
        own=torch.stack(vmap(grad(of_y, argnums=(1, 2)))(y, *norm_of_y, p), -1),
        w_grad=vmap(grad(of_w))(*inputs),
        w_hessian=vmap(hessian(of_w))(*inputs),
        w_grad_plain=vmap(grad(plain_of_w))(w, x, p),
        w_hessian_plain=vmap(hessian(plain_of_w))(w, x, p),
        H_plain=vmap(hessian(value))(y, p),
        bound=bound,
        parameters=p,
    )


def all_layers(trials: int, seed: int, with_eps: bool) -> list[Layers]:
    """At least `trials` cases, spread over every loss and batch size, 3 to 6 inputs.

    BatchNorm downstream starts at four samples: with two its gradient is zero, and nothing is left to check.
    """
    groups = [(loss, m) for loss in LOSSES for m in BATCHES if m >= 4 or "and BatchNorm" not in loss]
    count = -(-trials // len(groups))
    return [layers(loss, m, 3 + i % 4, count, seed * 1000 + i, with_eps) for i, (loss, m) in enumerate(groups)]


@dataclass(frozen=True)
class Landscapes:
    """N least-squares problems L(W) = (XW - t)^T A (XW - t) / 2 without a norm, and their only minimum W*.

    x [N, m, d] has a constant column (a bias) where `bias` [N]; w_star [N, d]; w0 [N, d] is a start with <W0, W*> > 0;
    gamma, beta are BatchNorm's constants: those that match y* = X W*, or random ones of either sign, a
    third of all. The lemma's check has A = I, where BatchNorm's optima have a closed form.
    """

    x: Tensor
    t: Tensor
    A: Tensor
    w_star: Tensor
    w0: Tensor
    bias: Tensor
    matched: Tensor
    gamma: Tensor
    beta: Tensor
    eps: Tensor


def landscapes(count: int, m: int, d: int, seed: int, with_eps: bool, identity: bool) -> Landscapes:
    """`count` random problems with m samples and d weights, 2 <= d <= m - 1; every second one has a bias."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, dtype=torch.float64, generator=generator)

    bias = torch.arange(count) % 2 == 0
    x = normal(count, m, d)
    x[..., -1] = torch.where(bias[:, None], torch.ones(m, dtype=torch.float64), x[..., -1])
    root = normal(count, m, m)
    A = torch.eye(m, dtype=torch.float64).expand(count, m, m) if identity else root @ root.mT + torch.eye(m)
    t = normal(count, m)
    w_star = torch.linalg.solve(x.mT @ A @ x, x.mT @ A @ t[..., None])[..., 0]
    w0 = normal(count, d)
    w0 = w0 * torch.sign(formulas.dot(w0, w_star))[..., None]
    eps = 10 ** (5 * torch.rand(count, dtype=torch.float64, generator=generator) - 5) * with_eps
    gamma, beta = formulas.matching_constants((x @ w_star[..., None])[..., 0], eps)
    matched = torch.arange(count) % 3 != 0
    return Landscapes(
        x,
        t,
        A,
        w_star,
        w0,
        bias,
        matched,
        torch.where(matched, gamma, normal(count)),
        torch.where(matched, beta, normal(count)),
        eps,
    )


def all_landscapes(trials: int, seed: int, with_eps: bool, identity: bool) -> list[Landscapes]:
    """At least `trials` problems with 4 to 12 samples and 2 to 5 weights."""
    sizes = ((4, 2), (5, 3), (8, 4), (12, 5))
    count = -(-trials // len(sizes))
    return [landscapes(count, m, d, seed * 1000 + 500 + i, with_eps, identity) for i, (m, d) in enumerate(sizes)]


@dataclass(frozen=True)
class Numbers:
    """How many random numbers a check draws for itself, and from which seed."""

    count: int
    seed: int
