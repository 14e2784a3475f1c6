"""Deep linear networks, many at once and without their samples.

A network that only multiplies and normalizes sees its 1,000 samples through their mean and
scatter alone: with Q_0 = [R, sqrt(n) mean(x)], R R^T the scatter matrix, the d + 1 columns of
Q_0 stand for all samples exactly. The columns of Q_l = diag(gamma/s_l) W_l Q_{l-1} do the same
for layer l's output; subtracting the batch mean zeroes the last column. The l_1 and l_inf
norms s_l need the samples, but only for the scale, and so does any other. Everything is batched over [k, S, d, d]:
k layers, S independent networks (seeds, step lengths, ...). On a CPU the gradient comes from
the compiled loops of `lib.fast.kernels` where numba is installed, elsewhere from the tensor operations here. The plain
per-sample form is `lib.models.deep_linear`, which the tests compare both with.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor

from lib import fast
from lib.data import gaussian_regression
from lib.models.linear import SIZES, glorot_weights
from lib.specs import LinearSpec

try:
    from lib.fast import kernels
except ImportError:  # no numba, as on many a GPU machine: the tensor operations do without
    kernels = None


@functools.cache
def _pool(process: int) -> ThreadPoolExecutor:
    """The threads of a process; by its number, for a fork has the pool but not its threads."""
    return ThreadPoolExecutor(os.cpu_count())


class LinearProblem:
    """The loss sum_n |W_k ... W_1 x_n - A x_n|^2 of appendix A.1 for `spec.seeds` data sets.

    With `spec.affine` weights are [k, S, d, d+2]: column d holds gamma and column d+1 beta of the norm after that
    layer. Attributes: `inputs` Q_0 [D, d, d+1], `targets` T = A Q_0 [D, d, d+1], `samples` [D, d+1, n], orthonormal
    rows with y = V @ samples for outputs V [D, d, d+1], the starting point `weights` [k, D, d, d], and whether the
    loops are `compiled`. Methods take weights [k, S, d, d] of any multiple S of D networks; network s has data set s %
    D.
    """

    def __init__(self, spec: LinearSpec, device: str = "cpu") -> None:
        self.spec = spec
        parts = [self._moments(*gaussian_regression(seed, spec.samples, spec.dim)) for seed in range(spec.seeds)]
        self.inputs, self.targets, self.samples = (torch.stack(part).to(device) for part in zip(*parts))
        self.weights = torch.stack([glorot_weights(spec, seed) for seed in range(spec.seeds)], 1).to(device)
        if spec.affine:
            start = self.weights.new_tensor([spec.gamma, 0.0]).expand(*self.weights.shape[:-1], 2)
            self.weights = torch.cat([self.weights, start], -1)
        self.compiled = (
            kernels is not None
            and torch.device(device).type == "cpu"
            and spec.norm in kernels.NORMS
            and not (spec.affine or spec.norm_last)
        )
        if self.compiled:
            longest = torch.linalg.vector_norm(self.samples, dim=1).amax(-1)
            data = (self.inputs, self.targets, self.samples, self.samples.float(), longest)
            # Made once: at this size a conversion costs as much as a layer. Copies, for torch would move
            # the memory under a view when a tensor goes to another process.
            self._data = [tensor.numpy().copy() for tensor in data]
        self._work: list[Tensor] = []
        self._repeated: dict[int, LinearProblem] = {}

    @staticmethod
    def _moments(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        n = x.shape[0]
        centred = x - x.mean(0)
        root = torch.linalg.cholesky(centred.T @ centred)
        whitened = torch.linalg.solve_triangular(root, centred.T, upper=False)
        last = torch.full((1, n), n**-0.5, dtype=x.dtype)
        samples = torch.cat([whitened, last])
        # Orthonormal rows: products with them keep norms, and lose nothing of x or of y = A x.
        return x.T @ samples.T, y.T @ samples.T, samples

    def _for(self, networks: int) -> LinearProblem:
        """The problem with every data set repeated until there is one a network."""
        times = networks // self.spec.seeds
        if times == 1:
            return self
        if times not in self._repeated:
            copy = self._repeated[times] = object.__new__(LinearProblem)
            copy.spec = self.spec
            for name in ("inputs", "targets", "samples"):
                value = getattr(self, name)
                setattr(copy, name, value.repeat(times, *[1] * (value.dim() - 1)))
        return self._repeated[times]

    def _scale(self, outputs: Tensor) -> tuple[Tensor, Tensor]:
        """s [S, d, 1] of a layer's outputs V [S, d, d+1], and ds/dV [S, d, d+1]."""
        n, norm = self.spec.samples, self.spec.norm
        if norm in ("batchnorm", "l2"):
            kept = outputs
            if norm == "batchnorm":
                kept = outputs.clone()
                kept[..., -1] = 0
            scale = torch.linalg.vector_norm(kept, dim=-1, keepdim=True) / n**0.5
            return scale, kept / (n * scale)
        y = outputs @ self.samples
        if norm == "l1":
            slope = y.sign() @ self.samples.mT / n
            return (slope * outputs).sum(-1, keepdim=True), slope  # mean |y| = mean(sign(y) y)
        if norm == "linf":
            scale, where = y.abs().max(-1, keepdim=True)
            sign = y.gather(-1, where).sign()
            return scale, sign * self.samples.mT.gather(1, where.expand(-1, -1, self.samples.shape[1]))
        with torch.enable_grad():  # a norm with a formula and no fast form
            outputs = outputs.detach().requires_grad_()
            scale = SIZES[norm]((outputs @ self.samples).movedim(-1, 0))[..., None]
        return scale.detach(), torch.autograd.grad(scale.sum(), outputs)[0]

    def _forward(self, weights: Tensor) -> tuple[list[Tensor], Tensor, list]:
        """Layer inputs Q_0 ... Q_{k-1}, the outputs, and each normalization's (Q, s, ds/dV), Q without its shift."""
        inputs, norms, dim = [self.inputs], [], self.spec.dim
        normed = 0 if self.spec.norm == "none" else len(weights) - (not self.spec.norm_last)
        for index, weight in enumerate(weights):
            outputs = weight[..., :dim] @ inputs[-1]
            if index < normed:
                scale, slope = self._scale(outputs)
                outputs = outputs * (self._gamma(weight) / scale)
                outputs[..., -1] = 0
                norms.append((outputs, scale, slope))
                if self.spec.affine:  # a shift of all samples lies along the last of the columns that stand for them
                    outputs = outputs.clone()
                    outputs[..., -1] = self.spec.samples**0.5 * weight[..., dim + 1]
            inputs.append(outputs)
        return inputs[:-1], inputs[-1], norms

    def _gamma(self, weight: Tensor) -> Tensor | float:
        """The scale after a layer: [S, d, 1] where it is trained."""
        return weight[..., self.spec.dim, None] if self.spec.affine else self.spec.gamma

    def loss(self, weights: Tensor) -> Tensor:
        """Loss [S] at weights [k, S, d, d]: squared error summed over samples and dimensions."""
        problem = self._for(weights.shape[1])
        _, outputs, _ = problem._forward(weights)
        return (outputs - problem.targets).square().sum((-2, -1))

    def gradient(self, weights: Tensor) -> tuple[Tensor, Tensor]:
        """Loss [S] and its gradient [k, S, d, d] at weights [k, S, d, d]."""
        if not (self.compiled and fast.enabled()):
            return self._for(weights.shape[1])._tensor_gradient(weights)
        loss, gradient = weights.new_empty(weights.shape[1]), torch.empty_like(weights)
        self._run(kernels.gradients, weights, loss, gradient)
        return loss, gradient

    def along(self, weights: Tensor, direction: Tensor, distances: Tensor, keep: int) -> tuple[Tensor, Tensor, Tensor]:
        """At W - t v for distances t [C] along a direction v [k, D, d, d] from weights W [k, D, d, d].

        Loss [C, D], |g(W - t v) - v|_2 [C, D] over all layers, and the gradient g [k, D, d, d] at distance number
        `keep`.
        """
        if self.compiled and fast.enabled():
            loss = weights.new_empty(len(distances), self.spec.seeds)
            change, there = torch.empty_like(loss), torch.empty_like(weights)
            rest = (direction.contiguous().numpy(), distances.numpy(), keep, change.view(-1).numpy())
            self._run(kernels.along, weights, loss.view(-1), there, *rest)
            return loss, change, there
        moved = weights[:, None] - distances[None, :, None, None, None] * direction[:, None]
        loss, gradients = self.gradient(moved.flatten(1, 2))
        gradients = gradients.unflatten(1, (len(distances), -1))
        change = (gradients - direction[:, None]).square().sum((0, 3, 4)).sqrt()
        return loss.view(len(distances), -1), change, gradients[:, keep]

    def _run(self, kernel: Callable, weights: Tensor, loss: Tensor, out: Tensor, *rest: object) -> None:
        """Run a kernel over all points, of which `loss` has one number each, on as many threads as torch has."""
        # With l_1 and l_inf every network costs the same; the others come eight at the price of one.
        grain = 1 if self.spec.norm in ("l1", "linf") else kernels.LANES
        share = grain * -(-len(loss) // (grain * torch.get_num_threads()))
        bounds = [(first, min(first + share, len(loss))) for first in range(0, len(loss), share)]
        kind = (kernels.NORMS[self.spec.norm], self.spec.gamma, self.spec.samples)
        values = loss.numpy(), out.numpy()
        data = [*self._data, weights.contiguous().numpy()]
        while len(self._work) < len(bounds):
            self._work.append(torch.zeros(kernels.workspace(self.spec.layers, self.spec.dim), dtype=torch.float64))

        def part(number: int) -> None:
            kernel(*kind, *data, *bounds[number], self._work[number].numpy(), *values, *rest)

        others = [_pool(os.getpid()).submit(part, number) for number in range(1, len(bounds))]
        part(0)
        for other in others:
            other.result()

    def _tensor_gradient(self, weights: Tensor) -> tuple[Tensor, Tensor]:
        inputs, outputs, norms = self._forward(weights)
        error = outputs - self.targets
        loss = error.square().sum((-2, -1))
        gradient, dim = torch.zeros_like(weights), self.spec.dim
        delta = 2 * error
        for index in range(len(weights) - 1, -1, -1):
            if index < len(norms):
                normalized, scale, slope = norms[index]
                gamma = self._gamma(weights[index])
                # Q = gamma V / s(V): the first term moves V, the second its scale.
                along = (delta * normalized).sum(-1, keepdim=True)
                if self.spec.affine:
                    gradient[index, ..., dim] = (along / gamma)[..., 0]
                    gradient[index, ..., dim + 1] = self.spec.samples**0.5 * delta[..., -1]
                along = along / scale
                delta = delta * (gamma / scale)
                delta[..., -1] = 0
                delta -= along * slope
            gradient[index, ..., :dim] = delta @ inputs[index].mT
            delta = weights[index, ..., :dim].mT @ delta
        return loss, gradient

    def modes(self, weights: Tensor) -> Tensor:
        """Singular values of outputs over those of targets, over the batch without its mean: [d, S], largest first.

        1 where the network has learned as much as there is of a direction, 0 where it has learned nothing; NaN where it
        has diverged.
        """
        problem = self._for(weights.shape[1])
        _, outputs, _ = problem._forward(weights)
        found = torch.linalg.svdvals(outputs[..., :-1].nan_to_num(0, 0, 0)) / torch.linalg.svdvals(
            problem.targets[..., :-1]
        )
        return found.masked_fill(~outputs.isfinite().all(-1).all(-1, keepdim=True), torch.nan).T

    def activations(self, weights: Tensor, unit: int) -> Tensor:
        """Inputs to layers 2 ... k of one unit over the batch: [k-1, S, n]."""
        inputs, _, _ = self._forward(weights)
        return torch.stack([q[:, unit : unit + 1] @ self.samples for q in inputs[1:]])[:, :, 0]


def landscape(problem: LinearProblem, weights: Tensor, gradient: Tensor) -> tuple[Tensor, Tensor, tuple | None]:
    """Loss and gradient change along the gradient (section 3.2, appendix A.2.2).

    For each multiple c of `spec.step_lengths`, at W - c step_size g: the loss [C, D] and
    |g(W - c step_size g) - g(W)|_2 [C, D] over all layers. Where c = 1 is among them, also what
    `problem.gradient` returns there: it is the next step's, for the batch is always the same.
    """
    spec = problem.spec
    distances = spec.step_size * torch.tensor(spec.step_lengths, dtype=weights.dtype, device=weights.device)
    keep = spec.step_lengths.index(1.0) if 1.0 in spec.step_lengths else -1
    loss, change, there = problem.along(weights, gradient, distances, keep)
    return loss, change, None if keep < 0 else (loss[keep], there)


def covariate_shift(problem: LinearProblem, weights: Tensor, gradient: Tensor) -> tuple[Tensor, Tensor]:
    """Internal covariate shift of Definition 2.1: l2 [k, S] and cosine [k, S] for every layer.

    Network i of the batch has the layers before i at W - step_size g and the others at W;
    its gradient with respect to layer i is G'. The cosine of two zero vectors is NaN.
    """
    layers, seeds = weights.shape[:2]
    updated = weights - problem.spec.step_size * gradient
    before = torch.ones(layers, layers, device=weights.device, dtype=torch.bool).triu(1)
    mixed = torch.where(before[:, :, None, None, None], updated[:, None], weights[:, None])
    _, there = problem.gradient(mixed.flatten(1, 2))
    own = torch.arange(layers, device=weights.device)
    after = there.unflatten(1, (layers, seeds))[own, own]
    after, gradient = (
        after[..., : problem.spec.dim],
        gradient[..., : problem.spec.dim],
    )  # W_i alone, without gamma and beta
    l2 = (after - gradient).square().sum((-2, -1)).sqrt()
    norms = after.square().sum((-2, -1)).sqrt() * gradient.square().sum((-2, -1)).sqrt()
    return l2, (after * gradient).sum((-2, -1)) / norms
