"""Training: a spec becomes a record.

The loops draw their batches from the seed and the step alone, so a run that resumes
from a checkpoint, or is replayed for a few steps, sees what the first one saw. A loss that is no longer
finite is data: it is kept, and the rest of the run is NaN.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import math
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import xarray as xr
from torch import Tensor
from torch.nn import functional as F

from lib import controls, linear, probes
from lib.data import Images, gaussian_regression, load_images
from lib.errors import UsageError
from lib.models import deep_linear, resnet, vgg, weights
from lib.specs import LinearSpec, Spec, VGGSpec
from lib.stores import Store, resume, save
from lib.theory import training as theorems

BINS = 40
THEOREM_UNITS = 2
CHECKPOINT_EVERY = 60  # seconds


def check_device(device: str) -> None:
    """Raise `UsageError` unless `device` is "cpu" or a "cuda" that is there."""
    if device not in ("cpu", "cuda"):
        raise UsageError(f"device is {device!r}, but must be one of: cpu, cuda.")
    if device == "cuda" and not torch.cuda.is_available():
        raise UsageError("device is 'cuda', but torch finds no CUDA device here; use 'cpu'.")


@functools.cache
def keep_freed_memory() -> None:
    """From now on glibc keeps what is freed for the next tensor; elsewhere nothing happens.

    It would hand large blocks back to the system, and get them again page by page, which costs time.
    """
    with contextlib.suppress(OSError, AttributeError, TypeError):  # no such function, or no C library to ask
        option = ctypes.CDLL(None).mallopt
        trim_threshold, mmap_threshold = -1, -3  # as in malloc.h
        # Older versions take 32 MiB at most. Where they take neither, the first option alone would do harm.
        if option(mmap_threshold, 2**30) or option(mmap_threshold, 2**25):
            option(trim_threshold, 2**31 - 1)


class OutOfTime(Exception):
    """The deadline came before the end; the checkpoint holds what was done."""


def run(
    spec: Spec, device: str = "cpu", checkpoint: Path | None = None, deadline: float = math.inf
) -> xr.Dataset:
    """Train what `spec` describes and return its measurements; of provenance only the data and the `seconds` it took.

    A VGG resumes from `checkpoint` if that file exists, writes it about once a minute and leaves it
    at the end: the caller removes it once the record is safe. Past `deadline` (seconds since the
    epoch) it writes the checkpoint and raises `OutOfTime`. Deep linear networks take less than a
    minute and do neither. Raises `UsageError` for a device that is not there and `Failure` where images are missing.
    """
    check_device(device)
    if isinstance(spec, VGGSpec):
        return _run_vgg(spec, device, checkpoint, deadline)
    start = time.monotonic()
    dataset = _run_linear(spec, device)
    return dataset.assign_attrs(seconds=round(time.monotonic() - start, 1))


def _ticks(every: int, steps: int) -> list[int]:
    return list(range(0, steps, every)) if every else []


def _vgg_store(spec: VGGSpec, layers: int) -> Store:
    store, steps, lengths = Store(), spec.steps, len(spec.step_lengths)
    store.axis("step", list(range(steps)))
    store.add("loss", ("step",))
    store.add("accuracy", ("step",))
    if spec.eval_every:
        # After `eval_step` updates; the end is always evaluated.
        store.axis("eval_step", sorted({*range(0, steps, spec.eval_every), steps}))
        store.add("train_accuracy", ("eval_step",))
        store.add("test_accuracy", ("eval_step",))
    if spec.landscape_every:
        store.axis("landscape_step", _ticks(spec.landscape_every, steps))
        store.add("grad_norm", ("landscape_step",))
        store.add("landscape_loss", ("landscape_step", "step_length"), lengths)
        store.add("grad_change", ("landscape_step", "step_length"), lengths)
    if spec.shift_every:
        store.axis("shift_step", _ticks(spec.shift_every, steps))
        store.add("shift_l2", ("shift_step", "layer"), layers)
        store.add("shift_cosine", ("shift_step", "layer"), layers)
    if spec.moments_every:
        # Pairs of successive steps: Figure 8 is about the change from one to the next.
        pairs = {step + after for step in _ticks(spec.moments_every, steps) for after in (0, 1)}
        store.axis("moments_step", sorted(pairs & set(range(steps))))
        for name in ("activation_mean", "activation_var"):
            store.add(name, ("moments_step", "norm_layer", "unit"), layers - 1, spec.units)
    if spec.histogram_every:
        store.axis("histogram_step", _ticks(spec.histogram_every, steps))
        dims = ("histogram_step", "norm_layer", "unit")
        store.add("histogram", (*dims, "bin"), layers - 1, spec.units, BINS, dtype=np.int32)
        store.add("histogram_range", (*dims, "end"), layers - 1, spec.units, 2)
    if spec.theorem_every:
        _theorem_arrays(store, spec, layers - 1, ("theorem_step", "norm_layer", "theorem_unit"), THEOREM_UNITS)
    if spec.controls_every:
        store.axis("control_step", _ticks(spec.controls_every, steps))
        for name in controls.PER_LENGTH:
            store.add(f"control_{name}", ("control_step", "step_length"), lengths)
        for name in controls.PER_STEP:
            store.add(f"control_{name}", ("control_step",))
    if spec.precision_every:
        store.axis("precision_step", _ticks(spec.precision_every, steps))
        for name in controls.QUANTITIES:
            store.add(f"error_{name}", ("precision_step", "precision", "step_length"), len(controls.PRECISIONS), lengths)
    return store


def _theorem_arrays(store: Store, spec: Spec, layers: int, dims: tuple[str, ...], *rest: int) -> None:
    store.axis("theorem_step", _ticks(spec.theorem_every, spec.steps))
    for name in theorems.QUANTITIES:
        store.add(f"theorem_{name}", dims, layers, *rest)


def _run_vgg(spec: VGGSpec, device: str, checkpoint: Path | None, deadline: float) -> xr.Dataset:
    keep_freed_memory()
    images = load_images(spec.data)
    if spec.train_images > len(images.train_x):
        raise UsageError(
            f"train_images is {spec.train_images}, but {spec.data!r} has {len(images.train_x)}; use at most that."
        )
    # The default for convolutions on a GPU is TF32, too coarse for a probe (`lib.controls.precision_errors`).
    torch.backends.cudnn.allow_tf32 = False
    torch.set_float32_matmul_precision("highest")  # the default, but for some machines' environment
    images = images.to(device)
    normalize = images.normalizer(getattr(torch, spec.dtype))
    model = (vgg if spec.architecture == "vgg" else resnet)(spec).to(device).train()
    parameters = probes.trained(model)
    velocity = [torch.zeros_like(parameter) for parameter in parameters] if spec.momentum else []
    store = _vgg_store(spec, len(model))
    lengths, first = np.array(spec.step_lengths, np.float32), 0

    start = saved = time.monotonic()
    if checkpoint is not None and checkpoint.is_file():
        first, seconds = resume(checkpoint, model, velocity, store)
        start -= seconds
    with probes.Activations(model, spec.units, spec.seed) as activations:
        for step in range(first, spec.steps):
            if store.due("eval_step", step):
                store.put(step, **_evaluate(model, images, normalize, spec.eval_images))
            x, y = batch(spec, images, step)
            x = normalize(x)
            noise = probes.NoiseState(model)
            activations.watching = store.due("moments_step", step) or store.due("histogram_step", step)
            found, grads = gradient(model, spec, x, y)
            found = found.cpu()  # one copy from a GPU, not two
            store.put(step, loss=found[0], accuracy=found[1])
            if not math.isfinite(store.arrays["loss"][step]):
                break
            if store.due("moments_step", step):
                mean, var = activations.moments()
                store.put(step, activation_mean=mean, activation_var=var)
            if store.due("histogram_step", step):
                counts, ends = activations.histograms(BINS)
                store.put(step, histogram=counts, histogram_range=ends)
            arguments = (model, F.cross_entropy, x, y, grads, noise, spec.step_size)
            if store.due("landscape_step", step):
                losses, changes = probes.landscape(*arguments, spec.step_lengths)
                store.put(step, grad_norm=probes.norm(grads), landscape_loss=losses, grad_change=changes)
            if store.due("shift_step", step):
                l2, cosine = probes.covariate_shift(*arguments)
                store.put(step, shift_l2=l2, shift_cosine=cosine)
            if store.due("theorem_step", step):
                with probes.held(model):
                    terms = theorems.measure(model, F.cross_entropy, x, y, THEOREM_UNITS)
                store.put(step, **{f"theorem_{name}": value for name, value in terms.items()})
            if store.due("control_step", step):
                fresh, labels = batch(spec, images, step + 1)
                found = controls.measure(
                    model, F.cross_entropy, (x, y), (normalize(fresh), labels), grads, spec.step_size, spec.step_lengths,
                    seed=1_000_000 * spec.seed + step,  # another direction at every step of every run, the same for all norms
                )
                store.put(step, **{f"control_{name}": value for name, value in found.items()})
            if store.due("precision_step", step):
                errors = controls.precision_errors(model, F.cross_entropy, x, y, spec.step_size, spec.step_lengths)
                store.put(step, **{f"error_{name}": value for name, value in errors.items()})
            descend(parameters, velocity, grads, spec)
            late = time.time() > deadline
            if checkpoint is not None and (late or time.monotonic() - saved > CHECKPOINT_EVERY):
                save(checkpoint, step + 1, time.monotonic() - start, model, velocity, store)
                saved = time.monotonic()
            if late:
                raise OutOfTime
        else:
            if spec.eval_every:
                store.put(spec.steps, **_evaluate(model, images, normalize, spec.eval_images, every_test_image=True))
    names = [name for name, _ in model.named_children()]
    precisions = {"precision": list(controls.PRECISIONS)} if spec.precision_every else {}
    dataset = store.dataset(step_length=lengths, layer=names, **precisions)
    dataset.attrs |= {"data": images.identity, "parameters": sum(p.numel() for p in parameters)}
    dataset.attrs["seconds"] = round(time.monotonic() - start, 1)
    return dataset


def gradient(model: torch.nn.Module, spec: VGGSpec, x: Tensor, y: Tensor) -> tuple[Tensor, list[Tensor]]:
    """Loss and accuracy [2] on normalized images x [B, 3, 32, 32] with labels y [B], and the gradient of every trained parameter."""
    with torch.autocast(x.device.type, torch.bfloat16, enabled=spec.precision == "bfloat16"):
        logits = model(x)
    logits = logits.to(x.dtype)
    loss = F.cross_entropy(logits, y)
    grads = list(torch.autograd.grad(loss, probes.trained(model)))
    right = (logits.argmax(1) == y).to(loss.dtype).mean()
    return torch.stack([loss.detach(), right]), grads


@torch.no_grad()
def descend(parameters: list[Tensor], velocity: list[Tensor], grads: list[Tensor], spec: VGGSpec) -> None:
    """One step of gradient descent, with `spec.momentum` where there are velocities."""
    if velocity:
        torch._foreach_mul_(velocity, spec.momentum)
        torch._foreach_add_(velocity, grads)
    torch._foreach_add_(parameters, velocity or grads, alpha=-spec.step_size)


def batch(spec: VGGSpec, images: Images, step: int) -> tuple[Tensor, Tensor]:
    """The step's images, uint8 [B, 3, 32, 32], and labels [B]: epochs without replacement, last partial batch dropped."""
    per_epoch = spec.train_images // spec.batch_size
    epoch, position = divmod(step, per_epoch)
    order = _epoch_order(spec.seed, epoch, spec.train_images, len(images.train_x))
    index = order[position * spec.batch_size : (position + 1) * spec.batch_size].to(images.train_x.device)
    x = images.train_x[index]
    return (_augment(x, spec.seed, step) if spec.augment else x), images.train_y[index]


