"""Records: what a run measured, with everything needed to trust it or make it again.

One compressed netCDF file a run, readable with xarray alone. Committed records live in
`book/records/`; what a build computes is cached in `_build/records/` and is used again only
while the code that made it is unchanged. The SHA-256 of a file stands at its end, and that of a committed
one in `book/records/SHA256SUMS`.
"""

from __future__ import annotations

import ast
import contextlib
import functools
import hashlib
import io
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from numbers import Integral, Real
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import xarray as xr

from lib import files
from lib.errors import Failure
from lib.records.layout import layout as layout_of
from lib.specs import ImageSpec, Noise, Spec, from_canonical, spec_of

LIB = Path(__file__).resolve().parents[1]
COMMITTED = LIB.parent / "book" / "records"
CACHE = LIB.parent / "_build" / "records"
#: The list of the SHA-256 sums of committed records, in their folder.
SUMS = "SHA256SUMS"
#: The modules that decide what a run measures.
SOURCES = (
    "data",
    "records/layout",
    "specs",
    "fast/__init__",
    "fast/kernels",
    "fast/noise",
    "models/images",
    "models/linear",
    "models/moments",
    "norms/layers",
    "norms/noise",
    "probes/activations",
    "probes/controls",
    "probes/copies",
    "probes/covariate",
    "probes/lengths",
    "probes/loss_landscape",
    "probes/point",
    "probes/precision",
    "probes/probe",
    "probes/second",
    "probes/theorems",
    "runs/batches",
    "runs/problems",
    "runs/settings",
    "runs/stores",
    "runs/training",
    "theory/formulas",
)


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
        return type(node).__name__, [
            (name, _plain(value)) for name, value in ast.iter_fields(node) if value not in (None, [])
        ]
    return [_plain(item) for item in node] if isinstance(node, list) else node


def file_name(spec: Spec) -> str:
    """The name of the record of `spec`.

    >>> from lib.specs import LinearSpec
    >>> file_name(LinearSpec(norm="batchnorm"))
    'deep_linear-batchnorm-8a717f608919.nc'
    """
    seed = f"-seed{spec.seed}" if isinstance(spec, ImageSpec) else ""
    return f"{spec.network}-{spec.norm}{seed}-{spec.hash}.nc"


def write(dataset: xr.Dataset, path: Path) -> None:
    """Write a record to `path`, with its seal, whole or not at all. Raises `Failure` where it cannot be written."""
    encoding = {name: {"zlib": True, "complevel": 6, "shuffle": True} for name in dataset.data_vars}
    with files.replacing(path, "free some space and run again: the run resumes") as file:
        # In memory first: HDF5 itself crashes on a disk that is full.
        content = io.BytesIO()
        with _by_itself():
            dataset.to_netcdf(content, engine="h5netcdf", encoding=encoding)
        file.write(files.sealed(content.getvalue()))


def _by_itself() -> contextlib.AbstractContextManager:
    """Inside, xarray asks no dask scheduler for a lock on memory nobody shares: a worker's may have forgotten it."""
    try:
        import dask
    except ImportError:  # then xarray asks nobody
        return contextlib.nullcontext()
    return dask.config.set(scheduler="synchronous")


def commit(path: Path) -> None:
    """Copy the record in `path` to the committed ones, whole or not at all, and its sum to their list."""
    read(path)
    with files.replacing(COMMITTED / path.name) as file:
        file.write(files.contents(path))
    list_sums()


def sums(folder: Path) -> dict[str, str]:
    """Name of a record to the SHA-256 of its bytes, as the folder's `sha256sum` list has it; empty without a list."""
    path = folder / SUMS
    if not path.exists():
        return {}
    try:
        lines = [line.split() for line in files.contents(path).decode().splitlines()]
        return {name.removeprefix("*"): digest for digest, name in lines}
    except (OSError, ValueError) as error:
        raise Failure(f"{path} is damaged ({files.reason(error)}); restore it, with git for example.") from error


def list_sums() -> None:
    """Add the sums of sealed committed records that the list lacks, and drop the sums of records that are gone.

    All other sums stay.
    """
    known = sums(COMMITTED)
    found = {}
    for path in sorted(COMMITTED.glob("*.nc")):
        if path.name in known:
            found[path.name] = known[path.name]
            continue
        with contextlib.suppress(Failure):
            found[path.name] = files.sha256(_whole(path)[1])
    if found != known:
        with files.replacing(COMMITTED / SUMS) as file:
            file.write("".join(f"{digest}  {name}\n" for name, digest in sorted(found.items())).encode())


