"""Stores: what a run has measured so far, an array a quantity, and the checkpoint from which it goes on."""

from __future__ import annotations

import io
import math
import sys
from pathlib import Path

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from lib import files
from lib.norms import ActivationNoise
from lib.records.layout import Layout


class Store:
    """A record's arrays, filled with NaN (whole numbers with 0), a row a measurement; `rows` maps a step to its row."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self.arrays = {
            name: np.full(layout.shape(name), np.nan if dtype.kind == "f" else 0, dtype)
            for name, (_, dtype) in layout.arrays.items()
        }
        self.rows = {
            dim: {int(step): row for row, step in enumerate(values)}
            for dim, values in layout.axes.items()
            if dim.endswith("step")
        }

    def due(self, dim: str, step: int) -> bool:
        """Whether what lies along `dim` is measured at this step."""
        return step in self.rows.get(dim, ())

    def put(self, step: int, **values: Tensor) -> None:
        """Keep this step's row of the arrays so named; on a GPU, each waits for its value."""
        for name, value in values.items():
            row = self.rows[self._layout.arrays[name][0][0]][step]
            with np.errstate(over="ignore"):  # beyond float32 is infinite: a diverging network
                self.arrays[name][row] = value.cpu().numpy()

    def dataset(self) -> xr.Dataset:
        """All arrays, with their coordinates."""
        arrays = {name: (self._layout.arrays[name][0], array) for name, array in self.arrays.items()}
        return xr.Dataset(arrays, {dim: (dim, values) for dim, values in self._layout.axes.items()})


def _noisy(model: torch.nn.Module) -> list[ActivationNoise]:
    return [module for module in model.modules() if isinstance(module, ActivationNoise)]


def save(path: Path, step: int, seconds: float, model: torch.nn.Module, velocity: list[Tensor], store: Store) -> None:
    """Write the checkpoint of a run after `step` steps, sealed, all or nothing.

    Raises `Failure` where it cannot be written.
    """
    state = {
        "run": path.stem,
        "step": step,
        "seconds": seconds,
        "model": model.state_dict(),
        "velocity": velocity,
        "noise": [layer.calls for layer in _noisy(model)],
        "arrays": {name: torch.from_numpy(array) for name, array in store.arrays.items()},
    }
    content = io.BytesIO()
    torch.save(state, content)
    with files.replacing(path) as file:
        file.write(files.sealed(content.getvalue()))


def resume(path: Path, model: torch.nn.Module, velocity: list[Tensor], store: Store) -> tuple[int, float]:
    """Steps done and seconds spent so far, with model, velocities, noise and arrays as they were then.

    A checkpoint that is damaged or does not fit the run changes nothing: a line says so, and none is done, for the run
    can be made again.
    """
    try:
        content = files.unsealed(files.contents(path))  # torch itself does not notice a flipped bit
        state = torch.load(io.BytesIO(content), weights_only=True, map_location="cpu")
        _check(state, path.stem, model, velocity, store)
    except Exception as error:  # whatever the bytes lead the unpickler to
        print(f"{path} is damaged or of another run ({files.reason(error)}); the run starts anew.", file=sys.stderr)
        return 0, 0.0
    model.load_state_dict(state["model"])
    for value, saved in zip(velocity, state["velocity"]):
        value.copy_(saved)
    for layer, calls in zip(_noisy(model), state["noise"]):
        layer.calls = calls
    for name, array in state["arrays"].items():
        store.arrays[name][...] = array.numpy()
    return state["step"], state["seconds"]


def _check(state: object, run: str, model: torch.nn.Module, velocity: list[Tensor], store: Store) -> None:
    """Raise ValueError unless `state` is a checkpoint of this run: names, shapes, types and ranges."""
    kinds = {"run": str, "step": int, "seconds": float, "model": dict, "velocity": list, "noise": list, "arrays": dict}
    if not isinstance(state, dict) or state.keys() != kinds.keys():
        raise ValueError("not a checkpoint")
    for name, kind in kinds.items():
        if not isinstance(state[name], kind):
            raise ValueError(f"its {name} is a {type(state[name]).__name__}, not a {kind.__name__}")
    if state["run"] != run:
        raise ValueError(f"it is of {state['run']}")
    if not 0 <= state["step"] <= len(store.rows["step"]):
        raise ValueError(f"it is after step {state['step']} of {len(store.rows['step'])}")
    if not 0 <= state["seconds"] < math.inf:
        raise ValueError(f"it took {state['seconds']} seconds")
    calls = state["noise"]
    if len(calls) != len(_noisy(model)) or not all(type(count) is int and count >= 0 for count in calls):
        raise ValueError("its noise layers are others")
    arrays = {name: torch.from_numpy(array) for name, array in store.arrays.items()}
    _check_tensors("model", state["model"], model.state_dict())
    _check_tensors("arrays", state["arrays"], arrays)
    _check_tensors("velocity", dict(enumerate(state["velocity"])), dict(enumerate(velocity)))


def _check_tensors(what: str, found: dict, expected: dict) -> None:
    if found.keys() != expected.keys():
        raise ValueError(f"its {what} has other parts")
    for name, tensor in expected.items():
        one = found[name]
        if not isinstance(one, Tensor) or (one.shape, one.dtype, one.layout) != (
            tensor.shape,
            tensor.dtype,
            tensor.layout,
        ):
            raise ValueError(f"its {what} has another {name}")
