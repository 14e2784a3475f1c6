"""Every kind of network by every probe: right to brute force, or refused by name; never a silent third.

The reference makes a fresh network for each evaluation, puts weights into it, seeds the generators and calls
`backward`: it knows nothing of rewinding.
"""

import random
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed.fsdp
import torch.distributed.tensor.parallel
from kinds import KINDS, PROBES, Kind, of, table, vision
from scipy.sparse.linalg import LinearOperator, eigsh
from torch import nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from lib import probes
from lib.errors import UsageError
from lib.norms import EPS, BatchNorm, NoisyBatchNorm
from lib.probes import controls, precision, theorems
from lib.probes.copies import copied
from lib.records import layout
from lib.specs import Noise

STEP, LENGTHS = 0.3, (0.5, 2.0)
SOUND = [name for name, kind in KINDS.items() if "all" not in kind.refused]
REFUSED = [name for name, kind in KINDS.items() if "all" in kind.refused]
BATCHNORMS = (BatchNorm, nn.modules.batchnorm._BatchNorm)


def trained(model):
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


def call(model, x):
    return model(*x) if isinstance(x, tuple) else model(**x) if isinstance(x, dict) else model(x)


@contextmanager
def unseeded():
    """Keeps the generators where they are while the reference seeds its own."""
    states = random.getstate(), np.random.get_state()
    with torch.random.fork_rng([]):
        yield
    random.setstate(states[0])
    np.random.set_state(states[1])


class Reference:
    """Losses and gradients of fresh networks."""

    def __init__(self, kind):
        self.kind = kind
        with unseeded():
            self.weights = [parameter.detach().clone() for parameter in trained(kind.fresh()[0])]
        self.value, self.grads = self()

    def __call__(self, *args, **how):
        with unseeded():
            return self.evaluate(*args, **how)

    def evaluate(self, weights=None, prepare=None, x=None, y=None):
        model, own_x, own_y = self.kind.fresh()
        model = getattr(model, "_orig_mod", model)
        x, y = (own_x, own_y) if x is None else (x, y)
        with torch.no_grad():
            for parameter, value in zip(trained(model), weights or []):
                parameter.copy_(value)
        if prepare:
            prepare(model)
        with self.kind.context():
            torch.nn.utils.parametrize._cache.clear()
            value = self.kind.loss(call(model, x), y)
        with torch.autocast("cpu", enabled=False):
            value.backward()
        parameters = trained(model)
        zeros = [torch.zeros_like(parameter) if parameter.grad is None else parameter.grad for parameter in parameters]
        return value.detach().double(), [grad.to_dense() if grad.is_sparse else grad for grad in zeros]

    def moved(self, direction, distance):
        return [weight - distance * part for weight, part in zip(self.weights, direction)]

    def change(self, direction, distance, base=None, **how):
        return distance_of(self(self.moved(direction, distance), **how)[1], base or self.grads)


def flat(tensors):
    return torch.cat([(torch.view_as_real(t) if t.is_complex() else t).double().flatten() for t in tensors])


def distance_of(one, other):
    return (flat(one) - flat(other)).norm().item()


def fresh_batch(x, y):
    """Another batch of the same form."""

    def roll(values):
        return values.flip(0) * (1.5 if values.is_floating_point() else 1)

    if isinstance(x, tuple):
        return (roll(x[0]), *x[1:]), y
    return ({**x, "x": roll(x["x"])} if isinstance(x, dict) else roll(x)), y


def trace(model):
    """All that a probe must leave as it was."""
    kept = {}
    for name, module in model.named_modules():
        for key, value in {**vars(module), **module._buffers, **module._parameters}.items():
            if isinstance(value, torch.Tensor):
                kept[name, key] = (value, value.detach().clone(), value._version)
            elif isinstance(value, (list, dict)):
                kept[name, key] = (value, list(value), None)
            else:
                kept[name, key] = (value, value, None)
    state = np.random.get_state()
    return kept, (torch.get_rng_state().tolist(), random.getstate(), state[1].tolist(), state[2])


def assert_untouched(model, before):
    after = trace(model)
    assert before[1] == after[1], "a random generator has moved"
    assert before[0].keys() == after[0].keys()
    for key, (value, content, version) in before[0].items():
        now, now_content, now_version = after[0][key]
        assert now is value or now == value, key
        if isinstance(content, torch.Tensor):
            assert torch.equal(now_content, content) and now_version == version, key
        else:
            assert now_content == content, key


