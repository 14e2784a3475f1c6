"""The random numbers of Algorithm 1: a function of seed, call and place alone.

SplitMix64 (Steele, Lea and Flood 2014) is the 64-bit counter key + GOLDEN (i + 1), scrambled, so number i is there
without the ones before it: devices and resumed runs see the same noise, and none keeps a generator's state. A value of
64 bits is one uniform number (the lower 23) and one normal number (the quantile of the upper 23).

`noisy` is the definition, in tensor operations for any device and precision. On a CPU in float32, where
numba is installed, `lib.fast.noise` makes the same numbers sooner.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from lib import fast
from lib.specs import Noise

try:
    from lib.fast.noise import in_one_pass
except ImportError:  # no numba, as on many a GPU machine
    in_one_pass = None

GOLDEN, FIRST, SECOND = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
#: Values are multiples of 2^-23, so that x = 2 u - 1, 1 - x and 1 + x are exact in float32.
BITS = 23


def _scrambled(z: int) -> int:
    z = (z ^ z >> 30) * FIRST % 2**64
    z = (z ^ z >> 27) * SECOND % 2**64
    return z ^ z >> 31


def key(seed: int, number: int) -> int:
    """Value `number` of the SplitMix64 stream of `seed`, which is the seed of another stream."""
    return _scrambled((seed + GOLDEN * (number + 1)) % 2**64)


def words(key: int, count: int, device: torch.device) -> Tensor:
    """The first `count` values of the stream of `key`: [count], int64 for want of unsigned ones."""

    def signed(value: int) -> int:
        return (value + 2**63) % 2**64 - 2**63

    def shifted(z: Tensor, by: int) -> Tensor:
        return (z >> by) & (2 ** (64 - by) - 1)

    z = torch.arange(1, count + 1, device=device) * signed(GOLDEN) + signed(key)
    z = (z ^ shifted(z, 30)) * signed(FIRST)
    z = (z ^ shifted(z, 27)) * signed(SECOND)
    return z ^ shifted(z, 31)


def uniform(words: Tensor, dtype: torch.dtype) -> Tensor:
    """U(0, 1) of the lower bits of `words`, of the same shape."""
    return (words & (2**BITS - 1)).to(dtype) * 2.0**-BITS


def normal(words: Tensor, dtype: torch.dtype) -> Tensor:
    """N(0, 1) of the upper bits of `words`, of the same shape: sqrt(2) erfinv(2 u - 1)."""
    odd = 2 * ((words >> (64 - BITS)) & (2**BITS - 1)) + 1 - 2**BITS
    return math.sqrt(2) * torch.erfinv(odd.to(dtype) * 2.0**-BITS)


def noisy(a: Tensor, noise: Noise, seed: int, call: int) -> Tensor:
    """Algorithm 1, lines 6-14, of activations a [B, C] or [B, C, H, W]: s a + m, differentiable in a.

    For each channel j, mu_j ~ U(-n_mu, n_mu) and sigma_j ~ U(1, n_sigma); for each value, m ~ U(mu_j - r_mu, mu_j +
    r_mu) and s ~ N(sigma_j, r_sigma^2). `call` counts a layer's calls: each has other noise.
    """
    channel_key, value_key = key(seed, 2 * call), key(seed, 2 * call + 1)
    if in_one_pass is not None and fast.enabled() and a.device.type == "cpu" and a.dtype == torch.float32:
        return in_one_pass(a, (noise.n_mu, noise.n_sigma, noise.r_mu, noise.r_sigma), channel_key, value_key)
    dtype = torch.promote_types(a.dtype, torch.float32)
    ours = words(channel_key, 2 * a.shape[1], a.device).view(2, -1)
    mu = noise.n_mu * (2 * uniform(ours[0], dtype) - 1)
    sigma = 1 + (noise.n_sigma - 1) * uniform(ours[1], dtype)
    # Values are counted with the channels last, as they lie in memory.
    theirs = words(value_key, a.numel(), a.device).view(a.shape[0], *a.shape[2:], a.shape[1])
    m = (mu - noise.r_mu + 2 * noise.r_mu * uniform(theirs, dtype)).to(a.dtype).movedim(-1, 1)
    s = (sigma + noise.r_sigma * normal(theirs, dtype)).to(a.dtype).movedim(-1, 1)
    return torch.addcmul(m, s, a)
