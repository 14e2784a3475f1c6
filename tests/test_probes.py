"""Probes against slow, independent computations, and their promise to leave no trace."""

import copy
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from lib import probes
from lib.errors import UsageError
from lib.models import vgg, weights
from lib.norms import ActivationNoise
from lib.probes import lengths
from lib.specs import ImageSpec

STEP = 0.1
NORMS = ("none", "batchnorm", "noisy", "l1", "l2", "linf", "layernorm", "groupnorm")


@pytest.fixture(params=NORMS)
def case(request):
    """A small float64 VGG at one point of training."""
    spec = ImageSpec(norm=request.param, width=1 / 16, depth=7, precision="float64", seed=3)
    model = vgg(spec).train()
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(16, 3, 32, 32, dtype=torch.float64, generator=generator)
    y = torch.randint(0, 10, (16,), generator=generator)
    return probes.Point.at(model, F.cross_entropy, x, y, STEP)


def gradients_at(point, values):
    """Loss and gradients of a copy of the point's model with other parameter values and the step's noise."""
    model, x, y = point.model, point.x, point.y
    other = copy.deepcopy(model)
    with torch.no_grad():
        for parameter, value in zip(other.parameters(), values):
            parameter.copy_(value)
    for mine, theirs in zip(other.modules(), model.modules()):
        if isinstance(theirs, ActivationNoise):
            mine.calls = 0
    loss = F.cross_entropy(other(x), y)
    loss.backward()
    return loss.detach(), [parameter.grad for parameter in other.parameters()]


def test_lengths_of_gradients_are_those_of_each_layers_weight(case):
    found = lengths.layer_lengths(case)
    case.model.zero_grad()
    for module in case.model.modules():
        if isinstance(module, ActivationNoise):
            module.calls = 0
    F.cross_entropy(case.model(case.x), case.y).backward()
    for index, layer in enumerate(case.model):
        torch.testing.assert_close(found["layer_gradient"][index], layer[0].weight.grad.norm(), rtol=1e-9, atol=0)
        torch.testing.assert_close(found["layer_weight"][index], layer[0].weight.detach().norm())


def test_landscape_equals_separate_copies_of_the_network(case):
    model, grads = case.model, case.grads
    lengths = (0.5, 1.0, 4.0)
    found = probes.landscape(case, lengths)
    for length, loss, change in zip(lengths, found["landscape_loss"], found["grad_change"]):
        values = [p - length * STEP * g for p, g in zip(model.parameters(), grads)]
        expected, there = gradients_at(case, values)
        distance = torch.cat([(a - b).flatten() for a, b in zip(there, grads)]).norm()
        torch.testing.assert_close(loss, expected, rtol=1e-10, atol=0)
        torch.testing.assert_close(change, distance, rtol=1e-9, atol=0)


def test_covariate_shift_equals_definition_2_1_layer_by_layer(case):
    model, grads = case.model, case.grads
    l2, cosine = probes.covariate_shift(case).values()
    step = dict(zip(model.parameters(), grads))
    position = {id(parameter): index for index, parameter in enumerate(model.parameters())}
    for index, weight in enumerate(weights(model)):
        moved = {id(parameter) for parameter in model[:index].parameters()}
        values = [p - STEP * step[p] if id(p) in moved else p for p in model.parameters()]
        _, there = gradients_at(case, values)
        after, before = there[position[id(weight)]].flatten(), step[weight].flatten()
        torch.testing.assert_close(l2[index], (after - before).norm(), rtol=1e-9, atol=1e-13)
        torch.testing.assert_close(cosine[index], after @ before / after.norm() / before.norm(), rtol=1e-9, atol=1e-12)
    assert l2[0] == 0 and l2[1:].min() > 0


def test_probes_leave_parameters_buffers_and_random_state_bit_identical(case):
    model = case.model

    def state():
        tensors = [tensor.clone() for tensor in model.state_dict().values()]
        calls = [torch.tensor(layer.calls) for layer in model.modules() if isinstance(layer, ActivationNoise)]
        return [*tensors, *calls, torch.get_rng_state()]

    before = state()
    probes.landscape(case, (0.5, 4.0))
    probes.covariate_shift(case)
    assert all(torch.equal(a, b) for a, b in zip(before, state(), strict=True))


def test_state_is_restored_when_a_probe_fails():
    model = nn.Sequential(nn.Sequential(nn.Linear(2, 2)))
    before = model[0][0].weight.clone()
    with pytest.raises(RuntimeError, match="broken"), probes.held(model):
        with torch.no_grad():
            model[0][0].weight.zero_()
        raise RuntimeError("broken")
    assert torch.equal(model[0][0].weight, before)


def test_landscape_of_a_quadratic_with_known_hessian():
    # loss = w H w / 2: the gradient changes by c eta H g, and beta is |H g| / |g| at every length.
    hessian = torch.diag(torch.tensor([1.0, 4.0], dtype=torch.float64))
    model = nn.Linear(2, 1, bias=False, dtype=torch.float64)

    def loss(_, __):
        return (model.weight @ hessian @ model.weight.T).squeeze() / 2

    x = torch.zeros(1, 2, dtype=torch.float64)
    point = probes.Point.at(model, loss, x, None, 0.2)
    losses, changes, length = probes.landscape(point, (0.5, 2.0)).values()
    g, value = point.grads[0].flatten(), loss(None, None)
    torch.testing.assert_close(length, g.norm())
    beta = probes.effective_smoothness(changes, torch.tensor([0.5, 2.0]), 0.2, g.norm())
    torch.testing.assert_close(beta, ((hessian @ g).norm() / g.norm()).expand(2))
    for length, got in zip((0.5, 2.0), losses):
        eta = 0.2 * length
        torch.testing.assert_close(got, value - eta * g @ g + eta**2 * g @ hessian @ g / 2)


