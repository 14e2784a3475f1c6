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
    from lib import assets

    def write(root: Path, **chapters: str) -> Path:
        shutil.copytree(ROOT / "book" / "_assets", root / "book" / "_assets")
        shutil.copy(ROOT / "book" / "references.bib", root / "book")
        shutil.copy(ROOT / "_config.yml", root)
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
    from lib import records, results

    def forget():
        results._load.cache_clear()
        results._record.cache_clear()

    monkeypatch.setattr(records, "CACHE", tmp_path / "records")
    monkeypatch.setattr(records, "COMMITTED", tmp_path / "committed")
    forget()
    yield tmp_path
    forget()
