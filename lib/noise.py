"""The random numbers of Algorithm 1: a function of seed, call and place alone.

SplitMix64 (Steele, Lea and Flood 2014) is the 64-bit counter key + GOLDEN (i + 1), scrambled, so number i is there without
the ones before it: devices and resumed runs see the same noise, and none keeps a generator's state.
A value of 64 bits is one uniform number (the lower 23) and one normal number (the quantile of the upper 23).

`noisy` is the definition, in tensor operations for any device and precision. On a CPU in float32, where
numba is installed, a compiled loop makes the same numbers in one pass over memory.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from lib.specs import Noise

try:
    import numba
except ImportError:  # as on many a GPU machine
    numba = None

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

    For each channel j, mu_j ~ U(-n_mu, n_mu) and sigma_j ~ U(1, n_sigma); for each value, m ~ U(mu_j - r_mu, mu_j + r_mu) and
    s ~ N(sigma_j, r_sigma^2). `call` counts a layer's calls: each has other noise.
    """
    channel_key, value_key = key(seed, 2 * call), key(seed, 2 * call + 1)
    if numba is not None and a.device.type == "cpu" and a.dtype == torch.float32:
        return _InOnePass.apply(a, noise, channel_key, value_key)
    dtype = torch.promote_types(a.dtype, torch.float32)
    ours = words(channel_key, 2 * a.shape[1], a.device).view(2, -1)
    mu = noise.n_mu * (2 * uniform(ours[0], dtype) - 1)
    sigma = 1 + (noise.n_sigma - 1) * uniform(ours[1], dtype)
    # Values are counted with the channels last, as they lie in memory.
    theirs = words(value_key, a.numel(), a.device).view(a.shape[0], *a.shape[2:], a.shape[1])
    m = (mu - noise.r_mu + 2 * noise.r_mu * uniform(theirs, dtype)).to(a.dtype).movedim(-1, 1)
    s = (sigma + noise.r_sigma * normal(theirs, dtype)).to(a.dtype).movedim(-1, 1)
    return torch.addcmul(m, s, a)


class _InOnePass(torch.autograd.Function):
    @staticmethod
    def forward(ctx, a: Tensor, noise: Noise, channel_key: int, value_key: int) -> Tensor:
        last = a.movedim(1, -1).contiguous()
        s, out = torch.empty_like(last), torch.empty_like(last)
        channels = a.shape[1]
        rows = last.numel() // channels
        # Rows of a few channels would leave most of a processor's vector unless several are taken as one.
        together = next(size for size in (64, 16, 4, 1) if rows % size == 0)
        arrays = [tensor.view(-1, together * channels).numpy() for tensor in (last, s, out)]
        numbers = np.array([noise.n_mu, noise.n_sigma, noise.r_mu, noise.r_sigma], np.float32)
        keys = np.array([channel_key, value_key], np.uint64)
        # On one thread: others would wait for torch's own, which spin after every operation, longer than they save.
        _noisy(*arrays, channels, numbers, keys)
        s = s.movedim(-1, 1)
        ctx.save_for_backward(s)
        return out.movedim(-1, 1)

    @staticmethod
    def backward(ctx, g: Tensor) -> tuple[Tensor, None, None, None]:
        return g * ctx.saved_tensors[0], None, None, None


if numba is not None:
    _compiled = numba.njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract", "nsz"})
    _f, _i, _u = np.float32, np.int32, np.uint64
    # Of one type each: numba would make a float of a signed and an unsigned integer.
    _GOLDEN, _FIRST, _SECOND, _30, _27, _31 = map(_u, (GOLDEN, FIRST, SECOND, 30, 27, 31))
    _LOW, _HIGH, _ONE, _ULP = _u(2**BITS - 1), _u(64 - BITS), _u(1), _f(2.0**-BITS)

    @_compiled
    def _word(key, number):
        z = key + _GOLDEN * (_u(number) + _ONE)
        z = (z ^ (z >> _30)) * _FIRST
        z = (z ^ (z >> _27)) * _SECOND
        return z ^ (z >> _31)

    @_compiled
    def _log(y):
        """Natural logarithm of a positive normal float32, to its last two bits (the polynomial is that of Cephes' logf)."""
        bits = _f(y).view(_i)
        exponent = (bits - _i(0x3F3504F3)) >> _i(23)  # of y / sqrt(1/2), so that the rest is between sqrt(1/2) and sqrt(2)
        x = _i(bits - (exponent << _i(23))).view(_f) - _f(1)
        p = _f(7.0376836292e-2)
        p = p * x + _f(-1.1514610310e-1)
        p = p * x + _f(1.1676998740e-1)
        p = p * x + _f(-1.2420140846e-1)
        p = p * x + _f(1.4249322787e-1)
        p = p * x + _f(-1.6668057665e-1)
        p = p * x + _f(2.0000714765e-1)
        p = p * x + _f(-2.4999993993e-1)
        p = p * x + _f(3.3333331174e-1)
        return x + x * x * (x * p - _f(0.5)) + _f(exponent) * _f(0.6931471805599453)

    @_compiled
    def _normal(word):
        """Giles' approximation of erfinv in single precision (2010), without a branch, times sqrt(2)."""
        x = _f(_i(2) * _i(word >> _HIGH) + _i(1 - 2**BITS)) * _ULP
        w = -_log((_f(1) - x) * (_f(1) + x))
        v = w - _f(2.5)
        p = _f(2.81022636e-08)
        p = p * v + _f(3.43273939e-07)
        p = p * v + _f(-3.5233877e-06)
        p = p * v + _f(-4.39150654e-06)
        p = p * v + _f(0.00021858087)
        p = p * v + _f(-0.00125372503)
        p = p * v + _f(-0.00417768164)
        p = p * v + _f(0.246640727)
        p = p * v + _f(1.50140941)
        v = np.sqrt(w) - _f(3)
        q = _f(-0.000200214257)
        q = q * v + _f(0.000100950558)
        q = q * v + _f(0.00134934322)
        q = q * v + _f(-0.00367342844)
        q = q * v + _f(0.00573950773)
        q = q * v + _f(-0.0076224613)
        q = q * v + _f(0.00943887047)
        q = q * v + _f(1.00167406)
        q = q * v + _f(2.83297682)
        return _f(1.4142135623730951) * x * (p if w < _f(5) else q)

    @_compiled
    def _uniform(word):
        return _f(_i(word & _LOW)) * _ULP

    @_compiled
    def _noisy(a, s, out, channels, numbers, keys):
        """s and out = s a + m, all [rows, a multiple of the channels]."""
        n_mu, n_sigma, r_mu, r_sigma = numbers
        count = a.shape[1]
        low, sigma = np.empty(count, _f), np.empty(count, _f)
        for c in range(channels):
            low[c] = n_mu * (_f(2) * _uniform(_word(keys[0], c)) - _f(1)) - r_mu
            sigma[c] = _f(1) + (n_sigma - _f(1)) * _uniform(_word(keys[0], channels + c))
        for c in range(channels, count):
            low[c], sigma[c] = low[c - channels], sigma[c - channels]
        for row in range(a.shape[0]):
            start = keys[1] + _GOLDEN * _u(row * count)
            for c in range(count):
                word = _word(start, c)
                scale = sigma[c] + r_sigma * _normal(word)
                s[row, c] = scale
                out[row, c] = scale * a[row, c] + (low[c] + _f(2) * r_mu * _uniform(word))
