"""Algorithm 1's random numbers, against published values, SciPy and their own slow definition."""

import itertools

import numpy as np
import pytest
import torch
from scipy import special, stats

from lib.norms import noise
from lib.specs import Noise

CPU = torch.device("cpu")
STRONG = Noise(n_mu=0.5, n_sigma=1.5, r_mu=0.3, r_sigma=0.8)


def test_words_are_splitmix64s_published_ones():
    # Seed 1234567: the sequence that implementations of SplitMix64 are commonly checked with.
    published = [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
        4593380528125082431,
        16408922859458223821,
    ]
    assert [int(word) % 2**64 for word in noise.words(1234567, 5, CPU)] == published
    assert [noise.key(1234567, number) for number in range(5)] == published


def test_normal_numbers_are_the_quantiles_of_the_upper_bits():
    words = noise.words(3, 100_000, CPU)
    upper = words.numpy().view(np.uint64) >> np.uint64(41)
    expected = special.ndtri((upper + 0.5) / 2**23)
    assert noise.normal(words, torch.float64).numpy() == pytest.approx(expected, rel=1e-12, abs=1e-12)
    ends = torch.tensor([0, -1])  # the smallest and the largest word
    assert noise.normal(ends, torch.float32).tolist() == pytest.approx([-5.2947, 5.2947], abs=1e-3)
    assert noise.uniform(ends, torch.float32).tolist() == [0, 1 - 2**-23]


def test_numbers_have_their_distributions_and_nothing_to_do_with_each_other():
    count = 2**20
    drawn = {}
    for seed, call in itertools.product((0, 1), (0, 1)):
        words = noise.words(noise.key(seed, call), count, CPU)
        drawn[seed, call] = noise.normal(words, torch.float64).numpy(), noise.uniform(words, torch.float64).numpy()
    for normal, uniform in drawn.values():
        assert stats.kstest(normal, "norm").pvalue > 1e-3 and stats.kstest(uniform, "uniform").pvalue > 1e-3
        assert stats.kurtosis(normal) == pytest.approx(0, abs=5 * np.sqrt(24 / count))
    streams = [stream for pair in drawn.values() for stream in pair]
    normal = drawn[0, 0][0]
    streams += [np.roll(normal, by) for by in (1, 2, 64)] + [normal**2]
    found = np.corrcoef(streams) - np.eye(len(streams))
    assert abs(found).max() < 5 / np.sqrt(count)


def test_no_two_calls_or_layers_share_a_stream(monkeypatch):
    keys = []
    words = noise.words
    monkeypatch.setattr(noise, "words", lambda key, *rest: (keys.append(key), words(key, *rest))[1])
    for seed, call in itertools.product(range(3), range(4)):
        noise.noisy(torch.ones(2, 2, dtype=torch.float64), STRONG, seed, call)
    assert len(keys) == len(set(keys)) == 2 * 3 * 4


# 2304, 36 and 175 rows: 64, 4 and 1 of them are taken as one.
@pytest.mark.parametrize("shape", [(64, 8, 6, 6), (4, 8, 3, 3), (7, 3, 5, 5), (16, 1), (3, 130)])
@pytest.mark.parametrize("last", [False, True])
def test_the_compiled_loop_makes_what_the_definition_says(shape, last):
    pytest.importorskip("numba")
    a = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    a = a.movedim(1, -1).contiguous().movedim(-1, 1) if last else a
    slow, fast = a.double().requires_grad_(), a.requires_grad_()
    expected, found = noise.noisy(slow, STRONG, 5, 6), noise.noisy(fast, STRONG, 5, 6)
    assert type(found.grad_fn).__name__ == "_InOnePassBackward"  # otherwise this compares the definition with itself
    torch.testing.assert_close(found.double(), expected, rtol=2e-6, atol=5e-6)
    weight = torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    (expected * weight).sum().backward()
    (found * weight.float()).sum().backward()
    torch.testing.assert_close(fast.grad.double(), slow.grad, rtol=2e-6, atol=1e-5)


def test_the_compiled_loop_keeps_the_tails():
    pytest.importorskip("numba")
    off = Noise(n_mu=0, n_sigma=1, r_mu=0, r_sigma=1)
    a = torch.ones(2**17, 32)
    found, expected = noise.noisy(a, off, 0, 0) - 1, noise.noisy(a.double(), off, 0, 0) - 1
    assert expected.abs().max() > 5  # beyond w = 5, where Giles' other polynomial begins
    assert (found - expected).abs().max() < 2e-6


@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_every_precision_and_device_sees_the_same_noise(dtype, device):
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("no CUDA device here")
    a = torch.ones(8, 4, 3, 3, dtype=dtype, device=device)
    z = noise.noisy(a, STRONG, 1, 2)
    assert z.dtype == dtype
    torch.testing.assert_close(
        z.float(),
        noise.noisy(a.float().cpu(), STRONG, 1, 2),
        check_device=False,
        rtol=2e-2,
        atol=4e-2 if dtype == torch.bfloat16 else 5e-6,
    )
    assert not torch.equal(z, noise.noisy(a, STRONG, 1, 3)) and not torch.equal(z, noise.noisy(a, STRONG, 2, 2))
