"""Claims and experiments: rules, verdicts, intervals, and the ledger they add up to."""

import html
import json
import math
import re
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import xarray as xr
from matplotlib.figure import Figure
from scipy import optimize, stats

from lib import figures, pages, records
from lib.build.chapters import ROOT
from lib.errors import Failure, UsageError
from lib.figures.plans import RECORDED
from lib.pages import places
from lib.paper import claims, experiments, ledger, measures, results, sensitivity
from lib.paper.labels import BATCHNORM, NOISY, NONE, Label
from lib.runs import making
from lib.specs import ImageSpec, LinearSpec
from lib.theory import verdicts
from lib.theory.verdicts import theory_rows
from lib.widgets import explore
from lib.widgets.landscape import LandscapeExplorer
from lib.widgets.noise import NoiseExplorer

KEYS = {"id", "where", "paper", "rule", "value", "low", "high", "seeds", "scale", "data", "records", "verdict"}


@pytest.mark.parametrize(
    ("side", "values", "expected"),
    [
        ("above", [1.0, 1.1, 1.2], "reproduced"),
        ("above", [0.1, 1.0, 2.0], "partly"),  # the mean is above 0.5, the interval is not
        ("above", [0.1, 0.2, 0.3], "not reproduced"),
        ("above", [1.0, 1.1], "partly"),  # too few seeds
        ("above", [1.0, 1.1, math.nan], "not testable"),  # of one seed there is nothing to measure
        ("below", [0.1, 0.2, 0.3], "reproduced"),
        ("below", [1.0, 1.1, 1.2], "not reproduced"),
    ],
)
def test_verdicts_follow_the_interval(side, values, expected):
    claim = claims.Claim("x", "", "", "", side=side, bound=0.5)
    assert ledger.verdict(claim, np.array(values), "vgg") == expected


def test_deep_linear_networks_need_five_seeds():
    claim = claims.Claim("x", "", "", "", bound=0.5)
    assert ledger.verdict(claim, np.full(4, 1.0) + np.arange(4) / 100, "deep_linear") == "partly"
    assert ledger.verdict(claim, np.full(5, 1.0) + np.arange(5) / 100, "deep_linear") == "reproduced"


def test_interval_is_students():
    from scipy import stats

    values = np.random.default_rng(0).normal(size=7)
    low, high = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert ledger.interval(values) == pytest.approx((values.mean(), low, high))
    assert math.isnan(ledger.interval(np.array([1.0]))[1])


def _curve(spec, **arrays):
    dims = {"landscape_loss": ("seed", "landscape_step", "step_length"), "grad_norm": ("seed", "landscape_step")}
    dims["grad_change"] = dims["landscape_loss"]
    coords = {"step_length": [1.0, 2.0]}
    return xr.Dataset({name: (dims[name], np.array(value)) for name, value in arrays.items()}, coords).assign_attrs(
        spec=spec.canonical()
    )


def test_quantities_by_hand():
    curve = _curve(
        ImageSpec(step_size=0.5),
        landscape_loss=[[[3.0, 5.0], [2.0, 1.0]]],
        grad_change=[[[2.0, 12.0], [1.0, 4.0]]],
        grad_norm=[[4.0, 2.0]],
    )
    assert measures.loss_band(curve).values.tolist() == [[2.0, 1.0]]
    assert measures.grad_change(curve).values.tolist() == [[12.0, 4.0]]
    # beta = change / (length * step size * norm): 12 / (2 * 0.5 * 4) and 4 / (2 * 0.5 * 2)
    assert measures.smoothness(curve).values.tolist() == [[3.0, 2.0]]
    other = curve.assign(grad_change=curve.grad_change / 100)
    ratio = measures.log_ratio({"one": curve, "other": other}, "gradient change", "one", "other")
    assert ratio == pytest.approx([2.0])


def test_divergence_speaks_against_the_network_that_diverged():
    steps = 8
    accuracy = np.full((3, steps), 0.4)
    loss = np.full((3, steps), 0.5)
    loss[:, 0] = 2.3
    good = xr.Dataset({"accuracy": (("seed", "step"), accuracy), "loss": (("seed", "step"), loss)})
    bad = good.copy(deep=True)
    bad.accuracy[0, 3:] = np.nan
    bad.loss[0, 3:] = np.inf
    assert measures.late(bad, "accuracy").values.tolist() == [measures.CHANCE, 0.4, 0.4]
    ratio = measures.linear_loss_ratio({"bad": bad, "good": good}, "bad", "good")
    assert ratio == pytest.approx([np.log10(2.3 / 0.5), 0, 0])
    changes = np.ones((3, 9, 2))
    lost = changes.copy()
    lost[1, 2:] = np.nan
    curves = {name: _curve(ImageSpec(), grad_change=values) for name, values in (("good", changes), ("lost", lost))}
    assert measures.log_ratio(curves, "gradient change", "lost", "good").tolist() == [0, measures.DIVERGED, 0]


def test_a_claim_about_one_network_cites_its_data_and_seeds():
    row = ledger.evaluate(claims.get("prose-reduction-linear"), "smoke")
    assert row.data == "generated Gaussian data" and len(row.records) == 1


def test_a_claim_cites_the_records_it_hangs_on():
    row = ledger.evaluate(claims.get("fig-12b-l1"), "laptop")
    assert {name.split("-")[1] for name in row.records} == {"none", "l1"} and len(row.records) == 2 * row.seeds
    every = ledger.evaluate(claims.get("prose-largest-step"), "laptop")
    runs = experiments.unique(["step-size"], "laptop")
    assert len(every.records) == len(runs)


def test_two_orders_of_magnitude_is_seen_where_it_is_there():
    claim = claims.get("prose-two-orders")
    changes = np.random.default_rng(0).uniform(1, 1.1, (3, 9, 2))
    spec = ImageSpec()
    near = {NONE: _curve(spec, grad_change=100 * changes), BATCHNORM: _curve(spec, grad_change=changes)}
    far = {NONE: _curve(spec, grad_change=3 * changes), BATCHNORM: _curve(spec, grad_change=changes)}
    assert ledger.verdict(claim, claim.measure(near), "vgg") == "reproduced"
    assert ledger.verdict(claim, claim.measure(far), "vgg") == "not reproduced"


def test_within_needs_the_whole_interval():
    claim = claims.Claim("x", "", "", "", side="within", bound=0.8)
    near, wide, off = [0.80, 0.801, 0.799], [0.76, 0.84, 0.80], [0.70, 0.71, 0.72]
    assert [ledger.verdict(claim, np.array(v), "vgg") for v in (near, wide, off)] == [
        "reproduced",
        "partly",
        "not reproduced",
    ]
    assert ledger.verdict(claim, np.array([0.81]), "vgg") == "partly"


def _late(*values):
    return xr.Dataset({"accuracy": (("seed", "step"), np.repeat(np.array(values)[:, None], 4, 1))})


def test_an_interval_that_contains_the_bound_is_undecided():
    factor, near = claims.get("fig-4a"), claims.get("acc-bn")  # above a factor of 1; within 0.02 of 0.83
    assert [factor.undecided(*ends) for ends in ((0.5, 2.0), (1.1, 2.0), (0.1, 0.9), (None, None))] == [
        True,
        False,
        False,
        False,
    ]
    assert [near.undecided(*ends) for ends in ((0.80, 0.86), (0.82, 0.84), (0.5, 0.6), (0.84, 0.9))] == [
        True,
        False,
        False,
        True,
    ]
    assert not claims.get("prose-flat-minima").undecided(0.0, 1.0)
    row = ledger.Row(factor, "not reproduced", "laptop", value=0.9, low=0.5, high=2.0, seeds=3)
    assert row.text.startswith("Not reproduced, undecided: 0.9 [0.5, 2]") and row.text.endswith("; 3 seeds).")
    assert not replace(row, verdict="reproduced", low=1.1).undecided
    assert not replace(row, claim=claims.Claim("thm", "", "", "")).undecided
    assert ledger.Row(factor, "not measured yet", "laptop").text == "Not measured yet."


