"""The ledger: every claim judged by its rule on the records, and shown.

The same evaluation feeds the tests, the numbers in the prose, the captions, the page and the README.
"""

from __future__ import annotations

import functools
import html
import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from IPython.display import HTML
from scipy import stats

from lib import claims, experiments, results
from lib.data import DESCRIPTIONS
from lib.errors import check_choice
from lib.records import file_name, from_canonical
from lib.theory.verdicts import TRIALS, theory_claims

VERDICTS = ("reproduced", "partly", "not reproduced", "not testable", "not measured yet")
#: Fewer seeds than this never count as reproduced.
ENOUGH_SEEDS = {"vgg": 3, "deep_linear": 5}


def interval(values: np.ndarray) -> tuple[float, float, float]:
    """Mean and 95 % t-interval over seeds; the ends are NaN for fewer than two values."""
    values = np.asarray(values, float)
    mean = float(values.mean())
    if len(values) < 2 or not np.isfinite(values).all():
        return mean, math.nan, math.nan
    half = float(stats.t.ppf(0.975, len(values) - 1) * stats.sem(values))
    return mean, mean - half, mean + half


def verdict(claim: claims.Claim, values: np.ndarray, network: str) -> str:
    """reproduced, partly or not reproduced, by the claim's rule; too few seeds are at most partly.

    Where a seed has nothing to measure the claim is not testable: both networks diverged, or one that it is about does not train.
    """
    mean, low, high = interval(values)
    if not np.isfinite(mean):
        return "not testable"
    if claim.side == "within":
        near = abs(mean - claim.bound) <= claims.WITHIN
        certain = near and claim.bound - low <= claims.WITHIN and high - claim.bound <= claims.WITHIN
    else:
        sign = 1 if claim.side == "above" else -1
        near = sign * (mean - claim.bound) > 0
        certain = sign * ((low if sign > 0 else high) - claim.bound) > 0
    if not near:
        return "not reproduced"
    return "reproduced" if certain and len(values) >= ENOUGH_SEEDS[network] else "partly"


_UNMEASURED = {"value": None, "low": None, "high": None, "seeds": 0, "scale": None, "data": None, "records": []}


class _Watched(dict[str, xr.Dataset]):
    """Curves that note which of them a measure looks at."""

    def __init__(self, curves: dict[str, xr.Dataset]) -> None:
        super().__init__(curves)
        self.used: set[str] = set()

    def __getitem__(self, label: str) -> xr.Dataset:
        self.used.add(label)
        return super().__getitem__(label)


def evaluate(claim: claims.Claim, scale: str, device: str = "cpu") -> dict[str, Any]:
    """The claim's row of the ledger at `scale`.

    Keys: id, where, paper, rule, value, low, high, seeds, scale, data, records, verdict.
    Values of claims with `log` are factors; `records` are those that the number hangs on.
    """
    row: dict[str, Any] = {"id": claim.id, "where": claim.where, "paper": claim.paper, "rule": claim.rule}
    if claim.measure is None:
        return row | _UNMEASURED | {"scale": scale, "verdict": "not testable"}
    runs = experiments.specs(claim.experiment, scale)
    wanted = list(claim.curves or runs)
    curves = results.load(claim.experiment, scale, device)
    common = results.common_seeds(curves, wanted)
    if not common:
        return row | _UNMEASURED | {"scale": scale, "verdict": "not measured yet"}
    watched = _Watched(common)
    values = claim.measure(watched)
    about = common[wanted[0]]
    network = from_canonical(about.attrs["spec"]).network
    files = [file_name(spec) for label in wanted if label in watched.used for spec in runs[label] if getattr(spec, "seed", 0) in about.seed]
    return row | {
        **numbers(claim, values),
        "seeds": len(values),
        "scale": scale,
        "data": about.attrs["data"],
        "records": files,
        "verdict": verdict(claim, values, network),
    }


def numbers(claim: claims.Claim, values: np.ndarray) -> dict[str, float | None]:
    """`value`, `low` and `high` as the ledger has them: factors for claims with `log`, None where not finite."""
    shown = [10**number if claim.log else number for number in interval(values)]
    return dict(zip(("value", "low", "high"), (float(f"{x:.6g}") if math.isfinite(x) else None for x in shown)))


def measured(claim: claims.Claim, values: np.ndarray) -> str:
    """Value and interval of a claim's measure, as text."""
    return _measured(numbers(claim, values))


