"""The build: chapters checked and executed, what is up to date skipped, the site kept safe."""

import errno
import json
import math
import os
import subprocess
import sys
import time

import jupytext
import nbformat
import pytest
import yaml

from lib import assets, book
from lib import chapters as chapters_
from lib.book import build, execute_all
from lib.chapters import (
    ROOT,
    chapters,
    code_cells,
    execute,
    executed,
    has_tag,
    is_fresh,
    pages,
    read,
    with_parameters,
)
from lib.errors import Failure, UsageError

CELL = "```{{code-cell}} ipython3\n{}\n```\n"
GOOD = CELL.format("print(SCALE, DEVICE)")


@pytest.fixture(scope="module")
def built(small_book, tmp_path_factory):
    """A small book, built once and without images; tests that change it put back what they changed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("BN_DATA", raising=False)
        yield _built(small_book, tmp_path_factory)


def _built(small_book, tmp_path_factory):
    root = small_book(tmp_path_factory.mktemp("book"), index=GOOD, other=GOOD)
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
        "index", "introduction", "covariate-shift", "smoothing", "theory", "related-work",
        "conclusions", "setup", "omitted-figures", "proofs", "probes", "speed", "bibliography",
    ]  # fmt: skip


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
            match=r"book/other.md: code cell 3 \('x = 1'\) failed with ZeroDivisionError: division by zero",
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


BORN = CELL.format("import os\nfrom lib.born import PROCESS\nprint(PROCESS, os.getpid())")


@pytest.mark.parametrize("platform", ["linux", "another"])
def test_imports_are_paid_once_where_processes_fork(built, tmp_path, platform):
    """A module that knows its process: the same in both kernels, and another than theirs, if it was loaded before them."""
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "born.py").write_text("import os\nPROCESS = os.getpid()\n")
    notebooks = []
    for name in ("one", "two"):
        notebook = jupytext.reads((built / "book" / "other.md").read_text() + BORN, fmt="md:myst")
        nbformat.write(notebook, tmp_path / f"{name}.ipynb")
        notebooks.append([str(tmp_path / f"{name}.ipynb"), {"SCALE": "smoke"}])
    command = f"import runpy, sys; sys.platform = {platform!r}; runpy.run_path({str(chapters_.WORKSHOP)!r}, run_name='__main__')"
    done = subprocess.run(
        [sys.executable, "-P", "-c", command, "2", "lib.born"],
        input=json.dumps(notebooks), cwd=tmp_path, capture_output=True, text=True,
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
    )  # fmt: skip
    assert sorted(json.loads(line) for line in done.stdout.splitlines()) == [[path, 0] for path, _ in notebooks], done.stderr
    printed = [code_cells(nbformat.read(path, as_version=4))[-1].outputs[0].text.split() for path, _ in notebooks]
    (first, kernel), (second, other) = printed
    assert kernel != other
    assert (first == second) == (platform == "linux") and (first == kernel) == (platform != "linux")


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


def test_change_of_lib_makes_every_chapter_stale(built):
    with Restored(built / "lib" / "thing.py") as path:
        path.write_text("SIZE = 4\n")
        assert _fresh(built) == [False, False]
    assert _fresh(built) == [True, True]


def test_new_script_record_or_images_make_every_chapter_stale(built, tmp_path, monkeypatch):
    for name in ("lib/widget.js", "book/records/x.nc", "requirements.txt"):
        (built / name).parent.mkdir(exist_ok=True)
        (built / name).write_text("1")
        assert _fresh(built) == [False, False], name
        (built / name).unlink()
    monkeypatch.setenv("BN_DATA", str(tmp_path))
    assert _fresh(built) == [True, True]
    (tmp_path / "images.tar").write_text("1")
    assert _fresh(built) == [False, False]


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


@pytest.fixture
def without_assets(small_book, tmp_path):
    root = small_book(tmp_path, index=GOOD)
    if (root / "_build" / "vendor").exists():
        book.shutil.rmtree(root / "_build" / "vendor")
    return root


@pytest.mark.parametrize("npm", [None, "broken", "slow"])
def test_without_npm_the_site_uses_the_network_and_the_build_says_so(
    without_assets, monkeypatch, capsys, npm
):
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
    made = [f"{name}/inside.js" if name in folders else name for name in files]
    script = root / "npm"
    script.write_text(
        f"#!/bin/sh\necho $PWD $@ >> {log}\n"
        + "".join(f"mkdir -p $(dirname node_modules/{name}); touch node_modules/{name}\n" for name in made)
    )
    script.chmod(0o755)
    monkeypatch.setattr(assets, "npm_command", lambda: str(script))
    target = assets.vendor(root)
    assert target == root / "_build" / "vendor"
    for name in ("require.js", "embed-amd.js", "anywidget.js", "@jupyter-widgets/icons.woff2",
                 "mathjax/output/chtml/inside.js"):  # fmt: skip
        assert (target / name).is_file(), name
    assets.vendor(root)
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
        "vendor/require.js", "widget-modules.js", "vendor/embed-amd.js",
    ]  # fmt: skip
    for name in [*settings["nb_ipywidgets_js"], settings["mathjax_path"], "vendor/anywidget.js"]:
        assert (stage / "book" / "_assets" / name).is_file(), name


def test_records_are_made_before_the_chapters_that_read_them(built, monkeypatch):
    calls = []
    monkeypatch.setattr("lib.results.prepare", lambda *given: calls.append(given))
    monkeypatch.setattr(book, "execute", lambda stems, *_, **__: calls.extend(stems) or iter(()))
    monkeypatch.setattr(book, "ROOT", built)
    execute_all("smoke", "cpu", 2, root=built)
    assert calls == []
    with Restored(built / "lib" / "thing.py") as path:
        path.write_text("SIZE = 5\n")
        execute_all("smoke", "cpu", 1, root=built)
    assert calls == [("smoke", "cpu", 1), "index", "other"]
