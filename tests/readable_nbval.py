"""What nbval says when a chapter prints something else: old and new side by side, and which modules have changed."""

from __future__ import annotations

import difflib
from types import MethodType

from lib.build.references import FOLDER, changed


def pytest_itemcollected(item):
    """Give each cell of a reference words of its own for a failure."""
    if type(item).__name__ == "IPyNbCell":
        item.format_output_compare = MethodType(_compare, item)
        item.repr_failure = MethodType(_explain, item)


def _compare(cell, key: str, reference: str, now: str) -> None:
    """Append to the cell's report what differs, line by line and in full."""
    lines = list(difflib.ndiff(str(reference).splitlines(), str(now).splitlines()))
    words = {"- ": "reference: ", "+ ": "now:       ", "  ": "both:      "}
    cell.comparison_traceback += [f"{key} differs:"]
    cell.comparison_traceback += [words[line[:2]] + line[2:] for line in lines if line[:2] in words]


def _explain(cell, failure) -> str:
    """nbval's report, and what may be behind it."""
    said = type(cell).repr_failure(cell, failure)
    path = cell.path
    root = path.parents[2]
    modules = changed(path, root) if path.parent == root / FOLDER else None
    if modules is None:  # a copy of a reference elsewhere, or one that says nothing of modules
        return said
    since = (
        f"Changed since this reference was made: {', '.join(modules)}."
        if modules
        else "No module that this chapter depends on has changed since: look at the versions of packages."
    )
    return f"{said}\n{since}\nIf the new output is wanted: make reference CHAPTER={path.stem}"
