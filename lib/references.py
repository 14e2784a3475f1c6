"""Slim notebooks that pin what the chapters print, for nbval.

A reference holds a chapter's code at smoke scale and the text output of the
cells tagged `nbval-check-output`, nothing else: a few kilobytes to commit.
"""

from __future__ import annotations

from pathlib import Path

import nbformat
from nbformat import NotebookNode

from lib.book import execute_all
from lib.chapters import (
    ROOT,
    chapters,
    code_cells,
    executed,
    has_tag,
    read,
    with_parameters,
)
from lib.errors import UsageError

FOLDER = Path("tests/references")
CHECKED = "nbval-check-output"
#: Output that nbval does not compare, or that differs from run to run.
_DROPPED = ("image/", "application/vnd.jupyter.widget-view+json")


def reference(scale: str = "smoke", *, jobs: int = 2, root: Path = ROOT) -> list[Path]:
    """Execute the chapters where needed and write `tests/references`; returns the files.

    Files of chapters that are gone are removed.
    """
    if scale != "smoke":
        raise UsageError(f"scale is {scale!r}, but references are made at 'smoke' only.")
    execute_all("smoke", "cpu", jobs, root=root)
    folder = root / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for stem in chapters(root):
        notebook = nbformat.read(executed(stem, "smoke", "cpu", root), as_version=4)
        path = folder / f"{stem}.ipynb"
        nbformat.write(slim(notebook), path)
        written.append(path)
    for path in set(folder.glob("*.ipynb")) - set(written):
        path.unlink()
    return written


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
    data = {
        kind: value
        for kind, value in output.get("data", {}).items()
        if not kind.startswith(_DROPPED)
    }
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
