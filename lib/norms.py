"""Normalization layers: BatchNorm, its noisy variant (Algorithm 1) and l_p norms (section 3.3).

All take activations [B, C] or [B, C, H, W] and treat every position of an image as one
more member of the batch (appendix A.2.1). In training mode they use the batch's
statistics and update running ones, which evaluation mode uses.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from lib.errors import UsageError, check_choice, check_number
from lib.noise import noisy
from lib.specs import LP_FORMULAS, NORMS, Noise

EPS = 1e-5
MOMENTUM = 0.1


def _check_batch(x: Tensor, channels: int) -> None:
    if x.dim() not in (2, 4) or x.shape[1] != channels:
        raise UsageError(f"the input is {tuple(x.shape)}, but must be [B, {channels}] or [B, {channels}, H, W].")


def _per_channel(values: Tensor, x: Tensor) -> Tensor:
    return values.view(1, -1, *[1] * (x.dim() - 2))


class BatchNorm(nn.Module):
    """z = gamma (y - mean(y)) / sqrt(var(y) + eps) + beta, per channel over the batch (section 2).

    The variance is the biased one; gamma starts at 1 and beta at 0.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        check_number("channels", channels, 1, 1_000_000, integer=True)
        self.gamma = nn.Parameter(torch.ones(channels))
        self.beta = nn.Parameter(torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))

    def forward(self, y: Tensor) -> Tensor:
        _check_batch(y, self.gamma.numel())
        return F.batch_norm(
            y, self.running_mean, self.running_var, self.gamma, self.beta, self.training, MOMENTUM, EPS
        )


class ActivationNoise(nn.Module):
    """Algorithm 1, lines 6-14: a <- s a + m in training mode, the identity in evaluation mode.

    The noise (`lib.noise.noisy`) follows from `seed` and from `calls`, the number of training-mode calls before this one:
    set that back, and the layer repeats itself. See `lib.probes.NoiseState`.
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
    """BatchNorm followed by Algorithm 1's noise, both before the non-linearity (section 2.1)."""

    def __init__(self, channels: int, noise: Noise, seed: int) -> None:
        super().__init__(BatchNorm(channels), ActivationNoise(noise, seed))


def _rest(y: Tensor) -> list[int]:
    """Every dimension but the channels'."""
    return [0, *range(2, y.dim())]


def _maxima(values: Tensor) -> Tensor:
    """Largest value of each channel in each of some parts of the batch: [part, C]. Many channels at once vectorize, however few there are."""
    flat = values.movedim(1, -1).reshape(-1, values.shape[1])
    parts = next(size for size in (64, 16, 4, 1) if len(flat) % size == 0)
    return flat.view(-1, parts * values.shape[1]).amax(0).view(parts, -1)


