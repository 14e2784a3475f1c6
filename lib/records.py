"""Records: what a run measured, with everything needed to trust it or make it again.

One compressed netCDF file a run, readable with xarray alone. Committed records live in
`book/records/`; what a build computes is cached in `_build/records/` and is used again only
while the code that made it is unchanged.
"""

from __future__ import annotations

import ast
import datetime
import functools
import hashlib
import math
import os
import platform
import shutil
from dataclasses import fields
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import xarray as xr

from lib import training
from lib.errors import Failure, check_number
from lib.specs import Noise, Spec, VGGSpec, from_canonical

LIB = Path(__file__).resolve().parent
COMMITTED = LIB.parent / "book" / "records"
CACHE = LIB.parent / "_build" / "records"
#: The modules that decide what a run measures.
SOURCES = ("controls", "data", "kernels", "linear", "models", "noise", "norms", "probes", "specs", "stores", "theory/formulas", "theory/training", "training")
#: Relative tolerance of a replay of the first steps, by precision: other CPUs round differently,
#: and training amplifies it.
REPLAY_TOLERANCE = {"bfloat16": 5e-2, "float32": 2e-3, "float64": 1e-7}
REPLAY_STEPS = 3
#: Images of a batch that may fall to another class, between two of which they are.
REPLAY_IMAGES = {"bfloat16": 5, "float32": 2, "float64": 2}
#: Measurements that another kind of device makes otherwise: rounding errors, signs, an iteration's last step.
_ROUNDED = ("error_", "theorem_condition", "control_top_eigenvalue")


@functools.cache
def code_version() -> str:
    """Twelve hex digits of a hash of `SOURCES`; comments, docstrings and layout do not count."""
    digest = hashlib.sha256()
    for name in SOURCES:
        tree = ast.parse((LIB / f"{name}.py").read_text())
        for node in ast.walk(tree):
            if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)) and ast.get_docstring(node) is not None:
                node.body = node.body[1:]
        digest.update(repr(_plain(tree)).encode())
    return digest.hexdigest()[:12]


def _plain(node: object) -> object:
    """A syntax tree without empty fields, of which each version of Python has its own."""
    if isinstance(node, ast.AST):
        return type(node).__name__, [(name, _plain(value)) for name, value in ast.iter_fields(node) if value not in (None, [])]
    return [_plain(item) for item in node] if isinstance(node, list) else node


def file_name(spec: Spec) -> str:
    """The name of the record of `spec`."""
    seed = f"-seed{spec.seed}" if isinstance(spec, VGGSpec) else ""
    return f"{spec.network}-{spec.norm}{seed}-{spec.hash}.nc"


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
    checkpoint = CACHE.parent / "checkpoints" / f"{spec.hash}-{code_version()}-{device}.pt"
    resumed = checkpoint.is_file()
    dataset = training.run(spec, device, checkpoint, deadline)
    dataset.attrs |= {
        "spec": spec.canonical(),
        "hash": spec.hash,
        "code": code_version(),
        "torch": str(torch.__version__),
        "device": device_name(device),
        "kind": device,
        "threads": torch.get_num_threads(),
        "resumed": int(resumed),
        "recorded": datetime.date.today().isoformat(),
    }
    path = (folder or CACHE) / file_name(spec)
    _write(dataset, path)
    checkpoint.unlink(missing_ok=True)
    return dataset


def _write(dataset: xr.Dataset, path: Path) -> None:
    encoding = {name: {"zlib": True, "complevel": 6, "shuffle": True} for name in dataset.data_vars}
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        dataset.to_netcdf(partial, engine="h5netcdf", encoding=encoding)
        partial.replace(path)
    except (OSError, RuntimeError) as error:  # HDF5 reports a full disk as a RuntimeError
        raise Failure(f"cannot write {path} ({error}); free some space and run again: the run resumes.") from error
    finally:
        partial.unlink(missing_ok=True)


#: What reading a damaged file may raise.
_DAMAGE = (OSError, KeyError, ValueError, TypeError, RuntimeError)


def commit(path: Path) -> None:
    """Copy the record in `path` to the committed ones, whole or not at all."""
    COMMITTED.mkdir(parents=True, exist_ok=True)
    partial = COMMITTED / f".{path.name}.{os.getpid()}.partial"
    try:
        shutil.copy(path, partial)
        partial.replace(COMMITTED / path.name)
    except OSError as error:
        raise Failure(f"cannot copy {path} to {COMMITTED} ({error}); free some space and run again.") from error
    finally:
        partial.unlink(missing_ok=True)


def read(path: Path) -> xr.Dataset:
    """The record in `path`; raises `Failure` if it is missing, damaged or not what its name says."""
    try:
        dataset = xr.load_dataset(path, engine="h5netcdf")
        spec = from_canonical(dataset.attrs["spec"])
    except _DAMAGE as error:
        raise Failure(f"{path} is not a readable record ({error}); restore it or remove it to make it again.") from error
    if file_name(spec) != path.name:
        raise Failure(f"{path} holds the record of {file_name(spec)}; restore it or remove it to make it again.")
    return dataset


