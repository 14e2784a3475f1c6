"""Deep linear networks, many at once and without their samples.

A network that only multiplies and normalizes sees its 1,000 samples through their mean and
scatter alone: with Q_0 = [R, sqrt(n) mean(x)], R R^T the scatter matrix, the d + 1 columns of
Q_0 stand for all samples exactly. The columns of Q_l = diag(gamma/s_l) W_l Q_{l-1} do the same
for layer l's output; subtracting the batch mean zeroes the last column. The l_1 and l_inf
norms s_l need the samples, but only for the scale. Everything is batched over [k, S, d, d]:
k layers, S independent networks (seeds, step lengths, ...). The plain per-sample form
is `lib.models.deep_linear`, which the tests compare with.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lib.data import gaussian_regression
from lib.models import glorot_weights
from lib.specs import LinearSpec


class LinearProblem:
    """The loss sum_n |W_k ... W_1 x_n - A x_n|^2 of appendix A.1 for `spec.seeds` data sets.

    Attributes: `inputs` Q_0 [S, d, d+1], `targets` T [S, d, d+1], `floor` [S] (the loss that no
    linear map removes) and, for l1 and linf, `samples` [S, d+1, n] with y = V @ samples.
    """

    def __init__(self, spec: LinearSpec, device: str = "cpu") -> None:
        self.spec = spec
        parts = [self._moments(*gaussian_regression(seed, spec.samples, spec.dim)) for seed in range(spec.seeds)]
        self.inputs, self.targets, self.floor, self.samples = (torch.stack(part).to(device) for part in zip(*parts))
        self.weights = torch.stack([glorot_weights(spec, seed) for seed in range(spec.seeds)], 1).to(device)

    @staticmethod
    def _moments(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        n = x.shape[0]
        centred = x - x.mean(0)
        root = torch.linalg.cholesky(centred.T @ centred)
        whitened = torch.linalg.solve_triangular(root, centred.T, upper=False)
        last = torch.full((1, n), n**-0.5, dtype=x.dtype)
        samples = torch.cat([whitened, last])
        # `samples` has orthonormal rows, so products with it keep norms.
        inputs, targets = x.T @ samples.T, y.T @ samples.T
        return inputs, targets, y.square().sum() - targets.square().sum(), samples

    def repeated(self, times: int) -> LinearProblem:
        """The same problem for `times` copies of every network; index = copy * S + seed."""
        copy = object.__new__(LinearProblem)
        copy.spec = self.spec
        for name in ("inputs", "targets", "floor", "samples"):
            value = getattr(self, name)
            setattr(copy, name, value.repeat(times, *[1] * (value.dim() - 1)))
        return copy

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
        scale, where = y.abs().max(-1, keepdim=True)
        sign = y.gather(-1, where).sign()
        return scale, sign * self.samples.mT.gather(1, where.expand(-1, -1, self.samples.shape[1]))

    def _forward(self, weights: Tensor) -> tuple[list[Tensor], Tensor, list]:
        """Layer inputs Q_0 ... Q_{k-1}, the outputs, and each normalization's (Q, s, ds/dV)."""
        inputs, norms = [self.inputs], []
        for weight in weights[:-1]:
            outputs = weight @ inputs[-1]
            if self.spec.norm != "none":
                scale, slope = self._scale(outputs)
                outputs = outputs * (self.spec.gamma / scale)
                outputs[..., -1] = 0
                norms.append((outputs, scale, slope))
            inputs.append(outputs)
        return inputs, weights[-1] @ inputs[-1], norms

    def loss(self, weights: Tensor) -> Tensor:
        """Loss [S] at weights [k, S, d, d]: squared error summed over samples and dimensions."""
        _, outputs, _ = self._forward(weights)
        return (outputs - self.targets).square().sum((-2, -1)) + self.floor

    def gradient(self, weights: Tensor) -> tuple[Tensor, Tensor]:
        """Loss [S] and its gradient [k, S, d, d] at weights [k, S, d, d]."""
        inputs, outputs, norms = self._forward(weights)
        error = outputs - self.targets
        loss = error.square().sum((-2, -1)) + self.floor
        gradient = torch.empty_like(weights)
        delta = 2 * error
        for index in range(len(weights) - 1, 0, -1):
            gradient[index] = delta @ inputs[index].mT
            delta = weights[index].mT @ delta
            if norms:
                normalized, scale, slope = norms[index - 1]
                # Q = gamma V / s(V): the first term moves V, the second its scale.
                along = (delta * normalized).sum(-1, keepdim=True) / scale
                delta = delta * (self.spec.gamma / scale)
                delta[..., -1] = 0
                delta -= along * slope
        gradient[0] = delta @ inputs[0].mT
        return loss, gradient

    def activations(self, weights: Tensor, unit: int) -> Tensor:
        """Inputs to layers 2 ... k of one unit over the batch: [k-1, S, n]."""
        inputs, _, _ = self._forward(weights)
        return torch.stack([q[:, unit : unit + 1] @ self.samples for q in inputs[1:]])[:, :, 0]


def landscape(problem: LinearProblem, weights: Tensor, gradient: Tensor) -> tuple[Tensor, Tensor]:
    """Loss and gradient change along the gradient (section 3.2, appendix A.2.2).

    For each multiple c of `spec.step_lengths`, at W - c step_size g: the loss [C, S] and
    |g(W - c step_size g) - g(W)|_2 [C, S] over all layers. `problem` is the spec's own.
    """
    spec = problem.spec
    count, seeds = len(spec.step_lengths), weights.shape[1]
    distance = spec.step_size * torch.tensor(spec.step_lengths, dtype=weights.dtype, device=weights.device)
    moved = weights[:, None] - distance[None, :, None, None, None] * gradient[:, None]
    loss, there = problem.repeated(count).gradient(moved.flatten(1, 2))
    change = there.unflatten(1, (count, seeds)) - gradient[:, None]
    return loss.view(count, seeds), change.square().sum((0, 3, 4)).sqrt()


def covariate_shift(problem: LinearProblem, weights: Tensor, gradient: Tensor) -> tuple[Tensor, Tensor]:
    """Internal covariate shift of Definition 2.1: l2 [k, S] and cosine [k, S] for every layer.

    Network i of the batch has the layers before i at W - step_size g and the others at W;
    its gradient with respect to layer i is G'. The cosine of two zero vectors is NaN.
    """
    layers, seeds = weights.shape[:2]
    updated = weights - problem.spec.step_size * gradient
    before = torch.ones(layers, layers, device=weights.device, dtype=torch.bool).triu(1)
    mixed = torch.where(before[:, :, None, None, None], updated[:, None], weights[:, None])
    _, there = problem.repeated(layers).gradient(mixed.flatten(1, 2))
    own = torch.arange(layers, device=weights.device)
    after = there.unflatten(1, (layers, seeds))[own, own]
    l2 = (after - gradient).square().sum((-2, -1)).sqrt()
    norms = after.square().sum((-2, -1)).sqrt() * gradient.square().sum((-2, -1)).sqrt()
    return l2, (after * gradient).sum((-2, -1)) / norms
