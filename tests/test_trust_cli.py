"""The command line with bad input of every kind: one clear line, exit code 1 or 2, nothing on the other stream."""

import contextlib
import io
import os
import subprocess
import sys

import pytest

from lib import cli, records
from lib.errors import UsageError, check_choice, check_number
from lib.paper import experiments
from lib.runs import sweeps
from lib.specs import ImageSpec, from_canonical

DIGITS = "9" * 400


def said(arguments, capfd):
    """Exit code, standard output and the lines of standard error of a command."""
    try:
        code = cli.main(arguments)
    except SystemExit as stop:  # tyro's own refusals
        code = stop.code
    out, err = capfd.readouterr()
    return code, out, err.splitlines()


@pytest.mark.parametrize(
    "arguments",
    [
        ["run", "fig-10", "--jobs", DIGITS],
        ["run", "fig-10", "--jobs", "-" + DIGITS],
        ["verify", "--steps", DIGITS],
        ["record", "fig-10", "--device", "cpu", "--minutes", "1e400"],
        ["record", "fig-10", "--device", "cpu", "--minutes", "nan"],
        ["record", "fig-10", "--device", "cpu", "--data", "svhn"],
        ["run", "x" * 5_000],
        ["run", "fig-10", "--device", "x" * 5_000],
        ["x" * 5_000],
        ["", "--scale", "smoke"],
        ["--scale", "smoke"],
        ["fig-10"],
        ["run", "fig-10\n\x1b[31m"],
        ["run", ""],
        ["run", "fig-10", "--scale", "\udcff"],
        ["sweep", "--specs", "x" * 300],
        ["sweep", "--specs", "/proc/self/mem"],
        ["sweep", "--specs", "/dev/zero"],
        ["sweep", "--specs", "/"],
    ],
)
def test_bad_arguments_are_one_short_line(arguments, capfd, store):
    code, out, lines = said(arguments, capfd)
    assert code == 2 and out == "" and len(lines) == 1 and len(lines[0]) < 500, lines


@pytest.mark.parametrize(
    ("content", "named"),
    [
        (b"\xff\xfe\x00", "cannot be read"),
        (b"\0", "is not a spec"),
        (b"[" * 100_000, "is not a spec"),
        (b"3", "is not a spec"),
        (b"{}", "network is None"),
        (b'{"network": []}', "network is \\[\\]"),
        (b'{"network":"vgg","step_lengths":3}', "is not a spec"),
        (b'{"network":"vgg","step_lengths":["a"]}', "step_lengths is 'a'"),
        (b'{"network":"vgg","step_lengths":[1],"noise":3}', "is not a spec"),
        (b'{"network":"vgg","step_lengths":[1],"noise":{"n_mu":"a"}}', "n_mu is 'a'"),
        (b'{"network":"vgg","step_lengths":[1],"more":1}', "is not a spec"),
        (b'{"network":"vgg","step_lengths":[1],"' + 2_000 * b"[" + b'":1}', "is not a spec"),
        (b'{"network":"vgg","step_lengths":[1],"steps":' + DIGITS.encode() + b"}", "steps is 999"),
        (b'{"network":"vgg","step_lengths":[1],"steps":' + 20 * DIGITS.encode() + b"}", "is not a spec"),
        (b'{"network":"vgg","step_lengths":[1],"width":1e999}', "width is inf"),
        (b'{"network":"vgg","step_lengths":[1],"norm":null}', "norm is None"),
        (b'{"network":"vgg","step_lengths":[1],"norm":' + b"[" * 500 + b"]" * 500 + b"}", "norm is \\[\\["),
    ],
)
def test_bad_specs_are_one_short_line(tmp_path, content, named, capfd, store):
    (tmp_path / "specs").write_bytes(content)
    code, out, lines = said(["sweep", "--specs", str(tmp_path / "specs")], capfd)
    assert code == 2 and out == "" and len(lines) == 1 and len(lines[0]) < 1_000, lines
    with pytest.raises(UsageError, match=named):
        raise UsageError(lines[0])


@pytest.mark.parametrize(
    "value", [10**400, -(10**400), 10**6_000, float("nan"), float("inf"), True, "3", None, [[1]]], ids=range(9)
)
def test_no_number_is_too_large_to_be_refused(value):
    with pytest.raises(
        UsageError, match="size is .*, but must be a whole number in \\[0, 10\\]; change size"
    ) as raised:
        check_number("size", value, 0, 10, integer=True)
    assert len(str(raised.value)) < 200
    with pytest.raises(UsageError, match="but must be one of: a, b"):
        check_choice("size", value, ("a", "b"))


