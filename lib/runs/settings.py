"""Process-wide settings of a run, all in one place: a run puts them on and takes them off."""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Iterator

import torch

#: Options of glibc's mallopt, as in malloc.h, and the values that it starts with.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_USUAL = 128 * 1024


@contextlib.contextmanager
def as_in_runs() -> Iterator[None]:
    """Inside, products are made in the full precision of their type, and freed memory is kept for the next tensor.

    A GPU's default for convolutions is TF32, which is too coarse for a probe (`lib.probes.precision`). glibc would hand
    large blocks back to the system and get them again page by page, which costs time; where there is no glibc, nothing
    is done. Afterwards TF32 and the precision of products are what they were, and glibc's thresholds its defaults.
    """
    before = torch.backends.cudnn.allow_tf32, torch.get_float32_matmul_precision()
    torch.backends.cudnn.allow_tf32 = False
    torch.set_float32_matmul_precision("highest")
    # Older versions take 32 MiB at most. Where they take neither, the other option alone would do harm.
    kept = (_malloc(_MMAP_THRESHOLD, 2**30) or _malloc(_MMAP_THRESHOLD, 2**25)) and _malloc(_TRIM_THRESHOLD, 2**31 - 1)
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before[0]
        torch.set_float32_matmul_precision(before[1])
        if kept:
            _malloc(_MMAP_THRESHOLD, _USUAL)
            _malloc(_TRIM_THRESHOLD, _USUAL)


def _malloc(option: int, value: int) -> bool:
    """Whether the C library has taken an option of its memory allocator."""
    with contextlib.suppress(OSError, AttributeError, TypeError):  # no such function, or no C library to ask
        return bool(ctypes.CDLL(None).mallopt(option, value))
    return False
