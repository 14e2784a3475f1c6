"""Our own widgets in a real browser, each on a plain page: by keyboard and pointer, wide and narrow, light and dark."""

import base64
import gzip
import json
import re
import time

import numpy as np
import pytest
import xarray as xr
from browsing import chromium, until
from ipywidgets.embed import embed_data
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from lib import pages, widgets
from lib.build.chapters import ROOT
from lib.paper import ledger
from lib.paper.claims import CLAIMS
from lib.paper.labels import Label
from lib.specs import ImageSpec
from lib.widgets.judge import Judge
from lib.widgets.landscape import LandscapeExplorer, log_ratios
from lib.widgets.projection import projection
from lib.widgets.shift import ShiftExplorer
from lib.widgets.trainer import LinearTrainer

pytestmark = pytest.mark.browser

WIDE, NARROW = (1280, 900), (360, 780)
PAGE = """<!doctype html><html lang="en" data-theme="THEME"><meta charset="utf-8">
<meta name="viewport" content="width=device-width,initial-scale=1"><title>a widget</title>
<link rel="icon" href="data:,">
<style>body { max-width: 720px; margin: 12px auto; padding: 0 12px }
[data-theme=dark] body { background: #14181e; color: #e6e6e6 }</style>
<main><h1>A widget</h1><div id="here"></div></main><script type="module">
const state = STATE;
for (const [name, value] of Object.entries(state))
  if (value && value.bytes !== undefined)
    state[name] = new DataView(Uint8Array.from(atob(value.bytes), (c) => c.charCodeAt(0)).buffer);
const heard = {};
const model = {
  get: (name) => state[name],
  set: (name, value) => { state[name] = value; (heard[`change:${name}`] || []).forEach((told) => told()); },
  save_changes() {},
  on: (name, told) => (heard[name] ||= []).push(told),
  send() { throw new Error("no kernel"); },
};
const it = await import(URL.createObjectURL(new Blob([SOURCE], { type: "text/javascript" })));
window.remove = it.default.render({ model, el: document.getElementById("here") });
</script></html>"""


def page(widget, theme: str = "light") -> str:
    """A page that shows `widget` with no widget manager: its JavaScript, its state, and a stand-in for the model."""
    names = [name for name in widget.trait_names(sync=True) if not name.startswith("_")]
    state = {
        name: {"bytes": base64.b64encode(value).decode()} if isinstance(value, bytes) else value
        for name in names
        if isinstance(value := getattr(widget, name), (bytes, str, int, float, list, dict, bool))
    }
    parts = {"THEME": theme, "STATE": json.dumps(state), "SOURCE": json.dumps(str(widget._esm)).replace("</", "<\\/")}
    text = PAGE
    for name, part in parts.items():
        text = text.replace(name, part, 1)
    return text


@pytest.fixture(scope="module")
def driver():
    with chromium(browser="ALL") as browser:
        yield browser


@pytest.fixture
def show(driver, tmp_path):
    """A function that opens a widget's page at a size and theme, and with something behind the "#"."""

    def opened(widget, size=WIDE, theme="light", state=""):
        driver.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {"width": size[0], "height": size[1], "deviceScaleFactor": 1, "mobile": size == NARROW},
        )
        path = tmp_path / "page.html"
        path.write_text(page(widget, theme))
        driver.get("about:blank")
        driver.get_log("browser")
        driver.get(path.as_uri() + state)
        until(lambda: driver.find_elements(By.CSS_SELECTOR, ".bn-widget"), "widget")
        return driver.find_element(By.CSS_SELECTOR, ".bn-widget")

    yield opened
    assert [entry["message"] for entry in driver.get_log("browser") if entry["level"] == "SEVERE"] == []


