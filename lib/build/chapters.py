"""Chapters: MyST Markdown notebooks in `book/`, executed by papermill.

A chapter is a page of `_toc.yml` with code cells; its first code cell, tagged
`parameters`, sets SCALE and DEVICE. An executed chapter is kept under
`_build/executed/<scale>-<device>/` with a fingerprint of everything that went
into it, and is executed again only when that changes.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import json
import math
import os
import re
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

import jupytext
import nbformat
import yaml
from nbformat import NotebookNode

from lib import data, files
from lib.build import child, modules
from lib.errors import Failure, UsageError, check_choice, shown

ROOT = Path(__file__).resolve().parents[2]
SCALES = ("smoke", "laptop", "paper")
DEVICES = ("cpu", "cuda")
#: The name that Jupyter gives to the kernel of the Python it is installed in.
KERNEL = "python3"


def pages(root: Path = ROOT) -> list[str]:
    """Stems of all pages of `_toc.yml`, in reading order."""
    entries = list(_entries(read_yaml(root / "_toc.yml")))
    for entry in entries:
        if not isinstance(entry, str):
            raise Failure(f"_toc.yml names {shown(entry)}, but must name files, such as book/index.")
        path = _source(Path(entry).name, root)
        if not os.path.isfile(path):  # False, too, for a name that no file can have
            raise Failure(f"_toc.yml names {path if len(str(path)) < 200 else shown(entry)}, which does not exist.")
    return [Path(entry).name for entry in entries]


def chapters(root: Path = ROOT) -> list[str]:
    """Stems of the pages that hold code cells, in reading order."""
    return [stem for stem in pages(root) if "{code-cell}" in read_text(_source(stem, root))]


def read_text(path: Path) -> str:
    """The text of a file, UTF-8 whatever the machine's language is; raises `Failure` where it is not."""
    try:
        return path.read_bytes().decode()
    except UnicodeDecodeError as error:
        raise Failure(f"{path} is not UTF-8 text (at byte {error.start}); save it in UTF-8.") from error


def read_yaml(path: Path) -> object:
    """What a YAML file says; raises `Failure` where it is missing, or is not YAML."""
    if not path.is_file():
        raise Failure(f"{path} does not exist; restore it.")
    try:
        return yaml.safe_load(read_text(path))
    except (yaml.YAMLError, RecursionError) as error:  # thousands of brackets in brackets
        raise Failure(f"{path} is not sound YAML ({files.reason(error)}); mend it.") from error


def without_colour(text: str) -> str:
    """`text` without the codes that colour it in a terminal."""
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


def _entries(node: object) -> Iterator[object]:
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
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)  # a cell in another language, for example
            notebook = jupytext.reads(read_text(_source(stem, root)), fmt="md:myst")
    except Failure:
        raise
    except Exception as error:  # whatever its parsers raise
        raise Failure(
            f"{where} is not a sound MyST notebook ({files.reason(error)}); mend its header or cells."
        ) from error
    kernel = notebook.metadata.get("kernelspec", {}).get("name")
    if kernel is None:
        raise Failure(f"{where} names no kernel; add `kernelspec` to its header, with `name: {KERNEL}`.")
    if kernel != KERNEL:
        raise Failure(
            f"{where} names the kernel {kernel!r}, but chapters are executed by the Python of the build; "
            f"write `name: {KERNEL}` into its header."
        )
    tagged = [cell for cell in code_cells(notebook) if has_tag(cell, "parameters")]
    if len(tagged) != 1:
        raise Failure(
            f"{where} has {len(tagged)} code cells tagged 'parameters', but must have one, which sets SCALE and DEVICE."
        )
    try:
        known = _assignments(tagged[0].source)
    except (SyntaxError, ValueError) as error:
        raise Failure(
            f"{where}: its cell tagged 'parameters' is not Python ({files.reason(error)}); mend it."
        ) from error
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
            lines[value.lineno - 1] = (line[: value.col_offset] + new + line[value.end_col_offset :]).decode()
    return "\n".join(lines)


