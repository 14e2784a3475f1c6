"""Controls: the landscape probe done in other ways, to see what depends on the way.

Some are controls (other directions, another batch, BatchNorm with frozen statistics, the Hessian itself), some are
mistakes that are easily made (evaluation mode, gradients that add up, differences between the gradients of successive
steps). All take a point and leave its model as they found it; C is the number of step lengths.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from scipy.sparse.linalg import ArpackError, LinearOperator, eigsh
from torch import Tensor, nn

from lib.norms import BatchNorm
from lib.probes.loss_landscape import landscape
from lib.probes.point import Point, State, along, call, differentiate, held, norm, trained
from lib.probes.second import smooth

Batch = tuple[Any, Any]


def measure(point: Point, fresh: Batch, step_lengths: Sequence[float], seed: int) -> dict[str, Tensor]:
    """All controls at one point of training, with the names that `lib.records.layout` has.

    They are `control_` and each of `CONTROLS_PER_LENGTH` [C] and of `CONTROLS_PER_STEP` []. `fresh` is the next step's
    batch. Losses are those at W - c step_size v, changes those of the gradient from W, in the l2 norm; v is the point's
    gradient but for `random_*`, where `seed` draws it. Costs five gradients a length, three more, a forward pass, and
    `top_eigenvalue`.
    """
    with held(point.model):
        # First, while the running statistics are training's own.
        evaluation_norm, evaluation_change = evaluation_mode(point, step_lengths)
        random = landscape(point, step_lengths, random_direction(point.grads, seed))
        with frozen_statistics(point) as frozen:
            frozen_change = landscape(frozen, step_lengths)["grad_change"]
        there = replace(point, x=fresh[0], y=fresh[1])
        there = replace(there, grads=there.gradients()[1])
        found = {
            "random_loss": random["landscape_loss"],
            "random_change": random["grad_change"],
            "evaluation_change": evaluation_change,
            "evaluation_norm": evaluation_norm,
            "frozen_change": frozen_change,
            "fresh_change": landscape(there, step_lengths, point.grads)["grad_change"],
            "fresh_norm": norm(there.grads),
            "accumulated_change": accumulated(point, step_lengths),
            "step_change": step_to_step(point, fresh),
            "top_eigenvalue": torch.tensor(top_eigenvalue(point)),
        }
    return {f"control_{name}": value for name, value in found.items()}


def random_direction(grads: list[Tensor], seed: int) -> list[Tensor]:
    """A Gaussian direction as long as the gradient, the same for every `seed` on every device. Costs no pass.

    >>> drawn = random_direction([torch.tensor([3.0]), torch.tensor([[4.0]])], seed=0)
    >>> round(norm(drawn).item(), 3)
    5.0
    """
    generator = torch.Generator().manual_seed(seed)
    drawn = [torch.randn(g.shape, generator=generator, dtype=g.dtype).to(g.device) for g in grads]
    return torch._foreach_mul(drawn, (norm(grads) / norm(drawn)).item())


def evaluation_mode(point: Point, step_lengths: Sequence[float]) -> tuple[Tensor, Tensor]:
    """Mistake: a probe with the running statistics, another function than the one trained.

    Returns its gradient's norm [] at W and that gradient's changes [C] along its own direction. Costs a gradient a
    length and one more.

        >>> model, x = nn.BatchNorm1d(1), torch.tensor([[-2.0], [2.0]])
        >>> point = Point.at(model, nn.functional.mse_loss, x, torch.zeros(2, 1), step_size=0.25)
        >>> length, _ = evaluation_mode(point, (1.0,))  # with a running variance of 1, and not the batch's, 4
        >>> round(norm(point.grads).item(), 3), round(length.item(), 3)
        (2.0, 8.0)
    """
    with held(point.model):
        point.model.eval()
        there = replace(point, noise=State(point.model))  # what still draws in evaluation mode draws the same
        _, own = there.gradients()
        there = replace(there, grads=own)
        return norm(own), landscape(there, step_lengths)["grad_change"]


@contextmanager
def frozen_statistics(point: Point) -> Iterator[Point]:
    """Inside, every BatchNorm uses its mean and variance at the point as constants; gives that network's point.

    At the point's weights the outputs are the same; gradients are not, because mean and variance no longer follow the
    activations. The `grads` are still those of the network that is trained. A layer that is called more than once has
    constants for each call; one that uses running statistics at the point, as in evaluation mode, keeps those. Other
    norms are as they are. Costs a forward pass.

        >>> model, x = nn.Sequential(nn.Linear(1, 1, bias=False), nn.BatchNorm1d(1)), torch.tensor([[-2.0], [2.0]])
        >>> _ = nn.init.ones_(model[0].weight)
        >>> point = Point.at(model, nn.functional.mse_loss, x, torch.zeros(2, 1), step_size=0.25)
        >>> with frozen_statistics(point) as frozen:
        ...     _, grads = frozen.gradients()
        >>> [round(abs(weight.item()), 3) for weight, *_ in (point.grads, grads)]  # BatchNorm undoes a weight's scale
        [0.0, 2.0]
    """
    model = point.model
    layers = [
        module
        for module in model.modules()
        if isinstance(module, (BatchNorm, nn.modules.batchnorm._BatchNorm))
        and (module.training or module.running_mean is None)
    ]
    found: dict[nn.Module, list[tuple[Tensor, Tensor]]] = {layer: [] for layer in layers}

    def freeze(layer: nn.Module, inputs: tuple[Tensor]) -> None:
        y = inputs[0].detach()
        y = y.to(torch.promote_types(y.dtype, torch.float32))
        rest = [dim for dim in range(y.dim()) if dim != 1]
        var, mean = torch.var_mean(y, rest, correction=0)
        found[layer].append((mean, var))
        layer.running_mean, layer.running_var = mean, var

    def begin(model: nn.Module, _: Any) -> None:
        for module in model.modules():
            if hasattr(module, "frozen"):
                module.frozen_calls = 0

    def use(layer: nn.Module, inputs: tuple[Tensor]) -> None:
        wide = torch.promote_types(inputs[0].dtype, torch.float32)
        layer.running_mean, layer.running_var = (part.to(wide) for part in layer.frozen[layer.frozen_calls])
        layer.frozen_calls += 1

    with held(model):  # which removes hooks and attributes, too
        hooks = [layer.register_forward_pre_hook(freeze) for layer in layers]
        for layer in layers:
            layer.eval()
        point.noise.rewind()
        with torch.no_grad():
            call(model, point.x)  # in evaluation mode, so that each layer's input comes from frozen ones
        for hook in hooks:
            hook.remove()
        point.noise.rewind()
        model.register_forward_pre_hook(begin)
        for layer in layers:
            layer.frozen, layer.frozen_calls = found[layer], 0
            layer.register_forward_pre_hook(use)
        yield replace(point, noise=State(model))


def accumulated(point: Point, step_lengths: Sequence[float]) -> Tensor:
    """Mistake: gradients that are not set to zero between step lengths, so that each adds to those before.

    Changes [C]. Costs a gradient a length.

        >>> model = nn.Linear(1, 1, bias=False)
        >>> _ = nn.init.constant_(model.weight, 3.0)
        >>> point = Point.at(model, nn.functional.mse_loss, torch.ones(1, 1), torch.zeros(1, 1), step_size=0.25)
        >>> landscape(point, (1.0, 2.0))["grad_change"].tolist(), accumulated(point, (1.0, 2.0)).tolist()
        ([3.0, 6.0], [3.0, 3.0])
    """
    total = [g.clone() for g in point.grads]
    changes = []
    for _, there in along(point, step_lengths):
        torch._foreach_add_(total, there)
        changes.append(norm(torch._foreach_sub(total, point.grads)))
    return torch.stack(changes)


def step_to_step(point: Point, fresh: Batch) -> Tensor:
    """Mistake: the difference [] between this step's gradient and the next one's, which is on another batch.

    Costs a gradient.

    >>> model = nn.Linear(1, 1, bias=False)
    >>> _ = nn.init.constant_(model.weight, 3.0)
    >>> point = Point.at(model, nn.functional.mse_loss, torch.ones(1, 1), torch.zeros(1, 1), step_size=0.25)
    >>> same, other = (torch.ones(1, 1), torch.zeros(1, 1)), (torch.full((1, 1), 2.0), torch.zeros(1, 1))
    >>> step_to_step(point, same).item(), step_to_step(point, other).item()  # of w^2 and of (2 w)^2
    (3.0, 6.0)
    """
    ((_, there),) = along(replace(point, x=fresh[0], y=fresh[1]), (1.0,))
    return norm(torch._foreach_sub(there, point.grads))


def top_eigenvalue(point: Point, tolerance: float = 1e-2) -> float:
    """Largest eigenvalue of the Hessian over all trained parameters, by Lanczos (scipy) on Hessian-vector products.

    Gradient descent is stable on a quadratic while it is below 2 / step size. NaN where Lanczos does not converge, or
    where the loss is not finite. A complex parameter counts as its real and its imaginary part. `UsageError` where the
    network cannot be differentiated twice.

    Costs what `lib.probes.second.smooth` does, a backward pass, and some 20 products with the Hessian, up to some 120
    where Lanczos converges late. A product goes back through the graph of a gradient and takes two or more of these: 76
    training steps in all (`lib.bench`, VGG-A on a CPU).

        >>> model, x = nn.Linear(2, 1, bias=False), torch.diag(torch.tensor([1.0, 3.0]))
        >>> point = Point.at(model, nn.functional.mse_loss, x, torch.zeros(2, 1), step_size=0.1)
        >>> round(top_eigenvalue(point), 3)  # of (w_1^2 + 9 w_2^2) / 2
        9.0
    """
    with held(point.model):
        value, parameters = smooth(point), trained(point.model)
        return _largest(differentiate(value, parameters, create_graph=True), parameters, tolerance)


def _largest(grads: list[Tensor], parameters: list[Tensor], tolerance: float) -> float:
    flat = torch.cat([_real(g) for g in grads])
    if not flat.requires_grad:
        return 0.0  # the loss is linear
    if not torch.isfinite(flat).all():
        return float("nan")

    def product(vector: np.ndarray) -> np.ndarray:
        along = torch.from_numpy(vector.ravel()).to(flat)
        parts = differentiate(flat, parameters, along, retain_graph=True)
        return torch.cat([_real(part) for part in parts]).cpu().numpy()

    size = flat.numel()
    if size == 1:
        return float(product(np.ones(1))[0])
    operator = LinearOperator((size, size), matvec=product, dtype=flat.detach().cpu().numpy().dtype)
    start = np.random.default_rng(0).standard_normal(size).astype(operator.dtype)
    first = product(start)
    if not np.isfinite(first).all():
        return float("nan")
    if not first.any():
        return 0.0  # no curvature, as between the kinks of a network that is linear in pieces
    try:
        return float(eigsh(operator, 1, which="LA", v0=start, tol=tolerance, maxiter=10, return_eigenvectors=False)[0])
    except ArpackError:  # no convergence
        return float("nan")


def _real(values: Tensor) -> Tensor:
    return (torch.view_as_real(values) if values.is_complex() else values).flatten()