def test_answers_are_folded_by_verdict_and_lead_to_the_ledger():
    text = html.unescape(pages.answers("smoothing", "smoke").data)
    wanted = [claim for claim in claims.CLAIMS if claim.counted and places.chapter(claim) == "smoothing"]
    assert len(wanted) > 10 and text.count("<details") == len({row.verdict for row in map(_smoke, wanted)})
    for claim in wanted:
        assert text.count(f'"conclusions.html#{claim.id}"') == 1 and html.unescape(pages.letters(claim.paper)) in text
    assert text.count("<li>") == len(wanted)


def test_the_letters_of_claims_are_those_of_the_chapters():
    assert pages.letters("l1 < l_p, prose-l1: <g, yhat>, (1e-06)") == (
        "\u2113<sub>1</sub> &lt; \u2113<sub>p</sub>, prose-\u2113<sub>1</sub>: \u27e8g, \u0177\u27e9, (1e-6)"
    )
    assert pages.letters("$\\gamma l_1$ & gamma") == "$\\gamma l_1$ &amp; gamma"
    spelled = re.compile(r"\b(l_p|l[12]|linf|yhat|gamma|sigma|\de-0\d)\b")
    claim = claims.get("prose-l1-better")
    assert spelled.search(claim.paper)
    for page in (
        pages.badges([claim], "smoke"),
        pages.ledger_table([ledger.Row(claim, "partly", "smoke", 1.0, 0.9, 1.1, 16)]),
    ):
        read = re.sub(r"<code>.*?</code>|<[^>]*>|" + claim.id, " ", page.data)
        assert not spelled.search(read)


def _smoke(claim):
    return ledger.evaluate(claim, "smoke")


def _number(id, values):
    claim = claims.get(id)
    return ledger.Row(claim, "", "", **ledger.numbers(claim, values)).number()


def test_rules_set_after_the_runs_say_so():
    assert (
        claims.get("fig-1c-shape").rule.endswith("; set after the runs")
        and "after" not in claims.get("fig-4a").rule.rpartition(":")[2]
    )


def test_steps_ratio_counts_to_the_level_and_no_farther():
    rise = np.concatenate([np.full(99, 0.1), np.full(101, 0.9)])
    curves = {
        "slow": xr.Dataset({"accuracy": (("seed", "step"), np.stack([rise, np.full(200, 0.1)]))}),
        "fast": xr.Dataset({"accuracy": (("seed", "step"), np.stack([np.full(200, 0.9), np.full(200, np.nan)]))}),
    }
    # A mean of 10 steps is above 0.5 once 5 of them are at 0.9: step 104 (from 1), against 10. The others never get
    # there.
    assert measures.steps_ratio(curves, "slow", "fast", 0.45, window=10) == pytest.approx([np.log10(104 / 10), 0])


def test_change_at_equal_distance_by_hand():
    spec = ImageSpec(step_size=1.0)
    # Distances 1 and 2 for one, 2 and 4 for other: at 2 the changes are 6 and 3.
    curves = {
        "one": _curve(spec, grad_change=[[[3.0, 6.0]]], grad_norm=[[1.0]]),
        "other": _curve(spec, grad_change=[[[3.0, 5.0]]], grad_norm=[[2.0]]),
    }
    assert measures.change_ratio_at_distance(curves, "one", "other") == pytest.approx([np.log10(2)])


def test_early_over_late_by_hand():
    early, late = np.full((1, 3, 2), 8.0), np.full((1, 6, 2), 2.0)
    curves = {
        "one": _curve(ImageSpec(), grad_change=np.concatenate([early, late], 1)),
        "other": _curve(ImageSpec(), grad_change=np.ones((1, 9, 2))),
    }
    assert measures.early_over_late(curves, "gradient change", "one", "other") == pytest.approx([np.log10(4)])


def test_largest_step_and_sensitivity_by_hand():
    curves = {
        Label("none", 0.1): _late(0.5, 0.1),
        Label("none", 1): _late(0.1, 0.1),
        Label("none", 10): _late(0.1, np.nan),
        Label("batchnorm", 0.1): _late(0.5, 0.6),
        Label("batchnorm", 1): _late(0.4, 0.5),
        Label("batchnorm", 10): _late(0.3, 0.1),
    }
    # Seed 1 of none trains at no step size: its largest is below the smallest.
    assert measures.largest_ratio(curves, "batchnorm", "none") == pytest.approx([2, 2])
    assert measures.sensitivity(curves, "none", "batchnorm").tolist() == pytest.approx([0.4 - 0.2, 0.0 - 0.5])


def test_distance_from_gaussian_by_samples():
    random = np.random.default_rng(0)
    samples = {"normal": random.normal(3, 2, (2, 3, 20_000)), "halves": abs(random.normal(3, 2, (2, 3, 20_000)) - 3)}
    found = {}
    for name, values in samples.items():
        counts = np.stack([[np.histogram(row, 40)[0] for row in seed] for seed in values])
        ends = np.stack([values.min(-1), values.max(-1)], -1)
        curve = xr.Dataset(
            {
                "histogram": (("seed", "histogram_step", "bin"), counts),
                "histogram_range": (("seed", "histogram_step", "end"), ends),
            }
        )
        found[name] = measures.distance_from_gaussian(curve)
    assert found["normal"].shape == (2,) and (found["normal"] < 0.02).all() and (found["halves"] > 0.1).all()
    x = np.linspace(-20, 20, 100_001)
    half = stats.halfnorm(scale=2)
    expected = np.trapezoid(abs(half.pdf(x) - stats.norm.pdf(x, half.mean(), half.std())), x) / 2
    assert found["halves"] == pytest.approx([expected] * 2, abs=0.01)


def test_change_of_distributions_by_hand():
    """Uniform on [0, 1], then moved by 0.3, then stretched to twice its width: distances 0.3 and 0.5."""
    ends = np.array([[[9.0, 10.0], [0.0, 1.0], [0.3, 1.3], [0.3, 2.3]]])
    counts = np.full((1, 4, 40), 10)
    curve = xr.Dataset(
        {
            "histogram": (("seed", "histogram_step", "bin"), counts),
            "histogram_range": (("seed", "histogram_step", "end"), ends),
        }
    )
    assert measures.distribution_change(curve) == pytest.approx([0.4])  # the median; the first step does not count
    still = curve.assign(histogram_range=curve.histogram_range * 0 + [0.0, 1.0])
    assert measures.distribution_change(still) == pytest.approx([0])


def test_control_ratio_takes_the_largest_over_lengths():
    def curve(values):
        return xr.Dataset({"control_x": (("seed", "control_step", "step_length"), np.array([values], float))})

    curves = {"one": curve([[1, 100], [10, 1], [np.nan, 1]]), "other": curve([[1, 1], [1, 1], [1, 1]])}
    assert measures.control_ratio(curves, "x", "one", "other").tolist() == [2.0]


