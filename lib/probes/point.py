"""A point of training: the network, its batch, its gradient and the draws of its own forward pass.

Every probe takes a `Point`. `held` and `State` keep the promise of `lib.probes`: a probe leaves no trace.
"""

from __future__ import annotations

import copy
import random
import sys
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.utils._pytree import tree_leaves

from lib.errors import UsageError, check_number, shown
from lib.probes import contract

#: What the model returns, and the labels, to a number.
Loss = Callable[[Any, Any], Tensor]

_CONTAINERS = (dict, OrderedDict, defaultdict, list, set, deque)
#: What every module has of torch's own: its tables of parameters, buffers, parts and hooks, and its flags.
_OWN = frozenset(vars(nn.Module()))


def call(model: nn.Module, x: Any) -> Any:
    """The model's output for x: a plain tuple holds several arguments, a mapping named ones, all else is one argument.

    What is compiled runs as it was written: compiled code keeps what a probe moves, and cannot be differentiated twice.
    """
    with _as_written():
        if type(x) is tuple:
            return model(*x)
        return model(**x) if isinstance(x, Mapping) else model(x)


def _as_written() -> AbstractContextManager:
    return torch.compiler.set_stance("force_eager") if "torch._dynamo" in sys.modules else nullcontext()


def trained(model: nn.Module) -> list[nn.Parameter]:
    """The parameters that training moves, in the order of `model.parameters()`.

    >>> model = nn.Linear(3, 4)
    >>> _ = model.bias.requires_grad_(False)
    >>> [tuple(parameter.shape) for parameter in trained(model)]
    [(4, 3)]
    """
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


def evaluate(model: nn.Module, loss: Loss, x: Any, y: Any) -> Tensor:
    """Loss [] of the model on a batch, with its graph.

    Raises `UsageError` if it is not one real number that parameters enter.
    """
    with torch.enable_grad():
        try:
            value = loss(call(model, x), y)
        except ValueError as error:
            if "more than 1 value per channel" not in str(error):
                raise
            name = next((name for name, module in model.named_modules() if module is _raised_in(error)), "a layer")
            raise UsageError(
                f"{name} cannot train on one value a channel; take a larger batch, or .eval() it."
            ) from error
    if not isinstance(value, Tensor) or value.numel() != 1 or not value.is_floating_point():
        what = f"{value.dtype} {tuple(value.shape)}" if isinstance(value, Tensor) else shown(value)
        raise UsageError(f"loss gives {what}, but must give one real number, such as the mean over the batch.")
    if not value.requires_grad:
        raise UsageError("no trained parameter enters the loss; is there a detach, a no_grad or an argmax on the way?")
    return value.reshape(()) if value.dim() else value


def _raised_in(error: Exception) -> nn.Module | None:
    """The innermost module whose forward pass raised an error."""
    found, trace = None, error.__traceback__
    while trace is not None:
        owner = trace.tb_frame.f_locals.get("self")
        found, trace = owner if isinstance(owner, nn.Module) else found, trace.tb_next
    return found


def gradients(model: nn.Module, loss: Loss, x: Any, y: Any) -> tuple[Tensor, list[Tensor]]:
    """Loss [] and gradient of every trained parameter; zero for one that does not enter the loss.

    >>> model = nn.Linear(1, 1, bias=False)
    >>> _ = nn.init.constant_(model.weight, 3.0)
    >>> gradients(model, nn.functional.mse_loss, torch.ones(1, 1), torch.zeros(1, 1))  # of w^2 at w = 3
    (tensor(9.), [tensor([[6.]])])
    """
    value = evaluate(model, loss, x, y)
    return value.detach(), differentiate(value, trained(model))


def differentiate(value: Tensor, parameters: Sequence[Tensor], *seeds: Tensor, **options: bool) -> list[Tensor]:
    """Dense gradients of `value` [] (or of its product with a seed), zero where a parameter does not enter it.

    Outside of autocast, as training calls `backward`: operations going back take the types they had going forward.
    """
    device = value.device.type
    autocast = torch.is_autocast_enabled(device)
    try:
        with torch.autocast(device, enabled=False) if autocast else nullcontext():
            found = torch.autograd.grad(value, parameters, *seeds, allow_unused=True, materialize_grads=True, **options)
    except RuntimeError as error:
        if "is not implemented" in str(error) or "ouble backward" in str(error):
            raise UsageError(f"an operation of the network has no such derivative: {error}") from error
        if "use_reentrant" not in str(error):
            raise
        raise UsageError(
            "the network uses reentrant checkpoints, which only .backward() enters; use_reentrant=False works."
        ) from error
    return [grad.to_dense() if grad.is_sparse else grad for grad in found]


