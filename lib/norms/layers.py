"""Normalization layers: BatchNorm, its noisy variant (Algorithm 1) and l_p norms (section 3.3).

All take activations [B, C] or [B, C, H, W] and treat every position of an image as one more member of the batch
(appendix A.2.1). In training mode they use the batch's statistics and update running ones, which evaluation mode uses.

At the edges all behave as torch's BatchNorm does: a single value a channel is refused in training mode; an empty batch
leaves the running statistics alone; NaN and infinity stay in their channel, which they make NaN; a constant channel
gives beta. Where squares overflow (|y| above 1e19 in float32), BatchNorm and p = 2 give beta, too.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lib.errors import UsageError, check_choice, check_number
from lib.norms.noise import noisy
from lib.specs import LP_FORMULAS, NORMS, Noise

EPS = 1e-5
MOMENTUM = 0.1


class _Norm(nn.Module):
    """What both kinds share: gamma [C], which starts at 1, beta [C], which starts at 0, and a look at the input."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        check_number("channels", channels, 1, 1_000_000, integer=True)
        self.gamma = nn.Parameter(torch.ones(channels))
        self.beta = nn.Parameter(torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))

    def _check(self, y: Tensor) -> None:
        channels = self.gamma.numel()
        if not y.is_floating_point():
            raise UsageError(f"the input is {y.dtype}, but must be of a floating type; use y.float().")
        if y.dim() not in (2, 4) or y.shape[1] != channels:
            raise UsageError(f"the input is {tuple(y.shape)}, but must be [B, {channels}] or [B, {channels}, H, W].")
        if self.training and y.numel() == channels:
            raise UsageError(
                f"the input is {tuple(y.shape)}, but in training mode a channel must have more than one value; "
                "use a larger batch or layer.eval()."
            )


class BatchNorm(_Norm):
    """z = gamma (y - mean(y)) / sqrt(var(y) + eps) + beta, per channel over the batch (section 2).

    The variance is the biased one; the running variance is the unbiased one, as in torch. The formula is torch's own
    function, which autograd differentiates twice. A state of `torch.nn.BatchNorm2d` can be loaded.

        >>> y = torch.randn(8, 3)
        >>> z = (y - y.mean(0)) / (y.var(0, correction=0) + EPS).sqrt()
        >>> torch.allclose(BatchNorm(3)(y), z, atol=1e-6)
        True
    """

    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        self.register_buffer("running_var", torch.ones(channels))

    def forward(self, y: Tensor) -> Tensor:
        self._check(y)
        mean, var = self.running_mean, self.running_var
        if not self.training:  # copies: a batch in training mode may change these before a gradient goes back
            mean, var = mean.clone(), var.clone()
        return F.batch_norm(y, mean, var, self.gamma, self.beta, self.training, MOMENTUM, EPS)

    def _load_from_state_dict(self, state: dict[str, Any], prefix: str, *rest: Any) -> None:
        for theirs, ours in (("weight", "gamma"), ("bias", "beta")):
            if prefix + theirs in state:
                state[prefix + ours] = state.pop(prefix + theirs)
        state.pop(prefix + "num_batches_tracked", None)  # counts what a fixed momentum does not need
        super()._load_from_state_dict(state, prefix, *rest)


class ActivationNoise(nn.Module):
    """Algorithm 1, lines 6-14: a <- s a + m in training mode, the identity in evaluation mode.

    The noise (`lib.norms.noise.noisy`) follows from `seed` and from `calls`, the number of training-mode calls before
    this one: set that back, and the layer repeats itself. See `lib.probes.State`.

        >>> layer, a = ActivationNoise(Noise(), seed=0), torch.ones(8, 3)
        >>> first, second = layer(a), layer(a)
        >>> layer.calls = 0
        >>> first.equal(second), first.equal(layer(a)), a.equal(layer.eval()(a))
        (False, True, True)
    """

    def __init__(self, noise: Noise, seed: int) -> None:
        super().__init__()
        self.noise = noise
        self.seed = seed
        self.calls = 0

    def forward(self, a: Tensor) -> Tensor:
        if not self.training:
            return a
        self.calls += 1
        return noisy(a, self.noise, self.seed, self.calls - 1)


class NoisyBatchNorm(nn.Sequential):
    """BatchNorm followed by Algorithm 1's noise, both before the non-linearity (section 2.1).

    >>> y = torch.randn(8, 3)
    >>> torch.allclose(NoisyBatchNorm(3, Noise().scaled(0), seed=0)(y), BatchNorm(3)(y))
    True
    """

    def __init__(self, channels: int, noise: Noise, seed: int) -> None:
        super().__init__(BatchNorm(channels), ActivationNoise(noise, seed))


def lp_normalize(y: Tensor, gamma: Tensor, beta: Tensor, p: float) -> tuple[Tensor, Tensor, Tensor]:
    """z = gamma (y - mean) / n + beta of y [B, C] or [B, C, H, W], with the mean [C] and the average l_p norm n [C].

    >>> z, mean, n = lp_normalize(torch.tensor([[1.0], [3.0]]), torch.ones(1), torch.zeros(1), p=1)
    >>> [values.round(decimals=3).flatten().tolist() for values in (z, mean, n)]
    [[-0.5, 0.5], [2.0], [2.0]]
    """
    mean = y.mean(_rest(y))
    if p == 1:
        n = y.abs().mean(_rest(y)) + EPS
    elif p == 2:
        n = (y.square().mean(_rest(y)) + EPS).sqrt()
    else:
        n = y.abs().amax(_rest(y)) + EPS
    return _affine(y, mean, n, gamma, beta), mean, n


