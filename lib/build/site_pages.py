"""A Sphinx extension: what each page says about itself, in its head, its footer and its buttons.

The build copies this file beside the pages: Sphinx imports nothing of `lib`. What it has to say comes from
`html_context["book"]`: title, version, licence, cite, local, and address (of the published site, or "").
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from html import escape, unescape
from pathlib import Path

from docutils import nodes
from myst_nb.core import render

#: What a page may load and run. Everything comes from the site's own folder, and nothing may leave it. Scripts cannot
#: be held to files: myst-nb writes widgets' states and MathJax's settings into the page ('unsafe-inline'), the widget
#: manager makes functions of text ('unsafe-eval'), and anywidget imports its modules from blob: and data: addresses.
POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob: data:; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; font-src 'self' data:; "
    "connect-src 'self' data: blob:; worker-src 'self' blob: data:; "
    "object-src 'none'; base-uri 'self'; form-action 'self'"
)
#: A link to the bibliography, with a title that would be shown beside the link's preview.
_CITED = re.compile(r'(<a class="reference internal" href="[^"]*") title="[^"]*"')
#: What libraries write that a screen reader cannot make sense of: a name of a folded cell other than the one that is
#: shown, and a list without items.
_MISNAMED = re.compile(r'(<summary) aria-label="Toggle hidden content"|(<div) role="list"(?= class="citation-list")')
#: Search engines show about as many characters.
LENGTH = 160


def describe(app, pagename, templatename, context, doctree):
    """Add description, social card and policy to the head of a page, the footer, and mend the addresses of buttons."""
    book = app.config.html_context["book"]
    title = context.get("title") or book["title"]
    named = {"description": description(doctree, book["title"]), "twitter:card": "summary_large_image"}
    properties = {"og:type": "article", "og:title": title, "og:site_name": book["title"]}
    properties["og:description"] = named["description"]
    if book["address"]:
        address = book["address"].rstrip("/")
        properties["og:url"] = f"{address}/{pagename}.html"
        properties["og:image"] = f"{address}/_static/book.png"
    tags = [f'<meta name="{name}" content="{escape(value)}" />' for name, value in named.items()]
    tags += [
        f'<meta property="{name}" content="{escape(unescape(_plain(value)))}" />' for name, value in properties.items()
    ]
    if book["local"]:
        tags.insert(0, f'<meta http-equiv="Content-Security-Policy" content="{POLICY}" />')
    context["metatags"] = "\n".join([*tags, context.get("metatags", "")])
    if "sphinx_tippy" in app.extensions and context.get("body"):
        context["body"] = _CITED.sub(r"\1", context["body"])
    if context.get("body"):
        context["body"] = _MISNAMED.sub(lambda found: found[1] or found[2], context["body"])
    context["theme_extra_footer"] = footer(book, context["pathto"] if "book/licences" in app.env.all_docs else None)
    for group in context.get("header_buttons", []):
        for button in group.get("buttons", [group]):
            if button.get("type") == "link":
                button["url"] = of_source(button["url"], pagename)


#: A widget's view on a page, and what the script with the state of a page's widgets is.
_VIEW = re.compile(r'<script type="application/vnd\.jupyter\.widget-view\+json">(.*?)</script>', re.DOTALL)
_STATE = "application/vnd.jupyter.widget-state+json"
#: The widget manager's scripts, by how their names end.
_MANAGER = ("require.js", "require.min.js", "widget-modules.js", "embed-amd.js")


def only_ours(body: str, states: dict) -> bool:
    """Whether a page shows widgets, and only such as are one module of JavaScript (anywidgets), like the book's own."""
    shown = [states.get(json.loads(text)["model_id"], {}) for text in _VIEW.findall(body)]
    return bool(shown) and all(one.get("model_module") == "anywidget" for one in shown)


def lighten(app, pagename, templatename, context, doctree):
    """Let a page with no widgets but the book's own do without the widget manager, a megabyte that would load first."""
    states: dict = {}
    for file in context["script_files"]:
        about = getattr(file, "attributes", {})
        if about.get("type") == _STATE:
            states |= json.loads(about["body"])["state"]
    if only_ours(context.get("body", ""), states):
        manager = [file for file in context["script_files"] if _name(file).endswith(_MANAGER)]
        for file in manager:
            context["script_files"].remove(file)
        app.add_js_file("widgets.js")


def _name(file) -> str:
    """The address of a script that Sphinx will name in a page's head, without its query."""
    return str(getattr(file, "filename", file)).partition("?")[0]


