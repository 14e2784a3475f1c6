"""Sweeps: the records that are missing, made side by side on this machine or on a cluster."""

from __future__ import annotations

import functools
import math
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import joblib
import torch
import xarray as xr
from tqdm.auto import tqdm

from lib import files, records
from lib.data import load_images
from lib.errors import Failure, shown
from lib.paper import results
from lib.paper.experiments import EXPERIMENTS, on_demand, unique
from lib.paper.labels import Label
from lib.runs import making
from lib.runs.problems import check_images
from lib.runs.training import OutOfTime
from lib.specs import ImageSpec, Spec

#: How long to wait for a scheduler's answer.
SCHEDULER_SECONDS = 10


@functools.cache
def end_with(process: int) -> None:
    """In a child of `process`: end within a second of it, however it ended.

    joblib's workers would finish their run first.
    """

    def watch() -> None:
        while os.getppid() == process:
            time.sleep(0.5)
        os._exit(1)  # the run has a checkpoint

    if os.getppid() == process:  # not where a process makes its runs itself, nor at a worker of a cluster
        threading.Thread(target=watch, daemon=True).start()


def _make(spec: Spec, device: str, folder: Path | None, deadline: float, asked_by: int) -> None:
    end_with(asked_by)
    if time.time() >= deadline:
        return
    usual = torch.get_num_threads()
    if device == "cpu":
        torch.set_num_threads(1)
    try:
        making.make(spec, device, folder, deadline=deadline)
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

    At `deadline` (seconds since the epoch) runs stop at a checkpoint, and no other starts. With the address of a dask
    `scheduler`, its workers make them instead; they need this project on a file system they share, where a run whose
    worker dies goes on from its checkpoint at another one. Raises `Failure` where no scheduler answers.
    """
    missing = [spec for spec in needed if records.find(spec) is None]
    if not missing:
        return
    # What cannot work is better named before the first run than after it.
    files.check_writable(folder or records.CACHE)
    files.check_writable(records.CACHE.parent / "checkpoints")
    for spec in missing:
        if isinstance(spec, ImageSpec):
            check_images(spec, load_images(spec.data))
    tasks = (joblib.delayed(_make)(spec, device, folder, deadline, os.getpid()) for spec in missing)
    with _processes(min(jobs, len(missing)), scheduler):
        done = joblib.Parallel(return_as="generator_unordered", batch_size=1)(tasks)
        for _ in tqdm(done, total=len(missing), desc="Running experiments", unit="run"):
            pass


def prepare(scale: str, device: str = "cpu", jobs: int = 2) -> None:
    """Make every record that the chapters read at `scale`, that does not exist yet and that a build makes."""
    # The slow ones first, so that none is left running alone at the end.
    slow = ("l1", "linf")
    needed = unique([name for name in EXPERIMENTS if on_demand(name, scale, device)], scale)
    ensure(sorted(needed, key=lambda spec: spec.norm not in slow), device, jobs)


def obtain(name: str, scale: str, device: str = "cpu", jobs: int = 2) -> dict[Label, xr.Dataset]:
    """The curves of an experiment (see `lib.paper.results.load`), after making what has no record yet, with progress.

    An interruption keeps what is done: the same call goes on from there. Runs of hours are not started here but by
    `python -m lib record`; of them there is what is recorded.
    """
    if on_demand(name, scale, device):
        ensure(unique([name], scale), device, jobs)
    return results.load(name, scale, device)


@contextmanager
def _processes(jobs: int, scheduler: str | None) -> Iterator[None]:
    """Inside, joblib uses `jobs` processes of this machine, or all workers of a dask scheduler."""
    if scheduler is None:
        with joblib.parallel_config("loky", n_jobs=jobs):
            yield
        return
    from distributed import Client

    try:
        client = Client(scheduler, timeout=SCHEDULER_SECONDS)
    except Exception as error:  # of a protocol that is not there, each raises its own
        raise Failure(
            f"no dask scheduler answers at {shown(scheduler)} ({files.reason(error)}); start one with `dask "
            "scheduler`, and workers with "
            "`dask worker ADDRESS --nthreads 1` in this folder, one a GPU where there are some."
        ) from error
    with client, joblib.parallel_config("dask", n_jobs=-1, wait_for_workers_timeout=60):
        yield
