"""Problems: what is trained, a network for images or many deep linear ones, as the one loop of training sees it.

A problem has `probes`, which measure what its spec asks for, and takes steps: `point(step, probed)` gives what every
step keeps and the point that probes take, `descend(point)` moves on from there, and `end()` gives what is measured at
the end.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from lib import probes
from lib.data import Images, gaussian_regression, load_images
from lib.errors import UsageError
from lib.models import deep_linear, moments, resnet, vgg, weights
from lib.probes import Probe, controls, lengths, precision, theorems
from lib.records.layout import BINS, THEOREM_UNITS, Layout
from lib.runs.batches import batch
from lib.specs import ImageSpec, LinearSpec

Seen = dict[str, Tensor]


def _asked(layout: Layout, measures: dict[str, Callable]) -> list[Probe]:
    """The probes that a layout has steps for."""
    steps = {name: frozenset(layout.axes.get(f"{name}_step", ())) for name in measures}
    return [Probe(name, steps[name], measure) for name, measure in measures.items() if steps[name]]


def check_images(spec: ImageSpec, images: Images) -> None:
    """Raise `UsageError` where a spec asks for more images than there are."""
    if spec.train_images > len(images.train_x):
        raise UsageError(
            f"train_images is {spec.train_images}, but {spec.data!r} has {len(images.train_x)}; use at most that."
        )


class ImageProblem:
    """A network for images, trained on batches; its points are `lib.probes.Point`."""

    alone = True  # so that a loss which is no longer finite ends the run

    def __init__(self, spec: ImageSpec, layout: Layout, device: str) -> None:
        images = load_images(spec.data)
        check_images(spec, images)
        self.spec, self.images = spec, images.to(device)
        self.normalize = self.images.normalizer(getattr(torch, spec.dtype))
        self.model = (vgg if spec.architecture == "vgg" else resnet)(spec).to(device).train()
        self.parameters = probes.trained(self.model)
        self.velocity = [torch.zeros_like(parameter) for parameter in self.parameters] if spec.momentum else []
        self.activations = probes.Activations(self.model, spec.units, spec.seed)
        self._evaluated = frozenset(layout.axes.get("eval_step", ()))
        self.probes = _asked(
            layout,
            {
                "moments": lambda _: dict(zip(("activation_mean", "activation_var"), self.activations.moments())),
                "histogram": lambda _: dict(zip(("histogram", "histogram_range"), self.activations.histograms(BINS))),
                "landscape": lambda point: probes.landscape(point, spec.step_lengths),
                "shift": probes.covariate_shift,
                "gradient": lengths.layer_lengths,
                "theorem": lambda point: theorems.measure(point, THEOREM_UNITS),
                "control": self._controls,
                "precision": lambda point: precision.precision_errors(point, spec.step_lengths),
            },
        )
        self.attributes = {"data": images.identity, "parameters": sum(p.numel() for p in self.parameters)}

    def point(self, step: int, probed: bool) -> tuple[Seen, probes.Point]:
        """What every step keeps, and the point, which probes can take if the step is to be `probed`."""
        self.step, spec, seen = step, self.spec, {}
        if step in self._evaluated:
            seen = evaluate(self.model, self.images, self.normalize, spec.eval_images)
        x, y = batch(spec, self.images, step)
        x = self.normalize(x)
        noise = probes.State(self.model) if probed else None
        with self.activations.watch(probed):
            found, grads = gradient(self.model, spec, x, y)
        found = found.cpu()  # one copy from a GPU, not two
        seen |= {"loss": found[0], "accuracy": found[1]}
        point = probes.Point(self.model, F.cross_entropy, x, y, grads, noise, spec.step_size_at(step))
        return seen, point

    def descend(self, point: probes.Point) -> None:
        descend(self.parameters, self.velocity, point.grads, point.step_size, self.spec.momentum)

    def end(self) -> Seen:
        if not self._evaluated:
            return {}
        return evaluate(self.model, self.images, self.normalize, self.spec.eval_images, every_test_image=True)

    def _controls(self, point: probes.Point) -> Seen:
        x, y = batch(self.spec, self.images, self.step + 1)
        # Another direction at every step of every run, the same for all norms
        seed = 1_000_000 * self.spec.seed + self.step
        return controls.measure(point, (self.normalize(x), y), self.spec.step_lengths, seed)


def gradient(model: torch.nn.Module, spec: ImageSpec, x: Tensor, y: Tensor) -> tuple[Tensor, list[Tensor]]:
    """Loss and accuracy [2] on normalized x [B, 3, 32, 32] with labels y [B], and each trained parameter's gradient."""
    with torch.autocast(x.device.type, torch.bfloat16, enabled=spec.precision == "bfloat16"):
        logits = model(x)
    logits = logits.to(x.dtype)
    loss = F.cross_entropy(logits, y)
    grads = list(torch.autograd.grad(loss, probes.trained(model)))
    right = (logits.argmax(1) == y).to(loss.dtype).mean()
    return torch.stack([loss.detach(), right]), grads