def _whole(path: Path) -> tuple[bytes, bytes]:
    """The netCDF bytes of a record, and all bytes of its file, after comparing their sum.

    It is compared with the sum in the folder's list, or else the seal. Nothing is parsed before: HDF5 hangs or crashes
    on some damaged files. Raises `Failure`.
    """
    try:
        content = files.contents(path)
        known = sums(path.parent).get(path.name)
        if known is not None and files.sha256(content) != known:
            raise ValueError(f"its sha256 is not the one in {SUMS}: it is damaged or another")
        return files.unsealed(content, must=known is None), content
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> Failure:
    return Failure(
        f"{path} is not a readable record ({files.reason(error)}); restore it or remove it to make it again. One "
        f"that is known to be sound needs its sum in the list beside it (sha256sum *.nc > {SUMS})."
    )


#: What reading a file with other contents may raise, inside HDF5 and out.
_TROUBLE = (OSError, LookupError, ValueError, TypeError, AttributeError, RuntimeError, MemoryError, RecursionError)


def read(path: Path) -> xr.Dataset:
    """The record in `path`; raises `Failure` if it is missing, damaged, or not what its name and its spec say.

    Sums are compared before anything is parsed. Then the file may hold what `lib.records.layout` says of its spec and
    nothing else: the arrays, of those dimensions, sizes and types, the coordinates with those values, and the
    attributes that a run leaves. xarray alone reads a record, too, without these checks.
    """
    content, _ = _whole(path)
    try:
        with h5py.File(io.BytesIO(content)) as file:
            dataset = _checked(file)
        spec = spec_of(dataset)
    except _TROUBLE as error:
        raise _unreadable(path, error) from error
    if file_name(spec) != path.name:
        raise Failure(f"{path} holds the record of {file_name(spec)}; restore it or remove it to make it again.")
    return dataset


def measured(path: Path | str) -> xr.Dataset:
    """What a `lib.probes.Recorder` has measured and kept in `path`; raises `Failure` if the file is missing or damaged.

    The sum of its bytes is compared before anything is parsed. xarray alone reads the file, too.
    """
    try:
        content = files.unsealed(files.contents(Path(path)))
        with xr.open_dataset(io.BytesIO(content), engine="h5netcdf") as dataset:
            return dataset.load()
    except _TROUBLE as error:
        raise Failure(
            f"{path} is not a readable recording ({files.reason(error)}); give another path, or remove it."
        ) from error


#: Attributes of a record and their types; older records lack the last.
_ATTRIBUTES = {
    "spec": str,
    "hash": str,
    "code": str,
    "data": str,
    "torch": str,
    "device": str,
    "recorded": str,
    "seconds": Real,
    "parameters": Integral,
    "threads": Integral,
    "resumed": Integral,
    "kind": str,
}
#: What netCDF keeps beside an array. Nothing that would change its values on reading, as a scale does.
_NETCDF = {"CLASS", "NAME", "DIMENSION_LIST", "REFERENCE_LIST", "_FillValue", "_Netcdf4Dimid", "_Netcdf4Coordinates"}


def _attributes(file: h5py.File) -> dict[str, object]:
    """A record's attributes; raises ValueError for one that is missing, of another type, or fit to harm a page."""
    attributes = {name: value for name, value in file.attrs.items() if name in _ATTRIBUTES}
    for name, kind in _ATTRIBUTES.items():
        value = attributes.get(name)
        if isinstance(value, np.ndarray) and value.size == 1:  # as netCDF keeps numbers
            value = attributes[name] = value.item()
        if value is None and name == "kind":
            continue
        if not isinstance(value, kind) or (kind is str and ("<" in value or not value.isprintable())):
            raise ValueError(f"its attribute {name} is {str(value)[:60]!r}")
        if kind is not str and not 0 <= value < 1e15:
            raise ValueError(f"its attribute {name} is {value}")
    return attributes