def test_claims_without_records_are_not_measured_yet(blank, monkeypatch):
    monkeypatch.setattr(records, "find", lambda spec: None)
    results._load.cache_clear()
    for claim in ("acc-bn", "acc-standard-augmented-half"):
        row = ledger.evaluate(claims.get(claim), "laptop")
        assert row.verdict == "not measured yet" and not row.records and row.value is None
    assert ledger.evaluate(claims.get("fig-4a"), "paper").verdict == "not measured yet"
    assert "not measured yet" in pages.draw("accuracy", "laptop").data
    for name, plan in RECORDED.items():
        if any(
            isinstance(spec, ImageSpec)
            for group in experiments.specs(plan.experiment, "paper").values()
            for spec in group
        ):
            assert "not measured yet" in pages.draw(name, "paper").data
    assert ledger.summary("paper").count("not measured yet") >= 4
    for widget, experiment in ((NoiseExplorer, "noise-strength"), (LandscapeExplorer, "fig-11")):
        assert "not measured yet" in explore(widget, experiment, "paper").data
    results._load.cache_clear()
    assert experiments.on_demand("accuracy", "smoke", "cpu") and not experiments.on_demand("accuracy", "laptop", "cuda")
    assert experiments.on_demand("fig-4", "paper", "cuda") and experiments.on_demand("fig-10", "paper", "cpu")


@pytest.fixture
def blank(monkeypatch):
    """Figures come as empty drawings, which take no time: for tests that read captions."""
    monkeypatch.setattr(Figure, "savefig", lambda *_, **__: None)
    monkeypatch.setattr(pages, "svg", lambda *_, **__: "<svg></svg>")


def test_every_claim_stands_in_the_caption_that_its_row_leads_to(blank):
    captions = {}
    for claim in claims.CLAIMS:
        page, _, anchor = places.evidence(claim).partition(".html#")
        chapter = (ROOT / "book" / f"{page}.md").read_text()
        if not anchor.startswith("figure-"):
            assert f"({anchor})=" in chapter, claim.id
            continue
        name = anchor.removeprefix("figure-")
        if name not in captions:
            shown = pages.draw(name, "smoke").data
            assert f'id="{anchor}"' in shown
            captions[name] = re.findall(r'data-claim="([^"]+)"', shown)
            assert f'("{name}", ' in chapter, name
        assert captions[name].count(claim.id) == 1, claim.id
    assert set(captions) <= set(RECORDED)
    for row in theory_rows(16):
        page, _, anchor = places.evidence(row.claim).partition(".html#")
        assert f"({anchor})=" in (ROOT / "book" / f"{page}.md").read_text(), row.claim.id


def test_every_figure_has_its_page():
    assert sorted(name for names in places.FIGURES.values() for name in names) == sorted(RECORDED)


def test_questions_are_answered_by_the_claims_own_measure():
    rows = sensitivity.table("smoke")
    assert len(rows) == len(sensitivity.ANSWERS) >= 20
    assert set(rows["same verdict"]) <= {"yes", "no"}
    # At smoke scale no l_p network leaves chance, and a plateau is no landscape; nor is there a speed where no network
    # trains.
    assert set(rows[~rows["as assumed"].str.contains(": ")]["as assumed"]) <= {"not testable"}
    assert rows["as assumed"].str.contains(": ").mean() > 0.9
    assert set(rows[~rows["otherwise"].str.contains(": ")]["otherwise"]) == {"not testable"}
    beta = rows[rows["other answer"] == "that of the farthest"].iloc[0]
    curves = results.load("variants", "smoke")
    expected = measures.log_ratio(
        {Label(name): curves[Label(name, "as assumed")].isel(step_length=[-1]) for name in ("none", "batchnorm")},
        "effective smoothness",
        NONE,
        BATCHNORM,
    )
    assert beta["otherwise"].startswith(_number("fig-4c", expected))


def test_claims_are_judged_at_every_width():
    rows, curves = sensitivity.across("width", "smoke").set_index("claim"), results.load("width", "smoke")
    expected = {
        f"width {width}": _number(
            "fig-4b",
            measures.log_ratio(
                curves, "gradient change", Label("none", float(width)), Label("batchnorm", float(width))
            ),
        )
        for width in ("0.125", "0.5")
    }
    assert len(set(expected.values())) == 2 and list(rows.columns) == ["measured", *expected]
    assert all(rows.loc["fig-4b", name].startswith(f"{value}: ") for name, value in expected.items())
    # The figure has the same ratios, a point a seed.
    shown = figures.table("width", curves)
    shown = shown[shown.quantity == "gradient change without BatchNorm over that with it"].set_index("x")
    for width in (0.125, 0.5):
        values = 10 ** measures.log_ratio(curves, "gradient change", Label("none", width), Label("batchnorm", width))
        np.testing.assert_allclose(shown.loc[width, ["seed 1", "seed 2"]].astype(float), values)


def test_what_the_book_says_of_widths_is_in_the_records():
    curves = results.whole("width", "laptop")
    assert all(curve.sizes["seed"] == 5 for curve in curves.values())
    rows = sensitivity.across("width", "laptop").set_index("claim").drop(columns="measured")
    assert all(rows.loc[f"fig-4{panel}", "width 1"].endswith("]: reproduced") for panel in "abc")
    assert all(
        text.endswith("not reproduced") for claim in ("prose-two-orders", "prose-early-b") for text in rows.loc[claim]
    )
    pairs = [(Label("none", width), Label("batchnorm", width)) for width in (1 / 8, 1 / 4, 1 / 2, 1)]
    for quantity in ("loss band", "gradient change", "effective smoothness"):
        assert all(1 < 10 ** measures.log_ratio(curves, quantity, *pair).mean() < 3 for pair in pairs)
    plateau = measures.steps_ratio(curves, Label("none", 1 / 8), Label("none", 1), 2 * measures.CHANCE)
    assert plateau.min() > 0


def test_widths_without_records_have_no_table(monkeypatch):
    load = results.load
    monkeypatch.setattr(results, "load", lambda *place: dict(list(load(*place).items())[:1]))
    assert sensitivity.across("width", "smoke").empty


def test_questions_lead_to_the_ledger_and_are_counted():
    page = pages.questions("smoke").data
    rows = sensitivity.table("smoke")
    assert page.count("href=") == len(rows) and '<a href="conclusions.html#fig-4c">fig-4c</a>' in page
    assert f"changes the verdict in {(rows['same verdict'] == 'no').sum()} of {len(rows)} rows (0 not" in page


def test_probe_errors_are_medians_and_extremes_in_words():
    errors, dims = np.array([[[1e-6, 3e-6]], [[4e-3, 2e-3]]]), ("precision", "seed", "step_length")
    record = xr.Dataset(
        {"error_beta": (dims, errors), "error_loss_change": (dims, 10 * errors)}, {"precision": ["float32", "tf32"]}
    )
    assert measures.probe_errors({NONE: record}).to_dict("records") == [
        {
            "network": "none",
            "relative error of the": "change of the loss",
            "float32": "2e-05 (3e-05)",
            "tf32": "3e-02 (4e-02)",
        },
        {
            "network": "none",
            "relative error of the": "effective smoothness",
            "float32": "2e-06 (3e-06)",
            "tf32": "3e-03 (4e-03)",
        },
    ]


def test_every_claim_has_its_own_id_and_a_known_experiment():
    ids = [claim.id for claim in claims.CLAIMS]
    assert len(ids) == len(set(ids))
    assert {claim.experiment for claim in claims.CLAIMS if claim.measure} <= set(experiments.EXPERIMENTS)


def test_the_map_of_claims_names_every_module():
    modules = {path.stem for path in Path(claims.__file__).parent.glob("*.py")} - {"__init__", "claim"}
    assert set(re.findall(r"^    (\w+) {2,}\S", claims.__doc__, re.MULTILINE)) == modules
    assert len(claims.CLAIMS) == sum(len(getattr(claims, name).statements()) for name in modules)


@pytest.fixture(scope="module")
def entries():
    return verdicts.ledger_rows("smoke")


