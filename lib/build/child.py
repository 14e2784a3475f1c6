"""Programs that end with the build that started them, whatever ends it.

`start` runs this file as a program of its own: `python -P child.py notebook PATH PARAMETERS` has papermill execute a
notebook in place, `python -P child.py site ARGUMENT ...` is `jupyter-book`. The build holds the other end of the
program's standard input. When the build is gone, even by SIGKILL, that end closes, and the program kills itself and
its process group; a kernel looks for its parent every second, and follows.

As a program it imports nothing of `lib`, because the notebook may come with another `lib`.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path


def start(task: str, *arguments: str, folder: Path, environment: dict[str, str], log: Path) -> subprocess.Popen:
    """Start `task` ("notebook" or "site") in `folder`; what it says goes to the file `log`."""
    with log.open("wb") as output:
        return subprocess.Popen(
            [sys.executable, "-P", __file__, task, *arguments],
            cwd=folder,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C reaches the build alone, which ends its programs in order
        )


def stop(process: subprocess.Popen) -> None:
    """End a program that `start` returned, if it still runs."""
    process.stdin.close()
    process.wait()


def _end_with_the_build() -> None:
    os.read(0, 1)  # returns at the end of the input only: nothing is ever written to it
    os.killpg(0, signal.SIGKILL)


def _main(task: str, *arguments: str) -> None:
    threading.Thread(target=_end_with_the_build, daemon=True).start()
    sys.modules["rfc3987_syntax"] = None  # see `lib/build/__init__.py`
    if task == "notebook":
        import papermill

        path, parameters = arguments
        papermill.execute_notebook(
            path, path, json.loads(parameters), kernel_name="python3", progress_bar=False, coalesce_streams=True
        )
    else:
        from jupyter_book.cli.main import main

        sys.argv = ["jupyter-book", *arguments]
        main()


if __name__ == "__main__":
    _main(*sys.argv[1:])
