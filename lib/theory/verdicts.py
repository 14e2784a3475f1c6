"""The theory's verdicts: every statement judged on random layers, and as claims for the ledger."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace
from functools import lru_cache

from lib.errors import check_choice, check_number
from lib.paper import claims, experiments, ledger, results
from lib.paper.claims import Claim, Thesis
from lib.paper.ledger import Row
from lib.theory.evidence import RULE, Result, judge
from lib.theory.samples import Numbers, all_landscapes, all_layers
from lib.theory.statements import STATEMENTS

#: Random trials of each statement, by scale.
TRIALS = {"smoke": 50, "laptop": 1000, "paper": 1000}
# The closed form of BatchNorm's optima and the plain random numbers know no eps.
_SOURCES = {
    "layers": lambda trials, seed, with_eps: all_layers(trials, seed, with_eps),
    "minima": lambda trials, seed, with_eps: all_landscapes(trials, seed, with_eps, identity=False),
    "optima": lambda trials, seed, with_eps: [] if with_eps else all_landscapes(trials, seed, False, identity=True),
    "numbers": lambda trials, seed, with_eps: [] if with_eps else [Numbers(trials, seed)],
}
# Statements whose hypotheses only a part of the random cases meets get as many more of these.
_OVERSAMPLED = {"layers": 4.0, "minima": 2.0, "optima": 1.0, "numbers": 1.0}


@lru_cache(maxsize=4)
def evaluate(trials: int = 1000, seed: int = 0) -> tuple[Result, ...]:
    """Judge every statement on at least `trials` random cases that meet its hypotheses, and again at eps > 0.

    A verdict at eps = 0 is the paper's; the corrected version's worst residual covers eps > 0 as well.
    """
    check_number("trials", trials, 16, 1_000_000, integer=True)
    check_number("seed", seed, 0, 1_000_000, integer=True)
    cases = {
        (source, with_eps): draw(math.ceil(trials * _OVERSAMPLED[source]), seed, with_eps)
        for source, draw in _SOURCES.items()
        for with_eps in (False, True)
    }
    return tuple(_result(statement, cases) for statement in STATEMENTS)


def _result(statement, cases) -> Result:
    if statement.check is None:
        return judge(statement, [])
    exact, regularized = (
        judge(statement, [statement.check(case) for case in cases[statement.source, with_eps]])
        for with_eps in (False, True)
    )
    worst = exact.worst_corrected
    if statement.corrected and regularized.worst_corrected is not None:
        worst = max(worst, regularized.worst_corrected)
    return replace(exact, worst_corrected=worst, with_eps=regularized.as_printed)


def result(results: Iterable[Result], id: str) -> Result:
    """The result for the statement called `id`."""
    return next(found for found in results if found.statement.id == id)


#: Statements that hold, or fail, by what they say: a sum of squares is not negative.
_BY_CONSTRUCTION = ("say-additive",)


def _row(found: Result) -> Row:
    statement = found.statement
    # Equations are the steps of proofs whose theorems count; remarks of our own are none of the paper's.
    step = bool(statement.numbers)
    claim = Claim(
        statement.id,
        statement.where,
        statement.paper,
        "largest relative residual" if found.as_printed == "true" else "share of the trials that it fails on",
        thesis=Thesis.THEORY,
        figures=("proofs-equations" if step else "theory-verdicts",),
        counts=not step and statement.where != "our remark",
        by_construction=statement.id in _BY_CONSTRUCTION,
        decided_by=RULE,
    )
    return Row(
        claim,
        found.verdict,
        "exact",
        value=found.worst if found.as_printed == "true" else (found.share if found.trials else None),
        data="random layers",
        right=" ".join(part for part in (statement.condition, statement.corrected) if part),
    )


def theory_rows(trials: int = 1000) -> list[Row]:
    """The verdicts as rows of the ledger.

    `value` is the worst relative residual where a statement holds, else the share of trials it fails on. Equations that
    hold are one row together, `eq-hold`, whose value is the worst of their residuals.
    """
    results = evaluate(trials)
    holding = [found for found in results if found.statement.numbers and found.as_printed == "true"]
    rows = [_row(found) for found in results if found not in holding]
    numbers = sorted(number for found in holding for number in found.statement.numbers)
    worst = _row(max(holding, key=lambda found: found.worst))
    says = f"{len(numbers)} equations: " + ", ".join(map(str, numbers))
    together = replace(worst.claim, id="eq-hold", where="appendix C", paper=says)
    return [*rows, replace(worst, claim=together, right="")]


def ledger_rows(scale: str, device: str = "cpu") -> list[Row]:
    """The whole ledger: every claim's row at `scale`, the experiments' first, then the theory's.

    Raises `MissingRecords` for records that a build makes and that are not here.
    """
    rows, missing = _measured(scale, device)
    for error in missing.values():
        raise error
    return [*rows, *theory_rows(TRIALS[scale])]


def rows_so_far(scale: str, device: str = "cpu") -> tuple[list[Row], list[str]]:
    """The ledger before a build has made all records, and the names of the experiments that lack some.

    Their claims are not measured yet.
    """
    rows, missing = _measured(scale, device)
    return [*rows, *theory_rows(TRIALS[scale])], sorted(missing)


def _measured(scale: str, device: str) -> tuple[list[Row], dict[str, results.MissingRecords]]:
    check_choice("scale", scale, experiments.SCALES)
    rows, missing = [], {}
    for claim in claims.CLAIMS:
        try:
            rows.append(ledger.evaluate(claim, scale, device))
        except results.MissingRecords as error:
            missing[claim.experiment] = error
            rows.append(Row(claim, "not measured yet", scale))
    return rows, missing


def select(results: Iterable[Result], *prefixes: str) -> list[Result]:
    """The results whose statements' ids start with one of `prefixes`, in the paper's order."""
    return [found for found in results if found.statement.id.startswith(prefixes)]


def verdict_list(results: Iterable[Result]) -> str:
    """A Markdown list: what each statement says, the verdict with its evidence, and what is right instead."""
    lines = []
    for found in results:
        statement = found.statement
        verdict = {"true": "true", None: "not testable"}.get(found.as_printed, f"**{found.as_printed}**")
        if found.trials:
            verdict += f" (fails on {found.violations} of {found.trials}"
            verdict += f"; at $\\epsilon>0$: {found.with_eps})" if found.with_eps else ")"
        parts = [f"**{statement.where}**: {statement.paper}. *As printed:* {verdict}."]
        if statement.condition and found.as_printed != "true":
            parts.append(f"*Right if:* {statement.condition}.")
        if statement.corrected:
            parts.append(f"*Right version:* {statement.corrected}.")
        if found.worst_corrected is not None and found.trials:
            parts.append(f"Its worst residual is {_size(found.worst_corrected)}.")
        lines.append("- " + " ".join([*parts, statement.note]).strip())
    return "\n".join(lines)


def _size(residual: float) -> str:
    """A residual's size, to one digit."""
    return f"{residual:.0e}" if residual else "0"


def verdict_table(results: Iterable[Result]) -> str:
    """A Markdown table of statements that hold: their trials and worst residuals."""
    lines = ["| equation | says | trials | worst residual | at eps > 0 |", "|---|---|---|---|---|"]
    for found in results:
        statement, where = found.statement, found.statement.where.removeprefix("appendix C, ")
        cells = (where, statement.paper, f"{found.trials}", _size(found.worst), found.with_eps or "")
        lines.append("| " + " | ".join(cell.replace("\\|", "\\Vert ").replace("|", "\\vert ") for cell in cells) + " |")
    return "\n".join(lines)
