"""From residuals to verdicts: what a statement is, what a check returns, and how one judges the other."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import torch
from torch import Tensor

TOLERANCE = 1e-10
RULE = (
    "true: no trial that meets the statement's hypotheses is off by more than 1e-10 of the size of its terms (0.25 for "
    "the growth exponent); conditional: some are, but none of those that meet the added condition, and one trial in "
    "a hundred or more "
    "meets it; false: otherwise. A condition that only says in other words that the statement holds is none"
)
VERDICTS = {"true": "reproduced", "conditional": "partly", "false": "not reproduced", None: "not testable"}


@dataclass(frozen=True)
class Evidence:
    """One check on N random cases, as relative residuals [N]: |lhs - rhs| of an equality, lhs - rhs of `lhs <= rhs`.

    printed is the paper's version, corrected ours; condition marks the cases that meet the condition we
    add, domain those that meet the paper's own hypotheses (all, if None).
    """

    printed: Tensor
    corrected: Tensor | None = None
    condition: Tensor | None = None
    domain: Tensor | None = None
    tolerance: float = TOLERANCE


@dataclass(frozen=True)
class Statement:
    """One statement of section 4 or appendix C.

    `where` says where it stands, `paper` what it says in our words and its formula, `condition` the
    hypothesis to add and `corrected` the formula to put instead (empty where not needed), `note` what else
    a reader should know. `source` names the random cases that `check` takes; without a check nothing is testable.
    `numbers` lists the paper's equation numbers it covers.
    """

    id: str
    where: str
    paper: str
    source: str
    check: Callable[..., Evidence] | None
    condition: str = ""
    corrected: str = ""
    counterexample: str = ""
    note: str = ""
    numbers: tuple[int, ...] = field(default=())


@dataclass(frozen=True)
class Result:
    """What the evidence says about one statement.

    worst is the largest printed residual and violations the number of trials off by more than the tolerance, among the
    `trials` that meet the paper's hypotheses; worst_corrected is the largest residual of the corrected version (or,
    where there is only a condition, of the printed one on the `kept` trials that meet it); as_printed is "true",
    "conditional", "false" or None, and with_eps the same at eps > 0 (None where not tried).
    """

    statement: Statement
    trials: int
    violations: int
    worst: float
    worst_corrected: float | None
    kept: int
    as_printed: str | None
    with_eps: str | None = None

    @property
    def share(self) -> float:
        """The share of trials that violate the printed statement."""
        return self.violations / max(self.trials, 1)

    @property
    def verdict(self) -> str:
        """The ledger's word for it."""
        return VERDICTS[self.as_printed]


def relative(difference: Tensor, scale: Tensor, dims: int = 0) -> Tensor:
    """|difference| / scale [N], with the Euclidean norm over the last `dims` dimensions; 0 where both vanish."""
    size = difference.flatten(-dims).norm(dim=-1) if dims else difference.abs()
    return size / scale.clamp_min(1e-150)


def excess(lhs: Tensor, rhs: Tensor, scale: Tensor) -> Tensor:
    """How far `lhs <= rhs` is from holding, relative [N]; 0 where it holds."""
    return (lhs - rhs).clamp_min(0) / scale.clamp_min(1e-150)


def _joined(parts: Iterable[Tensor | None], like: list[Tensor], value: bool) -> Tensor:
    filled = [torch.full_like(b, value, dtype=torch.bool) if a is None else a for a, b in zip(parts, like, strict=True)]
    return torch.cat(filled)


def judge(statement: Statement, evidence: list[Evidence]) -> Result:
    """The verdict on `statement`, by `RULE`. A residual that is not a number counts as a violation."""
    if not evidence:
        return Result(statement, 0, 0, float("nan"), None, 0, None)
    printed = [part.printed for part in evidence]
    domain = _joined([part.domain for part in evidence], printed, True)
    met = _joined([part.condition for part in evidence], printed, False)[domain]
    gap = torch.nan_to_num(torch.cat(printed), nan=torch.inf)[domain]
    off = gap > evidence[0].tolerance
    kept = int(met.sum())
    if not off.any():
        as_printed = "true"
    elif kept >= 0.01 * gap.numel() and not (off & met).any():
        as_printed = "conditional"
    else:
        as_printed = "false"
    fixed = [part.corrected for part in evidence if part.corrected is not None]
    worst_corrected = float(torch.nan_to_num(torch.cat(fixed), nan=torch.inf).max()) if fixed else None
    if worst_corrected is None and as_printed == "conditional":
        worst_corrected = float(gap[met].max())
    return Result(
        statement,
        gap.numel(),
        int(off.sum()),
        float(gap.max()) if gap.numel() else 0.0,
        worst_corrected,
        kept,
        as_printed,
    )