def fingerprint(stem: str, root: Path, parameters: dict[str, str]) -> str:
    """SHA-256 of what determines the executed chapter.

    That is its source, what `modules_of` gives, the records where it can read them, the images at hand, the pinned
    packages, the version of Python, and the parameters.
    """
    source = read_text(_source(stem, root))
    facts = [sys.version, sorted(parameters.items()), source, _pinned(root), modules_of(stem, root), _images()]
    if _reads_records(source, root):
        stored = sorted((root / "book" / "records").rglob("*"))
        facts += [(path.name, modules.digest(path)) for path in stored if path.suffix in (".nc", ".json")]
    return hashlib.sha256(repr(facts).encode()).hexdigest()


def modules_of(stem: str, root: Path = ROOT) -> dict[str, str]:
    """By name, SHA-256 of the modules of `lib` that a chapter depends on, without comments and docstrings.

    They are those that its cells import, those that these import, what lies beside them, and, where the chapter can
    read records, the modules that make them.
    """
    source = read_text(_source(stem, root))
    names = _imports(source, root)
    if _reads_records(source, root):
        names += _makers_of_records()
    files = modules.files_of(names, root)
    return {path.relative_to(root).as_posix(): modules.meaning(path, root) for path in files}


def _reads_records(source: str, root: Path) -> bool:
    return "records" in source or root / "lib" / "records" / "__init__.py" in modules.files_of(
        _imports(source, root), root
    )


def _imports(source: str, root: Path) -> list[str]:
    """What a chapter's code cells import; all of `lib` where a cell is not plain Python and may import anything."""
    names = _imported(source)
    if names is None:
        paths = (root / "lib").rglob("*.py")
        return [".".join(path.relative_to(root).with_suffix("").parts) for path in paths]
    return list(names)


@functools.cache
def _imported(source: str) -> tuple[str, ...] | None:
    try:
        cells = [ast.parse(cell.source) for cell in code_cells(jupytext.reads(source, fmt="md:myst"))]
    except SyntaxError:
        return None
    return tuple(name for cell in cells for name in modules.imported(cell))


def _makers_of_records() -> list[str]:
    """The modules that decide what a record holds."""
    from lib.records import SOURCES  # it takes a second to import

    return [f"lib.{name.replace('/', '.')}" for name in SOURCES]


def _pinned(root: Path) -> list[str]:
    """The lines of `requirements.txt` that ask for a package."""
    path = root / "requirements.txt"
    lines = read_text(path).splitlines() if path.is_file() else []
    return [line for line in lines if line.strip() and not line.startswith("#")]


def _images() -> list[tuple[str, int, int]]:
    """Names, sizes and times of the images at hand: with others, what trains in a chapter gives other results."""
    folder = data.data_folder()
    seen = []
    for place, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            path = Path(place, name)
            if not name.startswith(".") and path.exists():
                seen.append((str(path.relative_to(folder)), *modules.version(path)))
    return sorted(seen)


def executed(stem: str, scale: str, device: str, root: Path = ROOT) -> Path:
    """Where the executed chapter is kept."""
    return root / "_build" / "executed" / f"{scale}-{device}" / f"{stem}.ipynb"


def is_fresh(stem: str, scale: str, device: str, root: Path = ROOT) -> bool:
    """Whether the executed chapter is there, whole, and nothing that determines it has changed."""
    notebook = executed(stem, scale, device, root)
    stamp = _stamp(notebook)
    if not (notebook.is_file() and stamp.is_file()):
        return False
    wanted = fingerprint(stem, root, {"SCALE": scale, "DEVICE": device})
    return stamp.read_bytes() == _stamped(wanted, notebook)


def _stamp(target: Path) -> Path:
    return target.with_suffix(".sha256")


