"""Slim notebooks that pin what the chapters print, for nbval.

A reference holds a chapter's code at smoke scale and the text output of the
cells tagged `nbval-check-output`, nothing else: a few kilobytes to commit.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from lib.build.book import execute_all
from lib.build.chapters import (
    ROOT,
    chapters,
    code_cells,
    executed,
    has_tag,
    modules_of,
    read,
    with_parameters,
)
from lib.errors import UsageError, check_choice

FOLDER = Path("tests/references")
CHECKED = "nbval-check-output"
#: Hex digits that a reference keeps of the sum of each module its chapter depended on.
_DIGITS = 12
#: Output that nbval does not compare, or that differs from run to run.
_DROPPED = ("image/", "application/vnd.jupyter.widget-view+json")


def reference(only: Sequence[str] = (), scale: str = "smoke", *, jobs: int = 2, root: Path = ROOT) -> list[Path]:
    """Execute the chapters (or `only` those named) where needed and write `tests/references`; returns the files.

    Files of chapters that are gone are removed.
    """
    if scale != "smoke":
        raise UsageError(f"scale is {scale!r}, but references are made at 'smoke' only.")
    for stem in only:
        check_choice("chapter", stem, chapters(root))
    execute_all("smoke", "cpu", jobs, root=root, only=only)
    folder = root / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for stem in only or chapters(root):
        notebook = slim(nbformat.read(executed(stem, "smoke", "cpu", root), as_version=4))
        notebook.metadata.modules = {name: known[:_DIGITS] for name, known in modules_of(stem, root).items()}
        path = folder / f"{stem}.ipynb"
        nbformat.write(notebook, path)
        written.append(path)
    for path in folder.glob("*.ipynb"):
        if path.stem not in chapters(root):
            path.unlink()
    return written


def changed(path: Path, root: Path = ROOT) -> list[str] | None:
    """Modules that have changed since the reference in `path` was made; None where it does not say what they were."""
    before = nbformat.read(path, as_version=4).metadata.get("modules")
    if before is None or path.stem not in chapters(root):
        return None
    now = {name: known[:_DIGITS] for name, known in modules_of(path.stem, root).items()}
    return sorted(name for name in before | now if before.get(name) != now.get(name))


def slim(notebook: NotebookNode) -> NotebookNode:
    """The code cells of an executed chapter with the outputs to be compared."""
    cells = []
    for number, cell in enumerate(code_cells(notebook), start=1):
        checked = has_tag(cell, CHECKED)
        outputs = [kept for output in cell.outputs if checked and (kept := _keep(output))]
        cells.append(
            nbformat.v4.new_code_cell(
                cell.source,
                id=f"cell-{number}",  # nbformat's own ids are random
                execution_count=number,  # nbval takes a cell without one for never executed
                metadata={"tags": cell.metadata.get("tags", [])},
                outputs=outputs,
            )
        )
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    return nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel})


def _keep(output: NotebookNode) -> NotebookNode | None:
    """The part of one output that nbval can compare, or None."""
    if output.output_type == "stream":
        return output if output.name == "stdout" else None
    data = {kind: value for kind, value in output.get("data", {}).items() if not kind.startswith(_DROPPED)}
    if not data:
        return None
    return nbformat.v4.new_output("display_data", data=data)


def stale(root: Path = ROOT) -> list[str]:
    """Chapters whose code is not that of their reference, and references without a chapter."""
    stems = chapters(root)
    orphans = {path.stem for path in (root / FOLDER).glob("*.ipynb")} - set(stems)
    return [stem for stem in stems if not _matches(stem, root)] + sorted(orphans)


def _matches(stem: str, root: Path) -> bool:
    """Whether the reference has the chapter's code and tags, cell by cell."""
    path = root / FOLDER / f"{stem}.ipynb"
    if not path.is_file():
        return False
    ours = code_cells(nbformat.read(path, as_version=4))
    values = {"SCALE": "smoke", "DEVICE": "cpu"}
    theirs = code_cells(read(stem, root, values))
    expected = [
        (
            with_parameters(cell.source, values) if has_tag(cell, "parameters") else cell.source,
            cell.metadata.get("tags", []),
        )
        for cell in theirs
    ]
    return [(cell.source, cell.metadata.get("tags", [])) for cell in ours] == expected
