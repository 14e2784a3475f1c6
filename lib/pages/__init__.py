"""Pages: the only HTML. Figures with what the paper says of them, the ledger, tables.

    curves = results.load("fig-4", SCALE)
    pages.show("fig-4", figures.landscape(curves), curves)   # picture, verdicts, provenance
    pages.judge("fig-4", curves)                             # the verdicts alone

Text in, HTML out: the templates beside this module escape what they are given.
"""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Iterable
from pathlib import Path

import jinja2
import pandas as pd
from IPython.display import HTML
from markupsafe import Markup, escape
from matplotlib.figure import Figure

from lib.errors import check_choice
from lib.figures import words
from lib.figures.plans import RECORDED
from lib.figures.style import DARKER, Drawn, svg
from lib.figures.words import describe
from lib.figures.words import table as numbers_of
from lib.pages import places
from lib.paper import claims, ledger, results, sensitivity
from lib.paper.claims import Claim
from lib.paper.ledger import Row
from lib.paper.measures import Curves

#: A sign for each verdict, so that colour is never alone.
SIGNS = dict(zip(ledger.VERDICTS, ("\u2713", "\u25d0", "\u2717", "\u2013", "\u2026")))

_templates = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
    autoescape=True,
    trim_blocks=True,
    lstrip_blocks=True,
    undefined=jinja2.StrictUndefined,
)
_templates.globals.update(signs=SIGNS, row_of=places.row, evidence_of=places.evidence)


def letters(text: str) -> Markup:
    """A claim's words as HTML, with letters and numbers as the chapters write them; what has formulas stays as it is.

    >>> letters("l1 at step size 1e-06: <g, yhat> over gamma^2")
    Markup('ℓ<sub>1</sub> at step size 1e-6: ⟨g, ŷ⟩ over γ²')
    """
    if "$" in text:
        return escape(text)
    return Markup(words.letters(str(escape(text)), below="<sub>{}</sub>"))


_templates.filters.update(letters=letters)


def _html(template: str, **values: object) -> str:
    return _templates.get_template(f"{template}.html").render(**values)


# --- figures and their claims -------------------------------------------------------------


class Picture(HTML):
    """A figure as HTML; as a plain image (`image`, PNG) and in `words` for programs that show no HTML."""

    def __init__(self, html: str, image: bytes, words: str) -> None:
        super().__init__(html)
        self.image = image
        self.words = words

    def _repr_png_(self) -> bytes:
        return self.image

    def __repr__(self) -> str:
        return self.words


def picture(figure: Figure, alt: str, caption: str = "", name: str = "") -> Picture:
    """A figure with its alternative text; `caption` is HTML, `name` makes the anchor `figure-NAME`.

    What is drawn by `lib.figures` comes in two drawings, wide and narrow, and its numbers as CSV. All are inside the
    HTML, so that a notebook needs no files. The site has them in files, and the drawings for dark pages too
    (`lib.build.site_pages.unpack`).
    """
    called = name or "figure"
    drawings = [_drawing(figure, called)]
    if isinstance(figure, Drawn) and figure.narrow:
        drawings.append(_drawing(figure.narrow(), called))
    numbers = numbers_of(figure) if isinstance(figure, Drawn) else pd.DataFrame()
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=100, facecolor="white")
    html = _html(
        "picture",
        drawings=drawings,
        darker=DARKER if isinstance(figure, Drawn) else {},
        alt=alt,
        csv="" if numbers.empty else numbers.to_csv(index=False, float_format="%.7g"),
        called=called,
        caption=Markup(caption),
        name=name,
    )
    return Picture(html, buffer.getvalue(), alt)


def _drawing(figure: Figure, name: str) -> dict[str, object]:
    """An SVG and its size in pixels of a page, of which an inch has 100 so that a figure as wide as a page fits it."""
    width, height = (round(100 * inches) for inches in figure.get_size_inches())
    return {"svg": svg(figure, name=name), "width": width, "height": height}


def _data(text: str, kind: str) -> str:
    """The address of a text that stands in the address itself."""
    return f"data:{kind};base64,{base64.b64encode(text.encode()).decode()}"


_templates.filters.update(data=_data)


def still(figure: Figure | None, alt: str, words: str) -> HTML:
    """What stands for an explorable where no JavaScript runs: its picture, if any, and `words` on what it shows."""
    image = ""
    if figure is not None:
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=80, facecolor="white")
        image = base64.b64encode(buffer.getvalue()).decode()
    return HTML(_html("still", image=image, alt=alt, words=words))


def show(name: str, figure: Figure, curves: Curves, alt: str = "") -> HTML:
    """Figure `name`, drawn from `curves`: picture, verdicts of the claims it shows, and where the numbers come from.

    A claim about these curves is judged on them, whatever was changed; other claims on their own records at the same
    scale. Without curves a line says that nothing has been measured yet. Raises `UsageError` for a name that the book
    has no figure of.
    """
    if not curves:
        check_choice("figure", name, RECORDED)
        rows = [Row(claim, "not measured yet", "") for claim in claims.about(name)]
        return HTML(_html("missing", title=RECORDED[name].title, name=name, scale="this", rows=rows, bar=bar))
    rows = judged(name, curves)
    title = RECORDED[name].title
    caption = _html("caption", title=title, rows=rows, bar=bar, provenance=results.provenance(curves))
    words = describe(figure) if isinstance(figure, Drawn) else f"{title}."
    return picture(figure, alt or words, caption, name)


