"""Sweeps: the records that are missing, made side by side on this machine or on a cluster."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import joblib
import torch
from tqdm.auto import tqdm

from lib import records
from lib.data import load_images
from lib.errors import Failure
from lib.specs import Spec, VGGSpec
from lib.training import OutOfTime


def _make(spec: Spec, device: str, folder: Path | None, deadline: float) -> None:
    if time.time() >= deadline:
        return
    usual = torch.get_num_threads()
    if device == "cpu":
        torch.set_num_threads(1)
    try:
        records.make(spec, device, folder, deadline=deadline)
    except OutOfTime:
        pass
    finally:
        torch.set_num_threads(usual)  # a single job is made in the caller's process


def ensure(
    needed: list[Spec],
    device: str = "cpu",
    jobs: int = 2,
    folder: Path | None = None,
    deadline: float = math.inf,
    scheduler: str | None = None,
) -> None:
    """Make the records among `needed` that do not exist yet, `jobs` processes side by side.

    At `deadline` (seconds since the epoch) runs stop at a checkpoint, and no other starts. With the address of a
    dask `scheduler`, its workers make them instead; they need this project on a file system they share, where a run whose
    worker dies goes on from its checkpoint at another one. Raises `Failure` where no scheduler answers.
    """
    missing = [spec for spec in needed if records.find(spec) is None]
    if not missing:
        return
    for kind in {spec.data for spec in missing if isinstance(spec, VGGSpec)}:
        load_images(kind)  # images that are missing or damaged are better named before the first run than after it
    tasks = (joblib.delayed(_make)(spec, device, folder, deadline) for spec in missing)
    with _processes(min(jobs, len(missing)), scheduler):
        done = joblib.Parallel(return_as="generator_unordered", batch_size=1)(tasks)
        for _ in tqdm(done, total=len(missing), desc="Running experiments", unit="run"):
            pass


@contextmanager
def _processes(jobs: int, scheduler: str | None) -> Iterator[None]:
    """Inside, joblib uses `jobs` processes of this machine, or all workers of a dask scheduler."""
    if scheduler is None:
        with joblib.parallel_config("loky", n_jobs=jobs):
            yield
        return
    from distributed import Client

    try:
        client = Client(scheduler, timeout=10)
    except (OSError, ValueError) as error:
        raise Failure(
            f"no dask scheduler answers at {scheduler!r} ({error}); start one with `dask scheduler`, and workers with "
            "`dask worker ADDRESS --nthreads 1` in this folder, one a GPU where there are some."
        ) from error
    with client, joblib.parallel_config("dask", n_jobs=-1, wait_for_workers_timeout=60):
        yield