def fits(driver, widget) -> None:
    """Nothing sticks out of the window, and whatever can be touched is 24 pixels high at least."""
    assert driver.execute_script("return document.documentElement.scrollWidth <= innerWidth")
    small = driver.execute_script(
        "return [...arguments[0].querySelectorAll('button, select, input')].filter((e) => e.offsetParent)"
        ".filter((e) => e.getBoundingClientRect().height < 24).map((e) => e.outerHTML)",
        widget,
    )
    assert small == []


def press(widget, text: str) -> None:
    """Click the button that says so."""
    next(one for one in widget.find_elements(By.TAG_NAME, "button") if text in one.text).click()


def texts(driver, selector: str) -> list[str]:
    """What the elements that a selector finds say, read at once: between two reads a widget may draw them anew."""
    return driver.execute_script(
        "return [...document.querySelectorAll(arguments[0])].map((e) => e.innerText)", selector
    )


def readout(widget) -> str:
    return texts(widget.parent, ".bn-readout")[0]


@pytest.mark.parametrize(("size", "theme"), [(WIDE, "light"), (NARROW, "dark")])
def test_the_linear_network_trains_stops_steps_and_starts_anew(driver, show, size, theme):
    widget = show(LinearTrainer(), size, theme)
    until(lambda: "step 1500" in readout(widget), "the first run")
    fits(driver, widget)
    assert "rank" in readout(widget)
    press(widget, "Run to step")
    until(lambda: widget.find_elements(By.XPATH, ".//button[.='Stop']"), "a button that stops")
    press(widget, "Stop")
    until(lambda: widget.find_elements(By.XPATH, ".//button[contains(., 'Run to')]"), "training that rests")
    before = readout(widget)
    press(widget, "One step")
    until(lambda: readout(widget) != before, "one step more")
    slider = widget.find_elements(By.CSS_SELECTOR, "input[type=range]")[0]
    slider.send_keys(Keys.ARROW_LEFT)
    until(lambda: "step 1500" in readout(widget), "a run with another step size")
    until(lambda: driver.current_url.endswith("#bn?linear.step_size=5e-7"), "the step size in the address")
    press(widget, "Reset")
    until(lambda: "#" not in driver.current_url, "an address without a state")


def test_every_slider_of_a_page_with_two_widgets_has_its_own_label(driver, show):
    show(LinearTrainer())
    again = "const it = await import(URL.createObjectURL(new Blob([arguments[0]], { type: 'text/javascript' })));"
    driver.execute_async_script(
        f"const done = arguments[1]; (async () => "
        f"{{ {again} const el = document.createElement('div'); document.body.append(el); "
        "const model = { get: () => 0, set() {}, on() {}, save_changes() {} }; it.default.render({ model, el }); "
        "done(0); })()",
        str(LinearTrainer()._esm),
    )
    unlabelled = (
        "return [...document.querySelectorAll('input[type=range]')].filter((s) => s.labels.length !== 1).length"
    )
    sliders = driver.find_elements(By.CSS_SELECTOR, "input[type=range]")
    assert len(sliders) >= 4 and driver.execute_script(unlabelled) == 0


def test_the_linear_network_takes_its_state_from_the_address_and_says_where_it_diverged(show):
    widget = show(LinearTrainer(), state="#bn?linear.step_size=0.0001&linear.layers=25&linear.norm=nonsense")
    until(lambda: "no normalization: diverged at step" in readout(widget), "divergence")
    until(lambda: "BatchNorm:" in readout(widget), "the other network, which trains in a thread of its own")


def test_ten_thousand_steps_of_the_papers_network_take_seconds(driver, show):
    widget = show(LinearTrainer())
    until(lambda: "step 1500" in readout(widget), "the first run")
    start = time.monotonic()
    press(widget, "Run to step")
    until(lambda: "step 10000" in readout(widget), "10,000 steps")
    print(f"8,500 steps of two networks, probes included: {time.monotonic() - start:.1f} s")
    assert driver.execute_script("window.remove(); return true")


