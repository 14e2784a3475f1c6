"""Normalization layers: BatchNorm, its noisy variant (Algorithm 1) and l_p norms (section 3.3).

All take activations [B, C] or [B, C, H, W] and treat every position of an image as one
more member of the batch (appendix A.2.1). In training mode they use the batch's
statistics and update running ones, which evaluation mode uses.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lib.errors import UsageError, check_choice, check_number
from lib.specs import NORMS, Noise

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

    Each call draws mu_j ~ U(-n_mu, n_mu) and sigma_j ~ U(1, n_sigma) for each channel j, then
    m ~ U(mu_j - r_mu, mu_j + r_mu) and s ~ N(sigma_j, r_sigma^2) for every element.
    The layer's own generator makes the noise repeatable: see `lib.probes.held`.
    """

    def __init__(self, noise: Noise, seed: int) -> None:
        super().__init__()
        self.noise = noise
        self.seed = seed
        self._generators: dict[torch.device, torch.Generator] = {}

    def generator(self, device: torch.device) -> torch.Generator:
        """The layer's generator on `device`, seeded at first use."""
        if device not in self._generators:
            self._generators[device] = torch.Generator(device).manual_seed(self.seed)
        return self._generators[device]

    def forward(self, a: Tensor) -> Tensor:
        if not self.training:
            return a
        n, generator = self.noise, self.generator(a.device)
        options = {"generator": generator, "device": a.device, "dtype": a.dtype}
        mu = n.n_mu * (2 * torch.rand(a.shape[1], **options) - 1)
        sigma = 1 + (n.n_sigma - 1) * torch.rand(a.shape[1], **options)
        # Drawn with the channels last: the CPU's generators are several times slower on strided memory.
        shape = (a.shape[0], *a.shape[2:], a.shape[1])
        m = torch.rand(shape, **options).mul_(2 * n.r_mu).add_(mu - n.r_mu).movedim(-1, 1)
        s = torch.randn(shape, **options).mul_(n.r_sigma).add_(sigma).movedim(-1, 1)
        return torch.addcmul(m, s, a)


class NoisyBatchNorm(nn.Sequential):
    """BatchNorm followed by Algorithm 1's noise, both before the non-linearity (section 2.1)."""

    def __init__(self, channels: int, noise: Noise, seed: int) -> None:
        super().__init__(BatchNorm(channels), ActivationNoise(noise, seed))


class LpNorm(nn.Module):
    """z = gamma (y - mean(y)) / n_p(y) + beta, per channel over the batch (section 3.3).

    n_p is taken before the mean is subtracted: mean |y| + eps for p = 1, sqrt(mean y^2 + eps)
    for p = 2 and max |y| + eps for p = inf. p is 1, 2 or float("inf").
    """

    def __init__(self, channels: int, p: float) -> None:
        super().__init__()
        check_choice("p", p, (1, 2, float("inf")))
        check_number("channels", channels, 1, 1_000_000, integer=True)
        self.p = p
        self.gamma = nn.Parameter(torch.ones(channels))
        self.beta = nn.Parameter(torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_norm", torch.ones(channels))

    def statistics(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """The batch's mean [C] and average l_p norm [C]."""
        rest = [0, *range(2, y.dim())]
        mean = y.mean(rest)
        if self.p == 1:
            return mean, y.abs().mean(rest) + EPS
        if self.p == 2:
            return mean, (y.square().mean(rest) + EPS).sqrt()
        return mean, y.abs().amax(rest) + EPS

    def forward(self, y: Tensor) -> Tensor:
        _check_batch(y, self.gamma.numel())
        if self.training:
            mean, norm = self.statistics(y)
            with torch.no_grad():
                self.running_mean.lerp_(mean, MOMENTUM)
                self.running_norm.lerp_(norm, MOMENTUM)
        else:
            mean, norm = self.running_mean, self.running_norm
        # One multiply-add over the activations instead of a subtraction, a division and an affine map.
        scale = self.gamma / norm
        shift = self.beta - mean * scale
        return torch.addcmul(_per_channel(shift, y), y, _per_channel(scale, y))


def make_norm(norm: str, channels: int, noise: Noise, seed: int) -> nn.Module:
    """The layer called `norm` ("none", "batchnorm", "noisy", "l1", "l2", "linf") for `channels` channels."""
    check_choice("norm", norm, NORMS)
    if norm == "none":
        return nn.Identity()
    if norm == "batchnorm":
        return BatchNorm(channels)
    if norm == "noisy":
        return NoisyBatchNorm(channels, noise, seed)
    return LpNorm(channels, {"l1": 1, "l2": 2, "linf": float("inf")}[norm])