def find(spec: Spec) -> Path | None:
    """Where the record of `spec` is: committed, else cached by the present code, else None."""
    if (COMMITTED / file_name(spec)).is_file():
        return COMMITTED / file_name(spec)
    cached = CACHE / file_name(spec)
    try:
        with xr.open_dataset(cached, engine="h5netcdf") as stored:
            return cached if stored.attrs.get("code") == code_version() else None
    except _DAMAGE:
        return None  # absent or damaged: a cache is made again


def obtain(spec: Spec, device: str = "cpu") -> xr.Dataset:
    """The record of `spec`: a committed one, a cached one, or a run made now and cached."""
    path = find(spec)
    return read(path) if path else make(spec, device)


def catalogue(folder: Path | None = None) -> pd.DataFrame:
    """The records in `folder` (the committed ones by default), a row for those that differ in the seed alone.

    What was run, on what, and the minutes it took in all; "else" is whatever other field of the
    spec has not its default, but for what is measured how often.
    """
    rows = []
    for path in (folder or COMMITTED).glob("*.nc"):
        with xr.open_dataset(path, engine="h5netcdf") as record:
            attrs = record.attrs
        spec = from_canonical(attrs["spec"])
        rows.append(
            {
                "network": getattr(spec, "architecture", spec.network),
                "norm": spec.norm,
                "width": getattr(spec, "width", 1.0),
                "steps": spec.steps,
                "step size": spec.step_size,
                "else": _else(spec),
                "seeds": str(spec.seed) if isinstance(spec, VGGSpec) else f"0-{spec.seeds - 1}",
                "data": getattr(spec, "data", "generated"),
                "minutes": attrs["seconds"] / 60,
            }
        )
    table = pd.DataFrame(rows)
    same = [name for name in table.columns if name not in ("seeds", "minutes")]
    together = {"seeds": lambda seeds: ",".join(sorted(seeds)), "minutes": lambda minutes: round(minutes.sum(), 1)}
    return table.groupby(same, as_index=False).agg(together)


#: Fields of a spec that have columns of their own, or do not change the run.
_SHOWN = ("norm", "width", "steps", "step_size", "seed", "seeds", "data", "architecture", "units", "eval_images")


def _else(spec: Spec) -> str:
    changed = []
    for field in fields(spec):
        value = getattr(spec, field.name)
        if field.name == "noise":
            strength = value.n_mu / Noise().n_mu
            if strength != 1:
                changed.append(f"noise {strength:g}x")
            if value != Noise().scaled(strength):
                changed.append(f"r_sigma {value.r_sigma:.3g}")
        elif field.name not in _SHOWN and not field.name.endswith("_every") and value != field.default:
            changed.append(f"{field.name} {value}")
    return ", ".join(changed)


def replay(record: xr.Dataset, steps: int = REPLAY_STEPS, device: str = "cpu") -> float:
    """Largest relative difference between a record's first `steps` and the same steps run now.

    Compares every measurement of the first steps, relative to its largest value there (for a landscape,
    at each step length). Infinities and NaNs agree with their like only.
    A value above `REPLAY_TOLERANCE` means that the code no longer makes this record. A CPU's steps are run on as many threads as
    the record's, for sums are split among them. On another kind of device what hangs on rounding is left out.
    """
    check_number("steps", steps, 1, 10_000, integer=True)
    spec = from_canonical(record.attrs["spec"])
    spec = spec.but(steps=min(steps, spec.steps))
    if isinstance(spec, VGGSpec):
        spec = spec.but(eval_every=0)
    usual = torch.get_num_threads()
    if record.attrs.get("kind", "cpu") == device == "cpu":
        torch.set_num_threads(int(record.attrs.get("threads", usual)))
    try:
        again = training.run(spec, device)
    finally:
        torch.set_num_threads(usual)
    worst = 0.0
    for name, new in again.data_vars.items():
        if np.issubdtype(new.dtype, np.integer):
            continue  # counts of histograms: a sample on the edge of a bin may fall to either side
        if name.startswith(_ROUNDED) and record.attrs.get("kind", "cpu") != device:
            continue
        old = record[name].isel({new.dims[0]: slice(new.shape[0])}).astype(float)
        new = new.astype(float)
        same = np.isfinite(old) == np.isfinite(new)
        if not bool((same & (np.isfinite(old) | (old.isnull() == new.isnull()))).all()):
            return float("inf")
        over = [dim for dim in old.dims if dim != "step_length"]
        old, new = old.where(np.isfinite(old), 0), new.where(np.isfinite(new), 0)
        scale = abs(old).max(over).clip(1e-30)
        difference = abs(new.values - old)
        if name == "accuracy":
            difference = (difference - (REPLAY_IMAGES[spec.precision] + 1e-3) / spec.batch_size).clip(0)
        worst = max(worst, float((difference / scale).max()))
    return worst


def tolerance(record: xr.Dataset) -> float:
    """The replay tolerance of a record, by its precision (deep linear networks use float64)."""
    spec = from_canonical(record.attrs["spec"])
    return REPLAY_TOLERANCE[getattr(spec, "precision", "float64")]
