"""Public kinds of networks, each as small as it can be, and what every probe says about it: right, or why it refuses.

`KINDS` is the table that `test_kinds` tries and that the chapter "Probe your own network" shows.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations, parametrize, prune
from torch.utils.checkpoint import checkpoint
from torchvision import models as vision
from torchvision.ops import StochasticDepth

from lib.norms import LpNorm, NoisyBatchNorm
from lib.specs import Noise

#: Columns of the table, in the chapter's order.
PROBES = ("landscape", "shift", "controls", "frozen", "eigenvalue", "activations", "theorems", "precision")


@dataclass(frozen=True)
class Kind:
    """`make` gives (model, x, y) in float64; `refused` says, by probe or for "all", what the refusal matches."""

    make: Callable[[], tuple[nn.Module, Any, Any]]
    heads: tuple[str, ...] = ()  # the first parameter of each layer, in order of use
    refused: dict[str, str] = field(default_factory=dict)
    loss: Callable[[Any, Any], Any] = F.cross_entropy
    context: Callable[[], AbstractContextManager] = nullcontext

    def fresh(self) -> tuple[nn.Module, Any, Any]:
        """The network, its batch and its labels, the same at every call; the generators stand where a step begins."""
        torch.manual_seed(0)
        made = self.make()
        torch.manual_seed(1)
        random.seed(1)
        np.random.seed(1)
        return made


NO_RELU = {"activations": "no nn.ReLU was called"}
NO_NORM = {"theorems": "no BatchNorm layer is called"}
NEITHER = NO_RELU | NO_NORM
#: torch's weight_norm has a wrong second derivative; that of spectral_norm leaves out its vectors, which follow the
#: weight.
NO_HESSIAN = {"eigenvalue": "parametrizations.weight.*a product with the Hessian is not the change of the gradient"}
OLD_NO_HESSIAN = {"eigenvalue": "a product with the Hessian is not the change of the gradient"}


def batch(*shape: int) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.randn(6, *shape, dtype=torch.float64), torch.arange(6) % 3


def flat(*layers: nn.Module) -> Callable[[], tuple[nn.Module, Any, Any]]:
    """A network of vectors [6, 4]; the layers are copies of the given ones, drawn anew."""

    def make():
        model = nn.Sequential(*(layer() for layer in layers)).double()
        return (model, *batch(4))

    return make


def image(*layers: Callable[[], nn.Module]) -> Callable[[], tuple[nn.Module, Any, Any]]:
    """A network of images [6, 2, 4, 4]."""

    def make():
        return (nn.Sequential(*(layer() for layer in layers)).double(), *batch(2, 4, 4))

    return make


def of(model: Callable[[], nn.Module], *shape: int) -> Callable[[], tuple[nn.Module, Any, Any]]:
    return lambda: (model().double(), *batch(*shape))


def linear(inputs: int = 4, outputs: int = 3) -> Callable[[], nn.Module]:
    return lambda: nn.Linear(inputs, outputs)


def warmed(make, *evaluated: int):
    """After three passes in training mode, with some layers, or all, in evaluation mode."""

    def made():
        model, x, y = make()
        for _ in range(3):
            model(x + torch.randn_like(x))
        for layer in [model[number] for number in evaluated] or [model]:
            layer.eval()
        return model, x, y

    return made


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.block = nn.TransformerEncoderLayer(4, 2, 5, dropout=0.3, batch_first=True)
        self.head = nn.Linear(4, 3)

    def forward(self, x):
        return self.head(self.block(x).mean(1))


class DotProduct(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.head = nn.Linear(4, 12), nn.Linear(4, 3)

    def forward(self, x):
        q, k, v = self.qkv(x).unsqueeze(1).chunk(3, -1)
        return self.head(F.scaled_dot_product_attention(q, k, v, is_causal=True).squeeze(1).mean(1))


class MultiHead(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attention, self.head = nn.MultiheadAttention(4, 2, batch_first=True), nn.Linear(4, 3)

    def forward(self, x):
        return self.head(self.attention(x, x, x)[0].mean(1))


class Recurrent(nn.Module):
    def __init__(self, kind: type[nn.RNNBase]) -> None:
        super().__init__()
        self.cells, self.head = kind(2, 3, batch_first=True), nn.Linear(3, 3)

    def forward(self, x):
        return self.head(self.cells(x)[0][:, -1])


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed, self.out = nn.Embedding(3, 4), nn.Linear(4, 3)
        self.out.weight = self.embed.weight

    def forward(self, x):
        return self.out(self.embed(x).tanh().mean(1))


class Reused(nn.Module):
    """One norm and one linear map, used twice; parts stand in another order than they are called in."""

    def __init__(self) -> None:
        super().__init__()
        self.head, self.norm, self.relu, self.mix = nn.Linear(4, 3), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 4)

    def forward(self, x):
        h = self.relu(self.norm(self.mix(x)))
        return self.head(self.relu(self.norm(self.mix(h))))


class Unused(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.unused, self.one, self.two = nn.Linear(3, 3), nn.Linear(4, 4), nn.Linear(4, 3)

    def forward(self, x):
        return self.two(self.one(x).relu())


class Returns(nn.Module):
    def __init__(self, kind: type) -> None:
        super().__init__()
        self.kind, self.one, self.two = kind, nn.Linear(4, 4), nn.Linear(4, 3)

    def forward(self, x, scale):
        h = self.one(x).tanh()
        z = self.two(h * scale)
        return (z, h) if self.kind is tuple else {"logits": z, "hidden": h}


class Complex(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Linear(4, 3, dtype=torch.complex128)

    def forward(self, x):
        return self.one(x.to(torch.complex128)).abs()


class Parallel(nn.Module):
    """Weights that `torch.func.vmap` maps over."""

    def __init__(self) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.randn(2, 3, 4))

    def forward(self, x):
        return torch.func.vmap(lambda w: (x @ w.T).tanh())(self.weights).sum(0)


class Skipping(nn.Module):
    """A layer that Python's and NumPy's generators leave out now and then."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two, self.head = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 3)

    def forward(self, x):
        h = self.one(x) * (1 + np.random.rand())
        return self.head(h + self.two(h).tanh() if random.random() < 0.5 else h)