def close(found, expected, rtol=1e-7, atol=1e-11):
    found, expected = torch.as_tensor(found), torch.as_tensor(expected).double()
    if found.dtype == torch.float32:  # under autocast
        rtol, atol = max(rtol, 1e-4), max(atol, 1e-5)
    torch.testing.assert_close(found.double(), expected, rtol=rtol, atol=atol, equal_nan=True)


@pytest.fixture(scope="module")
def reference():
    made = {}
    return lambda name: made.setdefault(name, Reference(KINDS[name]))


@pytest.fixture
def case(request, reference):
    """A kind's name, its point and its reference; afterwards the network must be as it was."""
    kind = KINDS[request.param]
    model, x, y = kind.fresh()
    before = trace(model)
    with kind.context():
        point = probes.Point.at(model, kind.loss, x, y, STEP)
        yield request.param, point, reference(request.param)
    assert_untouched(model, before)


def kinds_for(probe):
    return pytest.mark.parametrize("case", [name for name in SOUND if probe not in KINDS[name].refused], indirect=True)


@kinds_for("landscape")
def test_landscape_smoothness_and_random_directions(case):
    _, point, reference = case
    assert distance_of(point.grads, reference.grads) <= 1e-9 * (1 + flat(point.grads).norm())
    found = probes.landscape(point, LENGTHS)
    size = flat(reference.grads).norm()
    changes = [reference.change(reference.grads, c * STEP) for c in LENGTHS]
    close(found["landscape_loss"], [reference(reference.moved(reference.grads, c * STEP))[0] for c in LENGTHS])
    close(found["grad_change"], changes)
    close(found["grad_norm"], size)
    lengths = torch.tensor(LENGTHS, dtype=found["grad_change"].dtype)
    beta = probes.effective_smoothness(found["grad_change"], lengths, STEP, found["grad_norm"])
    close(beta, [change / (c * STEP * size) for change, c in zip(changes, LENGTHS)], atol=1e-9)
    direction = controls.random_direction(point.grads, 3)
    close(flat(direction).norm(), size)
    found = probes.landscape(point, LENGTHS, direction)
    close(found["landscape_loss"], [reference(reference.moved(direction, c * STEP))[0] for c in LENGTHS])
    close(found["grad_change"], [reference.change(direction, c * STEP) for c in LENGTHS])


@kinds_for("shift")
def test_layers_and_covariate_shift(case):
    compare_shift(*case[1:])


def compare_shift(point, reference):
    names = {id(parameter): key for key, parameter in point.model.named_parameters()}
    layers = probes.layers_of(point)
    assert [names[id(layer[0])] for layer in layers] == list(reference.kind.heads)
    found = probes.covariate_shift(point)
    position = {id(parameter): number for number, parameter in enumerate(trained(point.model))}
    layers = [[position[id(parameter)] for parameter in layer] for layer in layers]
    for number, layer in enumerate(layers):
        moved = {place for before in layers[:number] for place in before}
        weights = [
            weight - STEP * grad if place in moved else weight
            for place, (weight, grad) in enumerate(zip(reference.weights, reference.grads))
        ]
        after, before = flat(reference(weights)[1][layer[0]][None]), flat(reference.grads[layer[0]][None])
        close(found["shift_l2"][number], (after - before).norm())
        close(found["shift_cosine"][number], after @ before / after.norm() / before.norm())


def _stages(*names):
    """The first parameters of a stage of ResNet-18: of two blocks, the first with a shorter way beside it."""
    return [f"{name}.{block}.{conv}.weight" for name in names for block in (0, 1) for conv in ("conv1", "conv2")]


@pytest.mark.slow
def test_a_whole_resnet_18_on_its_own_images():
    heads = ["conv1.weight", *_stages("layer1")]
    for name in ("layer2", "layer3", "layer4"):
        block = _stages(name)
        heads += [*block[:2], f"{name}.0.downsample.0.weight", *block[2:]]
    kind = Kind(of(lambda: vision.resnet18(num_classes=3), 3, 32, 32), (*heads, "fc.weight"))
    model, x, y = kind.fresh()
    before, point, reference = trace(model), probes.Point.at(model, kind.loss, x, y, STEP), Reference(kind)
    compare_shift(point, reference)
    found = probes.landscape(point, LENGTHS)
    close(found["landscape_loss"], [reference(reference.moved(reference.grads, c * STEP))[0] for c in LENGTHS])
    close(found["grad_change"], [reference.change(reference.grads, c * STEP) for c in LENGTHS])
    assert_untouched(model, before)