def test_every_claim_bears_on_a_thesis_and_totals_agree(entries):
    assert {row.claim.thesis for row in entries} == set(claims.Thesis)
    numbers = ledger.theses(entries).set_index("the paper says").replace("", "0").astype(int)
    sums = numbers.sum().to_dict()
    counted = [row for row in entries if row.claim.counted]
    assert sums.pop("undecided") == sum(row.undecided for row in counted) > 0
    assert sums == {verdict: number for verdict, number in ledger.count(entries).items() if number}
    assert sum(sums.values()) == len(counted) < len(entries)
    # The folded lists of the chapters hold each counted claim of the experiments once, too.
    listed = [claim.id for claim in claims.CLAIMS if claim.counted]
    empirical = {claim.id for claim in claims.CLAIMS}
    assert sorted(listed) == sorted(row.claim.id for row in counted if row.claim.id in empirical)


def test_one_sentence_counts_once(entries):
    """Of claims with one measure on one experiment, at most one counts for each bound.

    What holds by construction never does.
    """
    seen = {}
    for claim in claims.CLAIMS:
        if claim.counted and claim.measure is not None:
            key = (claim.experiment, repr(claim.measure), claim.side, claim.bound)
            assert seen.setdefault(key, claim.id) == claim.id
    ids = {row.claim.id for row in entries if row.claim.counted}
    assert not ids & {
        "fig-1c",
        "fig-6",
        "prose-lp-shift-l1",
        "fig-11-0.5",
        "say-additive",
        "eq-9",
        "eq-17",
        "fig-12b-l1",
    }
    assert {"thm-4.1", "fig-12b", "fig-4a", "fig-11-0.1"} <= ids


def test_ledger_has_every_key_and_nothing_reproduced_at_smoke_scale(entries):
    found = [row.entry() for row in entries]
    assert all(set(row) >= KEYS for row in found)
    json.dumps(found, allow_nan=False)
    empirical = [row for row in entries if row.scale == "smoke"]
    assert len(empirical) >= 50
    # Two seeds are never enough.
    assert {row.verdict for row in empirical} <= {"partly", "not reproduced", "not testable", "not measured yet"}
    # Of the depths only one is run at smoke scale.
    unmeasured = {row.claim.experiment for row in empirical if row.verdict == "not measured yet"}
    assert unmeasured == {"depth", "gradients"}
    assert {row.verdict for row in entries} <= set(ledger.VERDICTS)


def test_ledger_reads_as_table_and_page(entries):
    table = ledger.table(entries)
    assert len(table) == len(entries) and table.verdict.notna().all()
    page = pages.ledger_table(entries).data
    assert all(page.count(f'<tr role="row" id="{row.claim.id}"') == 1 for row in entries)
    assert 'href="smoothing.html#figure-fig-4"' in page and " title=" not in page
    assert "<summary>$" not in page  # a formula alone is no name: screen readers get its place before it
    assert ledger.lines([claims.get("fig-4a")], "smoke").startswith("fig-4a: ")


def test_paper_scale_is_the_papers_protocol():
    spec = experiments.specs("fig-4", "paper")[BATCHNORM][0]
    assert (spec.width, spec.steps, spec.batch_size, spec.step_size, spec.augment) == (1.0, 15_000, 128, 0.1, False)
    assert spec.depth == experiments.main_depth() == 16  # "VGG-like"
    assert spec.step_lengths[0] == 0.5 and spec.step_lengths[-1] == 4
    linear = experiments.specs("fig-10", "laptop")[NONE][0]
    assert (linear.layers, linear.dim, linear.samples, linear.steps, linear.step_size) == (25, 10, 1_000, 10_000, 1e-6)
    assert linear.step_lengths[0] == 1 / 100 and linear.step_lengths[-1] == 30
    noise = experiments.specs("fig-2", "paper")[NOISY][0].noise
    assert (noise.n_mu, noise.n_sigma, noise.r_mu, noise.r_sigma) == (0.5, 1.25, 0.1, 0.1)


@pytest.mark.parametrize("scale", experiments.SCALES)
def test_seeds_are_enough_at_every_scale_that_concludes(scale):
    for name in experiments.EXPERIMENTS:
        for group in experiments.specs(name, scale).values():
            seeds = group[0].seeds if isinstance(group[0], LinearSpec) else len(group)
            if name == "accuracy" and scale == "laptop":  # an hour a run: one, and so never more than partly reproduced
                assert seeds == 1
                continue
            assert seeds >= (2 if scale == "smoke" else 5 if isinstance(group[0], LinearSpec) else 3)


@pytest.mark.parametrize("name", RECORDED)
def test_a_figure_with_a_single_curve_recorded_is_drawn_or_says_so(blank, monkeypatch, name):
    load = results.load
    monkeypatch.setattr(results, "load", lambda *place: dict(list(load(*place).items())[:1]))
    page = pages.draw(name, "smoke").data
    assert ("not measured yet at smoke scale" in page) == (
        RECORDED[name].whole and len(experiments.specs(RECORDED[name].experiment, "smoke")) > 1
    )


def test_answers_on_different_images_are_not_compared(monkeypatch):
    answer = next(answer for answer in sensitivity.ANSWERS if answer.baseline)
    assert sensitivity.evaluate(answer, "smoke")["same verdict"] in ("yes", "no")
    whole = results.whole
    monkeypatch.setattr(
        results,
        "whole",
        lambda name, *place: {label: curve.assign_attrs(data=name) for label, curve in whole(name, *place).items()},
    )
    assert sensitivity.evaluate(answer, "smoke")["same verdict"] == "not measured yet"


def test_the_landing_page_names_the_seeds():
    (row,) = [line for line in (ROOT / "book" / "index.md").read_text().splitlines() if line.startswith("| `laptop`")]
    curves = experiments.specs("fig-4", "laptop")[NONE], experiments.specs("fig-10", "laptop")[NONE]
    assert f"{len(curves[0])} seeds;" in row and f"{curves[1][0].seeds} seeds " in row


def test_older_records_have_empty_axes_and_are_joined_with_newer_ones(store):
    specs = experiments.specs("accuracy", "smoke")[NONE]
    older = making.make(specs[0])
    records.write(older.assign_coords(precision=["float32"]), records.CACHE / records.file_name(specs[0]))
    for spec in experiments.unique(["accuracy"], "smoke"):
        if spec != specs[0]:
            making.make(spec)
    joined = results.load("accuracy", "smoke")[NONE]
    assert joined.sizes["seed"] == 2 and "precision" not in joined.coords


def test_provenance_names_scale_data_seeds_and_command():
    text = results.provenance(results.load("fig-4", "smoke"))
    for part in ("smoke scale", "2 seeds", "not CIFAR-10", "torch", "python -m lib run fig-4 --scale smoke"):
        assert part in text
    assert "VGG-7 at 0.125x to 0.5x width" in results.provenance(results.load("width", "smoke"))
    assert "VGG-7 to 11 at" in results.provenance(results.load("variants", "smoke"))
    curves = results.load("accuracy", "smoke")
    first, *others = curves
    fewer = {first: curves[first].isel(seed=[0])} | {label: curves[label] for label in others}
    for some in (fewer, dict(reversed(fewer.items()))):
        assert ", 1 to 2 seeds," in results.provenance(some)
    alone = {first: curves[first].isel(seed=[0]).assign_coords(seconds=("seed", [90.0]))}
    assert ", 1 seed," in results.provenance(alone) and "1.5 min in all" in results.provenance(alone)
    one, other = (
        curve.assign_attrs(code=code)
        for curve, code in zip(results.load("fig-4", "smoke").values(), ("a and b", "b and c"))
    )
    assert "code a and b and c," in results.provenance({NONE: one, BATCHNORM: other})


