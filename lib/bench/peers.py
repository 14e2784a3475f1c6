"""Other libraries on the same network and batch: their numbers beside ours, why they differ, and the time.

The others are no requirement of the project. Install them where they do no harm, and name that folder:

    pip install --no-deps --target _build/peers pyhessian loss-landscapes
    PYTHONPATH=.:_build/peers python -m lib.bench.peers

prints the comparison and keeps it in `FILE` for the book. A library that is not there gives a row that says so.
"""

from __future__ import annotations

import copy
import functools
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from scipy.sparse.linalg import eigsh
from torch import nn
from torch.nn import functional as F

from lib import files, probes, records
from lib.bench import bench
from lib.data import load_images
from lib.models import vgg
from lib.probes.controls import top_eigenvalue
from lib.runs.batches import batch
from lib.specs import ImageSpec

FILE = records.COMMITTED / "peers.json"
#: Where losses along the gradient are compared, as loss-landscapes spaces them.
LENGTHS = tuple(np.arange(1, 9) / 2)
STEP_SIZE = 0.1


@dataclass(frozen=True)
class Peer:
    """A number that another library finds, and ours; `why` says where they differ, or what the other leaves out."""

    library: str
    what: str
    network: str
    theirs: Callable[[], float]
    ours: Callable[[], float]
    why: str


def compare(rounds: int = 3) -> list[dict]:
    """A row for each `Peer`: both numbers, the median seconds of both over rounds in turn, and the library's version.

    Numbers and seconds are None where the library is not installed.
    """
    rows = []
    for peer in _peers():
        row = {"library": peer.library, "version": None, "what": peer.what, "network": peer.network, "why": peer.why}
        try:
            row["version"] = version(peer.library)
            row |= {"theirs": float(peer.theirs()), "ours": float(peer.ours())}
        except PackageNotFoundError:
            rows.append(row | dict.fromkeys(("theirs", "ours", "their_seconds", "our_seconds")))
            continue
        times = [[bench._seconds(side, "cpu") for side in (peer.theirs, peer.ours)] for _ in range(rounds)]
        rows.append(row | dict(zip(("their_seconds", "our_seconds"), np.median(times, 0).tolist())))
    return rows


def table(rows: list[dict]) -> pd.DataFrame:
    """The comparison for a page: numbers, seconds, and why they differ."""

    def three(value: float | None) -> str:
        return "not installed" if value is None else f"{value:.4g}"

    return pd.DataFrame(
        {
            "library": [f"{row['library']} {row['version'] or ''}".strip() for row in rows],
            "what": [row["what"] for row in rows],
            "network": [row["network"] for row in rows],
            "theirs": [three(row["theirs"]) for row in rows],
            "ours": [three(row["ours"]) for row in rows],
            "their seconds": [three(row["their_seconds"]) for row in rows],
            "our seconds": [three(row["our_seconds"]) for row in rows],
            "why": [row["why"] for row in rows],
        }
    )


def read(path: Path = FILE) -> list[dict]:
    """The rows that were kept."""
    return json.loads(files.contents(path))


def _peers() -> Iterator[Peer]:
    networks = {
        "VGG, no normalization": _point("none"),
        "VGG, BatchNorm": _point("batchnorm"),
        "MLP, dropout": _with_dropout(),
    }
    plain, normed, dropped = networks
    for name in (plain, normed):
        yield Peer(
            "curvlinops-for-pytorch",
            "largest Hessian eigenvalue",
            name,
            functools.partial(_curvlinops, networks[name]),
            functools.partial(top_eigenvalue, networks[name]),
            "the same Hessian, in the mode that the network is in; both by scipy's Lanczos",
        )
    for name, why in (
        (plain, "the same Hessian; theirs by power iteration, which stops while it still rises"),
        (normed, "PyHessian puts the network into evaluation mode: another function, with running statistics"),
    ):
        yield Peer(
            "pyhessian",
            "largest Hessian eigenvalue",
            name,
            functools.partial(_pyhessian, networks[name]),
            functools.partial(top_eigenvalue, networks[name]),
            why,
        )
    for name, why in (
        (normed, "the same losses; ours also finds the gradient at each length, theirs does not"),
        (dropped, "loss-landscapes draws another mask at each length; ours holds that of the step"),
    ):
        yield Peer(
            "loss-landscapes",
            "loss variation along the gradient",
            name,
            functools.partial(_loss_landscapes, networks[name]),
            functools.partial(_variation, networks[name]),
            why,
        )


def _point(norm: str) -> probes.Point:
    """A small VGG after 20 steps, so that running statistics are some network's, at its next batch."""
    spec = ImageSpec(norm=norm, width=1 / 16, depth=7, data="synthetic", train_images=4_000, step_size=STEP_SIZE)
    images = load_images(spec.data)
    normalize = images.normalizer(torch.float32)
    model = vgg(spec).train()
    bench._train(model, spec, images, normalize, 20)
    x, y = batch(spec, images, 20)
    return probes.Point.at(model, F.cross_entropy, normalize(x), y, STEP_SIZE)


def _with_dropout() -> probes.Point:
    generator = torch.Generator().manual_seed(0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(20, 100), nn.ReLU(), nn.Dropout(0.5), nn.Linear(100, 5))
    x, y = torch.randn(128, 20, generator=generator), torch.randint(0, 5, (128,), generator=generator)
    return probes.Point.at(model, F.cross_entropy, x, y, STEP_SIZE)


def _curvlinops(point: probes.Point) -> float:
    from curvlinops import HessianLinearOperator

    model = point.model
    operator = HessianLinearOperator(
        model, nn.CrossEntropyLoss(), list(model.parameters()), [(point.x, point.y)], check_deterministic=False
    ).to_scipy()
    start = np.random.default_rng(0).standard_normal(operator.shape[0]).astype(np.float32)
    return float(eigsh(operator, 1, which="LA", tol=1e-2, v0=start, maxiter=10, return_eigenvectors=False)[0])


def _pyhessian(point: probes.Point) -> float:
    from pyhessian import hessian

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        copied = copy.deepcopy(point.model)  # which it would leave in evaluation mode, with gradients
        found = hessian(copied, nn.CrossEntropyLoss(), (point.x, point.y), cuda=False)
        return found.eigenvalues()[0][0]


def _loss_landscapes(point: probes.Point) -> float:
    from loss_landscapes import linear_interpolation
    from loss_landscapes.metrics import Loss

    start, end = copy.deepcopy(point.model), copy.deepcopy(point.model)
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for parameter, grad in zip(end.parameters(), point.grads):
            parameter -= LENGTHS[-1] * STEP_SIZE * grad
        return float(np.ptp(linear_interpolation(start, end, Loss(F.cross_entropy, point.x, point.y), len(LENGTHS))))


def _variation(point: probes.Point) -> float:
    return float(np.ptp(probes.landscape(point, LENGTHS)["landscape_loss"].numpy()))


if __name__ == "__main__":
    kept = compare()
    with files.replacing(FILE) as file:
        file.write((json.dumps(kept, indent=1) + "\n").encode())
    print(table(kept).to_string(index=False))