class Checkpointed(nn.Module):
    def __init__(self, reentrant: bool) -> None:
        super().__init__()
        self.one, self.two, self.reentrant = nn.Linear(4, 4), nn.Linear(4, 3), reentrant

    def forward(self, x):
        return self.two(checkpoint(lambda h: F.dropout(h, 0.5).tanh(), self.one(x), use_reentrant=self.reentrant))


class Noisy(nn.Module):
    def forward(self, x):
        return x + torch.randn_like(x)


class Square(torch.autograd.Function):
    """x^2, with a backward pass that can be differentiated."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return 2 * x * grad


class SquareOnce(Square):
    """Says that its backward pass cannot be differentiated."""

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return 2 * x * grad


class SquareWrong(Square):
    """Hides from its backward pass that it depends on x: its second derivative is silently wrong."""

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return 2 * x.detach() * grad


class Reversal(torch.autograd.Function):
    """The gradient reversal of domain adaptation, whose field of gradients has no potential."""

    @staticmethod
    def forward(ctx, x):
        return x.view_as(x)

    @staticmethod
    def backward(ctx, grad):
        return -grad


class Custom(nn.Module):
    def __init__(self, function: type[torch.autograd.Function]) -> None:
        super().__init__()
        self.one, self.two, self.function = nn.Linear(4, 4), nn.Linear(4, 3), function

    def forward(self, x):
        return self.two(self.function.apply(self.one(x).tanh()))


class Buffers(nn.Module):
    """An expanded buffer, one that counts and one that views a weight; attributes that change and are counted."""

    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Linear(4, 3, dtype=torch.float64)
        self.register_buffer("wide", torch.ones(1, dtype=torch.float64).expand(3))
        self.register_buffer("view", self.one.weight.detach().view(-1))
        self.register_buffer("count", torch.ones(3, dtype=torch.float64))
        self.transposed, self.calls, self.kept = self.one.weight.detach().T, 0, []

    def forward(self, x):
        self.calls += 1
        self.kept.append(self.calls)
        self.count += 1
        self.last = self.count.sum()
        return torch.tanh(x @ self.one.weight.T + self.one.bias) * self.wide * self.count * len(self.kept) * self.calls


class PartlyCast(nn.Module):
    """A network for autocast whose last layer keeps the type of its weights, forward and backward."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.relu, self.two = nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 3)

    def forward(self, x):
        h = self.relu(self.one(x))
        with torch.autocast("cpu", enabled=False):
            return self.two(h.to(self.two.weight.dtype))


