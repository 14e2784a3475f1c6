"""The built site in a real browser, from disk and from localhost, with no network.

Every page is opened at desktop and phone width. The book is built at smoke
scale; a small demonstration site pins the machinery (a widget of our own, its
binary data, a link to an ipywidgets slider, mathematics) whatever the book holds.
"""

import gzip
import json
import shutil
import textwrap
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

import numpy as np
import pytest
from browsing import chromium, until
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from lib.build import book
from lib.build.chapters import ROOT, pages
from lib.figures import style
from lib.pages import picture
from lib.paper.labels import NONE

pytestmark = pytest.mark.browser

DESKTOP, PHONE = (1280, 900), (390, 844)
PAGE_BYTES = 3_000_000
#: All that the landing page loads, compressed as servers do.
LANDING_BYTES = 1_500_000
MIN_TEXT_PX = 12
#: Console errors that are not ours: the theme's button script is declared twice.
KNOWN_ERRORS = ("THEBE_JS_URL",)

DEMO = """\
A chapter with an equation, $x^2$, and a widget.

$$ \\hat y = \\frac{y - \\mu}{\\sigma} $$ (eq-demo)

```{code-cell} ipython3
import struct

import anywidget
import ipywidgets
import traitlets


class Demo(anywidget.AnyWidget):
    _esm = '''
    function render({ model, el }) {
      const table = new Float64Array(model.get("table").buffer.slice(0));
      el.innerHTML = `<div class="bn-widget"><label>level
        <input type="range" min="0" max="4" step="1"></label>
        <output class="bn-readout"></output><br><canvas width="300" height="40"></canvas></div>`;
      const slider = el.querySelector("input");
      const draw = () => {
        const level = model.get("level");
        slider.value = level;
        el.querySelector(".bn-readout").textContent = `value ${table[level]}`;
        const canvas = el.querySelector("canvas").getContext("2d");
        canvas.clearRect(0, 0, 300, 40);
        canvas.fillStyle = "#0072B2";
        canvas.fillRect(0, 0, table[level], 40);
      };
      slider.addEventListener("input", () => {
        model.set("level", Number(slider.value));
        model.save_changes();
      });
      model.on("change:level", draw);
      draw();
    }
    export default { render };
    '''
    level = traitlets.Int(1).tag(sync=True)
    table = traitlets.Bytes().tag(sync=True)


demo = Demo(table=struct.pack("<5d", 10, 20, 70, 150, 290))
slider = ipywidgets.IntSlider(min=0, max=4, description="$k$")
ipywidgets.jslink((slider, "value"), (demo, "level"))
slider.value = 1
display(demo, slider, ipywidgets.Play())
```
"""

#: Links of each kind that has a preview, with what the preview must show.
LINKS = r"""
{cite:t}`ioffe2015`, {eq}`eq-shown`, {term}`plateau`, {ref}`a definition <def-demo>` and {ref}`sec-demo`.

(def-demo)=
:::{admonition} Definition of a demonstration
It shows.
:::

```{math}
:label: eq-shown
\int_0^1 x\,dx
```

:::{glossary}
plateau
  A flat piece of land.
:::

(sec-demo)=
## A section to be seen

Its first words.

```{bibliography}
```
"""
PREVIEWS = {
    "span.bibtex-citation a": "Accelerating deep network training",
    "a[href='#equation-eq-shown']": "\u222b",
    "a[href='#term-plateau']": "A flat piece of land.",
    "a[href='#def-demo']": "It shows.",
    "a[href='#sec-demo']": "Its first words.",
}
#: The figure is in a file, because the book's own `lib` is not there.
FIGURE = """\
```{code-cell} ipython3
from pathlib import Path

from IPython.display import HTML

HTML(Path("../figure.html").read_text())
```
"""


@pytest.fixture(scope="module")
def driver():
    with chromium(browser="ALL", performance="ALL") as browser:
        yield browser


@pytest.fixture(scope="module")
def book_site():
    """The whole book at smoke scale, beside the reader's own site."""
    return book.build("smoke", "cpu", site=ROOT / "_build" / "test-html").parent


@pytest.fixture(scope="module")
def demo_site(small_book, tmp_path_factory):
    """A book of one page that shows a widget, with this book's configuration and assets."""
    root = small_book(tmp_path_factory.mktemp("demo"), index=DEMO + LINKS)
    return book.build("smoke", "cpu", root=root).parent


