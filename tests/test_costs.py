"""What probes cost, counted, is what their docstrings say."""

import re

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.modules.module import register_module_forward_hook

from lib import probes
from lib.models import vgg
from lib.probes import activations, controls, covariate, loss_landscape, measuring, precision, second, theorems
from lib.probes import point as point_module
from lib.specs import ImageSpec

LENGTHS = (0.5, 1.0, 2.0, 4.0)
C, LAYERS, NORMS, UNITS = len(LENGTHS), 3, 2, 3
#: Products with the Hessian of Lanczos: one to see that there is curvature, and twenty vectors.
SOME = range(20, 30)


class Passes:
    """Counts of a module's forward passes, of the backward passes to its output, and of those through gradients.

    It looks on from outside, by a hook of all modules: one of the network's own would have to be checked by a probe.
    """

    def __init__(self, *modules):
        self.restart()
        for module in modules:
            module.passes = self
        self.end = register_module_forward_hook(self._forward).remove

    def __deepcopy__(self, memo):
        return self  # copies of the module count here, too

    def _forward(self, module, inputs, output):
        if getattr(module, "passes", None) is not self:
            return
        self.forward += 1
        if output.requires_grad:
            output.register_hook(self._backward)

    def _backward(self, grad):
        self.backward += 1
        if grad.requires_grad:  # of a graph that can be differentiated again: a product goes back through both
            grad.register_hook(self._product)

    def _product(self, grad):
        self.products += 1

    def restart(self):
        self.forward = self.backward = self.products = 0

    def counts(self):
        """Forward passes, backward passes that are no products, and products."""
        self.end()
        return self.forward, self.backward - self.products, self.products


def network():
    torch.manual_seed(0)
    first, second_, last = nn.Linear(3, 6), nn.Linear(6, 6), nn.Linear(6, 2)
    return nn.Sequential(first, nn.BatchNorm1d(6), nn.ReLU(), second_, nn.BatchNorm1d(6), nn.ReLU(), last).double()


def batch(seed):
    return torch.randn(8, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64), torch.arange(8) % 2


def at(model, loss=F.cross_entropy, x=None, y=None):
    x, y = batch(1) if x is None else (x, y)
    return probes.Point.at(model, loss, x, y, 0.1)


def counted(model, *data, parts=None):
    """The network's point, and what passes from now on through it, or through its `parts`."""
    passes = Passes(*([model] if parts is None else parts))  # before: a point knows all that modules have
    point = at(model, *data)
    passes.restart()
    return point, passes


def measured(what):
    return lambda point: measuring.measure(point.model, point.loss, (point.x, point.y), 0.1, [what], LENGTHS)


def watched(point):
    """A forward pass, watched."""
    activity = probes.Activations(point.model, 2, 0)
    with activity.watch():
        point.forward()
    activity.moments(), activity.histograms(10)


def smoothed(point):
    with probes.held(point.model):
        second.smooth(point)


def frozen(point):
    with controls.frozen_statistics(point):
        pass


#: Docstring, its words, what is measured, and forward passes, backward passes and products with the Hessian.
COSTS = [
    (probes.Point.at, "Costs two gradients", lambda p: at(p.model), (2, 2, 0)),
    (probes.along, "Costs a gradient a length.", lambda p: list(probes.along(p, LENGTHS)), (C, C, 0)),
    (probes.landscape, "Costs a gradient a length", lambda p: probes.landscape(p, LENGTHS), (C, C, 0)),
    (probes.layers_of, "Costs a forward pass.", probes.layers_of, (1, 0, 0)),
    (
        probes.covariate_shift,
        "Costs a forward and a backward pass a layer, and without `layers` another forward pass",
        probes.covariate_shift,
        (LAYERS + 1, LAYERS, 0),
    ),
    (probes.Activations, "Costs no pass of its own.", watched, (1, 0, 0)),
    (controls.random_direction, "Costs no pass.", lambda p: controls.random_direction(p.grads, 0), (0, 0, 0)),
    (
        controls.evaluation_mode,
        "Costs a gradient a length and one more.",
        lambda p: controls.evaluation_mode(p, LENGTHS),
        (C + 1, C + 1, 0),
    ),
    (controls.frozen_statistics, "Costs a forward pass.", frozen, (1, 0, 0)),
    (controls.accumulated, "Costs a gradient a length.", lambda p: controls.accumulated(p, LENGTHS), (C, C, 0)),
    (controls.step_to_step, "Costs a gradient.", lambda p: controls.step_to_step(p, batch(2)), (1, 1, 0)),
    (
        controls.top_eigenvalue,
        "Costs what `lib.probes.second.smooth` does, a backward pass, and some 20 products with the Hessian",
        controls.top_eigenvalue,
        (2, 1, SOME),
    ),
    (
        controls.measure,
        "Costs five gradients a length, three more, a forward pass, and `top_eigenvalue`.",
        lambda p: controls.measure(p, batch(2), LENGTHS, 0),
        (5 * C + 3 + 1 + 2, 5 * C + 3 + 1, SOME),
    ),
    (
        precision.precision_errors,
        "Costs four gradients a length, five more, and five forward passes.",
        lambda p: precision.precision_errors(p, LENGTHS),
        (4 * C + 5 + 5, 4 * C + 5, 0),
    ),
    (
        theorems.measure,
        "Costs what `lib.probes.second.smooth` does, a backward pass, and for each unit two products",
        lambda p: theorems.measure(p, UNITS),
        (2, 1, 2 * UNITS * NORMS),
    ),
    (second.smooth, "Costs two forward passes", smoothed, (2, 0, 0)),
    (probes.measure, '"landscape", C = len(step_lengths) gradients', measured("landscape"), (3 + C, 2 + C, 0)),
    (probes.measure, "cost two gradients and a forward pass.", measured("landscape"), (3 + C, 2 + C, 0)),
    (
        probes.measure,
        '"shift", a gradient a layer and two forward passes',
        measured("shift"),
        (3 + LAYERS + 2, 2 + LAYERS, 0),
    ),
    (probes.measure, '"sharpness", some 20 products with the Hessian', measured("sharpness"), (3 + 2, 2 + 1, SOME)),
]