def _rest(y: Tensor) -> list[int]:
    """Every dimension but the channels'."""
    return [0, *range(2, y.dim())]


def _affine(y: Tensor, mean: Tensor, n: Tensor, gamma: Tensor, beta: Tensor) -> Tensor:
    """gamma (y - mean) / n + beta as one product and one sum; nothing cancels, for n is never less than |mean|."""
    scale = gamma / n
    scale, shift = (values.view(1, -1, *[1] * (y.dim() - 2)) for values in (scale, beta - mean * scale))
    return torch.addcmul(shift, y, scale)


class LpNorm(_Norm):
    """z = gamma (y - mean(y)) / n_p(y) + beta, per channel over the batch (section 3.3).

    n_p is taken before the mean is subtracted: mean |y| + eps for p = 1, sqrt(mean y^2 + eps)
    for p = 2 and max |y| + eps for p = inf. p is 1, 2 or float("inf").

    That is `formula` "unit", the average l_p norm of a unit over the batch. The paper's words can be read otherwise:
    "sum" does not average, so that n_p is M or sqrt(M) times as large with M values a channel; "sample" takes the norm
    of each image's activations in the layer, all channels and positions, and averages over images: one number for all
    channels.

    Statistics are taken in float32 at least; z has the type of y. Autograd differentiates twice.

        >>> y = torch.randn(8, 3)
        >>> z = (y - y.mean(0)) / (y.abs().mean(0) + EPS)
        >>> torch.allclose(LpNorm(3, p=1)(y), z, atol=1e-6)
        True
    """

    def __init__(self, channels: int, p: float, formula: str = "unit") -> None:
        check_choice("p", p, (1, 2, float("inf")))
        check_choice("formula", formula, LP_FORMULAS)
        super().__init__(channels)
        self.p, self.formula = p, formula
        self.register_buffer("running_norm", torch.ones(channels))

    def forward(self, y: Tensor) -> Tensor:
        self._check(y)
        wide = y.to(torch.promote_types(torch.promote_types(y.dtype, self.gamma.dtype), torch.float32))
        if not self.training or y.numel() == 0:
            return _affine(wide, self.running_mean.clone(), self.running_norm.clone(), self.gamma, self.beta).to(
                y.dtype
            )
        z, mean, n = self._normalize(wide)
        try:
            with torch.no_grad():
                self.running_mean.lerp_(mean.to(self.running_mean.dtype), MOMENTUM)
                self.running_norm.lerp_(n.to(self.running_norm.dtype), MOMENTUM)
        except RuntimeError as error:
            if "captured Tensor" not in str(error):
                raise
            raise UsageError(
                "LpNorm cannot change its running statistics under torch.func, which would not see it; "
                "make the buffers an argument of the function that is transformed, or use layer.eval()."
            ) from error
        return z.to(y.dtype)

    def _normalize(self, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """z, and the batch's mean [C] and n_p [C]."""
        if self.formula == "sample":
            mean = y.mean(_rest(y))
            n = (torch.linalg.vector_norm(y.flatten(1), self.p, dim=1).mean() + EPS).expand_as(mean)
            return _affine(y, mean, n, self.gamma, self.beta), mean, n
        # A sum is the average times a power of the number of values.
        factor = (y.numel() // y.shape[1]) ** (1 / self.p) if self.formula == "sum" else 1.0
        z, mean, n = lp_normalize(y, self.gamma / factor, self.beta, self.p)
        return z, mean, n * factor


#: Groups of group normalization, where the channels can be divided by it.
GROUPS = 8


def make_norm(norm: str, channels: int, noise: Noise, seed: int, lp_formula: str = "unit") -> nn.Module:
    """The layer called `norm`, one of `lib.specs.NORMS`, for `channels` channels.

    Layer normalization (each sample over channels and positions), group normalization and instance normalization are
    torch's GroupNorm with 1, `GROUPS` and all groups. Weight normalization is about the weights: its layer does
    nothing.

        >>> make_norm("linf", 12, Noise(), seed=0).p, make_norm("groupnorm", 12, Noise(), seed=0).num_groups
        (inf, 4)
    """
    check_choice("norm", norm, NORMS)
    if norm in ("none", "weightnorm"):
        return nn.Identity()
    if norm in ("layernorm", "groupnorm", "instancenorm"):
        groups = {"layernorm": 1, "groupnorm": math.gcd(GROUPS, channels), "instancenorm": channels}[norm]
        return nn.GroupNorm(groups, channels, EPS)
    if norm == "batchnorm":
        return BatchNorm(channels)
    if norm == "noisy":
        return NoisyBatchNorm(channels, noise, seed)
    return LpNorm(channels, {"l1": 1, "l2": 2, "linf": float("inf")}[norm], lp_formula)
