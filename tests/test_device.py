"""What a GPU would be asked to do, without one: tensors with a device and a shape, but no values.

Backward passes are left out, because torch's engine wants the device itself; noise has a test in `tests/test_noise.py`
that needs one.
"""

import collections

import numpy as np
import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from torch.utils._pytree import tree_leaves

from lib import data
from lib.probes import contract, loss_landscape
from lib.runs import batches, problems, stores, training
from lib.specs import NORMS, ImageSpec, LinearSpec

VGG = ImageSpec(
    width=1 / 32,
    depth=7,
    data="synthetic",
    train_images=64,
    batch_size=8,
    steps=3,
    landscape_every=2,
    shift_every=2,
    moments_every=2,
    eval_every=2,
    eval_images=20,
    units=2,
)
LINEAR = LinearSpec(layers=3, dim=4, samples=20, seeds=2, steps=3, landscape_every=2, shift_every=2)


def devices(values) -> set[str]:
    return {value.device.type for value in tree_leaves(values) if isinstance(value, torch.Tensor)}


class Watched(TorchDispatchMode):
    """Counts what makes a processor wait for its GPU, and what it sends there."""

    def __init__(self) -> None:
        super().__init__()
        self.counts = collections.Counter()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if function is torch.ops.aten._local_scalar_dense.default and devices(args) == {"cuda"}:
            self.counts["item"] += 1
            return 1.0
        found = function(*args, **(kwargs or {}))
        moves = devices(args), devices(found)
        if moves == ({"cuda"}, {"cpu"}):
            self.counts["to the processor"] += 1
        return found


def on_cuda(build):
    """A network as `build` makes it, with parameters and buffers on a GPU that is not there."""

    def make(spec: ImageSpec) -> nn.Module:
        with _disable_current_modes():
            model = build(spec)
        for module in model.modules():
            for store in (module._parameters, module._buffers):
                for name, value in store.items():
                    if value is not None:
                        there = torch.empty(value.shape, dtype=value.dtype, device="cuda")
                        store[name] = nn.Parameter(there, value.requires_grad) if store is module._parameters else there
        model.to = lambda device: model
        return model

    return make


@pytest.fixture
def counted(monkeypatch):
    """A function that runs a spec on a GPU without values and returns what was counted."""
    monkeypatch.setattr(training, "check_device", lambda device: None)
    for name in ("vgg", "resnet"):
        monkeypatch.setattr(problems, name, on_cuda(getattr(problems, name)))
    monkeypatch.setattr(torch.autograd, "grad", lambda out, inputs, *_, **__: tuple(map(torch.empty_like, inputs)))

    watched = Watched()

    def put(self, step, **values):
        for name, value in values.items():
            watched.counts["measured"] += value.device.type == "cuda"
            row = self.rows[self._layout.arrays[name][0][0]][step]
            self.arrays[name][row] = np.zeros(value.cpu().shape)  # raises where the shape is another

    monkeypatch.setattr(stores.Store, "put", put)
    data.load_images("synthetic")  # cached with values

    def count(spec) -> collections.Counter:
        monkeypatch.setattr(batches, "_orders", {})
        for check in ("_parameter_reason", "_check_memory"):  # fake tensors are no plain ones and lie nowhere
            monkeypatch.setattr(contract, check, lambda *_: None)
        watched.counts = collections.Counter()
        with FakeTensorMode(allow_non_fake_inputs=True), watched:
            training.run(spec, "cuda")
        return watched.counts

    return count


@pytest.mark.parametrize(
    "changes",
    [
        *(
            {"norm": norm} | {"instancenorm": {"norm_head": False}, "weightnorm": {"shift_every": 0}}.get(norm, {})
            for norm in NORMS
        ),
        {"norm": "l2", "lp_formula": "sample"},
        {"noise_without_norm": True},
        {"augment": True, "momentum": 0.9},
        {"architecture": "resnet", "depth": 8, "shift_every": 0, "moments_every": 0},
    ],
    ids=lambda changes: ",".join(map(str, changes.values())),
)
def test_vgg_stays_on_the_gpu_and_waits_no_more_for_more_step_lengths(counted, changes):
    few = counted(VGG.but(**changes, step_lengths=(1.0,)))
    many = counted(VGG.but(**changes, step_lengths=(0.5, 1.0, 2.0, 4.0)))
    assert few == many
    # Once a step, for its loss and accuracy together, and once for each array that a probe has measured.
    assert few["item"] == 0 and few["to the processor"] == VGG.steps + few["measured"]


@pytest.mark.parametrize("norm", ["none", "batchnorm", "l1", "l2", "linf"])
def test_linear_networks_stay_on_the_gpu(counted, norm):
    few = counted(LINEAR.but(norm=norm, step_lengths=(1.0,)))
    assert few == counted(LINEAR.but(norm=norm, step_lengths=(0.1, 1.0, 10.0)))
    assert few["item"] == 0 and few["to the processor"] == few["measured"]


def test_the_count_sees_what_waits(counted, monkeypatch):
    monkeypatch.setattr(loss_landscape, "norm", lambda tensors: torch.tensor(sum(one.norm().item() for one in tensors)))
    assert counted(VGG)["item"] > 0


def test_a_tensor_on_the_wrong_device_is_an_error(counted, monkeypatch):
    monkeypatch.setattr(loss_landscape, "norm", lambda tensors: tensors[0].norm() + torch.zeros(2).sum(0, keepdim=True))
    with pytest.raises(RuntimeError, match="device"):
        counted(VGG)