@kinds_for("controls")
def test_mistakes_and_other_batches(case):
    _, point, reference = case
    fresh = fresh_batch(point.x, point.y)
    own, grads = reference(prepare=nn.Module.eval)[1], reference.grads
    norm, changes = controls.evaluation_mode(point, LENGTHS)
    close(norm, flat(own).norm())
    close(changes, [reference.change(own, c * STEP, own, prepare=nn.Module.eval) for c in LENGTHS])
    total, expected = flat(grads), []
    for c in LENGTHS:
        total = total + flat(reference(reference.moved(grads, c * STEP))[1])
        expected.append((total - flat(grads)).norm())
    close(controls.accumulated(point, LENGTHS), expected)
    close(controls.step_to_step(point, fresh), reference.change(grads, STEP, x=fresh[0], y=fresh[1]))


def constants_of(reference):
    """What each BatchNorm call has as mean and variance at the point; and a hook that makes them constants."""
    found = {}

    def look(module, inputs, _):
        y = inputs[0].detach().transpose(0, 1).flatten(1).double()
        running = not module.training and module.running_mean is not None
        pair = (
            (module.running_mean.clone(), module.running_var.clone())
            if running
            else (y.mean(1), y.var(1, correction=0))
        )
        found.setdefault(place[module], []).append(pair)

    def use(module, inputs, _):
        number = calls.get(place[module], 0)
        calls[place[module]] = number + 1
        mean, var = found[place[module]][number]
        ours = isinstance(module, BatchNorm)
        weight, bias = (module.gamma, module.beta) if ours else (module.weight, module.bias)
        return F.batch_norm(inputs[0], mean, var, weight, bias, False, 0.0, EPS if ours else module.eps)

    place, calls = {}, {}

    def hooked(hook):
        def prepare(model):
            place.clear()
            calls.clear()
            for number, module in enumerate(model.modules()):
                if isinstance(module, BATCHNORMS):
                    place[module] = number
                    module.register_forward_hook(hook)

        return prepare

    reference(prepare=hooked(look))
    return hooked(use)


@kinds_for("frozen")
def test_frozen_statistics(case):
    _, point, reference = case
    frozen_by_hand = constants_of(reference)
    value, base = reference(prepare=frozen_by_hand)
    close(value, reference.value)
    with controls.frozen_statistics(point) as frozen:
        found = probes.landscape(frozen, LENGTHS)
        close(distance_of(frozen.gradients()[1], base), 0)
    close(found["grad_change"], [reference.change(reference.grads, c * STEP, prepare=frozen_by_hand) for c in LENGTHS])
    moved = [reference(reference.moved(reference.grads, c * STEP), prepare=frozen_by_hand)[0] for c in LENGTHS]
    close(found["landscape_loss"], moved)


def pieces(vector, like):
    parts = torch.as_tensor(vector).split([weight.numel() * (2 if weight.is_complex() else 1) for weight in like])
    return [
        torch.view_as_complex(part.reshape(*weight.shape, 2))
        if weight.is_complex()
        else part.view_as(weight).to(weight)
        for part, weight in zip(parts, like)
    ]


def outside(name):
    """The reference of the same network in float64, without autocast."""
    kind = KINDS[name]

    def make():
        model, x, y = kind.make()
        return model.double(), x.double(), y

    other = replace(kind, make=make, context=lambda: torch.autocast("cpu", enabled=False))
    return Reference(other)


@kinds_for("eigenvalue")
def test_top_eigenvalue(case):
    name, point, reference = case
    length = 1e-6
    if "autocast" in name:  # differences of gradients in bfloat16 say nothing: its Hessian is near that of float32
        reference = outside(name)

    def product(vector):
        direction = pieces(vector.ravel(), reference.weights)
        ends = [flat(reference(reference.moved(direction, side * length))[1]) for side in (-1, 1)]
        return ((ends[0] - ends[1]) / (2 * length)).numpy()

    size = flat(reference.weights).numel()
    if size <= 8:
        hessian = np.stack([product(row) for row in np.eye(size)])
        expected = np.linalg.eigvalsh((hessian + hessian.T) / 2)[-1]
    else:
        operator = LinearOperator((size, size), matvec=product, dtype=float)
        start = np.random.default_rng(1).standard_normal(size)
        expected = eigsh(operator, 1, which="LA", tol=1e-5, v0=start, return_eigenvectors=False)[0]
    found = controls.top_eigenvalue(point, 1e-6)
    assert found == pytest.approx(expected, rel=5e-2 if "autocast" in name else 1e-4, abs=1e-7)