def _row(id, values, **other):
    readings = [
        {"name": "as the ledger reads it", "seeds": list(range(len(values))), "values": values},
        {"name": "another one", "seeds": list(range(len(values))), "values": [-x for x in values]},
    ]
    row = {
        "id": id,
        "text": f"The paper says {id}.",
        "what": "a ratio",
        "thesis": "T",
        "phase": "late",
        "counted": True,
    }
    rule = {"side": "above", "bound": 0.0, "tolerance": 0.02, "log": True, "enough": 3, "verdict": "reproduced"}
    return row | rule | {"readings": readings} | other


def test_the_judge_starts_at_the_ledgers_bound_to_the_digit(driver, show):
    row = _row("one", [4.0, 5.0, 6.0, 5.0])  # the bound, 1, lies between two stops of the slider
    widget = show(Judge(rows=[row | {"readings": row["readings"][:1]}]))
    until(lambda: "above 1\u00d7" in readout(widget), "the rule")
    assert texts(driver, ".bn-slider output")[0] == "1\u00d7"


@pytest.mark.parametrize(("size", "theme"), [(WIDE, "light"), (NARROW, "dark")])
def test_the_judge_moves_bounds_drops_seeds_and_takes_other_readings(driver, show, size, theme):
    rows = [_row("one", [0.4, 0.5, 0.6, 0.5]), _row("two", [1.0, 1.2, 0.9, 1.1], phase="end")]
    widget = show(Judge(rows=rows), size, theme)
    fits(driver, widget)

    def counts(*expected: str) -> None:
        until(lambda: texts(driver, ".bn-widget tr td:last-child") == list(expected), f"counts {expected}", 20)

    counts("2", "0", "0", "0")
    assert "✓ reproduced" in readout(widget)
    bound = widget.find_elements(By.CSS_SELECTOR, "input[type=range]")[0]
    bound.send_keys(Keys.END)
    counts("1", "0", "1", "0")
    until(lambda: "the ledger: reproduced" in readout(widget), "what the ledger says")
    press(widget, "Reset")
    counts("2", "0", "0", "0")
    boxes = widget.find_elements(By.CSS_SELECTOR, "input[type=checkbox]")
    boxes[0].click()
    boxes[1].send_keys(Keys.SPACE)
    counts("0", "2", "0", "0")  # two seeds are too few
    press(widget, "Reset")
    widget.find_elements(By.TAG_NAME, "select")[2].send_keys("another")
    counts("1", "0", "1", "0")
    until(lambda: "another one" in readout(widget), "the other reading")


STEPS, LENGTHS, LAYERS = np.arange(0, 2000, 50), np.array([0.5, 1, 2, 4], np.float32), 6


def curves(settings=(0.1, 0.5), seeds: int = 3) -> dict[Label, xr.Dataset]:
    """Records of networks that nobody has trained, of two norms and some step sizes, as probes would have made them."""
    draw = np.random.default_rng(7)
    found = {}
    for size in settings:
        for factor, norm in ((3.0, "none"), (1.0, "batchnorm")):
            shape = (seeds, len(STEPS), len(LENGTHS))
            fall = np.exp(-STEPS / 800)[:, None] * (1 + 0.2 * LENGTHS)
            arrays = {
                "landscape_loss": fall * draw.uniform(0.9, 1.1, shape) * factor,
                "grad_change": fall * LENGTHS * draw.uniform(0.5, 1.5, shape) * factor,
                "grad_norm": draw.uniform(0.5, 1.5, shape[:2]),
                "shift_l2": draw.uniform(0.1, 1, (seeds, len(STEPS), LAYERS)) * factor * size,
                "shift_cosine": draw.uniform(-1, 1, (seeds, len(STEPS), LAYERS)),
            }
            dims = {"landscape_loss": ("landscape_step", "step_length"), "grad_norm": ("landscape_step",)}
            dims["grad_change"] = dims["landscape_loss"]
            dims["shift_l2"] = dims["shift_cosine"] = ("shift_step", "layer")
            coords = {"landscape_step": STEPS, "shift_step": STEPS, "step_length": LENGTHS, "seed": range(seeds)}
            coords["layer"] = [f"layer{index + 1}" for index in range(LAYERS)]
            attrs = {"scale": "laptop", "experiment": "fig-11", "device": "a machine", "torch": "2", "code": "abc"}
            spec = ImageSpec(norm=norm, step_size=size, landscape_every=50, shift_every=50).canonical()
            found[Label(norm, size)] = (
                xr.Dataset(
                    {name: (("seed", *dims[name]), values.astype(np.float32)) for name, values in arrays.items()},
                    coords,
                )
                .assign_coords(seconds=("seed", np.ones(seeds)))
                .assign_attrs(attrs, spec=spec)
            )
    return found


