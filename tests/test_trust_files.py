"""Files are written whole or not at all; records and checkpoints with one wrong bit are refused before parsing."""

import io
import os
import random
import subprocess
import sys
import time

import h5py
import numpy as np
import pytest
import torch
import xarray as xr

from lib import files, records
from lib.errors import Failure
from lib.models import vgg
from lib.records.layout import layout
from lib.runs import making, stores, training
from lib.specs import ImageSpec, LinearSpec

SPEC = LinearSpec(layers=3, dim=3, samples=20, steps=6, seeds=2, landscape_every=3, shift_every=3)
NOISY = ImageSpec(
    norm="noisy",
    width=1 / 16,
    depth=7,
    data="synthetic",
    train_images=64,
    batch_size=32,
    steps=4,
    momentum=0.9,
    precision="float64",
)


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with pytest.raises(ZeroDivisionError), files.replacing(path) as file:
        file.write(b"half")
        _ = 1 / 0

    def full(_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch, pytest.raises(Failure, match=f"cannot write {path} .No space left.*run again"):
        patch.setattr(files.os, "fsync", full)
        with files.replacing(path) as file:
            file.write(b"new")
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]
    with files.replacing(path) as file:
        file.write(b"new")
    assert path.read_bytes() == b"new" and list(tmp_path.iterdir()) == [path]


def test_partial_files_of_dead_processes_are_swept_up(tmp_path):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    host = files._host()
    names = {
        f".a.nc.{host}.{dead.pid}.partial": False,
        f".a.nc.{host}.{os.getpid()}.partial": True,
        f".a.nc.another-{host}.{dead.pid}.partial": True,  # of a machine that shares the folder
        ".a.nc.another.1.partial": False,  # the same, a day ago
        ".a.nc.12345.partial": True,  # no host: whose it is, is not known
    }
    for name in names:
        (tmp_path / name).touch()
    os.utime(tmp_path / ".a.nc.another.1.partial", (time.time() - 90_000,) * 2)
    with files.replacing(tmp_path / "b") as file:
        file.write(b"b")
    assert {path.name for path in tmp_path.iterdir()} == {"b", *(name for name, stays in names.items() if stays)}


@pytest.mark.parametrize("kind", ["folder", "pipe", "device", "huge", "absent", "long"])
def test_only_files_are_read(tmp_path, kind):
    path = tmp_path / records.file_name(SPEC)
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "huge":
        with path.open("wb") as file:
            file.truncate(2**42)
    elif kind == "long":
        path = tmp_path / (300 * "x")
    with pytest.raises(Failure, match="is not a readable record") as raised:
        records.read(path)
    assert "\n" not in str(raised.value)


def test_a_seal_is_the_sum_of_what_stands_before_it():
    content = files.sealed(b"\nsha256 content")
    assert files.unsealed(content) == b"\nsha256 content"
    assert files.unsealed(b"older", must=False) == b"older"
    for wrong in (b"", b"older", content[:-1], content[1:], content + b"\n", b"x" + content[1:]):
        with pytest.raises(ValueError, match="sum"):
            files.unsealed(wrong)