def _checked(file: h5py.File) -> xr.Dataset:
    """The record in an open file, after comparison with the layout of its spec."""
    attributes = _attributes(file)
    spec = from_canonical(attributes["spec"])
    if attributes["hash"] != spec.hash:
        raise ValueError(f"its hash is {attributes['hash']}, but its spec's is {spec.hash}")
    expected = layout_of(spec)
    older = {"precision"} - expected.axes.keys()  # older records have this axis without arrays along it
    if missing := (expected.arrays.keys() | expected.axes.keys()) - file.keys():
        raise ValueError(f"it lacks {', '.join(sorted(missing))}")
    if other := file.keys() - expected.arrays.keys() - expected.axes.keys() - expected.sizes.keys() - older:
        raise ValueError(f"it has {', '.join(sorted(other))}, which its spec does not make")
    for name in file:
        if not isinstance(file.get(name, getlink=True), h5py.HardLink) or not isinstance(file[name], h5py.Dataset):
            raise ValueError(f"{name} is not an array in the file")
        if file[name].external or file[name].is_virtual:
            raise ValueError(f"the values of {name} are in another file")
        if strange := file[name].attrs.keys() - _NETCDF:
            raise ValueError(f"{name} has {', '.join(sorted(strange))}")
    arrays = {}
    for name, (dims, dtype) in expected.arrays.items():
        if (file[name].shape, file[name].dtype) != (expected.shape(name), dtype):
            raise ValueError(f"{name} is {file[name].dtype} {file[name].shape}, not {dtype} {expected.shape(name)}")
        arrays[name] = (dims, file[name][()])
    for name, values in expected.axes.items():
        if file[name].shape != values.shape:
            raise ValueError(f"{name} has {file[name].size} values, not {values.size}")
        stored = file[name].asstr()[()].astype(str) if values.dtype.kind == "U" else file[name][()]
        if stored.dtype.kind != values.dtype.kind or not np.array_equal(stored, values):
            raise ValueError(f"the values of {name} are not those of its spec")
    return xr.Dataset(arrays, {name: (name, values) for name, values in expected.axes.items()}, attributes)


@contextmanager
def only(folder: Path) -> Iterator[None]:
    """Inside, records are found in `folder` and nowhere else, and made there."""
    global COMMITTED, CACHE
    usual = COMMITTED, CACHE
    COMMITTED = CACHE = folder
    try:
        yield
    finally:
        COMMITTED, CACHE = usual


def find(spec: Spec) -> Path | None:
    """Where the record of `spec` is: committed, else cached by the present code, else None."""
    if (COMMITTED / file_name(spec)).is_file():
        return COMMITTED / file_name(spec)
    cached = CACHE / file_name(spec)
    try:
        return cached if read(cached).attrs["code"] == code_version() else None
    except Failure:
        return None  # absent or damaged: a cache is made again


def catalogue(folder: Path | None = None) -> pd.DataFrame:
    """The records in `folder` (the committed ones by default), a row for those that differ in the seed alone.

    What was run, on what, and the minutes it took in all; "else" is whatever other field of the spec has not its
    default, but for what is measured how often: of runs that differ in that, a seed is named once. Raises `Failure`
    for a file that is not a sound record.
    """
    rows = []
    for path in sorted((folder or COMMITTED).glob("*.nc")):
        record = read(path)
        spec = spec_of(record)
        rows.append(
            {
                "network": getattr(spec, "architecture", spec.network),
                "norm": spec.norm,
                "width": getattr(spec, "width", 1.0),
                "steps": spec.steps,
                "step size": spec.step_size,
                "else": _else(spec),
                "seeds": str(spec.seed) if isinstance(spec, ImageSpec) else f"0-{spec.seeds - 1}",
                "data": getattr(spec, "data", "generated"),
                "minutes": record.attrs["seconds"] / 60,
            }
        )
    table = pd.DataFrame(rows, columns=_COLUMNS)
    same = [name for name in _COLUMNS if name not in ("seeds", "minutes")]
    together = {"seeds": lambda seeds: ",".join(sorted(set(seeds))), "minutes": lambda minutes: round(minutes.sum(), 1)}
    return table.groupby(same, as_index=False).agg(together)


_COLUMNS = ("network", "norm", "width", "steps", "step size", "else", "seeds", "data", "minutes")
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
            usual = Noise().scaled(strength)
            for one in fields(value):
                found = getattr(value, one.name)
                if not math.isclose(found, getattr(usual, one.name)):
                    changed.append(f"{one.name} {found:.3g}")
        elif field.name not in _SHOWN and not field.name.endswith("_every") and value != field.default:
            changed.append(f"{field.name} {value}")
    return ", ".join(changed)
