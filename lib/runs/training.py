"""Training: a spec becomes a record.

Problems (`lib.runs.problems`) draw their batches from the seed and the step alone, so a run that resumes
from a checkpoint, or is replayed for a few steps, sees what the first one saw. A loss that is no longer
finite is data: it is kept, and the rest of the run is NaN.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from pathlib import Path

import torch
import xarray as xr

from lib.errors import UsageError
from lib.probes import Probe
from lib.records.layout import layout
from lib.runs.problems import ImageProblem, LinearProblem
from lib.runs.settings import as_in_runs
from lib.runs.stores import Store, resume, save
from lib.specs import ImageSpec, Spec

CHECKPOINT_EVERY = 60  # seconds


def check_device(device: str) -> None:
    """Raise `UsageError` unless `device` is "cpu" or a "cuda" that is there."""
    if device not in ("cpu", "cuda"):
        raise UsageError(f"device is {device!r}, but must be one of: cpu, cuda.")
    if device == "cuda" and not torch.cuda.is_available():
        raise UsageError("device is 'cuda', but torch finds no CUDA device here; use 'cpu'.")


class OutOfTime(Exception):
    """The deadline came before the end; the checkpoint holds what was done."""


def run(
    spec: Spec,
    device: str = "cpu",
    checkpoint: Path | None = None,
    deadline: float = math.inf,
    probes: Sequence[Probe] = (),
) -> xr.Dataset:
    """Train what `spec` describes and return its measurements; of provenance only the data and the `seconds` it took.

    A network for images resumes from `checkpoint` if that file exists, writes it about once a minute and leaves it
    at the end: the caller removes it once the record is safe. Past `deadline` (seconds since the
    epoch) it writes the checkpoint and raises `OutOfTime`. Deep linear networks take less than a
    minute and do neither. `probes` measure what the spec does not ask for, and change nothing else. Raises `UsageError`
    for a device that is not there and `Failure` where images are missing.
    """
    check_device(device)
    with as_in_runs():
        return _run(spec, device, checkpoint, deadline, probes)


def _run(spec: Spec, device: str, checkpoint: Path | None, deadline: float, others: Sequence[Probe]) -> xr.Dataset:
    start = saved = time.monotonic()
    plan, first = layout(spec), 0
    problem = (ImageProblem if isinstance(spec, ImageSpec) else LinearProblem)(spec, plan, device)
    for probe in others:
        probe.extend(plan)
    probes, store = [*problem.probes, *others], Store(plan)
    if problem.model is None:
        checkpoint = None
    elif checkpoint is not None and checkpoint.is_file():
        first, seconds = resume(checkpoint, problem.model, problem.velocity, store)
        start -= seconds
    for step in range(first, spec.steps):
        due = [probe for probe in probes if probe.due(step)]
        seen, point = problem.point(step, bool(due))
        store.put(step, **seen)
        if problem.alone and not math.isfinite(store.arrays["loss"][step]):
            break
        for probe in due:
            store.put(step, **probe.measure(point))
        problem.descend(point)
        late = time.time() > deadline
        if checkpoint is not None and (late or time.monotonic() - saved > CHECKPOINT_EVERY):
            save(checkpoint, step + 1, time.monotonic() - start, problem.model, problem.velocity, store)
            saved = time.monotonic()
        if late and problem.model is not None:
            raise OutOfTime
    else:
        store.put(spec.steps, **problem.end())
    seconds = round(time.monotonic() - start, 1)
    return store.dataset().assign_attrs(problem.attributes | {"seconds": seconds})