def test_no_flipped_bit_of_a_record_passes_and_none_is_parsed(store, monkeypatch):
    making.make(SPEC, folder=store / "committed")
    path = store / "committed" / records.file_name(SPEC)
    sound = path.read_bytes()
    monkeypatch.setattr(records.h5py, "File", lambda *_: pytest.fail("parsed before its sum was compared"))
    draw = random.Random(0)
    for listed in (False, True):
        if listed:
            monkeypatch.undo()
            monkeypatch.setattr(records, "COMMITTED", store / "committed")
            records.list_sums()
            monkeypatch.setattr(records.h5py, "File", lambda *_: pytest.fail("parsed before its sum was compared"))
        for _ in range(60):
            damaged = bytearray(sound)
            damaged[draw.randrange(len(sound))] ^= 1 << draw.randrange(8)
            path.write_bytes(damaged)
            with pytest.raises(Failure, match="is not a readable record"):
                records.read(path)
        path.write_bytes(sound[: len(sound) // 2])
        with pytest.raises(Failure, match="is not a readable record"):
            records.read(path)


def edited(path, change):
    """The record in `path` with a change by h5py, and a seal that fits."""
    buffer = io.BytesIO(files.unsealed(path.read_bytes()))
    with h5py.File(buffer, "r+") as file:
        change(file)
    path.write_bytes(files.sealed(buffer.getvalue()))


def replace(name, values):
    def change(file):
        del file[name]
        file[name] = values

    return change


def attribute(name, value):
    return lambda file: file.attrs.__setitem__(name, value)


def outside(file):
    del file["loss"]
    file.create_dataset("loss", (6, 2), np.float64, external=[("/etc/hostname", 0, 96)])


def linked(file):
    del file["loss"]
    file["loss"] = h5py.ExternalLink("/tmp/other.nc", "loss")


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda file: file["step_length"].__setitem__(0, 0.75), "the values of step_length"),
        (lambda file: file["landscape_step"].__setitem__(1, 2), "the values of landscape_step"),
        (lambda file: file["seed"].__setitem__(0, 1), "the values of seed"),
        (lambda file: file["layer"].__setitem__(0, "layer2"), "the values of layer"),
        (lambda file: file.__delitem__("shift_l2"), "lacks shift_l2"),
        (lambda file: file.__delitem__("step"), "lacks step"),
        (replace("loss", np.zeros((5, 2))), r"loss is float64 \(5, 2\), not float64 \(6, 2\)"),
        (replace("loss", np.zeros((6, 2), np.float32)), "loss is float32"),
        (replace("loss", np.full((6, 2), "a", dtype=h5py.string_dtype())), "loss is object"),
        (lambda file: file.create_dataset("more", (10**6, 10**6), np.float64, chunks=True), "it has more"),
        (lambda file: file["loss"].attrs.__setitem__("scale_factor", 2.0), "loss has scale_factor"),
        (outside, "in another file"),
        (linked, "not an array in the file"),
        (attribute("spec", 3), "its attribute spec is '3'"),
        (attribute("spec", "[" * 100_000), "not a spec"),
        (attribute("spec", '{"network":"deep_linear","step_lengths":[1],"steps":' + "9" * 400 + "}"), "steps is 999"),
        (attribute("spec", '{"network":"deep_linear","step_lengths":[1],"steps":' + "9" * 6_000 + "}"), "not a spec"),
        (attribute("hash", "0"), "its hash is 0"),
        (attribute("device", "x</SCRIPT><img src=x onerror=alert(1)>"), "its attribute device"),
        (attribute("device", "two\nlines"), "its attribute device"),
        (attribute("seconds", -1.0), "its attribute seconds"),
        (attribute("seconds", float("nan")), "its attribute seconds"),
        (attribute("threads", "two"), "its attribute threads"),
        (lambda file: file.attrs.__delitem__("torch"), "its attribute torch"),
    ],
)
def test_a_record_holds_what_its_spec_makes_and_nothing_else(store, change, named):
    making.make(SPEC, folder=store)
    path = store / records.file_name(SPEC)
    edited(path, lambda file: None)
    assert records.read(path).attrs["hash"] == SPEC.hash
    edited(path, change)
    with pytest.raises(Failure, match=named) as raised:
        records.read(path)
    assert "\n" not in str(raised.value) and len(str(raised.value)) < 700


def test_a_record_is_read_as_xarray_reads_it(store):
    for spec in (SPEC, NOISY.but(norm="batchnorm", precision="float32", precision_every=2, step_lengths=(0.5, 1.0))):
        making.make(spec, folder=store)
        path = store / records.file_name(spec)
        xr.testing.assert_identical(records.read(path), xr.load_dataset(path, engine="h5netcdf"))


def test_the_list_of_sums_follows_what_is_committed(store):
    folder = store / "committed"
    making.make(SPEC)
    cached = records.find(SPEC)
    records.commit(cached)
    (folder / "notes.nc").write_bytes(b"no record")  # without a seal: it stays out of the list
    records.list_sums()
    assert set(records.sums(folder)) == {cached.name}
    done = subprocess.run(["sha256sum", "--check", records.SUMS], cwd=folder, capture_output=True, text=True)
    assert done.stdout == f"{cached.name}: OK\n"
    # Another sound record in its place is not the one in the list.
    buffer = files.unsealed(cached.read_bytes())
    (folder / cached.name).write_bytes(files.sealed(buffer + b"\0"))
    with pytest.raises(Failure, match="not the one in SHA256SUMS"):
        records.read(folder / cached.name)
    (folder / cached.name).unlink()
    records.list_sums()
    assert records.sums(folder) == {}
    (folder / records.SUMS).write_bytes(b"\xff\xfe")
    with pytest.raises(Failure, match="SHA256SUMS is damaged"):
        records.sums(folder)