@kinds_for("activations")
def test_activations(case):
    name, point, reference = case
    seen, units = [], 2

    def prepare(model):
        for module in model.modules():
            if isinstance(module, nn.ReLU):
                module.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach().clone()))

    reference(prepare=prepare)
    watch = probes.Activations(point.model, units, seed=0)
    with probes.held(point.model), watch.watch():
        point.forward()
        mean, var = watch.moments()
        values = watch.values()
    assert len(values) == len(seen)
    for number, (kept, value) in enumerate(zip(seen, values)):
        channels = kept.transpose(0, 1).flatten(1).to(value.dtype)
        matches = [[torch.equal(row, channel) for channel in channels] for row in value]
        assert all(map(any, matches)), "a unit is not a channel of the ReLU's input"
        close(mean[number], value.double().mean(1), rtol=1e-2 if "autocast" in name else 1e-7)
        close(var[number], value.double().var(1, correction=0), rtol=1e-2 if "autocast" in name else 1e-7)


@kinds_for("theorems")
def test_theorem_terms(case):
    _, point, reference = case
    found = {key.removeprefix("theorem_"): value for key, value in theorems.measure(point, 2).items()}
    assert found.keys() == set(layout.THEOREM_TERMS)
    seen = []

    def watched(call=None, direction=None):
        """Inputs, outputs and both gradients of each BatchNorm call; `direction` is added to the output of one."""
        seen.clear()

        def hook(module, inputs, z):
            z = z if len(seen) != call else z + direction
            inputs[0].retain_grad()
            z.retain_grad()
            seen.append((module, inputs[0], z))
            return z.clone()

        def prepare(model):
            for module in model.modules():
                if isinstance(module, BATCHNORMS):
                    module.register_forward_hook(hook)

        reference(prepare=prepare)
        return [(module, y.detach(), y.grad, z.grad) for module, y, z in seen]

    layers = watched()
    assert len(layers) == len(found["scale"])
    for number, (module, y, v, g) in enumerate(layers):
        ours = isinstance(module, BatchNorm)
        gamma = module.gamma if ours else torch.ones(y.shape[1]) if module.weight is None else module.weight
        for unit in range(2):
            a, b = y[:, unit], g[:, unit]
            scale = gamma[unit].item() / (a.var(correction=0) + (EPS if ours else module.eps)).sqrt()
            close(found["scale"][number, unit], scale)
            yhat = (a - a.mean()) / (a.var(correction=0) + EPS).sqrt()
            close(found["inner"][number, unit], (b * yhat).sum(), atol=1e-9)
            close(found["removed"][number, unit], 1 - v[:, unit].square().sum() / scale**2 / b.square().sum(), 1e-6)
            forms = []
            for part in (v, g):
                direction = torch.zeros_like(part)
                direction[:, unit] = part[:, unit]
                step = 1e-5 / max(direction.norm().item(), 1e-12)
                ahead, behind = (watched(number, side * step * direction)[number][3] for side in (1, -1))
                forms.append(((ahead - behind) * direction).sum() / (2 * step))
            close(found["form_bn"][number, unit], forms[0], 1e-4, 1e-10)
            close(found["form_plain"][number, unit], forms[1], 1e-4, 1e-10)


