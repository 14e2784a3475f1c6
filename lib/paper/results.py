"""Results: the records of an experiment as the curves of its figure, with where they come from.

Reading only: what is missing is made by `lib.runs.obtain`. A curve is an xarray Dataset with a `seed` dimension.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable

import numpy as np
import xarray as xr

from lib import records
from lib.errors import Failure
from lib.paper.experiments import on_demand, specs
from lib.paper.labels import Label
from lib.specs import DESCRIPTIONS, ImageSpec, Spec, spec_of


class MissingRecords(Failure):
    """Records that a build would make have not been made here."""


def load(name: str, scale: str, device: str = "cpu") -> dict[Label, xr.Dataset]:
    """Label of a curve to its record, with a `seed` dimension.

    Of an experiment whose records a build does not make (`on_demand`), seeds without a record are missing, and curves
    without any; of the others a missing record raises `Failure`, which names the command that makes it. The coordinate
    `seconds` is what each seed took. Attributes are those of the first seed, but `device`, `torch` and `code` of all,
    and `scale` and `experiment`.

        >>> {str(label): curve.sizes["seed"] for label, curve in load("fig-10", "laptop").items()}
        {'none': 16, 'batchnorm': 16}
    """
    return _load(name, scale, device)


#: Experiments share most of their records: each is read once a process.
_record = functools.cache(records.read)


@functools.cache
def _load(name: str, scale: str, device: str) -> dict[Label, xr.Dataset]:
    curves = {}
    for label, group in specs(name, scale).items():
        paths = {spec: path for spec in group if (path := records.find(spec))}
        if len(paths) < len(group) and on_demand(name, scale, device):
            raise MissingRecords(
                f"{len(group) - len(paths)} of {len(group)} records of {name}, {label}, are missing at {scale} "
                f"scale; make them with `python -m lib run {name} --scale {scale}`, or in a notebook with "
                f"lib.runs.obtain({name!r}, {scale!r})."
            )
        if not paths:
            continue
        group = list(paths)
        parts = [_without_empty_axes(_record(path)) for path in paths.values()]
        merged = parts[0]
        if "seed" not in merged.dims:
            merged = xr.concat(parts, xr.Variable("seed", [spec.seed for spec in group]), combine_attrs="override")
        seeds = merged.sizes["seed"]
        seconds = np.resize([part.attrs["seconds"] * len(parts) / seeds for part in parts], seeds)
        machines = {name: _every(parts, name) for name in _MACHINE.values()}
        curves[label] = merged.assign_coords(seconds=("seed", seconds)).assign_attrs(
            scale=scale, experiment=name, **machines
        )
    return curves


def forget() -> None:
    """Read records anew from now on: others may have come to the same places."""
    _load.cache_clear()
    _record.cache_clear()


def _without_empty_axes(record: xr.Dataset) -> xr.Dataset:
    """The record without coordinates along which nothing is measured: older ones have some that newer ones do not."""
    return record.drop_dims(set(record.dims) - {dim for values in record.data_vars.values() for dim in values.dims})


#: What made a record: the words before it in a caption, and its attribute.
_MACHINE = {"": "device", "torch ": "torch", "code ": "code"}


def _every(curves: Iterable[xr.Dataset], name: str) -> str:
    """The attribute `name` of all curves, each value once."""
    return " and ".join(dict.fromkeys(value for curve in curves for value in curve.attrs[name].split(" and ")))


def common_seeds(curves: dict[Label, xr.Dataset], labels: Iterable[Label] | None = None) -> dict[Label, xr.Dataset]:
    """The curves called `labels` (all, by default), with the seeds that all of them have; nothing if there are none."""
    wanted = list(labels or curves)
    seeds = set.intersection(
        *(set(curves[label].seed.values.tolist()) if label in curves else set() for label in wanted)
    )
    return {label: curves[label].sel(seed=sorted(seeds)) for label in wanted} if seeds else {}


def whole(name: str, scale: str, device: str = "cpu") -> dict[Label, xr.Dataset]:
    """`load`, with the seeds that all curves have; nothing unless every curve has one."""
    return common_seeds(load(name, scale, device), specs(name, scale))


def provenance(curves: dict[Label, xr.Dataset]) -> str:
    """One line under a figure: scale, data, seeds, hardware, code, time, and the command that draws it.

    The command runs what has no record; `make verify` replays what has one.
    """
    networks = {}
    for record in curves.values():
        spec = spec_of(record)
        networks.setdefault(spec.network, []).append((spec, record.sizes["seed"]))
    first = next(iter(curves.values()))
    minutes = sum(record.seconds.values.sum() for record in curves.values()) / 60
    return (
        f"{first.attrs['scale']} scale: {'; '.join(map(_described, networks.values()))}; "
        f"{', '.join(f'{what}{_every(curves.values(), name)}' for what, name in _MACHINE.items())}, {minutes:.1f} "
        f"min in all. python -m lib run {first.attrs['experiment']} --scale {first.attrs['scale']}"
    )


def _described(runs: list[tuple[Spec, int]]) -> str:
    """Curves of one network, each a spec and its number of seeds, by what they share.

    Of widths and numbers of seeds it gives the ends.
    """
    spec = runs[0][0]
    counts = [count for _, count in runs]
    seeds = f"{_ends(counts)} seed{'s' if max(counts) > 1 else ''}"
    if isinstance(spec, ImageSpec):
        name = f"{'VGG' if spec.architecture == 'vgg' else 'ResNet'}-{_ends([one.depth for one, _ in runs])}"
        width = _ends([one.width for one, _ in runs], "x")
        return f"{name} at {width} width, {spec.steps:,} steps, {seeds}, {DESCRIPTIONS[spec.data]}"
    return f"{spec.layers} layers of {spec.dim}x{spec.dim}, {spec.steps:,} steps, {seeds}, generated Gaussian data"


def _ends(values: list[float], unit: str = "") -> str:
    """The smallest and the largest of values, or the one that they are."""
    return " to ".join(f"{value:g}{unit}" for value in sorted({min(values), max(values)}))