def nodes(value: Tensor) -> Iterator[Any]:
    """Every node of a value's graph, once."""
    waiting, seen = [value.grad_fn], {value.grad_fn}
    while waiting:
        node = waiting.pop()
        yield node
        new = {following for following, _ in node.next_functions if following is not None} - seen
        seen |= new
        waiting += new


def leaves(value: Tensor) -> list[Tensor]:
    """The tensors without a history of their own, trained parameters among them, that enter a value."""
    return [node.variable for node in nodes(value) if hasattr(node, "variable")]


def norm(tensors: Sequence[Tensor]) -> Tensor:
    """l2 norm [] of all entries of all tensors.

    >>> norm([torch.tensor([3.0]), torch.tensor([[4.0]])])
    tensor(5.)
    """
    return torch.stack(torch._foreach_norm(list(tensors))).square().sum().sqrt()


class State:
    """What a forward pass reads and moves beside the parameters: buffers, counters of modules, random generators.

    Taken before a forward pass, it lets a probe repeat that pass: `rewind` puts all of it back, so that dropout drops
    the same values, noise is the same noise, and the vectors of spectral norm start from where they were.

        >>> model = nn.Dropout(0.5)
        >>> state = State(model)
        >>> first = model(torch.ones(100))
        >>> state.rewind()
        >>> model(torch.ones(100)).equal(first)
        True
    """

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._random = _random_state(model)
        self._attributes = {module: _snapshot(module, _OWN) for module in model.modules()}
        self._buffers = {module: dict(module._buffers) for module in model.modules()}
        values = [*self._buffers.values(), *(attributes for attributes, _ in self._attributes.values())]
        weights = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
        tensors = {id(tensor): tensor for held in values for tensor in held.values() if isinstance(tensor, Tensor)}
        # A view of a weight goes where the weight goes: putting it back would undo the probe's own move.
        kept = [tensor for tensor in tensors.values() if tensor.is_sparse or _memory(tensor) not in weights]
        self.tensors = [_written(tensor) for tensor in kept]
        self._saved = [tensor.clone() for tensor in self.tensors]

    def rewind(self, part: nn.Module | None = None) -> None:
        """Put everything back, or of one part of the model its attributes alone."""
        for module in (self._model if part is None else part).modules():
            _restore(module, *self._attributes[module], _OWN)
        if part is not None:
            return
        for module, buffers in self._buffers.items():
            for name, value in buffers.items():
                if module._buffers.get(name) is not value:
                    module._buffers[name] = value
        if self.tensors:
            with torch.no_grad(), _unseen(self.tensors):
                torch._foreach_copy_(self.tensors, self._saved)
        _set_random_state(self._random)
        # Casts and parametrizations of weights that have moved since
        torch.clear_autocast_cache()
        parametrize._cache.clear()