def numbers(text: str) -> list[float]:
    return [float(number) for number in re.findall(r"-?\d+(?:\.\d+)?(?:e-?\d+)?", text)]


def close(shown: float, exact: float) -> bool:
    """Whether a number of three digits is the one meant."""
    return abs(shown - exact) <= 0.0051 * abs(exact)


@pytest.mark.parametrize(("size", "theme"), [(WIDE, "light"), (NARROW, "dark")])
def test_the_landscape_follows_sliders_and_links_its_panels(driver, show, size, theme):
    widget = show(LandscapeExplorer(curves(), start="0.1"), size, theme)
    fits(driver, widget)
    sliders = {slider.accessible_name: slider for slider in widget.find_elements(By.CSS_SELECTOR, "input[type=range]")}
    assert list(sliders) == ["step size", "training step", "shortest length", "longest length", "seed"]
    assert "At step 1000:" in readout(widget)
    for name, key, expected in (
        ("training step", Keys.HOME, "At step 0:"),
        ("training step", Keys.ARROW_RIGHT, "At step 50:"),
        ("step size", Keys.END, "step size 0.5"),
        ("longest length", Keys.HOME, "0.5 to 0.5 step sizes"),
    ):
        sliders[name].send_keys(key)
        until(lambda: expected in readout(widget), f"{expected} after {name}", 5)  # noqa: B023
    state = "#bn?landscape-vgg.moment=50&landscape-vgg.step=0.5&landscape-vgg.to=0.5"
    until(lambda: driver.current_url.endswith(state), "the state in the address")
    press(widget, "Reset")
    panels = widget.find_elements(By.TAG_NAME, "canvas")
    places = []
    for panel in panels:
        ActionChains(driver).move_to_element(panel).perform()
        until(lambda: "At step 1000:" not in readout(widget), "the step under the pointer", 5)
        places.append(readout(widget).split("At step ")[1].split(":")[0])
        press(widget, "Reset")
    assert len(set(places)) == 1 and int(places[0]) % 50 == 0 and 0 < int(places[0]) < 1000
    drawn = lambda: [driver.execute_script("return arguments[0].toDataURL()", panel) for panel in panels]  # noqa: E731
    before = drawn()
    ActionChains(driver).move_to_element(panels[1]).perform()
    until(lambda: all(one != other for one, other in zip(before, drawn())), "the mark in every panel", 5)


def test_the_landscape_shows_pythons_numbers(show):
    given = curves()
    widget = show(LandscapeExplorer(given, start="0.5"), state="#bn?landscape-vgg.moment=350&landscape-vgg.from=1")
    pair = {norm: given[Label(norm, 0.5)] for norm in ("none", "batchnorm")}
    found = {}
    for part in readout(widget).split("At step 350: ")[1].split("; ")[:2]:
        name, _, rest = part.partition(": ")
        found["none" if name == "no normalization" else "batchnorm"] = numbers(rest)
    for norm, curve in pair.items():
        there = curve.sel(landscape_step=350, step_length=slice(1, None))
        beta = there.grad_change / (there.step_length * 0.5 * there.grad_norm)
        loss = there.landscape_loss
        expected = [
            loss.min("step_length"),
            loss.max("step_length"),
            there.grad_change.max("step_length"),
            beta.max("step_length"),
        ]
        assert all(
            close(shown, float(exact.median("seed"))) for shown, exact in zip(found[norm], expected, strict=True)
        )
    ratios = numbers(readout(widget).split("median over training: ")[1].replace("loss band", "").replace("β", ""))
    exact = 10 ** log_ratios(pair)[:, :, 1, 3].mean(1)
    assert all(close(shown, float(one)) for shown, one in zip(ratios, exact, strict=True))


