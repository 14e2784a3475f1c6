"""Questions that the paper leaves open: what was assumed, and whether another answer changes a verdict.

The verdict under the other answer is that of the claim's own measure and rule on other runs; "as assumed" is
the same at the same scale, so that only the answer differs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from IPython.display import HTML

from lib import claims, drawing, experiments, ledger, measures, results
from lib.measures import Curves
from lib.records import from_canonical
from lib.specs import LP_NORMS


@dataclass(frozen=True)
class Answer:
    """Another answer to a question: the claim it may change, and how it is measured as assumed and otherwise."""

    question: str
    assumed: str
    other: str
    claim: str
    experiment: str
    as_assumed: Callable[[Curves], np.ndarray]
    otherwise: Callable[[Curves], np.ndarray]
    baseline: str | None = None  # the experiment that `as_assumed` is measured on, where it is not the same


def _named(claim: str, **labels: str) -> Callable[[Curves], np.ndarray]:
    """The claim's own measure on curves that go by other labels."""
    return lambda curves: claims.get(claim).measure({name: curves[label] for name, label in labels.items()})


def _variant(question: str, assumed: str, other: str) -> list[Answer]:
    found = []
    for claim in ("fig-4a", "fig-4b", "fig-4c"):
        found.append(
            Answer(
                question, assumed, other, claim, "variants",
                _named(claim, none="none, as assumed", batchnorm="batchnorm, as assumed"),
                _named(claim, none=f"none, {other}", batchnorm=f"batchnorm, {other}"),
            )
        )  # fmt: skip
    return found


def _lengths(claim: str, places: list[int]) -> Callable[[Curves], np.ndarray]:
    """A landscape claim's measure on some of the step lengths only."""
    return lambda curves: claims.get(claim).measure(
        {name: curves[f"{name}, as assumed"].isel(step_length=places) for name in ("none", "batchnorm")}
    )


