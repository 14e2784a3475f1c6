"""What section 4 says of its terms in practice (section 4.2, Figure 9)."""

from __future__ import annotations

from functools import partial

from lib.paper import measures
from lib.paper.claims.claim import Claim, Thesis
from lib.paper.labels import NONE, Label


def statements() -> list[Claim]:
    """What section 4 says of its terms in practice, measured along training.

    The rules and the first records of these were committed together, so that nothing shows which came first: they are
    marked `after`.
    """
    found = []
    for network, end in (("VGG", "vgg"), ("deep linear", "linear")):
        one = Label("batchnorm", network)
        on = {
            "thesis": Thesis.CONDITIONS,
            "figures": ("theorems",),
            "experiment": "theorems",
            "after": True,
            "counts": end == "vgg",
        }
        found += [
            Claim(
                f"prose-reduction-{end}",
                "Section 4.2",
                "The Lipschitz constant is reduced significantly where yhat correlates with the gradient or its "
                f"mean is not 0 ({network}).",
                "share of |g|^2 that the two terms of Theorem 4.1 remove, median over training, layers and units",
                bound=0.1,
                measure=partial(measures.theorem, name="removed", one=one),
                **on,
            ),
            Claim(
                f"prose-sigma-large-{end}",
                "Section 4.2",
                f"sigma tends to be large, so that gamma/sigma flattens the landscape ({network}).",
                "|gamma|/sigma, median over training, layers and units",
                side="below",
                log=True,
                measure=partial(measures.theorem, name="scale", one=one, log=True),
                **on,
            ),
            Claim(
                f"prose-inner-positive-{end}",
                "Section 4.2",
                f"<yhat, g> is positive, a mild assumption ({network}).",
                "share of steps, layers and units at which it is",
                bound=0.9,
                measure=partial(measures.share, name="inner", one=one),
                **on,
            ),
            Claim(
                f"prose-forms-{end}",
                "Section 4.2",
                f"The quadratic forms of the Hessian are non-negative, a mild assumption ({network}).",
                "share of steps, layers and units at which v^T H v and g^T H g are",
                bound=0.9,
                measure=partial(measures.share_of_nonnegative_forms, one=one),
                **on,
            ),
            Claim(
                f"prose-condition-{end}",
                "Section 4.2",
                f"Theorem 4.2's second display applies in training: what it needs holds ({network}).",
                "share of steps, layers and units at which v^T H v <= g^T H g",
                bound=0.9,
                measure=partial(measures.share, name="condition", one=one),
                **on,
            ),
            Claim(
                f"prose-condition-projection-{end}",
                "Section 4.2",
                "What Theorem 4.2's second display needs holds by the projection alone, whatever gamma/sigma is "
                f"({network}).",
                "share of steps, layers and units at which (P g)^T H (P g) <= g^T H g",
                bound=0.9,
                measure=partial(measures.share_of_smaller_forms, one=one),
                **on | {"counts": False},
            ),
        ]
    sigma = {"thesis": Thesis.CONDITIONS, "log": True, "after": True}
    linear = {"figures": ("fig-9",), "experiment": "fig-9"}
    return [
        *found,
        Claim(
            "prose-sigma-standard",
            "Section 4.2, Figure 9",
            "sigma, the deviation of activations, tends to be large in practice (deep linear network without norm).",
            "deviation of activations over the batch, by their histograms, median over layers and the steps after "
            "the first",
            measure=partial(measures.histogram_deviation, one=NONE),
            **sigma,
            **linear,
        ),
        Claim(
            "prose-sigma-uncontrolled",
            "Section 4.2, Figure 9",
            "sigma is highly uncontrolled in practice (deep linear network without norm).",
            "largest over smallest deviation of activations over layers and the steps after the first",
            bound=1.0,
            measure=partial(measures.deviation_range, one=NONE),
            **sigma,
            **linear,
        ),
        Claim(
            "prose-sigma-vgg",
            "Section 4.2",
            "sigma, the deviation of activations, tends to be large in practice (standard VGG).",
            "deviation of activations over the batch, standard network, median over training, layers and units",
            counts=False,
            figures=("fig-8",),
            experiment="fig-8",
            measure=partial(measures.deviation, one=NONE),
            **sigma,
        ),
    ]
