"""Chapters: MyST Markdown notebooks in `book/`, executed by papermill.

A chapter is a page of `_toc.yml` with code cells; its first code cell, tagged
`parameters`, sets SCALE and DEVICE. An executed chapter is kept under
`_build/executed/<scale>-<device>/` with a fingerprint of everything that went
into it, and is executed again only when that changes.
"""

from __future__ import annotations

import ast
import hashlib
import json
import math
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import jupytext
import nbformat
import yaml
from nbformat import NotebookNode

from lib.errors import Failure, UsageError, check_choice

ROOT = Path(__file__).resolve().parents[1]
SCALES = ("smoke", "laptop", "paper")
DEVICES = ("cpu", "cuda")
WORKSHOP = Path(__file__).with_name("workshop.py")


def pages(root: Path = ROOT) -> list[str]:
    """Stems of all pages of `_toc.yml`, in reading order."""
    toc = root / "_toc.yml"
    stems = [Path(entry).name for entry in _entries(yaml.safe_load(toc.read_text()))]
    missing = [stem for stem in stems if not _source(stem, root).is_file()]
    if missing:
        raise Failure(f"_toc.yml names {_source(missing[0], root)}, which does not exist.")
    return stems


def chapters(root: Path = ROOT) -> list[str]:
    """Stems of the pages that hold code cells, in reading order."""
    return [stem for stem in pages(root) if "{code-cell}" in _source(stem, root).read_text()]


def _entries(node: object) -> Iterator[str]:
    """Every `root` and `file` value of a nested `_toc.yml`, depth first."""
    if isinstance(node, dict):
        for key, value in node.items():
            if key in ("root", "file"):
                yield value
            else:
                yield from _entries(value)
    elif isinstance(node, list):
        for item in node:
            yield from _entries(item)


def _source(stem: str, root: Path) -> Path:
    return root / "book" / f"{stem}.md"


def read(stem: str, root: Path = ROOT, parameters: dict[str, str] | None = None) -> NotebookNode:
    """The chapter as a notebook, not executed, its parameters checked.

    Raises `UsageError` for a chapter that does not exist or a parameter it does
    not have, and `Failure` for a chapter that papermill would silently run with
    its defaults or with no kernel.
    """
    check_choice("chapter", stem, chapters(root))
    where = f"book/{stem}.md"
    notebook = jupytext.read(_source(stem, root))
    if "kernelspec" not in notebook.metadata:
        raise Failure(f"{where} names no kernel; add `kernelspec` to its header.")
    tagged = [cell for cell in code_cells(notebook) if has_tag(cell, "parameters")]
    if len(tagged) != 1:
        raise Failure(
            f"{where} has {len(tagged)} code cells tagged 'parameters', but must have one, "
            "which sets SCALE and DEVICE."
        )
    known = _assignments(tagged[0].source)
    for name in parameters or {}:
        if name not in known:
            raise UsageError(
                f"{where} has no parameter {name!r}, but: {', '.join(known)}; "
                "set it in the cell tagged 'parameters' first."
            )
    return notebook


def code_cells(notebook: NotebookNode) -> list[NotebookNode]:
    """Code cells in order; code cell n of a message is number n - 1 here."""
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def has_tag(cell: NotebookNode, tag: str) -> bool:
    """Whether `cell` carries `tag`."""
    return tag in cell.metadata.get("tags", [])


def _assignments(source: str) -> dict[str, ast.expr]:
    """The values of the simple assignments `name = value` in `source`, by name."""
    return {
        node.targets[0].id: node.value
        for node in ast.parse(source).body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
    }


def with_parameters(source: str, parameters: dict[str, str]) -> str:
    """`source` of a parameters cell with other (one-line) values, comments kept.

    >>> with_parameters('SCALE = "laptop"  # or "paper"', {"SCALE": "smoke"})
    'SCALE = "smoke"  # or "paper"'
    """
    lines = source.splitlines()
    for name, value in _assignments(source).items():
        if name in parameters:
            line = lines[value.lineno - 1].encode()  # ast counts columns in bytes
            new = f'"{parameters[name]}"'.encode()
            lines[value.lineno - 1] = (
                line[: value.col_offset] + new + line[value.end_col_offset :]
            ).decode()
    return "\n".join(lines)


def fingerprint(stem: str, root: Path, parameters: dict[str, str]) -> str:
    """SHA-256 of what determines the executed chapter.

    That is its source, `lib/`, the records, the pinned packages, the Python
    version, the parameters and the images at hand.
    """
    files = [_source(stem, root), root / "requirements.txt"]
    files += sorted((root / "lib").rglob("*.py")) + sorted((root / "lib").rglob("*.js"))
    files += sorted(path for path in (root / "book" / "records").rglob("*") if path.suffix in (".nc", ".json"))
    facts = [sys.version, sorted(parameters.items()), _images()]
    return hash_files([file for file in files if file.is_file()], root, facts)


def hash_files(files: list[Path], root: Path, facts: object = None) -> str:
    """SHA-256 over the names (relative to `root`) and contents of `files`, and `repr(facts)`."""
    digest = hashlib.sha256(repr(facts).encode())
    for file in files:
        digest.update(f"\0{file.relative_to(root)}\0".encode())
        digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()


def _images() -> list[tuple[str, int]]:
    """Names and sizes of what lies in the folder BN_DATA: with other images, other results."""
    folder = os.environ.get("BN_DATA")
    if not folder or not Path(folder).is_dir():
        return []
    return sorted((item.name, item.stat().st_size) for item in Path(folder).iterdir())


def executed(stem: str, scale: str, device: str, root: Path = ROOT) -> Path:
    """Where the executed chapter is kept."""
    return root / "_build" / "executed" / f"{scale}-{device}" / f"{stem}.ipynb"


