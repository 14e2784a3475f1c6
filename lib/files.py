"""Files: written whole or not at all, read only where they are files, and sealed with the sum of their bytes."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import re
import socket
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lib.errors import Failure

#: A seal: the SHA-256 of the bytes before it, in a line at the end of the file.
_SEAL = re.compile(rb"\nsha256 ([0-9a-f]{64})\n\Z")
_SEAL_BYTES = len("\nsha256 ") + 64 + 1
#: No file of this project is larger; one that is would only fill the memory.
LARGEST = 2**30
_DAY = 24 * 3600


@contextmanager
def replacing(path: Path, way_out: str = "free some space and run again") -> Iterator[io.BytesIO]:
    """A buffer in memory; when the block ends, what is in it replaces the file in `path`, whole or not at all.

    Bytes go to a temporary file beside it, to the disk, and then to its name, so that no reader sees a part, and two
    writers do not mix. Partial files that dead processes left in the folder are removed.
    Raises `Failure` with the `way_out` where the file cannot be written; an error inside the block leaves the old file.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "answer"
    >>> with replacing(path) as file:
    ...     _ = file.write(b"42")
    >>> path.read_bytes()
    b'42'
    """
    buffer = io.BytesIO()
    yield buffer
    partial = path.with_name(f".{path.name}.{_host()}.{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _sweep(path.parent)
        with partial.open("wb") as file:
            file.write(buffer.getbuffer())
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        raise Failure(f"cannot write {path} ({reason(error)}); {way_out}.") from error
    finally:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)


def _host() -> str:
    return re.sub(r"[^A-Za-z0-9-]", "-", socket.gethostname()) or "host"


def _sweep(folder: Path) -> None:
    """Remove the partial files of this machine's dead processes, and any that is older than a day."""
    for partial in folder.glob(".*.partial"):
        *_, host, process, _ = partial.name.split(".")
        with contextlib.suppress(OSError):
            dead = host == _host() and process.isdigit() and not _alive(int(process))
            if dead or partial.stat().st_mtime < time.time() - _DAY:
                partial.unlink()


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):  # another user's, or no number of a process
        pass
    return True


def check_writable(folder: Path) -> None:
    """Raise `Failure` where files cannot be written into `folder`, which is made; hours of work are lost else."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Failure(f"cannot make the folder {folder} ({reason(error)}); run where you may write.") from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise Failure(f"cannot write into {folder}; run where you may write, in a copy of the project for example.")


def contents(path: Path) -> bytes:
    """The bytes of the file in `path`.

    Raises OSError for a folder, pipe or device, before it is opened, and for a file beyond `LARGEST`.
    """
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise OSError("it is a folder, a pipe or a device, not a file")
    if status.st_size > LARGEST:
        raise OSError(f"it has {status.st_size:,} bytes, more than any file of this project")
    with path.open("rb") as file:
        return file.read(LARGEST)


def sealed(content: bytes) -> bytes:
    """The content with its seal at the end."""
    return content + f"\nsha256 {sha256(content)}\n".encode()


def unsealed(content: bytes, must: bool = True) -> bytes:
    """The content without its seal.

    Raises ValueError where the sum is another, and where there `must` be a seal and is none.
    """
    seal = _SEAL.search(content, max(0, len(content) - _SEAL_BYTES))
    if seal is None:
        if must:
            raise ValueError("it has no sum of its bytes at its end: it is truncated, or not from here")
        return content
    content = content[: seal.start()]
    if sha256(content) != seal[1].decode():
        raise ValueError("its bytes do not have the sum that stands at its end: it is damaged")
    return content


def sha256(content: bytes) -> str:
    """The SHA-256 of the content, 64 hex digits."""
    return hashlib.sha256(content).hexdigest()


def reason(error: BaseException) -> str:
    """What went wrong, in one line of at most 200 characters."""
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    text = " ".join((text or type(error).__name__).split())
    return text if len(text) <= 200 else f"{text[:197]}..."
