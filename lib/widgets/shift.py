"""The covariate-shift explorer: Definition 2.1 layer by layer, for measured step sizes."""

from __future__ import annotations

import traitlets
import xarray as xr

from lib import figures
from lib.errors import UsageError
from lib.figures.words import describe
from lib.paper import results
from lib.paper.labels import Label
from lib.widgets import Explorable, packed, source
from lib.widgets.landscape import NORMS


class ShiftExplorer(Explorable):
    """Sliders over layers, steps, seeds and the step sizes of a "norm, step size" experiment.

    `curves` maps Label("none", SIZE) and Label("batchnorm", SIZE) to records whose covariate shift was probed at the
    same steps; about `points` of them are sent to the page. `start` is the step size that it opens on. Raises
    `UsageError` for another.
    """

    _esm = source("shift")
    words = "How far, and how much in direction, a layer's gradient moves when the layers before it take their step."
    runs = traitlets.List().tag(sync=True)
    start = traitlets.Unicode().tag(sync=True)
    caption = traitlets.Unicode().tag(sync=True)
    values = traitlets.Bytes().tag(sync=True)

    def __init__(self, curves: dict[Label, xr.Dataset], start: str, points: int = 50) -> None:
        super().__init__()
        sizes = sorted({label.setting for label in curves})
        labels = [f"{size:g}" for size in sizes]
        if start not in labels:
            raise UsageError(f"start is {start!r}, but must be one of: {', '.join(labels)}.")
        self.start = start
        self.caption = results.provenance(curves)
        self._curves = curves
        runs, parts = [], []
        for size, label in zip(sizes, labels):
            pair = [curves[Label(norm, size)] for norm in NORMS]
            every = max(1, pair[0].sizes["shift_step"] // points)
            pair = [curve.isel(shift_step=slice(None, None, every)) for curve in pair]
            one = pair[0]
            runs.append({"label": label, "seeds": one.sizes["seed"], "layers": one.sizes["layer"]})
            runs[-1]["steps"] = one.shift_step.values.tolist()
            parts += [
                curve[name].transpose("seed", "shift_step", "layer").values
                for curve in pair
                for name in ("shift_l2", "shift_cosine")
            ]
        self.runs = runs
        self.values = packed(parts)

    def still(self) -> tuple[figures.Drawn, str]:
        figure = figures.shift(self._curves, setting=float(self.start))
        return figure, describe(figure)
