"""Where in the book figures, lists and claims stand."""

from __future__ import annotations

from lib.figures.plans import RECORDED
from lib.paper.claims import Claim

#: The figures of each chapter, by the name of its page.
FIGURES = {
    page: tuple(name for name, plan in RECORDED.items() if plan.page == page)
    for page in dict.fromkeys(plan.page for plan in RECORDED.values())
}
#: Other places that a row of the ledger leads to: name of an anchor to its page.
LISTS = {
    "theory-networks": "theory",
    "theory-verdicts": "theory",
    "proofs-equations": "proofs",
    "not-settled": "conclusions",
    "section-5": "related-work",
}
#: The page of the ledger.
LEDGER = "conclusions.html"

_PAGES = {name: page for page, names in FIGURES.items() for name in names}


def row(claim: Claim) -> str:
    """The address of a claim's row in the ledger."""
    return f"{LEDGER}#{claim.id}"


def evidence(claim: Claim) -> str:
    """The address of what shows a claim: its first figure, or the list that it stands in."""
    name = claim.figures[0]
    return f"{LISTS[name]}.html#{name}" if name in LISTS else f"{_PAGES[name]}.html#figure-{name}"


def chapter(claim: Claim) -> str:
    """The page of the chapter that shows a claim."""
    return evidence(claim).partition(".html")[0]
