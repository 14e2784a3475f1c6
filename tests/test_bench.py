"""The benchmarks' counterparts compute what the library computes; no test asserts a time."""

import itertools
import json

import numpy as np
import pytest
import torch
from scipy.stats import ks_2samp
from torch.nn import functional as F

from lib import probes
from lib.bench import bench, peers, plain
from lib.cli import main
from lib.data import gaussian_regression, load_images
from lib.errors import Failure
from lib.models import deep_linear, moments, vgg
from lib.norms import ActivationNoise
from lib.specs import ImageSpec, LinearSpec, Noise

SPEC = ImageSpec(norm="batchnorm", width=1 / 16, depth=7, precision="float64", train_images=64, batch_size=16)


@pytest.fixture
def network():
    model = vgg(SPEC).train()
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(16, 3, 32, 32, generator=generator, dtype=torch.float64)
    y = torch.randint(0, 10, (16,), generator=generator)
    return model, x, y


def test_plain_probes_find_the_same(network):
    model, x, y = network
    point = probes.Point.at(model, F.cross_entropy, x, y, 0.1)
    found = probes.landscape(point, bench.LENGTHS)
    usual = plain.landscape(model, F.cross_entropy, x, y, 0.1, bench.LENGTHS)
    np.testing.assert_allclose([found["landscape_loss"].numpy(), found["grad_change"].numpy()], usual, rtol=1e-9)
    l2 = probes.covariate_shift(point)["shift_l2"]
    np.testing.assert_allclose(l2[1:].numpy(), plain.covariate_shift(model, F.cross_entropy, x, y, 0.1), rtol=1e-8)


def test_plain_linear_probes_find_the_same():
    spec = LinearSpec(norm="batchnorm", layers=5, dim=4, samples=40, seeds=1, step_lengths=bench.LENGTHS)
    problem = moments.LinearProblem(spec)
    model, (x, y) = deep_linear(spec, 0), gaussian_regression(0, spec.samples, spec.dim)

    def squared(z, y):
        return (z - y).square().sum()

    losses, changes, _ = moments.landscape(problem, problem.weights, problem.gradient(problem.weights)[1])
    usual = plain.landscape(model, squared, x, y, spec.step_size, spec.step_lengths)
    np.testing.assert_allclose([losses[:, 0].numpy(), changes[:, 0].numpy()], usual, rtol=1e-6)
    gradients, found = bench._functional_landscape(model, squared, x, y, spec)()
    np.testing.assert_allclose(found.numpy(), usual[0], rtol=1e-9)
    assert gradients.keys() == dict(model.named_parameters()).keys()


def test_plain_noise_is_as_strong():
    noise, a = Noise(), torch.full((2, 20_000), 2.0)  # of every channel two values, so that all of the noise varies
    torch.manual_seed(0)
    ours, usual = ActivationNoise(noise, seed=0)(a), plain.ActivationNoise(noise)(a)
    assert ks_2samp(ours[0], usual[0]).pvalue > 1e-3
    assert ks_2samp(ours[0] - ours[1], usual[0] - usual[1]).pvalue > 1e-3


def test_plain_loop_trains():
    torch.manual_seed(0)
    model = vgg(SPEC.but(precision="float32")).train()
    source = plain.batches(load_images("synthetic"), 32, workers=0)
    losses = plain.steps(model, torch.optim.SGD(model.parameters(), 0.1), source, "cpu", 12)
    assert np.mean(losses[-4:]) < np.mean(losses[:4])


def test_every_item_runs(monkeypatch):
    monkeypatch.setattr(bench, "WIDTH", 1 / 32)
    monkeypatch.setattr(bench, "available", lambda: "synthetic")
    named = []
    for item in itertools.chain(
        bench._linear_items("cpu"), bench._vgg_items("cpu", steps=1), bench._cost_items("cpu", steps=1)
    ):
        item.ours()
        item.plain()
        named.append((item.name, item.against))
    assert len(set(named)) == len(named)  # no row twice


