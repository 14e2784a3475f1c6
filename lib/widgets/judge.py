"""The judge's slider: the ledger with its bounds, seeds and readings in the reader's hands."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any

import numpy as np
import traitlets

from lib.errors import UsageError
from lib.figures.style import Drawn, Panel, Series, draw
from lib.figures.words import letters
from lib.paper import experiments, measures, results, sensitivity
from lib.paper.labels import Label
from lib.paper.ledger import ENOUGH_SEEDS, Row
from lib.specs import spec_of
from lib.widgets import Explorable, source


def judged(row: Row, device: str = "cpu") -> dict[str, Any] | None:
    """What the page needs to judge `row` itself; None where there is nothing that it could change.

    Keys: id, text, what, thesis, phase, counted, side, bound, tolerance, log, enough (seeds), verdict, and readings: a
    list of a name, seeds and a value each (None where not finite), of which the first is the ledger's own and the
    others are those of `lib.paper.sensitivity` and, for ratios over the probed landscape, the phases of training.
    Values, bound and tolerance are in log10 where `log`.
    """
    claim = row.claim
    if claim.measure is None or row.value is None:
        return None
    curves = results.common_seeds(
        results.load(claim.experiment, row.scale, device),
        claim.labels or experiments.specs(claim.experiment, row.scale),
    )
    if not curves:
        return None
    about = next(iter(curves.values()))
    readings = [_reading("as the ledger reads it", claim.measure(curves), about.seed.values)]
    if isinstance(claim.measure, partial) and claim.measure.func in (measures.log_ratio, measures.log_ratio_in):
        given = claim.measure.keywords
        for phase in ("plateau", "falling", "settled"):
            values = measures.log_ratio_in(curves, phase, given["quantity"], given["one"], given["other"])
            readings.append(_reading(f"only where training is in the phase {phase}", values, about.seed.values))
    for answer in sensitivity.ANSWERS:
        if answer.claim == claim.id:
            others = results.whole(answer.experiment, row.scale, device)
            # On other images more than the answer would differ.
            if others and all(curve.attrs["data"] == about.attrs["data"] for curve in others.values()):
                seeds = next(iter(others.values())).seed.values
                name = f"{answer.question}: {answer.other} instead of {answer.assumed}"
                readings.append(_reading(name, answer.otherwise(others), seeds))
    return {
        "id": claim.id,
        "text": letters(claim.paper),
        "what": letters(claim.what),
        "thesis": letters(claim.thesis),
        "phase": claim.phase or "all of training",
        "counted": claim.counted,
        "side": claim.side,
        "bound": claim.bound,
        "tolerance": claim.tolerance,
        "log": claim.log,
        "enough": ENOUGH_SEEDS[spec_of(about).network],
        "verdict": row.verdict,
        "readings": readings,
    }


def _reading(name: str, values: np.ndarray, seeds: np.ndarray) -> dict[str, Any]:
    values = [float(value) if np.isfinite(value) else None for value in values]
    return {"name": letters(name), "seeds": [int(seed) for seed in seeds], "values": values}


class Judge(Explorable):
    """Moves a claim's bound, drops seeds, changes the interval's level or takes another reading; counts verdicts anew.

    `rows` is a list of what `judged` returns; `judge` makes the widget from the ledger's rows.
    """

    _esm = source("rules", shared=False).replace("export ", "") + source("judge")
    rows = traitlets.List().tag(sync=True)
    start = traitlets.Unicode("fig-4c").tag(sync=True)  # where the rows have it: an interval not far from its bound
    words = "What a claim's seeds measured, and the bound that its rule compares them with."

    def still(self) -> tuple[Drawn, str]:
        row = next((row for row in self.rows if row["id"] == self.start), self.rows[0])
        reading = row["readings"][0]
        values = np.array([reading["values"]], float)
        series = Series(Label("seeds"), np.array(reading["seeds"]), values, points=True)
        what = f"{row['what']}, in powers of ten" if row["log"] else row["what"]
        panel = Panel(row["text"], "seed", "value", what, [series], level=row["bound"], level_name="the bound")
        said = ", ".join(f"{value:.3g}" for value in values[0])
        return draw([panel], 1), f"{row['text']} The seeds measured {said}; the bound is {row['bound']:.3g}."


def judge(rows: Iterable[Row], device: str = "cpu") -> Judge:
    """The widget over those rows of `lib.paper.ledger` that have a value for each seed.

    The theory's rows, and what is not measured, have none. Raises `UsageError` where no row has one.
    """
    found = [entry for row in rows if (entry := judged(row, device)) is not None]
    if not found:
        raise UsageError("No row has a value for each seed; give rows of a scale that has records.")
    return Judge(rows=found)