def test_the_landscapes_numbers_are_light():
    """Five seeds of three step sizes, eight lengths: as much as the landing page has."""
    explorer = LandscapeExplorer(curves((0.03, 0.1, 0.5), seeds=5), start="0.1")
    assert len(gzip.compress(base64.b64encode(explorer.values))) < 70_000


@pytest.mark.parametrize(("size", "theme"), [(WIDE, "light"), (NARROW, "dark")])
def test_the_projection_follows_its_sliders_and_handles(driver, show, size, theme):
    widget = show(projection(), size, theme)
    fits(driver, widget)
    before = readout(widget)
    widget.find_elements(By.CSS_SELECTOR, "input[type=range]")[1].send_keys(Keys.ARROW_RIGHT)
    until(lambda: readout(widget) != before, "other numbers", 5)
    handle = lambda name: widget.find_element(By.CSS_SELECTOR, f"[data-handle={name}]")  # noqa: E731
    place = lambda name: driver.execute_script(  # noqa: E731
        "const knob = document.querySelector(`[data-handle=${arguments[0]}] .bn-knob`);"
        "const box = knob.getBoundingClientRect(); return [box.x, box.y]",
        name,
    )
    for name in ("y", "g"):
        driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", handle(name))
        box = handle(name).rect
        assert min(box["width"], box["height"]) >= 24
        for key, axis, sign in (
            (Keys.ARROW_RIGHT, 0, 1),
            (Keys.ARROW_LEFT, 0, -1),
            (Keys.ARROW_UP, 1, -1),
            (Keys.ARROW_DOWN, 1, 1),
        ):
            start, said = place(name), readout(widget)
            handle(name).send_keys(key)  # each time another element, which has the focus all the same
            driver.switch_to.active_element.send_keys(key)
            until(lambda: sign * (place(name)[axis] - start[axis]) > 1, f"{name} moved by {key!r}", 5)  # noqa: B023
            until(lambda: readout(widget) != said, f"other numbers after {key!r}", 5)  # noqa: B023
            until(lambda: driver.switch_to.active_element == handle(name), "the focus where it was", 5)  # noqa: B023
        start = place(name)
        ActionChains(driver).drag_and_drop_by_offset(handle(name), 30, 20).perform()
        moved = lambda: [new - old for new, old in zip(place(name), start)]  # noqa: B023, E731
        until(lambda: all(10 < one < 50 for one in moved()), f"{name} dragged", 5)  # noqa: B023


