"""The book: execute what changed, stage it, run Sphinx, publish the site.

Everything happens under `_build/`. The site `_build/html` is replaced as a
whole after a build without errors or warnings; until then the last good one stays.
"""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import yaml
from tqdm.auto import tqdm

from lib import assets
from lib.chapters import (
    DEVICES,
    ROOT,
    SCALES,
    chapters,
    execute,
    executed,
    hash_files,
    is_fresh,
    pages,
    read,
)
from lib.errors import Failure, check_choice, check_number

#: Free disk space below which a build is not started, in bytes: the browser-side
#: packages unpack to 150 MB, the executed chapters and the site take less.
SPACE = 400_000_000
_STAMP = ".built-from"


def build(
    scale: str = "laptop",
    device: str = "cpu",
    jobs: int = 2,
    *,
    root: Path = ROOT,
    site: Path | None = None,
) -> Path:
    """Build the book at `scale` on `device`; returns the path of its `index.html`.

    Executes the chapters that changed, `jobs` at a time, and publishes to `site`
    (`_build/html` of `root`). Raises `UsageError` before any work for a request
    that cannot be met, `Failure` for a failing cell, a Sphinx warning or a full disk.
    """
    check_request(scale, device, jobs)
    site = site or root / "_build" / "html"
    with _space(root):
        execute_all(scale, device, jobs, root=root)
        vendored = assets.vendor(root)
        stage = _stage(scale, device, root, vendored)
        contents = hash_files(sorted(p for p in stage.rglob("*") if p.is_file()), stage)
        if _published(site) == contents:
            print("Nothing has changed since the last build.")
        else:
            fresh = _sphinx(stage)
            (fresh / _STAMP).write_text(contents)
            _publish(fresh, site)
    index = site / "index.html"
    print(f"The book ({scale} scale, {device}): {index}\nor serve it with `make serve`.")
    return index


def check_request(scale: str, device: str, jobs: int = 1) -> None:
    """Raise `UsageError` for a scale, device or number of jobs that cannot be."""
    check_choice("scale", scale, SCALES)
    check_choice("device", device, DEVICES)
    check_number("jobs", jobs, 1, 1024, integer=True)
    if device == "cuda":
        from lib.training import check_device  # only where it is needed: it loads torch

        check_device(device)


@contextmanager
def _space(root: Path):
    """Refuse to start on a nearly full disk, and name a disk that fills up on the way."""
    free = shutil.disk_usage(root).free
    if free < SPACE:
        raise Failure(
            f"{root} has {free / 1e6:.0f} MB of free disk space, but a build needs "
            f"{SPACE / 1e6:.0f} MB; make room and build again."
        )
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise Failure(f"{root} ran out of disk space; make room and build again.") from error


def execute_all(scale: str, device: str, jobs: int = 2, *, root: Path = ROOT) -> list[str]:
    """Execute every chapter that is not up to date; returns their stems.

    All chapters are checked before the first one starts, and the first failing
    cell ends the work.
    """
    check_request(scale, device, jobs)
    stems = chapters(root)
    for stem in stems:
        read(stem, root, {"SCALE": scale, "DEVICE": device})
    stale = [stem for stem in stems if not is_fresh(stem, scale, device, root)]
    if not stale:
        return []
    if root == ROOT:  # its chapters read records: made first, before kernels share the machine
        from lib.results import prepare  # takes seconds to import

        prepare(scale, device, jobs)
    # A tiny run must not depend on the machine; a longer one shares its processors.
    threads = 1 if scale == "smoke" else max(1, (os.cpu_count() or 1) // jobs)
    with tqdm(total=len(stale), desc="Executing chapters", unit="chapter") as bar:
        for stem in execute(stale, scale, device, jobs=jobs, threads=threads, root=root):
            bar.set_postfix_str(stem)
            bar.update()
    return stale


def _stage(scale: str, device: str, root: Path, vendored: Path | None) -> Path:
    """A fresh folder with all that Sphinx reads: executed chapters, pages, assets, configuration."""
    stage = root / "_build" / "stage" / f"{scale}-{device}"
    shutil.rmtree(stage, ignore_errors=True)
    book = stage / "book"
    skip = shutil.ignore_patterns("*.md", "*.ipynb", "*.nc", "benchmark.json", "npm", ".*")
    shutil.copytree(root / "book", book, ignore=skip)
    notebooks = set(chapters(root))
    for stem in pages(root):
        source = executed(stem, scale, device, root) if stem in notebooks else None
        shutil.copy(source or root / "book" / f"{stem}.md", book)
    shutil.copy(root / "_toc.yml", stage)
    configuration = yaml.safe_load((root / "_config.yml").read_text())
    if vendored:
        shutil.copytree(vendored, book / "_assets" / "vendor")
    else:
        _use_networks_copies(configuration["sphinx"]["config"])
    # The order of the scripts in it is the order of loading: no sorting.
    text = yaml.safe_dump(configuration, sort_keys=False, allow_unicode=True)
    (stage / "_config.yml").write_text(text)
    return stage


def _use_networks_copies(settings: dict) -> None:
    """Point Sphinx at the public copies of MathJax and the widget manager that it knows."""
    from myst_nb.core.config import ipywidgets_js_factory

    settings.pop("mathjax_path", None)
    loader, manager = ipywidgets_js_factory().items()
    own = ("widget-modules.js", {})
    settings["nb_ipywidgets_js"] = dict([loader, own, manager])


def _sphinx(stage: Path) -> Path:
    """Run Sphinx on `stage` with warnings as errors; returns the folder of the site."""
    output = stage.with_name(f"{stage.name}.site")
    shutil.rmtree(output, ignore_errors=True)
    tool = Path(sys.executable).with_name("jupyter-book")
    command = [str(tool), "build", str(stage), "--path-output", str(output)]
    # Sphinx imports no `lib`, and PYTHONPATH or colour codes would only disturb it.
    environment = os.environ | {"NO_COLOR": "1", "PYTHONPATH": ""}
    done = subprocess.run(
        [*command, "--all", "-W", "-n", "--keep-going", "-q"],
        capture_output=True,
        text=True,
        env=environment,
    )
    log = stage.with_name(f"{stage.name}.log")
    log.write_text(done.stdout + done.stderr)
    if done.returncode == 0:
        return output / "_build" / "html"
    if os.strerror(errno.ENOSPC) in done.stderr:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    warnings = [
        line.replace(f"{stage}{os.sep}", "")
        for line in (done.stdout + done.stderr).splitlines()
        if "WARNING" in line or "ERROR" in line
    ]
    raise Failure("\n".join([f"Sphinx failed, and its full output is {log}:", *warnings[:20]]))


def _published(site: Path) -> str | None:
    """What the site was built from, or None where there is none."""
    stamp = site / _STAMP
    return stamp.read_text() if stamp.is_file() and (site / "index.html").is_file() else None


def _publish(fresh: Path, site: Path) -> None:
    """Put `fresh` in the place of `site`: two renames, so no reader meets half a site."""
    old = site.with_name(f"{site.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    site.parent.mkdir(parents=True, exist_ok=True)
    if site.exists():
        site.rename(old)
    fresh.rename(site)
    shutil.rmtree(old, ignore_errors=True)