def description(doctree, title: str) -> str:
    """The first paragraph of a page, as much of it as fits; `title` where there is none."""
    paragraphs = doctree.findall(nodes.paragraph) if doctree is not None else []
    text = next(filter(None, map(_words, paragraphs)), title)
    return text if len(text) <= LENGTH else text[: LENGTH - 1].rsplit(" ", 1)[0] + "…"


def _words(paragraph) -> str:
    """The text of a paragraph, without raw HTML."""
    parts = [text.astext() for text in paragraph.findall(nodes.Text) if not isinstance(text.parent, nodes.raw)]
    return " ".join("".join(parts).split())


def footer(book: dict, pathto) -> str:
    """Version, licence and how to cite; `pathto` leads to the page of licences where the book has one."""
    licence = escape(book["licence"])
    if pathto:
        licence = f'<a href="{pathto("book/licences")}">{licence} licence</a>'
    return (
        f"<p>Version {escape(book['version'])} · {licence}</p>\n"
        f"<details><summary>How to cite</summary><pre>{escape(book['cite'])}</pre></details>"
    )


def of_source(url: str, pagename: str) -> str:
    """The address of a button for the chapter in the repository: Markdown, which JupyterLab opens as a notebook."""
    launched, edited = f"urlpath=lab/tree/{pagename}.ipynb", f"{pagename}.ipynb"
    if launched in url:
        return url.replace(launched, f"urlpath=lab/tree/{pagename}.md%3Ffactory%3DJupytext%2520Notebook")
    return url.replace(edited, f"{pagename}.md") if "/edit/" in url else url


def _plain(text: str) -> str:
    """A title without markup."""
    inside, kept = False, []
    for character in text:
        if character in "<>":
            inside = character == "<"
        elif not inside:
            kept.append(character)
    return "".join(kept)


def harmless(content: str) -> str:
    """What stands in a `<script>`, unable to end it. myst-nb escapes `</script>` only as it is spelt here.

    The state of widgets may hold any text of a record.
    """
    try:
        json.loads(content)
    except ValueError:  # a script: it has no business with these but in texts
        return re.sub(r"<(?=/script|!--)", r"\\x3c", content, flags=re.IGNORECASE)
    return content.replace("<", r"\u003c")


#: Endings of the kinds of files that figures are offered as.
KINDS = {"image/svg+xml": "svg", "text/csv": "csv"}
_PACKED = re.compile(rf'(?<=")data:({"|".join(map(re.escape, KINDS))});base64,([A-Za-z0-9+/=]+)(?=")')
_PICTURE = re.compile(r'<picture class="bn-light" data-darker="([^"]*)">(.*?)</picture>', re.DOTALL)


def unpack(app, pagename, templatename, context, doctree):
    """Put the drawings and tables in a page's addresses into files, of which a browser fetches those that it shows.

    A drawing for light pages gets one for dark pages beside it, in the colours that its picture names.
    """
    folder = Path(app.outdir, "_static", "figures")

    def filed(found: re.Match) -> str:
        content = base64.b64decode(found[2])
        name = f"{hashlib.sha256(content).hexdigest()[:16]}.{KINDS[found[1]]}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
        return context["pathto"](f"_static/figures/{name}", resource=True)

    if "data:" in context.get("body", ""):
        context["body"] = _PACKED.sub(filed, _PICTURE.sub(with_dark, context["body"]))


def with_dark(picture: re.Match) -> str:
    """A picture, and the same in the colours for a dark page."""
    darker, inside = json.loads(unescape(picture[1])), picture[2]

    def dark(found: re.Match) -> str:
        text = base64.b64decode(found[2]).decode()
        text = re.sub("(?<=: )#[0-9a-f]{6}", lambda colour: darker.get(colour[0], colour[0]), text)
        return f"data:{found[1]};base64,{base64.b64encode(text.encode()).decode()}"

    other = _PACKED.sub(dark, inside).replace(' style="background: #fff"', "")
    return f'<picture class="bn-light">{inside}</picture><picture class="bn-dark">{other}</picture>'


def setup(app):
    """Sphinx's entry."""
    render.sanitize_script_content = harmless
    app.connect("html-page-context", unpack)
    app.connect("html-page-context", describe, priority=900)  # after the theme has made its buttons
    app.connect("html-page-context", lighten, priority=900)  # after myst-nb has named its scripts
    return {"parallel_read_safe": True, "parallel_write_safe": True}
