"""Controls: the landscape probe done in other ways, to see what depends on the way.

Some are controls (other directions, another batch, BatchNorm with frozen statistics, the Hessian itself, other
precisions), some are mistakes that are easily made (evaluation mode, gradients that add up, differences
between the gradients of successive steps). All take the step's gradients `grads`, of all trained parameters, and
leave the model as they found it; C is the number of step lengths.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext

import numpy as np
import torch
from scipy.sparse.linalg import ArpackError, LinearOperator, eigsh
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from lib import probes
from lib.norms import BatchNorm
from lib.probes import Loss

#: Precisions whose probe is compared with float64's.
PRECISIONS = ("float32", "tf32", "bfloat16")
QUANTITIES = ("loss_change", "grad_change", "beta")
#: What `measure` finds at each of C step lengths, and as one number a step.
PER_LENGTH = (
    "random_loss", "random_change", "evaluation_change", "frozen_change", "fresh_change", "accumulated_change",
)  # fmt: skip
PER_STEP = ("fresh_norm", "evaluation_norm", "step_change", "top_eigenvalue")

Batch = tuple[Tensor, Tensor]


def measure(
    model: nn.Module, loss: Loss, batch: Batch, fresh: Batch, grads: list[Tensor], step_size: float, lengths: Sequence[float],
    seed: int,
) -> dict[str, Tensor]:
    """All controls at one point of training: `PER_LENGTH` [C] and `PER_STEP` [].

    `batch` is the step's own, `fresh` the next step's. Losses are those at W - c step_size v, changes those of the
    gradient from W, in the l2 norm; v is `grads` but for `random_*`, where `seed` draws it. Networks without noise only.
    """
    noise = probes.NoiseState(model)
    x, y = batch
    with probes.held(model):
        # First, while the running statistics are training's own.
        evaluation_norm, evaluation_change = evaluation_mode(model, loss, batch, step_size, lengths)
        rest = (noise, step_size, lengths)
        random_loss, random_change = probes.landscape(model, loss, x, y, grads, *rest, random_direction(grads, seed))
        with frozen_statistics(model, x):
            _, frozen_change = probes.landscape(model, loss, x, y, grads, *rest)
        _, there = probes.gradients(model, loss, *fresh)
        _, fresh_change = probes.landscape(model, loss, *fresh, there, *rest, grads)
        return {
            "random_loss": random_loss,
            "random_change": random_change,
            "evaluation_change": evaluation_change,
            "evaluation_norm": evaluation_norm,
            "frozen_change": frozen_change,
            "fresh_change": fresh_change,
            "fresh_norm": probes.norm(there),
            "accumulated_change": accumulated(model, loss, batch, grads, step_size, lengths),
            "step_change": step_to_step(model, loss, fresh, grads, step_size),
            "top_eigenvalue": torch.tensor(top_eigenvalue(model, loss, x, y)),
        }


def random_direction(grads: list[Tensor], seed: int) -> list[Tensor]:
    """A Gaussian direction as long as the gradient, the same for every `seed` on every device."""
    generator = torch.Generator().manual_seed(seed)
    drawn = [torch.randn(g.shape, generator=generator, dtype=g.dtype).to(g.device) for g in grads]
    return torch._foreach_mul(drawn, (probes.norm(grads) / probes.norm(drawn)).item())


def evaluation_mode(
    model: nn.Module, loss: Loss, batch: Batch, step_size: float, lengths: Sequence[float]
) -> tuple[Tensor, Tensor]:
    """Mistake: a probe with the running statistics, another function than the one trained.

    Returns its gradient's norm [] at W and that gradient's changes [C] along its own direction.
    """
    model.eval()
    try:
        _, own = probes.gradients(model, loss, *batch)
        noise = probes.NoiseState(model)
        return probes.norm(own), probes.landscape(model, loss, *batch, own, noise, step_size, lengths)[1]
    finally:
        model.train()


@contextmanager
def frozen_statistics(model: nn.Module, x: Tensor) -> Iterator[None]:
    """Inside, every BatchNorm uses the mean and variance that it has on `x` at the present weights, as constants.

    At these weights the outputs are the same; gradients are not, because mean and variance no longer follow the activations.
    """
    layers = [module for module in model.modules() if isinstance(module, BatchNorm)]
    kept = [(layer.running_mean.clone(), layer.running_var.clone()) for layer in layers]

    def freeze(layer: BatchNorm, inputs: tuple[Tensor]) -> None:
        rest = [dim for dim in range(inputs[0].dim()) if dim != 1]
        var, mean = torch.var_mean(inputs[0].detach(), rest, correction=0)
        layer.running_mean.copy_(mean)
        layer.running_var.copy_(var)

    model.eval()
    hooks = [layer.register_forward_pre_hook(freeze) for layer in layers]
    try:
        with torch.no_grad():
            model(x)  # in evaluation mode, so that each layer's input comes from frozen ones
        for hook in hooks:
            hook.remove()
        yield
    finally:
        for hook in hooks:
            hook.remove()
        model.train()
        for layer, (mean, var) in zip(layers, kept):
            layer.running_mean.copy_(mean)
            layer.running_var.copy_(var)


def accumulated(
    model: nn.Module, loss: Loss, batch: Batch, grads: list[Tensor], step_size: float, lengths: Sequence[float]
) -> Tensor:
    """Mistake: gradients that are not set to zero between step lengths, so that each adds to those before. Changes [C]."""
    total = [g.clone() for g in grads]
    changes = []
    noise = probes.NoiseState(model)
    for _, there in probes.along(model, loss, *batch, grads, noise, step_size, lengths):
        torch._foreach_add_(total, there)
        changes.append(probes.norm(torch._foreach_sub(total, grads)))
    return torch.stack(changes)


def step_to_step(model: nn.Module, loss: Loss, fresh: Batch, grads: list[Tensor], step_size: float) -> Tensor:
    """Mistake: the difference [] between this step's gradient and the next one's, which is on another batch."""
    noise = probes.NoiseState(model)
    ((_, there),) = probes.along(model, loss, *fresh, grads, noise, step_size, (1.0,))
    return probes.norm(torch._foreach_sub(there, grads))


def top_eigenvalue(model: nn.Module, loss: Loss, x: Tensor, y: Tensor, tolerance: float = 1e-2) -> float:
    """Largest eigenvalue of the Hessian over all trained parameters, by Lanczos (scipy) on Hessian-vector products.

    Gradient descent is stable on a quadratic while it is below 2 / step size. NaN where Lanczos does not converge.
    """
    parameters = probes.trained(model)
    grads = torch.autograd.grad(loss(model(x), y), parameters, create_graph=True)
    flat = torch.cat([g.flatten() for g in grads])

    def product(vector: np.ndarray) -> np.ndarray:
        along = torch.from_numpy(vector.ravel()).to(flat)
        return torch.cat(
            [part.flatten() for part in torch.autograd.grad(flat, parameters, along, retain_graph=True)]
        ).cpu().numpy()  # fmt: skip

    size = flat.numel()
    operator = LinearOperator((size, size), matvec=product, dtype=flat.detach().cpu().numpy().dtype)
    start = np.random.default_rng(0).standard_normal(size).astype(operator.dtype)
    try:
        return float(eigsh(operator, 1, which="LA", v0=start, tol=tolerance, maxiter=10, return_eigenvectors=False)[0])
    except ArpackError:  # no convergence, or no curvature to find
        return float("nan")


def precision_errors(
    model: nn.Module, loss: Loss, x: Tensor, y: Tensor, step_size: float, lengths: Sequence[float]
) -> dict[str, Tensor]:
    """Relative error of the landscape probe against float64: `QUANTITIES`, each [len(PRECISIONS), C].

    Loss change, gradient change and beta at each step length, from float64 weights that equal the model's; each
    precision computes its own gradient.
    """
    exact = copy.deepcopy(model).double()
    reference = _quantities(exact, loss, x.double(), y, step_size, lengths)
    errors: dict[str, list[Tensor]] = {name: [] for name in QUANTITIES}
    for precision in PRECISIONS:
        with _arithmetic(precision, x.device.type):
            found = _quantities(copy.deepcopy(exact).float(), loss, x.float(), y, step_size, lengths)
        for name, value in reference.items():
            errors[name].append(abs(found[name] / value - 1))
    return {name: torch.stack(values) for name, values in errors.items()}


def to_tf32(values: Tensor) -> Tensor:
    """float32 values rounded to TF32's ten bits behind the leading one, to the nearest, ties away from zero, as the hardware's conversion does."""
    bits = (values.view(torch.int32) + 0x1000) & ~0x1FFF
    return torch.where(values.isfinite(), bits.view(torch.float32), values)


class _TF32Products(TorchDispatchMode):
    """TF32 where there is none: inside, the factors of matrix products and convolutions, forward and backward, are rounded; sums are float32's.

    Other products, which no network here has, raise `NotImplementedError`: they would be made in float32 unseen.
    """

    #: The places of the factors among an operation's arguments; the others, biases, are added as they are.
    _FACTORS = {
        torch.ops.aten.mm.default: (0, 1),
        torch.ops.aten.addmm.default: (1, 2),
        torch.ops.aten.convolution.default: (0, 1),
        torch.ops.aten.convolution_backward.default: (0, 1, 2),
    }

    _OTHERS = {getattr(torch.ops.aten, name).default for name in ("bmm", "baddbmm", "mv", "addmv", "dot")}

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if function in self._OTHERS:
            raise NotImplementedError(f"{function} has no TF32 here")
        factors = self._FACTORS.get(function, ())
        rounded = [to_tf32(value) if place in factors else value for place, value in enumerate(args)]
        found = function(*rounded, **(kwargs or {}))
        if function is torch.ops.aten.convolution_backward.default and found[2] is not None:
            found = (*found[:2], args[0].sum((0, 2, 3)))  # a bias's gradient is no product
        return found


@contextmanager
def _arithmetic(precision: str, device: str) -> Iterator[None]:
    """Inside, products of matrices and convolutions are made in `precision`; a CPU, which has no TF32, rounds as if it had."""
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    hardware = precision == "tf32" and device == "cuda"
    torch.set_float32_matmul_precision("high" if hardware else "highest")
    torch.backends.cudnn.allow_tf32 = hardware
    how = nullcontext()
    if precision == "bfloat16":
        how = torch.autocast(device, torch.bfloat16, cache_enabled=False)  # weights move inside: casts of theirs must not be cached
    elif precision == "tf32" and not hardware:
        how = _TF32Products()
    try:
        with how:
            yield
    finally:
        torch.set_float32_matmul_precision(before[0])
        torch.backends.cudnn.allow_tf32 = before[1]


def _quantities(
    model: nn.Module, loss: Loss, x: Tensor, y: Tensor, step_size: float, lengths: Sequence[float]
) -> dict[str, Tensor]:
    """Loss change, gradient change and beta [C], float64, of the probe as the model's precision has it."""

    def full(logits: Tensor, labels: Tensor) -> Tensor:
        return loss(logits.to(x.dtype), labels)

    value, grads = probes.gradients(model, full, x, y)
    noise = probes.NoiseState(model)
    losses, changes = (part.double() for part in probes.landscape(model, full, x, y, grads, noise, step_size, lengths))
    distance = torch.tensor(lengths, dtype=torch.float64, device=x.device) * step_size * probes.norm(grads).double()
    return {"loss_change": losses - value.double(), "grad_change": changes, "beta": changes / distance}
