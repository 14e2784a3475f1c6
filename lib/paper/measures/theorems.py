"""Terms of the theorems in training (section 4.2)."""

from __future__ import annotations

import numpy as np

from lib.paper.labels import Label
from lib.paper.measures.curves import Curves, but_seed


def theorem(curves: Curves, name: str, one: Label, log: bool = False) -> np.ndarray:
    """Median over steps, layers and units of the size of a term of Theorem 4.1 or 4.2."""
    values = abs(curves[one][f"theorem_{name}"])
    return (np.log10(values) if log else values).median(but_seed(values)).values


def share(curves: Curves, name: str, one: Label) -> np.ndarray:
    """Share of steps, layers and units at which a term is positive."""
    values = curves[one][f"theorem_{name}"]
    return (values > 0).where(values.notnull()).mean(but_seed(values)).values


def share_of_nonnegative_forms(curves: Curves, one: Label) -> np.ndarray:
    """Share of steps, layers and units at which both quadratic forms of Theorem 4.2 are non-negative."""
    forms = [curves[one][f"theorem_{name}"] for name in ("form_bn", "form_plain")]
    known = forms[0].notnull() & forms[1].notnull()
    return ((forms[0] >= 0) & (forms[1] >= 0)).where(known).mean(but_seed(known)).values


def share_of_smaller_forms(curves: Curves, one: Label) -> np.ndarray:
    """Share of steps, layers and units at which the projection alone makes g'Hg no larger: (Pg)'H(Pg) <= g'Hg.

    v = (gamma/sigma) Pg, so that v'Hv says as much of the size of gamma/sigma as of the projection.
    """
    curve = curves[one]
    projected = curve.theorem_form_bn / curve.theorem_scale**2
    known = projected.notnull() & curve.theorem_form_plain.notnull()
    return (projected <= curve.theorem_form_plain).where(known).mean(but_seed(known)).values