def _memory(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


def _unseen(tensors: Sequence[Tensor]) -> AbstractContextManager:
    """Inside, tensors are written to and, at the end, hold what they held: a graph made before may go backward."""
    return torch.autograd._unsafe_preserve_version_counter(tuple(tensors))


def _written(tensor: Tensor) -> Tensor:
    """The tensor without the repetitions of an expanded one, which cannot be written to."""
    kept = tensor.detach()
    for dim, stride in enumerate(kept.stride() if kept.layout == torch.strided else ()):
        if stride == 0 and kept.shape[dim] > 1:
            kept = kept.narrow(dim, 0, 1)
    return kept


def _random_state(model: nn.Module) -> list[tuple[Callable[[Any], None], Any]]:
    """How each random generator that a forward pass may draw from is set, and to what."""
    states: list[tuple[Callable[[Any], None], Any]] = [
        (torch.set_rng_state, torch.get_rng_state()),
        (random.setstate, random.getstate()),
        (np.random.set_state, np.random.get_state()),
    ]
    for device in {parameter.device for parameter in model.parameters()}:
        if device.type not in ("cpu", "meta") and (place := torch.get_device_module(device)).is_available():
            states.append((lambda state, d=device, m=place: m.set_rng_state(state, d), place.get_rng_state(device)))
    for module in model.modules():
        for value in vars(module).values():
            if isinstance(value, torch.Generator):
                states.append((value.set_state, value.get_state()))
            elif isinstance(value, random.Random):
                states.append((value.setstate, value.getstate()))
            elif isinstance(value, np.random.Generator):
                place = value.bit_generator
                states.append((lambda state, m=place: setattr(m, "state", state), place.state))
    return states


def _set_random_state(states: list[tuple[Callable[[Any], None], Any]]) -> None:
    for put, state in states:
        put(state)


@contextmanager
def held(model: nn.Module) -> Iterator[None]:
    """Restore the network bit for bit when the block ends, however it ends.

    That is parameters, buffers, gradients, training flags, hooks and other attributes of every module, random
    generators and autocast's casts of weights.

        >>> model = nn.Linear(2, 2)
        >>> before = model.weight.detach().clone()
        >>> with held(model):
        ...     _ = nn.init.zeros_(model.weight), model.eval()
        >>> model.weight.equal(before), model.training
        (True, True)
    """
    parameters = [_written(parameter) for parameter in model.parameters()]
    saved = [parameter.clone() for parameter in parameters]
    grads = [(parameter, parameter.grad) for parameter in model.parameters()]
    modules = [(module, _snapshot(module)) for module in model.modules()]
    state = State(model)
    with _unseen([*model.parameters(), *state.tensors]):
        try:
            yield
        finally:
            for module, kept in modules:
                _restore(module, *kept)
            for parameter, grad in grads:
                if parameter.grad is not grad:
                    parameter.grad = grad
            with torch.no_grad():
                if parameters:
                    torch._foreach_copy_(parameters, saved)
            state.rewind()


def _snapshot(module: nn.Module, apart: Collection[str] = ()) -> tuple[dict, list]:
    """The attributes of a module, but for those `apart`, and each plain container among them with its contents."""
    values = {name: value for name, value in vars(module).items() if name not in apart}
    return values, [(value, copy.copy(value)) for value in values.values() if type(value) in _CONTAINERS]


def _restore(module: nn.Module, values: dict, containers: list, apart: Collection[str] = ()) -> None:
    now = vars(module)
    for name in now.keys() - values.keys() - set(apart):
        del now[name]
    for name, value in values.items():
        if now.get(name, containers) is not value:
            now[name] = value
    for container, kept in containers:
        now, before = _entries(container), _entries(kept)
        if len(now) == len(before) and all(a is b for a, b in zip(now, before)):
            continue
        container.clear()
        (container.extend if isinstance(container, (list, deque)) else container.update)(kept)


def _entries(container: Collection[Any]) -> list[Any]:
    return [*container.keys(), *container.values()] if isinstance(container, dict) else list(container)


@dataclass(frozen=True)
class Point:
    """One point of training, as probes take it.

    `loss(output, y)` [] of what `model` returns for x, `grads` its gradient, of all trained parameters, `noise` the
    `State` before the forward pass that found it, and the step's size. `Point.at` makes one of any network.

        >>> model = nn.Linear(1, 1, bias=False)
        >>> _ = nn.init.constant_(model.weight, 3.0)
        >>> point = Point.at(model, nn.functional.mse_loss, torch.ones(1, 1), torch.zeros(1, 1), step_size=0.25)
        >>> point.grads  # of w^2 at w = 3
        [tensor([[6.]])]
    """

    model: nn.Module
    loss: Loss
    x: Any
    y: Any
    grads: list[Tensor]
    noise: State
    step_size: float

    def __post_init__(self) -> None:
        check_number("step_size", self.step_size, 0, low_open=True)
        contract.check(self.model)
        shapes, wanted = [grad.shape for grad in self.grads], [parameter.shape for parameter in trained(self.model)]
        if shapes != wanted:
            raise UsageError(
                f"grads are {len(shapes)} tensors, but must be one for each of the {len(wanted)} trained parameters, "
                "in their shapes; take them from this network, after the last change of requires_grad."
            )

    @classmethod
    def at(cls, model: nn.Module, loss: Loss, x: Any, y: Any, step_size: float) -> Point:
        """The point where the network stands, with its gradient on the batch; the network is left as it was.

        Costs two gradients: the second, with the draws of the first, must be the same. `UsageError` says what a probe
        cannot be right for (`lib.probes.contract`), before any work where the network shows it.

            >>> model, loss = nn.Sequential(nn.Linear(3, 8), nn.Dropout(0.5)), lambda output, y: output.sum()
            >>> point = Point.at(model, loss, torch.ones(4, 3), None, step_size=0.1)
            >>> bool(point.forward() == point.forward())  # the same values are dropped
            True
            >>> model[0].weight.grad is None
            True
        """
        check_number("step_size", step_size, 0, low_open=True)
        contract.check(model)
        contract.check_loss(loss)
        contract.check_batch(x)
        noise = State(model)
        with held(model), _unchanged(x, y, list(loss.buffers()) if isinstance(loss, nn.Module) else None):
            with _weights_left_alone(model):
                _, grads = gradients(model, loss, x, y)
            point = cls(model, loss, x, y, grads, noise, step_size)
            if not alike(grads, point.gradients()[1]):
                raise UsageError(
                    "the gradient of a second pass with the same draws is another one: the model or the loss keeps "
                    "something "
                    "between passes that is neither a buffer nor a plain attribute of a module; probe it without that."
                )
        return point

    def forward(self) -> Tensor:
        """Loss [], with its graph, at the parameters that the model has now, with the draws of the step's own pass."""
        self.noise.rewind()
        return evaluate(self.model, self.loss, self.x, self.y)

    def gradients(self) -> tuple[Tensor, list[Tensor]]:
        """Loss [] and gradient at the parameters that the model has now, with the draws of the step's own pass."""
        self.noise.rewind()
        return gradients(self.model, self.loss, self.x, self.y)


@contextmanager
def _unchanged(*batch: Any) -> Iterator[None]:
    """Raise `UsageError` if the block writes to one of these tensors, which then is as it was."""
    tensors = [tensor for tensor in tree_leaves(batch) if isinstance(tensor, Tensor) and not tensor.is_inference()]
    kept = [(tensor, tensor._version, tensor.detach().clone()) for tensor in tensors]
    try:
        yield
    finally:
        written = [(tensor, values) for tensor, version, values in kept if tensor._version != version]
        with torch.no_grad():
            for tensor, values in written:
                tensor.copy_(values)
    if written:
        raise UsageError(
            "the model or the loss writes to its batch, or the loss to a buffer of its own, which no probe puts "
            "back; let it work on a copy: x.clone()."
        )


@contextmanager
def _weights_left_alone(model: nn.Module) -> Iterator[None]:
    """Raise `UsageError` if the block, a pass, writes to trained weights: the step then starts from other ones."""
    named = [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]
    before = [(parameter._version, parameter.detach().clone()) for _, parameter in named]
    yield
    for (name, parameter), (version, values) in zip(named, before):
        same = (parameter == values) | (parameter.isnan() & values.isnan())
        if parameter._version != version or not same.all():
            raise UsageError(
                f"the forward pass writes to {name}, as an embedding with max_norm does, so that no probe can move it; "
                "change weights after the step instead, and probe it without that."
            )


def alike(one: Sequence[Tensor], other: Sequence[Tensor]) -> bool:
    """Whether two gradients are equal up to rounding, half of the digits; NaN equals NaN."""
    if all(a.equal(b) for a, b in zip(one, other)):
        return True
    device = one[0].device.type
    coarse = torch.is_autocast_enabled(device)
    digits = torch.finfo(torch.get_autocast_dtype(device) if coarse else one[0].dtype).eps ** 0.5
    if not torch.isfinite(norm(one)):
        return all(torch.allclose(a, b, digits, equal_nan=True) for a, b in zip(one, other))
    return bool(norm(torch._foreach_sub(list(one), list(other))) <= digits * norm(one))


def along(
    point: Point, step_lengths: Sequence[float], direction: list[Tensor] | None = None
) -> Iterator[tuple[Tensor, list[Tensor]]]:
    """Loss [] and gradient at W - c step_size v for each multiple c of `step_lengths`; then the model is as it was.

    v is the gradient of the point, or another `direction`. Costs a gradient a length.

        >>> model = nn.Linear(1, 1, bias=False)
        >>> _ = nn.init.constant_(model.weight, 3.0)
        >>> point = Point.at(model, nn.functional.mse_loss, torch.ones(1, 1), torch.zeros(1, 1), step_size=0.25)
        >>> [(value.item(), there.item()) for value, (there,) in along(point, (1.0, 2.0))]  # w^2 and 2 w, w = 1.5 and 0
        [(2.25, 3.0), (0.0, 0.0)]
    """
    parameters = trained(point.model)
    direction = point.grads if direction is None else direction
    with held(point.model):
        start = [parameter.detach().clone() for parameter in parameters]
        for length in step_lengths:
            with torch.no_grad():
                # From the start each time: steps in a row would add up their rounding.
                moved = torch._foreach_add(start, direction, alpha=-length * point.step_size)
                torch._foreach_copy_(parameters, moved)
            yield point.gradients()
