"""What probes refuse, before any work: networks for which they could not be right.

A probe moves the parameters in place, repeats a forward pass and puts everything back. Each refusal names the module or
parameter, says why one of these cannot be done, and gives the way out.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DataParallel, DistributedDataParallel
from torch.nn.parameter import UninitializedTensorMixin
from torch.utils._pytree import tree_leaves

from lib.errors import UsageError, shown

_FINE = (torch.float32, torch.float64, torch.complex64, torch.complex128)
_QUANTIZED = ("torch.ao.nn.quantized", "torch.ao.nn.intrinsic.quantized", "torch.ao.nn.sparse.quantized")
_STRAIGHT_THROUGH = ("torch.ao.quantization.fake_quantize", "torch.ao.nn.qat", "torch.ao.nn.intrinsic.qat")


def check(model: nn.Module) -> None:
    """Raise `UsageError` for a network, or a place in the program, where no probe could be right."""
    if not isinstance(model, nn.Module):
        raise UsageError(f"model is {shown(model)}, but must be a torch.nn.Module.")
    if torch.is_inference_mode_enabled():
        raise UsageError("inside torch.inference_mode() nothing can be differentiated; probe outside of it.")
    if torch._C._functorch.peek_interpreter_stack() is not None:
        raise UsageError("inside a transform of torch.func weights cannot be moved in place; probe outside of it.")
    for name, module in model.named_modules():
        if reason := _reason(module):
            raise UsageError(f"{name or 'the model'} is {type(module).__name__}, {reason}.")
    named = [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]
    if not named:
        raise UsageError("the model has no parameter with requires_grad, so that no step moves it; train one at least.")
    for name, parameter in named:
        if reason := _parameter_reason(parameter):
            raise UsageError(f"{name} {reason}.")
    devices = sorted({str(parameter.device) for _, parameter in named})
    if len(devices) > 1:
        raise UsageError(f"the parameters are on {' and '.join(devices)}; probe the model on one device.")
    _check_memory(named)


def check_loss(loss: Any) -> None:
    """Raise `UsageError` for a loss that cannot be called, or that a step moves as well."""
    if not callable(loss):
        raise UsageError(f"loss is {shown(loss)}, but must be callable: a number of (model output, y).")
    if isinstance(loss, nn.Module):
        for name, parameter in loss.named_parameters():
            if parameter.requires_grad:
                raise UsageError(
                    f"loss has a trained parameter of its own, {name}, which takes steps as well; make it a part of "
                    "the model."
                )


def check_batch(x: Any) -> None:
    """Raise `UsageError` for a batch without samples, whose mean loss is NaN and leaves NaN behind."""
    for tensor in tree_leaves(x):
        if isinstance(tensor, Tensor) and tensor.numel() == 0:
            raise UsageError(f"x holds an empty tensor {tuple(tensor.shape)}; give one sample at least.")


def _reason(module: nn.Module) -> str:
    """Why a module cannot be probed; empty if it can."""
    tensors = [*module._parameters.values(), *module._buffers.values()] if not _scripted(module) else []
    if _scripted(module):
        return "whose buffers and flags lie outside Python; probe the module that it was made from"
    if isinstance(module, (DataParallel, DistributedDataParallel)) or type(module).__name__.startswith("FullySharded"):
        return "which splits the batch and its statistics over devices; probe its .module on one device"
    if any(isinstance(tensor, UninitializedTensorMixin) for tensor in tensors):
        return "whose parameters have no size yet; run the model once on a batch"
    homes = [kind.__module__ for kind in type(module).__mro__]
    if any(home.startswith(_QUANTIZED) for home in homes):
        return "which is quantised and has no gradient; probe the model before it is converted"
    if any(home.startswith(_STRAIGHT_THROUGH) for home in homes):
        return "whose gradient is not that of what it computes; probe the model before it is prepared for quantisation"
    if isinstance(module, nn.SyncBatchNorm) and _processes() > 1:
        return "whose statistics are those of all processes; probe the model in one process"
    return ""


def _processes() -> int:
    there = torch.distributed.is_available() and torch.distributed.is_initialized()
    return torch.distributed.get_world_size() if there else 1


def _scripted(module: nn.Module) -> bool:
    return isinstance(module, torch.jit.ScriptModule)


def _parameter_reason(parameter: nn.Parameter) -> str:
    if type(parameter.data) is not Tensor:
        return f"is a {type(parameter.data).__name__}, not a plain tensor; probe the model with plain parameters"
    if parameter.is_meta or parameter.is_inference() or parameter.layout is not torch.strided:
        kind = "on the meta device" if parameter.is_meta else "made in torch.inference_mode()"
        kind = kind if parameter.layout is torch.strided else "sparse"
        return f"is {kind} and cannot be moved; make it a plain dense parameter"
    if parameter.dtype not in _FINE:
        lost = f"is {parameter.dtype}, in which a short step is rounded away"
        return f"{lost}; probe the model in float32 or float64: model.float()"
    if parameter._post_accumulate_grad_hooks:
        return "has a post-accumulate-grad hook, which no probe calls and which may change the step; remove it to probe"
    return ""


def _check_memory(named: Sequence[tuple[str, nn.Parameter]]) -> None:
    """Raise `UsageError` if parameters share memory: one step then moves it twice, and no step equals training's."""
    storages: dict[int, list[tuple[str, nn.Parameter]]] = {}
    for name, parameter in named:
        if any(stride == 0 and size > 1 for stride, size in zip(parameter.stride(), parameter.shape)):
            raise UsageError(f"{name} is expanded: its entries share memory; give it memory of its own: .clone().")
        if parameter.numel():
            storages.setdefault(parameter.untyped_storage().data_ptr(), []).append((name, parameter))
    for together in storages.values():
        if len(together) > 1 and (pair := _overlapping(together)):
            raise UsageError(
                f"{pair[0]} and {pair[1]} are two parameters in the same memory; make them one parameter, or clone "
                "one of them."
            )


def _overlapping(named: Iterable[tuple[str, nn.Parameter]]) -> tuple[str, str] | None:
    """Names of two parameters that share an entry of one storage, if there are any."""
    named = sorted(named, key=lambda pair: pair[1].storage_offset())
    spans = [(p.storage_offset(), p.storage_offset() + _extent(p)) for _, p in named]
    if all(end <= start for (_, end), (start, _) in pairwise(spans)):
        return None  # one behind the other, as in the flat weights of recurrent layers
    owner = torch.full((max(end for _, end in spans),), -1)
    for number, (_, parameter) in enumerate(named):
        mine = owner.as_strided(parameter.shape, parameter.stride(), parameter.storage_offset())
        if (before := int(mine.max())) >= 0:
            return named[before][0], named[number][0]
        mine.fill_(number)
    return None


def _extent(tensor: Tensor) -> int:
    """Entries of memory from the first to the last of a tensor's."""
    return 1 + sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride()))