def is_fresh(stem: str, scale: str, device: str, root: Path = ROOT) -> bool:
    """Whether the executed chapter exists and nothing that determines it has changed."""
    notebook = executed(stem, scale, device, root)
    stamp = _stamp(notebook)
    wanted = fingerprint(stem, root, {"SCALE": scale, "DEVICE": device})
    return notebook.is_file() and stamp.is_file() and stamp.read_text() == wanted


def execute(
    stems: list[str],
    scale: str,
    device: str,
    *,
    jobs: int = 1,
    threads: int = 1,
    root: Path = ROOT,
) -> Iterator[str]:
    """Execute chapters with papermill, `jobs` at a time, and keep the results; yields their stems as they are done.

    What took longest last time starts first. All chapters are checked before the first one starts; raises `Failure`
    naming the chapter, the code cell and the error of the first that fails, and stops the others.
    """
    check_choice("scale", scale, SCALES)
    check_choice("device", device, DEVICES)
    values = {"SCALE": scale, "DEVICE": device}
    sources = {stem: read(stem, root, values) for stem in stems}
    stems = sorted(stems, key=lambda stem: -_seconds(executed(stem, scale, device, root)))
    work, identities = {}, {}
    for stem in stems:
        target = executed(stem, scale, device, root)
        identities[stem] = fingerprint(stem, root, values)  # before the run: a later edit makes it stale
        target.parent.mkdir(parents=True, exist_ok=True)
        _stamp(target).unlink(missing_ok=True)
        running = target.with_suffix(".running.ipynb")
        nbformat.write(sources[stem], running)
        work[str(running)] = stem
    modules = sorted({name for source in sources.values() for name in _imported(source)})
    for path, status, said in _workshop(list(work), values, jobs, modules, root, threads):
        stem, running = work[path], Path(path)
        notebook = nbformat.read(running, as_version=4)
        if status != 0:
            raise Failure(_explain(stem, notebook, said, running))
        target = executed(stem, scale, device, root)
        nbformat.write(_fold_parameters(notebook, values), target)
        _stamp(target).write_text(identities[stem])
        running.unlink()
        running.with_suffix(".log").unlink()
        yield stem


def _stamp(target: Path) -> Path:
    return target.with_suffix(".sha256")


def _seconds(target: Path) -> float:
    """How long papermill took for an executed chapter; infinite where it is not known."""
    try:
        return float(nbformat.read(target, as_version=4).metadata.papermill.duration)
    except (OSError, ValueError, AttributeError, TypeError):
        return math.inf


def _imported(notebook: NotebookNode) -> Iterator[str]:
    """Modules that the code cells import, or may: `from a import b` gives a and a.b."""
    for cell in code_cells(notebook):
        try:
            nodes = list(ast.walk(ast.parse(cell.source)))
        except SyntaxError:  # a magic, or what the kernel will complain about
            continue
        for node in nodes:
            if isinstance(node, ast.Import):
                yield from (alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                yield node.module
                yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _workshop(
    paths: list[str], values: dict[str, str], jobs: int, modules: list[str], root: Path, threads: int
) -> Iterator[tuple[str, int, str]]:
    """Path, exit status and last words of each notebook that `lib/workshop.py` has executed in place."""
    process = subprocess.Popen(
        [sys.executable, "-P", str(WORKSHOP), str(jobs), *modules],
        cwd=root / "book",
        env=_kernel_environment(root, threads),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        process.stdin.write(json.dumps([[path, values] for path in paths]))
        process.stdin.close()
        for line in process.stdout:
            path, status = json.loads(line)
            yield path, status, Path(path).with_suffix(".log").read_text()
        if process.wait() != 0:
            raise Failure(f"lib/workshop.py, which executes the chapters, ended with status {process.returncode}.")
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)  # chapters that still run; their kernels follow them
        process.wait()
        process.stdout.close()


def _kernel_environment(root: Path, threads: int) -> dict[str, str]:
    """The environment of a kernel: `lib` importable, `threads` threads, no progress bars."""
    environment = {key: value for key, value in os.environ.items() if key != "MPLBACKEND"}
    return environment | {
        "PYTHONPATH": str(root),
        "PYTHONHASHSEED": "0",
        "OMP_NUM_THREADS": str(threads),
        "MKL_NUM_THREADS": str(threads),
        "TQDM_DISABLE": "1",
        "PYDEVD_DISABLE_FILE_VALIDATION": "1",
    }


def _explain(stem: str, notebook: NotebookNode, stderr: str, work: Path) -> str:
    """One line that says which cell of which chapter failed, and how."""
    cells = [cell for cell in code_cells(notebook) if not has_tag(cell, "injected-parameters")]
    for number, cell in enumerate(cells, start=1):
        for output in cell.outputs:
            if output.output_type == "error":
                first = next(iter(cell.source.strip().splitlines()), "")
                error = f"{output.ename}: {output.evalue}".strip().splitlines()[-1]
                return (
                    f"book/{stem}.md: code cell {number} ({first!r}) failed with {error}; "
                    f"the notebook up to there is {work}."
                )
    last = ([line for line in stderr.splitlines() if line.strip()] or ["no message"])[-1]
    return f"book/{stem}.md could not be executed: {last.strip()}"


def _fold_parameters(notebook: NotebookNode, values: dict[str, str]) -> NotebookNode:
    """One parameters cell, with the values that were used, instead of defaults and overrides."""
    notebook.cells = [
        cell for cell in notebook.cells if not has_tag(cell, "injected-parameters")
    ]
    for cell in code_cells(notebook):
        if has_tag(cell, "parameters"):
            cell.source = with_parameters(cell.source, values)
    return notebook
