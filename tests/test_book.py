"""The build: chapters checked and executed, what is up to date skipped, the site kept safe."""

import errno
import json
import math
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import jupytext
import nbformat
import pytest
import yaml
from docutils import nodes
from jupytext.config import load_jupytext_configuration_file

from lib.build import assets, book, licences, site_pages, staging
from lib.build import chapters as chapters_
from lib.build.book import build, execute_all
from lib.build.chapters import (
    ROOT,
    chapters,
    code_cells,
    execute,
    executed,
    fingerprint,
    has_tag,
    is_fresh,
    pages,
    read,
    with_parameters,
)
from lib.errors import Failure, UsageError

CELL = "```{{code-cell}} ipython3\n{}\n```\n"
GOOD = CELL.format("from lib.thing import SIZE\nprint(SCALE, DEVICE)")


#: A widget that shows a text of a record, which someone has made to do harm.
HOSTILE = "x</SCRIPT><img src=x onerror=alert(1)><!--<script>"
WIDGET = CELL.format(f"import ipywidgets\nipywidgets.Label({HOSTILE!r})")


@pytest.fixture(scope="module")
def built(small_book, tmp_path_factory):
    """A small book, built once and without images; tests that change it put back what they changed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("BN_DATA", raising=False)
        yield _built(small_book, tmp_path_factory)


def _built(small_book, tmp_path_factory):
    root = small_book(tmp_path_factory.mktemp("book"), index=GOOD, other=GOOD + WIDGET)
    index = build("smoke", "cpu", root=root)
    assert index == root / "_build" / "html" / "index.html"
    return root


class Restored:
    """A text file that is put back as it was on leaving the `with` block."""

    def __init__(self, path):
        self.path, self.text = path, path.read_text()

    def __enter__(self):
        return self.path

    def __exit__(self, *_):
        self.path.write_text(self.text)


# --- the chapters of this book -------------------------------------------------------


def test_the_book_has_the_papers_chapters_in_its_order():
    assert pages() == [
        "index",
        "introduction",
        "covariate-shift",
        "smoothing",
        "theory",
        "related-work",
        "conclusions",
        "setup",
        "omitted-figures",
        "proofs",
        "probes",
        "own-network",
        "own-norm",
        "speed",
        "trust",
        "built",
        "api",
        "glossary",
        "bibliography",
        "licences",
    ]


def test_every_chapter_can_be_executed_with_scale_and_device():
    for stem in chapters():
        notebook = read(stem, parameters={"SCALE": "smoke", "DEVICE": "cpu"})
        assert has_tag(code_cells(notebook)[0], "parameters"), stem


# --- reading and parameters ----------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ('SCALE = "laptop"  # or "paper"', 'SCALE = "smoke"  # or "paper"'),
        ("a = 1\nSCALE='laptop'; b = 2", 'a = 1\nSCALE="smoke"; b = 2'),
        ('β = "é"; SCALE = "laptop"', 'β = "é"; SCALE = "smoke"'),
        ('OTHER = "laptop"', 'OTHER = "laptop"'),
    ],
)
def test_parameters_replace_values_and_nothing_else(source, expected):
    assert with_parameters(source, {"SCALE": "smoke"}) == expected


def test_unknown_parameter_is_refused(built):
    with pytest.raises(UsageError, match=r"book/index.md has no parameter 'EPSILON', but: SCALE, DEVICE"):
        read("index", built, {"EPSILON": "1"})


def test_unknown_chapter_is_refused(built):
    with pytest.raises(UsageError, match="chapter is 'nowhere', but must be one of: index, other"):
        list(execute(["nowhere"], "smoke", "cpu", root=built))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (":tags: [parameters]\n", "", "book/other.md has 0 code cells tagged 'parameters'"),
        ("kernelspec:", "jupytext:", "book/other.md names no kernel"),
        (
            "name: python3",
            "name: conda-env-x-py",
            "book/other.md names the kernel 'conda-env-x-py'.* write `name: python3`",
        ),
        ("kernelspec:", "kernelspec: {", "book/other.md is not a sound MyST notebook"),
        ("ipython3\nfrom", "ipyton3\nfrom", "not a sound MyST notebook .*must have the same language"),
        ('DEVICE = "cpu"\n', "", "book/other.md has no parameter 'DEVICE', but: SCALE"),
    ],
)
def test_malformed_chapter_stops_the_build_before_any_work(built, old, new, message):
    with Restored(built / "book" / "other.md") as path, Restored(built / "book" / "index.md") as first:
        path.write_text(path.read_text().replace(old, new, 1))
        first.write_text(first.read_text() + GOOD)  # would be executed first
        with pytest.raises((Failure, UsageError), match=message):
            build("smoke", "cpu", root=built)
        assert not is_fresh("index", "smoke", "cpu", built)


def test_page_that_is_not_there_is_named(built):
    with Restored(built / "_toc.yml") as toc:
        toc.write_text(toc.read_text() + "- file: book/gone\n")
        with pytest.raises(Failure, match=r"_toc.yml names .*gone.md, which does not exist"):
            build("smoke", "cpu", root=built)


def lab_saves(text):
    """A chapter as JupyterLab writes it: it names the kernel and the language its own way."""
    settings = load_jupytext_configuration_file(str(ROOT / "pyproject.toml"))
    notebook = jupytext.reads(text, fmt="md:myst", config=settings)
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3 (ipykernel)", "language": "python"}
    notebook.metadata["language_info"] = {"name": "python", "version": "3.11.7", "file_extension": ".py"}
    for cell in code_cells(notebook):
        cell.metadata["execution"] = {"iopub.execute_input": "2026-01-01"}
        cell.metadata["trusted"] = True
        cell.execution_count = 1
    return jupytext.writes(notebook, fmt="md:myst", config=settings)


@pytest.mark.parametrize("stem", chapters())
def test_saving_a_chapter_in_jupyterlab_changes_only_what_was_changed(stem):
    text = (ROOT / "book" / f"{stem}.md").read_text()
    assert lab_saves(text) == text, f"run: .venv/bin/jupytext --to md:myst book/{stem}.md"


# --- executing -----------------------------------------------------------------------


def test_page_shows_the_parameters_that_were_used(built):
    notebook = nbformat.read(executed("index", "smoke", "cpu", built), as_version=4)
    first, second = code_cells(notebook)
    assert first.source == 'SCALE = "smoke"   # or another\nDEVICE = "cpu"'
    assert second.outputs[0].text == "smoke cpu\n"


def test_failing_cell_is_named_and_the_last_good_site_stays(built):
    site = built / "_build" / "html" / "book" / "other.html"
    before = site.read_text()
    with Restored(built / "book" / "other.md") as path:
        bad = CELL.format("x = 1\nx / 0  # comment")
        path.write_text(path.read_text() + "New words.\n\n" + bad + CELL.format("print(2)"))
        with pytest.raises(
            Failure,
            match=r"book/other.md: code cell 4 \('x = 1'\) failed with ZeroDivisionError: division by zero",
        ) as caught:
            build("smoke", "cpu", root=built)
    assert "\n" not in str(caught.value)
    assert site.read_text() == before


def test_dying_kernel_is_reported(built):
    with Restored(built / "book" / "other.md") as path:
        path.write_text(path.read_text() + CELL.format("import os; os._exit(1)"))
        with pytest.raises(Failure, match=r"book/other.md.*[Dd]ied"):
            build("smoke", "cpu", root=built)


def test_kernel_finds_lib_and_has_few_threads(built):
    with Restored(built / "book" / "other.md") as path:
        path.write_text(
            path.read_text()
            + CELL.format("import os\nfrom lib.thing import SIZE\nprint(SIZE, os.environ['OMP_NUM_THREADS'])")
        )
        assert execute_all("smoke", "cpu", root=built) == ["other"]
        notebook = nbformat.read(executed("other", "smoke", "cpu", built), as_version=4)
        assert code_cells(notebook)[-1].outputs[0].text == "3 1\n"
    execute_all("smoke", "cpu", root=built)


def test_what_took_longest_starts_first_and_a_failure_stops_the_rest(built, monkeypatch):
    seconds = {"index": 1.0, "other": 2.0}
    monkeypatch.setattr(chapters_, "_seconds", lambda target: seconds[target.stem])
    with Restored(built / "lib" / "thing.py") as path:
        path.write_text("SIZE = 6\n")
        assert list(execute(["index", "other"], "smoke", "cpu", root=built)) == ["other", "index"]
        with Restored(built / "book" / "other.md") as bad, Restored(built / "book" / "index.md") as slow:
            bad.write_text(bad.read_text() + CELL.format("1 / 0"))
            slow.write_text(slow.read_text() + CELL.format("import time; time.sleep(60)"))
            start = time.monotonic()
            with pytest.raises(Failure, match="book/other.md.*ZeroDivisionError"):
                list(execute(["index", "other"], "smoke", "cpu", root=built, jobs=2))
            assert time.monotonic() - start < 30
    execute_all("smoke", "cpu", root=built)


def test_a_chapters_time_is_read_from_its_last_execution(built):
    assert 0 < chapters_._seconds(executed("index", "smoke", "cpu", built)) < 100
    assert chapters_._seconds(executed("index", "paper", "cpu", built)) == math.inf


# --- up to date or not ---------------------------------------------------------------


def test_unchanged_book_is_not_built_again(built, capsys):
    build("smoke", "cpu", root=built)
    index = built / "_build" / "html" / "index.html"
    written = index.stat().st_mtime_ns
    start = time.monotonic()
    build("smoke", "cpu", root=built)
    assert time.monotonic() - start < 5
    assert index.stat().st_mtime_ns == written
    assert "Nothing has changed" in capsys.readouterr().out


def _fresh(root):
    return [is_fresh(stem, "smoke", "cpu", root) for stem in chapters(root)]


def test_change_of_a_chapter_makes_only_it_stale(built):
    with Restored(built / "book" / "other.md") as path:
        path.write_text(path.read_text() + "More.\n")
        assert _fresh(built) == [True, False]
    assert _fresh(built) == [True, True]


def test_change_of_a_module_makes_the_chapters_that_import_it_stale(built):
    with Restored(built / "lib" / "thing.py") as path:
        path.write_text("SIZE = 4\n")
        assert _fresh(built) == [False, False]
    assert _fresh(built) == [True, True]


def test_damaged_executed_chapter_is_executed_again(built):
    path = executed("other", "smoke", "cpu", built)
    path.write_bytes(path.read_bytes()[:-100])
    assert _fresh(built) == [True, False]
    assert execute_all("smoke", "cpu", root=built) == ["other"]
    assert _fresh(built) == [True, True]


@pytest.fixture
def three(small_book, tmp_path, monkeypatch):
    """An unbuilt book: "near" imports lib.far through lib.thing, "reader" reads records, "alone" imports nothing."""
    monkeypatch.delenv("BN_DATA", raising=False)
    monkeypatch.setattr("lib.data.ROOT", tmp_path)
    near = CELL.format("from lib.thing import SIZE")
    reader = CELL.format("def later():\n    import lib.pack.inner")
    root = small_book(tmp_path, near=near, reader=reader, alone=CELL.format("print(1)"))
    files = {
        "lib/__init__.py": "",
        "lib/thing.py": "import lib.far\nSIZE = 3\n",
        "lib/far.py": "def far():\n    return 1  # one\n",
        "lib/other.py": "",
        "lib/pack/__init__.py": "",
        "lib/pack/inner.py": "from lib import records\n",
        "lib/pack/widget.js": "",
        "lib/records/__init__.py": "",
        "lib/runs/training.py": "STEPS = 1\n",
        "requirements.txt": "# versions\ntorch==2\n",
    }
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


@pytest.mark.parametrize(
    ("name", "text", "stale"),
    [
        ("lib/far.py", "def far():\n    return 2  # one\n", ["near"]),
        ("lib/far.py", '"""Words."""\n\ndef far():\n    """More."""\n    # two\n    return (1)\n', []),
        ("lib/far.py", "def far(:\n", ["near"]),
        ("lib/other.py", "import os\n", []),
        ("lib/new.py", "import os\n", []),
        ("lib/pack/widget.js", "1", ["reader"]),
        ("lib/pack/table.toml", "1", ["reader"]),
        ("lib/pack/__init__.py", "import lib.other\n", ["reader"]),
        ("lib/runs/training.py", "STEPS = 2\n", ["reader"]),  # it makes the records
        ("lib/runs/training.py", "STEPS = 1  # a step\n", []),
        ("book/records/x.nc", "1", ["reader"]),
        ("book/records/benchmark.json", "1", ["reader"]),
        ("requirements.txt", "torch==2\n", []),
        ("requirements.txt", "torch==3\n", ["near", "reader", "alone"]),
        ("data/images.tar", "1", ["near", "reader", "alone"]),
        ("data/train/cat/1.png", "1", ["near", "reader", "alone"]),
        ("data/.npm/part", "1", []),
        ("book/alone.md", None, ["alone"]),
    ],
)
def test_a_chapter_is_stale_when_what_it_uses_has_changed_and_only_then(three, name, text, stale):
    def identities():
        return {stem: fingerprint(stem, three, {"SCALE": "smoke"}) for stem in chapters(three)}

    before = identities()
    path = three / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text if text is not None else path.read_text() + "More words.\n")
    after = identities()
    assert [stem for stem in before if before[stem] != after[stem]] == stale


def test_chapters_that_draw_curves_of_records_read_them():
    for stem in ("covariate-shift", "smoothing", "omitted-figures"):
        assert "lib/runs/training.py" in chapters_.modules_of(stem), stem


def test_a_cell_that_is_not_plain_python_may_use_any_module(three):
    path = three / "book" / "alone.md"
    path.write_text(path.read_text() + CELL.format("%matplotlib inline"))
    before = fingerprint("alone", three, {})
    (three / "lib" / "other.py").write_text("import os\n")
    assert fingerprint("alone", three, {}) != before


def test_other_images_below_bn_data_make_chapters_stale(three, monkeypatch, tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    (folder / "train" / "cat").mkdir(parents=True)
    image = folder / "train" / "cat" / "1.jpg"
    image.write_text("1")
    monkeypatch.setenv("BN_DATA", str(folder))
    before = fingerprint("alone", three, {})
    assert fingerprint("alone", three, {}) == before
    image.write_text("2")
    os.utime(image, ns=(1, 1))
    assert fingerprint("alone", three, {}) != before


def test_each_scale_is_executed_for_itself(built):
    assert not is_fresh("index", "laptop", "cpu", built)


def test_damaged_site_is_built_again(built):
    build("smoke", "cpu", root=built)
    index = built / "_build" / "html" / "index.html"
    index.unlink()
    build("smoke", "cpu", root=built)
    assert index.is_file()


# --- requests that cannot be met -----------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("huge", "cpu"), "scale is 'huge', but must be one of: smoke, laptop, paper"),
        (("smoke", "tpu"), "device is 'tpu', but must be one of: cpu, cuda"),
        (("smoke", "cpu", 0), "jobs is 0"),
        (("smoke", "cpu", 1.5), "jobs is 1.5"),
        (("smoke", "cuda"), "device is 'cuda', but torch finds no CUDA device here; use 'cpu'"),
    ],
)
def test_impossible_request_is_refused_before_any_work(tmp_path, monkeypatch, arguments, message):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(UsageError, match=message):
        build(*arguments, root=tmp_path)  # an empty folder: any work would fail otherwise
    assert list(tmp_path.iterdir()) == []


# --- trouble on the way --------------------------------------------------------------


def test_warning_of_sphinx_stops_the_build_and_the_last_good_site_stays(built):
    build("smoke", "cpu", root=built)
    site = built / "_build" / "html" / "book" / "other.html"
    before = site.read_text()
    with Restored(built / "book" / "other.md") as path:
        path.write_text(path.read_text() + "See {ref}`nowhere` and {cite}`nobody`.\n")
        with pytest.raises(Failure, match="Sphinx failed.*smoke-cpu.log") as caught:
            build("smoke", "cpu", root=built)
        assert "book/other" in str(caught.value) and "nowhere" in str(caught.value)
        assert "nobody" in str(caught.value)  # all warnings, not only the first
    assert site.read_text() == before


def test_nearly_full_disk_is_refused(built, monkeypatch):
    usage = book.shutil.disk_usage(built)
    monkeypatch.setattr(book.shutil, "disk_usage", lambda _: usage._replace(free=7_000_000))
    with pytest.raises(Failure, match="7 MB of free disk space, but a build needs 400 MB"):
        build("smoke", "cpu", root=built)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_disk_that_fills_up_is_reported(built, monkeypatch, code):
    def full(*_):
        raise OSError(code, "full")

    monkeypatch.setattr(book, "_stage", full)
    with pytest.raises(Failure, match="ran out of disk space"):
        build("smoke", "cpu", root=built)


def test_other_errors_of_the_system_are_not_blamed_on_space(built, monkeypatch):
    def denied(*_):
        raise PermissionError(errno.EACCES, "denied")

    monkeypatch.setattr(book, "_stage", denied)
    with pytest.raises(PermissionError):
        build("smoke", "cpu", root=built)


# --- ended before its time, or two at once -------------------------------------------

SLEEPS = CELL.format("import os, pathlib, time\npathlib.Path('../pid').write_text(str(os.getpid()))\ntime.sleep(100)")


def _build_elsewhere(root):
    """A build of `root` in a process of its own, as `python -m lib book` would do it."""
    program = (
        "import signal, sys; from pathlib import Path; from lib.build.book import build; from lib.errors import "
        "Failure\n"
        # Tests that run in the background of a shell hand on a SIGINT that is ignored.
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "try: build('smoke', 'cpu', root=Path(sys.argv[1]))\n"
        "except (Failure, KeyboardInterrupt) as error: sys.exit(repr(error))"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        [sys.executable, "-c", program, str(root)], env=environment, stderr=subprocess.PIPE, text=True
    )


def _wait(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "nothing happened in time"
        time.sleep(0.05)


def _alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def _descendants(pid):
    listed = subprocess.run(["ps", "-eo", "pid=,ppid="], capture_output=True, text=True, check=True).stdout
    parents = dict(tuple(map(int, line.split())) for line in listed.splitlines())
    return [child for child in parents if pid in _ancestors(child, parents)]


def _ancestors(pid, parents):
    while pid in parents:
        pid = parents[pid]
        yield pid


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks at processes through /proc")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_kernels_end_with_the_build_and_the_last_good_site_stays(built, number):
    site = built / "_build" / "html" / "book" / "other.html"
    before = site.read_text()
    with Restored(built / "book" / "other.md") as path:
        path.write_text(path.read_text() + SLEEPS)
        process = _build_elsewhere(built)
        try:
            _wait(lambda: (built / "pid").is_file() and (built / "pid").read_text())
            kernel = int((built / "pid").read_text())
            family = _descendants(process.pid)
            assert kernel in family and all(map(_alive, family))
            process.send_signal(number)
            _wait(lambda: process.poll() is not None and not any(map(_alive, family)), seconds=6)
        finally:
            process.kill()
            said = process.communicate()[1]
            (built / "pid").unlink(missing_ok=True)
    assert number == signal.SIGKILL or "KeyboardInterrupt" in said
    assert site.read_text() == before
    assert execute_all("smoke", "cpu", root=built) == ["other"]  # nothing of the other is in the way
    assert not list((built / "_build" / "executed" / "smoke-cpu").glob("*.running.*"))


def test_a_second_build_is_refused_and_told_who_builds(built):
    with book._alone(built):
        with pytest.raises(Failure, match=rf"being built already \(process {os.getpid()} on .*, since 20.*\); wait"):
            build("smoke", "cpu", root=built)
        with pytest.raises(Failure, match="being built already"):
            execute_all("smoke", "cpu", root=built)
    build("smoke", "cpu", root=built)


def test_sigterm_is_put_back_after_a_build(built):
    before = signal.getsignal(signal.SIGTERM)
    build("smoke", "cpu", root=built)
    assert signal.getsignal(signal.SIGTERM) is before


def test_there_is_a_whole_site_at_every_moment(tmp_path):
    site, seen, done = tmp_path / "html", set(), threading.Event()

    def publish(text):
        fresh = tmp_path / "fresh"
        fresh.mkdir()
        (fresh / "index.html").write_text(text)
        book._publish(fresh, site)

    def read_on():
        while not done.is_set():
            try:
                seen.add((site / "index.html").read_text())
            except OSError as error:
                seen.add(repr(error))

    publish("0")
    reader = threading.Thread(target=read_on)
    reader.start()
    for number in range(1, 200):
        publish(str(number))
    done.set()
    reader.join()
    assert len(seen) > 1 and all(text.isdigit() for text in seen)
    assert len(list((tmp_path / "html.sites").iterdir())) == 1


def test_a_folder_from_an_older_build_is_replaced(tmp_path):
    site, fresh = tmp_path / "html", tmp_path / "fresh"
    for place in (site, fresh):
        place.mkdir()
        (place / "index.html").write_text(place.name)
    book._publish(fresh, site)
    assert (site / "index.html").read_text() == "fresh"


@pytest.mark.parametrize("name", ["book/other.md", "_toc.yml", "_config.yml"])
def test_a_file_in_another_encoding_is_named(built, name):
    with Restored(built / name) as path:
        path.write_bytes(path.read_text().encode() + "# Gr\u00fc\u00dfe\n".encode("latin-1"))
        with pytest.raises(Failure, match=rf"{name} is not UTF-8 text \(at byte \d+\); save it in UTF-8"):
            build("smoke", "cpu", root=built)


@pytest.mark.parametrize("name", ["_toc.yml", "_config.yml"])
def test_broken_configuration_is_named_in_one_line(built, name):
    with Restored(built / name) as path:
        path.write_text("a: [\n")
        with pytest.raises(Failure, match=f"{name} is not sound YAML") as caught:
            build("smoke", "cpu", root=built)
    assert "\n" not in str(caught.value)


def test_sphinx_that_fails_without_a_warning_shows_its_last_words(built):
    with Restored(built / "_config.yml") as path:
        path.write_text(path.read_text() + "    extensions: [no_such_extension]\n")
        with pytest.raises(Failure, match="Sphinx failed") as caught:
            build("smoke", "cpu", root=built)
    assert "no_such_extension" in str(caught.value).split(":\n", 1)[1]
    assert "\x1b" not in str(caught.value)


# --- what the site says, and gives away ----------------------------------------------


def _page(root, name="book/other.html"):
    return (root / "_build" / "html" / name).read_text()


def test_downloadable_notebooks_hold_no_path_of_this_machine(built):
    notebooks = list((built / "_build" / "html" / "_sources" / "book").glob("*.ipynb"))
    assert len(notebooks) == 2
    for path in notebooks:
        text = path.read_text()
        assert str(built) not in text and str(ROOT) not in text and "_path" not in text, path


def test_a_downloaded_notebook_finds_lib_above_it_or_says_what_it_needs(built, tmp_path):
    path = built / "_build" / "html" / "_sources" / "book" / "other.ipynb"
    words, code, *_ = nbformat.read(path, as_version=4).cells
    assert "This is the chapter `other`" in words.source and "make lab" in words.source
    assert "find-lib" not in _page(built) and "ModuleNotFoundError" not in _page(built)
    command, clean = [sys.executable, "-P", "-c", code.source + "\nimport lib.norms"], os.environ | {"PYTHONPATH": ""}
    below = tmp_path / "project" / "some" / "folder"
    below.mkdir(parents=True)
    (tmp_path / "project" / "lib" / "norms").mkdir(parents=True)
    assert subprocess.run(command, cwd=below, env=clean).returncode == 0
    said = subprocess.run(command, cwd=tmp_path, env=clean, capture_output=True, text=True)
    assert said.returncode == 1 and "this notebook needs the package `lib` of the book's repository" in said.stderr


def test_pages_say_what_they_are_about_and_let_nothing_out(built):
    page = _page(built)
    assert '<meta name="description" content="' in page and '<meta property="og:title" content="other" />' in page
    assert "default-src 'self'" in page and "connect-src 'self' data: blob:" in page
    assert "Version 0.1.0" in page and "How to cite" in page and "@misc{bnbook" in page
    assert "thebe" not in page.lower()


def test_a_text_in_the_state_of_a_widget_cannot_end_its_script(built):
    page = _page(built)
    assert "<img src=x" not in page
    state = re.search(r'<script type="application/vnd.jupyter.widget-state\+json">(.*?)</script>', page, re.DOTALL)
    assert HOSTILE in [model["state"].get("value") for model in json.loads(state[1])["state"].values()]
    script = site_pages.harmless("if (1 < 2) { x = '</Script><!--'; }")
    assert script == r"if (1 < 2) { x = '\x3c/Script>\x3c!--'; }"


def test_a_description_is_the_first_words_of_a_page_without_markup():
    def page(*paragraphs):
        return nodes.section("", *paragraphs)

    raw = nodes.raw("", "<a href='x'>", format="html")
    words = nodes.paragraph("", "", nodes.Text("One "), nodes.emphasis("", "two"), raw, nodes.Text("\n three."))
    assert site_pages.description(page(nodes.paragraph("", "", raw.deepcopy()), words), "T") == "One two three."
    assert site_pages.description(page(), "T") == "T" and site_pages.description(None, "T") == "T"
    long = site_pages.description(page(nodes.paragraph("", "word " * 100)), "T")
    assert len(long) <= site_pages.LENGTH and long.endswith("word…")


def test_no_button_leads_nowhere_while_the_repository_is_not_named(built):
    for words in ("edit", "issues/new", "mybinder"):
        assert words not in "".join(re.findall(r'href="([^"]*)"', _page(built)))


def test_buttons_lead_to_the_chapter_as_it_is_in_the_repository():
    configuration = {"html": {}, "repository": {"url": "https://github.com/some/book"}}
    staging._use_repository(configuration, "https://github.com/some/book")
    assert configuration["html"]["use_edit_page_button"] is True
    assert configuration["launch_buttons"]["binderhub_url"] == staging.BINDER
    launch = site_pages.of_source("https://mybinder.org/v2/gh/a/b/main?urlpath=lab/tree/book/x.ipynb", "book/x")
    assert launch.endswith("urlpath=lab/tree/book/x.md%3Ffactory%3DJupytext%2520Notebook")
    edit = site_pages.of_source("https://github.com/a/b/edit/main/book/x.ipynb", "book/x")
    assert edit == "https://github.com/a/b/edit/main/book/x.md"
    assert site_pages.of_source("https://github.com/a/b", "book/x") == "https://github.com/a/b"


def test_licences_of_what_is_copied_are_copied_with_it(built):
    texts = {path.stem: path.read_text() for path in (built / "_build/html/_static/licences").glob("*.txt")}
    for name, words in {
        "Sphinx": "Redistribution and use in source and binary forms",
        "pydata-sphinx-theme": "Font Awesome",
        "ipywidgets": "Redistribution and use",
        "this-book": "MIT License",
    }.items():
        assert words in texts[name], name
    if (built / "_build" / "vendor").is_dir():
        assert "Apache License" in texts["mathjax"]
        assert "Permission is hereby granted" in texts["requirejs"] and "bn-book" not in texts["requirejs"]
        assert {"anywidget", "jquery", "backbone", "fortawesome-fontawesome-free"} <= set(texts)
        assert all(len(text) > 60 for text in texts.values())


def test_the_page_of_licences_lists_every_text(tmp_path):
    page = tmp_path / "licences.md"
    page.write_text(f"# Licences\n\n{licences.PLACE}\n")
    (tmp_path / "vendor" / "licences").mkdir(parents=True)
    (tmp_path / "vendor" / "licences" / "list.json").write_text('[["@a/<b>", "1", "MIT", "a-b.txt"]]')
    licences.stage(tmp_path, page, ROOT)
    text = page.read_text()
    assert '<a href="../_static/licences/a-b.txt">@a/&lt;b&gt;</a>' in text and licences.PLACE not in text
    for name in licences.PACKAGES:
        assert f'licences/{name}.txt">{name}</a>' in text and (tmp_path / "licences" / f"{name}.txt").is_file()
    assert licences.PLACE in (ROOT / "book" / "licences.md").read_text()


def test_what_others_leave_in_the_folder_of_chapters_is_no_trouble(built):
    (built / "book" / "dangling.txt").symlink_to("nowhere")
    (built / "book" / "index.ipynb").write_text("not a notebook")
    try:
        book._stage("smoke", "cpu", built, None)
    finally:
        (built / "book" / "dangling.txt").unlink()
        (built / "book" / "index.ipynb").unlink()


@pytest.fixture
def without_assets(small_book, tmp_path):
    root = small_book(tmp_path, index=GOOD)
    if (root / "_build" / "vendor").exists():
        shutil.rmtree(root / "_build" / "vendor")
    return root


@pytest.mark.parametrize("npm", [None, "broken", "slow"])
def test_without_npm_the_site_uses_the_network_and_the_build_says_so(without_assets, monkeypatch, capsys, npm):
    root = without_assets
    if npm:
        script = root / "npm"
        text = "exec sleep 9" if npm == "slow" else "echo 'npm error network: no route' >&2; exit 1"
        script.write_text(f"#!/bin/sh\n{text}\n")
        script.chmod(0o755)
        npm = str(script)
    monkeypatch.setattr(assets, "npm_command", lambda: npm)
    monkeypatch.setattr(assets, "NPM_SECONDS", 1)
    execute_all("smoke", "cpu", root=root)
    vendored = assets.vendor(root)
    said = capsys.readouterr().err
    assert vendored is None
    assert "WARNING: the browser-side files could not be installed" in said
    assert any(reason in said for reason in ("not installed", "no route", "no answer in 1 s"))

    stage = book._stage("smoke", "cpu", root, vendored)
    settings = yaml.safe_load((stage / "_config.yml").read_text())["sphinx"]["config"]
    loader, own, manager = settings["nb_ipywidgets_js"]  # in the order of loading
    assert "require" in loader and own == "widget-modules.js" and "embed-amd" in manager
    assert loader.startswith("https://") and manager.startswith("https://")
    assert "mathjax_path" not in settings


def test_assets_are_installed_once_and_again_when_the_lockfile_changes(without_assets, monkeypatch):
    root = without_assets
    log = root / "npm.log"
    files = [name.replace("*", "icons") for name in assets.FILES]
    folders = [name for name in files if not name.endswith((".js", ".woff2"))]
    made = [f"{name}/inside.js" if name in folders else name for name in files] + [assets.AXE]
    script = root / "npm"
    script.write_text(
        f"#!/bin/sh\necho $PWD $@ >> {log}\n"
        + "".join(f"mkdir -p $(dirname node_modules/{name}); touch node_modules/{name}\n" for name in made)
    )
    script.chmod(0o755)
    monkeypatch.setattr(assets, "npm_command", lambda: str(script))
    target = assets.vendor(root)
    assert target == root / "_build" / "vendor"
    for name in (
        "require.js",
        "embed-amd.js",
        "anywidget.js",
        "@jupyter-widgets/icons.woff2",
        "mathjax/output/chtml/inside.js",
    ):
        assert (target / name).is_file(), name
    # What checks pages is there for the tests, and in no site.
    assert assets.axe(root).is_file() and not list(target.rglob("*axe*"))
    assert len(log.read_text().splitlines()) == 1
    assert "ci --ignore-scripts" in log.read_text()
    lock = root / assets.NPM / "package-lock.json"
    lock.write_text(lock.read_text() + "\n")
    assets.vendor(root)
    assert len(log.read_text().splitlines()) == 2
    assert not (root / "_build" / "npm").exists()


def test_lockfile_has_hashes_and_no_addresses_of_packages():
    lock = json.loads((ROOT / assets.NPM / "package-lock.json").read_text())["packages"]
    packages = [package for name, package in lock.items() if name]
    assert packages and all("integrity" in package for package in packages)
    assert not any("resolved" in package for package in packages)


def test_prepared_site_keeps_the_order_of_scripts(built):
    stage = book._stage("smoke", "cpu", built, assets.vendor(built))
    settings = yaml.safe_load((stage / "_config.yml").read_text())["sphinx"]["config"]
    assert list(settings["nb_ipywidgets_js"]) == [
        "vendor/require.js",
        "widget-modules.js",
        "vendor/embed-amd.js",
    ]
    for name in [*settings["nb_ipywidgets_js"], settings["mathjax_path"], "vendor/anywidget.js"]:
        assert (stage / "book" / "_assets" / name).is_file(), name


def test_records_are_made_before_the_chapters_that_read_them(built, monkeypatch):
    calls = []
    monkeypatch.setattr("lib.runs.prepare", lambda *given: calls.append(given))
    monkeypatch.setattr(book, "execute", lambda stems, *_, **__: calls.extend(stems) or iter(()))
    monkeypatch.setattr(book, "ROOT", built)
    execute_all("smoke", "cpu", 2, root=built)
    assert calls == []
    with Restored(built / "lib" / "thing.py") as path:
        path.write_text("SIZE = 5\n")
        execute_all("smoke", "cpu", 1, root=built)
    assert calls == [("smoke", "cpu", 1), "index", "other"]


def test_a_page_goes_without_the_widget_manager_only_if_all_its_widgets_are_modules():
    view = '<script type="application/vnd.jupyter.widget-view+json">{{"model_id": "{}"}}</script>'.format
    states = {"a": {"model_module": "anywidget"}, "b": {"model_module": "@jupyter-widgets/controls"}}
    assert site_pages.only_ours(view("a") + "<p>" + view("a"), states)
    for body in (view("a") + view("b"), view("b"), view("elsewhere"), "<p>no widget</p>", ""):
        assert not site_pages.only_ours(body, states)


@pytest.mark.parametrize(
    ("contents", "named"),
    [
        ("format: jb-book\nroot: 7\n", "_toc.yml names 7, but must name files"),
        ("root: " + "[" * 5_000, "_toc.yml is not sound YAML .maximum recursion depth"),
        (
            f"format: jb-book\nroot: book/{'x' * 5_000}\n",
            "_toc.yml names 'book/x+... .5007 characters., which does not",
        ),
    ],
)
def test_a_table_of_contents_that_names_no_file_is_one_line(tmp_path, contents, named):
    (tmp_path / "_toc.yml").write_text(contents)
    with pytest.raises(Failure, match=named):
        chapters_.pages(tmp_path)


def test_parameters_that_are_not_python_are_one_line(tmp_path):
    (tmp_path / "book").mkdir()
    (tmp_path / "_toc.yml").write_text("format: jb-book\nroot: book/index\n")
    text = (ROOT / "book" / "own-norm.md").read_text()
    (tmp_path / "book" / "index.md").write_text(text.replace('SCALE = "laptop"', 'SCALE = "laptop', 1))
    with pytest.raises(
        Failure, match="^book/index.md: its cell tagged 'parameters' is not Python .unterminated string"
    ):
        chapters_.read("index", tmp_path)
