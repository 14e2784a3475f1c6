"""A deep linear network of the paper's size that trains in the reader's browser."""

from __future__ import annotations

import json

import traitlets

from lib.errors import check_choice, check_number
from lib.widgets import Explorable, source


def _worker() -> str:
    """The worker's program as text: the network as a classic script, then what listens and trains."""
    return source("dln", shared=False).replace("export ", "") + source("dln-worker", shared=False)


class LinearTrainer(Explorable):
    """Trains the network of appendix A.1 without normalization and with `norm`, in float64, 10,000 steps in seconds.

    Seeds draw what they draw in `lib.data` and `lib.models.linear`, so that the numbers are those of `LinearSpec`. The
    arguments are where the sliders stand at first; norm is "batchnorm" or "l2", for the others need all samples.
    """

    _esm = f"const WORKER_SOURCE = {json.dumps(_worker())};\n" + source("trainer")
    words = (
        "Here a deep linear network is trained in the browser, which needs JavaScript; "
        "Figures 9 and 10 show such runs as recorded."
    )
    step_size = traitlets.Float(1e-6).tag(sync=True)
    layers = traitlets.Int(25).tag(sync=True)
    gamma = traitlets.Float(1.0).tag(sync=True)
    norm = traitlets.Unicode("batchnorm").tag(sync=True)
    seed = traitlets.Int(0).tag(sync=True)

    def __init__(self, **start: float | str) -> None:
        super().__init__(**start)
        check_choice("norm", self.norm, ("batchnorm", "l2"))
        check_number("layers", self.layers, 2, 40, integer=True)
        check_number("gamma", self.gamma, 0.5, 2)
        check_number("seed", self.seed, 0, 20, integer=True)
        sizes = [float(f"{digit}e{power}") for power in range(-9, -2) for digit in (1, 2, 3, 5)]
        check_choice("step_size", self.step_size, [size for size in sizes if size <= 1e-3])
