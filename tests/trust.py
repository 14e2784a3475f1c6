"""What the library bears: killed runs and builds, flipped bits, nonsense.

`python tests/trust.py` makes these trials and counts what went as it should. With words, as in
`python tests/trust.py record kill`, it makes only the trials whose names have one of them. The counts go to
book/records/trust.json, each with its date, seconds and commit; the page on trust shows them.
"""

from __future__ import annotations

import contextlib
import datetime
import io
import itertools
import json
import multiprocessing
import os
import platform
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path

import h5py
import jupytext
import numpy as np
import torch
from conftest import small_book
from PIL import Image
from tqdm.auto import tqdm

from lib import cli, data, files, records
from lib.build import chapters
from lib.errors import Failure, UsageError
from lib.models import vgg
from lib.records.layout import layout
from lib.runs import making, stores, training
from lib.specs import ImageSpec, LinearSpec, Spec, from_canonical

ROOT = Path(__file__).resolve().parents[1]
RESULT = ROOT / "book" / "records" / "trust.json"
#: Longest that a refusal may be, in characters.
LINE = 1_000

_IMAGES = {
    "width": 1 / 16,
    "depth": 7,
    "data": "synthetic",
    "train_images": 512,
    "batch_size": 32,
    "steps": 40,
    "landscape_every": 20,
    "step_lengths": (0.5, 1.0),
    "augment": True,
}
#: What is killed: noise and momentum; noise without a norm; every probe; a norm with derivatives of its own.
RUNS = (
    ImageSpec(norm="noisy", momentum=0.9, **_IMAGES),
    ImageSpec(norm="none", noise_without_norm=True, **_IMAGES),
    ImageSpec(norm="batchnorm", shift_every=15, moments_every=15, controls_every=20, theorem_every=20, **_IMAGES),
    ImageSpec(norm="l1", histogram_every=20, **_IMAGES),
)
SMALL = LinearSpec(layers=3, dim=3, samples=20, steps=6, seeds=2, landscape_every=3, shift_every=3)
BUILD = """
import signal, sys
from pathlib import Path
from lib.build.book import build
from lib.errors import Failure
signal.signal(signal.SIGINT, signal.default_int_handler)
try: build("smoke", "cpu", root=Path(sys.argv[1]))
except (Failure, KeyboardInterrupt) as error: sys.exit(repr(error))
"""
#: Texts that are in nobody's mind when they write a parser.
NONSENSE = ("9" * 400, "[" * 2_000, "null", "-1", "1e999", "\0", "\ud800", '"', "{", "true", "NaN", "x" * 300, "", "\n")


def _build(root: Path) -> subprocess.Popen:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", BUILD, str(root)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def _make(place: Path, spec: Spec) -> multiprocessing.Process:
    """A process that makes a spec's record in `place`, with a checkpoint each step; a fork, for torch loads slowly."""
    torch.set_num_threads(1)  # threads do not survive a fork
    process = multiprocessing.get_context("fork").Process(target=_make_here, args=(place, spec))
    process.start()
    return process


def _make_here(place: Path, spec: Spec) -> None:
    records.CACHE, training.CHECKPOINT_EVERY = place / "records", 0
    making.make(spec)


def _refused(action: Callable[..., object], *arguments: object, must: bool = False) -> bool:
    """Whether an action ends well, or with one short line; where it `must` be refused, only with that.

    Nothing else may be said.
    """
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        try:
            action(*arguments)
            sound = not must
        except (Failure, UsageError) as error:
            sound = "\n" not in str(error) and len(str(error)) < LINE
        except Exception as error:
            print(f"{type(error).__name__}: {files.reason(error)}", file=sys.__stderr__)
            sound = False
    return sound and not said.getvalue()


