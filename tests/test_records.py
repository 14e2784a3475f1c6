"""Records: whole or not at all, traceable, resumable, and honest under replay."""

import hashlib
import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
import xarray as xr

from lib import files, records, runs
from lib.errors import Failure, UsageError
from lib.paper import experiments, results
from lib.paper.experiments import Experiment
from lib.paper.labels import Label
from lib.runs import making, training
from lib.specs import ImageSpec, LinearSpec, Noise

SPEC = LinearSpec(layers=4, dim=3, samples=20, steps=12, seeds=2, landscape_every=5, shift_every=5)
TINY = ImageSpec(
    width=1 / 16,
    depth=7,
    data="synthetic",
    train_images=64,
    batch_size=32,
    steps=4,
    precision="float64",
    eval_images=50,
    landscape_every=2,
    shift_every=2,
    moments_every=2,
    histogram_every=2,
    eval_every=2,
)


def test_a_record_says_where_it_comes_from(store):
    made = making.make(SPEC, folder=store)
    read = records.read(store / records.file_name(SPEC))
    xr.testing.assert_identical(made, read)
    for name in ("spec", "hash", "code", "data", "torch", "device", "threads", "seconds", "recorded"):
        assert name in read.attrs, name
    assert json.loads(read.attrs["spec"])["dim"] == 3
    assert read.attrs["code"] == records.code_version()
    # With xarray alone
    assert xr.open_dataset(store / records.file_name(SPEC)).loss.shape == (12, 2)


def test_a_gpu_is_named_by_torch(monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "a GPU")
    assert making.device_name("cuda") == "a GPU" and making.device_name("cpu") not in ("", "a GPU")


#: What requirements.txt has beyond what a GPU machine may be expected to have, or to be given as small pure-Python
#: wheels.
ABSENT = (
    "numba",
    "llvmlite",
    "distributed",
    "dask",
    "sympy",
    "jupyter_book",
    "sphinx",
    "jupytext",
    "papermill",
    "myst_nb",
    "nbformat",
    "nbclient",
    "ipykernel",
    "IPython",
    "ipywidgets",
    "anywidget",
    "traitlets",
    "yaml",
    "curvlinops",
    "hypothesis",
    "selenium",
)


def test_recording_needs_few_packages(tmp_path):
    """`record` as on a bare GPU machine, and the same records as with everything there."""
    specs = [SPEC, SPEC.but(norm="l1"), TINY.but(norm="noisy")]
    program = f"""
import sys
sys.modules.update(dict.fromkeys({ABSENT!r}))
from pathlib import Path
from lib import cli, records
records.COMMITTED = records.CACHE = Path({str(tmp_path)!r}) / "records"
Path("specs").write_text({chr(10).join(spec.canonical() for spec in specs)!r})
swept = cli.main(["sweep", "--specs", "specs", "--jobs", "1"])
sys.exit(swept or cli.main(["record", "fig-9", "--scale", "smoke", "--device", "cpu"]))
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(records.LIB.parent)},
    )
    assert done.returncode == 0, done.stderr
    assert "3 of 3 records are there" in done.stdout and "2 of 2 records are in" in done.stdout
    for spec in specs:
        made = records.read(tmp_path / "records" / records.file_name(spec))
        xr.testing.assert_allclose(made, training.run(spec), rtol=1e-7, atol=1e-12)


@pytest.fixture
def experiment(monkeypatch):
    """The name of an experiment of one small run."""
    runs = {Label("none"): [SPEC]}
    monkeypatch.setitem(experiments.EXPERIMENTS, "small", Experiment("A small run", lambda scale: runs))
    return "small"


def obtain(name):
    """The curve of `name`, made where it has no record, and read from the disk."""
    results.forget()
    (curve,) = runs.obtain(name, "smoke", jobs=1).values()
    return curve


def test_obtain_runs_once(store, experiment, monkeypatch):
    first = obtain(experiment)
    monkeypatch.setattr(training, "run", lambda *_: pytest.fail("ran again"))
    xr.testing.assert_identical(obtain(experiment), first)


def test_a_cached_record_of_other_code_is_made_again(store, experiment, monkeypatch):
    obtain(experiment)
    monkeypatch.setattr(records, "code_version", lambda: "other")
    assert records.find(SPEC) is None
    assert obtain(experiment).attrs["code"] == "other"


def test_code_version_ignores_comments_but_not_numbers(tmp_path, monkeypatch):
    for name in records.SOURCES:
        (tmp_path / f"{name}.py").parent.mkdir(exist_ok=True)
        (tmp_path / f"{name}.py").write_text((records.LIB / f"{name}.py").read_text())
    monkeypatch.setattr(records, "LIB", tmp_path)

    def version():
        records.code_version.cache_clear()
        return records.code_version()

    try:
        before = version()
        for name, number in (("norms/layers", "EPS = 1e-5"), ("data", "20180529"), ("runs/batches", "1_000_000_000")):
            path = tmp_path / f"{name}.py"
            text = path.read_text()
            assert text.startswith('"""') and number in text
            path.write_text(text.replace('"""', '"""Other words. ', 1) + "\n# a comment\n")
            assert version() == before, name
            path.write_text(text.replace(number, "7"))
            assert version() != before, name
            path.write_text(text)
    finally:
        records.code_version.cache_clear()


