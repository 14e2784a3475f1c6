"""How it is usually done: the counterparts that `lib.bench.bench` measures against, and nothing else uses.

The loop of the public reproductions of the paper: images decoded and augmented by DataLoader workers, contiguous
memory, an optimizer object, `.item()` at every step, probes on deep copies of the network.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence

import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from lib.data import Images
from lib.specs import Noise

Loss = Callable[[Tensor, Tensor], Tensor]


class _Pictures(Dataset):
    def __init__(self, images: Images) -> None:
        self._x = images.train_x.permute(0, 2, 3, 1).cpu().numpy()
        self._y = images.train_y.tolist()
        self._transform = transforms.Compose([transforms.ToTensor(), transforms.Normalize((0.5,) * 3, (0.25,) * 3)])

    def __len__(self) -> int:
        return len(self._y)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self._transform(Image.fromarray(self._x[index])), self._y[index]


def batches(images: Images, batch_size: int, workers: int = 2) -> Iterator[tuple[Tensor, Tensor]]:
    """Endless batches from a DataLoader."""
    loader = DataLoader(_Pictures(images), batch_size, shuffle=True, num_workers=workers, drop_last=True)
    while True:
        yield from loader


def steps(model: nn.Module, optimizer: torch.optim.Optimizer, source: Iterator, device: str, count: int) -> list[float]:
    """Losses of `count` training steps."""
    losses = []
    for _ in range(count):
        x, y = next(source)
        x, y = x.to(device), y.to(device)
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def landscape(
    model: nn.Module, loss: Loss, x: Tensor, y: Tensor, step_size: float, lengths: Sequence[float]
) -> tuple[list[float], list[float]]:
    """Losses and gradient changes along the gradient, each step length on a deep copy."""
    base = copy.deepcopy(model)
    loss(base(x), y).backward()
    grads = [parameter.grad.clone() for parameter in base.parameters()]
    losses, changes = [], []
    for length in lengths:
        moved = copy.deepcopy(model)
        for parameter, grad in zip(moved.parameters(), grads):
            parameter.data -= length * step_size * grad
        value = loss(moved(x), y)
        value.backward()
        squares = sum(((p.grad - grad) ** 2).sum().item() for p, grad in zip(moved.parameters(), grads))
        losses.append(value.item())
        changes.append(squares**0.5)
    return losses, changes


def covariate_shift(model: nn.Sequential, loss: Loss, x: Tensor, y: Tensor, step_size: float) -> list[float]:
    """|G - G'| of every layer but the first: a copy with the layers before it updated, and its whole gradient."""
    base = copy.deepcopy(model)
    loss(base(x), y).backward()
    shifts = []
    for index in range(1, len(model)):
        moved = copy.deepcopy(model)
        for parameter, other in zip(moved[:index].parameters(), base[:index].parameters()):
            parameter.data -= step_size * other.grad
        loss(moved(x), y).backward()
        shifts.append((moved[index][0].weight.grad - base[index][0].weight.grad).norm().item())
    return shifts


class ActivationNoise(nn.Module):
    """Algorithm 1's noise from torch's generator, an operation at a time."""

    def __init__(self, noise: Noise) -> None:
        super().__init__()
        self.noise = noise

    def forward(self, a: Tensor) -> Tensor:
        n = self.noise
        mu, sigma = torch.rand(2, 1, a.shape[1], *[1] * (a.dim() - 2), dtype=a.dtype, device=a.device)
        # Channels last, as `a` is in memory: torch's CPU generator is several times slower on strided memory.
        shape, kind = (a.shape[0], *a.shape[2:], a.shape[1]), {"dtype": a.dtype, "device": a.device}
        uniform, normal = (draw(shape, **kind).movedim(-1, 1) for draw in (torch.rand, torch.randn))
        m = n.n_mu * (2 * mu - 1) + n.r_mu * (2 * uniform - 1)
        s = 1 + (n.n_sigma - 1) * sigma + n.r_sigma * normal
        return s * a + m