@pytest.fixture(params=["file", "localhost"])
def address(request):
    """A function from a folder to the address under which the browser finds it."""
    if request.param == "file":
        yield Path.as_uri
        return
    servers = []

    def serve(folder: Path) -> str:
        server = ThreadingHTTPServer(("localhost", 0), partial(_Quiet, directory=folder))
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"http://localhost:{server.server_port}"

    yield serve
    for server in servers:
        server.shutdown()
        server.server_close()


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


def _open(driver, url: str, size: tuple[int, int] = DESKTOP) -> None:
    """Load `url` at a window size, until mathematics and widgets have been drawn."""
    driver.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": size[0], "height": size[1], "deviceScaleFactor": 1, "mobile": size == PHONE},
    )
    driver.get("about:blank")
    driver.get_log("browser"), driver.get_log("performance")
    driver.get(url)
    until(lambda: driver.execute_script("return document.readyState") == "complete", "page")
    driver.execute_async_script(
        "const done = arguments[0];(window.MathJax && MathJax.startup ? MathJax.startup.promise : Promise.resolve())"
        ".then(() => done());"
    )
    until(lambda: not _missing_widgets(driver), "widgets")


def _missing_widgets(driver) -> int:
    """How many widget outputs of the page have drawn nothing."""
    return driver.execute_script(
        """
        const views = "script[type='application/vnd.jupyter.widget-view+json']";
        return [...document.querySelectorAll(views)].filter((script) => {
          const area = script.previousElementSibling;
          return !(area && area.matches(".widget-subarea") && area.querySelector(
            "canvas, svg, input, .noUi-handle, .jupyter-widgets, .bn-widget"));
        }).length;
        """
    )


def _own_widgets(driver) -> int:
    """How many widgets of our own the page's state says it shows."""
    return driver.execute_script(
        """
        const read = (kind) => [...document.querySelectorAll(
          `script[type='application/vnd.jupyter.widget-${kind}+json']`
        )].map((script) => JSON.parse(script.textContent));
        const state = Object.assign({}, ...read("state").map((found) => found.state));
        return read("view").filter((view) =>
          (state[view.model_id] || {}).model_module === "anywidget").length;
        """
    )


def _console_errors(driver) -> list[str]:
    return [
        entry["message"]
        for entry in driver.get_log("browser")
        if entry["level"] == "SEVERE" and not any(known in entry["message"] for known in KNOWN_ERRORS)
    ]


