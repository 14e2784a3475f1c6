"""Mutants: the library with one line of its science broken, and whether the tests notice.

`python tests/mutants.py` breaks every line of the table in a copy of the project and runs the module's tests there;
`python tests/mutants.py shift` takes only those whose name or file has the word. A mutant that no test notices is a
survivor: it needs a test, or a word in `EXPLAINED`. What became of each goes to book/records/trust.json, which the page
on trust shows, with those that were not run yet.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import trust
from tqdm.auto import tqdm

ROOT = Path(__file__).resolve().parents[1]
#: Loaded once, before the tests of each mutant start in a process of their own.
LOADED = ("torch", "torchvision", "numba", "xarray", "h5py", "scipy.stats", "scipy.sparse.linalg", "sympy", "pytest")
LOADED += ("matplotlib.pyplot", "pandas", "hypothesis", "jupytext", "nbformat", "nbval.plugin", "distributed", "tyro")
#: Survivors that are no mistakes, and why.
EXPLAINED: dict[str, str] = {
    "kernel-largest": "a lower bound lets more candidates through, of which the exact largest is taken",
}


class Mutant(NamedTuple):
    """A line of a file, what it is changed to, and the tests that should notice."""

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]


def _all(file: str, tests: str, *changes: tuple[str, str, str]) -> list[Mutant]:
    paths = tuple(f"tests/test_{name}.py" for name in tests.split())
    return [Mutant(name, file, old, new, paths) for name, old, new in changes]


MUTANTS = [
    *_all(
        "lib/norms/layers.py",
        "norms",
        ("eps", "EPS = 1e-5", "EPS = 1e-3"),
        ("momentum", "MOMENTUM = 0.1", "MOMENTUM = 0.9"),
        ("gamma-start", "nn.Parameter(torch.ones(channels))", "nn.Parameter(torch.full((channels,), 1.01))"),
        ("beta-start", "nn.Parameter(torch.zeros(channels))", "nn.Parameter(torch.full((channels,), 0.01))"),
        ("batchnorm-eval", "self.beta, self.training, MOMENTUM, EPS)", "self.beta, True, MOMENTUM, EPS)"),
        ("weight-bias-swapped", '(("weight", "gamma"), ("bias", "beta"))', '(("weight", "beta"), ("bias", "gamma"))'),
        ("noise-in-evaluation", "        if not self.training:\n            return a\n", ""),
        ("noise-never-moves", "self.calls += 1", "self.calls = 1"),
        (
            "noise-before-norm",
            "super().__init__(BatchNorm(channels), ActivationNoise(noise, seed))",
            "super().__init__(ActivationNoise(noise, seed), BatchNorm(channels))",
        ),
        (
            "l1-centred",
            "        n = y.abs().mean(_rest(y)) + EPS",
            "        n = (y - y.mean(_rest(y), keepdim=True)).abs().mean(_rest(y)) + EPS",
        ),
        ("l2-no-root", "(y.square().mean(_rest(y)) + EPS).sqrt()", "(y.square().mean(_rest(y)) + EPS)"),
        ("linf-mean", "        n = y.abs().amax(_rest(y)) + EPS", "        n = y.amax(_rest(y)) + EPS"),
        ("mean-kept", "beta - mean * scale", "beta + mean * scale"),
        ("sum-power", "** (1 / self.p) if", "** self.p if"),
        ("sample-sum", "dim=1).mean() + EPS)", "dim=1).sum() + EPS)"),
        ("running-norm", "self.running_norm.lerp_(n.to", "self.running_norm.lerp_(2 * n.to"),
        ("norms-swapped", '{"l1": 1, "l2": 2, "linf"', '{"l1": 2, "l2": 1, "linf"'),
    ),
    *_all(
        "lib/norms/noise.py",
        "noise models",
        ("golden", "0x9E3779B97F4A7C15", "0x9E3779B97F4A7C14"),
        ("uniform-scale", "(2**BITS - 1)).to(dtype) * 2.0**-BITS", "(2**BITS - 1)).to(dtype) * 2.0**-(BITS - 1)"),
        ("normal-scale", "math.sqrt(2) * torch.erfinv", "torch.erfinv"),
        ("mu-one-sided", "noise.n_mu * (2 * uniform(ours[0], dtype) - 1)", "noise.n_mu * uniform(ours[0], dtype)"),
        ("sigma-below-one", "1 + (noise.n_sigma - 1) * uniform", "1 - (noise.n_sigma - 1) * uniform"),
        ("same-call", "key(seed, 2 * call), key(seed, 2 * call + 1)", "key(seed, 0), key(seed, 1)"),
        ("same-keys", "key(seed, 2 * call + 1)", "key(seed, 2 * call)"),
        ("r_sigma-variance", "sigma + noise.r_sigma * normal", "sigma + noise.r_sigma**0.5 * normal"),
    ),
    *_all(
        "lib/fast/noise.py",
        "noise",
        ("fast-low", "_f(1)) - r_mu", "_f(1))"),
        ("fast-sigma", "_word(keys[0], channels + c)", "_word(keys[0], c)"),
        ("fast-gradient", "return g * ctx.saved_tensors[0], None", "return g, None"),
        ("fast-log", "_f(3.3333331174e-1)", "_f(3.3e-1)"),
        ("fast-tail", "(p if w < _f(5) else q)", "p"),
    ),
    *_all(
        "lib/models/images.py",
        "models",
        (
            "resnet-relu-order",
            "return self.relu(self.second_norm(self.second(h)) + self.shortcut(x))",
            "return self.relu(self.second_norm(self.second(h))) + self.shortcut(x)",
        ),
        ("noise-same-layers", "seed = 1_000_003 * (spec.seed + 1) + index", "seed = 1_000_003 * (spec.seed + 1)"),
        ("noise-same-seeds", "seed = 1_000_003 * (spec.seed + 1) + index", "seed = 1_000_003 + index"),
        (
            "weights-same-seed",
            "def vgg(spec: ImageSpec) -> nn.Sequential:",
            "def vgg(spec: ImageSpec) -> nn.Sequential:\n    spec = spec.but(seed=0)",
        ),
        (
            "he-instead-of-glorot",
            "nn.init.xavier_uniform_(weight.weight, gain",
            "nn.init.xavier_normal_(weight.weight, gain",
        ),
        ("init-scale", "gain=spec.init_scale", "gain=1.0"),
        ("norm-after", 'if spec.placement == "before" else 1', 'if spec.placement == "after" else 1'),
        ("head", "HEAD = 512", "HEAD = 256"),
        ("affine", "parameter.requires_grad_(spec.affine)", "parameter.requires_grad_(True)"),
        ("stride", "stride = 2 if stage and not block else 1", "stride = 2 if stage else 1"),
        ("head-norm", "isinstance(weight, nn.Conv2d)):\n                block", "True):\n                block"),
    ),
    *_all(
        "lib/models/linear.py",
        "linear models",
        ("linear-l1-centred", '"l1": lambda y: y.abs()', '"l1": lambda y: (y - y.mean(0)).abs()'),
        ("linear-l2-centred", '"l2": lambda y: y.square()', '"l2": lambda y: (y - y.mean(0)).square()'),
        ("linear-linf", '"linf": lambda y: y.abs().amax(0)', '"linf": lambda y: y.amax(0)'),
        ("linear-gamma", "return self.gamma * (y - y.mean(0)) / SIZES", "return (y - y.mean(0)) / SIZES"),
        ("linear-last-norm", "(index < spec.layers or spec.norm_last)", "(index <= spec.layers or spec.norm_last)"),
        ("linear-shift", "return super().forward(y) + self.beta", "return super().forward(y)"),
        ("linear-normal", "normal_(0, spec.dim**-0.5", "normal_(0, 1 / spec.dim"),
        ("linear-glorot", "bound = (6 / (2 * spec.dim)) ** 0.5", "bound = (3 / (2 * spec.dim)) ** 0.5"),
        ("linear-seed", "manual_seed(10_007 + seed)", "manual_seed(10_007)"),
    ),
    *_all(
        "lib/models/moments.py",
        "linear",
        (
            "moments-batchnorm-l2",
            'if norm == "batchnorm":\n                kept',
            'if norm == "l2":\n                kept',
        ),
        ("moments-slope", "return scale, kept / (n * scale)", "return scale, kept / scale"),
        (
            "moments-mean-kept",
            "outputs = outputs * (self._gamma(weight) / scale)\n                outputs[..., -1] = 0",
            "outputs = outputs * (self._gamma(weight) / scale)",
        ),
        ("moments-beta", "self.spec.samples**0.5 * weight[..., dim + 1]", "weight[..., dim + 1]"),
        ("moments-gamma-slope", "(along / gamma)[..., 0]", "along[..., 0]"),
        ("moments-shift-scales", "after[..., : problem.spec.dim]", "after"),
        ("modes-mean-kept", "outputs[..., :-1].nan_to_num", "outputs.nan_to_num"),
        (
            "moments-loss-mean",
            "(outputs - problem.targets).square().sum((-2, -1))",
            "(outputs - problem.targets).square().mean((-2, -1))",
        ),
        ("moments-delta", "delta = 2 * error", "delta = error"),
        ("moments-scale-moves", "delta -= along * slope", "pass"),
        ("moments-shift-order", ".triu(1)", ".triu(0)"),
        (
            "moments-shift-sign",
            "updated = weights - problem.spec.step_size",
            "updated = weights + problem.spec.step_size",
        ),
        ("moments-keep", "spec.step_lengths.index(1.0) if 1.0", "0 if 1.0"),
        (
            "moments-cosine",
            "(after * gradient).sum((-2, -1)) / norms",
            "(after * gradient).sum((-2, -1)) / norms.square()",
        ),
    ),
    *_all(
        "lib/fast/kernels.py",
        "linear",
        ("kernel-move", "w[layer, i, m, lane] -= step", "w[layer, i, m, lane] += step"),
        (
            "kernel-distance",
            "(a[layer, i, m, lane] - b[layer, i, m, lane]) ** 2",
            "abs(a[layer, i, m, lane] - b[layer, i, m, lane])",
        ),
        ("kernel-lane", "s3 += left(a, i, m, 3) * right(b, m, j, 3)", "s3 += left(a, i, m, 3) * right(b, m, j, 2)"),
        ("kernel-column", "u5 += left(a, i, m, 5) * right(b, m, n, 5)", "u5 += left(a, i, m, 5) * right(b, m, k, 5)"),
        ("kernel-scatter", "out[layer, network, i, m] = values", "out[layer, network, m, i] = values"),
        ("kernel-largest", "bits[index] & np.int32(0x7FFFFFFF))\n", "bits[index] & np.int32(0x7FFF0000))\n"),
    ),
    *_all(
        "lib/probes/point.py",
        "probes controls",
        ("landscape-uphill", "alpha=-length * point.step_size", "alpha=length * point.step_size"),
        ("landscape-no-step-size", "alpha=-length * point.step_size", "alpha=-length"),
        (
            "landscape-other-noise",
            "        self.noise.rewind()\n        return gradients(",
            "        return gradients(",
        ),
        ("norm-squared", ".square().sum().sqrt()", ".square().sum()"),
    ),
    *_all(
        "lib/probes/point.py",
        "kinds",
        ("view-of-weight-put-back", "tensor.is_sparse or _memory(tensor) not in weights", "True"),
        ("autocast-stale", "        torch.clear_autocast_cache()\n", ""),
        ("parametrization-stale", "        parametrize._cache.clear()\n", ""),
        ("backward-in-autocast", "enabled=False) if autocast", "enabled=True) if autocast"),
        ("passes-not-compared", "if not alike(grads, point.gradients()[1]):", "if False:"),
    ),
    *_all(
        "lib/probes/second.py",
        "kinds",
        ("hessian-unchecked", "> 1e-3 * float(norm(change))", "> 1e9 * float(norm(change))"),
        ("fused-attention", "sdpa_kernel(SDPBackend.MATH)", "nullcontext()"),
    ),
    *_all(
        "lib/probes/theorems.py",
        "kinds",
        ("term-after-activation", "return z.clone()", "return z"),
    ),
    *_all(
        "lib/probes/loss_landscape.py",
        "probes",
        ("change-not-difference", "norm(torch._foreach_sub(there, point.grads))", "norm(there)"),
        ("change-of-norms", "norm(torch._foreach_sub(there, point.grads))", "abs(norm(there) - norm(point.grads))"),
    ),
    *_all(
        "lib/probes/covariate.py",
        "probes",
        ("shift-whole-network", "value - point.step_size * step[value]", "value"),
        ("shift-uphill", "value - point.step_size * step[value]", "value + point.step_size * step[value]"),
        ("shift-noise", "                point.noise.rewind()\n                (after", "                (after"),
        ("shift-not-difference", "(after - before).norm()", "after.norm()"),
        ("shift-first", "if index > 0:", "if index > 1:"),
        ("cosine-sign", "torch.cosine_similarity(after", "-torch.cosine_similarity(after"),
    ),
    *_all(
        "lib/probes/activations.py",
        "probes training",
        ("variance-unbiased", "value.var(1, correction=0)", "value.var(1, correction=1)"),
        (
            "post-relu",
            "register_forward_pre_hook(self._keep)",
            "register_forward_hook(lambda m, i, o: self._keep(m, (o,)))",
        ),
        ("units-fixed", "torch.randperm(a.shape[1], generator=self._generator)", "torch.arange(a.shape[1])"),
    ),
    *_all(
        "lib/probes/controls.py",
        "controls kinds",
        ("random-length", "(norm(grads) / norm(drawn)).item()", "(1 / norm(drawn)).item()"),
        ("evaluated-frozen-too", "and (module.training or module.running_mean is None)", ""),
        (
            "frozen-unbiased",
            "torch.var_mean(y, rest, correction=0)",
            "torch.var_mean(y, rest, correction=1)",
        ),
        (
            "accumulated-not",
            "norm(torch._foreach_sub(total, point.grads))",
            "norm(torch._foreach_sub(there, point.grads))",
        ),
        ("smallest-eigenvalue", 'which="LA"', 'which="SA"'),
        (
            "fresh-direction",
            'landscape(there, step_lengths, point.grads)["grad_change"]',
            'landscape(there, step_lengths)["grad_change"]',
        ),
    ),
    *_all(
        "lib/quantities.py",
        "claims probes",
        ("beta-no-step-size", "(step_lengths * step_size * grad_norm)", "(step_lengths * grad_norm)"),
        ("beta-no-length", "(step_lengths * step_size * grad_norm)", "(step_size * grad_norm)"),
    ),
    *_all(
        "lib/runs/batches.py",
        "trust_science training",
        ("crop-no-last", "torch.randint(0, 9, (2, count, 1)", "torch.randint(0, 8, (2, count, 1)"),
        (
            "crop-same",
            "torch.randint(0, 9, (2, count, 1), generator=generator)",
            "torch.randint(0, 9, (2, 1, 1), generator=generator).expand(2, count, 1)",
        ),
        ("flip-never", "generator=generator) < 0.5", "generator=generator) < 0.0"),
        ("flip-always", "generator=generator) < 0.5", "generator=generator) < 1.1"),
        ("label-shift", "else x), images.train_y[index]", "else x), images.train_y[(index + 1) % len(images.train_y)]"),
        ("order-same-epochs", "manual_seed(1_000_000 * (seed + 1) + epoch)", "manual_seed(1_000_000 * (seed + 1))"),
        ("order-same-seeds", "manual_seed(1_000_000 * (seed + 1) + epoch)", "manual_seed(1_000_000 + epoch)"),
        ("crops-same-seeds", "manual_seed(1_000_000_000 * (seed + 1) + step)", "manual_seed(1_000_000_000 + step)"),
        (
            "crops-same-steps",
            "manual_seed(1_000_000_000 * (seed + 1) + step)",
            "manual_seed(1_000_000_000 * (seed + 1))",
        ),
        ("batches-overlap", "order[position * spec.batch_size :", "order[max(0, position * spec.batch_size - 1) :"),
    ),
    *_all(
        "lib/runs/problems.py",
        "trust_science training",
        ("momentum-lost", "torch._foreach_mul_(velocity, momentum)", "torch._foreach_mul_(velocity, 0.0)"),
        (
            "momentum-damped",
            "torch._foreach_add_(velocity, grads)",
            "torch._foreach_add_(velocity, grads, alpha=1 - spec.momentum)",
        ),
        ("uphill", "velocity or grads, alpha=-step_size", "velocity or grads, alpha=step_size"),
        ("evaluate-training-mode", "    model.eval()\n    accuracy", "    accuracy"),
        ("evaluate-stays", "    model.train()\n    return accuracy", "    return accuracy"),
        ("accuracy-second", "logits.argmax(1) == y).to", "logits.argmin(1) == y).to"),
    ),
    *_all(
        "lib/records/layout.py",
        "trust_layout training",
        ("early-ticks", "every // spec.early_times", "every"),
        ("eval-end", "*range(0, steps, spec.eval_every), steps}", "*range(0, steps, spec.eval_every)}"),
        ("moments-next", "for after in (0, 1)}", "for after in (0, 2)}"),
    ),
    *_all(
        "lib/data.py",
        "data",
        (
            "transposed",
            "np.stack([pixels for _, pixels in images]).transpose(0, 3, 1, 2)",
            "np.stack([pixels for _, pixels in images]).transpose(0, 3, 2, 1)",
        ),
        (
            "npm-transposed",
            "x.reshape(10_000, 32, 32, 3).transpose(0, 3, 1, 2)",
            "x.reshape(10_000, 32, 32, 3).transpose(0, 3, 2, 1)",
        ),
        ("classes-order", "CLASSES.index(path.split", "-1 - CLASSES.index(path.split"),
        (
            "images-unsorted",
            "images.sort(key=lambda item: item[0])",
            "images.sort(key=lambda item: item[0], reverse=True)",
        ),
        ("regression-a", "return x, x @ a.T", "return x, x @ a"),
        ("normalize-over-images", "pixels.std((0, 2))", "pixels.std((0, 2)) * 2"),
        ("normalize-mean", "pixels.mean((0, 2))", "pixels.mean((0, 2)) * 0"),
        ("sum-not-compared", "    if digest != NPM_SHA256:\n", "    if False:\n"),
        ("md5-not-compared", "if hashlib.md5(layout).hexdigest() != known:", "if False:"),
        ("wrapped-labels", "if x.dtype != np.uint8 or not ((y >= 0) & (y < len(CLASSES))).all():", "if False:"),
    ),
    *_all(
        "lib/paper/measures/curves.py",
        "claims",
        (
            "band-nan",
            'loss.max("step_length", skipna=False) - loss.min("step_length", skipna=False)',
            'loss.max("step_length") - loss.min("step_length")',
        ),
        ("band-max", ' - loss.min("step_length", skipna=False)', ""),
        ("chance", "CHANCE = 0.1", "CHANCE = 0.0"),
        ("late-half", "part: float = 1 / 4) -> xr.DataArray:", "part: float = 1 / 2) -> xr.DataArray:"),
        ("least-most", "return np.min([measure(curves)", "return np.max([measure(curves)"),
    ),
    *_all(
        "lib/paper/measures/phases.py",
        "claims",
        (
            "phase-plateau",
            "LEFT_PLATEAU, HALF_WAY, SETTLED = 0.05, 0.5, 0.9",
            "LEFT_PLATEAU, HALF_WAY, SETTLED = 0.3, 0.5, 0.9",
        ),
        ("progress-down", "fall = (first - loss)", "fall = (loss - first)"),
    ),
    *_all(
        "lib/paper/measures/training.py",
        "claims",
        (
            "late-difference-swapped",
            "late(curves[one], name) - late(curves[other], name)",
            "late(curves[other], name) - late(curves[one], name)",
        ),
        ("final-first", "[name].isel(eval_step=-1)", "[name].isel(eval_step=0)"),
        ("share-swapped", "((noisy - none) / (norm - none))", "((norm - none) / (noisy - none))"),
        ("steps-first", "reached.argmax(1) + 1", "reached.argmax(1)"),
    ),
    *_all(
        "lib/paper/measures/landscape.py",
        "claims",
        ("edge-no-step", "product = smoothness(curve) * step_size(curve)", "product = smoothness(curve)"),
        ("early-late-swapped", "    return first - last\n", "    return last - first\n"),
        ("kink-even", "/ (lengths[2:] - lengths[:-2]))", ")"),
        ("rises-not-falls", "(~(after <= before))", "(after <= before)"),
        ("gradients-no-weights", "curves[one].layer_gradient / curves[one].layer_weight", "curves[one].layer_gradient"),
        (
            "spearman-sign",
            'smooth.append(-values.median("landscape_step")',
            'smooth.append(values.median("landscape_step")',
        ),
    ),
    *_all(
        "lib/paper/measures/shift.py",
        "claims",
        ("shift-l2-first-layer", "curves[label].shift_l2.isel(layer=slice(1, None))", "curves[label].shift_l2"),
        ("shift-first-layer", "curves[one][name].isel(layer=slice(1, None))", "curves[one][name]"),
    ),
    *_all(
        "lib/paper/measures/distributions.py",
        "claims",
        ("moment-var", '(np.sqrt(var) if moment == "mean" else var)', "np.sqrt(var)"),
        ("moment-ratio-swapped", "np.log10(medians[0] / medians[1])", "np.log10(medians[1] / medians[0])"),
        ("deviation-half", "values.median(but_seed(values)).values / 2", "values.median(but_seed(values)).values"),
        ("kolmogorov-mean", "np.interp(grid, x1, f1)).max()", "np.interp(grid, x1, f1)).mean()"),
        (
            "total-variation",
            "(abs(shares - np.diff(cumulated)).sum(-1) + outside) / 2",
            "abs(shares - np.diff(cumulated)).sum(-1) + outside",
        ),
    ),
    *_all(
        "lib/paper/measures/linear.py",
        "claims",
        (
            "linear-loss-mean",
            'np.log10(tail(curves[label], "loss", part)).mean("step")',
            'np.log10(tail(curves[label], "loss", part).mean("step"))',
        ),
        ("rank-any", "(last > 0.5)", "(last > 0.0)"),
        ("best-fit-nearer", "np.minimum(abs(last), abs(1 - last))", "abs(1 - last)"),
    ),
    *_all(
        "lib/paper/measures/settings.py",
        "claims",
        ("largest-chance", "usable = accuracy > 2 * CHANCE", "usable = accuracy > CHANCE"),
    ),
    *_all(
        "lib/paper/measures/theorems.py",
        "claims",
        ("theorem-no-abs", 'values = abs(curves[one][f"theorem_{name}"])', 'values = curves[one][f"theorem_{name}"]'),
        ("forms-negative", "((forms[0] >= 0) & (forms[1] >= 0))", "((forms[0] >= 0) | (forms[1] >= 0))"),
    ),
    *_all(
        "lib/paper/experiments.py",
        "claims",
        ("main-shallowest", "for depth in DEPTHS:\n        paths", "for depth in DEPTHS[::-1]:\n        paths"),
        ("main-any-seed", "if all(_late_accuracy(path)", "if any(_late_accuracy(path)"),
        ("main-undecided", "            return None\n        if all", "            continue\n        if all"),
    ),
    *_all(
        "lib/paper/ledger.py",
        "claims",
        ("interval-narrow", "confidence_interval(0.95)", "confidence_interval(0.5)"),
        ("interval-of-one", "if len(values) < 2 or not", "if not"),
        ("verdict-not-certain", '"reproduced" if certain and len(values)', '"reproduced" if len(values)'),
        ("verdict-few-seeds", "certain and len(values) >= ENOUGH_SEEDS[network]", "certain"),
        ("verdict-side", "sign = 1 if claim.side", "sign = -1 if claim.side"),
        ("verdict-other-end", "(low if sign > 0 else high) - claim.bound", "(high if sign > 0 else low) - claim.bound"),
        ("verdict-within", "abs(mean - claim.bound) <= claim.tolerance", "mean - claim.bound <= claim.tolerance"),
        ("factors-natural", "10**number if claim.log", "math.e**number if claim.log"),
    ),
    *_all(
        "lib/paper/results.py",
        "claims",
        ("common-seeds", "label: curves[label].sel(seed=sorted(seeds))", "label: curves[label]"),
        ("seconds-shared", "len(parts) / seeds for part in parts", "1.0 for part in parts"),
    ),
    *_all(
        "lib/theory/formulas.py",
        "theory",
        ("projection-mean", "eye - 1 / m - outer", "eye - outer"),
        (
            "gradient-square",
            "return (gamma / s)[..., None] * project(yhat, g)",
            "return ((gamma / s) ** 2)[..., None] * project(yhat, g)",
        ),
        ("curvature-three", "cross + cross.mT - 3 * c / m", "cross + cross.mT - 2 * c / m"),
        ("curvature-sign", "return -(gamma / (m * s**2))", "return (gamma / (m * s**2))"),
        ("lipschitz-rho", "(2 - rho) * correlation / m", "(1 - rho) * correlation / m"),
        ("condition-side", "return first, second, bn <= plain", "return first, second, bn >= plain"),
        ("separation-m", "dot(v, v) / y.shape[-1]\n", "dot(v, v)\n"),
        ("lemma-k", "k = dot(w_star, w0) / square", "k = dot(w_star, w0) / square.sqrt()"),
    ),
    *_all(
        "lib/widgets/noise.js",
        "figures widgets browser",
        ("browser-sigma", "1 + (n_sigma - 1) * next()", "n_sigma * next()"),
        ("browser-normal", "Math.sqrt(-2 * Math.log(1 - next()))", "Math.sqrt(-Math.log(1 - next()))"),
        ("browser-scaled", "n_sigma: 1 + (paper.n_sigma - 1) * s", "n_sigma: paper.n_sigma * s"),
    ),
    *_all(
        "lib/widgets/landscape.js",
        "figures widgets browser",
        ("browser-beta", "c / (lengths[first + i] * stepSize * norm)", "c / (lengths[i] * stepSize * norm)"),
        ("browser-band", "at + last + 1)", "at + last)"),
        ("browser-ratio", "return 10 ** (logs.reduce", "return Math.exp(logs.reduce"),
    ),
    *_all(
        "lib/widgets/projection.js",
        "figures widgets browser",
        ("browser-correlation", "const correlation = inner ** 2 / m;", "const correlation = inner ** 2;"),
        ("browser-removed", "(gamma / (m * sigma ** 2)) * inner * left", "(gamma / sigma ** 2) * inner * left"),
    ),
    *_all(
        "lib/files.py",
        "trust_files",
        ("seal-not-compared", "    if sha256(content) != seal[1].decode():", "    if False:"),
        ("seal-not-needed", "        if must:\n", "        if False:\n"),
        ("devices-read", "    if not stat.S_ISREG(status.st_mode):", "    if False:"),
        ("partials-stay", "            if dead or ", "            if "),
        ("half-files", "        partial.replace(path)\n", "        path.write_bytes(buffer.getvalue())\n"),
    ),
    *_all(
        "lib/records/__init__.py",
        "trust_files records",
        ("list-not-compared", "if known is not None and files.sha256(content) != known:", "if False:"),
        (
            "axes-not-compared",
            "if stored.dtype.kind != values.dtype.kind or not np.array_equal(stored, values):",
            "if False:",
        ),
        ("external-storage", "if file[name].external or file[name].is_virtual:", "if False:"),
        ("any-name", "    if file_name(spec) != path.name:", "    if False:"),
        ("markup", '("<" in value or not value.isprintable())', "False"),
    ),
    *_all(
        "lib/runs/making.py",
        "records",
        ("replay-axes", "    if not _same_axes(record, again):", "    if False:"),
        ("replay-infinities", "(finite | (old == new.values) |", "(finite | (np.isinf(old) & np.isinf(new)) |"),
        (
            "replay-mean",
            "worst = max(worst, float((difference / scale).max()))",
            "worst = max(worst, float((difference / scale).mean()))",
        ),
    ),
    *_all(
        "lib/runs/stores.py",
        "trust_files training",
        ("checkpoint-unchecked", "        _check(state, path.stem, model, velocity, store)\n", ""),
        ("velocity-lost", "        value.copy_(saved)\n", "        pass\n"),
        ("noise-lost", "        layer.calls = calls\n", "        pass\n"),
        ("arrays-lost", "        store.arrays[name][...] = array.numpy()\n", "        pass\n"),
    ),
]


def run(mutant: Mutant, folder: Path) -> str:
    """What became of a mutant in a copy of the project: "caught", "survived", or "stale" where its line is gone."""
    path = folder / mutant.file
    text, times = path.read_text(), path.stat()
    if text.count(mutant.old) != 1:
        return "stale"
    tests = tuple(test for test in mutant.tests if (folder / test).is_file())
    seconds = patience(folder, tests)
    path.write_text(text.replace(mutant.old, mutant.new))
    try:
        return "survived" if _tests_pass(folder, tests, seconds) else "caught"
    finally:
        path.write_text(text)
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))  # or its compiled functions would be compiled anew


@functools.cache
def patience(folder: Path, tests: tuple[str, ...]) -> float:
    """Seconds after which a mutant's tests count as endless: three times what they take, and a minute.

    They must pass on the library as it is; else a mutant would count as caught by what fails anyway.
    """
    start = time.monotonic()
    if not _tests_pass(folder, tests, 1800):
        sys.exit(f"{' '.join(tests)} fail without any mutant: mend that first.")
    return 60 + 3 * (time.monotonic() - start)


def _tests_pass(folder: Path, tests: tuple[str, ...], seconds: float) -> bool:
    """Whether tests pass in the project's copy, in a fork of this process that has `LOADED` but nothing of `lib`."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.setpgid(0, 0)
            code = _pytest(folder, tests)
        finally:
            os._exit(code)
    end, done = time.monotonic() + seconds, 0
    while not done and time.monotonic() < end:  # a loop without end is noticed, too
        time.sleep(0.1)
        done, status = os.waitpid(child, os.WNOHANG)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)
    if not done:
        os.waitpid(child, 0)
    return bool(done) and os.waitstatus_to_exitcode(status) == 0