@pytest.mark.parametrize(("size", "theme"), [(WIDE, "light"), (NARROW, "dark")])
def test_the_shift_explorer_shows_pythons_numbers_and_links_its_panels(driver, show, size, theme):
    given = curves()
    widget = show(ShiftExplorer(given, start="0.1"), size, theme)
    fits(driver, widget)
    sliders = {one.accessible_name: one for one in widget.find_elements(By.CSS_SELECTOR, "input[type=range]")}
    assert list(sliders) == ["step size", "layer", "training step", "seed"]

    def right(setting: float, layer: int, step: int) -> bool:
        head = f"Step size {setting}, layer {layer}, step {step}: "
        if not readout(widget).startswith(head):
            return False
        there = [
            given[Label(norm, setting)].sel(shift_step=step).isel(layer=layer - 1) for norm in ("none", "batchnorm")
        ]
        exact = [float(one[name].median("seed")) for one in there for name in ("shift_l2", "shift_cosine")]
        return all(close(shown, one) for shown, one in zip(numbers(readout(widget)[len(head) :]), exact, strict=True))

    assert right(0.1, 4, 1000)
    sliders["step size"].send_keys(Keys.END)
    sliders["layer"].send_keys(Keys.ARROW_LEFT)
    sliders["training step"].send_keys(Keys.ARROW_RIGHT)
    until(lambda: right(0.5, 3, 1050), "numbers of what the sliders say", 5)
    panels = widget.find_elements(By.TAG_NAME, "canvas")
    drawn = lambda: [driver.execute_script("return arguments[0].toDataURL()", panel) for panel in panels]  # noqa: E731
    for panel in (panels[1], panels[2]):  # over the steps, then over the layers
        before = drawn()
        ActionChains(driver).move_to_element_with_offset(panel, 60, 0).perform()
        anew = lambda: [one != other for one, other in zip(before, drawn())]  # noqa: B023, E731
        until(lambda: all(anew()), "a change in every panel", 5)  # noqa: B023
    until(
        lambda: re.search(r"shift.size=0.5.*shift.moment=|shift.moment=.*shift.size=0.5", driver.current_url),
        "its state",
    )
    press(widget, "Reset")
    until(lambda: right(0.1, 4, 1000) and "#" not in driver.current_url, "what it began with")


WIDGETS = {
    "landscape": lambda: LandscapeExplorer(curves(), start="0.1"),
    "shift": lambda: ShiftExplorer(curves(), start="0.1"),
    "projection": projection,
    "trainer": LinearTrainer,
    "judge": lambda: Judge(rows=[_row("one", [0.4, 0.5, 0.6, 0.5]), _row("two", [1.0, 1.2, 0.9, 1.1], phase="end")]),
}


@pytest.mark.parametrize("size", [WIDE, NARROW])
@pytest.mark.parametrize("name", WIDGETS)
def test_no_widget_shuts_readers_out(driver, show, shut_out, name, size):
    show(WIDGETS[name](), size)
    assert shut_out(driver) == []
    driver.execute_script("document.documentElement.dataset.theme = 'dark'")
    assert shut_out(driver) == []


#: Moves every slider and changes every choice of a page, so many times, a frame apart.
MOVES = """
const [times, done] = arguments;
const tell = (one, name) => one.dispatchEvent(new Event(name, { bubbles: true }));
(async () => {
  for (let time = 0; time < times; time++) {
    for (const one of document.querySelectorAll(".bn-widget input[type=range]")) {
      const span = one.max - one.min;
      one.value = Number(one.min) + span * ((time * 0.37) % 1);
      tell(one, "input");
    }
    for (const one of document.querySelectorAll(".bn-widget select")) {
      one.selectedIndex = time % one.options.length;
      tell(one, "change");
    }
    await new Promise(requestAnimationFrame);
  }
  done();
})();
"""


@pytest.mark.parametrize("name", WIDGETS)
def test_hundreds_of_moves_leave_nothing_behind(driver, show, name):
    """Elements, listeners and memory are what they were, once what is no longer used has been collected."""
    show(WIDGETS[name]())
    driver.set_script_timeout(120)

    def counts(moves):
        driver.execute_async_script(MOVES, moves)
        driver.execute_cdp_cmd("HeapProfiler.collectGarbage", {})
        found = driver.execute_cdp_cmd("Memory.getDOMCounters", {})
        memory = driver.execute_cdp_cmd("Runtime.getHeapUsage", {})["usedSize"]
        return np.array([found["nodes"], found["jsEventListeners"], memory / 1e4])

    before = counts(30)
    grown = counts(300) - before
    assert (grown < (100, 50, 100)).all(), f"nodes, listeners and 10 kB of memory have grown by {grown}"