@pytest.mark.parametrize("experiment, expected", [("accuracy", [90, 90]), ("fig-10", [45, 45])])
def test_a_record_of_many_seeds_shares_its_time_among_them(monkeypatch, experiment, expected):
    monkeypatch.setattr(results, "_record", lambda path: records.read(path).assign_attrs(seconds=90.0))
    curves = results._load.__wrapped__(experiment, "smoke", "cpu")
    assert curves[NONE].seconds.values.tolist() == expected


def test_unknown_names_are_named():
    with pytest.raises(UsageError, match="experiment is 'fig-99'.*fig-10"):
        experiments.specs("fig-99", "smoke")
    with pytest.raises(UsageError, match="scale is 'huge'.*laptop"):
        experiments.specs("fig-4", "huge")
    with pytest.raises(UsageError, match="claim is 'fig-99'"):
        claims.get("fig-99")


def test_everything_the_laptop_book_shows_of_vgg_is_committed():
    names = [name for name in experiments.EXPERIMENTS if experiments.on_demand(name, "laptop", "cpu")]
    needed = [spec for spec in experiments.unique(names, "laptop") if isinstance(spec, ImageSpec)]
    missing = [spec.canonical() for spec in needed if not (records.COMMITTED / records.file_name(spec)).is_file()]
    assert not missing


def test_the_readme_holds_the_summary_of_the_records():
    readme = (records.LIB.parent / "README.md").read_text()
    assert ledger.summary("laptop") in readme, "put the output of `python -m lib summary` into README.md"


# --- measures by hand -----------------------------------------------------------------------


def _shift_curve(l2, cosine=None):
    """[seed, step, layer] as curves have them."""
    dims = ("seed", "shift_step", "layer")
    l2 = np.array(l2, float)
    return xr.Dataset({"shift_l2": (dims, l2), "shift_cosine": (dims, l2 if cosine is None else np.array(cosine))})


def test_covariate_shift_leaves_out_the_first_layer_by_hand():
    one, other = _shift_curve([[[0, 4, 8], [0, 4, 8]]]), _shift_curve([[[5, 2, 4], [5, 2, 4]]])
    assert measures.shift_l2_ratio({NONE: one, NOISY: other}, NONE, NOISY) == pytest.approx([np.log10(2)])
    assert measures.shift({NONE: one}, NONE).tolist() == [6.0]
    assert measures.shift_difference({NONE: one, NOISY: other}, NONE, NOISY).tolist() == [3.0]
    many = _shift_curve(np.concatenate([np.full((1, 100, 1), -1.0), np.linspace(0, 1, 101)[None, 1:, None]], 2))
    assert measures.least_shift_cosine({NONE: many}, NONE) == pytest.approx([0.0595])


def test_a_length_that_diverged_makes_the_band_unknown():
    curve = _curve(ImageSpec(), landscape_loss=[[[3.0, np.nan], [2.0, 1.0]]])
    assert np.isnan(measures.loss_band(curve).values[0, 0]) and measures.loss_band(curve).values[0, 1] == 1


def test_theorem_terms_count_by_their_size_and_shares_leave_out_what_is_unknown():
    values = np.array([[[-4.0, 2.0, np.nan], [1.0, -3.0, -5.0]]])
    curve = xr.Dataset({"theorem_x": (("seed", "theorem_step", "unit"), values)})
    assert measures.theorem({NONE: curve}, "x", NONE).tolist() == [3.0]
    assert measures.theorem({NONE: curve}, "x", NONE, log=True) == pytest.approx([np.log10(3)])
    assert measures.share({NONE: curve}, "x", NONE) == pytest.approx([2 / 5])


def test_the_projection_is_judged_with_the_scale_removed():
    dims = ("seed", "theorem_step", "unit")
    forms, plain, scale = ([[[8.0, 8.0, -1.0, np.nan]]], [[[1.0, 3.0, 1.0, 1.0]]], [[[2.0, 2.0, 0.1, 1.0]]])
    curve = xr.Dataset(
        {"theorem_form_bn": (dims, forms), "theorem_form_plain": (dims, plain), "theorem_scale": (dims, scale)}
    )
    # (Pg)'H(Pg) is 2, 2 and -100 against 1, 3 and 1.
    assert measures.share_of_smaller_forms({NONE: curve}, NONE) == pytest.approx([2 / 3])
    assert measures.share_of_nonnegative_forms({NONE: curve}, NONE) == pytest.approx([2 / 3])


def test_curves_are_compared_seed_by_seed():
    one, other = (
        _late(*values).assign_coords(seed=seeds) for values, seeds in (((1, 2, 3), [0, 1, 2]), ((5, 5, 9), [1, 2, 3]))
    )
    common = results.common_seeds({NONE: one, BATCHNORM: other})
    assert measures.late_difference(common, BATCHNORM, NONE).tolist() == [3.0, 2.0]
    assert results.common_seeds({NONE: one, BATCHNORM: other.assign_coords(seed=[7, 8, 9])}) == {}
    assert list(results.common_seeds({NONE: one, BATCHNORM: other}, [NONE])[NONE].seed) == [0, 1, 2]


def test_late_is_the_last_quarter_and_final_the_last_point():
    ramp = np.arange(8.0)[None]
    curve = xr.Dataset({"accuracy": (("seed", "step"), ramp), "test_accuracy": (("seed", "eval_step"), ramp)})
    assert measures.late_accuracy({NONE: curve}, NONE).tolist() == [6.5]
    assert measures.final({NONE: curve}, NONE).tolist() == [7.0]
    other = curve.assign(test_accuracy=curve.test_accuracy * 2)
    assert measures.final_difference({NONE: curve, NOISY: other}, NOISY, NONE).tolist() == [7.0]


def test_shares_of_gain_and_speed_by_hand():
    three = {"none": NONE, "norm": BATCHNORM, "noisy": NOISY}
    curves = dict(zip(three.values(), (_late(0.2), _late(0.6), _late(0.5))))
    assert measures.share_of_gain(curves, **three) == pytest.approx([0.75])
    # A mean of 50 steps is above 0.4 with 19 of them at 0.9: 18 steps after the jump, at steps 1,000, 100 and 200.
    jumps = {NONE: 982, BATCHNORM: 82, NOISY: 182}
    curves = {
        label: xr.Dataset({"accuracy": (("seed", "step"), np.where(np.arange(1, 1_201) < at, 0.1, 0.9)[None])})
        for label, at in jumps.items()
    }
    assert measures.share_of_speed(curves, level=0.4, **three) == pytest.approx([np.log10(5)])


def _moments(mean, var):
    dims = ("seed", "moments_step", "layer")
    return xr.Dataset(
        {"activation_mean": (dims, np.array(mean, float)), "activation_var": (dims, np.array(var, float))}
    )


def test_moments_change_in_plain_units_or_in_their_own_by_hand():
    one = _moments([[[1.0], [3.0]]], [[[4.0], [10.0]]])
    other = _moments([[[1.0], [2.0]]], [[[1.0], [2.0]]])
    curves = {NOISY: one, NONE: other}
    assert 10 ** measures.moment_ratio(curves, "mean", NOISY, NONE) == pytest.approx([2])
    assert 10 ** measures.moment_ratio(curves, "var", NOISY, NONE) == pytest.approx([6])
    assert 10 ** measures.moment_ratio(curves, "mean", NOISY, NONE, plain=False) == pytest.approx([1])
    assert 10 ** measures.moment_ratio(curves, "var", NOISY, NONE, plain=False) == pytest.approx([1.5])
    assert 10 ** measures.deviation(curves, NOISY) == pytest.approx([np.sqrt(np.sqrt(40))])
    assert measures.off_unit_deviation({NONE: _moments([[[0]]], [[[0.01]]])}, NONE) == pytest.approx([1])


