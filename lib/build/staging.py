"""All that Sphinx reads, in one folder: executed chapters, pages, assets, licences, configuration."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import yaml

from lib.build import licences
from lib.build.chapters import chapters, executed, pages, read_text, read_yaml

BINDER = "https://mybinder.org"
EXTENSION = Path(__file__).with_name("site_pages.py")


def stage(scale: str, device: str, root: Path, vendored: Path | None) -> Path:
    """Make the folder anew, and return it; `vendored` holds the browser-side files, where there are any."""
    folder = root / "_build" / "stage" / f"{scale}-{device}"
    shutil.rmtree(folder, ignore_errors=True)
    book = folder / "book"
    skip = shutil.ignore_patterns("*.md", "*.ipynb", "records", "npm", ".*")
    shutil.copytree(root / "book", book, ignore=skip, ignore_dangling_symlinks=True)
    configuration = read_yaml(root / "_config.yml")
    repository = (configuration.get("repository") or {}).get("url") or ""
    notebooks = set(chapters(root))
    for stem in pages(root):
        if stem in notebooks:
            notebook = json.loads(executed(stem, scale, device, root).read_bytes())
            notebook["cells"] = [*_first_cells(stem, configuration["title"], repository, scale), *notebook["cells"]]
            (book / f"{stem}.ipynb").write_text(json.dumps(notebook, ensure_ascii=False, indent=1))
        else:
            shutil.copy(root / "book" / f"{stem}.md", book)
    shutil.copy(root / "_toc.yml", folder)
    shutil.copy(EXTENSION, folder)
    settings = configuration["sphinx"]["config"]
    if vendored:
        shutil.copytree(vendored, book / "_assets" / "vendor")
    else:
        _use_networks_copies(settings)
    licences.stage(book / "_assets", book / "licences.md", root)
    _use_repository(configuration, repository)
    about = {
        "title": configuration["title"],
        "local": vendored is not None,
        "address": configuration["html"].get("baseurl"),
    }
    settings["html_context"] = settings.get("html_context", {}) | {"book": about | _citation(root)}
    # The order of the scripts in it is the order of loading: no sorting.
    text = yaml.safe_dump(configuration, sort_keys=False, allow_unicode=True)
    (folder / "_config.yml").write_text(text)
    return folder


#: It looks for `lib` above the folder that the notebook was put in.
_FIND_LIB = """\
# Only in the notebook that is offered for download.
import sys
from pathlib import Path

homes = [folder for folder in [Path.cwd(), *Path.cwd().parents] if (folder / "lib" / "norms").is_dir()]
if not homes:
    why = "this notebook needs the package `lib` of {where}: put it anywhere inside, and run it again"
    raise ModuleNotFoundError(why)
sys.path.insert(0, str(homes[0]))"""


def _first_cells(stem: str, title: str, repository: str, scale: str) -> list[dict]:
    """What a downloaded notebook needs, in words and in code; the page does not show them."""
    where = repository or "the book's repository"
    words = (
        f"*This is the chapter `{stem}` of \u201c{title}\u201d, executed at {scale} scale.* To run it, you need "
        f"{where}, with Python 3.11 or newer and the packages of its `requirements.txt` (`make setup` installs "
        "them). Put this file anywhere inside, or type `make lab` there and open `book/"
        + stem
        + ".md`, which is the same chapter."
    )
    metadata = {"tags": ["remove-cell"]}
    return [
        {"cell_type": "markdown", "id": "what-it-needs", "metadata": metadata, "source": words},
        {
            "cell_type": "code",
            "id": "find-lib",
            "metadata": metadata,
            "source": _FIND_LIB.format(where=where),
            "outputs": [],
            "execution_count": None,
        },
    ]


def _use_repository(configuration: dict, url: str) -> None:
    """Buttons that lead to the repository, and to a running copy, where its address is known; none otherwise."""
    html = configuration["html"]
    for name in ("use_repository_button", "use_issues_button", "use_edit_page_button"):
        html[name] = bool(url)
    if url:
        # Not Colab: it opens notebooks only, and the chapters in the repository are Markdown.
        configuration["launch_buttons"] = {"notebook_interface": "jupyterlab", "binderhub_url": BINDER}
    else:
        configuration.pop("repository", None)


def _citation(root: Path) -> dict[str, str]:
    """Version, licence and BibTeX entry of the book, from its CITATION.cff."""
    path = root / "CITATION.cff"
    if not path.is_file():
        return {"version": "unknown", "licence": "unknown", "cite": ""}
    said = read_yaml(path)
    authors = " and ".join(f"{{{author.get('name', '')}}}" for author in said["authors"])
    year = next((line.split()[2] for line in _lines(root / "LICENSE") if line.startswith("Copyright")), "")
    cite = f"@misc{{bnbook,\n  title = {{{said['title']}}},\n  author = {authors},\n  year = {{{year}}},\n"
    cite += f"  note = {{version {said['version']}}}\n}}"
    return {"version": str(said["version"]), "licence": said["license"], "cite": cite}


def _lines(path: Path) -> list[str]:
    return read_text(path).splitlines() if path.is_file() else []


def _use_networks_copies(settings: dict) -> None:
    """Point Sphinx at public copies of MathJax and the widget manager that it knows; links then show no previews."""
    from myst_nb.core.config import ipywidgets_js_factory

    settings.pop("mathjax_path", None)
    settings["extensions"] = [name for name in settings["extensions"] if name != "sphinx_tippy"]
    settings["html_js_files"] = [file for file in settings["html_js_files"] if isinstance(file, str)]
    loader, manager = ipywidgets_js_factory().items()
    own = ("widget-modules.js", {})
    settings["nb_ipywidgets_js"] = dict([loader, own, manager])