@pytest.mark.parametrize("name", WIDGETS)
def test_without_javascript_a_widget_is_a_picture_with_a_sentence(driver, tmp_path, monkeypatch, name):
    shown = []
    monkeypatch.setattr(widgets, "display", lambda what, **_: shown.append(what))
    widget = WIDGETS[name]()
    widget._ipython_display_()
    still, view = shown
    assert view["application/vnd.jupyter.widget-view+json"]["model_id"] == widget.model_id
    path = tmp_path / "still.html"
    path.write_text(f"<!doctype html><title>still</title>{still.data}")
    driver.get(path.as_uri())
    assert driver.find_element(By.TAG_NAME, "body").text == ""  # where JavaScript runs, the widget is enough
    # Elsewhere a browser shows what stands inside.
    inside = re.fullmatch(r"<noscript>(.*)</noscript>\s*", still.data, re.DOTALL)[1]
    path.write_text(f"<!doctype html><title>still</title>{inside}")
    driver.get(path.as_uri())
    assert widget.words in driver.find_element(By.TAG_NAME, "figcaption").text and len(widget.words.split()) > 8
    pictures = driver.find_elements(By.TAG_NAME, "img")
    assert len(pictures) == (name != "trainer")  # whose runs the book shows as recorded
    assert all(one.size["width"] > 250 and len(one.get_attribute("alt").split()) > 8 for one in pictures)


def test_the_check_for_readers_notices_a_slider_without_a_name(driver, show, shut_out):
    widget = show(projection())
    driver.execute_script("arguments[0].querySelector('label').remove()", widget)
    assert any("label" in one for one in shut_out(driver))


def test_the_books_own_script_shows_widgets_and_their_numbers(driver, show, tmp_path):
    """Two views of one widget, as a page of the site has them, with binary numbers in the state."""
    widget = LandscapeExplorer(curves(), start="0.1")
    state = json.dumps(embed_data([widget], drop_defaults=False)["manager_state"]).replace("<", "\\u003c")
    view = f"""<script type="application/vnd.jupyter.widget-view+json">{{"model_id": "{widget.model_id}"}}</script>"""
    script = (ROOT / "book" / "_assets" / "widgets.js").read_text()
    path = tmp_path / "own.html"
    path.write_text(
        f"""<!doctype html><html lang="en"><meta charset="utf-8"><title>own</title><link rel="icon" href="data:,">
        <script type="application/vnd.jupyter.widget-state+json">{state}</script>
        <script>{script}</script>{view}<p>words</p>{view}</html>"""
    )
    expected = readout(show(widget))
    driver.get(path.as_uri())
    said = "return [...document.querySelectorAll('.widget-subarea .bn-readout')].map((one) => one.textContent.trim())"
    until(lambda: driver.execute_script(said) == [expected, expected], "two views that say what one says", 20)


def ledger_page(theme: str) -> str:
    """The ledger with its script and style as they are, on a page of its own, long enough to scroll."""
    draw = np.random.default_rng(3)
    rows = []
    for place, claim in enumerate(CLAIMS[:60]):
        verdict = ledger.VERDICTS[place % len(ledger.VERDICTS)]
        if verdict == "not measured yet":
            rows.append(ledger.Row(claim, verdict, "paper"))
        else:
            value = float(10 ** draw.uniform(-6, 6) * draw.choice([-1, 1]))
            rows.append(
                ledger.Row(claim, verdict, ("laptop", "paper")[place % 2], value, value - 1, value + 1, place % 9)
            )
    table = pages.ledger_table(rows).data
    assets = ROOT / "book" / "_assets"
    return f"""<!doctype html><html lang="en" data-theme="{theme}"><meta charset="utf-8"><title>the ledger</title>
    <meta name="viewport" content="width=device-width,initial-scale=1"><link rel="icon" href="data:,">
    <style>body {{ max-width: 720px; margin: 12px auto; padding: 0 12px; font: 16px sans-serif }}
    body {{ --pst-color-text-muted: #595959 }} [data-theme=dark] body {{ background: #14181e; color: #e6e6e6 }}
    [data-theme=dark] body {{ --pst-color-background: #14181e; --pst-color-text-muted: #b0b0b0 }}
    [data-theme=dark] a {{ color: #7ab8ff }} {(assets / "style.css").read_text()}</style>
    <script>{(assets / "sort.js").read_text()}</script>
    <main class="bd-content"><h1>The ledger</h1>
    <div class="cell_output"><div class="output text_html">{table}</div></div></main></html>"""


