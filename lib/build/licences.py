"""Licences of what a site contains besides the book: their texts are copied into it, and a page lists them."""

from __future__ import annotations

import json
import re
import shutil
from html import escape
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

#: Python packages whose styles, scripts or icons Sphinx copies into every site.
PACKAGES = (
    "ipywidgets",
    "jupyter-book",
    "myst-nb",
    "pydata-sphinx-theme",
    "Pygments",
    "Sphinx",
    "sphinx-book-theme",
    "sphinx-copybutton",
    "sphinx-design",
    "sphinx-togglebutton",
)
#: Where the table stands in `book/licences.md`.
PLACE = "<!-- the table of licences -->"
_LIST = "list.json"
_TEXT = re.compile(r"licen[cs]e|copying|notice", re.IGNORECASE)


def of_browser_packages(modules: Path, target: Path, ours: Path) -> None:
    """Write to `target` a text for each package in `modules` (node_modules), and a list of them.

    The widget manager is one script made of many packages, and does not say which: all that were installed are listed.
    A package under the MIT licence that comes without its text gets that of `ours`, with its own author.
    """
    rows = []
    for path in sorted(modules.rglob("package.json")):
        about = json.loads(path.read_text())
        if not ("name" in about and "version" in about) or (modules / about["name"]).resolve() != path.parent.resolve():
            continue  # a folder inside a package
        texts = sorted(file for file in path.parent.iterdir() if file.is_file() and _TEXT.search(file.name))
        rows.append(
            _write(
                target,
                about["name"],
                about["version"],
                str(about.get("license", "see the text")),
                [file.read_text(errors="replace") for file in texts] or [_without_text(about, ours)],
            )
        )
    target.mkdir(parents=True, exist_ok=True)
    (target / _LIST).write_text(json.dumps(rows))


def of_python_packages(target: Path) -> list[list[str]]:
    """Write to `target` a text for each of `PACKAGES` that is installed; returns the rows of the list."""
    rows = []
    for name in PACKAGES:
        try:
            package = distribution(name)
        except PackageNotFoundError:
            continue
        files = [file for file in package.files or () if _TEXT.search(file.name) and not file.name.endswith(".json")]
        short = package.metadata.get("License-Expression") or package.metadata.get("License") or "see the text"
        texts = [file.locate().read_text(errors="replace") for file in files]
        rows.append(_write(target, name, package.version, short.splitlines()[0], texts or [short]))
    return rows


def _without_text(about: dict, ours: Path) -> str:
    author = about.get("author", "its authors")
    author = author.get("name", "its authors") if isinstance(author, dict) else author
    if about.get("license") != "MIT":
        return f"Under the licence {about.get('license')}, by {author}. {about.get('homepage', '')}"
    return re.sub(r"^Copyright .*$", lambda _: f"Copyright (c) {author}", ours.read_text(), flags=re.MULTILINE)


def _write(target: Path, name: str, version: str, licence: str, texts: list[str]) -> list[str]:
    target.mkdir(parents=True, exist_ok=True)
    file = f"{name.strip('@').replace('/', '-')}.txt"
    (target / file).write_text(f"{name} {version}\n\n" + "\n\n".join(texts))
    return [name, version, licence, file]


def stage(assets: Path, page: Path, root: Path) -> None:
    """Put all texts into `assets`/licences, and the table into `page` where there is one."""
    target, vendored = assets / "licences", assets / "vendor" / "licences"
    if vendored.is_dir():
        vendored.rename(target)
    rows = json.loads((target / _LIST).read_text()) if (target / _LIST).is_file() else []
    (target / _LIST).unlink(missing_ok=True)
    rows += of_python_packages(target)
    if (root / "LICENSE").is_file():
        shutil.copy(root / "LICENSE", target / "this-book.txt")
    if page.is_file():
        page.write_text(page.read_text().replace(PLACE, _table(rows)))


def _table(rows: list[list[str]]) -> str:
    """Rows of name, version, licence and file as HTML: Sphinx knows nothing of these files."""
    cells = "".join(
        f'<tr><td><a href="../_static/licences/{escape(file)}">{escape(name)}</a></td>'
        f"<td>{escape(version)}</td><td>{escape(licence)}</td></tr>\n"
        for name, version, licence, file in sorted(rows, key=lambda row: row[0].lower())
    )
    head = "<tr><th>package</th><th>version</th><th>licence</th></tr>"
    return f"<table>\n<thead>{head}</thead>\n<tbody>\n{cells}</tbody></table>"
