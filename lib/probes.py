"""Probes: measurements at one point of training that leave the network as they found it.

Every probe uses the batch of the current step, batch statistics and, for a noisy network,
the noise of the step's own forward pass, so that what is measured is the function whose
gradient the step follows. All take the step's gradients, which training has anyway.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.func import functional_call

from lib.errors import check_number
from lib.models import weights
from lib.norms import ActivationNoise

Loss = Callable[[Tensor, Tensor], Tensor]


def gradients(model: nn.Module, loss: Loss, x: Tensor, y: Tensor) -> tuple[Tensor, list[Tensor]]:
    """Loss [] and gradient of every trained parameter."""
    value = loss(model(x), y)
    return value.detach(), list(torch.autograd.grad(value, trained(model)))


def trained(model: nn.Module) -> list[nn.Parameter]:
    """The parameters that training moves, in the order of `model.parameters()`."""
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


class NoiseState:
    """How often every noise layer of `model` was called; `rewind` puts it back.

    Taken before a forward pass, it lets a probe see that pass's noise again. `calls` maps each noise layer to its number.
    """

    def __init__(self, model: nn.Module) -> None:
        self.calls = {module: module.calls for module in model.modules() if isinstance(module, ActivationNoise)}

    def rewind(self, part: nn.Module | None = None) -> None:
        """Put the noise layers of `part` (all of the model if None) back to the saved numbers."""
        for layer in self.calls if part is None else part.modules():
            if layer in self.calls:
                layer.calls = self.calls[layer]


@contextmanager
def held(model: nn.Module) -> Iterator[None]:
    """Restore parameters, buffers and the noise layers, bit for bit, when the block ends."""
    tensors = [*model.parameters(), *model.buffers()]
    saved = [tensor.detach().clone() for tensor in tensors]
    after = NoiseState(model)
    try:
        yield
    finally:
        with torch.no_grad():
            torch._foreach_copy_(tensors, saved)
        after.rewind()


def norm(tensors: Sequence[Tensor]) -> Tensor:
    """l2 norm [] of all entries of all tensors."""
    return torch.stack(torch._foreach_norm(list(tensors))).square().sum().sqrt()


def along(
    model: nn.Module,
    loss: Loss,
    x: Tensor,
    y: Tensor,
    direction: list[Tensor],
    noise: NoiseState,
    step_size: float,
    step_lengths: Sequence[float],
) -> Iterator[tuple[Tensor, list[Tensor]]]:
    """Loss [] and gradient at W - c step_size direction, for each multiple c of `step_lengths`; then the model is as it was."""
    parameters = trained(model)
    with held(model):
        start = [parameter.detach().clone() for parameter in parameters]
        for length in step_lengths:
            with torch.no_grad():
                # From the start each time: steps in a row would add up their rounding.
                torch._foreach_copy_(parameters, torch._foreach_add(start, direction, alpha=-length * step_size))
            noise.rewind()
            yield gradients(model, loss, x, y)


def landscape(
    model: nn.Module,
    loss: Loss,
    x: Tensor,
    y: Tensor,
    grads: list[Tensor],
    noise: NoiseState,
    step_size: float,
    step_lengths: Sequence[float],
    direction: list[Tensor] | None = None,
) -> tuple[Tensor, Tensor]:
    """Loss and gradient change along the gradient (section 3.2, appendix A.2.2), or along another `direction`.

    For each multiple c of `step_lengths`, at W - c step_size v, with v the gradient g(W), which is `grads`,
    of all trained parameters: the loss [C] and |g(W - c step_size v) - g(W)|_2 [C]. The effective
    smoothness is `effective_smoothness` of the second.
    """
    check_number("step_size", step_size, 0, low_open=True)
    losses, changes = [], []
    for value, there in along(model, loss, x, y, grads if direction is None else direction, noise, step_size, step_lengths):
        losses.append(value)
        changes.append(norm(torch._foreach_sub(there, grads)))
    return torch.stack(losses), torch.stack(changes)


def effective_smoothness(grad_change, step_lengths, step_size, grad_norm):
    """beta = |g(W - c step_size g) - g(W)| / (c step_size |g|), for every length c (Figure 4c).

    Works on anything that broadcasts: NumPy arrays, tensors, xarray. Units: 1 / step size;
    gradient descent on a quadratic is stable up to a curvature of 2 / step_size.
    """
    return grad_change / (step_lengths * step_size * grad_norm)


def covariate_shift(
    model: nn.Sequential,
    loss: Loss,
    x: Tensor,
    y: Tensor,
    grads: list[Tensor],
    noise: NoiseState,
    step_size: float,
) -> tuple[Tensor, Tensor]:
    """Internal covariate shift of Definition 2.1 for every layer: |G - G'|_2 [k] and cosine(G, G') [k].

    G'_i is the gradient of W_i when all parameters of the layers before i have taken their
    step and the others have not. One forward pass through updated layers is shared: layer i's
    old suffix starts from its cached input, and only W_i is differentiated.
    """
    check_number("step_size", step_size, 0, low_open=True)
    step = dict(zip(trained(model), grads))
    l2, cosine = [], []
    with held(model):
        h = x
        for index, (layer, weight) in enumerate(zip(model, weights(model))):
            before = step[weight]
            if index == 0:  # nothing precedes the first layer
                after = before
            else:
                noise.rewind()
                (after,) = torch.autograd.grad(loss(model[index:](h), y), [weight])
            l2.append((after - before).norm())
            cosine.append(torch.cosine_similarity(after.flatten(), before.flatten(), dim=0, eps=0))
            with torch.no_grad():
                noise.rewind(layer)
                moved = {name: value - step_size * step[value] for name, value in layer.named_parameters() if value in step}
                h = functional_call(layer, moved, h)
    return torch.stack(l2), torch.stack(cosine)


class Activations:
    """Watches the inputs of every ReLU: what its layer's normalization (and noise) hands on, where these stand before it.

    `units` channels of each watched layer are drawn once from `seed`. Use as a context
    manager around training and read it right after the forward pass it is about, before which `watching` was true.
    """

    def __init__(self, model: nn.Sequential, units: int, seed: int) -> None:
        self._relus = [module for module in model.modules() if isinstance(module, nn.ReLU)]
        self._generator = torch.Generator().manual_seed(seed)
        self._chosen: dict[nn.Module, Tensor] = {}
        self._values: dict[nn.Module, Tensor] = {}
        self._units = units
        self.watching = True

    def __enter__(self) -> Activations:
        self._hooks = [relu.register_forward_pre_hook(self._keep) for relu in self._relus]
        return self

    def __exit__(self, *_: object) -> None:
        for hook in self._hooks:
            hook.remove()

    def _keep(self, relu: nn.Module, inputs: tuple[Tensor]) -> None:
        if not (self.watching and relu.training):
            return
        (a,) = inputs
        if relu not in self._chosen:
            # Layers meet their first input in order, so the draw is reproducible.
            picks = torch.randperm(a.shape[1], generator=self._generator)
            self._chosen[relu] = picks.repeat(self._units)[: self._units].to(a.device)
        self._values[relu] = a.detach()[:, self._chosen[relu]].transpose(0, 1).flatten(1)

    def values(self) -> list[Tensor]:
        """The last forward pass's activations: a tensor [unit, B * H * W] for each layer."""
        return [self._values[relu] for relu in self._relus]

    def moments(self) -> tuple[Tensor, Tensor]:
        """Mean and variance over the batch: two tensors [layer, unit]."""
        return (
            torch.stack([value.mean(1) for value in self.values()]),
            torch.stack([value.var(1, correction=0) for value in self.values()]),
        )

    def histograms(self, bins: int) -> tuple[Tensor, Tensor]:
        """Counts [layer, unit, bin] between each unit's lowest and highest value, and those two [layer, unit, 2]."""
        counts, ranges = [], []
        for value in self.values():
            for row in value.float():
                low, high = row.min(), row.max()
                ranges.append(torch.stack([low, high]))
                sound = bool(torch.isfinite(high - low))
                counts.append(torch.histc(row, bins, low.item(), high.item()) if sound else row.new_zeros(bins))
        shape = (len(self._relus), self._units)
        return torch.stack(counts).view(*shape, bins), torch.stack(ranges).view(*shape, 2)
