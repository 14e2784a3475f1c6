"""The ledger: every claim judged by its rule on the records.

The same rows feed the tests, the numbers in the prose, the captions, the page and the README. How they look is
`lib.pages`' business.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from lib.paper import claims, experiments, results
from lib.paper.claims import Claim, Thesis
from lib.paper.measures import Curves
from lib.records import file_name
from lib.specs import spec_of

VERDICTS = ("reproduced", "partly", "not reproduced", "not testable", "not measured yet")
#: Fewer seeds than this never count as reproduced.
ENOUGH_SEEDS = {"vgg": 3, "deep_linear": 5}


@dataclass(frozen=True)
class Row:
    """A claim with its verdict and what that hangs on.

    `value` is a mean over `seeds`, with the ends of its 95 % interval: factors for claims with `log`, None where there
    is no finite number. `records` are the files that it was computed from. Of the theory, `value` is a residual or a
    share of trials, and `right` says what is right instead.
    """

    claim: Claim
    verdict: str
    scale: str
    value: float | None = None
    low: float | None = None
    high: float | None = None
    seeds: int = 0
    data: str = ""
    records: tuple[str, ...] = ()
    right: str = ""

    @property
    def undecided(self) -> bool:
        """Whether the interval contains the claim's bound, so that the seeds tell neither."""
        return self.verdict != "reproduced" and self.claim.undecided(self.low, self.high)

    @property
    def words(self) -> str:
        """The verdict, with "undecided" where it is."""
        return self.verdict + (", undecided" if self.undecided else "")

    def number(self, form: str = ".3g") -> str:
        """Value and interval, as text; nothing where there is none."""
        if self.value is None:
            return ""
        ends = "" if self.low is None else f" [{self.low:{form}}, {self.high:{form}}]"
        return f"{self.value:{form}}{ends}"

    @property
    def text(self) -> str:
        """The verdict with its number, interval and rule, for captions and prose."""
        if self.value is None:
            return f"{self.verdict.capitalize()}."
        return f"{self.words.capitalize()}: {self.number()} ({self.claim.rule}; {seeds(self.seeds)})."

    def entry(self) -> dict[str, Any]:
        """The row for `python -m lib claims --json`."""
        claim = self.claim
        names = ("id", "where", "paper", "rule", "thesis", "phase", "figures", "counts", "by_construction", "after")
        own = {key: value for key, value in asdict(self).items() if key != "claim"}
        return {name: getattr(claim, name) for name in names} | own | {"undecided": self.undecided}


def seeds(count: int) -> str:
    """A number of seeds, in words."""
    return f"{count} seed{'s' * (count != 1)}"


# --- statistics ---------------------------------------------------------------------------


def interval(values: np.ndarray) -> tuple[float, float, float]:
    """Mean and 95 % t-interval over seeds; the ends are NaN for fewer than two values, or where one is not finite.

    >>> [round(number, 2) for number in interval([1.0, 2.0, 3.0])]
    [2.0, -0.48, 4.48]
    """
    values = np.asarray(values, float)
    mean = float(values.mean())
    if len(values) < 2 or not np.isfinite(values).all():
        return mean, math.nan, math.nan
    if np.ptp(values) == 0:
        return mean, mean, mean
    low, high = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    return mean, float(low), float(high)


def verdict(claim: Claim, values: np.ndarray, network: str) -> str:
    """reproduced, partly or not reproduced, by the claim's rule; too few seeds are at most partly.

    Where a seed has nothing to measure the claim is not testable: both networks diverged, or one that it is about does
    not train.
    """
    mean, low, high = interval(values)
    if not np.isfinite(mean):
        return "not testable"
    if claim.side == "within":
        near = abs(mean - claim.bound) <= claim.tolerance
        certain = near and claim.bound - low <= claim.tolerance and high - claim.bound <= claim.tolerance
    else:
        sign = 1 if claim.side == "above" else -1
        near = sign * (mean - claim.bound) > 0
        certain = sign * ((low if sign > 0 else high) - claim.bound) > 0
    if not near:
        return "not reproduced"
    return "reproduced" if certain and len(values) >= ENOUGH_SEEDS[network] else "partly"