def test_of_many_choices_those_that_come_nearest_are_named():
    with pytest.raises(UsageError) as raised:
        check_choice("claim", "claim-41", [f"claim-{number}{number}" for number in range(200)])
    said = str(raised.value)
    assert said.startswith("claim is 'claim-41', but must be one of: claim-4141, ")
    assert said.endswith(", ... (200 in all).") and len(said) < 400


def test_numbers_at_the_ends_of_a_range_are_in_it():
    for value in (0, 10, 2.5):
        check_number("size", value, 0, 10)
    for value in (-1e-9, 10.001):
        with pytest.raises(UsageError):
            check_number("size", value, 0, 10)
    with pytest.raises(UsageError, match=r"in \(0, 10\]"):
        check_number("size", 0, 0, 10, low_open=True)


def test_a_reader_that_has_enough_ends_a_command_quietly():
    program = "import sys; from lib import cli; cli.COMMANDS['list'] = lambda: print('x' * 10_000_000)"
    program += "; sys.exit(cli.main(['list']))"
    read, write = os.pipe()
    process = subprocess.Popen([sys.executable, "-c", program], stdout=write, stderr=subprocess.PIPE)
    os.close(write)
    os.read(read, 10)
    os.close(read)
    assert process.communicate(timeout=120)[1] == b"" and process.returncode == 1


def test_help_in_a_terminal_without_unicode():
    done = subprocess.run(
        [sys.executable, "-m", "lib", "--help"],
        capture_output=True,
        env=os.environ | {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"},
    )
    assert done.returncode == 0 and done.stderr == b"" and b"verify" in done.stdout


def test_a_missing_folder_or_a_read_only_one_is_one_line(store, capfd):
    (store / "records").write_text("a file in the place of the folder")
    code, out, lines = said(["run", "fig-10", "--scale", "smoke", "--jobs", "1"], capfd)
    assert code == 1 and out == "" and len(lines) == 1 and "run where you may write" in lines[0]


def test_an_error_of_the_system_is_one_line(monkeypatch, capfd):
    def fail():
        raise PermissionError(13, "Permission denied", "/x")

    monkeypatch.setitem(cli.COMMANDS, "reference", fail)
    code, out, lines = said(["reference"], capfd)
    assert (code, out, lines) == (1, "", ["error: /x: Permission denied; the command cannot go on without it."])


def test_record_with_embedded_images_uses_all_of_them(store, monkeypatch, capfd):
    asked = []
    monkeypatch.setattr(sweeps, "ensure", lambda needed, *_: asked.extend(needed))
    assert said(["record", "fig-4", "--device", "cpu", "--data", "synthetic"], capfd)[0] == 0
    assert {(spec.data, spec.train_images) for spec in asked if isinstance(spec, ImageSpec)} == {("synthetic", 4_000)}


def test_again_uses_no_record_that_is_there_and_leaves_the_library_as_it_was(store, capfd):
    usual = records.COMMITTED, records.CACHE
    assert said(["run", "fig-10", "--scale", "smoke", "--jobs", "1"], capfd)[0] == 0
    first = {path.name: path.stat().st_mtime_ns for path in records.CACHE.glob("*.nc")}
    for _ in range(2):
        assert said(["run", "fig-10", "--scale", "smoke", "--jobs", "1", "--again"], capfd)[0] == 0
        assert usual == (records.COMMITTED, records.CACHE)
    assert {path.name for path in (store / "again").glob("*.nc")} == set(first)
    assert {path.name: path.stat().st_mtime_ns for path in records.CACHE.glob("*.nc")} == first


def test_an_experiment_without_figure_or_claim_says_where_its_records_are(store, capfd, monkeypatch):
    runs = experiments.EXPERIMENTS["fig-10"].runs
    monkeypatch.setitem(experiments.EXPERIMENTS, "bare", experiments.Experiment("Of no figure", runs))
    code, out, _ = said(["run", "bare", "--scale", "smoke", "--jobs", "1"], capfd)
    assert code == 0 and "bare has no figure and no claim of its own; its 2 records are in:" in out
    assert str(store / "records") in out


def test_verify_names_a_damaged_record_and_goes_on(store, capfd):
    said(["record", "fig-10", "--scale", "smoke", "--device", "cpu"], capfd)
    first, second = sorted(records.COMMITTED.glob("*.nc"))
    content = bytearray(first.read_bytes())
    content[len(content) // 2] ^= 1
    first.write_bytes(content)
    code, out, lines = said(["verify"], capfd)
    assert code == 1 and out.startswith("BAD ") and f"ok    0.0e+00 (allowed 1e-07) {second.name}" in out
    assert "1 records are not what the code makes" in lines[-1]


def test_a_spec_survives_its_text():
    spec = ImageSpec(norm="noisy", steps=5)
    assert from_canonical(spec.canonical()) == spec
    with contextlib.redirect_stderr(io.StringIO()), pytest.raises(UsageError):
        from_canonical(None)
