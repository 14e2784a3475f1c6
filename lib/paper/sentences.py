"""The empirical sentences of the paper, in order, each with the ledger's rows that judge it, or why there is none."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Sentence:
    """A sentence of a `section`, known by a few of its words, with the ids of its `rows`, or `why` there are none."""

    section: str
    quote: str
    rows: tuple[str, ...] = ()
    why: str = ""


def _read(path: Path) -> tuple[Sentence, ...]:
    sections = tomllib.loads(path.read_text(encoding="utf-8"))["section"]
    return tuple(
        Sentence(section["name"], entry["quote"], tuple(entry.get("rows", ())), entry.get("why", ""))
        for section in sections
        for entry in section["sentences"]
    )


SENTENCES: tuple[Sentence, ...] = _read(Path(__file__).with_suffix(".toml"))
