"""Notebooks executed side by side, with heavy imports paid once.

A program of its own: `python -P lib/workshop.py JOBS MODULE ...` imports the modules, reads from
standard input a JSON list of [path of a notebook, its parameters], and has papermill execute each in
place in the current folder. It writes a JSON line [path, exit status] for each that is done; what a
notebook's processes said is beside it, in a file that ends in `.log`.

Where processes can be forked, each notebook has two forks of this one, for papermill and for the
kernel: both start with everything loaded. Elsewhere both start from nothing, with the same result.
It imports nothing of `lib` for itself, because the notebooks may come with another `lib`.
"""

from __future__ import annotations

import importlib
import json
import multiprocessing
import os
import sys
from contextlib import suppress
from importlib.metadata import EntryPoint
from multiprocessing.connection import Connection, wait
from pathlib import Path

import papermill
from ipykernel.kernelapp import IPKernelApp
from jupyter_client.provisioning import KernelProvisionerFactory, LocalProvisioner

FORKS = sys.platform == "linux"  # other systems' libraries do not survive a fork


class _Waiting:
    """A forked kernel, waiting to be told its connection file; a `subprocess.Popen` as far as Jupyter looks at it."""

    stdin = stdout = stderr = None

    def __init__(self) -> None:
        self._ours, theirs = multiprocessing.Pipe()
        self._process = multiprocessing.get_context("fork").Process(target=self._become, args=(theirs,))
        self._process.start()
        theirs.close()
        self._ours.recv()
        self.pid = self._process.pid
        self.send_signal = lambda number: os.kill(self.pid, number)
        self.kill, self.terminate = self._process.kill, self._process.terminate

    def _become(self, told: Connection) -> None:
        self._ours.close()
        os.setsid()  # signals to the kernel's group reach what it starts, and no other chapter
        told.send("ready")
        arguments = told.recv()
        sys.argv = ["ipykernel_launcher", *arguments]
        IPKernelApp.launch_instance([*arguments, f"--IPKernelApp.parent_handle={os.getppid()}"])

    def start(self, command: list[str]) -> None:
        """Become the kernel that `command` would start."""
        self._ours.send(command[command.index("-f") :])

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self) -> int | None:
        self._process.join()
        return self._process.exitcode


class Provisioner(LocalProvisioner):
    """Jupyter's way to a local kernel, but that the kernel is there already."""

    waiting: _Waiting

    async def launch_kernel(self, cmd: list[str], **_) -> dict:
        self.process = self.waiting
        self.process.start(cmd)
        self.pid = self.pgid = self.process.pid
        return self.connection_info


def _execute(path: str, parameters: dict[str, str]) -> None:
    with Path(path).with_suffix(".log").open("w") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    if FORKS:
        Provisioner.waiting = _Waiting()  # forked while this process has a single thread
        jupyter = KernelProvisionerFactory.instance()
        jupyter.default_provisioner_name = "forked"
        # A module of its own beside the program's, which would be `__main__`.
        jupyter.provisioners["forked"] = EntryPoint("forked", "workshop:Provisioner", jupyter.GROUP_NAME)
        sys.modules["workshop"] = sys.modules[__name__]
    papermill.execute_notebook(path, path, parameters, progress_bar=False, coalesce_streams=True)


def main(jobs: int, modules: list[str]) -> None:
    """Execute the notebooks named on standard input, `jobs` at a time, in their order."""
    for name in modules if FORKS else []:
        with suppress(Exception):  # not a module, or a broken one: the cell that imports it says so better
            importlib.import_module(name)
    notebooks = json.load(sys.stdin)
    context = multiprocessing.get_context("fork" if FORKS else "spawn")
    running = {}
    while notebooks or running:
        while notebooks and len(running) < jobs:
            path, parameters = notebooks.pop(0)
            process = context.Process(target=_execute, args=(path, parameters))
            process.start()
            running[process.sentinel] = process, path
        for ended in wait(list(running)):
            process, path = running.pop(ended)
            process.join()
            print(json.dumps([path, process.exitcode]), flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
