"""The notebooks that nbval compares: slim, in step with the chapters, and strict."""

import os
import shutil
import subprocess
import sys

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from lib.chapters import ROOT
from lib.errors import UsageError
from lib.references import FOLDER, reference, slim, stale

CHECKED = "```{code-cell} ipython3\n:tags: [nbval-check-output]\nfrom lib.thing import SIZE\nprint(SIZE)\n```\n"
UNCHECKED = "```{code-cell} ipython3\nimport time\nprint(time.time())\n```\n"


def test_references_have_the_code_of_the_chapters():
    assert stale() == [], "the chapters have changed: look at what they print, then run `make reference`"


def test_references_are_slim():
    for path in (ROOT / FOLDER).glob("*.ipynb"):
        assert path.stat().st_size < 40_000, path.name
        assert "image/png" not in path.read_text()


def test_slim_keeps_what_nbval_compares_and_drops_the_rest():
    tags = {"tags": ["nbval-check-output"]}
    outputs = [
        new_output("stream", name="stdout", text="1.23\n"),
        new_output("stream", name="stderr", text="warning\n"),
        new_output("display_data", data={"image/png": "AAAA"}),
        new_output("execute_result", data={"text/plain": "<Figure>", "image/png": "AAAA"}, execution_count=3),
        new_output("display_data", data={"application/vnd.jupyter.widget-view+json": {"model_id": "x"}}),
    ]
    notebook = new_notebook(
        cells=[
            new_markdown_cell("# Title"),
            new_code_cell("quiet()", outputs=outputs),
            new_code_cell("loud()", metadata=tags, outputs=outputs, execution_count=7),
        ],
        metadata={"widgets": {"state": "large"}, "papermill": {}},
    )
    result = slim(notebook)
    nbformat.validate(result)
    quiet, loud = result.cells
    assert (quiet.source, quiet.outputs) == ("quiet()", [])
    assert [dict(output) for output in loud.outputs] == [
        {"output_type": "stream", "name": "stdout", "text": "1.23\n"},
        {"output_type": "display_data", "metadata": {}, "data": {"text/plain": "<Figure>"}},
    ]
    assert loud.execution_count == 2 and list(result.metadata) == ["kernelspec"]


@pytest.fixture(scope="module")
def referenced(small_book, tmp_path_factory):
    root = small_book(tmp_path_factory.mktemp("referenced"), index=CHECKED + UNCHECKED, other=UNCHECKED)
    (root / FOLDER).mkdir(parents=True)
    (root / FOLDER / "gone.ipynb").write_text("{}")
    assert stale(root) == ["index", "other", "gone"]
    written = reference(root=root)
    assert [path.name for path in written] == ["index.ipynb", "other.ipynb"]
    return root


def test_reference_is_repeatable_and_removes_what_has_no_chapter(referenced):
    folder = referenced / FOLDER
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert set(before) == {"index.ipynb", "other.ipynb"}
    reference(root=referenced)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_changed_code_is_noticed_and_changed_words_are_not(referenced):
    assert stale(referenced) == []
    path = referenced / "book" / "other.md"
    text = path.read_text()
    path.write_text(text + "\nOnly words.\n")
    assert stale(referenced) == []
    path.write_text(text.replace("time.time()", "time.time() + 1"))
    assert stale(referenced) == ["other"]
    path.write_text(text)


def test_references_are_for_the_smallest_scale():
    with pytest.raises(UsageError, match="scale is 'paper', but references are made at 'smoke' only"):
        reference("paper")


def _nbval(notebooks, pythonpath) -> subprocess.CompletedProcess:
    """Run nbval, with this project's options, on a folder of notebooks."""
    options = ["--nbval-lax", "--nbval-current-env", "-q", "-p", "no:cacheprovider", "-c", os.devnull]
    return subprocess.run(
        [sys.executable, "-m", "pytest", *options, "--rootdir", str(notebooks), str(notebooks)],
        env=os.environ | {"PYTHONPATH": str(pythonpath)},
        capture_output=True,
        text=True,
    )


def test_nbval_accepts_the_same_numbers_and_rejects_others(referenced):
    folder = referenced / FOLDER
    assert _nbval(folder, referenced).returncode == 0
    thing = referenced / "lib" / "thing.py"
    thing.write_text("SIZE = 4\n")
    changed = _nbval(folder, referenced)
    thing.write_text("SIZE = 3\n")
    assert changed.returncode == 1 and "1 failed" in changed.stdout


#: What 1 % more of what a norm or a probe returns is appended to, the chapter that shows
#: it, and words of the cells that are executed beside the parameters.
ERRORS = {
    "norms.py": (
        "_forward = BatchNorm.forward\nBatchNorm.forward = lambda self, y: 1.01 * _forward(self, y)\n",
        "introduction",
        ["BatchNorm(1)(y)"],
    ),
    "probes.py": (
        "_landscape = landscape\ndef landscape(*given):\n    return tuple(1.01 * value for value in _landscape(*given))\n",
        "smoothing",
        ["from lib import", "probed.landscape_loss"],
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("module", ERRORS)
def test_an_error_of_one_percent_in_lib_fails_nbval(module, tmp_path):
    wrong, stem, words = ERRORS[module]
    shutil.copytree(ROOT / "lib", tmp_path / "lib")
    notebook = nbformat.read(ROOT / FOLDER / f"{stem}.ipynb", as_version=4)
    notebook.cells = [
        cell
        for cell in notebook.cells
        if "parameters" in cell.metadata.tags or any(word in cell.source for word in words)
    ]
    folder = tmp_path / "references"
    folder.mkdir()
    nbformat.write(notebook, folder / f"{stem}.ipynb")
    assert _nbval(folder, tmp_path).returncode == 0  # so that the error is what fails next
    source = tmp_path / "lib" / module
    source.write_text(f"{source.read_text()}\n\n{wrong}")
    failed = _nbval(folder, tmp_path)
    assert failed.returncode == 1 and "1 failed" in failed.stdout
