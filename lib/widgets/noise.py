"""The noise explorer: Algorithm 1 in the browser, beside training under measured noise strengths."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
import traitlets
import xarray as xr

from lib import data, figures
from lib.errors import Failure, UsageError
from lib.figures.words import describe
from lib.paper import results
from lib.paper.labels import Label
from lib.runs import training
from lib.specs import DESCRIPTIONS, ImageSpec, Noise
from lib.widgets import Explorable, source


class NoiseExplorer(Explorable):
    """Sliders for n_mu, n_sigma, r_mu and r_sigma, and a stop for each measured strength.

    `curves` are the records of the "noise-strength" experiment: Label("none", S) and Label("batchnorm", S)
    for strengths S, of which 0 is no noise. With a kernel, `train` (the button) trains a small
    VGG with the sliders' noise and adds its curve.
    """

    _esm = source("noise")
    words = "Training accuracy with noise of each strength, with BatchNorm and without."
    paper = traitlets.Dict().tag(sync=True)
    strengths = traitlets.List().tag(sync=True)
    start = traitlets.Float().tag(sync=True)
    training = traitlets.Dict().tag(sync=True)
    caption = traitlets.Unicode().tag(sync=True)

    def __init__(self, curves: dict[Label, xr.Dataset], start: float = 1.0, points: int = 50) -> None:
        super().__init__()
        self._curves = curves
        found: dict[str, dict] = {}
        for label, curve in curves.items():
            steps, accuracy = _accuracy(curve.accuracy.mean("seed", skipna=False), points)
            found.setdefault(f"{label.setting:g}", {"steps": steps})[label.norm] = accuracy
        strengths = sorted(float(strength) for strength in found)
        if start not in strengths:
            raise UsageError(f"start is {start!r}, but must be one of: {', '.join(map(str, strengths))}.")
        self.paper = asdict(Noise())
        self.strengths = strengths
        self.start = start
        self.caption = results.provenance(curves)
        self.training = found
        self.on_msg(self._received)

    def still(self) -> tuple[figures.Drawn, str]:
        figure = figures.noise_strength(self._curves)
        return figure, describe(figure)

    def train(self, noise: Noise, steps: int = 150) -> str:
        """Train a narrow VGG with noisy BatchNorm under `noise` now, on the best data at hand; returns what it did."""
        kind = data.available()
        spec = ImageSpec(
            norm="noisy", noise=noise, width=1 / 16, depth=7, data=kind, train_images=4_000, batch_size=64, steps=steps
        )
        steps_, accuracy = _accuracy(training.run(spec).accuracy, 30)
        self.training = {**self.training, "live": {"steps": steps_, "batchnorm": accuracy}}
        return f"trained {steps} steps of a 1/16-width, 7-layer VGG on {DESCRIPTIONS[kind]} (green)"

    def _received(self, _: object, message: dict, __: object) -> None:
        if message["type"] == "hello":
            self.send({"type": "here"})
            return
        try:
            self.send({"type": "done", "text": self.train(Noise(**message["noise"]))})
        except (UsageError, Failure) as error:
            self.send({"type": "done", "text": str(error)})


def _accuracy(accuracy: xr.DataArray, points: int) -> tuple[list[int], list[float | None]]:
    """Steps and means of about `points` windows; None where the run had diverged."""
    window = max(1, accuracy.sizes["step"] // points)
    coarse = accuracy.coarsen(step=window, boundary="trim").reduce(np.mean)
    return coarse.step.values.astype(int).tolist(), [
        round(float(x), 4) if np.isfinite(x) else None for x in coarse.values
    ]
