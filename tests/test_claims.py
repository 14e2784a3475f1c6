"""Claims and experiments: rules, verdicts, intervals, and the ledger they add up to."""

import html
import json
import math

import numpy as np
import pytest
import xarray as xr
from scipy import stats

from lib import (
    claims,
    experiments,
    figures,
    ledger,
    links,
    measures,
    questions,
    records,
    results,
)
from lib.chapters import ROOT
from lib.errors import UsageError
from lib.specs import LinearSpec, VGGSpec
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
        VGGSpec(step_size=0.5),
        landscape_loss=[[[3.0, 5.0], [2.0, 1.0]]],
        grad_change=[[[2.0, 12.0], [1.0, 4.0]]],
        grad_norm=[[4.0, 2.0]],
    )
    assert measures.loss_band(curve).values.tolist() == [[2.0, 1.0]]
    assert measures.grad_change(curve).values.tolist() == [[12.0, 4.0]]
    # beta = change / (length * step size * norm): 12 / (2 * 0.5 * 4) and 4 / (2 * 0.5 * 2)
    assert measures.smoothness(curve).values.tolist() == [[3.0, 2.0]]
    other = curve.assign(grad_change=curve.grad_change / 100)
    ratio = measures.log_ratio("gradient change", "one", "other")({"one": curve, "other": other})
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
    ratio = measures.linear_loss_ratio("bad", "good")({"bad": bad, "good": good})
    assert ratio == pytest.approx([np.log10(2.3 / 0.5), 0, 0])
    changes = np.ones((3, 9, 2))
    lost = changes.copy()
    lost[1, 2:] = np.nan
    curves = {name: _curve(VGGSpec(), grad_change=values) for name, values in (("good", changes), ("lost", lost))}
    assert measures.log_ratio("gradient change", "lost", "good")(curves).tolist() == [0, measures.DIVERGED, 0]


def test_a_claim_about_one_network_cites_its_data_and_seeds():
    row = ledger.evaluate(claims.get("prose-reduction-linear"), "smoke")
    assert row["data"] == "generated Gaussian data" and len(row["records"]) == 1


def test_a_claim_cites_the_records_it_hangs_on():
    row = ledger.evaluate(claims.get("fig-12b-l1"), "laptop")
    assert {name.split("-")[1] for name in row["records"]} == {"none", "l1"} and len(row["records"]) == 2 * row["seeds"]
    every = ledger.evaluate(claims.get("prose-largest-step"), "laptop")
    runs = experiments.unique(["step-size"], "laptop")
    assert len(every["records"]) == len(runs)


def test_two_orders_of_magnitude_is_seen_where_it_is_there():
    claim = claims.get("prose-two-orders")
    changes = np.random.default_rng(0).uniform(1, 1.1, (3, 9, 2))
    spec = VGGSpec()
    near = {"none": _curve(spec, grad_change=100 * changes), "batchnorm": _curve(spec, grad_change=changes)}
    far = {"none": _curve(spec, grad_change=3 * changes), "batchnorm": _curve(spec, grad_change=changes)}
    assert ledger.verdict(claim, claim.measure(near), "vgg") == "reproduced"
    assert ledger.verdict(claim, claim.measure(far), "vgg") == "not reproduced"


def test_within_needs_the_whole_interval():
    claim = claims.Claim("x", "", "", "", side="within", bound=0.8)
    near, wide, off = [0.80, 0.801, 0.799], [0.76, 0.84, 0.80], [0.70, 0.71, 0.72]
    assert [ledger.verdict(claim, np.array(v), "vgg") for v in (near, wide, off)] == ["reproduced", "partly", "not reproduced"]
    assert ledger.verdict(claim, np.array([0.81]), "vgg") == "partly"


def _late(*values):
    return xr.Dataset({"accuracy": (("seed", "step"), np.repeat(np.array(values)[:, None], 4, 1))})


