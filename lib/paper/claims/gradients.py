"""Exploding and vanishing gradients (sections 3.1 and 6), for each depth that "VGG-like" may mean."""

from __future__ import annotations

from functools import partial

from lib.paper import measures
from lib.paper.claims.claim import Claim, Thesis
from lib.paper.experiments import DEPTHS
from lib.paper.labels import BATCHNORM, NONE


def statements() -> list[Claim]:
    """Gradients of the layers, each in units of its weights; these rules stand before any record of them."""
    found = []
    for depth in DEPTHS:
        none, norm = (label._replace(setting=depth) for label in (NONE, BATCHNORM))
        name = f"VGG-{depth}"
        of = "largest over smallest gradient of a layer, in units of its weights"
        claim = partial(Claim, thesis=Thesis.FASTER, figures=("depth",), experiment="gradients", log=True)
        found += [
            claim(
                f"prose-explode-{depth}",
                "Section 3.1",
                f"Without BatchNorm gradients explode or vanish from layer to layer of {name}.",
                f"{of}, without BatchNorm at the first step",
                counts=False,
                phase="start",
                bound=1.0,
                measure=partial(measures.gradient_range, one=none),
            ),
            claim(
                f"prose-avoids-explosion-{depth}",
                "Sections 3 and 6",
                f"BatchNorm avoids exploding and vanishing gradients in {name}.",
                f"{of}, without BatchNorm over with it, at the first step",
                counts=depth == 11,  # one row a sentence, of the network of most other rows
                phase="start",
                measure=partial(measures.gradient_range_ratio, one=none, other=norm),
            ),
            claim(
                f"prose-avoids-explosion-{depth}-later",
                "Sections 3 and 6",
                f"BatchNorm avoids exploding and vanishing gradients in {name}: after the first step.",
                f"{of}, without BatchNorm over with it, median over the recorded steps after the first",
                counts=False,
                measure=partial(measures.gradient_range_ratio, one=none, other=norm, part=slice(1, None)),
            ),
        ]
    return found
