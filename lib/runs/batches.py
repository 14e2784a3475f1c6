"""Batches: which images a step sees, drawn from the seed and the step alone."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from lib.data import Images
from lib.specs import ImageSpec


def batch(spec: ImageSpec, images: Images, step: int) -> tuple[Tensor, Tensor]:
    """A step's images, uint8 [B, 3, 32, 32], and labels [B]: epochs without replacement, last partial batch dropped."""
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
