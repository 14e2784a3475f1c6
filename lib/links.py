"""Links between the ledger and the figures of the book."""

from __future__ import annotations

import functools
import re

from lib import claims
from lib.chapters import ROOT, chapters
from lib.figures import FIGURES


@functools.cache
def _drawn() -> list[tuple[str, str]]:
    """Page and name of every figure that a chapter draws, in reading order."""
    found = []
    for stem in chapters():
        text = (ROOT / "book" / f"{stem}.md").read_text()
        found += [(f"{stem}.html", name) for name in re.findall(r'figures\.draw\("([^"]+)"', text)]
    return found


def figure(id: str) -> str:
    """Where the figure about claim `id` is: the one of that name, else the first one made from the same runs.

    Statements of the theory, and the equations of its proofs, are in their chapters' lists.
    """
    known = {claim.id: claim.experiment for claim in claims.CLAIMS}
    if id not in known:
        return "proofs.html#proofs-equations" if id.startswith("eq-") else "theory.html#theory-verdicts"
    places = [(page, name) for page, name in _drawn() if FIGURES[name].experiment == known.get(id)]
    if not places:
        return "theory.html" if id == "fig-7" else "conclusions.html#not-settled"
    page, name = max(places, key=lambda place: len(place[1]) if id.startswith(place[1]) else 0)
    return f"{page}#figure-{name}"
