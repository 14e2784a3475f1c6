"""Making records: a run with its provenance, and the replay that checks one."""

from __future__ import annotations

import datetime
import math
import platform
from pathlib import Path

import numpy as np
import torch
import xarray as xr

from lib import files, records
from lib.errors import check_number
from lib.runs import training
from lib.specs import ImageSpec, LinearSpec, Spec, spec_of

#: Relative tolerance of a replay of the first steps, by precision: other CPUs round differently,
#: and training amplifies it.
REPLAY_TOLERANCE = {"bfloat16": 5e-2, "float32": 2e-3, "float64": 1e-7}
REPLAY_STEPS = 3
#: Images of a batch that may fall to another class, between two of which they are.
REPLAY_IMAGES = {"bfloat16": 5, "float32": 2, "float64": 2}
#: Measurements that another kind of device makes otherwise: rounding errors, signs, an iteration's last step.
_ROUNDED = ("error_", "theorem_condition", "control_top_eigenvalue")


def device_name(device: str) -> str:
    if device == "cuda":
        return torch.cuda.get_device_name()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def make(spec: Spec, device: str = "cpu", folder: Path | None = None, deadline: float = math.inf) -> xr.Dataset:
    """Run `spec`, write its record into `folder` (the cache by default) and return it.

    An interrupted run resumes from its checkpoint; past `deadline` (seconds since the epoch) a run
    raises `training.OutOfTime` and leaves one. The record is written whole or not at all; raises
    `Failure` where it cannot be written.
    """
    training.check_device(device)
    folder = folder or records.CACHE
    checkpoint = records.CACHE.parent / "checkpoints" / f"{spec.hash}-{records.code_version()}-{device}.pt"
    for place in (folder, checkpoint.parent):
        files.check_writable(place)
    resumed = checkpoint.is_file()
    dataset = training.run(spec, device, checkpoint, deadline)
    dataset.attrs |= {
        "spec": spec.canonical(),
        "hash": spec.hash,
        "code": records.code_version(),
        "torch": str(torch.__version__),
        "device": device_name(device),
        "kind": device,
        "threads": torch.get_num_threads(),
        "resumed": int(resumed),
        "recorded": datetime.date.today().isoformat(),
    }
    path = folder / records.file_name(spec)
    records.write(dataset, path)
    checkpoint.unlink(missing_ok=True)
    return dataset


def replay(record: xr.Dataset, steps: int = REPLAY_STEPS, device: str = "cpu") -> float:
    """Largest relative difference between a record's first `steps` and the same steps run now.

    Compares every measurement of the first steps, relative to its largest value there (for a landscape, at each step
    length). Infinities and NaNs agree with their like only; coordinates agree exactly or not at all. A value above
    `REPLAY_TOLERANCE` means that the code no longer makes this record. A CPU's steps are run on as many threads as the
    record's, for sums are split among them. On another kind of device what hangs on rounding is left out.
    """
    check_number("steps", steps, 1, 10_000, integer=True)
    same_kind = record.attrs.get("kind", "cpu") == device
    return _difference(record, _again(record, steps, device), spec_of(record), same_kind)


def verify(record: xr.Dataset, steps: int = REPLAY_STEPS, device: str = "cpu") -> tuple[float, int]:
    """What `replay` finds, and over how many steps: `steps`, or half as many and so on where rounding alone says more.

    Another processor rounds otherwise, and training amplifies it, in some networks a hundredfold a step. Steps after
    which initial weights that differ in their last bit differ by a tenth of `tolerance` tell nothing. The first one
    always does.
    """
    while (worst := replay(record, steps, device)) > tolerance(record) and steps > 1:
        spec = spec_of(record)
        if isinstance(spec, LinearSpec):  # in float64
            break
        as_is, moved = (_again(record, steps, device, scale) for scale in (1.0, 1.0 + 2.0**-22))
        if _difference(as_is, moved, spec) < tolerance(record) / 10:
            break
        steps //= 2
    return worst, steps


def _again(record: xr.Dataset, steps: int, device: str, scale: float = 1.0) -> xr.Dataset:
    """The first `steps` of a record run now, from `scale` times its initial weights."""
    spec = spec_of(record)
    spec = spec.but(steps=min(steps, spec.steps))
    if isinstance(spec, ImageSpec):
        spec = spec.but(eval_every=0, init_scale=scale * spec.init_scale)
    usual = torch.get_num_threads()
    if record.attrs.get("kind", "cpu") == device == "cpu":
        torch.set_num_threads(int(record.attrs.get("threads", usual)))
    try:
        return training.run(spec, device)
    finally:
        torch.set_num_threads(usual)


def _difference(record: xr.Dataset, again: xr.Dataset, spec: Spec, same_kind: bool = True) -> float:
    """Largest difference between a record and a shorter run, as `replay` takes it."""
    if not _same_axes(record, again):
        return math.inf
    worst = 0.0
    for name, new in again.data_vars.items():
        if np.issubdtype(new.dtype, np.integer):
            continue  # counts of histograms: a sample on the edge of a bin may fall to either side
        if name.startswith(_ROUNDED) and not same_kind:
            continue
        old = record[name].isel({new.dims[0]: slice(new.shape[0])}).astype(float)
        new = new.astype(float)
        finite = np.isfinite(old) & np.isfinite(new)
        if not bool((finite | (old == new.values) | (old.isnull() & new.isnull())).all()):
            return math.inf
        over = [dim for dim in old.dims if dim != "step_length"]
        old, new = old.where(np.isfinite(old), 0), new.where(np.isfinite(new), 0)
        scale = abs(old).max(over).clip(1e-30)
        difference = abs(new.values - old)
        if name == "accuracy":
            difference = (difference - (REPLAY_IMAGES[spec.precision] + 1e-3) / spec.batch_size).clip(0)
        worst = max(worst, float((difference / scale).max()))
    return worst


def _same_axes(record: xr.Dataset, again: xr.Dataset) -> bool:
    """Whether a record has the arrays of a shorter run, and begins with its coordinates."""
    return again.data_vars.keys() <= record.data_vars.keys() and all(
        name in record.coords and np.array_equal(record[name].values[: values.size], values)
        for name, values in again.coords.items()
    )


def tolerance(record: xr.Dataset) -> float:
    """The replay tolerance of a record, by its precision (deep linear networks use float64)."""
    spec = spec_of(record)
    return REPLAY_TOLERANCE[getattr(spec, "precision", "float64")]
