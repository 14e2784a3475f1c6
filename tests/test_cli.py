"""The command line: exit codes, one clear line, and nothing done before the request is checked."""

import inspect
import json
import subprocess
import sys

import numpy as np
import pytest
import torch

from lib import cli, experiments, records, sweeps, training
from lib.errors import Failure
from lib.specs import VGGSpec


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["run", "fig-99"], "experiment is 'fig-99'"),
        (["run", "fig-10", "--scale", "huge"], "scale is 'huge', but must be one of: smoke, laptop, paper"),
        (["run", "fig-10", "--device", "tpu"], "device is 'tpu'"),
        (["run", "fig-10", "--jobs", "0"], "jobs is 0"),
        (["list", "--scale", "huge"], "scale is 'huge'"),
        (["claims", "--scale", "huge"], "scale is 'huge'"),
        (["record", "fig-4", "--minutes", "-1", "--device", "cpu"], "minutes is -1"),
        (["book", "--scale", "huge"], "scale is 'huge'"),
        (["book", "--device", "tpu"], "device is 'tpu'"),
        (["verify", "--steps", "0"], "steps is 0"),
        (["verify", "--device", "tpu"], "device is 'tpu'"),
        (["claims", "--device", "tpu"], "device is 'tpu'"),
    ],
)
def test_usage_errors_are_one_line_and_exit_2(arguments, named, capsys):
    assert cli.main(arguments) == 2
    said = capsys.readouterr()
    assert named in said.err and said.err.count("\n") == 1 and not said.out


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
@pytest.mark.parametrize("arguments", [["run", "fig-10", "--device", "cuda"], ["record"], ["book", "--device", "cuda"]])
def test_cuda_without_cuda_is_said_at_once(arguments, capsys):
    assert cli.main(arguments) == 2
    assert "no CUDA" in capsys.readouterr().err


def test_unknown_options_exit_2():
    done = subprocess.run([sys.executable, "-m", "lib", "run", "fig-10", "--sclae", "smoke"], capture_output=True)
    assert done.returncode == 2


def test_run_makes_figure_and_verdicts(store, capsys):
    assert cli.main(["run", "fig-10", "--scale", "smoke", "--jobs", "1"]) == 0
    said = capsys.readouterr().out
    assert (store / "figures" / "fig-10-smoke.png").stat().st_size > 10_000
    assert "fig-10a:" in said and "python -m lib run fig-10 --scale smoke" in said


def test_record_keeps_to_its_budget_and_goes_on(store, capsys):
    arguments = ["record", "fig-10", "--scale", "smoke", "--device", "cpu"]
    assert cli.main([*arguments, "--minutes", "1e-9"]) == 0
    assert "0 of 2 records" in capsys.readouterr().out
    assert cli.main(arguments) == 0
    assert "2 of 2 records" in capsys.readouterr().out
    assert cli.main(["list", "--scale", "smoke"]) == 0
    assert "fig-10               2/2" in capsys.readouterr().out
    assert cli.main(["verify"]) == 0
    assert capsys.readouterr().out.count("ok") == 2


def test_record_makes_one_seed_of_everything_first(store, monkeypatch):
    asked = []
    monkeypatch.setattr(sweeps, "ensure", lambda needed, *_: asked.extend(needed))
    cli.main(["record", "--device", "cpu"])
    seeds = [spec.seed for spec in asked if isinstance(spec, VGGSpec)]
    assert seeds == sorted(seeds) and set(seeds) == {0, 1, 2}
    assert asked[:2] == [group[0] for group in experiments.specs("fig-4", "paper").values()]
    # Every network of the paper's VGG figures, and what it measures there.
    figures = {name for name in experiments.EXPERIMENTS if name.startswith("fig-") and "linear" not in name and name not in ("fig-9", "fig-10", "fig-13")}
    assert set(experiments.unique(figures, "paper")) <= set(asked)


def test_record_with_other_images_stands_in_at_paper_scale(store, monkeypatch):
    asked = []
    monkeypatch.setattr(sweeps, "ensure", lambda needed, *_: asked.extend(needed))
    cli.main(["record", "fig-4", "--device", "cpu", "--data", "cifar10-jpeg"])
    assert {spec.data for spec in asked} == {"cifar10-jpeg"} and len(asked) == 6
    assert all(spec.data == "cifar10" for spec in experiments.unique(["fig-4"], "paper"))
    (store / "committed").mkdir()
    (store / "committed" / records.file_name(asked[0])).touch()
    assert set(experiments.unique(["fig-4"], "paper")) == set(asked)  # all runs see the same images
    (store / "committed" / records.file_name(asked[0].but(data="cifar10"))).touch()
    assert all(spec.data == "cifar10" for spec in experiments.unique(["fig-4"], "paper"))


def test_record_takes_what_is_cached(store, capsys):
    cli.main(["run", "fig-9", "--scale", "smoke", "--jobs", "1"])
    assert not list((store / "committed").glob("*.nc"))
    cli.main(["record", "fig-9", "--scale", "smoke", "--device", "cpu"])
    assert "2 of 2 records are in" in capsys.readouterr().out


def test_what_record_makes_at_paper_scale_runs_when_small():
    small = {
        "width": 1 / 32, "data": "synthetic", "train_images": 64, "batch_size": 16, "steps": 3, "eval_images": 20, "step_lengths": (1.0,),
    }  # fmt: skip
    default = inspect.signature(cli.record).parameters["experiments"].default
    specs = {spec.but(**small) for spec in experiments.unique(default, "paper") if isinstance(spec, VGGSpec) and not spec.seed}
    assert len(specs) > 10
    for spec in specs:
        assert np.isfinite(training.run(spec).loss).all(), spec


def test_verify_names_stale_records(store, capsys):
    cli.main(["record", "fig-9", "--scale", "smoke", "--device", "cpu"])
    path = sorted((store / "committed").glob("*.nc"))[0]
    record = records.read(path)
    record["loss"] = record.loss * 1.01
    records._write(record, path)
    capsys.readouterr()
    assert cli.main(["verify"]) == 1
    said = capsys.readouterr()
    assert "STALE" in said.out and path.name in said.err


def test_failures_exit_1_and_interrupts_130(monkeypatch, capsys):
    def fail():
        raise Failure("the disk is full; make room.")

    def stop():
        raise KeyboardInterrupt

    monkeypatch.setitem(cli.COMMANDS, "reference", fail)
    assert cli.main(["reference"]) == 1
    assert capsys.readouterr().err == "error: the disk is full; make room.\n"
    monkeypatch.setitem(cli.COMMANDS, "reference", stop)
    assert cli.main(["reference"]) == 130


def test_claims_as_json(monkeypatch, capsys):
    from lib import claims, ledger

    row = ledger.evaluate(claims.get("acc-bn"), "paper")
    monkeypatch.setattr(ledger, "rows", lambda *_: [row])
    assert cli.main(["claims", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == [row]
    assert cli.main(["claims"]) == 0
    assert "not measured yet" in capsys.readouterr().out