@kinds_for("precision")
def test_precision_errors(case):
    """Float32 and bfloat16 against networks made anew, whose rounding is the same; TF32 is tried product by product."""
    name, point, _ = case
    found = {key.removeprefix("error_"): value for key, value in precision.precision_errors(point, LENGTHS).items()}
    assert all(value.shape == (3, len(LENGTHS)) for value in found.values())
    if name in ("torch.func.vmap in the forward pass", "complex weights"):
        return
    kind = KINDS[name]

    def quantities(dtype, autocast=False):
        def cast(value):
            return value.to(dtype) if isinstance(value, torch.Tensor) and value.is_floating_point() else value

        def evaluate(weights=None):
            with unseeded():
                return evaluated(weights)

        def evaluated(weights):
            model, x, y = kind.fresh()
            model = getattr(model, "_orig_mod", model).to(dtype)
            for module in model.modules():
                for key, value in vars(module).items():
                    vars(module)[key] = cast(value)
            with torch.no_grad():
                for parameter, value in zip(trained(model), weights or []):
                    parameter.copy_(value)
            x, y = torch.utils._pytree.tree_map(cast, x), cast(y)
            loss = kind.loss.to(dtype) if isinstance(kind.loss, nn.Module) else kind.loss
            try:
                torch.nn.utils.parametrize._cache.clear()
                with torch.autocast("cpu", torch.bfloat16, enabled=autocast), sdpa_kernel(SDPBackend.MATH):
                    value = loss(torch.utils._pytree.tree_map(cast, call(model, x)), y)
            finally:
                if isinstance(kind.loss, nn.Module):
                    kind.loss.double()
            with torch.autocast("cpu", enabled=False):
                value.backward()
            grads = [torch.zeros_like(p) if p.grad is None else p.grad.to_dense() for p in trained(model)]
            return value.item(), grads, [p.detach().clone() for p in trained(model)]

        value, grads, weights = evaluate()
        size, out = flat(grads).norm().item(), []
        for c in LENGTHS:
            there = evaluate([weight - c * STEP * grad for weight, grad in zip(weights, grads)])
            change = distance_of(there[1], grads)
            out.append((there[0] - value, change, change / (c * STEP * size)))
        return np.array(out)

    exact = quantities(torch.float64)
    for row, autocast in ((0, False), (2, True)):
        expected = abs(quantities(torch.float32, autocast) / exact - 1)
        for column, key in enumerate(layout.COMPARED):
            np.testing.assert_allclose(
                found[key][row].numpy(), expected[:, column], rtol=0.3, atol=2e-2 if autocast else 2e-5
            )


@kinds_for("precision")
def test_a_copy_in_float64_has_the_same_gradient(case):
    name, point, reference = case
    if "autocast" not in name:
        close(flat(copied(point, torch.float64).grads), flat(reference.grads), 1e-6)


ONE_BY_ONE = [(probe, name) for name in SOUND for probe in KINDS[name].refused]


@pytest.mark.parametrize(("probe", "name"), ONE_BY_ONE)
def test_probes_that_cannot_be_right_refuse_by_name(probe, name):
    kind = KINDS[name]
    model, x, y = kind.fresh()
    before = trace(model)
    with kind.context():
        point = probes.Point.at(model, kind.loss, x, y, STEP)
        watch = probes.Activations(model, 1, 0)

        def activations():
            with probes.held(model), watch.watch():
                point.forward()
                watch.moments()

        calls = {
            "eigenvalue": lambda: controls.top_eigenvalue(point),
            "theorems": lambda: theorems.measure(point, 1),
            "precision": lambda: precision.precision_errors(point, LENGTHS),
            "activations": activations,
        }
        with pytest.raises(UsageError, match=f"(?s){kind.refused[probe]}"):
            calls[probe]()
    assert_untouched(model, before)


@pytest.mark.parametrize("name", REFUSED)
def test_networks_that_no_probe_takes_are_refused_by_name(name):
    kind = KINDS[name]
    model, x, y = kind.fresh()
    before = x.clone()
    with pytest.raises(UsageError, match=f"(?s){kind.refused['all']}"):
        probes.Point.at(model, kind.loss, x, y, STEP)
    assert torch.equal(x, before)


def test_the_chapter_shows_this_table():
    assert set().union(*(kind.refused for kind in KINDS.values())) <= {*PROBES, "all"}
    chapter = (Path(__file__).parents[1] / "book" / "own-network.md").read_text()
    assert table() in chapter, "put what `python tests/kinds.py` prints into book/own-network.md"


def everything():
    """A network with all that a probe might leave changed: a frozen norm, another one, dropout, a counter, a hook."""
    torch.manual_seed(0)
    model = nn.Sequential(
        *(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Dropout(0.5)),
        *(nn.Linear(4, 4), NoisyBatchNorm(4, Noise(), 0), nn.ReLU(), nn.Linear(4, 3)),
    ).double()
    model[1].eval()
    model[4].register_forward_hook(lambda *_: None)
    return model, torch.randn(6, 4, dtype=torch.float64), torch.arange(6) % 3