def test_an_interval_that_contains_the_bound_is_undecided():
    factor, near = claims.get("fig-4a"), claims.get("acc-bn")  # above a factor of 1; within 0.02 of 0.83
    assert [factor.undecided(*ends) for ends in ((0.5, 2.0), (1.1, 2.0), (0.1, 0.9), (None, None))] == [True, False, False, False]
    assert [near.undecided(*ends) for ends in ((0.80, 0.86), (0.82, 0.84), (0.5, 0.6), (0.84, 0.9))] == [True, False, False, True]
    assert not claims.get("prose-flat-minima").undecided(0.0, 1.0)
    row = {"id": "fig-4a", "verdict": "not reproduced", "value": 0.9, "low": 0.5, "high": 2.0, "rule": "r", "seeds": 3}
    assert ledger.sentence(row).startswith("Not reproduced, undecided: 0.9 [0.5, 2]")
    assert not ledger.undecided(row | {"verdict": "reproduced", "low": 1.1}) and not ledger.undecided(row | {"id": "thm-4.1"})


def test_outcomes_are_listed_by_verdict_and_linked():
    text = ledger.outcome(["fig-4", "prose-flat"], "smoke").data
    wanted = [claim for claim in claims.CLAIMS if claim.id.startswith(("fig-4", "prose-flat"))]
    assert all(text.count(f'"conclusions.html#{claim.id}"') == 1 and html.escape(claim.paper) in text for claim in wanted)
    assert "<strong>Not testable</strong> (1)<ul><li>Smoothing may lead" in text


def test_rules_set_after_the_runs_say_so():
    assert claims.get("fig-1c-shape").rule.endswith("; set after the runs") and "after" not in claims.get("fig-4a").rule.rpartition(":")[2]


def test_steps_ratio_counts_to_the_level_and_no_farther():
    rise = np.concatenate([np.full(99, 0.1), np.full(101, 0.9)])
    curves = {
        "slow": xr.Dataset({"accuracy": (("seed", "step"), np.stack([rise, np.full(200, 0.1)]))}),
        "fast": xr.Dataset({"accuracy": (("seed", "step"), np.stack([np.full(200, 0.9), np.full(200, np.nan)]))}),
    }
    # A mean of 10 steps is above 0.5 once 5 of them are at 0.9: step 104 (from 1), against 10. The others never get there.
    assert measures.steps_ratio("slow", "fast", 0.45, window=10)(curves) == pytest.approx([np.log10(104 / 10), 0])


def test_change_at_equal_distance_by_hand():
    spec = VGGSpec(step_size=1.0)
    # Distances 1 and 2 for one, 2 and 4 for other: at 2 the changes are 6 and 3.
    curves = {
        "one": _curve(spec, grad_change=[[[3.0, 6.0]]], grad_norm=[[1.0]]),
        "other": _curve(spec, grad_change=[[[3.0, 5.0]]], grad_norm=[[2.0]]),
    }
    assert measures.change_ratio_at_distance("one", "other")(curves) == pytest.approx([np.log10(2)])


def test_early_over_late_by_hand():
    early, late = np.full((1, 3, 2), 8.0), np.full((1, 6, 2), 2.0)
    curves = {
        "one": _curve(VGGSpec(), grad_change=np.concatenate([early, late], 1)),
        "other": _curve(VGGSpec(), grad_change=np.ones((1, 9, 2))),
    }
    assert measures.early_over_late("gradient change", "one", "other")(curves) == pytest.approx([np.log10(4)])


def test_largest_step_and_sensitivity_by_hand():
    curves = {
        "none, 0.1": _late(0.5, 0.1), "none, 1": _late(0.1, 0.1), "none, 10": _late(0.1, np.nan),
        "batchnorm, 0.1": _late(0.5, 0.6), "batchnorm, 1": _late(0.4, 0.5), "batchnorm, 10": _late(0.3, 0.1),
    }  # fmt: skip
    # Seed 1 of none trains at no step size: its largest is below the smallest.
    assert measures.largest("batchnorm")(curves) - measures.largest("none")(curves) == pytest.approx([2, 2])
    assert measures.sensitivity("none", "batchnorm")(curves).tolist() == pytest.approx([0.4 - 0.2, 0.0 - 0.5])


