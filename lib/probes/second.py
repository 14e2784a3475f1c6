"""Second derivatives of any network: a pass that can be differentiated twice, or a refusal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.utils.parametrize import ParametrizationList

from lib.errors import UsageError
from lib.probes.copies import copied
from lib.probes.point import Point, alike, along, differentiate, held, nodes, norm, trained


def smooth(point: Point) -> Tensor:
    """Loss [] at the point with a graph that can be differentiated twice; call it inside `held`.

    Attention and recurrent layers take kernels that have second derivatives. `UsageError` where these draw other random
    numbers than the step did, and where a product with the Hessian is not the change of the gradient: with custom
    autograd functions, with hooks that change gradients, with `detach` or `no_grad` on the way, with torch's own
    `weight_norm`. Costs two forward passes; and, but for networks made of torch's and this library's layers alone,
    without hooks, a float64 copy of the network, with four gradients of it and a product with its Hessian.
    """
    usual = point.forward()
    if not _known(point, usual):
        _check(point)
    with twice_differentiable(point.model):
        value = point.forward()
    if not alike([usual.detach()], [value.detach()]):
        raise UsageError(
            "the kernels of this network that can be differentiated twice draw other random numbers than the step's; "
            "set the dropout of its attention or recurrent layers to 0."
        )
    return value


@contextmanager
def twice_differentiable(model: nn.Module) -> Iterator[None]:
    """Inside, attention and recurrent layers are made of operations that can be differentiated twice."""
    recurrent = any(isinstance(module, nn.RNNBase) for module in model.modules())
    with sdpa_kernel(SDPBackend.MATH), torch.backends.cudnn.flags(enabled=False) if recurrent else nullcontext():
        yield


def _known(point: Point, value: Tensor) -> bool:
    """Whether network and loss are of torch's and this library's parts alone, whose second derivatives are tested."""
    kinds = {type(module) for module in point.model.modules()}
    functions = {getattr(type(node), "_forward_cls", None) for node in nodes(value)} - {None}
    loss = type(point.loss) if isinstance(point.loss, nn.Module) else point.loss
    homes = [thing.__module__ for thing in (*kinds, *functions)]
    return (
        all(home.startswith(("torch.nn.modules.", "lib.")) for home in homes)
        and getattr(loss, "__module__", "").startswith(("torch.nn.", "lib."))
        and not any(isinstance(value, Tensor) for module in point.model.modules() for value in vars(module).values())
        and not _hooked(point.model)
    )


def _hooked(model: nn.Module) -> list[str]:
    """Names of the modules and parameters with hooks that are not this library's: they may change what passes."""
    tables = {name or "the model": _hooks(module) for name, module in model.named_modules()}
    tables |= {name: parameter._backward_hooks or {} for name, parameter in model.named_parameters()}
    return [
        name
        for name, hooks in tables.items()
        if not all(getattr(hook, "__module__", "").startswith("lib.") for hook in hooks.values())
    ]


def _hooks(module: nn.Module) -> dict[int, Any]:
    """All hooks of a module."""
    return {
        **module._forward_hooks,
        **module._forward_pre_hooks,
        **module._backward_hooks,
        **module._backward_pre_hooks,
    }


def _check(point: Point) -> None:
    """Raise `UsageError` unless a product with the Hessian is the change of the gradient, in float64."""
    try:
        there = copied(point, torch.float64)
        parameters = trained(there.model)
        generator = torch.Generator().manual_seed(0)
        vector = [torch.randn(p.shape, generator=generator, dtype=p.dtype).to(p.device) for p in parameters]
        length = 1e-7 * max(float(norm(parameters).detach()), 1e-3) / float(norm(vector))
        with held(there.model), twice_differentiable(there.model):
            grads = differentiate(there.forward(), parameters, create_graph=True)
            product = _product(grads, parameters, vector)
            (_, ahead), (_, behind) = along(there, (-length / point.step_size, length / point.step_size), vector)
    except RuntimeError as error:
        raise UsageError(f"{_named(point)}cannot be differentiated twice in float64: {error}") from error
    change = torch._foreach_div(torch._foreach_sub(ahead, behind), 2 * length)
    rounding = 1e-13 * float(norm(there.grads)) / length
    if float(norm(torch._foreach_sub(change, product))) > 1e-3 * float(norm(change)) + rounding:
        raise UsageError(
            f"{_named(point)}a product with the Hessian is not the change of the gradient: something in the network "
            "has a wrong second derivative, or none (a custom autograd function, a hook on gradients, detach, no_grad, "
            "weight_norm); replace it by operations that can be differentiated twice."
        )


def _named(point: Point) -> str:
    """Names of the custom autograd functions on the way, of modules that are no plain layers, and of what has hooks."""
    kinds = {getattr(type(node), "_forward_cls", None) for node in nodes(point.forward())} - {None}
    names = sorted(kind.__name__ for kind in kinds if not kind.__module__.startswith("lib."))
    names += [name for name, module in point.model.named_modules() if isinstance(module, ParametrizationList)]
    names += _hooked(point.model)
    return f"{', '.join(names)}: " if names else ""


def _product(grads: Sequence[Tensor], parameters: Sequence[Tensor], vector: Sequence[Tensor]) -> list[Tensor]:
    """The Hessian times a vector; zero where the gradient does not depend on the parameters."""
    value = sum((g.conj() * v).real.sum() if g.is_complex() else (g * v).sum() for g, v in zip(grads, vector))
    if not value.requires_grad:
        return [torch.zeros_like(p) for p in parameters]
    return differentiate(value, parameters, retain_graph=True)