def _early(claim: str) -> Callable[[Curves], np.ndarray]:
    """A landscape claim's measure on the first tenth of training."""

    def measure(curves: Curves) -> np.ndarray:
        tenth = -(-next(iter(curves.values())).sizes["landscape_step"] // 10)
        return claims.get(claim).measure({name: curve.isel(landscape_step=slice(tenth)) for name, curve in curves.items()})

    return measure


def _if_trained(label: str, measure: Callable[[Curves], np.ndarray]) -> Callable[[Curves], np.ndarray]:
    """NaN for seeds of network `label` that do not leave chance: a plateau is flat, and says nothing about smoothing."""
    return lambda curves: np.where(measures.late(curves[label], "accuracy").values > 2 * measures.CHANCE, measure(curves), np.nan)


def _linear(claim: str, size: str) -> Callable[[Curves], np.ndarray]:
    return _named(claim, none=f"none, {size}", batchnorm=f"batchnorm, {size}")


ANSWERS: tuple[Answer, ...] = (
    *_variant("Which VGG?", "VGG-A, 8 convolutions and 3 linear layers", "7 layers"),
    *_variant("Momentum?", "none: \"standard SGD\"", "momentum 0.9"),
    *_variant("Where does the norm stand?", "before the ReLU", "norm after the ReLU"),
    *_variant("Are gamma and beta trained?", "yes", "no gamma and beta"),
    *_variant("Has the head norms, too?", "yes", "no norm in the head"),
    *(
        Answer(
            "The average l_p norm of what?", "a unit over the batch", other, claim, "lp-formula",
            _named(claim, none="none", batchnorm="batchnorm", **{norm: f"{norm}, unit"}),
            _if_trained(f"{norm}, {formula}", _named(claim, none="none", batchnorm="batchnorm", **{norm: f"{norm}, {formula}"}))
            if claim.startswith("fig-12")
            else _named(claim, none="none", batchnorm="batchnorm", **{norm: f"{norm}, {formula}"}),
        )
        for formula, other in (("sample", "whole images"), ("sum", "a sum instead"))
        for norm in LP_NORMS
        for claim in (f"fig-5-vgg-{norm}-batchnorm", f"fig-12d-{norm}")
        if (norm, formula) != ("linf", "sum")  # the largest value is not a sum
    ),
    Answer(
        "Which beta?", "the largest over the step lengths", "that of the farthest", "fig-4c", "variants",
        _named("fig-4c", none="none, as assumed", batchnorm="batchnorm, as assumed"), _lengths("fig-4c", [-1]),
    ),
    *(
        Answer(
            "Which step lengths?", "all eight from 1/2 to 4", "the two ends", claim, "variants",
            _named(claim, none="none, as assumed", batchnorm="batchnorm, as assumed"), _lengths(claim, [0, -1]),
        )
        for claim in ("fig-4a", "fig-4b", "fig-4c")
    ),
    *(
        Answer("Which part of training?", "all of it", "the first tenth", claim, experiment, claims.get(claim).measure, _early(claim))
        for experiment, found in (
            ("fig-4", ("fig-4a", "fig-4b", "fig-4c")),
            ("fig-10", ("fig-10a", "fig-10b", "fig-10c")),
            ("fig-12", tuple(f"fig-12d-{norm}" for norm in LP_NORMS)),
            ("fig-13", tuple(f"fig-13d-{norm}" for norm in LP_NORMS)),
        )
        for claim in found
    ),
    *(
        Answer(
            "Figure 11: compared at the same what?", "multiple of the gradient, in units of its norm", "distance", f"fig-11-{size}", "fig-11",
            claims.get(f"fig-11-{size}").measure, measures.change_ratio_at_distance(f"none, {size}", f"batchnorm, {size}"),
        )
        for size in experiments.PREDICTIVENESS_STEP_SIZES
    ),
    Answer(
        "Which batch does the probe use?", "the step's own", "the next one", "fig-4b", "controls",
        _named("fig-4b", none="none", batchnorm="batchnorm"), measures.control_ratio("fresh_change", "none", "batchnorm"),
    ),
    Answer(
        "Which mode is BatchNorm in?", "batch statistics", "running statistics", "fig-4b", "controls",
        _named("fig-4b", none="none", batchnorm="batchnorm"), measures.control_ratio("evaluation_change", "none", "batchnorm"),
    ),
    *(
        Answer(
            "Is r_sigma a deviation or a variance?", "a deviation", "a variance", claim, "noise-variance",
            _named(claim, none="none, 0", batchnorm="batchnorm, 0", noisy="batchnorm, 1", **{"none + noise": "none, 1"}),
            _named(claim, none="none", batchnorm="batchnorm", noisy="noisy", **{"none + noise": "none + noise"}),
            baseline="noise-strength",
        )
        for claim in ("fig-2", "prose-noise-prevents-training")
    ),
    *(
        Answer(
            "In which arithmetic do networks train?", "float32", "bfloat16", claim, "bfloat16",
            _named(claim, **{"none, 0.1": "none, 0", "batchnorm, 0.1": "batchnorm, 0"}),
            _named(claim, **{"none, 0.1": "none", "batchnorm, 0.1": "batchnorm"}),
            baseline="noise-strength",
        )
        for claim in ("fig-1a", "fig-1b")
    ),
    *(
        Answer(
            "Which step size have the deep linear networks?", "1e-6", "1e-7", claim, "linear-step-size",
            _linear(claim, "1e-06"), _linear(claim, "1e-07"),
        )
        for claim in ("fig-10a", "fig-10b", "fig-10c")
    ),
    Answer(
        "Is l1's lead its scale?", "BatchNorm with gamma = 1", "gamma = 1.25", "prose-l1-better", "linear-gamma",
        _named("prose-l1-better", batchnorm="batchnorm", l1="l1"),
        _named("prose-l1-better", batchnorm="batchnorm, gamma", l1="l1"),
    ),
)  # fmt: skip


def evaluate(answer: Answer, scale: str, device: str = "cpu") -> dict[str, str]:
    """A row: question, assumption, other answer, claim, both values with verdicts, and whether the verdicts agree."""
    claim = claims.get(answer.claim)
    row = {"question": answer.question, "assumed": answer.assumed, "other answer": answer.other, "claim": claim.id}
    verdicts, data = [], set()
    for name, experiment, measure in (
        ("as assumed", answer.baseline or answer.experiment, answer.as_assumed),
        ("otherwise", answer.experiment, answer.otherwise),
    ):
        curves = results.whole(experiment, scale, device)
        data |= {curve.attrs["data"] for curve in curves.values()}
        if not curves or len(data) > 1:  # on other images more than the answer would differ
            return row | {"as assumed": "", "otherwise": "", "same verdict": "not measured yet"}
        row[name], verdict = _judged(claim, measure(curves), curves)
        verdicts.append(verdict)
    return row | {"same verdict": "yes" if verdicts[0] == verdicts[1] else "no"}


def _judged(claim: claims.Claim, values: np.ndarray, curves: Curves) -> tuple[str, str]:
    """A measured value with its verdict in words, and the verdict."""
    verdict = ledger.verdict(claim, values, from_canonical(next(iter(curves.values())).attrs["spec"]).network)
    return ": ".join(filter(None, (ledger.measured(claim, values), verdict))), verdict


def table(scale: str, device: str = "cpu", question: str | None = None) -> pd.DataFrame:
    """Every answer's row, or those to one question."""
    return pd.DataFrame([evaluate(answer, scale, device) for answer in ANSWERS if question in (None, answer.question)])


def show(scale: str, device: str = "cpu") -> HTML:
    """The table for a page, its claims linked to the ledger, and in how many rows of each question the verdict changes."""
    rows = table(scale, device)
    measured = rows[rows["same verdict"] != "not measured yet"]
    changed = (measured["same verdict"] == "no").groupby(measured["question"], sort=False).agg(["sum", "size"])
    counts = {question: f"{question} ({row['sum']} of {row['size']})" for question, row in changed.iterrows()}
    some, none = ([counts[question] for question, row in changed.iterrows() if (row["sum"] > 0) == wanted] for wanted in (True, False))
    text = f"Another answer changes the verdict in {changed['sum'].sum()} of {len(measured)} rows ({len(rows) - len(measured)} not measured yet). "
    text += f"Verdicts change: {', '.join(some) or 'nowhere'}. They do not: {', '.join(none) or 'nowhere'}."
    return drawing.table(rows, text, {claim: ledger.link(claim) for claim in rows["claim"]})


#: Claims about the landscape of VGG and its covariate shift, with and without BatchNorm.
_AT_WIDTHS = (
    "fig-4a", "fig-4b", "fig-4c", "prose-two-orders", "prose-early-a", "prose-early-b", "prose-gradient-size-fig-4", "fig-3-vgg-cosine", "fig-3-vgg-l2",
)  # fmt: skip


def widths(scale: str, device: str = "cpu") -> pd.DataFrame:
    """Claims judged by their own measure and rule at each measured width of VGG; nothing where one of them has no record."""
    curves = results.whole("width", scale, device)
    if not curves:
        return pd.DataFrame()
    rows = []
    for claim in map(claims.get, _AT_WIDTHS):
        row = {"claim": claim.id, "measured": claim.what}
        for width in measures.values_of(curves, "none"):
            values = _named(claim.id, none=f"none, {width:g}", batchnorm=f"batchnorm, {width:g}")(curves)
            row[f"width {width:g}"] = _judged(claim, values, curves)[0]
        rows.append(row)
    return pd.DataFrame(rows)