def test_sigma_of_histograms_leaves_out_the_first_step_by_hand():
    counts = np.zeros((1, 3, 2, 40))
    counts[..., 0] = counts[..., -1] = 1  # two equal halves at the middles of the end bins
    ends = np.array([[[[-9.0, 9.0]] * 2, [[-4.0, 4.0], [-1.0, 1.0]], [[-4.0, 4.0], [-1.0, 1.0]]]])
    dims = ("seed", "histogram_step", "norm_layer")
    curves = {NONE: xr.Dataset({"histogram": ((*dims, "bin"), counts), "histogram_range": ((*dims, "end"), ends)})}
    inner = 1 - 1 / 40
    assert 10 ** measures.histogram_deviation(curves, NONE) == pytest.approx([2.5 * inner])
    assert 10 ** measures.deviation_range(curves, NONE) == pytest.approx([4])


def test_linear_losses_are_averaged_in_logarithms():
    loss = np.array([[5.0] * 6 + [1.0, 100.0]])
    curves = {
        NONE: xr.Dataset({"loss": (("seed", "step"), loss)}),
        NOISY: xr.Dataset({"loss": (("seed", "step"), np.ones((1, 8)))}),
    }
    assert measures.linear_loss_ratio(curves, NONE, NOISY) == pytest.approx([1])
    assert measures.still_falls({NONE: curves[NONE]}, NONE) == pytest.approx([-2])


def test_plateaus_best_steps_and_ranges_by_hand():
    rise = xr.Dataset({"accuracy": (("seed", "step"), np.linspace(0, 1, 60)[None])})
    assert measures.still_gains({NONE: rise}, NONE) == pytest.approx([(58.5 - 48.5) / 59])
    curves = {Label("none", 0.1): _late(0.5), Label("none", 1): _late(0.4), Label("batchnorm", 0.1): _late(0.5)}
    curves[Label("batchnorm", 1)] = _late(0.6)
    assert measures.best_off(curves, 0.1, "accuracy") == pytest.approx([1])

    def falling(share):
        return xr.Dataset({"loss": (("seed", "step"), np.array([[2.0, 1, 1, 2.0 * (1 - share)]]))})

    curves = {Label("VGG", 1): falling(0.9), Label("VGG", 2): falling(0.2)}
    curves |= {Label("deep linear", 1): falling(0.5), Label("deep linear", 2): falling(0.4)}
    assert measures.fall_range_difference(curves, "VGG", "deep linear") == pytest.approx([0.6])


def _trained(change, loss, spec=None):
    """A curve of 100 steps, probed at each, with a gradient's change and a loss [step]."""
    spec = spec or ImageSpec(step_size=0.5)
    change = np.array(change, float)
    steps = np.arange(len(loss))
    curve = _curve(spec, grad_change=change[None, :, None] * np.ones(2), grad_norm=np.ones((1, len(loss))))
    return curve.assign(loss=(("step", "seed"), np.array(loss, float)[:, None])).assign_coords(
        step=steps, landscape_step=steps, seed=[0]
    )


_FALL = np.concatenate([np.full(40, 2.0), np.linspace(2, 0, 40), np.zeros(40)])


def test_phases_follow_the_loss_of_the_network_they_are_of():
    change = np.concatenate([np.full(40, 1.0), np.full(40, 10.0), np.full(40, 100.0)])
    curves = {NONE: _trained(change, _FALL), BATCHNORM: _trained(np.ones(120), _FALL)}
    share = measures.progress(curves[NONE]).isel(seed=0).values
    assert (np.diff(share) >= 0).all() and share[0] == 0 and share[-1] == 1
    pair = {"quantity": "gradient change", "one": NONE, "other": BATCHNORM}
    for phase, expected in (("plateau", 0), ("falling", 1), ("settled", 2)):
        assert measures.log_ratio_in(curves, phase, **pair) == pytest.approx([expected])
    assert measures.at_start(curves, **pair) == pytest.approx([0])
    trained = measures.in_phase(curves[NONE].grad_norm, "landscape_step", curves[NONE], "trained").notnull().sum()
    high = (change > 10).sum()
    assert measures.share_above(curves, 10, **pair) == pytest.approx([high / int(trained)])
    flat = {NONE: _trained(change, np.full(120, 2.0)), BATCHNORM: curves[BATCHNORM]}
    assert np.isnan(measures.log_ratio_in(flat, "trained", **pair)).all()


def test_equal_loss_compares_where_the_losses_are_the_same():
    """The change is a function of the loss alone, twice as large without the norm; one network is 30 steps behind."""
    behind, ahead = _FALL, np.concatenate([_FALL[30:], np.zeros(30)])

    def smoothed(loss):
        return np.array([loss[max(0, at - 29) : at + 1].mean() for at in range(len(loss))])

    curves = {NONE: _trained(2 * 10 ** smoothed(behind), behind), BATCHNORM: _trained(10 ** smoothed(ahead), ahead)}
    found = measures.log_ratio_at_equal_loss(curves, "gradient change", NONE, BATCHNORM)
    assert found == pytest.approx([np.log10(2)], abs=0.1)
    at_the_same_step = measures.log_ratio_in(curves, "falling", "gradient change", NONE, BATCHNORM)
    assert abs(at_the_same_step - np.log10(2)) > 0.3
    cosines = {
        label: curve.assign(
            shift_cosine=(
                ("seed", "shift_step", "layer"),
                np.stack([0 * curve.grad_change[..., 0], np.log10(curve.grad_change[..., 0])], -1),
            )
        ).assign_coords(shift_step=curve.step.values)
        for label, curve in curves.items()
    }
    found = measures.shift_difference_at_equal_loss(cosines, NONE, BATCHNORM)
    assert found == pytest.approx([np.log10(2)], abs=0.1)


def test_the_edge_is_effective_smoothness_times_step_size():
    curve = _trained(np.full(120, 3.0), _FALL)
    # beta = 3 / (length * 0.5 * 1), largest at length 1: 6, times the step size 3.
    assert 10 ** measures.edge({NONE: curve}, NONE) == pytest.approx([3])


def test_smoothness_follows_a_switched_step_size_or_knows_nothing_of_it():
    small, large = Label("none", 0.25), Label("none", 1.0)

    def found(changes):
        specs = [ImageSpec(step_size=0.5, switch_step=60, switch_size=label.setting) for label in (small, large)]
        curves = [_trained(np.full(120, change), _FALL, spec) for change, spec in zip(changes, specs)]
        return measures.follows(dict(zip((small, large), curves)), small, large)

    # The gradient changes as much over any step: beta is inverse to the step size.
    assert found((3.0, 3.0)) == pytest.approx([1])
    # It changes in proportion to the step: beta is what it is.
    assert found((0.75, 3.0)) == pytest.approx([0])
    curve = _trained(np.full(120, 3.0), _FALL, ImageSpec(step_size=0.5, switch_step=60, switch_size=0.25))
    assert measures.step_size(curve).values.tolist() == [0.5] * 60 + [0.25] * 60
    assert 10 ** measures.edge({NONE: curve}, NONE) == pytest.approx([3]), "a gap of 3 over the longest length, 1"


def test_farther_needs_the_same_trajectory_probed_farther():
    near = _trained(np.ones(120), _FALL)
    curves = {NONE: near, BATCHNORM: near}
    assert np.isnan(measures.farther(curves, NONE, BATCHNORM, near=2.0)).all()
    # Rougher only beyond what the standard network is probed at: 40 over length 4 against 1 over length 1.
    far = xr.concat(
        [
            near,
            near.isel(step_length=[0])
            .assign_coords(step_length=[4.0])
            .assign(grad_change=near.grad_change.isel(step_length=[0]).assign_coords(step_length=[4.0]) * 40),
        ],
        "step_length",
        data_vars="minimal",
    ).assign_attrs(near.attrs)
    assert 10 ** measures.farther({NONE: near, BATCHNORM: far}, NONE, BATCHNORM, near=2.0) == pytest.approx([0.1])
    row = ledger.evaluate(claims.get("fig-4-farther"), "laptop")
    assert row.verdict == "not measured yet"