def _pytest(folder: Path, tests: tuple[str, ...]) -> int:
    ours = {name for name in sys.modules if name.partition(".")[0] in ("lib", "trust", "conftest", "readable_nbval")}
    for name in ours:
        del sys.modules[name]
    os.chdir(folder)
    os.environ.update(PYTHONPATH=str(folder), PYTHONDONTWRITEBYTECODE="1")
    sys.path[:] = [
        str(folder),
        *(place for place in sys.path if Path(place or ".").resolve() not in (ROOT, ROOT / "tests")),
    ]
    sys.dont_write_bytecode = True
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 1), os.dup2(silence, 2)
    return int(importlib.import_module("pytest").main(["-q", "-x", "-p", "no:cacheprovider", "-m", "not slow", *tests]))


def copy(folder: Path) -> None:
    """The project's files that git knows or would, and what is compiled, in `folder`; images and npm's are linked."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    compiled = [path.relative_to(ROOT) for path in ROOT.glob("lib/fast/__pycache__/*.nb[ci]")]
    for name in map(Path, [*listed, *compiled]):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    (folder / "_build").mkdir()
    for name in ("data", "_build/vendor"):
        if (ROOT / name).exists():
            (folder / name).symlink_to(ROOT / name)


def main(words: list[str]) -> int:
    """Run mutants with one of the words in name or file (all, without words); returns how many survive unexplained."""
    chosen = [mutant for mutant in MUTANTS if not words or any(word in mutant.name + mutant.file for word in words)]
    for name in LOADED:
        importlib.import_module(name)
    left, counts = 0, Counter()
    with tempfile.TemporaryDirectory() as folder:
        copy(Path(folder))
        for mutant in tqdm(chosen, desc="Mutants", unit="mutant"):
            became = run(mutant, Path(folder))
            tqdm.write(f"{became:9} {mutant.name:26} {mutant.file}")
            keep(mutant, became)
            counts[became] += 1
            left += became != "caught" and mutant.name not in EXPLAINED
    print(", ".join(f"{count} {became}" for became, count in sorted(counts.items())))
    return left


def keep(mutant: Mutant, became: str) -> None:
    """Write down what became of a mutant; those not run yet stand beside it, and those that are no more go."""
    known = trust.kept("mutants")
    found = {one.name: known.get(one.name, {"file": one.file, "became": "not run"}) for one in MUTANTS}
    found[mutant.name] = {"file": mutant.file, "became": became, **trust.here()}
    for name, why in EXPLAINED.items():
        found[name]["why"] = why
    trust.keep("mutants", found)


if __name__ == "__main__":
    sys.exit(min(main(sys.argv[1:]), 1))