def _measured(row: dict[str, Any], form: str = ".3g") -> str:
    """A row's value and interval, as text."""
    if row["value"] is None:
        return ""
    ends = "" if row["low"] is None else f" [{row['low']:{form}}, {row['high']:{form}}]"
    return f"{row['value']:{form}}{ends}"


def undecided(row: dict[str, Any]) -> bool:
    """Whether the interval of an empirical row contains its claim's bound, so that the seeds tell neither."""
    claim = _claims().get(row["id"])
    return claim is not None and row["verdict"] != "reproduced" and claim.undecided(row["low"], row["high"])


@functools.cache
def _claims() -> dict[str, claims.Claim]:
    return {claim.id: claim for claim in claims.CLAIMS}


def _verdict(row: dict[str, Any]) -> str:
    return row["verdict"] + (", undecided" if undecided(row) else "")


def _seeds(row: dict[str, Any]) -> str:
    return f"{row['seeds']} seed{'s' * (row['seeds'] > 1)}"


def sentence(row: dict[str, Any]) -> str:
    """A ledger row's verdict with its number, interval and rule, for captions and prose."""
    if row["value"] is None:
        return f"{row['verdict'].capitalize()}."
    return f"{_verdict(row).capitalize()}: {_measured(row)} ({row['rule']}; {_seeds(row)})."


def outcome(beginnings: Iterable[str], scale: str, device: str = "cpu") -> HTML:
    """What came out of the claims whose ids start so, a line a verdict; each number leads to its row."""
    found = [evaluate(claim, scale, device) for claim in claims.CLAIMS if claim.id.startswith(tuple(beginnings))]
    items = ""
    for verdict in VERDICTS:
        group = [row for row in found if row["verdict"] == verdict]
        texts = []
        for row in group:
            number = (_measured(row) or row["id"]) + (", undecided" if undecided(row) else "")
            texts.append(f'<li>{html.escape(row["paper"])} <a href="{link(row["id"])}">{number}</a></li>')
        if texts:
            items += f"<li><strong>{verdict.capitalize()}</strong> ({len(texts)})<ul>{''.join(texts)}</ul></li>"
    return HTML(f'<ul class="bn-outcome">{items}</ul>')


def lines(ids: Iterable[str], scale: str, device: str = "cpu") -> str:
    """A line a claim, "id: value [low, high], verdict" in two digits: what the regression tests compare."""
    found = []
    for id in ids:
        row = evaluate(claims.get(id), scale, device)
        found.append(f"{id}: {_measured(row, '.1e') or 'no finite value'}, {row['verdict']}")
    return "\n".join(found)


def count(entries: list[dict[str, Any]]) -> dict[str, int]:
    """How many rows of the ledger have each verdict, all verdicts in a fixed order."""
    return {verdict: sum(row["verdict"] == verdict for row in entries) for verdict in VERDICTS}


#: The paper's theses, and the beginnings of the ids of what bears on each; the first that fits is a claim's own.
THEMES = {
    "With BatchNorm networks train faster, and at more step sizes and initial weights": (
        "fig-1a", "fig-1b", "fig-5-linear-batchnorm", "prose-larger-steps", "prose-largest-step", "prose-step", "prose-init",
        "prose-diverges",
    ),
    "Accuracies": ("acc-", "prose-fits"),
    "Stable distributions are not the reason": ("fig-1c", "fig-2", "fig-8", "prose-nois"),
    "BatchNorm does not reduce internal covariate shift": ("fig-3", "prose-shift", "prose-artifact"),
    "It makes the landscape smoother: VGG and a ResNet": (
        "fig-4", "fig-11", "prose-two-orders", "prose-early", "prose-random", "prose-arch", "prose-gradient-size-fig-4",
    ),
    "It makes the landscape smoother: deep linear networks": ("fig-10", "prose-gradient-size-fig-10"),
    "Other normalizations train as well": ("fig-5", "fig-12a", "fig-13a", "prose-l1-"),
    "Other normalizations make the landscape smoother, too": ("fig-12", "fig-13", "prose-as-smooth"),
    "Other normalizations do not stabilize distributions": ("fig-6", "prose-lp"),
    "What the theorems need holds in training": ("prose-reduction", "prose-sigma", "prose-inner", "prose-forms", "prose-condition"),
    "Other remarks": ("fig-7", "fig-9", "prose-flat"),
    "Theorems, proofs and equations, as printed": ("thm-", "obs-", "lemma-", "fact-", "say-", "own-", "eq-"),
}  # fmt: skip


def theme(id: str) -> str:
    """The thesis that claim `id` bears on."""
    return next(title for title, beginnings in THEMES.items() if id.startswith(beginnings))


