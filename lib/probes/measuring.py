"""One call that measures a network of one's own at one point, as a Dataset that `lib.figures` draw."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
import xarray as xr
from torch import nn

from lib.errors import UsageError, check_choice, check_number, shown
from lib.probes.controls import top_eigenvalue
from lib.probes.covariate import covariate_shift, layers_of
from lib.probes.loss_landscape import landscape
from lib.probes.point import Loss, Point, held

#: What `measure` can measure.
WHAT = ("landscape", "shift", "sharpness")
#: Where landscapes are measured by default, in units of the step.
STEP_LENGTHS = (0.5, 1.0, 2.0, 4.0)


def measure(
    model: nn.Module,
    loss: Loss,
    batch: tuple[Any, Any],
    step_size: float,
    what: Iterable[str] = ("landscape", "shift"),
    step_lengths: Sequence[float] = STEP_LENGTHS,
    step: int = 0,
) -> xr.Dataset:
    """What the probes find where the network stands, with named dimensions; the network is left as it was.

    `batch` is (x, y), and `loss(output, y)` [] is taken of what the model returns for x. `what` names what is measured:

    - "landscape", C = len(step_lengths) gradients: `landscape_loss` and `grad_change` [landscape_step, step_length] and
      `grad_norm` [landscape_step], as `landscape` has them. `figures.landscape`, `edge` and `predictiveness` draw them.
    - "shift", a gradient a layer and two forward passes: `shift_l2` and `shift_cosine` [shift_step, layer], as
      `covariate_shift` has them, with names of the layers' weights. `figures.shift` draws them.
    - "sharpness", some 20 products with the Hessian, two gradients or more each: `top_eigenvalue` [sharpness_step], as
      `controls.top_eigenvalue` has it. `figures.edge` draws it beside the landscape.

    `loss` and `step_size` [step] come with each, and cost two gradients and a forward pass. Axes of steps have one
    entry, `step`. `Recorder` measures along training. Raises `UsageError` for an argument out of range and where a
    probe cannot be right, before anything is measured.

        >>> model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Tanh(), nn.Linear(4, 2))
        >>> batch = torch.randn(8, 3), torch.arange(8) % 2
        >>> found = measure(model, nn.functional.cross_entropy, batch, step_size=0.1)
        >>> found.grad_change.sizes
        Frozen({'landscape_step': 1, 'step_length': 4})
        >>> found.layer.values.tolist()
        ['0', '3']
    """
    what = names_of(what)
    lengths = lengths_of(step_lengths)
    check_number("step", step, 0, integer=True)
    if not isinstance(batch, (tuple, list)) or len(batch) != 2:
        raise UsageError(
            f"batch is a {type(batch).__name__}, but must be a pair: what the model takes, and what the loss "
            "compares it with."
        )
    point = Point.at(model, loss, *batch, step_size)
    with held(model), torch.no_grad():
        value = point.forward()
    axes = {"step": [step], **{f"{name}_step": [step] for name in what}}
    arrays: dict[str, tuple] = {
        "loss": (("step",), value.detach().reshape(1)),
        "step_size": (("step",), torch.tensor([float(step_size)], dtype=torch.float64)),
    }
    if "landscape" in what:
        axes["step_length"] = lengths
        for name, values in landscape(point, lengths).items():
            dims = ("landscape_step", "step_length")[: values.dim() + 1]
            arrays[name] = (dims, values[None])
    if "shift" in what:
        axes["layer"] = _names(point)
        for name, values in covariate_shift(point).items():
            arrays[name] = (("shift_step", "layer"), values[None])
    if "sharpness" in what:
        arrays["top_eigenvalue"] = (("sharpness_step",), torch.tensor([top_eigenvalue(point)], dtype=torch.float64))
    return xr.Dataset(
        {name: (dims, values.cpu().numpy()) for name, (dims, values) in arrays.items()},
        {name: (name, values) for name, values in axes.items()},
        {"step_size": float(step_size), "torch": str(torch.__version__), "device": value.device.type},
    )


def names_of(what: Iterable[str]) -> list[str]:
    """`what` in the order of `WHAT`; raises `UsageError` unless it names some of that."""
    what = [what] if isinstance(what, str) else list(what)
    for name in what:
        check_choice("what", name, WHAT)
    if not what:
        raise UsageError(f"what is empty; name some of: {', '.join(WHAT)}.")
    return [name for name in WHAT if name in what]


def lengths_of(step_lengths: Sequence[float]) -> list[float]:
    """The step lengths as a list; raises `UsageError` unless they are positive and rise."""
    lengths = list(step_lengths)
    for length in lengths:
        check_number("step_lengths", length, 0, low_open=True)
    if not lengths or lengths != sorted(set(lengths)):
        raise UsageError(f"step_lengths is {shown(lengths)}, but must hold positive numbers that rise; sort them.")
    return [float(length) for length in lengths]


def _names(point: Point) -> list[str]:
    """The names of the layers that covariate shift is measured of."""
    names = {id(parameter): name for name, parameter in point.model.named_parameters()}
    return [names[id(layer[0])].removesuffix(".weight") for layer in layers_of(point)]