class Interrupting:
    """Cross entropy that is interrupted at one of its calls."""

    def __init__(self):
        self.calls, self.last = 0, None

    def __call__(self, z, y):
        self.calls += 1
        if self.calls == self.last:
            raise KeyboardInterrupt
        return F.cross_entropy(z, y)


EVERY_PROBE = {
    "landscape": lambda point: probes.landscape(point, LENGTHS),
    "shift": probes.covariate_shift,
    "layers": probes.layers_of,
    "controls": lambda point: controls.measure(point, fresh_batch(point.x, point.y), LENGTHS, 0),
    "eigenvalue": controls.top_eigenvalue,
    "theorems": lambda point: theorems.measure(point, 1),
    "precision": lambda point: precision.precision_errors(point, LENGTHS),
    "at": lambda point: probes.Point.at(point.model, point.loss, point.x, point.y, STEP),
}


@pytest.mark.parametrize("probe", EVERY_PROBE)
@pytest.mark.parametrize("last", [1, 2])
def test_an_interrupted_probe_leaves_everything_as_it_was(probe, last):
    model, x, y = everything()
    loss = Interrupting()
    point = probes.Point.at(model, loss, x, y, STEP)
    if probe == "theorems":
        model[1].train()
    before = trace(model)
    grads = [parameter.grad for parameter in model.parameters()]
    loss.last = loss.calls + last
    if probe == "layers" and last == 2:
        EVERY_PROBE[probe](point)  # has one pass only
    else:
        with pytest.raises(KeyboardInterrupt):
            EVERY_PROBE[probe](point)
    assert_untouched(model, before)
    assert [parameter.grad for parameter in model.parameters()] == grads


def test_a_probe_between_forward_and_backward_does_not_disturb_the_step():
    model, x, y = everything()
    torch.manual_seed(2)
    F.cross_entropy(model(x), y).backward()
    expected = [parameter.grad.clone() for parameter in model.parameters()]
    model, x, y = everything()
    torch.manual_seed(2)
    value = F.cross_entropy(model(x), y)
    point = probes.Point.at(model, F.cross_entropy, x, y, STEP)
    for probe in ("landscape", "shift", "controls", "eigenvalue"):
        EVERY_PROBE[probe](point)
    value.backward()
    assert all(torch.equal(parameter.grad, grad) for parameter, grad in zip(model.parameters(), expected))


def test_nan_is_data(capfd):
    model, x, y = KINDS["MLP with dropout"].fresh()
    with torch.no_grad():
        model[0].weight[0, 0] = torch.nan
    point = probes.Point.at(model, F.cross_entropy, x, y, STEP)
    assert probes.landscape(point, LENGTHS)["landscape_loss"].isnan().all()
    assert np.isnan(controls.top_eigenvalue(point))
    assert capfd.readouterr() == ("", "")


def test_no_curvature_is_zero():
    model, x = nn.Linear(4, 3).double(), torch.randn(6, 4, dtype=torch.float64)
    assert controls.top_eigenvalue(probes.Point.at(model, lambda z, _: z.mean(), x, None, STEP)) == 0
    pieces = nn.Sequential(nn.Linear(4, 1), nn.ReLU()).double()
    assert controls.top_eigenvalue(probes.Point.at(pieces, lambda z, _: z.mean(), x, None, STEP)) == 0


def test_one_sample_is_measured_or_refused_by_the_norm():
    x, y = torch.randn(1, 4, dtype=torch.float64), torch.zeros(1, dtype=torch.long)
    grouped, batched = (
        nn.Sequential(nn.Linear(4, 4), norm, nn.Linear(4, 3)).double()
        for norm in (nn.GroupNorm(2, 4), nn.BatchNorm1d(4))
    )
    point = probes.Point.at(grouped, F.cross_entropy, x, y, STEP)
    moved = [p - STEP * g for p, g in zip(grouped.parameters(), point.grads)]
    found = probes.landscape(point, (1.0,))["landscape_loss"]
    values = dict(zip((name for name, _ in grouped.named_parameters()), moved))
    close(found[0], F.cross_entropy(torch.func.functional_call(grouped, values, x), y).detach())
    with pytest.raises(UsageError, match="^1 cannot train on one value a channel"):
        probes.Point.at(batched, F.cross_entropy, x, y, STEP)
    point = probes.Point.at(batched.eval(), F.cross_entropy, x, y, STEP)
    assert torch.isfinite(probes.landscape(point, (1.0,))["grad_norm"])


