"""What every test and every notebook kernel needs before `torch` is imported."""

import os
import shutil
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

# Kernels start in the folder of their notebook: only PYTHONPATH leads them to `lib`.
os.environ["PYTHONPATH"] = str(ROOT)
sys.path.insert(0, str(ROOT))

# One thread and no progress bars: the same sums in the same order, and clean output.
os.environ.update(
    OMP_NUM_THREADS="1",
    MKL_NUM_THREADS="1",
    PYTHONHASHSEED="0",
    TQDM_DISABLE="1",
    PYDEVD_DISABLE_FILE_VALIDATION="1",
)
os.environ.pop("MPLBACKEND", None)

from hypothesis import settings  # noqa: E402

settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.load_profile("repeatable")

from readable_nbval import pytest_itemcollected  # noqa: E402, F401

HEADER = """\
---
kernelspec:
  display_name: Python 3
  language: python
  name: python3
---

# {title}

```{{code-cell}} ipython3
:tags: [parameters]
SCALE = "laptop"   # or another
DEVICE = "cpu"
```

"""


@pytest.fixture(scope="session")
def small_book():
    """A function that writes a book with this book's configuration into a folder.

    It takes the folder and, by stem, the Markdown after each chapter's
    parameters cell; the first chapter is the landing page.
    """
    from lib.build import assets

    def write(root: Path, **chapters: str) -> Path:
        shutil.copytree(ROOT / "book" / "_assets", root / "book" / "_assets")
        shutil.copy(ROOT / "book" / "references.bib", root / "book")
        for name in ("_config.yml", "CITATION.cff", "LICENSE"):
            shutil.copy(ROOT / name, root)
        (root / "lib").mkdir()
        (root / "lib" / "thing.py").write_text("SIZE = 3\n")
        vendored = assets.vendor(ROOT)
        if vendored:
            shutil.copytree(vendored, root / "_build" / "vendor")
        first, *others = chapters
        toc = [f"format: jb-book\nroot: book/{first}\n"]
        toc += ["chapters:\n" if others else "", *(f"- file: book/{stem}\n" for stem in others)]
        (root / "_toc.yml").write_text("".join(toc))
        for stem, text in chapters.items():
            (root / "book" / f"{stem}.md").write_text(HEADER.format(title=stem) + text)
        return root

    return write


@pytest.fixture
def store(tmp_path, monkeypatch):
    """A folder with empty stores of records: cached in `records`, committed in `committed`."""
    from lib import records
    from lib.paper import results

    monkeypatch.setattr(records, "CACHE", tmp_path / "records")
    monkeypatch.setattr(records, "COMMITTED", tmp_path / "committed")
    results.forget()
    yield tmp_path
    results.forget()


@pytest.fixture(scope="session")
def shut_out():
    """A function of a browser: what axe-core finds on its page, or a part of it, that is graver than minor, and where.

    A test that asks for it is skipped where npm cannot install axe-core.
    """
    from lib.build import assets

    path = assets.axe(ROOT)
    if path is None:
        pytest.skip("axe-core is not here, and npm cannot install it")
    axe = path.read_text()

    def find(driver, part: str = "document") -> list[str]:
        driver.execute_script(axe)
        # Colours on their way from light to dark are neither.
        driver.execute_script(
            "document.getAnimations().filter((one) => one instanceof CSSTransition).forEach((one) => one.finish())"
        )
        found = driver.execute_async_script(
            f"const done = arguments[0]; axe.run({part}).then((r) => done(r.violations), (e) => done(String(e)))"
        )
        assert isinstance(found, list), found
        return [
            f"{one['impact']} {one['id']}: {node['html'][:150]} {node['failureSummary'][:200]}"
            for one in found
            if one["impact"] != "minor"
            for node in one["nodes"]
        ]

    return find