def test_distance_from_gaussian_by_samples():
    random = np.random.default_rng(0)
    samples = {"normal": random.normal(3, 2, (2, 3, 20_000)), "halves": abs(random.normal(3, 2, (2, 3, 20_000)) - 3)}
    found = {}
    for name, values in samples.items():
        counts = np.stack([[np.histogram(row, 40)[0] for row in seed] for seed in values])
        ends = np.stack([values.min(-1), values.max(-1)], -1)
        curve = xr.Dataset(
            {"histogram": (("seed", "histogram_step", "bin"), counts), "histogram_range": (("seed", "histogram_step", "end"), ends)}
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
        {"histogram": (("seed", "histogram_step", "bin"), counts), "histogram_range": (("seed", "histogram_step", "end"), ends)}
    )
    assert measures.distribution_change(curve) == pytest.approx([0.4])  # the median; the first step does not count
    still = curve.assign(histogram_range=curve.histogram_range * 0 + [0.0, 1.0])
    assert measures.distribution_change(still) == pytest.approx([0])


def test_control_ratio_takes_the_largest_over_lengths():
    def curve(values):
        return xr.Dataset({"control_x": (("seed", "control_step", "step_length"), np.array([values], float))})

    curves = {"one": curve([[1, 100], [10, 1], [np.nan, 1]]), "other": curve([[1, 1], [1, 1], [1, 1]])}
    assert measures.control_ratio("x", "one", "other")(curves).tolist() == [2.0]


def test_claims_without_records_are_not_measured_yet(monkeypatch):
    monkeypatch.setattr(records, "find", lambda spec: None)
    results._load.cache_clear()
    for claim in ("acc-bn", "acc-standard-augmented-half"):
        row = ledger.evaluate(claims.get(claim), "laptop")
        assert row["verdict"] == "not measured yet" and row["records"] == [] and row["value"] is None
    assert ledger.evaluate(claims.get("fig-4a"), "paper")["verdict"] == "not measured yet"
    assert "not measured yet" in figures.draw("accuracy", "laptop", ids=("acc-bn",)).data
    for name, plan in figures.FIGURES.items():
        if any(isinstance(spec, VGGSpec) for group in experiments.specs(plan.experiment, "paper").values() for spec in group):
            assert "not measured yet" in figures.draw(name, "paper")._repr_html_()
    assert ledger.summary("paper").count("not measured yet") == len(ledger.HEADLINES)
    for widget, experiment in ((NoiseExplorer, "noise-strength"), (LandscapeExplorer, "fig-11")):
        assert "not measured yet" in explore(widget, experiment, "paper").data
    results._load.cache_clear()
    assert experiments.on_demand("accuracy", "smoke", "cpu") and not experiments.on_demand("accuracy", "laptop", "cuda")
    assert experiments.on_demand("fig-4", "paper", "cuda") and experiments.on_demand("fig-10", "paper", "cpu")


def test_every_claim_leads_to_a_figure_that_is_drawn(entries):
    for claim in claims.CLAIMS:
        if not claim.experiment:
            continue
        page, _, anchor = links.figure(claim.id).partition("#figure-")
        text = (ROOT / "book" / page.replace(".html", ".md")).read_text()
        assert f'figures.draw("{anchor}"' in text, claim.id
    assert links.figure("fig-4b") == "smoothing.html#figure-fig-4" and links.figure("thm-4.1") == "theory.html#theory-verdicts"
    assert "(not-settled)=" in (ROOT / "book/conclusions.md").read_text() and links.figure("prose-flat-minima").endswith("#not-settled")
    assert 'href="smoothing.html#figure-fig-4"' in ledger.page(entries, links.figure).data