_orders: dict[tuple[int, ...], Tensor] = {}


def _epoch_order(seed: int, epoch: int, count: int, total: int) -> Tensor:
    key = (seed, epoch, count, total)
    if key not in _orders:
        _orders.clear()
        # Which images a smaller training set holds does not depend on the run.
        chosen = torch.randperm(total, generator=torch.Generator().manual_seed(0))[:count]
        generator = torch.Generator().manual_seed(1_000_000 * (seed + 1) + epoch)
        _orders[key] = chosen[torch.randperm(count, generator=generator)]
    return _orders[key]


def _augment(x: Tensor, seed: int, step: int) -> Tensor:
    """Random crops of the images padded by 4, and horizontal flips, drawn from seed and step."""
    generator = torch.Generator().manual_seed(1_000_000_000 * (seed + 1) + step)
    count, size = x.shape[0], x.shape[-1]
    corner = torch.randint(0, 9, (2, count, 1), generator=generator)
    flip = torch.rand(count, 1, generator=generator) < 0.5
    span = torch.arange(size)
    rows = (corner[0] + span).to(x.device)
    columns = (corner[1] + torch.where(flip, span.flip(0), span)).to(x.device)
    padded = F.pad(x, (4, 4, 4, 4))
    which = torch.arange(count, device=x.device)[:, None, None]
    return padded.permute(0, 2, 3, 1)[which, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


@torch.no_grad()
def _evaluate(
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


def _run_linear(spec: LinearSpec, device: str) -> xr.Dataset:
    problem = linear.LinearProblem(spec, device)
    store, seeds, lengths = Store(), spec.seeds, len(spec.step_lengths)
    store.axis("step", list(range(spec.steps)))
    store.add("loss", ("step", "seed"), seeds, dtype=np.float64)
    if spec.landscape_every:
        store.axis("landscape_step", _ticks(spec.landscape_every, spec.steps))
        store.add("grad_norm", ("landscape_step", "seed"), seeds, dtype=np.float64)
        for name in ("landscape_loss", "grad_change"):
            store.add(name, ("landscape_step", "step_length", "seed"), lengths, seeds, dtype=np.float64)
    if spec.shift_every:
        store.axis("shift_step", _ticks(spec.shift_every, spec.steps))
        for name in ("shift_l2", "shift_cosine"):
            store.add(name, ("shift_step", "layer", "seed"), spec.layers, seeds, dtype=np.float64)
    if spec.histogram_every:
        store.axis("histogram_step", _ticks(spec.histogram_every, spec.steps))
        shape = (spec.layers - 1, seeds)
        store.add("histogram", ("histogram_step", "norm_layer", "seed", "bin"), *shape, BINS, dtype=np.int32)
        store.add("histogram_range", ("histogram_step", "norm_layer", "seed", "end"), *shape, 2)
    if spec.theorem_every:
        _theorem_arrays(store, spec, spec.layers - 1, ("theorem_step", "norm_layer", "seed"), seeds)
    weights_, ahead = problem.weights, None
    for step in range(spec.steps):
        loss, gradient = ahead or problem.gradient(weights_)
        ahead = None
        store.put(step, loss=loss)
        if store.due("landscape_step", step):
            losses, changes, ahead = linear.landscape(problem, weights_, gradient)
            grad_norm = gradient.square().sum((0, 2, 3)).sqrt()
            store.put(step, grad_norm=grad_norm, landscape_loss=losses, grad_change=changes)
        if store.due("shift_step", step):
            l2, cosine = linear.covariate_shift(problem, weights_, gradient)
            store.put(step, shift_l2=l2, shift_cosine=cosine)
        if store.due("histogram_step", step):
            store.put(step, **_linear_histograms(problem, weights_))
        if store.due("theorem_step", step):
            store.put(step, **_linear_theorems(spec, weights_))
        weights_ = weights_ - spec.step_size * gradient
    return store.dataset(
        step_length=np.array(spec.step_lengths),
        layer=[f"layer{index + 1}" for index in range(spec.layers)],
        seed=np.arange(seeds),
    ).assign_attrs(data="generated Gaussian data", parameters=weights_[:, 0].numel())


def _linear_histograms(problem: linear.LinearProblem, weights_: Tensor) -> dict[str, Tensor]:
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
    found: dict[str, list[Tensor]] = {name: [] for name in theorems.QUANTITIES}
    for seed in range(spec.seeds):
        model, (x, y) = deep_linear(spec, seed), gaussian_regression(seed, spec.samples, spec.dim)
        with torch.no_grad():
            for weight, value in zip(weights(model), weights_[:, seed].cpu()):
                weight.copy_(value)
        for name, value in theorems.measure(model, lambda z, y: (z - y).square().sum(), x, y, 1).items():
            found[name].append(value[:, 0])
    return {f"theorem_{name}": torch.stack(values, -1) for name, values in found.items()}
