"""The notebooks that nbval compares: slim, in step with the chapters, and strict."""

import os
import shutil
import subprocess
import sys

import nbformat
import pytest
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from lib.build.chapters import ROOT, has_tag, read
from lib.build.references import FOLDER, reference, slim, stale
from lib.errors import UsageError

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
        reference(scale="paper")


def test_one_chapter_alone_is_made_anew(referenced):
    folder = referenced / FOLDER
    before = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert reference(["index"], root=referenced) == [folder / "index.ipynb"]
    after = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert after["other.ipynb"] == before["other.ipynb"] and after["index.ipynb"] > before["index.ipynb"]
    with pytest.raises(UsageError, match="chapter is 'gone', but must be one of: index, other"):
        reference(["gone"], root=referenced)


def _nbval(notebooks, pythonpath) -> subprocess.CompletedProcess:
    """Run nbval, with this project's options and words, on a folder of notebooks; they find `lib` in `pythonpath`."""
    ours = [str(ROOT), str(ROOT / "tests")]
    program = f"import sys; sys.path[:0] = {ours}; import pytest; sys.exit(pytest.main(sys.argv[1:]))"
    options = ["--nbval-lax", "--nbval-current-env", "-q", "-p", "no:cacheprovider", "-c", os.devnull]
    return subprocess.run(
        [sys.executable, "-c", program, *options, "-p", "readable_nbval", "--rootdir", str(notebooks), str(notebooks)],
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


def test_what_nbval_says_labels_old_and_new_and_names_the_module(referenced):
    thing = referenced / "lib" / "thing.py"
    (referenced / "lib" / "unused.py").write_text("1\n")
    thing.write_text('"""Words."""\nSIZE = 4\n')
    said = _nbval(referenced / FOLDER, referenced).stdout
    thing.write_text("SIZE = 3\n")
    for line in (
        "reference: 3",
        "now:       4",
        "Changed since this reference was made: lib/thing.py.",
        "If the new output is wanted: make reference CHAPTER=index",
    ):
        assert line in said


#: Faults of the library: the module, its text and what is put in its place, the chapter that teaches it, and words of
#: the cells that are executed beside the parameters.
FAULTS = {
    "eps 1e-3": ("norms/layers.py", "EPS = 1e-5", "EPS = 1e-3", "introduction", ["def batchnorm("]),
    "unbiased variance": (
        "norms/layers.py",
        "class ActivationNoise",
        "BatchNorm.forward = lambda self, y: self.gamma * (y - y.mean(0)) / (y.var(0) + EPS).sqrt() + self.beta\n\n\n"
        "class ActivationNoise",
        "introduction",
        ["def batchnorm("],
    ),
    "another noise": (
        "specs.py",
        "n_mu: float = _number(0.5,",
        "n_mu: float = _number(0.45,",
        "covariate-shift",
        ["def algorithm_1("],
    ),
    "twice the smoothness": (
        "quantities.py",
        "return grad_change /",
        "return 2 * grad_change /",
        "smoothing",
        ["def landscape(", "single = LinearSpec"],
    ),
    "half the step": (
        "models/moments.py",
        "weights - problem.spec.step_size * gradient",
        "weights - problem.spec.step_size / 2 * gradient",
        "covariate-shift",
        ["def algorithm_1(", "def covariate_shift("],
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_of_the_library_fails_nbval_in_the_chapter_that_teaches_it(fault, tmp_path):
    module, old, new, stem, words = FAULTS[fault]
    shutil.copytree(ROOT / "lib", tmp_path / "lib", ignore=shutil.ignore_patterns("__pycache__"))
    notebook = read(stem)
    notebook.cells = [
        cell
        for cell in notebook.cells
        if has_tag(cell, "parameters") or (cell.cell_type == "code" and any(word in cell.source for word in words))
    ]
    assert len(notebook.cells) == 1 + len(words)
    NotebookClient(notebook, timeout=300).execute()  # what the library says as it is
    folder = tmp_path / "references"
    folder.mkdir()
    nbformat.write(slim(notebook), folder / f"{stem}.ipynb")
    source = tmp_path / "lib" / module
    assert source.read_text().count(old) >= 1, "the fault is no longer one"
    source.write_text(source.read_text().replace(old, new, 1))
    failed = _nbval(folder, tmp_path)
    assert failed.returncode == 1 and "failed" in failed.stdout