def themes(entries: list[dict[str, Any]]) -> pd.DataFrame:
    """How many rows of the ledger have each verdict, by thesis, and how many are undecided; verdicts that no row has are left out."""
    groups = {title: [row for row in entries if theme(row["id"]) == title] for title in THEMES}
    table = pd.DataFrame({title: count(group) | {"undecided": sum(map(undecided, group))} for title, group in groups.items()}).T
    table = table.loc[:, table.any()].astype(str).replace("0", "")
    return table.rename_axis("the paper says").reset_index()


def rows(scale: str, device: str = "cpu") -> list[dict[str, Any]]:
    """Every claim's row at `scale`, empirical ones first, then those of the theory."""
    check_choice("scale", scale, experiments.SCALES)
    return [evaluate(claim, scale, device) for claim in claims.CLAIMS] + theory_claims(TRIALS[scale])


def table(entries: list[dict[str, Any]]) -> pd.DataFrame:
    """The ledger as a table of short text, for pages and terminals."""
    return pd.DataFrame(
        {
            "claim": [row["id"] for row in entries],
            "the paper": [row["paper"] for row in entries],
            "verdict": [_verdict(row) for row in entries],
            "measured": [_measured(row) for row in entries],
            "where": [row["where"] for row in entries],
            "seeds": [row["seeds"] or "" for row in entries],
            "scale": [row["scale"] for row in entries],
        }
    )


def page(entries: list[dict[str, Any]], figure_of: Callable[[str], str]) -> HTML:
    """The ledger as an HTML table, a row a claim, which carries its id as anchor and leads to `figure_of` it.

    Below a number stands what it is. A script of the book sorts the table by a click on a column's head.
    """
    shown = table(entries).drop(columns="claim")
    where, measured = (list(shown.columns).index(name) for name in ("where", "measured"))
    head = "".join(f"<th>{name}</th>" for name in shown.columns)
    body = ""
    for row, cells in zip(entries, shown.values.tolist()):
        texts = [html.escape(str(value)) for value in cells]
        texts[measured] += f"<br><small>{html.escape(_what(row))}</small>" if texts[measured] else ""
        texts[where] = f'<a href="{figure_of(row["id"])}">{texts[where]}</a>'
        tds = "".join(f"<td>{text}</td>" for text in texts)
        body += f'<tr id="{row["id"]}" title="{html.escape(row["rule"])}">{tds}</tr>'
    return HTML(f'<table class="bn-ledger bn-claims mathjax_process"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>')


def _what(row: dict[str, Any]) -> str:
    """What a row's value is: a claim's measure; of the theory the largest residual or, where there are exceptions, their share."""
    claim = _claims().get(row["id"])
    if claim is not None:
        return claim.what
    return "largest relative residual" if row["verdict"] == "reproduced" else "share of the trials that it fails on"


#: Page of the ledger.
PAGE = "conclusions.html"


def link(id: str) -> str:
    """Where claim `id` stands in the ledger's page."""
    return f"{PAGE}#{id}"


#: The claims that the README names, all on committed records.
HEADLINES = (
    "fig-1a", "fig-1b", "acc-bn", "acc-standard", "acc-bn-half", "acc-standard-half", "prose-larger-steps", "prose-largest-step", "prose-initialization",
    "fig-1c-shape", "fig-2", "prose-noise-prevents-training", "fig-3-vgg-cosine", "fig-3-vgg-l2", "fig-4a", "fig-4b", "fig-4c",
    "prose-gradient-size-fig-4", "prose-two-orders", "prose-random-directions",
)  # fmt: skip


def summary(scale: str) -> str:
    """The README's table: the headline claims at `scale`, in Markdown."""
    shown = ["| the paper | measured | on | verdict |", "|---|---|---|---|"]
    for claim in map(claims.get, HEADLINES):
        row = evaluate(claim, scale)
        spec = next(iter(experiments.specs(claim.experiment, scale).values()))[0]
        on = f"{spec.width:g}x width, {spec.steps:,} steps, {_seeds(row)}"
        cells = (row["paper"], f"{claim.what}: {_measured(row)}", on, _verdict(row))
        shown.append(" | ".join(["", *(cell.replace("|", "\\|") for cell in cells), ""]).strip())
    images = DESCRIPTIONS[experiments.specs("fig-4", scale)["none"][0].data]
    return "\n".join(
        [f"VGG on {images}; 95 % intervals. The book has the rules, the deep linear networks and the theory.", "", *shown]
    )