def numbers(claim: Claim, values: np.ndarray) -> dict[str, float | None]:
    """`value`, `low` and `high` as the ledger has them: factors for claims with `log`, None where not finite."""
    shown = [10**number if claim.log else number for number in interval(values)]
    return dict(zip(("value", "low", "high"), (float(f"{x:.6g}") if math.isfinite(x) else None for x in shown)))


# --- rows ---------------------------------------------------------------------------------


def evaluate(claim: Claim, scale: str, device: str = "cpu", curves: Curves | None = None) -> Row:
    """The claim's row at `scale`, on its experiment's records or on the `curves` given in their place.

    "not measured yet" where a curve that it is about has no record.

        >>> evaluate(claims.get("fig-1a-speed"), "laptop").verdict
        'reproduced'
    """
    if claim.measure is None:
        return Row(claim, "not testable", scale)
    runs = experiments.specs(claim.experiment, scale)
    if curves is None:
        curves = results.load(claim.experiment, scale, device)
    common = results.common_seeds(curves, claim.labels or runs)
    if not common:
        return Row(claim, "not measured yet", scale)
    values = claim.measure(common)
    about = next(iter(common.values()))
    files = [
        file_name(spec)
        for label in runs
        if label in common
        for spec in runs[label]
        if getattr(spec, "seed", 0) in about.seed
    ]
    return Row(
        claim,
        verdict(claim, values, spec_of(about).network),
        scale,
        **numbers(claim, values),
        seeds=len(values),
        data=about.attrs["data"],
        records=tuple(files),
    )


def lines(found: Iterable[Claim], scale: str, device: str = "cpu") -> str:
    """A line a claim, "id: value [low, high], verdict" in two digits: what the regression tests compare."""
    shown = (evaluate(claim, scale, device) for claim in found)
    return "\n".join(f"{row.claim.id}: {row.number('.1e') or 'no finite value'}, {row.verdict}" for row in shown)


# --- totals and tables --------------------------------------------------------------------


def count(entries: Iterable[Row]) -> dict[str, int]:
    """How many rows have each verdict, all verdicts in a fixed order: those that count, one a sentence of the paper."""
    counted = [row for row in entries if row.claim.counted]
    return {verdict: sum(row.verdict == verdict for row in counted) for verdict in VERDICTS}


def theses(entries: list[Row]) -> pd.DataFrame:
    """`count` by thesis, and how many of these are undecided; columns and theses without any row are left out."""
    groups = {thesis: [row for row in entries if row.claim.thesis == thesis and row.claim.counted] for thesis in Thesis}
    table = pd.DataFrame(
        {
            thesis.value: count(group) | {"undecided": sum(row.undecided for row in group)}
            for thesis, group in groups.items()
            if group
        }
    ).T
    table = table.loc[:, table.any()].astype(str).replace("0", "")
    return table.rename_axis("the paper says").reset_index()


def table(entries: list[Row]) -> pd.DataFrame:
    """The ledger as a table of short text, for terminals."""
    return pd.DataFrame(
        {
            "claim": [row.claim.id for row in entries],
            "the paper": [row.claim.paper for row in entries],
            "verdict": [row.words for row in entries],
            "measured": [row.number() for row in entries],
            "where": [row.claim.where for row in entries],
            "seeds": [row.seeds or "" for row in entries],
            "scale": [row.scale for row in entries],
        }
    )


def summary(scale: str) -> str:
    """The README's table, in Markdown: the claims of most weight, at `scale`."""
    shown = ["| the paper | measured | verdict |", "|---|---|---|"]
    for claim in claims.foremost(1):
        row = evaluate(claim, scale)
        cells = (claim.paper, f"{claim.what}: {row.number() or 'no number'} ({seeds(row.seeds)})", row.words)
        shown.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(shown)
