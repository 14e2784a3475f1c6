"""Algorithm 1's noise in one compiled pass over memory: the numbers of `lib.norms.noise.noisy`, which explains them.

On a CPU in float32 only. Normal numbers are Giles' approximation, off by less than 2e-6. A step of the noisy VGG-A at
quarter width on one thread takes 1.7 times as long by the definition.
"""

from __future__ import annotations

import numba
import numpy as np
import torch
from torch import Tensor

from lib.errors import UsageError

# As in `lib.norms.noise`; the tests compare every number of the two.
GOLDEN, FIRST, SECOND, BITS = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB, 23


def in_one_pass(a: Tensor, constants: tuple[float, ...], channel_key: int, value_key: int) -> Tensor:
    """s a + m of activations a [B, C] or [B, C, H, W]; `constants` are n_mu, n_sigma, r_mu and r_sigma of a `Noise`."""
    return _InOnePass.apply(a, constants, channel_key, value_key)[0]


class _InOnePass(torch.autograd.Function):
    @staticmethod
    def forward(a: Tensor, constants: tuple[float, ...], channel_key: int, value_key: int) -> tuple[Tensor, Tensor]:
        # Channels last in memory, but no views of such: whoever gets them may change them in place.
        layout = torch.channels_last if a.dim() == 4 else torch.contiguous_format
        s, out = (torch.empty(a.shape, dtype=a.dtype, memory_format=layout) for _ in range(2))
        last = [tensor.movedim(1, -1).contiguous() for tensor in (a, s, out)]
        channels = a.shape[1]
        rows = a.numel() // channels
        # Rows of a few channels would leave most of a processor's vector unless several are taken as one.
        together = next(size for size in (64, 16, 4, 1) if rows % size == 0)
        arrays = [tensor.view(-1, together * channels).numpy() for tensor in last]
        # On one thread: others would wait for torch's own, which spin after every operation, longer than they save.
        _noisy(*arrays, channels, np.array(constants, np.float32), np.array([channel_key, value_key], np.uint64))
        return out, s

    @staticmethod
    def setup_context(ctx, inputs: tuple, output: tuple[Tensor, Tensor]) -> None:
        ctx.save_for_backward(output[1])
        ctx.mark_non_differentiable(output[1])

    @staticmethod
    def vmap(*_: object) -> None:
        raise UsageError(
            "Algorithm 1's compiled noise takes no torch.func.vmap, jvp or hessian; call it inside `lib.fast.plain()`."
        )

    jvp = vmap

    @staticmethod
    def backward(ctx, g: Tensor, _: Tensor) -> tuple[Tensor, None, None, None]:
        return g * ctx.saved_tensors[0], None, None, None


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