@pytest.mark.parametrize(("size", "theme"), [(WIDE, "light"), (NARROW, "dark")])
def test_the_ledger_searches_filters_sorts_and_keeps_its_head(driver, tmp_path, shut_out, size, theme):
    driver.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": size[0], "height": size[1], "deviceScaleFactor": 1, "mobile": size == NARROW},
    )
    path = tmp_path / "ledger.html"
    path.write_text(ledger_page(theme))
    driver.get(path.as_uri())
    body = driver.find_element(By.TAG_NAME, "main")
    fits(driver, body)
    assert shut_out(driver) == []

    def rows() -> list:
        return [row for row in driver.find_elements(By.CSS_SELECTOR, "tbody tr") if row.is_displayed()]

    def said() -> str:
        return driver.find_element(By.CSS_SELECTOR, ".bn-shown").text

    assert said() == "60 of 60 rows"
    search = driver.find_element(By.CSS_SELECTOR, "input[type=search]")
    search.send_keys(CLAIMS[4].id.upper() + " ")
    until(lambda: CLAIMS[4].id in [row.get_attribute("id") for row in rows()] and len(rows()) < 20, "rows found", 5)
    search.send_keys("nowhere-to-be-found")
    until(lambda: rows() == [] and said() == "0 of 60 rows", "no row", 5)
    search.clear()
    search.send_keys(Keys.SPACE)
    for name in ("verdict", "scale", "thesis", "phase"):
        select = driver.find_element(By.CSS_SELECTOR, f"select[data-filter={name}]")
        select.send_keys(Keys.ARROW_DOWN)
        value = select.get_property("value")
        assert value
        kinds = lambda: {row.get_attribute(f"data-{name}") for row in rows()}  # noqa: B023, E731
        until(lambda: kinds() == {value}, f"rows of {value}", 5)  # noqa: B023
        select.send_keys(Keys.HOME)
    until(lambda: said() == "60 of 60 rows", "every row again", 5)
    press(body, "measured")
    read = "return [...document.querySelectorAll('tbody td:nth-child(3)')].map((cell) => cell.dataset.sort)"

    def known() -> list[float]:
        return [float(value) for value in driver.execute_script(read) if value]

    until(lambda: known() == sorted(known()), "rows in the order of what was measured", 5)
    values = driver.execute_script(read)
    assert values[len(known()) :] == [""] * (60 - len(known())) and len(known()) == 48
    driver.execute_script("scrollTo(0, 2000)")
    head = driver.execute_script("return document.querySelector('thead').getBoundingClientRect().top")
    assert driver.execute_script("return scrollY") > 1000 and head == 0
    # A rule opens by keyboard; a link to a row shows it, whatever is filtered.
    summary = rows()[0].find_element(By.TAG_NAME, "summary")
    summary.send_keys(Keys.ENTER)
    until(lambda: rows()[0].find_element(By.CSS_SELECTOR, "details p").is_displayed(), "the rule", 5)
    search.send_keys("nowhere-to-be-found")
    driver.execute_script("location.hash = arguments[0]", CLAIMS[7].id)
    until(lambda: said() == "60 of 60 rows", "the row that a link leads to", 5)
    top = driver.execute_script(
        "return document.getElementById(arguments[0]).getBoundingClientRect().top", CLAIMS[7].id
    )
    under = driver.execute_script("return document.querySelector('thead').getBoundingClientRect().bottom")
    assert under <= top < size[1]
