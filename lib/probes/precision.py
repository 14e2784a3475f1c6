"""Precision: how far the landscape probe is from float64's in coarser arithmetic."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode

from lib.errors import UsageError
from lib.probes.copies import copied
from lib.probes.loss_landscape import landscape
from lib.probes.point import Point, call, held, norm, trained
from lib.records.layout import COMPARED, COMPARED_PRECISIONS


def precision_errors(point: Point, step_lengths: Sequence[float]) -> dict[str, Tensor]:
    """Relative error of the landscape probe to float64: `error_` and each of `COMPARED`, [len(COMPARED_PRECISIONS), C].

    Loss change, gradient change and beta at each step length, from float64 weights that equal the model's; each
    precision computes its own gradient. Costs four gradients a length, five more, and five forward passes. `UsageError`
    where the network, or its random numbers, cannot be had in float64, and where a product is made inside another
    operation.

        >>> model = nn.Linear(1, 1, bias=False)
        >>> _ = nn.init.constant_(model.weight, 1 + 2**-9)  # bfloat16 keeps seven bits behind the leading one
        >>> point = Point.at(model, nn.functional.mse_loss, torch.ones(1, 1), torch.zeros(1, 1), step_size=0.25)
        >>> precision_errors(point, (1.0,))["error_loss_change"].flatten() > 1e-4
        tensor([False, False,  True])
    """
    device = trained(point.model)[0].device.type
    with torch.autocast(device, enabled=False):
        try:
            exact, single = copied(point, torch.float64), copied(point, torch.float32)
        except RuntimeError as error:
            raise UsageError(
                f"precision errors compare float64 and float32, and this network refuses: {error}"
            ) from error
        reference = _quantities(exact, step_lengths)
        grads = [grad.to(other.dtype) for grad, other in zip(single.grads, exact.grads)]
        if _draws(exact) and not norm(torch._foreach_sub(grads, exact.grads)) <= 1e-2 * norm(exact.grads):
            raise UsageError(
                "this network draws other random numbers in float64 than in float32, which would count as rounding; "
                "let it draw in one type and cast."
            )
    errors: dict[str, list[Tensor]] = {name: [] for name in COMPARED}
    for precision in COMPARED_PRECISIONS:
        with _arithmetic(precision, device):
            found = _quantities(copied(point, torch.float32), step_lengths)
        for name, value in reference.items():
            errors[name].append(abs(found[name] / value - 1))
    return {f"error_{name}": torch.stack(values) for name, values in errors.items()}


def _draws(point: Point) -> bool:
    """Whether a forward pass draws from torch's random generator of the model's device."""
    device = trained(point.model)[0].device
    place = torch if device.type == "cpu" else torch.get_device_module(device)
    with held(point.model):
        point.noise.rewind()
        before = place.get_rng_state()
        call(point.model, point.x)
        return not torch.equal(before, place.get_rng_state())


def to_tf32(values: Tensor) -> Tensor:
    """float32 values rounded to TF32's ten bits behind the leading one, to the nearest, ties away from zero.

    The hardware's conversion does the same.

        >>> to_tf32(torch.tensor([1 + 2**-11, 1 + 2**-12])) - 1 == torch.tensor([2**-10, 0.0])
        tensor([True, True])
    """
    bits = (values.view(torch.int32) + 0x1000) & ~0x1FFF
    return torch.where(values.isfinite(), bits.view(torch.float32), values)


class _TF32Products(TorchDispatchMode):
    """TF32 where there is none: inside, factors of matrix products and convolutions are rounded; sums are float32's.

    It rounds on forward and backward passes. `UsageError` names a product that cannot be rounded because it is made
    inside another operation.
    """

    #: The places of the factors among an operation's arguments; the others, biases, are added as they are.
    _FACTORS: ClassVar = {
        torch.ops.aten.mm.default: (0, 1),
        torch.ops.aten.bmm.default: (0, 1),
        torch.ops.aten.mv.default: (0, 1),
        torch.ops.aten.dot.default: (0, 1),
        torch.ops.aten.vdot.default: (0, 1),
        torch.ops.aten.addmm.default: (1, 2),
        torch.ops.aten.baddbmm.default: (1, 2),
        torch.ops.aten.addmv.default: (1, 2),
        torch.ops.aten.convolution.default: (0, 1),
        torch.ops.aten.convolution_backward.default: (0, 1, 2),
    }

    #: How the names begin of operations that make products inside.
    _OTHERS: ClassVar = (
        *(
            "addbmm",
            "addr",
            "_trilinear",
            "mkldnn_",
            "_thnn_fused_",
            "_cudnn_rnn",
            "miopen_",
            "_cdist_",
            "linalg_",
        ),
        *(
            "_scaled_dot_product_",
            "_flash_attention",
            "_efficient_attention",
            "_fft_",
            "_addmm",
            "_grouped_mm",
            "_int_mm",
        ),
        *("_transformer_", "_native_multi_head", "slow_conv", "thnn_conv", "_slow_conv", "cudnn_conv", "_lstm_mps"),
    )

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = function.name().removeprefix("aten::")
        if name.startswith(self._OTHERS) and not name.startswith("linalg_vector_norm"):
            raise UsageError(
                f"{name} makes products inside, which cannot be rounded to TF32 here; probe on a GPU that has it."
            )
        factors = self._FACTORS.get(function, ())
        rounded = [
            to_tf32(value) if place in factors and value.dtype == torch.float32 else value
            for place, value in enumerate(args)
        ]
        found = function(*rounded, **(kwargs or {}))
        if function is torch.ops.aten.convolution_backward.default and found[2] is not None:
            found = (*found[:2], args[0].sum([0, *range(2, args[0].dim())]))  # a bias's gradient is no product
        return found


@contextmanager
def _arithmetic(precision: str, device: str) -> Iterator[None]:
    """Inside, matrix products and convolutions are made in `precision`; a CPU without TF32 rounds as if it had it."""
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    hardware = precision == "tf32" and device == "cuda"
    torch.set_float32_matmul_precision("high" if hardware else "highest")
    torch.backends.cudnn.allow_tf32 = hardware
    how = nullcontext()
    if precision == "bfloat16":
        how = torch.autocast(
            device, torch.bfloat16, cache_enabled=False
        )  # weights move inside: casts of theirs must not be cached
    elif precision == "tf32" and not hardware:
        how = _TF32Products()
    # Attention made of products one by one, the same in every precision
    try:
        with torch.autocast(device, enabled=False), how, sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.set_float32_matmul_precision(before[0])
        torch.backends.cudnn.allow_tf32 = before[1]


def _quantities(point: Point, step_lengths: Sequence[float]) -> dict[str, Tensor]:
    """Loss change, gradient change and beta [C], float64, of the probe as the model's precision has it."""
    found = {name: part.double() for name, part in landscape(point, step_lengths).items()}
    with held(point.model):
        value = point.forward().detach()
    lengths = torch.tensor(step_lengths, dtype=torch.float64, device=value.device)
    return {
        "loss_change": found["landscape_loss"] - value.double(),
        "grad_change": found["grad_change"],
        "beta": found["grad_change"] / (lengths * point.step_size * found["grad_norm"]),
    }