def said(thing):
    return " ".join(thing.__doc__.split())


@pytest.mark.parametrize(
    "thing, words, run, expected", COSTS, ids=[f"{thing.__qualname__}: {words[:30]}" for thing, words, *_ in COSTS]
)
def test_a_probe_costs_what_its_docstring_says(thing, words, run, expected):
    assert words in said(thing)
    point, passes = counted(network())
    run(point)
    forward, backward, products = passes.counts()
    assert (forward, backward) == expected[:2]
    assert products in SOME if expected[2] is SOME else products == expected[2]


def test_every_probe_that_says_what_it_costs_is_counted():
    modules = (activations, controls, covariate, loss_landscape, measuring, point_module, precision, second, theorems)
    speaking = {
        (thing.__module__, thing.__qualname__)
        for module in modules
        for thing in (*vars(module).values(), probes.Point.at)
        if getattr(thing, "__module__", "") == module.__name__ and re.search(r"\b[Cc]osts? ", thing.__doc__ or "")
    }
    assert speaking == {(thing.__module__, thing.__qualname__) for thing, *_ in COSTS}


def test_without_layers_to_find_covariate_shift_is_a_gradient_a_layer():
    point, passes = counted(network())
    layers = probes.layers_of(point)
    passes.restart()
    probes.covariate_shift(point, layers)
    assert passes.counts() == (LAYERS, LAYERS, 0)


def test_a_chain_costs_half():
    spec = ImageSpec(depth=7, width=1 / 32, train_images=64, batch_size=8)
    model, x = vgg(spec), torch.randn(8, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    point, passes = counted(model, F.cross_entropy, x, torch.arange(8), parts=model)
    k = len(model)
    probes.covariate_shift(point)
    assert passes.counts() == (k * (k + 1) / 2, k * (k - 1) / 2, 0)
    assert "costs (k + 1) / 2 forward and (k - 1) / 2 backward passes" in said(probes.covariate_shift)


class Own(nn.Module):
    """A network with a module that is not torch's."""

    def __init__(self):
        super().__init__()
        self.inner = network()

    def forward(self, x):
        return self.inner(x)


def test_a_network_of_ones_own_is_checked_on_a_copy_before_it_is_differentiated_twice():
    point, passes = counted(Own())
    smoothed(point)
    assert passes.counts() == (2 + 4, 4, 1)
    assert "a float64 copy of the network, with four gradients of it and a product with its Hessian" in said(
        second.smooth
    )


def test_lanczos_ends_after_some_120_products():
    curvatures = torch.linspace(1, 2, 2_000, dtype=torch.float64)  # so near to one another that they are hard to part
    model, x = nn.Linear(1, 2_000, bias=False).double(), torch.ones(1, 1, dtype=torch.float64)
    point, passes = counted(model, lambda z, _: (curvatures * z.square()).sum() / 2, x, x)
    controls.top_eigenvalue(point, tolerance=1e-14)
    assert 110 < passes.counts()[2] < 130 and "up to some 120" in said(controls.top_eigenvalue)