def test_questions_are_answered_by_the_claims_own_measure():
    rows = questions.table("smoke")
    assert len(rows) == len(questions.ANSWERS) >= 20
    # At smoke scale no l_p network leaves chance, and a plateau is no landscape.
    assert set(rows["same verdict"]) <= {"yes", "no"} and rows["as assumed"].str.contains(": ").all()
    assert set(rows[~rows["otherwise"].str.contains(": ")]["otherwise"]) == {"not testable"}
    beta = rows[rows["other answer"] == "that of the farthest"].iloc[0]
    curves = results.load("variants", "smoke")
    expected = measures.log_ratio("effective smoothness", "none", "batchnorm")(
        {name: curves[f"{name}, as assumed"].isel(step_length=[-1]) for name in ("none", "batchnorm")}
    )
    assert beta["otherwise"].startswith(ledger.measured(claims.get("fig-4c"), expected))


def test_claims_are_judged_at_every_width():
    rows, curves = questions.widths("smoke").set_index("claim"), results.load("width", "smoke")
    expected = {
        f"width {width}": ledger.measured(
            claims.get("fig-4b"), measures.log_ratio("gradient change", f"none, {width}", f"batchnorm, {width}")(curves)
        )
        for width in ("0.125", "0.5")
    }
    assert len(set(expected.values())) == 2 and list(rows.columns) == ["measured", *expected]
    assert all(rows.loc["fig-4b", name].startswith(f"{value}: ") for name, value in expected.items())
    # The figure has the same ratios, one line a width.
    axes = figures.FIGURES["width"].draw(curves).axes[1]
    points = np.stack([line.get_ydata() for line in axes.lines if line.get_marker() == "o"])
    for place, width in enumerate(("0.125", "0.5")):
        values = 10 ** measures.log_ratio("gradient change", f"none, {width}", f"batchnorm, {width}")(curves)
        np.testing.assert_allclose(np.sort(points[:, place]), np.sort(values))


def test_what_the_book_says_of_widths_is_in_the_records():
    curves = results.whole("width", "laptop")
    assert all(curve.sizes["seed"] == 5 for curve in curves.values())
    rows = questions.widths("laptop").set_index("claim").drop(columns="measured")
    assert all(rows.loc[f"fig-4{panel}", "width 1"].endswith("]: reproduced") for panel in "abc")
    assert all(text.endswith("not reproduced") for claim in ("prose-two-orders", "prose-early-a", "prose-early-b") for text in rows.loc[claim])
    for quantity in ("loss band", "gradient change", "effective smoothness"):
        for width in ("0.125", "0.25", "0.5", "1"):
            assert 1 < 10 ** measures.log_ratio(quantity, f"none, {width}", f"batchnorm, {width}")(curves).mean() < 3
    assert measures.steps_ratio("none, 0.125", "none, 1", 2 * measures.CHANCE)(curves).min() > 0  # the plateau


def test_widths_without_records_have_no_table(monkeypatch):
    load = results.load
    monkeypatch.setattr(results, "load", lambda *place: dict(list(load(*place).items())[:1]))
    assert questions.widths("smoke").empty


def test_questions_lead_to_the_ledger_and_are_counted():
    page = questions.show("smoke").data
    rows = questions.table("smoke")
    assert page.count("href=") == len(rows) and '<a href="conclusions.html#fig-4c">fig-4c</a>' in page
    assert f"changes the verdict in {(rows['same verdict'] == 'no').sum()} of {len(rows)} rows (0 not" in page