def test_a_damaged_cache_is_made_again(store, experiment):
    path = records.CACHE / records.file_name(SPEC)
    obtain(experiment)
    path.write_bytes(path.read_bytes()[:300])
    assert records.find(SPEC) is None
    assert obtain(experiment).attrs["hash"] == SPEC.hash and records.find(SPEC) == path


def test_damaged_and_misplaced_records_are_named(store):
    making.make(SPEC, folder=store)
    path = store / records.file_name(SPEC)
    other = store / records.file_name(SPEC.but(steps=13))
    other.write_bytes(path.read_bytes())
    with pytest.raises(Failure, match="holds the record of"):
        records.read(other)
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(Failure, match="not a readable record.*remove it"):
        records.read(path)
    with pytest.raises(Failure, match="not a readable record"):
        records.read(store / "absent.nc")


def test_a_full_disk_leaves_no_half_record_and_keeps_the_checkpoint(store, monkeypatch):
    spec = ImageSpec(
        width=1 / 16, depth=7, data="synthetic", train_images=64, batch_size=32, steps=3, precision="float64"
    )
    monkeypatch.setattr(training, "CHECKPOINT_EVERY", 0)

    with monkeypatch.context() as patch, pytest.raises(Failure, match="No space left.*resumes"):
        patch.setattr(files.os, "fsync", full_for("record"))
        making.make(spec)
    assert not list(records.CACHE.glob("*"))
    assert len(list((store / "checkpoints").iterdir())) == 1
    assert making.make(spec).attrs["resumed"] == 1
    assert not list((store / "checkpoints").iterdir())


def full_for(word):
    """An `os.fsync` for which the disk is full when the file's path has `word` in it."""

    def fsync(descriptor):
        if word in os.readlink(f"/proc/self/fd/{descriptor}"):
            raise OSError(28, "No space left on device")

    return fsync


def test_a_record_is_committed_whole_or_not_at_all(store, monkeypatch):
    making.make(SPEC)
    cached, target = records.find(SPEC), store / "committed"
    with monkeypatch.context() as patch, pytest.raises(Failure, match="No space left"):
        patch.setattr(files.os, "fsync", full_for("committed"))
        records.commit(cached)
    assert not list(target.iterdir())
    records.commit(cached)
    assert records.find(SPEC) == target / cached.name and records.read(target / cached.name).attrs["hash"] == SPEC.hash
    assert records.sums(target) == {cached.name: hashlib.sha256(cached.read_bytes()).hexdigest()}


def test_controls_of_a_later_seed_replay(store):
    spec = TINY.but(seed=1, norm="batchnorm", steps=5, controls_every=2, step_lengths=(0.5, 1.0))
    assert making.replay(making.make(spec), steps=3) <= making.REPLAY_TOLERANCE["float64"]


def test_replay_agrees_with_itself_and_sees_a_change_of_one_percent(store, monkeypatch):
    record = making.make(SPEC)
    assert making.replay(record) == 0
    changed = record.copy(deep=True)
    changed["loss"] = changed.loss * 1.01
    assert making.replay(changed) == pytest.approx(0.01, rel=0.1) and making.tolerance(changed) < 0.01
    for name in ("shift_cosine", "landscape_loss"):
        other = record.copy(deep=True)
        other[name] = other[name] * 1.01
        assert making.replay(other) > making.tolerance(other), name
    near = record.copy(deep=True)
    near["grad_change"][{"step_length": 0}] *= 1.01  # tiny beside the other lengths
    assert making.replay(near) > 5e-3
    opposite = record.copy(deep=True)
    opposite["landscape_loss"][0, 0, 0] = np.inf
    both = record.copy(deep=True)
    both["landscape_loss"][0, 0, 0] = -np.inf
    with monkeypatch.context() as patch:
        patch.setattr(training, "run", lambda *_: both)
        assert making.replay(both) == 0 and making.replay(opposite) == float("inf")
    for name in ("step_length", "landscape_step", "seed"):
        assert making.replay(record.assign_coords({name: record[name] * 2 + 1})) == float("inf"), name
    assert making.replay(record.drop_vars("grad_change")) == float("inf")
    huge = record.copy(deep=True)
    huge["landscape_loss"][0, 0, 0] = np.inf
    assert making.replay(huge) == float("inf")
    lost = record.copy(deep=True)
    lost["grad_change"] = lost.grad_change * np.nan
    assert making.replay(lost) == float("inf")
    with pytest.raises(UsageError, match="steps is 0"):
        making.replay(record, steps=0)


