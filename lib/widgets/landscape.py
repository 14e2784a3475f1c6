"""The step-size explorer: the landscape of Figures 4 and 10 for measured step sizes and any range of lengths."""

from __future__ import annotations

import warnings

import numpy as np
import traitlets
import xarray as xr

from lib import figures
from lib.errors import Failure, UsageError, check_number
from lib.figures.words import describe
from lib.paper import measures, results
from lib.paper.labels import Label
from lib.probes import effective_smoothness
from lib.runs import training
from lib.specs import ImageSpec, LinearSpec, spec_of
from lib.widgets import Explorable, packed, source

NORMS = ("none", "batchnorm")


def log_ratios(pair: dict[str, xr.Dataset]) -> np.ndarray:
    """log10 of none over BatchNorm for every range of step lengths, as the claims of Figures 4 and 10 measure it.

    [quantity, seed, first length, last length]: loss band, gradient change and effective smoothness,
    median over all probed steps; NaN where the last length comes before the first.
    """
    order = ("seed", "landscape_step", "step_length")
    loss, change, beta = [], [], []
    for norm in NORMS:
        curve = pair[norm]
        loss.append(curve.landscape_loss.transpose(*order))
        change.append(curve.grad_change.transpose(*order))
        step_size = spec_of(curve).step_size
        beta.append(
            effective_smoothness(curve.grad_change, curve.step_length, step_size, curve.grad_norm).transpose(*order)
        )
    seeds, _, lengths = loss[0].shape
    found = np.full((3, seeds, lengths, lengths), np.nan)

    def widest(values: xr.DataArray, first: int) -> np.ndarray:
        return np.maximum.accumulate(values.values[..., first:], -1)

    for first in range(lengths):
        wide = [[widest(part, first) for part in parts] for parts in (loss, change, beta)]
        wide[0] = [high + widest(-part, first) for high, part in zip(wide[0], loss)]
        for quantity, (one, other) in enumerate(wide):
            ratio = measures.log_of_ratio(xr.DataArray(one), xr.DataArray(other)).values
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", RuntimeWarning)  # where both have diverged at all steps
                found[quantity, :, first, first:] = np.nanmedian(ratio, 1)
    return found


class LandscapeExplorer(Explorable):
    """Sliders over the measured step sizes and step lengths of a "norm, step size" experiment.

    `curves` maps Label("none", SIZE) and Label("batchnorm", SIZE) to records that were probed at the same
    lengths; about `points` of their probes are sent to the page, and the ratios of all. With a kernel, `measure`
    (the button) trains deep linear networks at another step size and adds it to the stops.
    """

    _esm = source("landscape")
    words = "How much loss and gradient vary along the gradient while training, and the effective smoothness there."
    runs = traitlets.List().tag(sync=True)
    step_lengths = traitlets.List().tag(sync=True)
    start = traitlets.Unicode().tag(sync=True)
    caption = traitlets.Unicode().tag(sync=True)
    measurable = traitlets.Bool().tag(sync=True)
    values = traitlets.Bytes().tag(sync=True)

    def __init__(self, curves: dict[Label, xr.Dataset], start: str, points: int = 50) -> None:
        super().__init__()
        self._points = points
        self._pairs: dict[str, dict[str, xr.Dataset]] = {}
        for label, curve in curves.items():
            self._pairs.setdefault(f"{label.setting:g}", {})[label.norm] = curve
        if start not in self._pairs:
            raise UsageError(f"start is {start!r}, but must be one of: {', '.join(self._pairs)}.")
        self.step_lengths = [float(f"{x:.6g}") for x in next(iter(curves.values())).step_length.values]
        self.start = start
        self.caption = results.provenance(curves)
        self.measurable = isinstance(spec_of(next(iter(curves.values()))), LinearSpec)
        self.on_msg(self._received)
        self._send_pairs()

    def still(self) -> tuple[figures.Drawn, str]:
        figure = figures.landscape({Label(norm): curve for norm, curve in self._pairs[self.start].items()})
        return figure, describe(figure)

    def _send_pairs(self) -> None:
        runs, parts = [], []
        for size, pair in sorted(self._pairs.items(), key=lambda item: float(item[0])):
            spec = spec_of(pair["none"])
            every = max(1, pair["none"].sizes["landscape_step"] // self._points)
            thin = {norm: pair[norm].isel(landscape_step=slice(None, None, every)) for norm in NORMS}
            runs.append(
                {
                    "label": size,
                    "step_size": spec.step_size,
                    "title": "VGG" if isinstance(spec, ImageSpec) else "Deep linear networks",
                    "seeds": thin["none"].sizes["seed"],
                    "steps": thin["none"].landscape_step.values.tolist(),
                }
            )
            for norm in NORMS:
                for name in ("landscape_loss", "grad_change", "grad_norm"):
                    dims = ["seed", "landscape_step", "step_length"][: 2 if name == "grad_norm" else 3]
                    parts.append(thin[norm][name].transpose(*dims).values)
            parts.append(log_ratios(pair))
        self.runs = runs
        self.values = packed(parts)

    def measure(self, step_size: float) -> None:
        """Train deep linear networks like those shown at another `step_size`, in seconds, and add them to the stops."""
        check_number("step_size", step_size, 0, 1, low_open=True)
        label = f"{step_size:g}"
        pair = self._pairs[self.start]
        like = spec_of(pair["none"])
        if not isinstance(like, LinearSpec):
            raise UsageError("measure trains deep linear networks, but this widget shows VGG; use the other one.")
        spec = like.but(step_size=step_size, shift_every=0, histogram_every=0)
        made = {norm: spec.but(norm=norm) for norm in NORMS}
        self._pairs[label] = {norm: training.run(one).assign_attrs(spec=one.canonical()) for norm, one in made.items()}
        self.start = label
        self._send_pairs()

    def _received(self, _: object, message: dict, __: object) -> None:
        if message["type"] == "hello":
            self.send({"type": "here"})
            return
        try:
            self.measure(message["step_size"])
            self.send({"type": "done", "text": f"measured {message['step_size']:g}"})
        except (UsageError, Failure) as error:
            self.send({"type": "done", "text": str(error)})