def _outside_requests(driver) -> list[str]:
    """Addresses the page asked for that are not on this machine."""
    events = [json.loads(entry["message"])["message"] for entry in driver.get_log("performance")]
    urls = [event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"]
    assert urls, "the browser logged no request at all"
    return [
        url
        for url in urls
        if urlsplit(url).scheme not in ("file", "data", "blob", "about") and urlsplit(url).hostname != "localhost"
    ]


def _check_page(driver, url: str) -> None:
    """What holds of every page: quiet, self-contained, mathematics set, nothing sticking out."""
    for size in (PHONE, DESKTOP):
        _open(driver, url, size)
        width = driver.execute_script("return document.documentElement.scrollWidth")
        assert width <= size[0], f"{url} is {width} px wide in a window of {size[0]}"
        assert _outside_requests(driver) == []
        assert _console_errors(driver) == []
    formulas, drawn, wrong = driver.execute_script(
        "return ['span.math, div.math', 'mjx-container', 'mjx-merror']"
        ".map((kind) => document.querySelectorAll(kind).length)"
    )
    assert drawn >= formulas and not wrong, f"{url}: {formulas} formulas, {drawn} drawn, {wrong} wrong"
    assert len(driver.find_elements(By.CSS_SELECTOR, ".bn-widget")) >= _own_widgets(driver)


def _picture(driver, widget) -> str:
    """All that a widget has drawn, as text."""
    return driver.execute_script(
        "const all = (kind) => [...arguments[0].querySelectorAll(kind)];"
        "return all('canvas').map((c) => c.toDataURL()).concat(all('svg').map((s) => s.outerHTML)).join();",
        widget,
    )


def _check_widget(driver, widget) -> None:
    """Every slider is labelled, and moves readout and picture by keyboard and by pointer."""
    small = driver.execute_script(
        "return [...arguments[0].querySelectorAll('*')].filter((e) => e.innerText && "
        "parseFloat(getComputedStyle(e).fontSize) < arguments[1]).map((e) => e.outerHTML)",
        widget,
        MIN_TEXT_PX,
    )
    assert small == []
    sliders = widget.find_elements(By.CSS_SELECTOR, "input[type=range]")
    assert sliders, "a widget without a slider"
    for slider in sliders:
        name = driver.execute_script(
            "const s = arguments[0]; return s.labels.length ? s.labels[0].innerText : s.ariaLabel", slider
        )
        assert name and name.strip(), "a slider without a label"
        name = name.strip()
        driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", slider)
        start = slider.get_property("value")
        at_end = start == slider.get_property("max")
        _moves(driver, widget, f"{name}, keyboard", partial(slider.send_keys, Keys.HOME if at_end else Keys.END))
        before = slider.get_property("value")
        slider.send_keys(Keys.ARROW_RIGHT if at_end else Keys.ARROW_LEFT)
        assert slider.get_property("value") != before, f"{name}: no answer to an arrow key"
        # The offset of a pointer counts from the middle; the other end is somewhere else for any number of stops.
        low, value, high = (float(slider.get_property(name) or 0) for name in ("min", "value", "max"))
        side = -1 if value >= (low + high) / 2 else 1
        offset = side * slider.size["width"] * 2 // 5
        pointer = ActionChains(driver).move_to_element_with_offset(slider, offset, 0).click()
        _moves(driver, widget, f"{name}, pointer", pointer.perform)
        # Back where it was: with fewer samples, say, the other sliders may have nothing to move.
        driver.execute_script(
            "arguments[0].value = arguments[1]; arguments[0].dispatchEvent(new Event('input', { bubbles: true }))",
            slider,
            start,
        )


def _moves(driver, widget, what: str, act) -> None:
    """`act()` changes the readout and the picture of `widget`."""

    def state():
        return widget.find_element(By.CSS_SELECTOR, ".bn-readout").text, _picture(driver, widget)

    text, picture = state()
    act()
    until(lambda: state()[0] != text, f"a new readout after {what} (it says {text!r})", 30)
    until(lambda: state()[1] != picture, f"a new picture after {what}", 30)


def test_every_page_is_quiet_complete_and_self_contained(driver, book_site, address):
    base = address(book_site)
    for stem in pages():
        _check_page(driver, f"{base}/book/{stem}.html")


@pytest.mark.parametrize("width", [360, 1280])
def test_the_landing_page_shuts_no_reader_out(driver, book_site, shut_out, width):
    _open(driver, (book_site / "book" / "index.html").as_uri(), (width, 900))
    for theme in ("light", "dark"):
        driver.execute_script("document.documentElement.dataset.theme = arguments[0]", theme)
        assert shut_out(driver) == []


def test_every_widget_of_the_book_follows_its_sliders(driver, book_site, address):
    base = address(book_site)
    for stem in pages():
        if "widget-view+json" not in (book_site / "book" / f"{stem}.html").read_text():
            continue
        for size in (DESKTOP, PHONE):
            _open(driver, f"{base}/book/{stem}.html", size)
            for widget in driver.find_elements(By.CSS_SELECTOR, ".bn-widget"):
                _check_widget(driver, widget)
            assert _console_errors(driver) == [], stem


def test_every_page_is_small(driver, book_site):
    for stem in pages():
        file = book_site / "book" / f"{stem}.html"
        _open(driver, file.as_uri())
        paint = "return performance.getEntriesByName('first-contentful-paint')[0].startTime"
        print(f"{stem}: first paint after {driver.execute_script(paint):.0f} ms")
        images = driver.execute_script("return [...document.images].map((image) => image.src)")
        local = {unquote(urlsplit(url).path) for url in images if url.startswith("file:")}
        size = file.stat().st_size + sum(Path(path).stat().st_size for path in local)
        assert size < PAGE_BYTES, f"{stem}: {size / 1e6:.1f} MB"


def _weight(driver, url: str) -> int:
    """Bytes of all files that a page of a site on disk loads, compressed where that helps."""
    _open(driver, url)
    events = [json.loads(entry["message"])["message"] for entry in driver.get_log("performance")]
    urls = {event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"}
    files = {Path(unquote(urlsplit(url).path)) for url in urls if url.startswith("file:")}
    return sum(
        min(len(data), len(gzip.compress(data))) for data in (file.read_bytes() for file in files if file.is_file())
    )


def test_the_landing_page_is_light(driver, book_site):
    assert _weight(driver, (book_site / "book" / "index.html").as_uri()) < LANDING_BYTES


def test_the_ledger_sorts_and_leads_to_figures_that_lead_back(driver, book_site, address):
    page = f"{address(book_site)}/book/conclusions.html"
    _open(driver, page)

    ledger = driver.find_element(By.CSS_SELECTOR, 'table:has([id="fig-4b"])')

    def verdicts():
        """The places of the rows' verdicts in the order of verdicts, as each cell carries its own."""
        cells = ledger.find_elements(By.CSS_SELECTOR, "tbody td:nth-child(2)")
        return [int(cell.get_attribute("data-sort")) for cell in cells]

    unsorted = verdicts()
    head = ledger.find_element(By.CSS_SELECTOR, "th:nth-child(2) button")
    head.click()
    up = verdicts()
    assert up == sorted(unsorted) != unsorted
    head.send_keys(Keys.ENTER)
    assert verdicts() == up[::-1] or verdicts() == sorted(unsorted, reverse=True)
    driver.find_element(By.CSS_SELECTOR, '[id="fig-4b"] a').click()
    until(lambda: driver.current_url.endswith("smoothing.html#figure-fig-4"), "page of the figure")
    figure = driver.find_element(By.ID, "figure-fig-4")
    figure.find_element(By.CSS_SELECTOR, '[data-claim="fig-4b"] summary').click()
    figure.find_element(By.LINK_TEXT, "fig-4b").click()
    until(lambda: driver.current_url.endswith("conclusions.html#fig-4b"), "row of the ledger")
    assert driver.execute_script("return document.querySelector(':target').id") == "fig-4b"


def test_front_page_leads_to_the_landing_page(driver, book_site, address):
    driver.get(f"{address(book_site)}/index.html")
    until(lambda: driver.current_url.endswith("book/index.html"), "landing page")


def test_demonstration_page(driver, demo_site, address):
    url = f"{address(demo_site)}/book/index.html"
    _check_page(driver, url)
    assert _own_widgets(driver) == 1
    widget = driver.find_element(By.CSS_SELECTOR, ".bn-widget")
    readout = widget.find_element(By.CSS_SELECTOR, ".bn-readout")
    assert readout.text == "value 20"
    _check_widget(driver, widget)

    # A slider of ipywidgets, linked in the browser, leads to the right number and bar.
    driver.find_element(By.CSS_SELECTOR, ".noUi-handle").send_keys(Keys.END)
    until(lambda: readout.text == "value 290", "the last value")
    filled = driver.execute_script(
        "const data = arguments[0].querySelector('canvas').getContext('2d').getImageData(0, 20, 300, 1).data;"
        "return [...Array(300).keys()].filter((x) => data[4 * x + 3]).length",
        widget,
    )
    assert filled == 290
    # Labels of widgets are typeset, and their icons have a font.
    until(lambda: driver.find_elements(By.CSS_SELECTOR, ".widget-label mjx-container"), "label")
    assert _console_errors(driver) == []


@pytest.mark.parametrize("link", PREVIEWS)
def test_a_link_shows_what_it_leads_to_where_the_focus_is(driver, demo_site, link):
    _open(driver, (demo_site / "book" / "index.html").as_uri())
    found = driver.find_element(By.CSS_SELECTOR, f"article {link}")
    assert not found.get_attribute("title"), "the browser would show it a second time"
    driver.execute_script("arguments[0].focus()", found)
    # Formulas are drawn by style sheets: their text is in what screen readers get.
    read = "return [...document.querySelectorAll('.tippy-content')].map((tip) => tip.textContent).join()"
    until(lambda: PREVIEWS[link].lower() in driver.execute_script(read).lower(), "the preview")
    assert found.get_attribute("aria-describedby")
    assert _console_errors(driver) == [] == _outside_requests(driver)


@pytest.fixture(scope="module")
def figure_site(small_book, tmp_path_factory):
    """A book of one page that shows one figure of three panels."""
    root = small_book(tmp_path_factory.mktemp("figure"), index=FIGURE)
    panels = [
        style.Panel(f"({letter})", "step", "loss", "loss", [style.Series(NONE, np.arange(9), np.ones((2, 9)))])
        for letter in "abc"
    ]
    (root / "figure.html").write_text(picture(style.draw(panels, 3), "Three flat lines.", "A caption.", "demo").data)
    return book.build("smoke", "cpu", root=root).parent


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("size", [DESKTOP, PHONE])
def test_a_figure_follows_theme_and_width(driver, figure_site, size, theme):
    _open(driver, (figure_site / "book" / "index.html").as_uri(), size)
    driver.execute_script("document.documentElement.dataset.theme = arguments[0]", theme)
    shown = "return [...document.querySelectorAll('.bn-figure img')].filter((image) => image.checkVisibility())"
    driver.execute_script(f"({shown.replace('return ', '() => ')})()[0].scrollIntoView()")
    until(lambda: all(driver.execute_script(f"{shown}.map((image) => image.naturalWidth)")), "the drawing")
    ((source, width, height, alt),) = driver.execute_script(
        f"{shown}.map((image) => [image.currentSrc, image.offsetWidth, image.offsetHeight, image.alt])"
    )
    assert alt == "Three flat lines."
    drawing = Path(unquote(urlsplit(source).path))
    assert drawing.parent == figure_site / "_static" / "figures"
    text = drawing.read_text()
    assert (style.INK[0] in text) == (theme == "light") and (style.INK[1] in text) == (theme == "dark")
    # Side by side on a page; below one another on a phone, where letters are as large as on the page and nothing sticks
    # out.
    assert (height > width) == (size == PHONE) and width > 0.8 * min(size[0], 680)
    frame = driver.execute_script("return document.querySelector('.bn-figure').getBoundingClientRect().toJSON()")
    assert width <= frame["width"] + 1 and frame["right"] <= size[0]
    filtered, ground = driver.execute_script(
        f"const look = getComputedStyle({shown.removeprefix('return ')}[0]);return [look.filter, look.backgroundColor]"
    )
    assert filtered == "none" and ground == ("rgb(255, 255, 255)" if theme == "light" else "rgba(0, 0, 0, 0)")
    links = {one.text: one for one in driver.find_elements(By.CSS_SELECTOR, ".bn-files a")}
    assert {name: one.get_attribute("download") for name, one in links.items()} == {
        "CSV": "demo.csv",
        "SVG": "demo.svg",
    }
    assert all(Path(urlsplit(one.get_attribute("href")).path).is_file() for one in links.values())
    assert all(one.size["height"] >= 24 for one in links.values())
    assert _console_errors(driver) == [] == _outside_requests(driver)
    assert "data:image/svg" not in (figure_site / "book" / "index.html").read_text()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_figure_shuts_no_reader_out(driver, figure_site, shut_out, theme):
    _open(driver, (figure_site / "book" / "index.html").as_uri(), PHONE)
    driver.execute_script("document.documentElement.dataset.theme = arguments[0]", theme)
    assert shut_out(driver, "document.querySelector('.bn-figure')") == []


def test_the_checks_notice_a_page_that_needs_the_network(driver, demo_site, tmp_path):
    page = (demo_site / "book" / "index.html").read_text()
    folder = shutil.copytree(demo_site, tmp_path / "site") / "book"
    script = '<script src="https://cdn.example.org/x.js"></script></head>'
    (folder / "index.html").write_text(page.replace("</head>", script))
    with pytest.raises(AssertionError, match="cdn.example.org"):
        _check_page(driver, (folder / "index.html").as_uri())


def test_the_checks_notice_a_dead_widget(driver, demo_site, tmp_path):
    page = (demo_site / "book" / "index.html").read_text()
    folder = shutil.copytree(demo_site, tmp_path / "site") / "book"
    dead = page.replace('model.on(\\"change:level\\", draw);', "")
    assert dead != page, textwrap.shorten(page, 200)
    (folder / "index.html").write_text(dead)
    _open(driver, (folder / "index.html").as_uri())
    with pytest.raises(AssertionError, match="a new readout after level, keyboard"):
        _check_widget(driver, driver.find_element(By.CSS_SELECTOR, ".bn-widget"))
