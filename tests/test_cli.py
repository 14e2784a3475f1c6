"""The command line: exit codes, one clear line, and nothing done before the request is checked."""

import inspect
import json
import subprocess
import sys

import numpy as np
import pytest
import torch

from lib import cli, records
from lib.errors import Failure
from lib.paper import experiments
from lib.runs import sweeps, training
from lib.specs import ImageSpec, spec_of


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
    seeds = [spec.seed for spec in asked if isinstance(spec, ImageSpec)]
    assert seeds == sorted(seeds) and set(seeds) == {0, 1, 2}
    assert asked[:2] == [group[0] for group in experiments.specs("fig-4", "paper").values()]
    # Every network of the paper's VGG figures, and what it measures there.
    figures = {
        name
        for name in experiments.EXPERIMENTS
        if name.startswith("fig-")
        and not name.endswith(("linear", "farther"))
        and name not in ("fig-9", "fig-10", "fig-13")
    }
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
        "width": 1 / 32,
        "data": "synthetic",
        "train_images": 64,
        "batch_size": 16,
        "steps": 3,
        "eval_images": 20,
        "step_lengths": (1.0,),
    }
    default = inspect.signature(cli.record).parameters["experiments"].default
    specs = {
        spec.but(**small)
        for spec in experiments.unique(default, "paper")
        if isinstance(spec, ImageSpec) and not spec.seed
    }
    assert len(specs) > 10
    for spec in specs:
        assert np.isfinite(training.run(spec).loss).all(), spec


def test_verify_names_stale_records(store, capsys):
    cli.main(["record", "fig-9", "--scale", "smoke", "--device", "cpu"])
    path = sorted((store / "committed").glob("*.nc"))[0]
    record = records.read(path)
    record["loss"] = record.loss * 1.01
    records.write(record, path)
    (path.parent / records.SUMS).unlink()  # or its sum would have told
    capsys.readouterr()
    assert cli.main(["verify"]) == 1
    said = capsys.readouterr()
    assert "STALE" in said.out and path.name in said.err


def test_verify_says_which_records_it_could_not_check(store, monkeypatch, capsys):
    from lib.runs import making

    cli.main(["record", "fig-9", "--scale", "smoke", "--device", "cpu"])
    first = sorted((store / "committed").glob("*.nc"))[0].name

    def verify(record, steps, device):
        if records.file_name(spec_of(record)) == first:
            raise Failure("there are no such images here")
        return 0.0, steps

    monkeypatch.setattr(making, "verify", verify)
    capsys.readouterr()
    assert cli.main(["verify"]) == 0
    said = capsys.readouterr().out
    assert f"NOT CHECKED {first}: there are no such images here" in said
    assert said.count("ok  ") == 1 and "1 records were not checked" in said


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
    from lib.paper import claims, ledger
    from lib.theory import verdicts

    row = ledger.evaluate(claims.get("acc-bn"), "paper")
    monkeypatch.setattr(verdicts, "rows_so_far", lambda *_: ([row], []))
    assert cli.main(["claims", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == json.loads(json.dumps([row.entry()]))
    assert cli.main(["claims"]) == 0
    assert "not measured yet" in capsys.readouterr().out


def test_the_ledger_is_printed_where_a_build_has_yet_to_make_records(monkeypatch, capsys):
    from lib.paper import ledger, results
    from lib.theory import verdicts

    def evaluate(claim, *_):
        if claim.experiment == "fig-10":
            raise results.MissingRecords("gone")
        return ledger.Row(claim, "partly", "laptop")

    monkeypatch.setattr(ledger, "evaluate", evaluate)
    monkeypatch.setattr(verdicts, "theory_rows", lambda *_: [])
    assert cli.main(["claims"]) == 0
    told = capsys.readouterr()
    assert "not here: fig-10;" in told.err and "`make book SCALE=laptop`" in told.err
    assert "not measured yet" in told.out
    with pytest.raises(results.MissingRecords):
        verdicts.ledger_rows("laptop")
