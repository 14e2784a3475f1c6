"""Claims: what the paper says, and what would count as reproducing it.

A claim's acceptance rule is a bound on the 95 % t-interval over seeds of one of `lib.paper.measures`, written before
the runs. Where a rule was written or changed when runs it applies to had been seen, the claim is marked `after`.
`lib.paper.ledger` judges claims by the records.

Where to find a sentence of the paper:

    speed           Figures 1 and 5, sections 2, 2.2, 3.1: training is faster, less sensitive; appendix A: step sizes
    accuracies      appendix A.1: accuracies and plateaus
    distributions   section 2.1, Figures 1c, 2 and 8: stable distributions, noise
    shift           section 2.2, Figure 3: internal covariate shift
    landscape       sections 3.1 and 3.2, Figures 4, 10 and 11: smoothness
    gradients       sections 3.1 and 6: exploding and vanishing gradients
    reason          abstract, sections 1, 3.1 and 6: smoothness as the reason
    others          section 3.3, Figures 5, 6, 12 and 13: l_p normalizations
    conditions      section 4.2, Figure 9: terms of the theorems in practice
    depth           the central sentences again, for each depth
    linear          appendix A.1: deep linear networks for longer, and under other answers
    related         section 5: other normalizations and non-linearities
    untestable      what names nothing that would show it

The theorems themselves are in `lib.theory`.
"""

from __future__ import annotations

from lib.errors import check_choice
from lib.paper.claims import (
    accuracies,
    conditions,
    depth,
    distributions,
    gradients,
    landscape,
    linear,
    others,
    reason,
    related,
    shift,
    speed,
    untestable,
)
from lib.paper.claims.claim import Claim, Thesis

__all__ = ["CLAIMS", "Claim", "Thesis", "about", "foremost", "get"]

CLAIMS: tuple[Claim, ...] = (
    *speed.statements(),
    *accuracies.statements(),
    *distributions.statements(),
    *shift.statements(),
    *landscape.statements(),
    *gradients.statements(),
    *reason.statements(),
    *others.statements(),
    *conditions.statements(),
    *depth.statements(),
    *linear.statements(),
    *related.statements(),
    *untestable.statements(),
)
_BY_ID = {claim.id: claim for claim in CLAIMS}


def get(id: str) -> Claim:
    """The claim called `id`.

    >>> get("fig-4b").where, get("fig-4b").experiment
    ('Figure 4b', 'fig-4')
    """
    check_choice("claim", id, _BY_ID)
    return _BY_ID[id]


def foremost(weight: int) -> list[Claim]:
    """The claims of at least this weight.

    >>> [claim.id for claim in foremost(2)]
    ['fig-1a-speed', 'fig-2', 'fig-4c']
    """
    return [claim for claim in CLAIMS if claim.weight >= weight]


def about(*figures: str) -> list[Claim]:
    """The claims that the captions of these figures show, each once."""
    return [claim for claim in CLAIMS if set(figures) & set(claim.figures)]
