"""Sweeps: the same records from processes, from a dask cluster, and from one that loses a worker."""

import json
import os
import subprocess
import sys
import time

import pytest
import torch
import xarray as xr

from lib import records, sweeps
from lib.cli import main
from lib.errors import Failure
from lib.specs import LinearSpec, VGGSpec

SPECS = [
    VGGSpec(
        width=1 / 16, depth=7, data="synthetic", train_images=512, batch_size=32, steps=300, precision="float64", seed=seed,
        norm=norm,
    )
    for seed in range(2)
    for norm in ("none", "batchnorm")
]  # fmt: skip


@pytest.fixture
def cluster(tmp_path):
    """Address of a dask scheduler, and two workers on loopback that write checkpoints all the time."""
    # A copy of the library, so that checkpoints of the test stay in its folder.
    root = tmp_path / "project"
    root.mkdir()
    (root / "lib").symlink_to(records.LIB)
    preload = root / "often.py"
    preload.write_text(
        "from pathlib import Path\nfrom lib import records, training\n"
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
    worker = ("worker", "--scheduler-file", str(file), "--host", "127.0.0.1", "--nthreads", "1", "--no-nanny", "--no-dashboard")
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
            sys.executable, "-c",
            "import sys; from pathlib import Path; from lib import sweeps; from lib.specs import from_canonical\n"
            "sweeps.ensure([from_canonical(t) for t in sys.argv[3:]], folder=Path(sys.argv[1]), scheduler=sys.argv[2])",
            str(folder), address, *(spec.canonical() for spec in SPECS),
        ]
    )  # fmt: skip
    checkpoints = root / "_build" / "checkpoints"
    _wait(lambda: len(list(checkpoints.glob("*.pt"))) >= 2)
    workers[0].kill()
    assert sweep.wait(120) == 0
    made = [records.read(folder / records.file_name(spec)) for spec in SPECS]
    assert any(record.attrs["resumed"] for record in made)
    torch.set_num_threads(1)
    for spec, record in zip(SPECS[:2], made):
        expected = records.make(spec, folder=tmp_path / "here")
        xr.testing.assert_equal(record, expected)


def test_processes_make_the_same_records(tmp_path):
    spec = LinearSpec(layers=4, samples=50, steps=20, seeds=2)
    sweeps.ensure([spec, spec.but(norm="l1")], jobs=2, folder=tmp_path)
    xr.testing.assert_equal(records.read(tmp_path / records.file_name(spec)), records.make(spec, folder=tmp_path / "here"))


def test_no_scheduler_is_named(tmp_path):
    with pytest.raises(Failure, match="no dask scheduler answers at 'tcp://127.0.0.1:1'"):
        sweeps.ensure([SPECS[0]], folder=tmp_path, scheduler="tcp://127.0.0.1:1")


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
