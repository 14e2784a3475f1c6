"""What the paper says without saying what would show it."""

from __future__ import annotations

from lib.paper.claims.claim import Claim, Thesis


def statements() -> list[Claim]:
    """What the paper says without saying what would show it."""
    return [
        Claim(
            "fig-7",
            "Figure 7",
            "The two networks that the theorems compare.",
            "a drawing; what is said of the networks is tested one by one",
            figures=("theory-networks",),
            counts=False,
        ),
        Claim(
            "prose-mini-batch-resilience",
            "Section 4.2",
            "Rescaling by the variance makes training resilient to the variance of mini-batches.",
            "gamma^2/sigma^2 is a factor of one batch, and nothing is named that resilience could be measured by",
            thesis=Thesis.CONDITIONS,
            figures=("not-settled",),
        ),
        Claim(
            "prose-second-order",
            "Section 4.2",
            "v^T H v is the second-order term of the gradient's Taylor expansion.",
            "it is that of the loss along v; the terms of the gradient's expansion are vectors, which no number can "
            "equal",
            thesis=Thesis.THEORY,
            figures=("theory-verdicts",),
        ),
        Claim(
            "prose-worst-case",
            "Section 4.2",
            "Smoothness in the activations gives favourable worst-case bounds in the weights.",
            "it does with y and g held fixed (Theorem 4.4 as corrected); where sigma moves with the inputs the "
            "supremum is infinite",
            thesis=Thesis.THEORY,
            figures=("theory-verdicts",),
        ),
        Claim(
            "prose-flat-minima",
            "Section 6",
            "Smoothing may lead training to flatter minima, and so to better generalization.",
            "a conjecture that the paper leaves to future work",
            figures=("not-settled",),
        ),
    ]