@pytest.mark.parametrize("step", [0, -0.1, float("nan"), "0.1"])
def test_bad_step_sizes_are_named(case, step):
    with pytest.raises(UsageError, match="step_size"):
        probes.Point.at(case.model, F.cross_entropy, case.x, case.y, step)
    with pytest.raises(UsageError, match="step_size"):
        replace(case, step_size=step)


def test_activations_are_the_relu_inputs():
    spec = ImageSpec(norm="batchnorm", width=1 / 16, depth=7, precision="float64")
    model = vgg(spec).train()
    x = torch.randn(8, 3, 32, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    with probes.Activations(model, units=2, seed=0).watch() as watched:
        model(x)
        mean, var = watched.moments()
        counts, ends = watched.histograms(bins=10)
        values = watched.values()
    assert mean.shape == var.shape == (len(model) - 1, 2)
    # BatchNorm's outputs start at mean 0 and variance 1 (up to its eps).
    torch.testing.assert_close(mean, torch.zeros_like(mean), rtol=0, atol=1e-10)
    torch.testing.assert_close(var[1:], torch.ones_like(var[1:]), rtol=2e-2, atol=0)
    assert [int(count) for count in counts.sum(-1)[:, 0]] == [value.shape[1] for value in values]
    torch.testing.assert_close(ends[0, 0], torch.stack([values[0][0].min(), values[0][0].max()]).float())


class _Attention(nn.Module):
    """A small transformer layer with a head: attention, LayerNorm, dropout."""

    def __init__(self):
        super().__init__()
        self.block = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.3, batch_first=True)
        self.head = nn.Linear(8, 3)

    def forward(self, x):
        return self.head(self.block(x).mean(1))


class _Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem, self.one, self.two = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1), nn.Linear(4, 3)
        self.norms = nn.ModuleList([nn.BatchNorm2d(4), nn.BatchNorm2d(4)])

    def forward(self, x):
        h = self.norms[0](self.stem(x)).relu()
        return self.two((h + self.norms[1](self.one(h))).relu().mean((2, 3)))


@pytest.mark.parametrize(
    ("model", "shape", "heads"),
    [
        (_Residual, (6, 3, 5, 5), ["stem.weight", "one.weight", "two.weight"]),
        (
            _Attention,
            (6, 4, 8),
            ["block.self_attn.in_proj_weight", "block.linear1.weight", "block.linear2.weight", "head.weight"],
        ),
        (
            lambda: nn.Sequential(nn.Linear(5, 6), nn.Dropout(0.5), nn.ReLU(), nn.Linear(6, 3)),
            (6, 5),
            ["0.weight", "3.weight"],
        ),
    ],
)
def test_covariate_shift_of_any_network_is_that_of_copies(model, shape, heads):
    torch.manual_seed(3)
    model = model().double()
    x, y = torch.randn(shape, dtype=torch.float64), torch.arange(6) % 3
    torch.manual_seed(5)
    point = probes.Point.at(model, F.cross_entropy, x, y, 0.3)
    found = probes.covariate_shift(point)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    layers = [[names[id(parameter)] for parameter in layer] for layer in probes.layers_of(point)]
    assert [layer[0] for layer in layers] == heads and sum(map(len, layers)) == len(names)
    grads = dict(zip(names.values(), point.grads))
    for number, layer in enumerate(layers):
        copied = copy.deepcopy(model)
        with torch.no_grad():
            for name, parameter in copied.named_parameters():
                if any(name in before for before in layers[:number]):
                    parameter -= 0.3 * grads[name]
        torch.manual_seed(5)
        F.cross_entropy(copied(x), y).backward()
        difference = (dict(copied.named_parameters())[layer[0]].grad - grads[layer[0]]).norm()
        torch.testing.assert_close(found["shift_l2"][number], difference, rtol=1e-9, atol=1e-12)


def test_the_chain_is_the_definition():
    spec = ImageSpec(norm="noisy", width=1 / 16, depth=7, precision="float64", data="synthetic", train_images=512)
    model = vgg(spec).train()
    point = probes.Point.at(
        model, F.cross_entropy, torch.randn(8, 3, 32, 32, dtype=torch.float64), torch.arange(8), 0.1
    )
    fast = probes.covariate_shift(point)
    plain = probes.covariate_shift(point, probes.layers_of(point))
    for name, values in fast.items():
        torch.testing.assert_close(values, plain[name], rtol=1e-9, atol=1e-10)


def test_weights_too_coarse_for_a_probe_are_refused():
    model = nn.Linear(4, 3).bfloat16()
    with pytest.raises(UsageError, match="weight.*bfloat16.*float32"):
        probes.Point.at(model, F.cross_entropy, torch.ones(2, 4).bfloat16(), torch.zeros(2, dtype=torch.long), 0.1)


@pytest.mark.parametrize("seed", [0, 1])
def test_watched_units_are_drawn_by_the_seed_anew_for_each_layer(seed):
    torch.manual_seed(5)
    model = nn.Sequential(nn.Linear(3, 50), nn.ReLU(), nn.Linear(50, 50), nn.ReLU())
    x, units, drawn = torch.randn(8, 3), 2, torch.Generator().manual_seed(seed)
    with probes.Activations(model, units, seed).watch() as watched:
        model(x)
    for values, before in zip(watched.values(), (model[0], model[:3])):
        wanted = torch.randperm(50, generator=drawn)[:units]
        assert values.equal(before(x)[:, wanted].T)
