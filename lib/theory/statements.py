"""The list of statements: every theorem, equation and mathematical sentence of section 4 and appendix C.

What they say stands in `statements.toml`; here each gets its check and its counterexample.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from pathlib import Path

from lib.theory import theorems
from lib.theory.equations import CHECKS
from lib.theory.evidence import Evidence, Statement
from lib.theory.examples import EXAMPLES


def _check(name: str) -> Callable[..., Evidence]:
    return CHECKS[name] if name in CHECKS else getattr(theorems, name)


def _statement(entry: dict[str, str], numbers: tuple[int, ...] = ()) -> Statement:
    entry = dict(entry)
    check, example = entry.pop("check", None), entry.pop("example", entry["id"])
    if example in EXAMPLES:
        entry["counterexample"] = EXAMPLES[example].text()
    return Statement(**entry, check=_check(check) if check else None, numbers=numbers)


def _equation(entry: dict[str, str]) -> Statement:
    """`numbers` is "26" or "25-27"; the id and the place follow from it."""
    entry = dict(entry)
    first, _, last = entry.pop("numbers").partition("-")
    where = f"appendix C, ({first})" + (f" to ({last})" if last else "")
    covered = tuple(range(int(first), int(last or first) + 1))
    return _statement({"id": f"eq-{first}", "where": where, "source": "layers", **entry}, covered)


def _read(path: Path) -> tuple[Statement, ...]:
    entries = tomllib.loads(path.read_text(encoding="utf-8"))
    return (*map(_statement, entries["statement"]), *map(_equation, entries["equation"]))


STATEMENTS: tuple[Statement, ...] = _read(Path(__file__).with_suffix(".toml"))