def test_probe_errors_are_medians_and_extremes_in_words():
    errors, dims = np.array([[[1e-6, 3e-6]], [[4e-3, 2e-3]]]), ("precision", "seed", "step_length")
    record = xr.Dataset(
        {"error_beta": (dims, errors), "error_loss_change": (dims, 10 * errors)}, {"precision": ["float32", "tf32"]}
    )
    assert measures.probe_errors({"none": record}).to_dict("records") == [
        {"network": "none", "relative error of the": "change of the loss", "float32": "2e-05 (3e-05)", "tf32": "3e-02 (4e-02)"},
        {"network": "none", "relative error of the": "effective smoothness", "float32": "2e-06 (3e-06)", "tf32": "3e-03 (4e-03)"},
    ]


def test_every_claim_has_its_own_id_and_a_known_experiment():
    ids = [claim.id for claim in claims.CLAIMS]
    assert len(ids) == len(set(ids))
    assert {claim.experiment for claim in claims.CLAIMS if claim.measure} <= set(experiments.EXPERIMENTS)


@pytest.fixture(scope="module")
def entries():
    return ledger.rows("smoke")


def test_every_claim_bears_on_a_thesis(entries):
    assert {ledger.theme(row["id"]) for row in entries} == set(ledger.THEMES)
    assert ledger.theme("fig-5-linear-batchnorm") != ledger.theme("fig-5-linear-l1")
    table = ledger.themes(entries).set_index("the paper says")
    numbers = table.replace("", "0").astype(int)
    sums = numbers.sum().to_dict()
    assert sums.pop("undecided") == sum(map(ledger.undecided, entries)) > 0
    assert sums == {verdict: number for verdict, number in ledger.count(entries).items() if number}


def test_ledger_has_every_key_and_nothing_reproduced_at_smoke_scale(entries):
    assert all(KEYS <= set(row) for row in entries)
    json.dumps(entries, allow_nan=False)
    empirical = [row for row in entries if row["scale"] == "smoke"]
    assert len(empirical) >= 50
    # Two seeds are never enough.
    assert {row["verdict"] for row in empirical} <= {"partly", "not reproduced", "not testable"}
    assert {row["verdict"] for row in entries} <= set(ledger.VERDICTS)
    assert sum(ledger.count(entries).values()) == len(entries)


def test_ledger_reads_as_table_and_page(entries):
    table = ledger.table(entries)
    assert len(table) == len(entries) and table.verdict.notna().all()
    page = ledger.page(entries, str).data
    assert all(f'id="{row["id"]}"' in page for row in entries)
    assert ledger.lines(["fig-4a"], "smoke").startswith("fig-4a: ")
    assert "Not measured yet." == ledger.sentence({"value": None, "verdict": "not measured yet"})


def test_paper_scale_is_the_papers_protocol():
    spec = experiments.specs("fig-4", "paper")["batchnorm"][0]
    assert (spec.width, spec.steps, spec.batch_size, spec.step_size, spec.depth, spec.augment) == (
        1.0, 15_000, 128, 0.1, 11, False,
    )  # fmt: skip
    assert spec.step_lengths[0] == 0.5 and spec.step_lengths[-1] == 4
    linear = experiments.specs("fig-10", "laptop")["none"][0]
    assert (linear.layers, linear.dim, linear.samples, linear.steps, linear.step_size) == (25, 10, 1_000, 10_000, 1e-6)
    assert linear.step_lengths[0] == 1 / 100 and linear.step_lengths[-1] == 30
    noise = experiments.specs("fig-2", "paper")["noisy"][0].noise
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


@pytest.mark.parametrize("name", figures.FIGURES)
def test_a_figure_with_a_single_curve_recorded_is_drawn_or_says_so(monkeypatch, name):
    load = results.load
    monkeypatch.setattr(results, "load", lambda *place: dict(list(load(*place).items())[:1]))
    page = figures.draw(name, "smoke")._repr_html_()
    assert ("not measured yet" in page) == (figures.FIGURES[name].whole and len(experiments.specs(figures.FIGURES[name].experiment, "smoke")) > 1)


