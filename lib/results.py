"""Results: the records of an experiment as the curves of its figure, with where they come from.

What `lib.experiments` asks for is read or, where a build does that, run; a curve is an xarray Dataset with a `seed` dimension.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable

import numpy as np
import xarray as xr

from lib import records
from lib.data import DESCRIPTIONS
from lib.experiments import EXPERIMENTS, on_demand, specs, unique
from lib.specs import Spec, VGGSpec
from lib.sweeps import ensure


def prepare(scale: str, device: str = "cpu", jobs: int = 2) -> None:
    """Make every record that the chapters read at `scale`, that does not exist yet and that a build makes."""
    # The slow ones first, so that none is left running alone at the end.
    slow = ("l1", "linf")
    needed = unique([name for name in EXPERIMENTS if on_demand(name, scale, device)], scale)
    ensure(sorted(needed, key=lambda spec: spec.norm not in slow), device, jobs)


def load(name: str, scale: str, device: str = "cpu") -> dict[str, xr.Dataset]:
    """Label of a curve to its record, with a `seed` dimension; runs what has no record yet.

    Where a build does not (`on_demand`), seeds without a record are missing, and curves without any. The coordinate `seconds` is
    what each seed took. Attributes are those of the first seed, but `device`, `torch` and `code` of all, and `scale` and `experiment`.
    """
    return _load(name, scale, device)


#: Experiments share most of their records: each is read once a process.
_record = functools.cache(records.obtain)


@functools.cache
def _load(name: str, scale: str, device: str) -> dict[str, xr.Dataset]:
    curves = {}
    for label, group in specs(name, scale).items():
        if not on_demand(name, scale, device):
            group = [spec for spec in group if records.find(spec)]
        if not group:
            continue
        parts = [_without_empty_axes(_record(spec, device)) for spec in group]
        merged = parts[0]
        if "seed" not in merged.dims:
            merged = xr.concat(parts, xr.Variable("seed", [spec.seed for spec in group]), combine_attrs="override")
        seeds = merged.sizes["seed"]
        seconds = np.resize([part.attrs["seconds"] * len(parts) / seeds for part in parts], seeds)
        machines = {name: _every(parts, name) for name in _MACHINE.values()}
        curves[label] = merged.assign_coords(seconds=("seed", seconds)).assign_attrs(scale=scale, experiment=name, **machines)
    return curves


def _without_empty_axes(record: xr.Dataset) -> xr.Dataset:
    """The record without coordinates that nothing has been measured along: older ones have some that newer ones do not."""
    return record.drop_dims(set(record.dims) - {dim for values in record.data_vars.values() for dim in values.dims})


#: What made a record: the words before it in a caption, and its attribute.
_MACHINE = {"": "device", "torch ": "torch", "code ": "code"}


def _every(curves: Iterable[xr.Dataset], name: str) -> str:
    """The attribute `name` of all curves, each value once."""
    return " and ".join(dict.fromkeys(value for curve in curves for value in curve.attrs[name].split(" and ")))


def common_seeds(curves: dict[str, xr.Dataset], labels: Iterable[str] | None = None) -> dict[str, xr.Dataset]:
    """The curves called `labels` (all, by default), with the seeds that all of them have; nothing if there is no such seed."""
    wanted = list(labels or curves)
    seeds = set.intersection(*(set(curves[label].seed.values.tolist()) if label in curves else set() for label in wanted))
    return {label: curves[label].sel(seed=sorted(seeds)) for label in wanted} if seeds else {}


def whole(name: str, scale: str, device: str = "cpu") -> dict[str, xr.Dataset]:
    """`load`, with the seeds that all curves have; nothing unless every curve has one."""
    return common_seeds(load(name, scale, device), specs(name, scale))


def provenance(curves: dict[str, xr.Dataset]) -> str:
    """One line under a figure: scale, data, seeds, hardware, code, time, and the command that draws it.

    The command runs what has no record; `make verify` replays what has one.
    """
    networks = {}
    for record in curves.values():
        spec = records.from_canonical(record.attrs["spec"])
        networks.setdefault(spec.network, []).append((spec, record.sizes["seed"]))
    first = next(iter(curves.values()))
    minutes = sum(record.seconds.values.sum() for record in curves.values()) / 60
    return (
        f"{first.attrs['scale']} scale: {'; '.join(map(_described, networks.values()))}; "
        f"{', '.join(f'{what}{_every(curves.values(), name)}' for what, name in _MACHINE.items())}, {minutes:.1f} min in all. "
        f"python -m lib run {first.attrs['experiment']} --scale {first.attrs['scale']}"
    )


def _described(runs: list[tuple[Spec, int]]) -> str:
    """Curves of one network, each a spec and its number of seeds, by what they share; of widths and numbers of seeds, the ends."""
    spec = runs[0][0]
    counts = [count for _, count in runs]
    seeds = f"{_ends(counts)} seed{'s' if max(counts) > 1 else ''}"
    if isinstance(spec, VGGSpec):
        name = "VGG" if spec.architecture == "vgg" else f"ResNet-{spec.depth}"
        return f"{name} at {_ends([one.width for one, _ in runs], 'x')} width, {spec.steps:,} steps, {seeds}, {DESCRIPTIONS[spec.data]}"
    return f"{spec.layers} layers of {spec.dim}x{spec.dim}, {spec.steps:,} steps, {seeds}, generated Gaussian data"


def _ends(values: list[float], unit: str = "") -> str:
    """The smallest and the largest of values, or the one that they are."""
    return " to ".join(f"{value:g}{unit}" for value in sorted({min(values), max(values)}))
