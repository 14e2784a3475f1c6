"""The book: execute what changed, stage it, run Sphinx, publish the site.

Everything happens under `_build/`, one build at a time. The site `_build/html` is replaced as a
whole after a build without errors or warnings; until then the last good one stays.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import re
import shutil
import signal
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tqdm.auto import tqdm

from lib.build import assets, child
from lib.build.chapters import (
    DEVICES,
    ROOT,
    SCALES,
    chapters,
    execute,
    is_fresh,
    read,
    without_colour,
)
from lib.build.staging import stage as _stage
from lib.errors import Failure, check_choice, check_number

#: Free disk space below which a build is not started, in bytes: the browser-side
#: packages unpack to 150 MB, the executed chapters and the site take less.
SPACE = 400_000_000
_STAMP = ".built-from"
#: Lines of Sphinx's output that say what is wrong: its own, or the end of a traceback.
_TELLING = re.compile(r"WARNING|ERROR|^[\w.]*(Error|Exception|Warning): .")


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
    that cannot be met, `Failure` for a failing cell, a Sphinx warning, a full disk or another build at work.
    A build that ends before its time, by whatever signal, takes its programs with it and leaves the last good site.
    """
    check_request(scale, device, jobs)
    site = site or root / "_build" / "html"
    with _alone(root), _space(root):
        _execute_all(scale, device, jobs, root)
        vendored = assets.vendor(root)
        stage = _stage(scale, device, root, vendored)
        contents = _identity(stage)
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
        from lib.runs.training import check_device  # only where it is needed: it loads torch

        check_device(device)


@contextmanager
def _alone(root: Path) -> Iterator[None]:
    """Refuse to start while another build of `root` is at work, and take SIGTERM for Ctrl-C.

    The system gives the lock back when its holder ends, however it ends.
    """
    path = root / "_build" / ".lock"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = path.open("a+")
    except OSError as error:
        raise Failure(f"cannot write to {path.parent} ({error.strerror}); a build needs to.") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            lock.seek(0)
            holder = lock.read().strip() or "not said"
            raise Failure(f"{root} is being built already ({holder}); wait for that build, or end it.") from error
        lock.truncate(0)
        lock.write(f"process {os.getpid()} on {socket.gethostname()}, since {time.strftime('%Y-%m-%d %H:%M:%S')}\n")
        lock.flush()
        with _term_as_interrupt():
            yield


@contextmanager
def _term_as_interrupt() -> Iterator[None]:
    """SIGTERM raises `KeyboardInterrupt`, so that programs are stopped; threads but the main one get no signals."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


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


def execute_all(scale: str, device: str, jobs: int = 2, *, root: Path = ROOT, only: Sequence[str] = ()) -> list[str]:
    """Execute every chapter (or `only` those named) that is not up to date; returns their stems.

    All chapters are checked before the first one starts, and the first failing
    cell ends the work.
    """
    check_request(scale, device, jobs)
    with _alone(root):
        return _execute_all(scale, device, jobs, root, only)


def _execute_all(scale: str, device: str, jobs: int, root: Path, only: Sequence[str] = ()) -> list[str]:
    stems = list(only) or chapters(root)
    for stem in stems:
        read(stem, root, {"SCALE": scale, "DEVICE": device})
    stale = [stem for stem in stems if not is_fresh(stem, scale, device, root)]
    if not stale:
        return []
    if root == ROOT:  # its chapters read records: made first, before kernels share the machine
        from lib.runs import prepare  # takes seconds to import

        prepare(scale, device, jobs)
    # A tiny run must not depend on the machine; a longer one shares its processors.
    threads = 1 if scale == "smoke" else max(1, (os.cpu_count() or 1) // jobs)
    with tqdm(total=len(stale), desc="Executing chapters", unit="chapter") as bar:
        for stem in execute(stale, scale, device, jobs=jobs, threads=threads, root=root):
            bar.set_postfix_str(stem)
            bar.update()
    return stale


def _identity(stage: Path) -> str:
    """SHA-256 over the names and contents of all that Sphinx reads."""
    files = sorted(path for path in stage.rglob("*") if path.is_file())
    facts = [(str(file.relative_to(stage)), hashlib.sha256(file.read_bytes()).hexdigest()) for file in files]
    return hashlib.sha256(repr(facts).encode()).hexdigest()


def _use_networks_copies(settings: dict) -> None:
    """Point Sphinx at the public copies of MathJax and the widget manager that it knows."""
    from myst_nb.core.config import ipywidgets_js_factory

    settings.pop("mathjax_path", None)
    loader, manager = ipywidgets_js_factory().items()
    own = ("widget-modules.js", {})
    settings["nb_ipywidgets_js"] = dict([loader, own, manager])


def _sphinx(stage: Path) -> Path:
    """Run Sphinx on `stage` with warnings as errors; returns the folder of the site."""
    output, log = stage.with_name(f"{stage.name}.site"), stage.with_name(f"{stage.name}.log")
    shutil.rmtree(output, ignore_errors=True)
    arguments = ["build", str(stage), "--path-output", str(output), "--all", "-W", "-n", "--keep-going", "-q"]
    # Sphinx finds its extension beside the pages; it imports no `lib`, and colour codes would only disturb.
    environment = os.environ | {"NO_COLOR": "1", "PYTHONPATH": str(stage)}
    process = child.start("site", *arguments, folder=stage, environment=environment, log=log)
    try:
        process.wait()
    finally:
        child.stop(process)
    if process.returncode == 0:
        return output / "_build" / "html"
    said = without_colour(log.read_text(errors="replace"))
    if os.strerror(errno.ENOSPC) in said:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    lines = [line.replace(f"{stage}{os.sep}", "") for line in said.splitlines() if line.strip()]
    telling = [line for line in lines if _TELLING.search(line)][:20] or lines[-10:]
    raise Failure("\n".join([f"Sphinx failed, and its full output is {log}:", *telling]))


def _published(site: Path) -> str | None:
    """What the site was built from, or None where there is none."""
    stamp = site / _STAMP
    return stamp.read_text() if stamp.is_file() and (site / "index.html").is_file() else None


def _publish(fresh: Path, site: Path) -> None:
    """Make `site` a link to what `fresh` holds, by one rename: a reader meets the old site or the new one, whole."""
    sites = site.with_name(f"{site.name}.sites")
    sites.mkdir(parents=True, exist_ok=True)
    home = sites / str(time.time_ns())
    fresh.rename(home)
    link = site.with_name(f"{site.name}.new")
    link.unlink(missing_ok=True)
    link.symlink_to(home.relative_to(site.parent), target_is_directory=True)
    if site.is_dir() and not site.is_symlink():  # made before sites were links: this once there is a moment without one
        site.rename(sites / "before")
    link.replace(site)
    for other in sites.iterdir():
        if other != home:
            shutil.rmtree(other, ignore_errors=True)
