"""Stores: what a run has measured so far, an array a quantity, and the checkpoint from which it goes on."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from lib.errors import Failure
from lib.probes import NoiseState

#: What a checkpoint holds.
_PARTS = {"step", "seconds", "model", "velocity", "noise", "arrays"}


class Store:
    """Arrays filled with NaN, one row a measurement; `rows` maps a step to its row."""

    def __init__(self) -> None:
        self.arrays: dict[str, np.ndarray] = {}
        self._dims: dict[str, tuple[str, ...]] = {}
        self.rows: dict[str, dict[int, int]] = {}

    def axis(self, dim: str, steps: list[int]) -> None:
        """A dimension of arrays, for what is measured at these steps."""
        self.rows[dim] = {step: row for row, step in enumerate(steps)}

    def add(self, name: str, dims: tuple[str, ...], *shape: int, dtype: type = np.float32) -> None:
        """An array whose first dimension is an axis of steps and the others have `shape`."""
        fill = np.nan if np.issubdtype(dtype, np.floating) else 0
        self.arrays[name] = np.full((len(self.rows[dims[0]]), *shape), fill, dtype)
        self._dims[name] = dims

    def due(self, dim: str, step: int) -> bool:
        """Whether what lies along `dim` is measured at this step."""
        return step in self.rows.get(dim, ())

    def put(self, step: int, **values: Tensor) -> None:
        """Keep this step's row of the arrays so named; on a GPU, each waits for its value."""
        for name, value in values.items():
            row = self.rows[self._dims[name][0]][step]
            with np.errstate(over="ignore"):  # beyond float32 is infinite: a diverging network
                self.arrays[name][row] = value.cpu().numpy()

    def dataset(self, **coords) -> xr.Dataset:
        """All arrays, with their steps and `coords` as coordinates."""
        coords |= {dim: (dim, np.array(list(rows), np.int32)) for dim, rows in self.rows.items()}
        return xr.Dataset({name: (self._dims[name], array) for name, array in self.arrays.items()}, coords)


def save(path: Path, step: int, seconds: float, model: torch.nn.Module, velocity: list[Tensor], store: Store) -> None:
    """Write the checkpoint of a run after `step` steps, all or nothing. Raises `Failure` where it cannot be written."""
    state = {
        "step": step,
        "seconds": seconds,
        "model": model.state_dict(),
        "velocity": velocity,
        "noise": list(NoiseState(model).calls.values()),
        "arrays": {name: torch.from_numpy(array) for name, array in store.arrays.items()},
    }
    partial = path.with_name(f"{path.stem}.{os.getpid()}.partial")  # another process may be at the same run
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save(state, partial)
        partial.replace(path)
    except (OSError, RuntimeError) as error:  # torch reports a full disk as a RuntimeError
        partial.unlink(missing_ok=True)
        raise Failure(f"cannot write the checkpoint {path} ({error}); free some space and run again.") from error


def resume(path: Path, model: torch.nn.Module, velocity: list[Tensor], store: Store) -> tuple[int, float]:
    """Steps done and seconds spent so far; none where the checkpoint is damaged, for the run can be made again."""
    try:
        state = torch.load(path, weights_only=True, map_location="cpu")
        if not isinstance(state, dict) or not state.keys() >= _PARTS:
            raise ValueError("not a checkpoint")
    except Exception as error:  # whatever the bytes lead the unpickler to
        print(f"{path} is damaged ({type(error).__name__}: {error}); the run starts anew.", file=sys.stderr)
        return 0, 0.0
    model.load_state_dict(state["model"])
    for value, saved in zip(velocity, state["velocity"]):
        value.copy_(saved)
    noise = NoiseState(model)
    noise.calls = dict(zip(noise.calls, state["noise"]))
    noise.rewind()
    for name, array in state["arrays"].items():
        store.arrays[name][...] = array.numpy()
    return state["step"], state["seconds"]