class _LpNormalize(torch.autograd.Function):
    """LpNorm's training mode with a gradient written out: a third of the passes over memory that autograd takes.

    With scale = gamma / n and M values a channel, dL/dy = scale (g - mean(g)) + dL/dn dn/dy, where
    dn/dy is sign(y) / M for p = 1, y / (M n) for p = 2, and for p = inf the sign of the largest value at its place.
    """

    @staticmethod
    def forward(ctx, y: Tensor, gamma: Tensor, beta: Tensor, p: float) -> tuple[Tensor, Tensor, Tensor]:
        mean, maxima = y.mean(_rest(y)), None
        z = torch.empty_like(y)  # first for |y| or y^2: new memory costs more than arithmetic
        if p == 1:
            norm = torch.abs(y, out=z).mean(_rest(y)) + EPS
        elif p == 2:
            norm = (torch.square(y, out=z).mean(_rest(y)) + EPS).sqrt()
        else:
            maxima = _maxima(torch.abs(y, out=z))
            norm = maxima.amax(0) + EPS
        ctx.save_for_backward(y, gamma, mean, norm, maxima)
        ctx.p = p
        ctx.mark_non_differentiable(mean, norm)
        scale = gamma / norm
        torch.addcmul(_per_channel(beta - mean * scale, y), y, _per_channel(scale, y), out=z)
        return z, mean, norm

    @staticmethod
    @once_differentiable
    def backward(ctx, g: Tensor, *_: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        y, gamma, mean, norm, maxima = ctx.saved_tensors
        count = y.numel() // y.shape[1]
        work = g * y
        of_beta = g.sum(_rest(y))
        of_gamma = (work.sum(_rest(y)) - mean * of_beta) / norm
        scale = gamma / norm
        of_norm = -scale * of_gamma
        of_y = torch.addcmul(_per_channel(-scale * of_beta / count, y), g, _per_channel(scale, y), out=work)
        if ctx.p == 1:
            of_y.addcmul_(torch.sign(y), _per_channel(of_norm / count, y))
        elif ctx.p == 2:
            of_y.addcmul_(y, _per_channel(of_norm / (count * norm), y))
        else:
            (_add_at_all if y.is_cuda else _add_at_few)(of_y, y, maxima, of_norm)
        return of_y, of_gamma, of_beta, None


def _add_at_few(of_y: Tensor, y: Tensor, maxima: Tensor, of_norm: Tensor) -> None:
    """Add a channel's `of_norm` times the sign of y to of_y where |y| is largest, shared equally; looks only into parts that have the maximum."""
    largest = maxima.amax(0)
    part, channel = (maxima == largest).nonzero(as_tuple=True)
    values = y.movedim(1, -1).reshape(-1, *maxima.shape)[:, part, channel]
    row, found = (values.abs() == largest[channel]).nonzero(as_tuple=True)
    where = (row * len(maxima) + part[found]) * len(largest) + channel[found]
    channel, values = channel[found], values[row, found]
    ties = torch.bincount(channel, minlength=len(largest))
    of_y.movedim(1, -1).put_(where, values.sign() * (of_norm / ties)[channel], accumulate=True)


def _add_at_all(of_y: Tensor, y: Tensor, maxima: Tensor, of_norm: Tensor) -> None:
    """The same without asking how many there are, for which a GPU would have to wait."""
    largest = y.abs() == _per_channel(maxima.amax(0), y)
    share = of_norm / largest.sum(_rest(y))
    of_y.add_(torch.where(largest, y.sign() * _per_channel(share, y), 0))


class LpNorm(nn.Module):
    """z = gamma (y - mean(y)) / n_p(y) + beta, per channel over the batch (section 3.3).

    n_p is taken before the mean is subtracted: mean |y| + eps for p = 1, sqrt(mean y^2 + eps)
    for p = 2 and max |y| + eps for p = inf. p is 1, 2 or float("inf").

    That is `formula` "unit", the average l_p norm of a unit over the batch. The paper's words can be read otherwise: "sum" does
    not average, so that n_p is M or sqrt(M) times as large with M values a channel; "sample" takes the norm
    of each image's activations in the layer, all channels and positions, and averages over images: one number for all channels.
    """

    def __init__(self, channels: int, p: float, formula: str = "unit") -> None:
        super().__init__()
        check_choice("p", p, (1, 2, float("inf")))
        check_choice("formula", formula, LP_FORMULAS)
        check_number("channels", channels, 1, 1_000_000, integer=True)
        self.p, self.formula = p, formula
        self.gamma = nn.Parameter(torch.ones(channels))
        self.beta = nn.Parameter(torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_norm", torch.ones(channels))

    def forward(self, y: Tensor) -> Tensor:
        _check_batch(y, self.gamma.numel())
        if self.training:
            z, mean, norm = self._normalize(y)
            with torch.no_grad():
                self.running_mean.lerp_(mean, MOMENTUM)
                self.running_norm.lerp_(norm, MOMENTUM)
            return z
        return self._affine(y, self.running_mean, self.running_norm)

    def _normalize(self, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """z, and the statistics of the batch."""
        if self.formula == "sample":
            mean = y.mean(_rest(y))
            norm = torch.linalg.vector_norm(y.flatten(1), self.p, dim=1).mean() + EPS
            return self._affine(y, mean, norm), mean.detach(), norm.detach().expand_as(mean)
        # A sum is the average times a power of the number of values.
        factor = (y.numel() // y.shape[1]) ** (1 / self.p) if self.formula == "sum" else 1.0
        z, mean, norm = _LpNormalize.apply(y, self.gamma / factor, self.beta, self.p)
        return z, mean, norm * factor

    def _affine(self, y: Tensor, mean: Tensor, norm: Tensor) -> Tensor:
        # One multiply-add over the activations instead of a subtraction, a division and an affine map.
        scale = self.gamma / norm
        shift = self.beta - mean * scale
        return torch.addcmul(_per_channel(shift, y), y, _per_channel(scale, y))


def make_norm(norm: str, channels: int, noise: Noise, seed: int, lp_formula: str = "unit") -> nn.Module:
    """The layer called `norm` ("none", "batchnorm", "noisy", "l1", "l2", "linf") for `channels` channels."""
    check_choice("norm", norm, NORMS)
    if norm == "none":
        return nn.Identity()
    if norm == "batchnorm":
        return BatchNorm(channels)
    if norm == "noisy":
        return NoisyBatchNorm(channels, noise, seed)
    return LpNorm(channels, {"l1": 1, "l2": 2, "linf": float("inf")}[norm], lp_formula)
