"""Questions that the paper leaves open: what was assumed, and whether another answer changes a verdict.

The verdict under the other answer is that of the claim's own measure and rule on other runs; "as assumed" is
the same at the same scale, so that only the answer differs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd

from lib.paper import claims, experiments, ledger, measures, results
from lib.paper.labels import BATCHNORM, NOISE, NOISY, NONE, Label
from lib.paper.measures import Curves
from lib.specs import DESCRIPTIONS, LP_NORMS, spec_of


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


def _named(claim: str, labels: dict[Label, Label]) -> Callable[[Curves], np.ndarray]:
    """The claim's own measure on curves that go by other labels: those of the measure to those of the curves."""
    return lambda curves: claims.get(claim).measure({name: curves[label] for name, label in labels.items()})


def _pair(setting: float | str) -> dict[Label, Label]:
    """Networks with and without BatchNorm at one setting."""
    return {label: label._replace(setting=setting) for label in (NONE, BATCHNORM)}


def _variant(question: str, assumed: str, other: str) -> list[Answer]:
    found = []
    for claim in ("fig-4a", "fig-4b", "fig-4c"):
        found.append(
            Answer(
                question,
                assumed,
                other,
                claim,
                "variants",
                _named(claim, _pair("as assumed")),
                _named(claim, _pair(other)),
            )
        )
    return found


def _lengths(claim: str, places: list[int]) -> Callable[[Curves], np.ndarray]:
    """A landscape claim's measure on some of the step lengths only."""
    return lambda curves: claims.get(claim).measure(
        {name: curves[label].isel(step_length=places) for name, label in _pair("as assumed").items()}
    )


def _early(claim: str) -> Callable[[Curves], np.ndarray]:
    """A landscape claim's measure on the first tenth of training."""

    def measure(curves: Curves) -> np.ndarray:
        tenth = -(-next(iter(curves.values())).sizes["landscape_step"] // 10)
        return claims.get(claim).measure(
            {name: curve.isel(landscape_step=slice(tenth)) for name, curve in curves.items()}
        )

    return measure


def _if_trained(label: Label, measure: Callable[[Curves], np.ndarray]) -> Callable[[Curves], np.ndarray]:
    """NaN for seeds of network `label` that stay at chance: a plateau is flat, and says nothing about smoothing."""
    return lambda curves: np.where(
        measures.late(curves[label], "accuracy").values > 2 * measures.CHANCE, measure(curves), np.nan
    )


_SAME = {label: label for label in (NONE, BATCHNORM)}
ANSWERS: tuple[Answer, ...] = (
    *_variant("Which VGG?", "VGG-A, 8 convolutions and 3 linear layers", "7 layers"),
    *_variant("Momentum?", 'none: "standard SGD"', "momentum 0.9"),
    *_variant("Where does the norm stand?", "before the ReLU", "norm after the ReLU"),
    *_variant("Are gamma and beta trained?", "yes", "no gamma and beta"),
    *_variant("Has the head norms, too?", "yes", "no norm in the head"),
    *(
        Answer(
            "The average l_p norm of what?",
            "a unit over the batch",
            other,
            claim,
            "lp-formula",
            _named(claim, {**_SAME, Label(norm): Label(norm, "unit")}),
            _if_trained(Label(norm, formula), _named(claim, {**_SAME, Label(norm): Label(norm, formula)}))
            if claim.startswith("fig-12")
            else _named(claim, {**_SAME, Label(norm): Label(norm, formula)}),
        )
        for formula, other in (("sample", "whole images"), ("sum", "a sum instead"))
        for norm in LP_NORMS
        for claim in (f"fig-5-vgg-{norm}-batchnorm", f"fig-12d-{norm}")
        if (norm, formula) != ("linf", "sum")  # the largest value is not a sum
    ),
    Answer(
        "Which beta?",
        "the largest over the step lengths",
        "that of the farthest",
        "fig-4c",
        "variants",
        _named("fig-4c", _pair("as assumed")),
        _lengths("fig-4c", [-1]),
    ),
    *(
        Answer(
            "Which step lengths?",
            "all eight from 1/2 to 4",
            "the two ends",
            claim,
            "variants",
            _named(claim, _pair("as assumed")),
            _lengths(claim, [0, -1]),
        )
        for claim in ("fig-4a", "fig-4b", "fig-4c")
    ),
    *(
        Answer(
            "Which part of training?",
            "all of it",
            "the first tenth",
            claim,
            experiment,
            claims.get(claim).measure,
            _early(claim),
        )
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
            "Figure 11: compared at the same what?",
            "multiple of the gradient, in units of its norm",
            "distance",
            f"fig-11-{size}",
            "fig-11",
            claims.get(f"fig-11-{size}").measure,
            partial(measures.change_ratio_at_distance, one=Label("none", size), other=Label("batchnorm", size)),
        )
        for size in experiments.PREDICTIVENESS_STEP_SIZES
    ),
    Answer(
        "Which batch does the probe use?",
        "the step's own",
        "the next one",
        "fig-4b",
        "controls",
        claims.get("fig-4b").measure,
        partial(measures.control_ratio, name="fresh_change", one=NONE, other=BATCHNORM),
    ),
    Answer(
        "Which mode is BatchNorm in?",
        "batch statistics",
        "running statistics",
        "fig-4b",
        "controls",
        claims.get("fig-4b").measure,
        partial(measures.control_ratio, name="evaluation_change", one=NONE, other=BATCHNORM),
    ),
    *(
        Answer(
            "Is r_sigma a deviation or a variance?",
            "a deviation",
            "a variance",
            claim,
            "noise-variance",
            _named(claim, {**_pair(0), NOISY: Label("batchnorm", 1), NOISE: Label("none", 1)}),
            claims.get(claim).measure,
            baseline="noise-strength",
        )
        for claim in ("fig-2", "prose-noise-prevents-training")
    ),
    *(
        Answer(
            "In which arithmetic do networks train?",
            "float32",
            "bfloat16",
            claim,
            "bfloat16",
            _named(claim, {Label(norm, 0.1): Label(norm, 0) for norm in ("none", "batchnorm")}),
            _named(claim, {Label(norm, 0.1): Label(norm) for norm in ("none", "batchnorm")}),
            baseline="noise-strength",
        )
        for claim in ("fig-1a", "fig-1b")
    ),
    *(
        Answer(
            "Which step size have the deep linear networks?",
            "1e-6",
            "1e-7",
            claim,
            "linear-step-size",
            _named(claim, _pair(1e-6)),
            _named(claim, _pair(1e-7)),
        )
        for claim in ("fig-10a", "fig-10b", "fig-10c")
    ),
    *(
        Answer(
            question,
            assumed,
            other,
            claim,
            "linear-variants",
            _named(claim, _pair("as assumed")),
            _named(claim, _pair(other)),
        )
        for question, assumed, other in (
            ("Which of Glorot's weights have the deep linear networks?", "uniform", "Glorot normal"),
            ("Are gamma and beta trained in them?", "no", "gamma and beta"),
            ("Does a norm follow their last layer?", "no", "a last norm"),
        )
        for claim in ("fig-5-linear-batchnorm", "fig-10a", "fig-10b", "fig-10c")
    ),
    Answer(
        "Is l1's lead its scale?",
        "BatchNorm with gamma = 1",
        "gamma = 1.25",
        "prose-l1-better",
        "linear-gamma",
        claims.get("prose-l1-better").measure,
        _named("prose-l1-better", {BATCHNORM: Label("batchnorm", "gamma"), Label("l1"): Label("l1")}),
    ),
)


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
    verdict = ledger.verdict(claim, values, spec_of(next(iter(curves.values()))).network)
    row = ledger.Row(claim, verdict, "", **ledger.numbers(claim, values))
    return ": ".join(filter(None, (row.number(), verdict))), verdict