def test_smoothness_that_goes_with_speed_is_a_correlation_of_1():
    labels = (NONE, BATCHNORM, NOISY)
    curves = {
        label: _trained(np.full(120, rough), _FALL).assign(accuracy=(("seed", "step"), np.full((1, 120), accuracy)))
        for label, rough, accuracy in zip(labels, (9, 1, 3), (0.2, 0.8, 0.5))
    }
    assert measures.smoothness_predicts_training(curves, labels) == pytest.approx([1])
    assert (
        measures.smoothness_predicts_training(
            curves | {NONE: curves[NONE].assign(accuracy=curves[NONE].accuracy * 4)}, labels
        )
        < 0.9
    )


def _along(losses, first):
    """A curve [seed 0] of one trained step a row of `losses`, at lengths 1 and 2 after `first`."""
    steps = np.arange(len(losses))
    landscape = ("seed", "landscape_step", "step_length"), np.array([losses], float)
    return xr.Dataset(
        {"landscape_loss": landscape, "loss": (("step", "seed"), np.array(first, float)[:, None])},
        {"step": steps, "landscape_step": steps, "step_length": [1.0, 2.0, 4.0], "seed": [0]},
    )


def test_kinks_rises_and_plateaus_by_hand():
    # A parabola bends everywhere alike, at uneven lengths, too; a kink bends at one place: its other bend is 0.5.
    parabola, kinked = [[9 + length**2 for length in (1, 2, 4)]], [[9.0, 9.0, 18.0]]
    assert measures.kink(_along(parabola, [9])).values == pytest.approx(1)
    # Slopes 0, 0 and 4.5 over gaps of 2 and 3: bends 0 and 1.5, whose median is 0.75.
    assert measures.kink(_along(kinked, [9])).values == pytest.approx(2)
    start = np.concatenate([np.full(4, 4.0), np.linspace(4, 0, 8), np.zeros(8)])
    after = start[:, None] + [-1, 0, 0] * np.ones((20, 3))
    after[-3:, 0] = [1, np.nan, 0]  # up, diverged, as high as before: two rises
    curves = {NONE: _along(after, start), BATCHNORM: _along(start[:, None] - np.ones((20, 3)), start)}
    trained = int((measures.progress(curves[NONE]) >= measures.LEFT_PLATEAU).sum())
    assert 10 < trained < 20
    assert measures.rises_difference(curves, NONE, BATCHNORM) == pytest.approx([2 / trained])
    straight = np.stack([start + 1, start + 1.9, start + 3.8], -1)
    bent = {NONE: _along(straight + np.array([0, 0, 9]), start), BATCHNORM: _along(straight, start)}
    assert measures.kink_ratio(bent, NONE, BATCHNORM)[0] > 0
    ahead = {
        NONE: _trained(np.ones(120), _FALL),
        BATCHNORM: _trained(np.ones(120), np.concatenate([_FALL[30:], np.zeros(30)])),
    }
    assert measures.plateau_difference(ahead, NONE, BATCHNORM)[0] == pytest.approx(0.25, abs=0.1)


def test_gradients_by_layer_are_in_units_of_weights_by_hand():
    dims = ("seed", "gradient_step", "layer")
    gradient, weight = [[[1.0, 8.0, 3.0], [1.0, 1.0, 1.0]]], [[[1.0, 2.0, 2.0], [1.0, 10.0, 2.0]]]
    one = xr.Dataset({"layer_gradient": (dims, gradient), "layer_weight": (dims, weight)})
    other = xr.Dataset({"layer_gradient": (dims, weight), "layer_weight": (dims, weight)})
    assert 10 ** measures.gradient_range({NONE: one}, NONE) == pytest.approx([4])  # 1, 4 and 1.5
    assert 10 ** measures.gradient_range({NONE: one}, NONE, slice(1, None)) == pytest.approx([10])
    assert 10 ** measures.gradient_range_ratio({NONE: one, BATCHNORM: other}, NONE, BATCHNORM) == pytest.approx([4])
    gone = one.assign(layer_gradient=one.layer_gradient * [0, 1, 1])
    assert measures.gradient_range({NONE: gone}, NONE) == [measures.DIVERGED]


def test_ranks_and_best_fits_by_hand():
    dims = ("mode_step", "mode", "seed")
    share = np.array([[[0.0, 0.0], [0.0, 0.0], [0.0, 0.0]], [[1.0, 1.02], [0.97, 0.4], [0.01, 0.0]]])
    curves = {NONE: xr.Dataset({"mode_share": (dims, share)}), BATCHNORM: xr.Dataset({"mode_share": (dims, share + 1)})}
    assert measures.rank(curves[NONE]).values.tolist() == [2, 1]
    assert measures.rank_difference(curves, BATCHNORM, NONE).tolist() == [1, 2]
    assert measures.off_best_fit(curves, NONE) == pytest.approx([0.03, 0.4])
    curves[NONE].mode_share[1, 0, 1] = np.nan
    assert np.isnan(measures.rank(curves[NONE]).values).tolist() == [False, True]
    assert np.isnan(measures.off_best_fit(curves, NONE)).tolist() == [False, True]


def test_what_is_left_of_the_loss_after_a_step_by_hand():
    loss = np.concatenate([np.full(100, 8.0), np.full(200, 4.0), np.full(200, 1.0)])
    curves = {NONE: xr.Dataset({"loss": (("seed", "step"), loss[None])})}
    assert 10 ** measures.loss_left_to_fall(curves, NONE, 150) == pytest.approx([4])
    assert 10 ** measures.loss_left_to_fall(curves, NONE, 10_000) == pytest.approx([1])


def test_the_main_network_is_the_deepest_that_trains_without_batchnorm(store, monkeypatch):
    late, depths = {}, experiments.specs("depth", "laptop")

    def record(depth, *accuracies):
        for spec, accuracy in zip(depths[Label("none", depth)], accuracies):
            late[records.file_name(spec)] = accuracy
            (records.COMMITTED / records.file_name(spec)).touch()

    records.COMMITTED.mkdir()
    monkeypatch.setattr(experiments, "_late_accuracy", lambda path: late[path.name])

    def depth(name, scale="laptop"):
        return {spec.depth for spec in experiments.unique([name], scale, experiments.wanted)}

    assert experiments.main_depth() is None and depth("fig-4") == {11}
    record(13, 0.5, 0.5, 0.5)
    record(16, 0.5, 0.3)
    assert experiments.main_depth() is None  # the deepest may be it, and one of its seeds is missing
    record(16, 0.5, 0.3, 0.21)
    assert experiments.main_depth() == 16
    assert depth("fig-4") == depth("fig-2", "paper") == {16} and depth("fig-4", "smoke") == {7}
    assert depth("step-size") == {11}  # no main figure
    record(16, 0.5, 0.3, 0.2)  # one seed is no better than twice chance
    assert experiments.main_depth() == 13
    record(13, 0.1, 0.5, 0.5)
    assert experiments.main_depth() is None
    record(11, 0.4, 0.4, 0.4)
    assert experiments.main_depth() == 11


def test_what_is_shown_is_of_one_network_and_switches_when_its_records_are_as_many(store, monkeypatch):
    records.COMMITTED.mkdir()
    monkeypatch.setattr(experiments, "main_depth", lambda: 16)
    wanted = experiments.unique(["fig-4"], "laptop", experiments.wanted)
    for spec in wanted:
        (records.COMMITTED / records.file_name(experiments.on_images(spec.but(depth=11), "cifar10-jpeg"))).touch()
    *first, last = wanted
    for spec in first:
        (records.COMMITTED / records.file_name(spec)).touch()
    assert {(spec.depth, spec.data) for spec in experiments.unique(["fig-4"], "laptop")} == {(11, "cifar10-jpeg")}
    (records.COMMITTED / records.file_name(last)).touch()
    assert experiments.unique(["fig-4"], "laptop") == wanted