@torch.no_grad()
def descend(
    parameters: list[Tensor], velocity: list[Tensor], grads: list[Tensor], step_size: float, momentum: float = 0.0
) -> None:
    """One step of gradient descent, with momentum where there are velocities."""
    if velocity:
        torch._foreach_mul_(velocity, momentum)
        torch._foreach_add_(velocity, grads)
    torch._foreach_add_(parameters, velocity or grads, alpha=-step_size)


@torch.no_grad()
def evaluate(
    model: torch.nn.Module, images: Images, normalize: Callable, count: int, every_test_image: bool = False
) -> dict[str, Tensor]:
    """Accuracy in evaluation mode on `count` fixed training and test images (all test images at the end)."""
    model.eval()
    accuracy = {}
    for name, x, y in (
        ("train_accuracy", images.train_x, images.train_y),
        ("test_accuracy", images.test_x, images.test_y),
    ):
        number = len(x) if every_test_image and name == "test_accuracy" else min(count, len(x))
        chosen = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))[:number].to(x.device)
        right = [(model(normalize(x[part])).argmax(1) == y[part]).float() for part in chosen.split(500)]
        accuracy[name] = torch.cat(right).mean()
    model.train()
    return accuracy


@dataclass(frozen=True)
class LinearPoint:
    """One point of training of many deep linear networks: weights and gradient [k, D, d, d]."""

    problem: moments.LinearProblem
    weights: Tensor
    gradient: Tensor


class LinearProblem:
    """All seeds of a deep linear network, trained side by side on all samples; points are `LinearPoint`."""

    alone = False  # seeds that diverge leave the others alone
    model, velocity = None, []  # a run takes less than a minute: no checkpoint

    def __init__(self, spec: LinearSpec, layout: Layout, device: str) -> None:
        self.spec = spec
        self.problem = moments.LinearProblem(spec, device)
        self.weights, self._ahead = self.problem.weights, None
        self.probes = _asked(
            layout,
            {
                "landscape": self._landscape,
                "shift": self._shift,
                "mode": lambda point: {"mode_share": self.problem.modes(point.weights)},
                "histogram": lambda point: _linear_histograms(self.problem, point.weights),
                "theorem": lambda point: _linear_theorems(spec, point.weights),
            },
        )
        self.attributes = {
            "data": "generated Gaussian data",
            "parameters": sum(p.numel() for p in deep_linear(spec, 0).parameters()),
        }

    def point(self, step: int, probed: bool) -> tuple[Seen, LinearPoint]:
        """What every step keeps, and the point."""
        loss, gradient = self._ahead or self.problem.gradient(self.weights)
        self._ahead = None
        return {"loss": loss}, LinearPoint(self.problem, self.weights, gradient)

    def descend(self, point: LinearPoint) -> None:
        self.weights = point.weights - self.spec.step_size * point.gradient

    def end(self) -> Seen:
        return {}

    def _landscape(self, point: LinearPoint) -> Seen:
        # At one step size the probe has found the next step's gradient, for the batch is always the same.
        losses, changes, self._ahead = moments.landscape(self.problem, point.weights, point.gradient)
        length = point.gradient.square().sum((0, 2, 3)).sqrt()
        return {"grad_norm": length, "landscape_loss": losses, "grad_change": changes}

    def _shift(self, point: LinearPoint) -> Seen:
        return dict(
            zip(("shift_l2", "shift_cosine"), moments.covariate_shift(self.problem, point.weights, point.gradient))
        )


def _linear_histograms(problem: moments.LinearProblem, weights_: Tensor) -> dict[str, Tensor]:
    """Unit 0's distribution over the batch after each normalization, every seed."""
    values = problem.activations(weights_, unit=0)
    ends = torch.stack([values.amin(-1), values.amax(-1)], -1)
    counts = [
        torch.histc(row, BINS, low.item(), high.item()) if torch.isfinite(high - low) else row.new_zeros(BINS)
        for row, (low, high) in zip(values.flatten(0, 1), ends.flatten(0, 1))
    ]
    return {"histogram": torch.stack(counts).view(*values.shape[:2], BINS), "histogram_range": ends}


def _linear_theorems(spec: LinearSpec, weights_: Tensor) -> dict[str, Tensor]:
    """Terms of Theorems 4.1 and 4.2 of unit 0 of every layer and seed, from the plain network."""
    found: dict[str, list[Tensor]] = {}
    for seed in range(spec.seeds):
        model, (x, y) = deep_linear(spec, seed), gaussian_regression(seed, spec.samples, spec.dim)
        with torch.no_grad():
            for weight, value in zip(weights(model), weights_[:, seed].cpu()):
                weight.copy_(value)
        point = probes.Point.at(model, lambda z, y: (z - y).square().sum(), x, y, spec.step_size)
        for name, value in theorems.measure(point, 1).items():
            found.setdefault(name, []).append(value[:, 0])
    return {name: torch.stack(values, -1) for name, values in found.items()}