def table(scale: str, device: str = "cpu", question: str | None = None) -> pd.DataFrame:
    """Every answer's row, or those to one question."""
    return pd.DataFrame([evaluate(answer, scale, device) for answer in ANSWERS if question in (None, answer.question)])


def summary(rows: pd.DataFrame) -> str:
    """In how many of the rows of `table`, question by question, another answer changes the verdict."""
    measured = rows[rows["same verdict"] != "not measured yet"]
    changed = (measured["same verdict"] == "no").groupby(measured["question"], sort=False).agg(["sum", "size"])
    counts = {question: f"{question} ({row['sum']} of {row['size']})" for question, row in changed.iterrows()}
    some, none = (
        [counts[question] for question, row in changed.iterrows() if (row["sum"] > 0) == wanted]
        for wanted in (True, False)
    )
    text = f"Another answer changes the verdict in {changed['sum'].sum()} of {len(measured)} rows"
    text += f" ({len(rows) - len(measured)} not measured yet). "
    return text + f"Verdicts change: {', '.join(some) or 'nowhere'}. They do not: {', '.join(none) or 'nowhere'}."


def across(experiment: str, scale: str, device: str = "cpu", also: Sequence[str] = ()) -> pd.DataFrame:
    """Claims of Figures 3 and 4, and `also` others, by their own measure and rule at each setting of an experiment.

    A column a setting, which its VGGs with and without BatchNorm differ in. Empty where one of them has no record.
    """
    curves = results.whole(experiment, scale, device)
    settings = [label.setting for label in curves if label.norm == "none"]
    shown = [
        claim
        for claim in claims.CLAIMS
        if claim.id in also
        or (claim.experiment in ("fig-4", "fig-3-vgg") and claim.figures[0] == claim.experiment and claim.counted)
    ]
    rows = []
    for claim in shown if settings else ():
        row = {"claim": claim.id, "measured": claim.what}
        for setting in settings:
            name = DESCRIPTIONS[setting] if isinstance(setting, str) else f"{experiment} {setting:g}"
            here = {label: Label(label.norm, setting) for label in claim.labels}
            row[name] = _judged(claim, _named(claim.id, here)(curves), curves)[0]
        rows.append(row)
    return pd.DataFrame(rows)