def _stamped(identity: str, target: Path) -> bytes:
    """What the stamp of an executed chapter says: what it was made from, and which bytes it has."""
    return f"{identity} {hashlib.sha256(target.read_bytes()).hexdigest()}\n".encode()


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

    Each has a process of its own, which ends with this one. What took longest last time starts first. All chapters are
    checked before the first one starts; raises `Failure` naming the chapter, the code cell and the error of the first
    that fails, and stops the others.
    """
    check_choice("scale", scale, SCALES)
    check_choice("device", device, DEVICES)
    values = {"SCALE": scale, "DEVICE": device}
    sources = {stem: read(stem, root, values) for stem in stems}
    waiting = sorted(stems, key=lambda stem: -_seconds(executed(stem, scale, device, root)))
    folder = executed("any", scale, device, root).parent
    folder.mkdir(parents=True, exist_ok=True)
    for left_over in folder.glob("*.running.*"):  # by a build that was killed
        left_over.unlink()
    running: dict[str, subprocess.Popen] = {}
    identities = {}
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                stem = waiting.pop(0)
                identities[stem] = fingerprint(stem, root, values)  # before the run: a later edit makes it stale
                _stamp(folder / f"{stem}.ipynb").unlink(missing_ok=True)
                work = folder / f"{stem}.running.ipynb"
                nbformat.write(sources[stem], work)
                running[stem] = child.start(
                    "notebook",
                    str(work),
                    json.dumps(values),
                    folder=root / "book",
                    environment=_kernel_environment(root, threads),
                    log=work.with_suffix(".log"),
                )
            done = [stem for stem, process in running.items() if process.poll() is not None]
            if not done:
                time.sleep(0.05)
            for stem in done:
                _keep(stem, running.pop(stem), identities[stem], values, folder)
                yield stem
    finally:
        for process in running.values():
            child.stop(process)


def _keep(stem: str, process: subprocess.Popen, identity: str, values: dict[str, str], folder: Path) -> None:
    """Put what a finished process has made of a chapter in its place, or raise `Failure`."""
    child.stop(process)
    work, target = folder / f"{stem}.running.ipynb", folder / f"{stem}.ipynb"
    log = work.with_suffix(".log")
    notebook = nbformat.read(work, as_version=4)
    if process.returncode != 0:
        raise Failure(_explain(stem, notebook, without_colour(log.read_text(errors="replace")), work))
    nbformat.write(_tidy(notebook, values), target)
    _stamp(target).write_bytes(_stamped(identity, target))
    work.unlink()
    log.unlink()


def _seconds(target: Path) -> float:
    """How long papermill took for an executed chapter; infinite where it is not known."""
    try:
        return float(json.loads(target.read_bytes())["metadata"]["papermill"]["duration"])
    except (OSError, ValueError, KeyError, TypeError):
        return math.inf


def _kernel_environment(root: Path, threads: int) -> dict[str, str]:
    """The environment of a kernel: `lib` importable, `threads` threads, no progress bars."""
    # JUPYTER_PATH may bring another Python's kernel of the same name.
    environment = {key: value for key, value in os.environ.items() if key not in ("MPLBACKEND", "JUPYTER_PATH")}
    return environment | {
        "JUPYTER_PREFER_ENV_PATH": "1",
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
                error = without_colour(f"{output.ename}: {output.evalue}").strip().splitlines()[-1]
                return (
                    f"book/{stem}.md: code cell {number} ({first!r}) failed with {error}; "
                    f"the notebook up to there is {work}."
                )
    last = ([line for line in stderr.splitlines() if line.strip()] or ["no message"])[-1]
    return f"book/{stem}.md could not be executed: {last.strip()}"


def _tidy(notebook: NotebookNode, values: dict[str, str]) -> NotebookNode:
    """One parameters cell, with the values used, instead of two; nothing of the machine but how long it took."""
    notebook.cells = [cell for cell in notebook.cells if not has_tag(cell, "injected-parameters")]
    for cell in code_cells(notebook):
        if has_tag(cell, "parameters"):
            cell.source = with_parameters(cell.source, values)
    notebook.metadata.papermill = {"duration": notebook.metadata.papermill.duration}
    return notebook
