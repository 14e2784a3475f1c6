"""Sweeps: the same records from processes, from a dask cluster, and from one that loses a worker."""

import json
import os
import subprocess
import sys
import time

import pytest
import torch
import xarray as xr

from lib import records
from lib.cli import main
from lib.errors import Failure, UsageError
from lib.runs import making, sweeps
from lib.specs import ImageSpec, LinearSpec

SPECS = [
    ImageSpec(
        width=1 / 16,
        depth=7,
        data="synthetic",
        train_images=512,
        batch_size=32,
        steps=300,
        precision="float64",
        seed=seed,
        norm=norm,
    )
    for seed in range(2)
    for norm in ("none", "batchnorm")
]


@pytest.fixture
def cluster(tmp_path):
    """Address of a dask scheduler, and two workers on loopback that write checkpoints all the time."""
    # A copy of the library, so that checkpoints of the test stay in its folder.
    root = tmp_path / "project"
    root.mkdir()
    (root / "lib").symlink_to(records.LIB)
    preload = root / "often.py"
    preload.write_text(
        "from pathlib import Path\nfrom lib import records\nfrom lib.runs import training\n"
        "training.CHECKPOINT_EVERY = 0\nrecords.CACHE = Path('_build/records').resolve()\n"
    )
    environment = os.environ | {"PYTHONPATH": str(root)}
    started = []

    def start(*arguments: str) -> subprocess.Popen:
        with (root / f"log{len(started)}").open("w") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "dask", *arguments], cwd=root, env=environment, stdout=log, stderr=log
            )
        started.append(process)
        return process

    file = root / "scheduler.json"
    start("scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--scheduler-file", str(file))
    _wait(lambda: file.is_file() and json.loads(file.read_text() or "{}"))
    worker = (
        "worker",
        "--scheduler-file",
        str(file),
        "--host",
        "127.0.0.1",
        "--nthreads",
        "1",
        "--no-nanny",
        "--no-dashboard",
    )
    workers = [start(*worker, "--preload", str(preload)) for _ in range(2)]
    yield json.loads(file.read_text())["address"], workers, root
    for process in started:
        process.kill()
        process.wait()


def _wait(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


def test_a_worker_killed_in_mid_run_loses_nothing(cluster, tmp_path):
    address, workers, root = cluster
    folder = tmp_path / "records"
    sweep = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys; from pathlib import Path; from lib.runs import sweeps; from lib.specs import from_canonical\n"
            "sweeps.ensure([from_canonical(t) for t in sys.argv[3:]], folder=Path(sys.argv[1]), scheduler=sys.argv[2])",
            str(folder),
            address,
            *(spec.canonical() for spec in SPECS),
        ]
    )
    checkpoints = root / "_build" / "checkpoints"
    _wait(lambda: len(list(checkpoints.glob("*.pt"))) >= 2)
    workers[0].kill()
    assert sweep.wait(120) == 0
    made = [records.read(folder / records.file_name(spec)) for spec in SPECS]
    assert any(record.attrs["resumed"] for record in made)
    torch.set_num_threads(1)
    for spec, record in zip(SPECS[:2], made):
        expected = making.make(spec, folder=tmp_path / "here")
        xr.testing.assert_equal(record, expected)


def test_processes_make_the_same_records(tmp_path):
    spec = LinearSpec(layers=4, samples=50, steps=20, seeds=2)
    sweeps.ensure([spec, spec.but(norm="l1")], jobs=2, folder=tmp_path)
    xr.testing.assert_equal(
        records.read(tmp_path / records.file_name(spec)), making.make(spec, folder=tmp_path / "here")
    )


@pytest.mark.parametrize(
    "address", ["tcp://127.0.0.1:1", "ucx://127.0.0.1:1", "tls://127.0.0.1:1", "nonsense", "x://y"]
)
def test_no_scheduler_is_named(tmp_path, monkeypatch, address):
    monkeypatch.setattr(sweeps, "SCHEDULER_SECONDS", 1)
    with pytest.raises(Failure, match=f"no dask scheduler answers at '{address}'") as raised:
        sweeps.ensure([SPECS[0]], folder=tmp_path, scheduler=address)
    assert "\n" not in str(raised.value)


def test_too_few_images_are_said_before_the_first_run(tmp_path, capfd):
    with pytest.raises(UsageError, match="train_images is 50000, but 'synthetic' has 4000"):
        sweeps.ensure([SPECS[0], SPECS[0].but(train_images=50_000)], folder=tmp_path)
    assert capfd.readouterr() == ("", "") and not list(tmp_path.glob("*.nc"))


def test_sweep_of_a_file_of_specs(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(records, "CACHE", tmp_path / "_build" / "records")
    spec = LinearSpec(layers=3, samples=50, steps=5, seeds=1)
    file = tmp_path / "specs"
    file.write_text(spec.canonical() + "\n\n")
    assert main(["sweep", "--specs", str(file), "--jobs", "1"]) == 0
    assert "1 of 1 records are there" in capsys.readouterr().out
    file.write_text('{"network": "vgg"}')
    assert main(["sweep", "--specs", str(file)]) == 2
    assert "is not a spec" in capsys.readouterr().err
    assert main(["sweep"]) == 2 and "nothing to run" in capsys.readouterr().err
    assert main(["sweep", "--specs", str(tmp_path / "none")]) == 2


def test_runs_end_with_the_process_that_asked_for_them(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(
        "import os, sys, time, joblib\n"
        "from pathlib import Path\n"
        "from lib.runs import sweeps\n"
        "def run(place, asked_by):\n"
        "    sweeps.end_with(asked_by)\n"
        "    place.write_text(str(os.getpid()))\n"
        "    time.sleep(60)\n"
        "if __name__ == '__main__':\n"
        "    sweeps.end_with(os.getpid())  # asked by itself: nothing to watch\n"
        "    places = [Path(sys.argv[1]) / name for name in ('one', 'two')]\n"
        "    joblib.Parallel(2)(joblib.delayed(run)(place, os.getpid()) for place in places)\n"
    )
    process = subprocess.Popen([sys.executable, str(program), str(tmp_path)])
    places = [tmp_path / "one", tmp_path / "two"]
    end = time.monotonic() + 100
    while not all(place.is_file() and place.read_text() for place in places):
        assert process.poll() is None and time.monotonic() < end
        time.sleep(0.1)
    process.kill()
    process.wait()
    workers = [int(place.read_text()) for place in places]
    end = time.monotonic() + 5
    while any(os.path.exists(f"/proc/{worker}") for worker in workers):
        assert time.monotonic() < end, "workers outlive the process that asked for their runs"
        time.sleep(0.1)