def test_places_where_nothing_can_be_probed_are_refused():
    model, x, y = KINDS["MLP with dropout"].fresh()
    with torch.inference_mode(), pytest.raises(UsageError, match="inference_mode"):
        probes.Point.at(model, F.cross_entropy, x, y, STEP)

    def inside(values):
        probes.Point.at(model, F.cross_entropy, x, y, STEP)

    with pytest.raises(UsageError, match="transform of torch.func"):
        torch.func.grad(inside)(torch.ones(2))
    with torch.no_grad():  # which a loop may well be in
        assert probes.layers_of(probes.Point.at(model, F.cross_entropy, x, y, STEP))


def test_activations_that_cannot_be_told_apart_are_refused():
    sequence = nn.Sequential(nn.Linear(4, 4), nn.ReLU())
    with probes.Activations(sequence, 1, 0).watch(), pytest.raises(UsageError, match=r"1, a ReLU, gets \(2, 3, 4\)"):
        sequence(torch.ones(2, 3, 4))
    swapped = nn.ModuleList([nn.ReLU(), nn.ReLU()])
    watch = probes.Activations(nn.ModuleList([swapped, nn.Linear(1, 1)]), 1, 0)
    with watch.watch():
        swapped[0](torch.ones(2, 3))
    with watch.watch(), pytest.raises(UsageError, match="0.1, a ReLU, is called as number 1, which was 0.0 before"):
        swapped[1](torch.ones(2, 3))


@pytest.fixture
def process_group():
    torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


def _mesh():
    return torch.distributed.device_mesh.init_device_mesh("cpu", (1,))


OVER_PROCESSES = {
    "DistributedDataParallel": (
        lambda model: nn.parallel.DistributedDataParallel(model),
        "the model is DistributedDataParallel.*probe its .module",
    ),
    "FullyShardedDataParallel": (
        lambda model: torch.distributed.fsdp.FullyShardedDataParallel(model, device_id=torch.device("cpu")),
        "the model is FullyShardedDataParallel.*probe its .module",
    ),
    "fully_shard": (
        lambda model: torch.distributed.fsdp.fully_shard(model, mesh=_mesh()),
        "0.weight is a DTensor.*plain parameters",
    ),
    "tensor parallel": (
        lambda model: torch.distributed.tensor.parallel.parallelize_module(
            model, _mesh(), {"0": torch.distributed.tensor.parallel.ColwiseParallel()}
        ),
        "0.weight is a DTensor.*plain parameters",
    ),
}


@pytest.mark.parametrize("name", OVER_PROCESSES)
def test_networks_over_several_processes_are_refused_by_name(process_group, name):
    wrap, why = OVER_PROCESSES[name]
    model = wrap(nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)))
    with pytest.raises(UsageError, match=why):
        probes.measure(model, F.cross_entropy, (torch.randn(5, 3), torch.tensor([0, 1, 0, 1, 1])), STEP)


def test_statistics_over_several_processes_are_refused_by_name(monkeypatch):
    monkeypatch.setattr(probes.contract, "_processes", lambda: 2)
    model = nn.Sequential(nn.Linear(3, 4), nn.SyncBatchNorm(4))
    with pytest.raises(UsageError, match="1 is SyncBatchNorm.*all processes"):
        probes.measure(model, F.cross_entropy, (torch.randn(5, 3), torch.tensor([0, 1, 0, 1, 1])), STEP)


def test_a_hook_that_changes_gradients_behind_a_probes_back_is_refused_by_name():
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    hook = model[2].weight.register_post_accumulate_grad_hook(lambda parameter: None)
    batch = torch.randn(5, 3), torch.tensor([0, 1, 0, 1, 1])
    with pytest.raises(UsageError, match="^2.weight has a post-accumulate-grad hook.*remove it to probe"):
        probes.measure(model, F.cross_entropy, batch, STEP)
    hook.remove()
    assert probes.measure(model, F.cross_entropy, batch, STEP).grad_norm > 0
