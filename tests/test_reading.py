"""The words of the book: what of good reading a machine can check."""

import re
from functools import cache

import nbformat
import pytest

from lib.build import assets, book, staging
from lib.build.chapters import ROOT, chapters, code_cells, has_tag, pages, read
from lib.errors import Failure
from lib.paper import claims, ledger

#: The most words of a sentence; a formula, a link or a piece of code is one word.
LONGEST = 32
#: The most code cells of the whole book that hide what they run, solutions included.
HIDDEN = 25
HIDING = ("hide-input", "hide-cell", "remove-input", "remove-cell")
#: Pages of code that are about the book and its cost, not about a question of the paper.
ABOUT = ("index", "speed", "trust", "api")


@cache
def markdown(stem):
    """A page without its header."""
    text = (ROOT / "book" / f"{stem}.md").read_text()
    return re.sub(r"\A---\n.*?\n---\n", "", text, count=1, flags=re.DOTALL)


@cache
def prose(stem):
    """The lines of a page that are words: no code, no displayed formulas."""
    text = re.sub(r"^(```+|:::+)\{?[a-z-]*math.*?^\1$", "", markdown(stem), flags=re.DOTALL | re.MULTILINE)
    text = re.sub(r"^```(\{code-cell\}|[a-z]+\n).*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)
    text = re.sub(r"^\$\$.*?^\$\$$", "", text, flags=re.DOTALL | re.MULTILINE)
    return [line for line in text.splitlines() if line.strip()]


def plain(line):
    """A line in which formulas, roles and code are a word each, without marks of a list."""
    line = re.sub(r"\$[^$]+\$", "formula", line)
    line = re.sub(r"\{[a-z:]+\}`[^`]*`", "Role", line)
    line = re.sub(r"`[^`]*`", "code", line)
    return re.sub(r"^[\s>]*((\*\*[^*]+\*\*|[-*]|\d+\.|\* -)\s+)*", "", line)


def sentences(line):
    return re.split(r"(?<=[.?!])[\"”)*_]*\s+(?=[\"“(*_]*[A-Z])", plain(line))


def test_a_sentence_is_a_sentence_to_these_checks():
    assert sentences("- **Bold.** One $a. B$ two. Three `x. Y` four?") == ["One formula two.", "Three code four?"]
    assert sentences("See {doc}`built`. {cite:t}`arora2018` show it.") == ["See Role.", "Role show it."]


@pytest.mark.parametrize("stem", pages())
def test_a_line_holds_one_sentence_of_bounded_length(stem):
    for line in prose(stem):
        if line.startswith(("#", "|", "Numbers like")):
            continue
        found = sentences(line)
        assert len(found) == 1, f"{stem}: put each sentence on a line of its own: {line}"
        assert len(found[0].split()) <= LONGEST, f"{stem}: {len(found[0].split())} words: {line}"


def _cells(stem):
    return code_cells(read(stem))


def test_few_cells_hide_what_they_run():
    hidden = {stem: sum(any(has_tag(cell, tag) for tag in HIDING) for cell in _cells(stem)) for stem in chapters()}
    assert sum(hidden.values()) <= HIDDEN, hidden


@pytest.mark.parametrize("stem", [stem for stem in chapters() if stem not in ABOUT])
def test_a_chapter_asks_a_question_and_ends_with_two_exercises_whose_solutions_are_folded_and_run(stem):
    text = markdown(stem)
    before_code = text.partition("```{code-cell}")[0]
    assert "**The question.**" in before_code and "?" in before_code, "the question stands first"
    *_, exercises = re.split(r"^## ", text, flags=re.MULTILINE)
    assert exercises.startswith("Exercises\n")
    for number in ("**1.**", "**2.**"):
        statement, _, solution = exercises.partition(number)[2].partition("```{code-cell} ipython3\n")
        assert statement.strip() and re.match(r":tags: \[hide-cell\b", solution), number


@pytest.mark.parametrize("stem", [stem for stem in chapters() if stem not in (*ABOUT, "own-network", "own-norm")])
def test_a_chapter_gives_its_answer_in_prose_before_the_exercises(stem):
    headings = re.findall(r"^## (.+)$", markdown(stem), flags=re.MULTILINE)
    if stem == "conclusions":  # the answer of the book comes first
        assert headings[0] == "The answer"
        return
    assert headings[-1] == "Exercises" and headings[-2] in ("What came out", "In short"), headings
    answer = markdown(stem).partition(f"## {headings[-2]}")[2].partition("## Exercises")[0]
    words = re.sub(r"^```\{code-cell\}.*?^```$", "", answer, flags=re.DOTALL | re.MULTILINE)
    assert 20 <= len(words.split()) <= 300


@pytest.mark.parametrize("stem", chapters())
def test_words_name_no_claim_by_its_id(stem):
    """Readers see sentences; an id stands in a role, which the build fills with a number, or in code."""
    figures = {figure for claim in claims.CLAIMS for figure in claim.figures}
    ids = {claim.id for claim in claims.CLAIMS} - figures
    for line in prose(stem):
        words = re.sub(r"\{[a-z:]+\}`[^`]*`", "", line)
        assert not ids & set(re.findall(r"[\w.-]+", words)), line


#: Numbers that the words may give: the paper's own, what was chosen here, and levels of confidence.
GIVEN = {
    *("0.1", "0.25", "0.5", "1.25", "1.3"),
    *("40 %", "50 %", "80 %", "83 %", "88 %", "92 %", "95 %", "100 %"),
    *("1,000", "2,000", "10,000", "15,000", "50,000", "100,000"),
}


@pytest.mark.parametrize("stem", [stem for stem in chapters() if stem not in ("own-network", "own-norm", "api")])
def test_measured_numbers_are_computed_and_not_typed(stem):
    text = "\n".join(prose(stem)).partition("\n## Exercises")[0]
    for line in text.splitlines():
        line = re.sub(r"^#.*|`[^`]*`|arXiv\S+|\(http\S+", "", line)
        line = re.sub(
            r"((Figures?|Theorems?|Definition|Lemma|Observation|Facts?|sections?|appendix) )[\w., ]+", "", line
        )
        found = set(re.findall(r"(?<![\w.^{/\\])(?:\d+\.\d+|\d+ %|\d{1,3},\d{3})(?![\d.]*\w)", line))
        assert found <= GIVEN, f"{stem}: compute {found - GIVEN} in a cell: {line}"


#: Words of TeX that are no letters with a meaning.
SIGNS = re.compile(
    r"frac|tfrac|sqrt|q?quad|big|Big|[Bb]ig[lr]|max|min|sum|left|right|sim|leftarrow|nabla|c?dots|begin|end|"
    r"math(cal|bf|bb)|(wide)?hat|bar|le|ge|ne|in|to|top|perp|times|cdot|approx|pi|infty|partial|[lr]angle|textstyle|"
    r"Longleftrightarrow|square"
)


def letters(stem):
    """The letters in the formulas of a page, Greek ones as TeX has them."""
    text = re.sub(r"^```\{code-cell\}.*?^```$|^:label:.*?$", "", markdown(stem), flags=re.DOTALL | re.MULTILINE)
    displayed = r"^```\{math\}$.*?^```$|\$\$.*?\$\$"
    formulas = re.findall(displayed, text, flags=re.DOTALL | re.MULTILINE)
    formulas += re.findall(r"\$[^$\n]+\$", re.sub(displayed, "", text, flags=re.DOTALL | re.MULTILINE))
    formulas = [re.sub(r"\\(text|mathrm|begin|end)\{[^}]*\}|```\{math\}", "", formula) for formula in formulas]
    words = {word for formula in formulas for word in re.findall(r"\\[A-Za-z]+|[A-Za-z]", formula)}
    return {word for word in words if not (word[0] == "\\" and SIGNS.fullmatch(word[1:]))}


def test_every_letter_is_in_the_list_and_no_page_uses_it_before_the_one_that_the_list_names():
    rows = re.findall(r"^\| \$(?:\\math\w+ )?(.+?)\$ \|.*\{doc\}`(.+?)` \|$", markdown("glossary"), flags=re.MULTILINE)
    listed, order = dict(rows), pages()
    assert len(rows) == len(listed) > 40
    assert letters("smoothing") >= {"\\eta", "\\beta", "c", "L", "W"} and "theta" not in listed
    for stem in order:
        if stem not in ("glossary", "api", "licences"):
            assert letters(stem) <= set(listed), f"{stem} uses letters that the glossary does not have"
            early = {letter for letter in letters(stem) if order.index(listed[letter]) > order.index(stem)}
            assert not early, f"{stem} uses {early} before the pages that the glossary names"


def test_every_reference_of_the_book_resolves(tmp_path, monkeypatch):
    """Sphinx over all pages, with the chapters as they are written: only numbers that cells would give are missing."""

    def written(stem, *_):
        path = tmp_path / f"{stem}.ipynb"
        nbformat.write(read(stem), path)
        return path

    monkeypatch.setattr(staging, "executed", written)
    for name in ("book", "_toc.yml", "_config.yml", "CITATION.cff", "LICENSE"):
        (tmp_path / name).symlink_to(ROOT / name)
    with pytest.raises(Failure):  # for the numbers
        book._sphinx(staging.stage("smoke", "cpu", tmp_path, assets.vendor(ROOT)))
    (log,) = (tmp_path / "_build" / "stage").glob("*.log")
    warnings = [line for line in log.read_text().splitlines() if "WARNING" in line or "ERROR" in line]
    assert warnings and [line for line in warnings if "glue" not in line] == []


# --- what the words say and the ledger says ------------------------------------------------

#: Verdicts on committed records that sentences of a page say in words. Where one changes, read the page again.
SAID = {
    "index": {
        "fig-1a-speed": "reproduced",
        "fig-2": "reproduced",
        "fig-4c": "reproduced",
        "fig-4c-start": "not reproduced",
    },
    "covariate-shift": {
        "fig-1c-shape": "not reproduced",
        "fig-2": "reproduced",
        "fig-2-late": "not reproduced",
        "prose-noise-prevents-training": "not reproduced",
        "fig-3-vgg-cosine-plateau": "reproduced",
        "fig-3-vgg-cosine-trained": "not reproduced",
        "prose-artifact": "not reproduced",
    },
    "smoothing": {
        "prose-smooth-is-fast": "not reproduced",
        "prose-smooth-and-slow": "not reproduced",
        "prose-best-step": "not reproduced",
        "prose-diverges": "partly",
        "prose-largest-step": "reproduced",
        "prose-initialization": "reproduced",
        "fig-4a": "reproduced",
        "fig-4a-start": "not reproduced",
        "fig-12a": "reproduced",
        "fig-3-vgg-cosine-trained": "not reproduced",
        "depth-16-fig-4a": "reproduced",
        "depth-16-fig-4c": "reproduced",
        "depth-16-edge-without": "reproduced",
        "depth-16-spikes-loss-100": "not reproduced",
        "depth-16-spikes-gradient-100": "not reproduced",
        "depth-16-shift-cosine": "reproduced",
    },
    "omitted-figures": {"fig-8-variance": "reproduced", "fig-8-variance-relative": "not reproduced"},
    "probes": {"prose-random-directions": "not reproduced", "prose-random-directions-loss": "not reproduced"},
    "conclusions": {"prose-larger-steps": "reproduced", "prose-edge-fig-4-none": "reproduced"},
}


@pytest.mark.parametrize("stem", SAID)
def test_what_a_page_says_in_words_is_what_the_ledger_says(stem):
    found = {id: ledger.evaluate(claims.get(id), "laptop").verdict for id in SAID[stem]}
    assert found == SAID[stem], f"read book/{stem}.md again: its sentences say something else than the ledger"
