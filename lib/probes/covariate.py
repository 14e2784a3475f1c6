"""Internal covariate shift, Definition 2.1, of every layer at one step."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.utils.parametrize import ParametrizationList

from lib.errors import UsageError
from lib.models import FixedScale, weights
from lib.norms import ActivationNoise, BatchNorm, LpNorm, NoisyBatchNorm
from lib.probes.point import Point, differentiate, held, leaves, trained


def covariate_shift(point: Point, layers: Sequence[Sequence[nn.Parameter]] | None = None) -> dict[str, Tensor]:
    """Internal covariate shift of Definition 2.1 for every layer: `shift_l2` [k] and `shift_cosine` [k].

    That is |G - G'|_2 and the cosine of G and G'. G'_i is the gradient of W_i when all parameters of the layers before
    i have taken their step and the others have not. W_i is the first parameter of layer i. `layers` are lists of
    parameters in order; without it they are `layers_of` the network. Costs a forward and a backward pass a layer, and
    without `layers` another forward pass, to find them. A chain of k layers of `lib.models` costs (k + 1) / 2 forward
    and (k - 1) / 2 backward passes. Backward passes end at W_i: the 11 layers of VGG-A on a CPU cost 4.7 training
    steps, and 2.5 as a chain (`lib.bench`).

        >>> model = nn.Sequential(nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False))
        >>> _ = [nn.init.ones_(weight) for weight in model.parameters()]
        >>> point = Point.at(model, nn.functional.mse_loss, torch.ones(1, 1), torch.zeros(1, 1), step_size=0.25)
        >>> covariate_shift(point)["shift_l2"].tolist()  # w_1's step halves w_2's input; nothing is before w_1
        [0.0, 1.5]
    """
    pairs = _chain(point) if layers is None and _is_chain(point.model) else _by_definition(point, layers)
    pairs = [tuple(torch.view_as_real(g) if g.is_complex() else g for g in pair) for pair in pairs]
    l2 = [(after - before).norm() for after, before in pairs]
    cosine = [torch.cosine_similarity(after.flatten(), before.flatten(), dim=0, eps=0) for after, before in pairs]
    return {"shift_l2": torch.stack(l2), "shift_cosine": torch.stack(cosine)}


def layers_of(point: Point) -> list[list[nn.Parameter]]:
    """The trained parameters of the network in layers, in order of first use in a forward pass.

    A layer begins with a module that has trained parameters of two or more dimensions, the largest of which comes first
    in it; vectors of modules used after it (the gamma and beta of a norm) join it. Parameters of modules that are not
    called themselves, as inside attention, and of parametrizations belong to the module around them. A parameter used
    more than once counts where it is used first; one that does not enter the loss is in no layer. Costs a forward pass.

        >>> model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 2))
        >>> point = Point.at(model, nn.functional.mse_loss, torch.randn(5, 3), torch.zeros(5, 2), step_size=0.1)
        >>> [[tuple(parameter.shape) for parameter in layer] for layer in layers_of(point)]
        [[(4, 3), (4,), (4,), (4,)], [(2, 4), (2,)]]
    """
    order: dict[nn.Module, None] = {}
    with held(point.model):  # which removes the hooks, too
        for module in point.model.modules():
            if not isinstance(module, ParametrizationList):
                module.register_forward_pre_hook(lambda module, _: order.setdefault(module))
        used = {id(leaf) for leaf in leaves(point.forward())}
    found: list[list[nn.Parameter]] = []
    known: set[int] = set()
    for module in order:
        own = [p for p in _own(module, order.keys()) if id(p) in used and id(p) not in known]
        known |= {id(parameter) for parameter in own}
        heads = sorted((parameter for parameter in own if parameter.dim() >= 2), key=lambda p: -p.numel())
        if heads:
            found.append([*heads, *(parameter for parameter in own if parameter.dim() < 2)])
        elif own and found:
            found[-1] += own
        elif own:
            found.append(own)
    return found


def _own(module: nn.Module, called: Collection[nn.Module]) -> list[nn.Parameter]:
    """Parameters of a module and of those inside it that are not called themselves."""
    inside = [child for child in module.children() if child not in called]
    return [*module.parameters(recurse=False), *(parameter for child in inside for parameter in _own(child, called))]


def _by_definition(point: Point, layers: Sequence[Sequence[nn.Parameter]] | None) -> list[tuple[Tensor, Tensor]]:
    """G' and G of every layer, word for word: the layers before it are moved, and the network is run again."""
    step = dict(zip(trained(point.model), point.grads))
    layers = layers_of(point) if layers is None else layers
    unknown = [p for layer in layers for p in layer if p not in step]
    if not layers or unknown or not all(len(layer) for layer in layers):
        raise UsageError(
            f"layers holds {len(layers)} layers with {len(unknown)} parameters that this network does not train; "
            "give lists of its trained parameters, each with one at least, or leave layers out."
        )
    found = []
    with held(point.model):
        for layer in layers:
            weight = layer[0]
            (after,) = differentiate(point.forward(), [weight])
            found.append((after, step[weight]))
            with torch.no_grad():
                for parameter in layer:
                    parameter.sub_(point.step_size * step[parameter])
    return found


#: Modules that draw nothing but what `State` rewinds layer by layer, and use each parameter once.
_PLAIN = (
    nn.Sequential,
    nn.Conv2d,
    nn.Linear,
    nn.ReLU,
    nn.ELU,
    nn.SELU,
    nn.GroupNorm,
    nn.MaxPool2d,
    nn.Flatten,
    nn.Identity,
    ActivationNoise,
    BatchNorm,
    FixedScale,
    LpNorm,
    NoisyBatchNorm,
)


def _is_chain(model: nn.Module) -> bool:
    """Whether the network is a chain of layers as `lib.models` builds them, for which `_chain` holds."""
    return (
        isinstance(model, nn.Sequential)
        and all(type(module) in _PLAIN for module in model.modules())
        and all(isinstance(layer, nn.Sequential) and isinstance(layer[0], (nn.Conv2d, nn.Linear)) for layer in model)
        and all(weight.requires_grad for weight in weights(model))
    )


def _chain(point: Point) -> list[tuple[Tensor, Tensor]]:
    """The fast twin for a `Sequential` of layers, each a `Sequential` that starts with its weight.

    One forward pass through updated layers is shared: layer i's old suffix starts from its cached input, and only W_i
    is differentiated.
    """
    model, found = point.model, []
    step = dict(zip(trained(model), point.grads))
    with held(model):
        h = point.x
        for index, (layer, weight) in enumerate(zip(model, weights(model))):
            before = after = step[weight]
            if index > 0:  # nothing precedes the first layer
                point.noise.rewind()
                (after,) = torch.autograd.grad(point.loss(model[index:](h), point.y), [weight])
            found.append((after, before))
            with torch.no_grad():
                point.noise.rewind(layer)
                moved = {
                    name: value - point.step_size * step[value]
                    for name, value in layer.named_parameters()
                    if value in step
                }
                h = functional_call(layer, moved, h)
    return found