# --- the same numbers by other code ---------------------------------------------------------


def _files(claim):
    """A row of the ledger, and the records it hangs on as h5py sees them: by norm and step size, sorted by seed."""
    row = ledger.evaluate(claims.get(claim), "laptop")
    found = {}
    for name in row.records:
        with h5py.File(records.COMMITTED / name) as file:
            arrays = {key: value[()].astype(float) for key, value in file.items() if value.dtype.kind in "fiu"}
            spec = json.loads(file.attrs["spec"])
        found.setdefault((spec["norm"], spec["step_size"]), []).append((spec["seed"], arrays, spec))
    return row, {label: [one[1:] for one in sorted(group, key=lambda one: one[0])] for label, group in found.items()}


def _last_quarter(arrays, _):
    tail = arrays["accuracy"][-(len(arrays["accuracy"]) // 4) :]
    return np.where(np.isfinite(tail), tail, 0.1).mean()


def _band(arrays, _):
    return np.ptp(arrays["landscape_loss"], -1)


def _largest_change(arrays, _):
    return arrays["grad_change"].max(-1)


def _largest_beta(arrays, spec):
    distance = arrays["step_length"] * spec["step_size"] * arrays["grad_norm"][:, None]
    return (arrays["grad_change"] / distance).max(-1)


def _moment(name):
    def log_change(arrays, _):
        values = arrays[f"activation_{name}"]
        count = len(values) // 2
        return np.log10(np.nanmedian(abs(values[1 : 2 * count : 2] - values[0 : 2 * count : 2])))

    return log_change


def _log_median(quantity):
    return lambda one, other: np.median(np.log10(quantity(*one) / quantity(*other)))


def _difference(quantity):
    return lambda one, other: quantity(*one) - quantity(*other)


@pytest.mark.parametrize(
    ("claim", "one", "other", "measure"),
    [
        ("fig-1a", ("batchnorm", 0.1), ("none", 0.1), _difference(_last_quarter)),
        ("fig-1b", ("batchnorm", 0.1), ("none", 0.1), _difference(lambda arrays, _: arrays["test_accuracy"][-1])),
        ("prose-larger-steps", ("batchnorm", 0.5), ("none", 0.5), _difference(_last_quarter)),
        ("prose-noisy-beats-standard", ("noisy", 0.1), ("none", 0.1), _difference(_last_quarter)),
        (
            "fig-3-vgg-cosine",
            ("none", 0.1),
            ("batchnorm", 0.1),
            _difference(lambda arrays, _: np.median(arrays["shift_cosine"][:, 1:])),
        ),
        ("fig-4a", ("none", 0.1), ("batchnorm", 0.1), _log_median(_band)),
        ("fig-4b", ("none", 0.1), ("batchnorm", 0.1), _log_median(_largest_change)),
        ("fig-4c", ("none", 0.1), ("batchnorm", 0.1), _log_median(_largest_beta)),
        ("prose-gradient-size-fig-4", ("none", 0.1), ("batchnorm", 0.1), _log_median(lambda a, _: a["grad_norm"])),
        ("fig-12c-l1", ("none", 0.1), ("l1", 0.1), _log_median(_largest_change)),
        ("fig-8", ("noisy", 0.1), ("none", 0.1), _difference(_moment("mean"))),
        ("fig-8-variance", ("noisy", 0.1), ("none", 0.1), _difference(_moment("var"))),
    ],
)
def test_the_ledger_agrees_with_numpy_and_h5py_alone(claim, one, other, measure):
    row, files = _files(claim)
    values = np.array([measure(*pair) for pair in zip(files[one], files[other])])
    half = stats.t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / np.sqrt(len(values))
    ours = values.mean() + np.array([0, -half, half])
    ours = 10**ours if row.claim.log else ours
    assert row.seeds == len(files[one]) == 5
    np.testing.assert_allclose([row.value, row.low, row.high], ours, rtol=2e-4)


def test_the_plain_change_of_variances_is_what_the_caption_says():
    """In the plain unit noisy BatchNorm's variances are the less stable ones; in units of themselves they are not."""
    plain, relative = (ledger.evaluate(claims.get(f"fig-8-variance{end}"), "laptop") for end in ("", "-relative"))
    assert plain.verdict == "reproduced" and relative.verdict == "not reproduced" and not relative.claim.counts


def test_a_rule_of_divergence_has_two_sides():
    claim, jitter = claims.get("prose-diverges"), np.arange(5) / 1e3
    assert ledger.verdict(claim, np.log10(0.3) + jitter, "vgg") == "reproduced"
    # A network that trains at no step size does not confirm it, nor does one that trains at 1.
    assert ledger.verdict(claim, -2 + jitter, "vgg") == "not reproduced"
    assert ledger.verdict(claim, jitter, "vgg") == "not reproduced"


def test_lemma_4_5_needs_matched_constants_for_a_logistic_loss():
    """One unit with bias, two inputs, soft labels: at gamma = 1, beta = 0 BatchNorm's best weights point elsewhere."""
    random = np.random.default_rng(3)
    x, labels = random.normal(size=(6, 2)), random.uniform(0.1, 0.9, 6)
    x -= x.mean(0)

    def loss(z):
        return np.mean(np.logaddexp(0, z) - labels * z)

    plain = optimize.minimize(lambda w: loss(x @ w[:2] + w[2]), np.zeros(3), tol=1e-14).x
    star, bias = plain[:2], plain[2]

    def best(gamma, beta):
        """The angle of the weights whose loss behind BatchNorm is smallest."""

        def at(angle):
            y = x @ [np.cos(angle), np.sin(angle)]
            return loss(gamma * y / y.std() + beta)

        grid = np.linspace(-np.pi, np.pi, 2001)
        near = grid[np.argmin([at(angle) for angle in grid])]
        return optimize.minimize_scalar(at, bounds=(near - 0.01, near + 0.01), options={"xatol": 1e-12}).x

    angle = np.arctan2(star[1], star[0])
    matched, unmatched = best((x @ star).std(), bias), best(1.0, 0.0)
    assert abs(np.sin(matched - angle)) < 1e-4 and abs(np.sin(unmatched - angle)) > 1e-2
    # From W0 = W* the lemma's right side is 0; the distance to the nearest optimum is not.
    nearest = max(star @ [np.cos(unmatched), np.sin(unmatched)], 0)
    assert star @ star - nearest**2 > 1e-5


def test_a_claim_whose_records_a_build_would_make_is_not_measured_yet_and_a_damaged_one_is_no_such_thing(monkeypatch):
    """A reader who runs one chapter has the records of its figures, and not those of every claim that they show."""
    claim = claims.get("fig-4c")

    def load(*_):
        raise results.MissingRecords("2 of 2 records are missing")

    monkeypatch.setattr(results, "load", load)
    assert "not measured yet" in pages.badges([claim], "smoke").data

    def broken(*_):
        raise Failure("a record is damaged")

    monkeypatch.setattr(results, "load", broken)
    with pytest.raises(Failure, match="damaged"):
        pages.badges([claim], "smoke")


@pytest.mark.parametrize("name", RECORDED)
def test_a_figure_of_what_nobody_has_measured_is_a_line_that_says_so(name):
    shown = pages.show(name, RECORDED[name].draw({}), {}).data
    assert f'id="figure-{name}"' in shown and "not measured yet" in shown and "<img" not in shown