@pytest.fixture
def checkpoint(tmp_path):
    """A checkpoint after two of four steps, and a function that makes fresh parts to resume it with."""
    path = tmp_path / "run.pt"

    def parts():
        model = vgg(NOISY)
        velocity = [torch.zeros_like(p) for p in model.parameters()]
        return model, velocity, stores.Store(layout(NOISY))

    model, velocity, store = parts()
    store.arrays["loss"][:2] = (2.5, 2.25)
    torch.nn.init.ones_(next(model.parameters()))
    stores.save(path, 2, 1.5, model, velocity, store)
    return path, parts


def test_a_checkpoint_resumes_to_the_bit(checkpoint):
    path, parts = checkpoint
    model, velocity, store = parts()
    assert stores.resume(path, model, velocity, store) == (2, 1.5)
    assert store.arrays["loss"][:2].tolist() == [2.5, 2.25] and (next(model.parameters()) == 1).all()


def test_no_flipped_bit_of_a_checkpoint_is_trained_on(checkpoint, capsys):
    path, parts = checkpoint
    sound, (model, velocity, store), draw = path.read_bytes(), parts(), random.Random(1)
    before = [p.clone() for p in model.parameters()]
    for _ in range(40):
        damaged = bytearray(sound)
        damaged[draw.randrange(len(sound))] ^= 1 << draw.randrange(8)
        path.write_bytes(damaged)
        assert stores.resume(path, model, velocity, store) == (0, 0.0)
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 40 and all("is damaged or of another run" in line and "starts anew" in line for line in said)
    assert all(torch.equal(p, q) for p, q in zip(before, model.parameters()))


def without(name):
    return lambda state: state.__delitem__(name)


def put(name, value):
    return lambda state: state.__setitem__(name, value)


@pytest.mark.parametrize(
    "change",
    [
        without("velocity"),
        without("noise"),
        put("run", "another"),
        put("step", "a"),
        put("step", -3),
        put("step", 10**9),
        put("step", 2.0),
        put("seconds", float("nan")),
        put("seconds", -1.0),
        put("noise", []),
        put("noise", [-1] * 6),
        put("noise", ["a"] * 6),
        put("velocity", []),
        put("velocity", [torch.zeros(3)] * 12),
        put("arrays", {}),
        put("arrays", {"loss": torch.zeros(3), "accuracy": torch.zeros(4)}),
        put("arrays", {"loss": torch.zeros(4, dtype=torch.float64), "accuracy": torch.zeros(4)}),
        put("arrays", {"loss": 1, "accuracy": torch.zeros(4)}),
        put("model", {}),
        lambda state: state["model"].__setitem__("more", torch.zeros(1)),
        lambda state: state["model"].update({name: value.float() for name, value in state["model"].items()}),
        put("more", 1),
    ],
)
def test_a_checkpoint_that_does_not_fit_is_one_line_and_a_new_start(checkpoint, capsys, change):
    path, parts = checkpoint
    state = torch.load(io.BytesIO(files.unsealed(path.read_bytes())), weights_only=True)
    change(state)
    content = io.BytesIO()
    torch.save(state, content)
    path.write_bytes(files.sealed(content.getvalue()))
    model, velocity, store = parts()
    before = [p.clone() for p in model.parameters()]
    assert stores.resume(path, model, velocity, store) == (0, 0.0)
    assert capsys.readouterr().err.count("\n") == 1
    assert all(torch.equal(p, q) for p, q in zip(before, model.parameters()))
    assert np.isnan(store.arrays["loss"]).all()


def test_a_run_that_could_not_keep_its_record_does_not_start(store, monkeypatch):
    monkeypatch.setattr(training, "run", lambda *_: pytest.fail("trained"))
    (store / "records").write_text("a file where the folder should be")
    with pytest.raises(Failure, match="cannot make the folder .*run where you may write"):
        making.make(SPEC)
    (store / "records").unlink()
    monkeypatch.setattr(files.os, "access", lambda *_: False)  # as on a read-only file system
    with pytest.raises(Failure, match="cannot write into .*run where you may write"):
        making.make(SPEC)
