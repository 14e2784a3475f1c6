"""What code depends on: the modules of `lib` that it imports, and what of them counts."""

from __future__ import annotations

import ast
import functools
import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path


def imported(tree: ast.AST, package: str = "") -> Iterator[str]:
    """Names that `tree` imports, or may: `from a import b` gives a and a.b.

    `package` is what relative imports start from.
    """
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parts = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*parts, *([node.module] if node.module else [])])
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)


def files_of(names: Iterable[str], root: Path) -> list[Path]:
    """The modules below `root`/lib that importing `names` loads, and whatever else lies beside them; sorted.

    A package's `__init__.py` is loaded before its modules. Scripts and tables beside a module are taken for read by it.
    """
    found: set[Path] = set()
    waiting = list(names)
    while waiting:
        parts = waiting.pop().split(".")
        for length in range(1, len(parts) + 1 if parts[0] == "lib" else 0):
            place = root.joinpath(*parts[:length])
            for path in (place.with_suffix(".py"), place / "__init__.py"):
                if path not in found and path.is_file():
                    found.add(path)
                    waiting += module(path, root)[0]
    beside = {path for folder in {path.parent for path in found} for path in folder.iterdir()}
    others = {path for path in beside if path.is_file() and path.suffix not in (".py", ".pyc") and path.name[0] != "."}
    return sorted(found | others)


def meaning(path: Path, root: Path) -> str:
    """SHA-256 of a file below `root`; of a Python module without comments, docstrings and layout."""
    return module(path, root)[1] if path.suffix == ".py" else digest(path)


def module(path: Path, root: Path) -> tuple[tuple[str, ...], str]:
    """What the module in `path` imports, and the SHA-256 of its syntax; of its bytes where it is not Python."""
    return _module(path, ".".join(path.parent.relative_to(root).parts), *version(path))


def digest(path: Path) -> str:
    """SHA-256 of the bytes of `path`, computed once for each version of the file."""
    return _digest(path, *version(path))


def version(path: Path) -> tuple[int, int]:
    """When `path` was last written, in ns, and its size."""
    status = path.stat()
    return status.st_mtime_ns, status.st_size


@functools.cache
def _digest(path: Path, *_: int) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@functools.cache
def _module(path: Path, package: str, *_: int) -> tuple[tuple[str, ...], str]:
    source = path.read_bytes()
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):  # whoever imports it will hear of it
        return (), hashlib.sha256(source).hexdigest()
    names = tuple(imported(tree, package))
    for node in ast.walk(tree):
        kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
        if isinstance(node, kinds) and ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:]
    return names, hashlib.sha256(ast.dump(tree).encode()).hexdigest()
