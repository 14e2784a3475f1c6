"""The command line: `python -m lib COMMAND`.

Exit codes: 0 done, 1 failed (a bad file, no space, a failing cell, a stale record), 2 usage.
"""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import tyro

from lib.errors import Failure, UsageError, check_number

# Heavy modules are imported by the command that needs them: --help and a usage error answer at once.

Positional = tyro.conf.Positional


def run(
    experiment: Positional[str], scale: str = "laptop", device: str = "cpu", jobs: int = 2, again: bool = False
) -> None:
    """Make the records an experiment lacks, draw its figure and print what its claims say.

    Args:
        experiment: a name from `python -m lib list`, fig-10 for example.
        scale: smoke, laptop or paper.
        device: cpu or cuda.
        jobs: runs side by side.
        again: use no record that is there, and keep the new ones apart in `_build/again`.
    """
    from lib import claims, experiments, figures, ledger, records, results, sweeps
    from lib.training import check_device

    check_device(device)
    check_number("jobs", jobs, 1, 256, integer=True)
    needed = experiments.unique([experiment], scale)
    if again:
        records.COMMITTED = records.CACHE = records.CACHE.parent / "again"
        for spec in needed:
            (records.CACHE / records.file_name(spec)).unlink(missing_ok=True)
    sweeps.ensure(needed, device, jobs, records.CACHE)
    for name, plan in figures.FIGURES.items():
        if plan.experiment == experiment:
            path = records.CACHE.parent / "figures" / f"{name}-{scale}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            plan.draw(results.load(experiment, scale, device)).savefig(path, dpi=150)
            print(path)
    for claim in claims.CLAIMS:
        if claim.experiment == experiment:
            row = ledger.evaluate(claim, scale, device)
            print(f"{row['id']}: {row['paper']} {ledger.sentence(row)}")
    print(results.provenance(results.load(experiment, scale, device)))


def list_(scale: str = "laptop") -> None:
    """List the experiments, and how many of their records are there.

    Args:
        scale: smoke, laptop or paper.
    """
    from lib import experiments, records

    for name, experiment in experiments.EXPERIMENTS.items():
        needed = experiments.unique([name], scale)
        there = sum(records.find(spec) is not None for spec in needed)
        print(f"{name:18} {there:3}/{len(needed):<3} records  {experiment.title}")


def record(
    experiments: Positional[tuple[str, ...]] = ("fig-4", "fig-1", "fig-5-vgg", "fig-2", "fig-11", "accuracy", "theorems", "controls"),
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
    from lib import experiments as known
    from lib import records, sweeps
    from lib.training import check_device

    check_device(device)
    check_number("minutes", minutes, 0, 100_000, low_open=True)
    check_number("jobs", jobs, 1, 256, integer=True)
    # Deep linear networks last: every machine makes them in minutes.
    needed = sorted(known.unique(experiments, scale), key=lambda spec: getattr(spec, "seed", math.inf))
    if data is not None:
        needed = list(dict.fromkeys(known.on_images(spec, data) for spec in needed))
    sweeps.ensure(needed, device, jobs, records.COMMITTED, time.time() + 60 * minutes)
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
    from lib import experiments as known
    from lib import records, sweeps
    from lib.specs import from_canonical
    from lib.training import check_device

    check_number("jobs", jobs, 1, 256, integer=True)
    if scheduler is None:  # else it is the workers that need the device
        check_device(device)
    needed = known.unique(experiments, scale)
    if specs is not None:
        needed += [from_canonical(line) for line in _lines(specs)]
    if not needed:
        raise UsageError("there is nothing to run; name experiments from `python -m lib list`, or a file with --specs.")
    sweeps.ensure(needed, device, jobs, scheduler=scheduler)
    there = sum(records.find(spec) is not None for spec in needed)
    print(f"{there} of {len(needed)} records are there.")


def _lines(path: Path) -> list[str]:
    if not path.is_file():
        raise UsageError(f"specs is {str(path)!r}, but there is no such file; write one spec a line into it.")
    return [line for line in path.read_text().splitlines() if line.strip()]


def bench(
    device: str = "cpu", rounds: int = 7, as_json: Annotated[bool, tyro.conf.arg(name="json")] = False, save: bool = False
) -> None:
    """Measure what each part costs beside its plain counterpart, and how cost grows. Takes minutes.

    Args:
        device: cpu or cuda.
        rounds: measurements of each side, in turn.
        as_json: everything as an object instead of a table.
        save: keep the result for the page of the book.
    """
    from lib import bench as known
    from lib.training import check_device

    check_device(device)
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

    Args:
        scale: smoke, laptop or paper.
        device: cpu or cuda, for records that have to be made.
        as_json: a list of objects instead of a table.
    """
    from lib import ledger
    from lib.training import check_device

    check_device(device)
    rows = ledger.rows(scale, device)
    print(json.dumps(rows, indent=1) if as_json else ledger.table(rows).to_string(index=False, max_colwidth=60))


def book(scale: str = "laptop", device: str = "cpu", jobs: int = 2) -> None:
    """Execute the chapters that changed and build the site in `_build/html`.

    Args:
        scale: smoke, laptop or paper.
        device: cpu or cuda.
        jobs: chapters, and runs, side by side.
    """
    from lib import book as known

    known.build(scale, device, jobs)


def reference() -> None:
    """Write the nbval references of all chapters at smoke scale."""
    from lib import references

    for path in references.reference():
        print(path)


def summary(scale: str = "laptop") -> None:
    """Print the table of the README's section on what is reproduced, from the committed records.

    Args:
        scale: smoke, laptop or paper.
    """
    from lib import ledger

    print(ledger.summary(scale))


def verify(steps: int = 20, device: str = "cpu") -> None:
    """Replay the first steps of every committed record and compare.

    Args:
        steps: how many; rounding differences grow with them.
        device: what to replay on, cpu or cuda; records made on the other are replayed, too.
    """
    from lib import records
    from lib.training import check_device

    check_device(device)
    check_number("steps", steps, 1, 10_000, integer=True)
    stale = []
    for path in sorted(records.COMMITTED.glob("*.nc")):
        stored = records.read(path)
        worst, allowed = records.replay(stored, steps, device), records.tolerance(stored)
        print(f"{'ok   ' if worst <= allowed else 'STALE'} {worst:.1e} (allowed {allowed:.0e}) {path.name}", flush=True)
        if not worst <= allowed:
            stale.append(path.name)
    if stale:
        raise Failure(f"{len(stale)} records are not what the code makes: {', '.join(stale)}; record them anew.")


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
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    try:
        tyro.extras.subcommand_cli_from_dict(
            COMMANDS, prog="python -m lib", description=__doc__.splitlines()[0], args=arguments
        )
    except UsageError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except Failure as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted: records made so far are kept, and the same command goes on.", file=sys.stderr)
        return 130
    return 0
