"""A recorder for a training loop of one's own: it measures at a cadence, keeps the results in a file, and resumes."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from torch import nn

from lib import files, records
from lib.errors import UsageError, check_number, shown
from lib.probes.measuring import STEP_LENGTHS, lengths_of, measure, names_of
from lib.probes.point import Loss


class Recorder:
    """Measures a network along a training loop, and changes nothing in it: weights are bit for bit those without it.

    `every` says after how many steps each of `lib.probes.measuring.WHAT` is measured; a number alone is for landscape
    and shift. `path` is a netCDF file that is written at each measurement, whole or not at all, with the sum of its
    bytes; without it everything stays in memory. Where the file is there already, the first call continues it: what it
    holds of that step and later ones is measured anew, so that a loop which goes on from its own checkpoint leaves the
    file of one that never stopped. `lib.records.measured` reads the file.

    Costs what `measure` costs at each measured step and the writing of the file, 0.15 s on a CPU of 2020. Raises
    `UsageError` for an argument out of range, and where the file holds another network's measurements; `Failure` where
    the file is damaged or cannot be written.

        >>> model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> recorder = Recorder(every={"landscape": 2, "shift": 3})
        >>> for step in range(6):
        ...     x, y = torch.randn(8, 3), torch.arange(8) % 2
        ...     recorder(step, model, nn.functional.cross_entropy, (x, y), step_size=0.1)
        ...     optimizer.zero_grad()
        ...     nn.functional.cross_entropy(model(x), y).backward()
        ...     optimizer.step()
        >>> recorder.dataset().landscape_step.values.tolist(), recorder.dataset().shift_step.values.tolist()
        ([0, 2, 4], [0, 3])
    """

    def __init__(
        self,
        path: str | Path | None = None,
        every: int | Mapping[str, int] = 10,
        step_lengths: Sequence[float] = STEP_LENGTHS,
    ) -> None:
        every = every if isinstance(every, Mapping) else dict.fromkeys(("landscape", "shift"), every)
        self._every = {name: every[name] for name in names_of(every)}
        for name, count in self._every.items():
            check_number(f"every[{name!r}]", count, 1, 10**9, integer=True)
        self._lengths = lengths_of(step_lengths)
        self._path, self._last = None if path is None else Path(path), -1
        self._found = xr.Dataset()
        if self._path is not None:
            files.check_writable(self._path.parent)
            if self._path.exists():
                self._found = records.measured(self._path)

    def __call__(self, step: int, model: nn.Module, loss: Loss, batch: tuple[Any, Any], step_size: float) -> None:
        """Measure if something is due at `step`, before the loop takes it, with that step's own batch and step size."""
        check_number("step", step, 0, integer=True)
        if step <= self._last:
            raise UsageError(f"step is {step}, but {self._last} came before; give every step once, in order.")
        due = [name for name, count in self._every.items() if step % count == 0]
        if due:
            part = measure(model, loss, batch, step_size, due, self._lengths, step)
            part.attrs["network"] = _fingerprint(model)
            kept = self._kept(step, part) if self._last < 0 and self._found else self._found
            self._found = _joined([kept, part])
            if self._path is not None:
                records.write(self._found, self._path)
        self._last = step

    def dataset(self) -> xr.Dataset:
        """All that was measured so far, as `measure` has it, with a row for each step along each axis of steps."""
        if not self._found:
            raise UsageError(
                "nothing has been measured yet; call the recorder at a step of its cadence, 0 for example."
            )
        return self._found

    def _kept(self, step: int, part: xr.Dataset) -> xr.Dataset:
        """What an older file holds of the steps before this one; raises `UsageError` where it is another network's."""
        same = self._found.attrs.get("network") == part.attrs["network"]
        for name in ("step_length", "layer"):
            if same and name in self._found.coords and name in part.coords:
                same = np.array_equal(self._found[name], part[name])
        if not same:
            raise UsageError(
                f"{self._path} holds measurements of another network, of other layers or at other step lengths; give "
                "another path, or remove that file."
            )
        axes = _axes([self._found])
        again = int((self._found.step >= step).sum())
        if again:
            print(f"{self._path}: {again} of {self._found.sizes['step']} steps are measured anew.", file=sys.stderr)
        return self._found.isel({axis: self._found[axis].values < step for axis in axes})


def _fingerprint(model: nn.Module) -> str:
    """Names, shapes and types of a network's parameters, as twelve hex digits."""
    parts = [(name, tuple(value.shape), str(value.dtype)) for name, value in model.named_parameters()]
    return files.sha256(repr(parts).encode())[:12]


def _axes(parts: Iterable[xr.Dataset]) -> list[str]:
    """The axes of steps that datasets have."""
    return list(dict.fromkeys(str(dim) for part in parts for dim in part.dims if str(dim).endswith("step")))


def _joined(parts: Sequence[xr.Dataset]) -> xr.Dataset:
    """Measurements of successive steps as one Dataset; the attribute `step_size` stays while it is the same in all."""
    joined = []
    for axis in _axes(parts):
        having = [part for part in parts if axis in part.dims]
        names = [name for name, values in having[-1].data_vars.items() if values.dims[0] == axis]
        try:
            joined.append(xr.concat([part[names] for part in having], axis, join="exact", combine_attrs="drop"))
        except ValueError as error:
            raise UsageError(
                f"the network's layers are others than those measured before ({shown(str(error))}); start another "
                "recorder."
            ) from error
    whole = xr.merge(joined, compat="no_conflicts", join="exact")
    attrs = dict(parts[-1].attrs)
    if len(np.unique(whole.step_size)) > 1:
        del attrs["step_size"]
    return whole.assign_attrs(attrs)
