"""Benchmarks: what each part costs beside its plain counterpart, and how cost grows.

Both sides of a comparison run in turn, in one process, and what is reported is their ratio: its
median and quartiles over the rounds. Seconds alone say more about the machine than about the code.
`torch.utils.benchmark.Timer` would do for one side, but warms up with two calls before every measurement,
which would make rounds in turn three times as long.
"""

from __future__ import annotations

import contextlib
import datetime
import functools
import itertools
import json
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from scipy.sparse.linalg import eigsh
from torch import nn
from torch.func import functional_call, grad_and_value, vmap
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode
from tqdm.auto import tqdm

from lib import fast, files, probes, records
from lib.bench import plain
from lib.data import Images, available, gaussian_regression, load_images
from lib.errors import Failure
from lib.models import deep_linear, moments, vgg
from lib.norms import NoisyBatchNorm
from lib.probes import controls, precision, theorems
from lib.records.layout import BINS, THEOREM_UNITS
from lib.runs import making
from lib.runs.batches import batch
from lib.runs.problems import descend, gradient
from lib.runs.settings import as_in_runs
from lib.specs import ImageSpec, LinearSpec

FILE = records.COMMITTED / "benchmark.json"
WIDTH = 1 / 4
LENGTHS = (0.5, 1.0, 2.0, 4.0)
LEAST = 0.03  # seconds that each measurement takes, by repetition if need be


@dataclass(frozen=True)
class Item:
    """`ours` does `per_ours` units of work a call, `plain` `per_plain`; `flops` counts those of one call of `ours`."""

    name: str
    against: str
    ours: Callable[[], object]
    plain: Callable[[], object]
    per_ours: int = 1
    per_plain: int = 1
    flops: float | None = None
    dtype: torch.dtype = torch.float32


def _seconds(function: Callable[[], object], device: str, calls: int = 1) -> float:
    """Seconds a call takes, the mean of several; no result is kept, for the next call would have to find new memory."""
    start = time.perf_counter()
    for _ in range(calls):
        function()
    if device == "cuda":
        torch.cuda.synchronize()
    return (time.perf_counter() - start) / calls


def matrix_rate(dtype: torch.dtype, device: str) -> float:
    """Operations a second that the machine can do: best of fifteen, of a square matrix product or wide convolution."""
    a = torch.randn(2048, 2048, dtype=dtype, device=device)
    image = torch.randn(64, 256, 16, 16, dtype=dtype, device=device).contiguous(memory_format=torch.channels_last)
    kernel = torch.randn(256, 256, 3, 3, dtype=dtype, device=device).contiguous(memory_format=torch.channels_last)
    work = {lambda: a @ a: 2 * 2048**3, lambda: F.conv2d(image, kernel, padding=1): 2 * image.numel() * 256 * 9}
    return max(count / min(_seconds(function, device) for _ in range(15)) for function, count in work.items())


def compare(item: Item, device: str, rounds: int, rates: dict[torch.dtype, float]) -> dict:
    """One row: the item's times a unit of work, the ratio plain / ours and the time that the matrix rate allows."""
    sides = (item.ours, item.per_ours), (item.plain, item.per_plain)
    calls = []
    for function, _ in sides:
        function()  # compiled, cached, warm
        calls.append(max(1, round(LEAST / _seconds(function, device))))
    times = np.array(
        [[_seconds(function, device, n) / per for (function, per), n in zip(sides, calls)] for _ in range(rounds)]
    )
    ours, other = times.T
    low, middle, high = np.quantile(other / ours, (0.25, 0.5, 0.75))
    bound = item.flops / item.per_ours / rates[item.dtype] if item.flops else None
    return {
        "name": item.name,
        "against": item.against,
        "milliseconds": 1e3 * float(np.median(ours)),
        "plain_milliseconds": 1e3 * float(np.median(other)),
        "ratio": middle,
        "low": low,
        "high": high,
        "bound_milliseconds": bound and 1e3 * bound,
    }


def _flops(function: Callable[[], object]) -> float:
    with FlopCounterMode(display=False) as counter:
        function()
    return counter.get_total_flops()


# --- what is compared --------------------------------------------------------------------