def _flipped(content: bytes, draw: random.Random) -> bytes:
    damaged = bytearray(content)
    damaged[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
    return bytes(damaged)


def _damaged(content: bytes, draw: random.Random) -> bytes:
    """The content with a part cut out, doubled, zeroed, replaced or moved, or another content altogether."""
    start, end = sorted(draw.randrange(len(content) + 1) for _ in range(2))
    part = content[start:end]
    middle = draw.choice([b"", part * 2, bytes(len(part)), draw.randbytes(len(part)), part[::-1]])
    others = [b"", b"\0", b"\x89HDF\r\n\x1a\n", b"PK\3\4" + draw.randbytes(99), draw.randbytes(999), b"{}", b"CDF\1"]
    changed = content[:start] + middle + content[end:] if draw.random() < 0.9 else draw.choice(others)
    return changed if changed != content else content[:-1]


def _damaged_text(text: str, draw: random.Random) -> str:
    """The text with a part, within a line or over several, cut out, doubled or replaced by nonsense."""
    start = draw.randrange(len(text) + 1)
    end = min(len(text), start + draw.choice([0, 1, 5, 30, 300]))
    middle = draw.choice(["", text[start:end] * 2, draw.choice(NONSENSE)])
    return text[:start] + middle + text[end:]


# --- what is interrupted ------------------------------------------------------------------


def kills(folder: Path, draw: random.Random, count: int = 56) -> Iterator[bool]:
    """Kill a run seven times, at a random moment or as it writes a file, then let it end.

    Its record must be a whole run's, to the bit.
    """
    whole = {}
    for chain in range(-(-count // 7)):
        place, spec, killed = folder / f"kills{chain}", RUNS[chain % len(RUNS)], 0
        whole.setdefault(spec, training.run(spec))
        while killed < min(7, count):
            process = _make(place, spec)
            if killed % 2:
                _wait_for(place, "checkpoints/*.pt", process)
                time.sleep(draw.uniform(0, 1))
            else:
                for _ in range(draw.randrange(10)):
                    _wait_for(place, "*/.*.partial", process, pause=0)
            process.kill()
            process.join()
            killed += process.exitcode == -signal.SIGKILL
        process = _make(place, spec)
        process.join()
        done = process.exitcode == 0
        sound = done and _read(place, spec).equals(whole[spec])
        left = [path for path in place.rglob("*") if path.suffix in (".partial", ".pt")]
        yield from [sound and not left] * killed


def _wait_for(place: Path, pattern: str, process: multiprocessing.Process, pause: float = 0.02) -> None:
    while process.is_alive() and not any(place.glob(pattern)):
        time.sleep(pause)


def _read(place: Path, spec: Spec):
    return records.read(place / "records" / records.file_name(spec))


def two_makers(folder: Path, draw: random.Random, count: int = 4) -> Iterator[bool]:
    """Two processes make one record at the same time: whether it is the one that a process alone makes."""
    for pair in range(count):
        spec, place = RUNS[pair % len(RUNS)], folder / f"both{pair}"
        both = [_make(place, spec) for _ in range(2)]
        for process in both:
            process.join()
        yield all(process.exitcode == 0 for process in both) and _read(place, spec).equals(training.run(spec))


def builds(folder: Path, draw: random.Random, count: int = 9) -> Iterator[bool]:
    """End a small book's build at random: whether the last site stays whole and no program lives on for ten seconds."""
    cell = "```{code-cell} ipython3\nprint(SCALE)\n```\n"
    root = folder / "book"
    root.mkdir()
    small_book.__wrapped__()(root, index=cell, other=cell)
    start = time.monotonic()
    _build(root).wait()
    took, site, page = time.monotonic() - start, root / "_build" / "html", root / "book" / "other.md"
    for number in range(count):
        page.write_text(page.read_text() + f"\nEdition {number}.\n")
        before = _whole_site(site)
        process = _build(root)
        time.sleep(draw.uniform(0, took))
        family = _family(process.pid)
        process.send_signal((signal.SIGKILL, signal.SIGTERM, signal.SIGINT)[number % 3])
        process.wait()
        end = time.monotonic() + 10
        while (living := [pid for pid in family if _alive(pid)]) and time.monotonic() < end:
            time.sleep(0.1)
        after = _whole_site(site)
        yield not living and before is not None and after is not None and (after == before or "Edition" in after)
    yield _build(root).wait() == 0 and f"Edition {count - 1}." in (_whole_site(site) or "")


def _whole_site(site: Path) -> str | None:
    """The text of the site's changing page, or None where a page or the search is missing."""
    names = ("index.html", "search.html", "book/index.html", "book/other.html")
    return (site / names[-1]).read_text() if all((site / name).is_file() for name in names) else None


def _family(pid: int) -> list[int]:
    """The descendants of a process."""
    listed = subprocess.run(["ps", "-eo", "pid=,ppid="], capture_output=True, text=True).stdout
    parents, found = dict(tuple(map(int, line.split())) for line in listed.splitlines()), [pid]
    for parent in found:
        found += [child for child, its in parents.items() if its == parent]
    return found[1:]


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


# --- what is damaged ----------------------------------------------------------------------


def _record(folder: Path) -> Path:
    if not (folder / records.file_name(SMALL)).is_file():
        making.make(SMALL, folder=folder)
    return folder / records.file_name(SMALL)


def flipped_record(folder: Path, draw: random.Random, count: int = 500) -> Iterator[bool]:
    """One bit of a record flipped, with its sum at its end or in a list: whether it is refused in one line."""
    path = _record(folder / "flipped")
    sound = path.read_bytes()
    for number in range(count):
        if number == count // 2:
            (path.parent / records.SUMS).write_text(f"{files.sha256(sound)}  {path.name}\n")
        path.write_bytes(_flipped(sound, draw))
        yield _refused(records.read, path, must=True)


def _checkpoint(folder: Path):
    """A checkpoint half way, its bytes, and a function: whether a resume from it changes nothing and says one line."""
    spec = RUNS[0].but(steps=4)
    model = vgg(spec)
    velocity, store = [torch.ones_like(p) for p in model.parameters()], stores.Store(layout(spec))
    path = folder / "run.pt"
    stores.save(path, 2, 1.5, model, velocity, store)
    tensors = [*model.state_dict().values(), *velocity]
    before = [tensor.clone() for tensor in tensors]

    def ignored() -> bool:
        said = io.StringIO()
        with contextlib.redirect_stderr(said):
            resumed = stores.resume(path, model, velocity, store)
        same = all(torch.equal(one, other) for one, other in zip(tensors, before))
        return resumed == (0, 0.0) and same and said.getvalue().count("\n") == 1 and len(said.getvalue()) < LINE

    return path, path.read_bytes(), ignored


def flipped_checkpoint(folder: Path, draw: random.Random, count: int = 500) -> Iterator[bool]:
    """One bit of a checkpoint flipped: whether nothing of it is used, and one line says so."""
    path, sound, ignored = _checkpoint(folder)
    for _ in range(count):
        path.write_bytes(_flipped(sound, draw))
        yield ignored()


def malformed_checkpoints(folder: Path, draw: random.Random, count: int = 1_500) -> Iterator[bool]:
    """A checkpoint damaged, or sealed anew around other contents: whether none of it is used, and one line says so."""
    path, sound, ignored = _checkpoint(folder)
    others = (None, "a", [], float("nan"), -3, 10**9, 2.5, {}, [-1] * 6, torch.zeros(3), {"a": torch.zeros(1)}, b"x")
    for number in range(count):
        if number % 2:
            path.write_bytes(_damaged(sound, draw))
        else:
            state = torch.load(io.BytesIO(files.unsealed(sound)), weights_only=True)
            part = draw.choice(list(state))
            if isinstance(state[part], dict) and draw.random() < 0.5:
                state[part][draw.choice([*state[part], "more"])] = draw.choice(others)
            elif draw.random() < 0.1:
                del state[part]
            else:
                # Other seconds are no other kind of thing: only the seal could tell.
                state[part] = draw.choice(others if part != "seconds" else others[:4])
            content = io.BytesIO()
            torch.save(state, content)
            path.write_bytes(files.sealed(content.getvalue()))
        yield ignored()


def malformed_records(folder: Path, draw: random.Random, count: int = 2_000) -> Iterator[bool]:
    """A record damaged, or edited and sealed anew: whether reading, listing and looking for it refuse in one line.

    None may misread it.
    """
    path = _record(folder / "malformed")
    sound, usual = path.read_bytes(), records.CACHE
    records.CACHE = path.parent
    try:
        for number in range(count):
            path.write_bytes(_damaged(sound, draw) if number % 2 else _edited(sound, draw))
            read = _refused(records.read, path, must=True)
            yield read and _refused(records.catalogue, path.parent, must=True) and records.find(SMALL) is None
    finally:
        records.CACHE = usual


def _edited(sound: bytes, draw: random.Random) -> bytes:
    """A record's bytes after a change of an attribute, an array or a coordinate, with a seal that fits."""
    buffer = io.BytesIO(files.unsealed(sound))
    with h5py.File(buffer, "r+") as file:
        name, coordinate = draw.choice(list(file)), draw.choice(["step_length", "step", "seed", "landscape_step"])
        attribute = draw.choice(["spec", "hash", "seconds", "parameters", "threads", "resumed", "device", "torch"])
        change = draw.randrange(7)
        if change == 0:
            file.attrs[attribute] = draw.choice(["a\nb", "<script>", "\x1b[31m", np.nan, -1.0, [1, 2], 1e300])
        elif change == 1:
            del file.attrs[attribute]
        elif change == 2:
            file[coordinate][draw.randrange(file[coordinate].size)] += 3
        elif change == 3:
            file.move(name, name + "_")
        elif change == 4:
            file.create_dataset(draw.choice(["more", "loss2", "\u00e9"]), (10**5, 10**5), np.float64, chunks=True)
        elif change == 5:
            file["loss"].attrs[draw.choice(["scale_factor", "add_offset", "missing_value", "units"])] = 2.0
        else:
            del file["loss"]
            shape, kind = draw.choice([((6,), "f8"), ((6, 2), "f4"), ((6, 2), "i8"), ((7, 2), "f8"), ((), "f8")])
            file["loss"] = np.zeros(shape, kind)
    return files.sealed(buffer.getvalue())


# --- what is fed --------------------------------------------------------------------------


def malformed_images(folder: Path, draw: random.Random, count: int = 2_000) -> Iterator[bool]:
    """Images, or their decoded copy, with one file damaged or of another kind.

    Either all are read, or one line names the file.
    """
    tree, usual, named = folder / "tree", data.CACHE, os.environ.get("BN_DATA")
    for part, label in itertools.product(("train", "test"), data.CLASSES):
        (tree / part / label).mkdir(parents=True)
        pixels = np.random.default_rng(draw.randrange(99)).integers(0, 256, (32, 32, 3), np.uint8)
        Image.fromarray(pixels).save(tree / part / label / "0001.jpg", quality=90)
    data.CACHE, os.environ["BN_DATA"] = folder / "decoded", str(tree)
    try:
        whole = data.load_images.__wrapped__("cifar10-jpeg")
        (cache,) = data.CACHE.iterdir()
        decoded = cache.read_bytes()
        for number in range(count):
            if number % 4 == 0:
                cache.write_bytes(_damaged(decoded, draw))
                yield _refused(_all_images, whole)
                continue
            path = draw.choice(sorted(tree.glob("t*/*/0001.jpg")))
            content = path.read_bytes()
            _put_nonsense(path, content, draw)
            yield _refused(_all_images)
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
            path.write_bytes(content)
            for other in data.CACHE.iterdir():
                if other != cache:
                    other.unlink()
    finally:
        data.CACHE = usual
        os.environ.pop("BN_DATA")
        os.environ.update({"BN_DATA": named} if named else {})


def _all_images(expected: data.Images | None = None) -> None:
    """Read the images; they are the expected ones where these are given, and as many as there are files in any case."""
    images = data.load_images.__wrapped__("cifar10-jpeg")
    if (images.train_x.shape, images.test_x.shape) != ((10, 3, 32, 32), (10, 3, 32, 32)):
        raise ValueError("other images were read")
    if expected and not torch.equal(images.train_x, expected.train_x):
        raise ValueError("images were misread")


def _put_nonsense(path: Path, content: bytes, draw: random.Random) -> None:
    """Put in an image's place a damaged one, another format or size, a bomb, a folder, a pipe, a loop or a device."""
    path.unlink()
    kind = draw.randrange(12)
    if kind < 7:
        path.write_bytes(_damaged(content, draw))
    elif kind == 7:
        other = io.BytesIO()
        size, name = (draw.choice([1, 31, 64]), 32), draw.choice(["PNG", "GIF", "BMP", "TIFF", "WEBP", "PPM"])
        Image.new("RGB", size).save(other, name)
        path.write_bytes(other.getvalue())
    elif kind == 8:  # the size that a JPEG claims
        at = content.index(b"\xff\xc0") + 5
        path.write_bytes(content[:at] + draw.randbytes(4) + content[at + 4 :])
    elif kind == 9:
        path.mkdir()
    elif kind == 10:
        os.mkfifo(path)
    else:
        path.symlink_to(draw.choice([path, Path("/dev/zero"), path.with_name("none")]))


def malformed_commands(folder: Path, draw: random.Random, count: int = 500) -> Iterator[bool]:
    """A command with a value that cannot be: whether it says so, and nothing else, with exit code 2."""
    names = ("", "x" * 5_000, "\udcff", "fig-4\n", "../fig-4", "-", "fig 4", "\x1b[31m", "None", "\u0661", "0", ";ls")
    numbers = ("9" * 400, "-" + "9" * 400, "nan", "inf", "", "0x10", "-1", "one", "1e400", "[]", "None", "\udcff")
    places = ("x" * 300, "/proc/self/mem", "/dev/zero", "/", "\udcff", str(folder / "none"), str(folder / "specs"))
    (folder / "specs").write_bytes(b"\xff[[[")
    whole = ("jobs", "rounds", "steps")
    images = [name for name in names if name != "None"]  # the parser's word for what is not given
    options = {"scale": names, "device": names, "data": images, "specs": places}
    options |= dict.fromkeys(whole, (*numbers, "1.5")) | {"minutes": numbers}
    commands = {
        "run": ("scale", "device", "jobs"),
        "list": ("scale",),
        "record": ("scale", "device", "minutes", "data", "jobs"),
        "sweep": ("scale", "device", "jobs", "specs"),
        "bench": ("device", "rounds"),
        "claims": ("scale", "device"),
        "book": ("scale", "device", "jobs"),
        "summary": ("scale",),
        "verify": ("steps", "device"),
    }
    for _ in range(count):
        command = draw.choice(list(commands))
        option = draw.choice(commands[command])
        arguments = [command, *(["fig-10"] if command in ("run", "record", "sweep") else [])]
        if "device" in commands[command] and option != "device":
            arguments += ["--device", "cpu"]
        if draw.random() < 0.1:
            arguments = [draw.choice((*names, *numbers)), *arguments[1:]]
        yield _said_one_thing([*arguments, f"--{option}={draw.choice(options[option])}"])


def _said_one_thing(arguments: list[str]) -> bool:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = cli.main(arguments)
        except SystemExit as stop:  # the parser's own refusals, in a frame
            code = stop.code
        except BaseException as error:
            print(f"{arguments}: {type(error).__name__}: {files.reason(error)}"[:300], file=sys.__stderr__)
            return False
    lines = err.getvalue().splitlines()
    sound = code == 2 and not out.getvalue() and 1 <= len(lines) < 20 and max(map(len, lines)) < LINE
    if not sound:
        print(f"{arguments}: {code} {err.getvalue()[:200]!r}"[:500], file=sys.__stderr__)
    return sound


def malformed_specs(folder: Path, draw: random.Random, count: int = 4_000) -> Iterator[bool]:
    """A spec's text with parts cut, doubled or replaced: a spec that survives its own text, or a one-line refusal."""

    def read(text: str) -> None:
        spec = from_canonical(text)
        if from_canonical(spec.canonical()) != spec:
            raise ValueError("a spec that is another after it was written")

    for number in range(count):
        text = RUNS[number % len(RUNS)].canonical()
        yield _refused(read, _damaged_text(text, draw))


def malformed_chapters(folder: Path, draw: random.Random, count: int = 1_500) -> Iterator[bool]:
    """A chapter or table of contents with parts cut, doubled or replaced: read, or refused in one line before work."""
    root = folder / "chapters"
    (root / "book").mkdir(parents=True)
    contents, page = root / "_toc.yml", root / "book" / "index.md"
    texts = {contents: "format: jb-book\nroot: book/index\nparts:\n- caption: One\n  chapters: []\n"}
    texts[page] = (ROOT / "book" / "own-norm.md").read_text()

    def read() -> None:
        for stem in chapters.chapters(root):
            notebook = chapters.read(stem, root, {"SCALE": "smoke", "DEVICE": "cpu"})
            jupytext.writes(notebook, fmt="ipynb")

    for number in range(count):
        for path, text in texts.items():
            path.write_text(text)
        path = contents if number % 5 == 0 else page
        path.write_bytes(_damaged_text(texts[path], draw).encode("utf-8", "surrogatepass"))
        yield _refused(read)


# --- what is done again -------------------------------------------------------------------


def replays(folder: Path, draw: random.Random, count: int = 20) -> Iterator[bool]:
    """A committed record's first three steps computed again: whether they agree within `make verify`'s tolerance.

    Of records whose images are here.
    """
    here = (data.available(), "synthetic", None)
    read = [records.read(path) for path in sorted(records.COMMITTED.glob("*.nc"))]
    can = [record for record in read if json.loads(record.attrs["spec"]).get("data") in here]
    for record in draw.sample(can, count):
        yield making.replay(record) <= making.tolerance(record)


def same_run_twice(folder: Path, draw: random.Random, count: int = 8) -> Iterator[bool]:
    """One run twice on one number of threads: whether all that it measures is equal, to the bit."""
    usual = torch.get_num_threads()
    try:
        for number in range(count):
            torch.set_num_threads(1 + number // len(RUNS))
            spec = RUNS[number % len(RUNS)]
            yield training.run(spec).equals(training.run(spec))
    finally:
        torch.set_num_threads(usual)


TRIALS = {
    "runs killed": kills,
    "records made by two at once": two_makers,
    "builds ended": builds,
    "bits flipped in records": flipped_record,
    "bits flipped in checkpoints": flipped_checkpoint,
    "malformed specs": malformed_specs,
    "malformed chapters": malformed_chapters,
    "malformed commands": malformed_commands,
    "malformed images": malformed_images,
    "malformed records": malformed_records,
    "malformed checkpoints": malformed_checkpoints,
    "records replayed": replays,
    "runs made twice": same_run_twice,
}


def kept(part: str) -> dict:
    """What a part of the file that the page on trust shows has so far."""
    return json.loads(RESULT.read_text()).get(part, {}) if RESULT.is_file() else {}


def keep(part: str, found: dict) -> None:
    """Put what was found into a part of that file, in the place of all that the part had."""
    known = json.loads(RESULT.read_text()) if RESULT.is_file() else {}
    known[part] = found
    with files.replacing(RESULT) as file:
        file.write((json.dumps(known, indent=1) + "\n").encode())


def _keep_counts(what: str, results: list[bool], start: float) -> None:
    seconds = round(time.monotonic() - start)
    counts = {"right": int(np.sum(results)), "tried": len(results), "seconds": seconds}
    keep("trials", kept("trials") | {what: counts | here()})


def here() -> dict[str, str]:
    """Date, commit, machine and versions, as they go beside every number."""
    command = ["git", "rev-parse", "--short", "HEAD"]
    return {
        "date": datetime.date.today().isoformat(),
        "commit": subprocess.run(command, cwd=ROOT, capture_output=True, text=True).stdout.strip(),
        "machine": making.device_name("cpu"),
        "python": platform.python_version(),
        "torch": version("torch"),
    }


def main(words: list[str]) -> int:
    """Make trials with one of the words in their names (all, without words); returns how many went wrong."""
    wrong = 0
    for what, trial in TRIALS.items():
        if words and not any(word in what for word in words):
            continue
        with tempfile.TemporaryDirectory() as folder:
            start, saved, results = time.monotonic(), 0.0, []
            for result in tqdm(trial(Path(folder), random.Random(0)), desc=what, unit="trial"):
                results.append(result)
                if time.monotonic() > saved + 5:  # what is done counts, whenever somebody stops it
                    _keep_counts(what, results, start)
                    saved = time.monotonic()
        _keep_counts(what, results, start)
        print(f"{sum(results)} of {len(results)} {what}", flush=True)
        wrong += len(results) - sum(results)
    return wrong


if __name__ == "__main__":
    sys.exit(min(main(sys.argv[1:]), 1))