def judge(name: str, curves: Curves) -> HTML:
    """The verdicts of the claims that figure `name` shows, on these curves."""
    return HTML(_html("badges", rows=judged(name, curves), bar=bar))


def badges(claims: Iterable[Claim], scale: str, device: str = "cpu") -> HTML:
    """The verdicts of some claims, on their records at a scale."""
    rows = [_row(claim, scale, device) for claim in claims]
    return HTML(_html("badges", rows=rows, bar=bar))


def draw(name: str, scale: str, device: str = "cpu") -> HTML:
    """`show` for the records at a scale; a line where there are none yet."""
    check_choice("figure", name, RECORDED)
    plan = RECORDED[name]
    curves = (results.whole if plan.whole else results.load)(plan.experiment, scale, device)
    if not curves:
        rows = [_row(claim, scale, device) for claim in claims.about(name)]
        return HTML(_html("missing", title=plan.title, name=name, scale=scale, rows=rows, bar=bar))
    return show(name, plan.draw(curves), curves)


def judged(name: str, curves: Curves) -> list[Row]:
    """The rows of the claims that figure `name` shows, those that count first."""
    check_choice("figure", name, RECORDED)
    attrs = next(iter(curves.values())).attrs
    rows = [
        ledger.evaluate(claim, attrs["scale"], curves=curves)
        if claim.experiment == attrs["experiment"]
        else _row(claim, attrs["scale"])
        for claim in claims.about(name)
    ]
    return sorted(rows, key=lambda row: not row.claim.counted)


def _row(claim: Claim, scale: str, device: str = "cpu") -> Row:
    """A claim's row; "not measured yet" where a build would make its records and none has been made here."""
    try:
        return ledger.evaluate(claim, scale, device)
    except results.MissingRecords:
        return Row(claim, "not measured yet", scale)


def bar(row: Row) -> dict[str, float] | None:
    """Where a row's interval begins and ends, its value and bound are, in percent of a bar; None with no interval."""
    if row.value is None or row.low is None or row.high is None:
        return None
    values = {"low": row.low, "high": row.high, "value": row.value}
    if row.claim.log:
        if min(values.values()) <= 0:
            return None
        values = {name: math.log10(value) for name, value in values.items()}
    values["bound"] = row.claim.bound
    low, high = min(values.values()), max(values.values())
    span = (high - low) or 1.0
    return {name: round(8 + 84 * (value - low) / span, 1) for name, value in values.items()}


def growth(figure: Figure, machine: str) -> HTML:
    """A benchmark's growth of cost, with the machine that it was measured on."""
    return picture(figure, describe(figure), _html("growth", machine=machine), "growth")


# --- summaries ----------------------------------------------------------------------------


def answers(page: str, scale: str, device: str = "cpu") -> HTML:
    """What came out of the claims that a chapter shows, folded, by verdict; each leads to its row of the ledger.

    Of claims that count; parts, repetitions and what holds by construction stand in the captions.
    """
    check_choice("page", page, (*places.FIGURES, *places.LISTS.values()))
    found = [claim for claim in claims.CLAIMS if places.chapter(claim) == page and claim.counted]
    rows = [_row(claim, scale, device) for claim in found]
    groups = {verdict: [row for row in rows if row.verdict == verdict] for verdict in ledger.VERDICTS}
    return HTML(_html("answers", groups={verdict: group for verdict, group in groups.items() if group}))


def ledger_table(rows: list[Row]) -> HTML:
    """The ledger: a row a claim, which carries its id as anchor, leads to its figure and opens on its rule.

    A script of the book sorts by a column and filters by thesis, verdict, scale and phase.
    """
    filters = {
        "verdict": [verdict for verdict in ledger.VERDICTS if any(row.verdict == verdict for row in rows)],
        "thesis": list(dict.fromkeys(row.claim.thesis.value for row in rows)),
        "phase": sorted({row.claim.phase for row in rows} - {""}),
        "scale": sorted({row.scale for row in rows}),
    }
    return HTML(_html("ledger", rows=rows, filters=filters, order=list(ledger.VERDICTS), bar=bar))


def table(frame: pd.DataFrame, source: str = "", links: dict[str, str] | None = None) -> HTML:
    """A table for a page: small, without an index, sorted by a click on a column's head; below it, where it comes from.

    A cell that is one of `links` leads to its address.
    """
    links = links or {}
    cells = [
        [(text, links.get(text, "")) for text in map(str, values)]
        for values in frame.itertuples(index=False, name=None)
    ]
    return HTML(_html("table", columns=list(frame.columns), cells=cells, source=source))


def questions(scale: str, device: str = "cpu") -> HTML:
    """What the paper leaves open, and whether another answer changes a verdict.

    A summary says for each question in how many rows it does.
    """
    rows = sensitivity.table(scale, device)
    links = {id: places.row(claims.get(id)) for id in rows["claim"]}
    return table(rows, sensitivity.summary(rows), links)


__all__ = [
    "Claim",
    "Picture",
    "answers",
    "badges",
    "bar",
    "draw",
    "growth",
    "judge",
    "ledger_table",
    "letters",
    "picture",
    "questions",
    "show",
    "still",
    "table",
]