def test_answers_on_different_images_are_not_compared(monkeypatch):
    answer = next(answer for answer in questions.ANSWERS if answer.baseline)
    assert questions.evaluate(answer, "smoke")["same verdict"] in ("yes", "no")
    whole = results.whole
    monkeypatch.setattr(
        results, "whole",
        lambda name, *place: {label: curve.assign_attrs(data=name) for label, curve in whole(name, *place).items()},
    )  # fmt: skip
    assert questions.evaluate(answer, "smoke")["same verdict"] == "not measured yet"


def test_the_landing_page_names_the_seeds():
    (row,) = [line for line in (ROOT / "book" / "index.md").read_text().splitlines() if line.startswith("| `laptop`")]
    curves = experiments.specs("fig-4", "laptop")["none"], experiments.specs("fig-10", "laptop")["none"]
    assert f"{len(curves[0])} seeds;" in row and f"{curves[1][0].seeds} seeds " in row


def test_older_records_have_empty_axes_and_are_joined_with_newer_ones(store):
    specs = experiments.specs("accuracy", "smoke")["none"]
    older = records.make(specs[0])
    records._write(older.assign_coords(precision=["float32"]), records.CACHE / records.file_name(specs[0]))
    records.make(specs[1])
    joined = results.load("accuracy", "smoke")["none"]
    assert joined.sizes["seed"] == 2 and "precision" not in joined.coords


def test_provenance_names_scale_data_seeds_and_command():
    text = results.provenance(results.load("fig-4", "smoke"))
    for part in ("smoke scale", "2 seeds", "not CIFAR-10", "torch", "python -m lib run fig-4 --scale smoke"):
        assert part in text
    assert "VGG at 0.125x to 0.5x width" in results.provenance(results.load("width", "smoke"))
    curves = results.load("accuracy", "smoke")
    first, *others = curves
    fewer = {first: curves[first].isel(seed=[0])} | {label: curves[label] for label in others}
    for some in (fewer, dict(reversed(fewer.items()))):
        assert ", 1 to 2 seeds," in results.provenance(some)
    alone = {first: curves[first].isel(seed=[0]).assign_coords(seconds=("seed", [90.0]))}
    assert ", 1 seed," in results.provenance(alone) and "1.5 min in all" in results.provenance(alone)
    one, other = (curve.assign_attrs(code=code) for curve, code in zip(results.load("fig-4", "smoke").values(), ("a and b", "b and c")))
    assert "code a and b and c," in results.provenance({"none": one, "batchnorm": other})


@pytest.mark.parametrize("experiment, expected", [("accuracy", [90, 90]), ("fig-10", [45, 45])])
def test_a_record_of_many_seeds_shares_its_time_among_them(monkeypatch, experiment, expected):
    monkeypatch.setattr(results, "_record", lambda spec, device: records.obtain(spec, device).assign_attrs(seconds=90.0))
    curves = results._load.__wrapped__(experiment, "smoke", "cpu")
    assert curves["none"].seconds.values.tolist() == expected


def test_unknown_names_are_named():
    with pytest.raises(UsageError, match="experiment is 'fig-99'.*fig-10"):
        experiments.specs("fig-99", "smoke")
    with pytest.raises(UsageError, match="scale is 'huge'.*laptop"):
        experiments.specs("fig-4", "huge")
    with pytest.raises(UsageError, match="claim is 'fig-99'"):
        claims.get("fig-99")


def test_everything_the_laptop_book_shows_of_vgg_is_committed():
    names = [name for name in experiments.EXPERIMENTS if experiments.on_demand(name, "laptop", "cpu")]
    needed = [spec for spec in experiments.unique(names, "laptop") if isinstance(spec, VGGSpec)]
    missing = [spec.canonical() for spec in needed if not (records.COMMITTED / records.file_name(spec)).is_file()]
    assert not missing


def test_the_readme_holds_the_summary_of_the_records():
    readme = (records.LIB.parent / "README.md").read_text()
    assert ledger.summary("laptop") in readme, "put the output of `python -m lib summary` into README.md"