def test_runs_side_by_side_have_a_thread_each(monkeypatch):
    monkeypatch.setattr(bench, "WIDTH", 1 / 32)
    usual = torch.get_num_threads()
    (item,) = bench._side_by_side("cpu", steps=1)  # exhausted: its processes have ended
    assert (item.per_ours, item.per_plain) == (2, 1) and torch.get_num_threads() == usual
    items = bench._side_by_side("cpu", steps=1)
    item = next(items)
    item.ours(), item.plain()
    assert torch.get_num_threads() == 2
    items.close()
    assert torch.get_num_threads() == usual


def test_comparison_is_a_ratio_by_round(monkeypatch):
    # Warm-up of both sides, then rounds of (ours, plain): 3 calls of ours fill the least time, one of plain.
    clock = iter([0.01, 0.05, *itertools.chain.from_iterable([(0.03, 0.06), (0.06, 0.12), (0.03, 0.12)])])

    def seconds(function, device, calls=1):
        for _ in range(calls):
            function()
        return next(clock) / calls

    monkeypatch.setattr(bench, "_seconds", seconds)
    calls = {"ours": 0, "plain": 0}

    def side(name):
        return lambda: calls.__setitem__(name, calls[name] + 1)

    item = bench.Item("x", "y", side("ours"), side("plain"), per_ours=2, flops=4e9)
    row = bench.compare(item, "cpu", 3, {torch.float32: 1e12})
    assert calls == {"ours": 1 + 1 + 9, "plain": 1 + 1 + 3}
    assert row["milliseconds"] == pytest.approx(5) and row["plain_milliseconds"] == pytest.approx(120)
    assert (
        row["ratio"] == pytest.approx(12)
        and row["high"] == pytest.approx(18)
        and row["bound_milliseconds"] == pytest.approx(2)
    )


def test_saved_bytes_are_the_tensors_kept():
    x = torch.randn(100, requires_grad=True)
    assert bench._saved_bytes(lambda: x.exp()) == 400


def test_command_prints_and_keeps_everything(tmp_path, monkeypatch, capsys):
    items = (bench.Item("a", "b", lambda: None, lambda: None),)
    monkeypatch.setattr(bench, "_linear_items", lambda device: items)
    monkeypatch.setattr(bench, "_vgg_items", lambda device: ())
    monkeypatch.setattr(bench, "_cost_items", lambda device: ())
    monkeypatch.setattr(bench, "_side_by_side", lambda device: ())
    row = {"what": "w", "axis": "width", "value": 1, "milliseconds": 1.0, "megabytes": 2.0}
    monkeypatch.setattr(bench, "growth", lambda device: [row])
    monkeypatch.setattr(bench, "matrix_rate", lambda dtype, device: 1e12)
    monkeypatch.setattr(bench.save, "__defaults__", (tmp_path / "kept.json",))
    assert main(["bench", "--rounds", "2", "--json", "--save"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed == bench.read(tmp_path / "kept.json") and printed["machine"]["rounds"] == 2
    assert bench.table(printed).what.tolist() == ["a"] and bench.memory(printed).megabytes.tolist() == ["2.0"]
    assert main(["bench", "--rounds", "1"]) == 2
    with pytest.raises(Failure, match="lib bench --save"):
        bench.read(tmp_path / "none.json")


def test_kept_benchmark_reads():
    result = bench.read()
    assert bench.machine(result) and len(bench.table(result)) == len(result["items"]) > 20


def test_peers_that_are_not_installed_say_so(monkeypatch):
    def missing(library):
        raise peers.PackageNotFoundError(library)

    monkeypatch.setattr(peers, "version", missing)
    monkeypatch.setattr(peers, "_peers", lambda: [peers.Peer("other", "a", "b", lambda: 1.0, lambda: 1.0, "why")])
    rows = peers.compare(1)
    assert peers.table(rows).theirs.tolist() == ["not installed"]
    monkeypatch.setattr(peers, "version", lambda library: "1.2")
    row = peers.table(peers.compare(1)).iloc[0]
    assert (row.library, row.theirs, row.ours, row.why) == ("other 1.2", "1", "1", "why")


def test_kept_peers_agree_where_they_measure_the_same():
    rows = peers.read()
    assert {row["library"] for row in rows} == {"curvlinops-for-pytorch", "pyhessian", "loss-landscapes"}
    for row in rows:
        agree = row["theirs"] == pytest.approx(row["ours"], rel=1e-2)
        assert agree == row["why"].startswith("the same"), row