def _linear_items(device: str) -> Iterator[Item]:
    def squared(z: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return (z - y).square().sum()

    for norm in ("none", "batchnorm", "l2", "l1", "linf"):
        spec = LinearSpec(norm=norm)
        problem = moments.LinearProblem(spec, device)
        model = deep_linear(spec, 0).to(device)
        x, y = (part.to(device) for part in gaussian_regression(0, spec.samples, spec.dim))
        parameters = list(model.parameters())
        _, grads = problem.gradient(problem.weights)
        per_layer = 3 * 2 * spec.dim**2 * (spec.dim + 1)
        if norm in ("l1", "linf"):
            per_layer += 2 * spec.dim * (spec.dim + 1) * spec.samples * (2 if norm == "l1" else 1)
        yield Item(
            f"deep linear gradient, {norm}, 5 seeds",
            "nn.Sequential and autograd on the samples",
            lambda problem=problem: problem.gradient(problem.weights),
            lambda model=model, parameters=parameters, x=x, y=y: torch.autograd.grad(squared(model(x), y), parameters),
            spec.seeds,
            1,
            spec.seeds * spec.layers * per_layer,
            torch.float64,
        )
        yield Item(
            f"deep linear gradient, {norm}, 5 seeds",
            "the tensor operations of `lib.models.moments`",
            lambda problem=problem: problem.gradient(problem.weights),
            _by_formula(lambda problem=problem: problem.gradient(problem.weights)),
        )
        yield Item(
            f"deep linear landscape, {norm}, per length",
            "deep copies, .item()",
            lambda problem=problem, grads=grads: moments.landscape(problem, problem.weights, grads),
            lambda model=model, x=x, y=y: plain.landscape(model, squared, x, y, 1e-6, LENGTHS),
            spec.seeds * len(spec.step_lengths),
            len(LENGTHS),
            spec.seeds * len(spec.step_lengths) * spec.layers * per_layer,
            torch.float64,
        )
        if norm == "batchnorm":
            yield Item(
                "deep linear landscape, batchnorm, per length",
                "torch.func: vmap over lengths",
                lambda problem=problem, grads=grads: moments.landscape(problem, problem.weights, grads),
                _functional_landscape(model, squared, x, y, spec),
                spec.seeds * len(spec.step_lengths),
                len(spec.step_lengths),
            )
            yield Item(
                "deep linear covariate shift, batchnorm",
                "a deep copy and a gradient per layer",
                lambda problem=problem, grads=grads: moments.covariate_shift(problem, problem.weights, grads),
                lambda model=model, x=x, y=y: plain.covariate_shift(model, squared, x, y, 1e-6),
                spec.seeds,
            )


def _functional_landscape(
    model: nn.Module, loss: Callable, x: torch.Tensor, y: torch.Tensor, spec: LinearSpec
) -> Callable:
    names = {name: value.detach() for name, value in model.named_parameters()}
    both = grad_and_value(lambda values: loss(functional_call(model, values, x), y))
    lengths = torch.tensor(spec.step_lengths, dtype=x.dtype, device=x.device)

    def run() -> object:
        grads, _ = both(names)
        steps = {name: lengths.view(-1, *[1] * grads[name].dim()) * spec.step_size * grads[name] for name in names}
        return vmap(both)({name: names[name] - steps[name] for name in names})

    return run


def _by_formula(function: Callable[[], object]) -> Callable[[], object]:
    """The same without the twins of `lib.fast`."""

    def plainly() -> object:
        with fast.plain():
            return function()

    return plainly


def _train(model: nn.Module, spec: ImageSpec, images: Images, normalize: Callable, count: int) -> None:
    """`count` steps as `lib.runs.training` makes them."""
    parameters = probes.trained(model)
    for step in range(count):
        x, y = batch(spec, images, step)
        found, grads = gradient(model, spec, normalize(x), y)
        found.cpu()
        descend(parameters, [], grads, spec.step_size)


def _vgg_items(device: str, steps: int = 3) -> Iterator[Item]:
    kind = available()
    images = load_images(kind).to(device)
    normalize = images.normalizer(torch.float32)
    base = ImageSpec(width=WIDTH, data=kind, train_images=len(images.train_x), step_size=1e-3)

    def ours(**changes) -> tuple[nn.Module, Callable[[], None]]:
        spec = base.but(**changes)
        model = vgg(spec).to(device).train()
        return model, lambda: _train(model, spec, images, normalize, steps)

    source = plain.batches(images, base.batch_size)
    x, y = batch(base, images, 0)
    x = normalize(x)
    for norm in ("none", "batchnorm"):
        model, train = ours(norm=norm)
        usual = vgg(base.but(norm=norm)).to(device, memory_format=torch.contiguous_format).train()
        optimizer = torch.optim.SGD(usual.parameters(), lr=base.step_size)
        yield Item(
            f"VGG step, {norm}",
            "DataLoader, optimizer, .item()",
            train,
            lambda usual=usual, optimizer=optimizer: plain.steps(usual, optimizer, source, device, steps),
            steps,
            steps,
            _flops(train),
        )
        point = probes.Point.at(model, F.cross_entropy, x, y, base.step_size)
        probe = functools.partial(probes.landscape, point, LENGTHS)
        yield Item(
            f"VGG landscape probe, {norm}, per length",
            "deep copies, .item()",
            probe,
            lambda usual=usual: plain.landscape(usual, F.cross_entropy, x, y, base.step_size, LENGTHS),
            len(LENGTHS),
            len(LENGTHS),
            _flops(probe),
        )
        yield Item(
            f"VGG landscape probe, {norm}, per length", "one training step of ours", probe, train, len(LENGTHS), steps
        )
        shift = functools.partial(probes.covariate_shift, point)
        yield Item(
            f"VGG covariate shift, {norm}, all layers",
            "a deep copy and a gradient per layer",
            shift,
            lambda usual=usual: plain.covariate_shift(usual, F.cross_entropy, x, y, base.step_size),
            flops=_flops(shift),
        )
        yield Item(f"VGG covariate shift, {norm}, all layers", "one training step of ours", shift, train, 1, steps)
    _, half = ours(norm="batchnorm", precision="bfloat16")
    _, full = ours(norm="batchnorm")
    yield Item("VGG step, batchnorm, bfloat16", "the same in float32", half, full, steps, steps)
    for norm in ("l1", "l2", "linf", "noisy"):
        _, train = ours(norm=norm)
        yield Item(f"VGG step, {norm}", "a BatchNorm step of ours", train, full, steps, steps)
    yield Item("VGG step, noisy", "the formula, without `lib.fast`", train, _by_formula(train), steps, steps)
    spec = base.but(norm="noisy")
    usual = vgg(spec).to(device).train()
    for module in usual.modules():
        if isinstance(module, NoisyBatchNorm):
            module[1] = plain.ActivationNoise(spec.noise)
    yield Item(
        "VGG step, noisy",
        "torch's generator, tensor by tensor",
        train,
        lambda: _train(usual, spec, images, normalize, steps),
        steps,
        steps,
    )
    for norm in ("none", "batchnorm"):
        _, deep = ours(norm=norm, depth=16)
        _, train = ours(norm=norm)
        yield Item(f"VGG-16 step, {norm}", "a VGG-A step of ours", deep, train, steps, steps, _flops(deep))
    with contextlib.suppress(ImportError):
        from curvlinops import HessianLinearOperator

        small = vgg(base.but(norm="batchnorm", width=1 / 16)).to(device).train()
        operator = HessianLinearOperator(
            small, nn.CrossEntropyLoss(), list(small.parameters()), [(x, y)], check_deterministic=False
        )
        yield Item(
            "largest Hessian eigenvalue, VGG at 1/16 width",
            "curvlinops and the same Lanczos",
            lambda: controls.top_eigenvalue(probes.Point.at(small, F.cross_entropy, x, y, base.step_size)),
            lambda: eigsh(
                operator.to_scipy(),
                1,
                which="LA",
                tol=1e-2,
                maxiter=10,
                v0=_start(operator.shape[0]),
                return_eigenvectors=False,
            ),
        )


def _cost_items(device: str, steps: int = 3) -> Iterator[Item]:
    """What each probe costs in units of a training step: the docstrings of `lib.probes` give these numbers."""
    spec = ImageSpec(norm="batchnorm", width=WIDTH, data="synthetic", train_images=4_000, step_size=1e-3)
    images = load_images(spec.data).to(device)
    normalize = images.normalizer(torch.float32)
    model = vgg(spec).to(device).train()
    (x, y), fresh = ((normalize(x), y) for x, y in (batch(spec, images, step) for step in (0, 1)))
    point = probes.Point.at(model, F.cross_entropy, x, y, spec.step_size)
    layers = probes.layers_of(point)
    watched = probes.Activations(model, spec.units, 0)

    def watch() -> None:
        with watched.watch():
            model(x)
        watched.moments()
        watched.histograms(BINS)

    for name, probe in {
        "Point.at": lambda: probes.Point.at(model, F.cross_entropy, x, y, spec.step_size),
        "landscape, 4 lengths": lambda: probes.landscape(point, LENGTHS),
        "covariate shift of any network, 11 layers": lambda: probes.covariate_shift(point, layers),
        "largest Hessian eigenvalue": lambda: controls.top_eigenvalue(point),
        "all controls, 4 lengths": lambda: controls.measure(point, fresh, LENGTHS, 0),
        "errors by precision, 4 lengths": lambda: precision.precision_errors(point, LENGTHS),
        "terms of the theorems, 2 units": lambda: theorems.measure(point, THEOREM_UNITS),
        f"moments and histograms of {spec.units} units": watch,
    }.items():
        yield Item(
            f"VGG, batchnorm: {name}",
            "one training step of ours",
            probe,
            lambda: _train(model, spec, images, normalize, steps),
            1,
            steps,
        )


def _side_by_side(device: str, steps: int = 3) -> Iterator[Item]:
    """Two runs in a process and on a thread each, as `lib.runs.sweeps` has them, beside one run on two threads."""
    if device != "cpu":
        return
    spec = ImageSpec(norm="batchnorm", width=WIDTH, data="synthetic", train_images=4_000, step_size=1e-3)
    usual = torch.get_num_threads()
    with ProcessPoolExecutor(2, get_context("spawn"), torch.set_num_threads, (1,)) as pool:
        try:
            torch.set_num_threads(2)
            yield Item(
                "VGG step, batchnorm, two runs on a thread each",
                "one run on two threads",
                lambda: list(pool.map(_steps_of, [spec, spec.but(seed=1)], [steps, steps])),
                lambda: _steps_of(spec, steps),
                2 * steps,
                steps,
            )
        finally:
            torch.set_num_threads(usual)


def _steps_of(spec: ImageSpec, count: int) -> None:
    with as_in_runs():
        _train(*_network(spec), count)


@functools.cache
def _network(spec: ImageSpec) -> tuple[nn.Module, ImageSpec, Images, Callable]:
    images = load_images(spec.data)
    return vgg(spec).train(), spec, images, images.normalizer(torch.float32)


def _start(size: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(size).astype(np.float32)


# --- growth ---------------------------------------------------------------------------------


def _saved_bytes(function: Callable[[], object]) -> int:
    """Bytes that autograd keeps between forward and backward pass."""
    kept: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        function()
    return sum(kept.values())


def growth(device: str) -> list[dict]:
    """Seconds (best of five) and, for VGG, bytes kept for the backward pass, along one axis at a time.

    Rows: what, axis, value, milliseconds, megabytes.
    """
    rows = []

    def add(what: str, axis: str, value: float, function: Callable[[], object], megabytes: float | None = None) -> None:
        function()
        best = min(_seconds(function, device) for _ in range(5))
        rows.append({"what": what, "axis": axis, "value": value, "milliseconds": 1e3 * best, "megabytes": megabytes})

    for axis, values in {"layers": (6, 12, 25, 50), "seeds": (1, 5, 8, 16, 32, 64), "dim": (5, 10, 20, 40)}.items():
        for norm in ("batchnorm", "l1"):
            for value in values:
                problem = moments.LinearProblem(LinearSpec(norm=norm, **{axis: value}), device)
                add(f"deep linear gradient, {norm}", axis, value, lambda p=problem: p.gradient(p.weights))
    for count in (1, 2, 4, 8, 16, 32):
        lengths = tuple(float(length) for length in range(1, count + 1))
        problem = moments.LinearProblem(LinearSpec(norm="batchnorm", step_lengths=lengths), device)
        _, grads = problem.gradient(problem.weights)
        run = lambda p=problem, g=grads: moments.landscape(p, p.weights, g)  # noqa: E731
        add("deep linear landscape, batchnorm", "step lengths", count, run)
    images = load_images("synthetic").to(device)
    normalize = images.normalizer(torch.float32)
    base = ImageSpec(norm="batchnorm", width=WIDTH, data="synthetic", train_images=4_000)
    for axis, values in {
        "width": (1 / 16, 1 / 8, 1 / 4, 1 / 2),
        "batch_size": (32, 64, 128, 256),
        "depth": (7, 11),
    }.items():
        for value in values:
            spec = base.but(**{axis: value})
            model = vgg(spec).to(device).train()
            x, y = batch(spec, images, 0)
            x = normalize(x)
            kept = _saved_bytes(lambda m=model, x=x, y=y: F.cross_entropy(m(x), y)) / 1e6
            add(
                "VGG gradient, batchnorm",
                axis,
                value,
                lambda m=model, x=x, y=y: probes.gradients(m, F.cross_entropy, x, y),
                kept,
            )
            if axis == "depth":
                point = probes.Point.at(model, F.cross_entropy, x, y, 1e-3)
                add("VGG covariate shift, batchnorm", axis, value, functools.partial(probes.covariate_shift, point))
    return rows


# --- all of it --------------------------------------------------------------------------------


def run(device: str = "cpu", rounds: int = 7) -> dict:
    """Everything, with the hardware: keys `machine`, `items` and `growth`."""
    with as_in_runs():
        rates = {dtype: matrix_rate(dtype, device) for dtype in (torch.float32, torch.float64)}
        makers = itertools.chain(_linear_items(device), _vgg_items(device), _cost_items(device), _side_by_side(device))
        items = [compare(item, device, rounds, rates) for item in tqdm(makers, desc="Comparing")]
        grown = growth(device)
    machine = {
        "device": making.device_name(device),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "torch": str(torch.__version__),
        "code": records.code_version(),
        "date": datetime.date.today().isoformat(),
        "rounds": rounds,
        "float32_gflops": rates[torch.float32] / 1e9,
        "float64_gflops": rates[torch.float64] / 1e9,
    }
    return {"machine": machine, "items": items, "growth": grown}


def save(result: dict, path: Path = FILE) -> None:
    """Keep `result` for the book's page."""
    with files.replacing(path) as file:
        file.write((json.dumps(result, indent=1) + "\n").encode())


def read(path: Path = FILE) -> dict:
    """The benchmark that was kept; raises `Failure` where there is none."""
    if not path.is_file():
        raise Failure(f"{path} does not exist; make it with `python -m lib bench --save`.")
    try:
        return json.loads(files.contents(path))
    except (OSError, ValueError) as error:
        raise Failure(f"{path} is damaged ({files.reason(error)}); restore it, or make it again.") from error


def table(result: dict) -> pd.DataFrame:
    """The comparisons as a table: times a unit of work, the ratio with its quartiles, and the matrix rate's bound."""

    def three(value: float) -> str:
        return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"

    return pd.DataFrame(
        {
            "what": [row["name"] for row in result["items"]],
            "against": [row["against"] for row in result["items"]],
            "ms": [three(row["milliseconds"]) for row in result["items"]],
            "times faster": [
                f"{three(row['ratio'])} [{three(row['low'])}, {three(row['high'])}]" for row in result["items"]
            ],
            "bound, ms": [
                three(row["bound_milliseconds"]) if row["bound_milliseconds"] else "" for row in result["items"]
            ],
        }
    )


def memory(result: dict) -> pd.DataFrame:
    """What VGG keeps for the backward pass, along each axis."""
    rows = [row for row in result["growth"] if row["megabytes"]]
    return pd.DataFrame(
        {
            "axis": [row["axis"].replace("_", " ") for row in rows],
            "value": [f"{row['value']:g}" for row in rows],
            "megabytes": [f"{row['megabytes']:.1f}" for row in rows],
        }
    )


def machine(result: dict) -> str:
    """One line on the hardware and the way of measuring."""
    facts = result["machine"]
    return (
        f"{facts['device']}, {facts['threads']} threads, torch {facts['torch']}, code {facts['code']}, "
        f"{facts['date']}; medians and quartiles of {facts['rounds']} rounds in turn; matrix rate "
        f"{facts['float32_gflops']:.0f} GFLOP/s in float32, {facts['float64_gflops']:.0f} in float64."
    )
