"""A claim: a sentence of the paper, and what would count as reproducing it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from functools import partial

from lib.paper.labels import Label
from lib.paper.measures import Measure


class Thesis(StrEnum):
    """The paper's theses, in the order in which the book's summary lists them."""

    FASTER = "With BatchNorm networks train faster, and at more step sizes and initial weights"
    ACCURACY = "Accuracies"
    DISTRIBUTIONS = "Stable distributions are not the reason"
    SHIFT = "BatchNorm does not reduce internal covariate shift"
    SMOOTHER = "It makes the landscape smoother: VGG and a ResNet"
    REASON = "Smoothness is what makes training faster"
    DEPTH = "What depth decides: VGG-11, 13 and 16"
    SMOOTHER_LINEAR = "It makes the landscape smoother: deep linear networks"
    OTHERS_TRAIN = "Other normalizations train as well"
    OTHERS_SMOOTH = "Other normalizations make the landscape smoother, too"
    OTHERS_DISTRIBUTIONS = "Other normalizations do not stabilize distributions"
    CONDITIONS = "What the theorems need holds in training"
    REMARKS = "Other remarks"
    THEORY = "Theorems, proofs and equations, as printed"


@dataclass(frozen=True)
class Claim:
    """One testable statement of the paper.

    `measure` gives one value a seed of the curves of `experiment`; `what` says it in words. The claim is reproduced if
    the whole 95 % interval lies `side` ("above", "below" or, to `tolerance`, "within") `bound`, partly if only the mean
    does. With `log`, measure, bound and tolerance are in log10 and are shown as factors. Without a measure it is not
    testable, and `what` says why. The captions of `figures` show it; the first is where its row of the ledger leads.
    """

    id: str
    where: str
    paper: str
    what: str
    thesis: Thesis = Thesis.REMARKS
    figures: tuple[str, ...] = ()
    weight: int = 0  # 2: on the book's first page and in the README, 1: in the README
    phase: str = ""  # the part of training it is measured in
    counts: bool = True  # False for parts of another claim, and for the same sentence measured another way
    by_construction: bool = False  # the measure itself makes it hold, or fail: shown and never counted
    side: str = "above"
    bound: float = 0.0
    tolerance: float = 0.02
    log: bool = False
    experiment: str = ""
    measure: Measure | None = None
    after: bool = False  # the rule was written, or changed, after the runs had been seen
    decided_by: str = ""  # the rule in words, where it is not a bound

    @property
    def counted(self) -> bool:
        """Whether the verdict stands in the book's totals."""
        return self.counts and not self.by_construction

    @property
    def rule(self) -> str:
        """The acceptance rule in words."""
        if self.decided_by:
            return self.decided_by
        if self.measure is None:
            return f"none: {self.what}"
        bound = 10**self.bound if self.log else self.bound
        if self.side == "within":
            of = f"a factor of {10**self.tolerance:.3g}" if self.log else f"{self.tolerance:g}"
            rule = f"{self.what}: 95 % interval over seeds within {of} of {bound:.3g}"
        else:
            rule = f"{self.what}: 95 % interval over seeds {self.side} {bound:.3g}"
        return f"{rule}; set after the runs" if self.after else rule

    @property
    def labels(self) -> tuple[Label, ...]:
        """The curves that the measure names; none if it looks at every curve of its experiment."""
        return tuple(dict.fromkeys(_labels_in(self.measure)))

    def undecided(self, low: float | None, high: float | None) -> bool:
        """Whether the interval `low` to `high`, as the ledger shows it, contains the bound: the seeds tell neither."""
        if self.measure is None or low is None or high is None:
            return False
        ends = (-self.tolerance, self.tolerance) if self.side == "within" else (0.0,)
        bounds = [10 ** (self.bound + end) if self.log else self.bound + end for end in ends]
        return any(low < bound < high for bound in bounds)


def _labels_in(value: object) -> Iterator[Label]:
    """The labels among the arguments of a measure, and of the measures among them."""
    if isinstance(value, Label):
        yield value
    elif isinstance(value, partial):
        yield from _labels_in((*value.args, *value.keywords.values()))
    elif isinstance(value, tuple):
        for part in value:
            yield from _labels_in(part)


#: Quantities of Figures 4 and 10, and the panels that show them.
PANELS = {"loss band": "a", "gradient change": "b", "effective smoothness": "c"}
#: A phase of training, in words.
TRAINED = "after the standard network's plateau"
#: Of deep linear networks some seeds diverge, and what then stands for their roughness was chosen when that had been
#: seen.
SEEDS_DIVERGE = True