class Cached(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one = parametrizations.weight_norm(nn.Linear(4, 3))

    def forward(self, x):
        return self.one(x).tanh()


class Forgetful(nn.Module):
    """Keeps a count where no probe can know of it."""

    def __init__(self) -> None:
        super().__init__()
        self.one, calls = nn.Linear(4, 3), []
        self.remember = lambda: calls.append(0) or len(calls)

    def forward(self, x):
        return self.one(x) * self.remember()


class Clipping(nn.Module):
    """Keeps its weights small where no version counter sees it."""

    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Linear(4, 3)

    def forward(self, x):
        self.one.weight.data.clamp_(-0.1, 0.1)
        return self.one(x)


def changed(make, change):
    def made():
        model, x, y = make()
        return (change(model) or model, x, y)

    return made


def old(norm, *places):
    """The hook that torch had before parametrizations."""

    def change(model):
        for place in places:
            norm(model[place])

    return change


def alias(model):
    model[1].weight = nn.Parameter(model[0].weight.data[:3])


def expand(model):
    model[0].weight = nn.Parameter(torch.randn(1, 4, dtype=torch.float64).expand(4, 4))


def transpose(model):
    model[0].weight = nn.Parameter(torch.randn(4, 8, dtype=torch.float64).T[::2])


def quantise(model):
    model[1] = torch.ao.nn.quantized.dynamic.Linear(4, 3)


def fake(model):
    model[1] = torch.ao.quantization.FakeQuantize()


def clamp(model):
    model[0].weight.register_hook(lambda grad: grad.clamp(-0.01, 0.01))


def halve(model):
    model[2].register_full_backward_hook(lambda _, grads, __: (0.5 * grads[0],))


MLP = flat(linear(4, 4), nn.Tanh, linear(4, 3))
RELU = flat(linear(4, 4), nn.ReLU, linear(4, 3))

KINDS: dict[str, Kind] = {
    "MLP with dropout": Kind(
        flat(linear(4, 5), lambda: nn.Dropout(0.5), nn.ReLU, linear(5, 3)), ("0.weight", "3.weight"), NO_NORM
    ),
    "convolutions, BatchNorm": Kind(
        image(lambda: nn.Conv2d(2, 3, 3), lambda: nn.BatchNorm2d(3), nn.ReLU, nn.Flatten, linear(12, 3)),
        ("0.weight", "4.weight"),
    ),
    "BatchNorm in evaluation mode": Kind(
        warmed(flat(linear(4, 4), lambda: nn.BatchNorm1d(4), nn.ReLU, linear())),
        ("0.weight", "3.weight"),
        {"theorems": "1 is BatchNorm1d in evaluation mode"},
    ),
    "BatchNorm, one frozen by eval()": Kind(
        warmed(
            flat(
                linear(4, 4),
                lambda: nn.BatchNorm1d(4),
                nn.Tanh,
                linear(4, 4),
                lambda: nn.BatchNorm1d(4),
                nn.ReLU,
                linear(),
            ),
            1,
        ),
        ("0.weight", "3.weight", "6.weight"),
        {"theorems": "1 is BatchNorm1d in evaluation mode"},
    ),
    "BatchNorm without running statistics": Kind(
        flat(linear(4, 4), lambda: nn.BatchNorm1d(4, track_running_stats=False, affine=False), nn.ReLU, linear()),
        ("0.weight", "3.weight"),
    ),
    "SyncBatchNorm in one process": Kind(
        flat(linear(4, 4), lambda: nn.SyncBatchNorm(4), nn.ReLU, linear()), ("0.weight", "3.weight")
    ),
    "BasicBlock of torchvision's ResNet": Kind(
        image(lambda: vision.resnet.BasicBlock(2, 2), nn.Flatten, linear(32, 3)),
        ("0.conv1.weight", "0.conv2.weight", "2.weight"),
    ),
    "VisionTransformer of torchvision": Kind(
        of(lambda: vision.VisionTransformer(4, 4, 1, 2, 4, 4, num_classes=3, dropout=0.2), 3, 4, 4),
        (
            "class_token",
            "conv_proj.weight",
            "encoder.pos_embedding",
            "encoder.layers.encoder_layer_0.self_attention.in_proj_weight",
            "encoder.layers.encoder_layer_0.mlp.0.weight",
            "encoder.layers.encoder_layer_0.mlp.3.weight",
            "heads.head.weight",
        ),
        NEITHER,
    ),
    "transformer layer, LayerNorm, dropout": Kind(
        of(Attention, 3, 4),
        ("block.self_attn.in_proj_weight", "block.linear1.weight", "block.linear2.weight", "head.weight"),
        NEITHER,
    ),
    "MultiheadAttention": Kind(of(MultiHead, 3, 4), ("attention.in_proj_weight", "head.weight"), NEITHER),
    "scaled_dot_product_attention": Kind(of(DotProduct, 3, 4), ("qkv.weight", "head.weight"), NEITHER),
    "LSTM": Kind(
        of(lambda: Recurrent(nn.LSTM), 3, 2),
        ("cells.weight_hh_l0", "head.weight"),
        NEITHER | {"precision": "mkldnn_rnn_layer makes products inside.*TF32"},
    ),
    "GRU": Kind(of(lambda: Recurrent(nn.GRU), 3, 2), ("cells.weight_hh_l0", "head.weight"), NEITHER),
    "GroupNorm and InstanceNorm": Kind(
        image(
            lambda: nn.Conv2d(2, 2, 3),
            lambda: nn.GroupNorm(1, 2),
            nn.ReLU,
            lambda: nn.InstanceNorm2d(2, track_running_stats=True),
            nn.Flatten,
            linear(8, 3),
        ),
        ("0.weight", "5.weight"),
        NO_NORM,
    ),
    "noisy BatchNorm and l1 norm of this book": Kind(
        flat(
            linear(4, 4),
            lambda: NoisyBatchNorm(4, Noise(), 3),
            nn.ReLU,
            linear(4, 4),
            lambda: LpNorm(4, 1),
            nn.ReLU,
            linear(),
        ),
        ("0.weight", "3.weight", "6.weight"),
    ),
    "spectral_norm": Kind(
        flat(lambda: parametrizations.spectral_norm(nn.Linear(4, 4)), nn.ReLU, linear()),
        ("0.parametrizations.weight.original", "2.weight"),
        NO_NORM | NO_HESSIAN,
    ),
    "spectral_norm, old form": Kind(
        changed(RELU, old(nn.utils.spectral_norm, 0)), ("0.weight_orig", "2.weight"), NO_NORM | OLD_NO_HESSIAN
    ),
    "weight_norm": Kind(
        flat(lambda: parametrizations.weight_norm(nn.Linear(4, 4)), nn.ReLU, linear()),
        ("0.parametrizations.weight.original1", "2.weight"),
        NO_NORM | NO_HESSIAN,
    ),
    "weight_norm, old form": Kind(
        changed(RELU, old(nn.utils.weight_norm, 0)), ("0.weight_v", "2.weight"), NO_NORM | OLD_NO_HESSIAN
    ),
    "weight_norm inside parametrize.cached()": Kind(
        of(Cached, 4), ("one.parametrizations.weight.original1",), NEITHER | NO_HESSIAN, context=parametrize.cached
    ),
    "tied weights": Kind(
        lambda: (Tied().double(), torch.arange(12).view(6, 2) % 3, torch.arange(6) % 3), ("embed.weight",), NEITHER
    ),
    "frozen layer": Kind(changed(RELU, lambda model: model[0].requires_grad_(False) and None), ("2.weight",), NO_NORM),
    "layer without a part in the loss": Kind(of(Unused, 4), ("one.weight", "two.weight"), NEITHER),
    "modules used twice": Kind(of(Reused, 4), ("mix.weight", "head.weight")),
    "activation in place after BatchNorm": Kind(
        flat(linear(4, 4), lambda: nn.BatchNorm1d(4), lambda: nn.ReLU(True), linear()), ("0.weight", "3.weight")
    ),
    "two arguments, returns a tuple": Kind(
        lambda: (Returns(tuple).double(), (batch(4)[0], torch.ones(4, dtype=torch.float64)), torch.arange(6) % 3),
        ("one.weight", "two.weight"),
        NEITHER,
        lambda out, y: F.cross_entropy(out[0], y) + out[1].square().mean(),
    ),
    "named arguments, returns a dict": Kind(
        lambda: (
            Returns(dict).double(),
            {"x": batch(4)[0], "scale": torch.ones(4, dtype=torch.float64)},
            torch.arange(6) % 3,
        ),
        ("one.weight", "two.weight"),
        NEITHER,
        lambda out, y: F.cross_entropy(out["logits"], y),
    ),
    "embedding with sparse gradients": Kind(
        lambda: (
            nn.Sequential(nn.Embedding(5, 4, sparse=True), nn.Flatten(), nn.Tanh(), nn.Linear(8, 3)).double(),
            torch.arange(12).view(6, 2) % 4,
            torch.arange(6) % 3,
        ),
        ("0.weight", "3.weight"),
        NEITHER,
    ),
    "autocast to bfloat16": Kind(
        lambda: (PartlyCast(), batch(4)[0].float(), torch.arange(6) % 3),
        ("one.weight", "two.weight"),
        NO_NORM,
        context=lambda: torch.autocast("cpu", torch.bfloat16),
    ),
    "complex weights": Kind(
        lambda: (Complex(), *batch(4)), ("one.weight",), NEITHER | {"precision": "this network refuses.*ComplexDouble"}
    ),
    "weights not contiguous": Kind(changed(RELU, transpose), ("0.weight", "2.weight"), NO_NORM),
    "torch.compile": Kind(
        changed(RELU, lambda model: torch.compile(model, backend="aot_eager")),
        ("_orig_mod.0.weight", "_orig_mod.2.weight"),
        NO_NORM,
    ),
    "torch.func.vmap in the forward pass": Kind(of(Parallel, 4), ("weights",), NEITHER),
    "stochastic depth of torchvision": Kind(
        flat(linear(4, 4), lambda: StochasticDepth(0.5, "row"), nn.ReLU, linear()), ("0.weight", "3.weight"), NO_NORM
    ),
    "layers left out by random and NumPy": Kind(of(Skipping, 4), ("one.weight", "two.weight", "head.weight"), NEITHER),
    "checkpoints": Kind(of(lambda: Checkpointed(False), 4), ("one.weight", "two.weight"), NEITHER),
    "Gaussian noise": Kind(
        flat(linear(4, 4), Noisy, nn.Tanh, linear()),
        ("0.weight", "3.weight"),
        NEITHER | {"precision": "other random numbers in float64"},
    ),
    "buffers and attributes that move": Kind(of(Buffers, 4), ("one.weight",), NEITHER),
    "custom autograd function": Kind(of(lambda: Custom(Square), 4), ("one.weight", "two.weight"), NEITHER),
    "custom function, once_differentiable": Kind(
        of(lambda: Custom(SquareOnce), 4),
        ("one.weight", "two.weight"),
        NEITHER | {"eigenvalue": "SquareOnce: a product with the Hessian is not the change of the gradient"},
    ),
    "custom function, wrong second derivative": Kind(
        of(lambda: Custom(SquareWrong), 4),
        ("one.weight", "two.weight"),
        NEITHER | {"eigenvalue": "SquareWrong: a product with the Hessian is not the change of the gradient"},
    ),
    "gradient reversal": Kind(
        of(lambda: Custom(Reversal), 4),
        ("one.weight", "two.weight"),
        NEITHER | {"eigenvalue": "Reversal: a product with the Hessian is not the change of the gradient"},
    ),
    "one number": Kind(
        lambda: (
            nn.Linear(1, 1, bias=False).double(),
            torch.ones(1, 1, dtype=torch.float64),
            torch.zeros(1, 1, dtype=torch.float64),
        ),
        ("weight",),
        NEITHER,
        F.mse_loss,
    ),
    "loss module with weights of classes": Kind(
        RELU, ("0.weight", "2.weight"), NO_NORM, nn.CrossEntropyLoss(torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64))
    ),
    "pruned weights": Kind(
        changed(RELU, lambda model: prune.l1_unstructured(model[0], "weight", 0.4) and None),
        ("0.weight_orig", "2.weight"),
        NO_NORM,
    ),
    "orthogonal weights": Kind(
        changed(RELU, lambda model: parametrizations.orthogonal(model[0]) and None),
        ("0.parametrizations.weight.original", "2.weight"),
        NO_NORM | {"precision": "linalg_matrix_exp makes products inside.*TF32"},
    ),
    "gradient clamped by a hook": Kind(
        changed(RELU, clamp),
        ("0.weight", "2.weight"),
        NO_NORM | {"eigenvalue": "0.weight: a product with the Hessian is not the change of the gradient"},
    ),
    "gradient halved by a hook of a module": Kind(
        changed(RELU, halve),
        ("0.weight", "2.weight"),
        NO_NORM | {"eigenvalue": "2: a product with the Hessian is not the change of the gradient"},
    ),
    "random slopes (RReLU)": Kind(flat(linear(4, 4), nn.RReLU, linear()), ("0.weight", "2.weight"), NEITHER),
    "BatchNorm that averages all batches": Kind(
        flat(linear(4, 4), lambda: nn.BatchNorm1d(4, momentum=None), nn.ReLU, linear()), ("0.weight", "3.weight")
    ),
    # Refused by every probe
    "embedding with a largest norm": Kind(
        lambda: (
            nn.Sequential(nn.Embedding(7, 4, max_norm=1.0), nn.Tanh(), nn.Linear(4, 3)).double(),
            torch.arange(6),
            torch.arange(6) % 3,
        ),
        refused={"all": "forward pass writes to 0.weight, as an embedding with max_norm does"},
    ),
    "float16 weights": Kind(
        changed(RELU, lambda model: model.half()), refused={"all": "0.weight is torch.float16.*model.float"}
    ),
    "bfloat16 weights": Kind(
        changed(RELU, lambda model: model.bfloat16()), refused={"all": "0.weight is torch.bfloat16.*model.float"}
    ),
    "lazy modules": Kind(
        flat(lambda: nn.LazyLinear(3)), refused={"all": "0 is LazyLinear.*no size yet.*run the model once"}
    ),
    "DataParallel": Kind(
        changed(RELU, nn.DataParallel), refused={"all": "the model is DataParallel.*probe its .module"}
    ),
    "ScriptModule": Kind(
        changed(MLP, lambda model: torch.jit.trace(model, torch.ones(1, 4, dtype=torch.float64))),
        refused={"all": "TopLevelTracedModule.*made from"},
    ),
    "quantised layer": Kind(changed(RELU, quantise), refused={"all": "1 is Linear, which is quantised"}),
    "fake quantisation": Kind(changed(RELU, fake), refused={"all": "1 is FakeQuantize.*gradient is not that"}),
    "two parameters in one memory": Kind(
        changed(flat(linear(4, 4), linear()), alias),
        refused={"all": "0.weight and 1.weight are two parameters in the same memory"},
    ),
    "expanded parameter": Kind(changed(RELU, expand), refused={"all": "0.weight is expanded.*clone"}),
    "no trained parameter": Kind(
        changed(RELU, lambda model: model.requires_grad_(False)), refused={"all": "no parameter with requires_grad"}
    ),
    "reentrant checkpoints": Kind(
        of(lambda: Checkpointed(True), 4), refused={"all": "reentrant checkpoints.*use_reentrant=False"}
    ),
    "keeps a count outside its attributes": Kind(
        of(Forgetful, 4), refused={"all": "second pass with the same draws is another"}
    ),
    "clips its weights in the forward pass": Kind(
        of(Clipping, 4), refused={"all": "forward pass writes to one.weight.*after the step"}
    ),
    "writes to its batch": Kind(flat(lambda: nn.ReLU(True), linear()), refused={"all": "writes to its batch.*x.clone"}),
    "empty batch": Kind(
        lambda: (RELU()[0], torch.ones(0, 4, dtype=torch.float64), torch.ones(0, dtype=torch.long)),
        refused={"all": r"empty tensor \(0, 4\)"},
    ),
    "loss of each sample": Kind(
        RELU,
        refused={"all": r"loss gives torch.float64 \(6,\).*one real number"},
        loss=nn.CrossEntropyLoss(reduction="none"),
    ),
    "loss with trained parameters": Kind(
        RELU, refused={"all": "loss has a trained parameter of its own, weight"}, loss=nn.Linear(3, 1)
    ),
    "loss without the parameters": Kind(
        RELU,
        refused={"all": "no trained parameter enters the loss"},
        loss=lambda z, y: (z.argmax(1) == y).double().mean(),
    ),
    "a function in the place of a module": Kind(
        lambda: (torch.tanh, *batch(4)), refused={"all": "model is .*must be a torch.nn.Module"}
    ),
}


def table() -> str:
    """The table of the chapter: a row for each kind that probes take, and a list of those that none takes."""
    rows = [f"| kind | {' | '.join(PROBES)} |", f"|:--|{'|'.join([':-:'] * len(PROBES))}|"]
    for name, kind in KINDS.items():
        if "all" not in kind.refused:
            rows.append(f"| {name} | {' | '.join('–' if probe in kind.refused else '✓' for probe in PROBES)} |")
    refused = [f"- {name}" for name, kind in KINDS.items() if "all" in kind.refused]
    return "\n".join([*rows, "", "No probe takes these:", "", *refused])


if __name__ == "__main__":
    print(table())