def test_where_rounding_grows_fast_fewer_steps_are_compared_and_never_none():
    probes = dict.fromkeys(("landscape_every", "shift_every", "moments_every", "histogram_every", "eval_every"), 0)
    wild = TINY.but(precision="float32", steps=12, norm="l2", step_size=1.0, **probes)
    record = making.make(wild)
    # What another processor might have made: the same run from weights that differ in their last bits.
    elsewhere = training.run(wild.but(init_scale=1 + 2.0**-21)).assign_attrs(record.attrs)
    assert making.replay(elsewhere, 12) > making.tolerance(record)
    worst, steps = making.verify(elsewhere, 12)
    assert worst <= making.tolerance(record) and steps < 12
    assert making.verify(record, 12) == (0, 12)
    stale = elsewhere.copy(deep=True)
    stale["loss"] = stale.loss * 1.01
    worst, _ = making.verify(stale, 12)
    assert worst > making.tolerance(record)


def test_catalogue_has_a_row_for_runs_that_differ_in_the_seed_alone(store):
    other = TINY.but(norm="noisy", noise=Noise().scaled(2), momentum=0.9)
    for spec in (SPEC, other, other.but(seed=1), other.but(landscape_every=1), other.but(noise=Noise(r_sigma=0.3))):
        making.make(spec, folder=store / "committed")
    rows = records.catalogue(store / "committed").set_index("else")
    assert len(rows) == 3 and set(rows.network) == {"deep_linear", "vgg"}
    tiny = "depth 7, train_images 64, batch_size 32, precision float64"
    assert rows.seeds[f"noise 2x, {tiny}, momentum 0.9"] == "0,1"
    assert rows.seeds[f"r_sigma 0.3, {tiny}, momentum 0.9"] == "0"
    assert rows.seeds["layers 4, dim 3, samples 20"] == "0-1"


def test_rounding_of_another_device_does_not_make_a_record_stale():
    record = making.make(TINY.but(precision_every=2))
    other = record.assign_attrs(kind="cuda", device="a GPU").assign(error_beta=record.error_beta * 2)
    assert making.replay(other) == 0 and making.replay(other.assign_attrs(kind="cpu")) > 0.1
    noisy = making.make(TINY.but(norm="noisy"))
    assert making.replay(noisy.assign_attrs(kind="cuda", device="a GPU")) == 0  # noise is the same everywhere


def test_an_empty_folder_has_an_empty_catalogue(tmp_path):
    rows = records.catalogue(tmp_path)
    assert len(rows) == 0 and "minutes" in rows.columns and "seeds" in rows.columns


def test_a_catalogue_names_each_constant_of_the_noise(store):
    making.make(TINY.but(norm="noisy", noise=Noise(r_mu=0.2)), folder=store / "committed")
    (said,) = records.catalogue(store / "committed")["else"]
    assert "r_mu 0.2" in said and "r_sigma" not in said


COMMITTED = sorted(records.COMMITTED.glob("*.nc"))


def test_there_are_committed_records_and_they_are_small():
    assert COMMITTED
    # The list of their sums is complete, and nothing else is in it.
    assert set(records.sums(records.COMMITTED)) == {path.name for path in COMMITTED}
    assert sum(path.stat().st_size for path in COMMITTED) < 40e6


def _one_of_each(paths):
    """One record of each kind of run: those that differ in seed, step size, noise or initial weights only are one kind.

    Not of what takes minutes, networks at full width with their probes: `make verify` has them.
    """
    kinds = {}
    for path in sorted(paths, reverse=True):  # the highest seed: a zero hides what depends on it
        with xr.open_dataset(path, engine="h5netcdf") as record:
            spec = json.loads(record.attrs["spec"])
        if spec.get("width") == 1 and spec["landscape_every"]:
            continue
        for name in ("seed", "step_size", "noise", "init_scale"):
            spec.pop(name, None)
        kinds.setdefault(json.dumps(spec, sort_keys=True), path)
    return list(kinds.values())


@pytest.mark.slow
@pytest.mark.parametrize("path", _one_of_each(COMMITTED), ids=lambda path: path.stem)
def test_committed_records_replay(path):
    """The first steps of committed records come out again; `make verify` does all of them at length."""
    from lib.data import available

    record = records.read(path)
    if json.loads(record.attrs["spec"]).get("data") == "cifar10-jpeg" and available() != "cifar10-jpeg":
        pytest.skip("the images of this record are not here; set BN_DATA to their folder")
    assert making.verify(record)[0] <= making.tolerance(record)
