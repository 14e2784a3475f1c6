"""Measuring a network of one's own: one call, and a recorder in a plain loop."""

import copy

import numpy as np
import pytest
import torch
import xarray as xr
from torch import nn
from torch.nn import functional as F

from lib import figures, probes, records
from lib.errors import Failure, UsageError
from lib.figures import style
from lib.paper import measures, results
from lib.probes.controls import top_eigenvalue
from lib.probes.measuring import WHAT

STEP = 0.1


def network(seed=0, hidden=8):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(5, hidden), nn.BatchNorm1d(hidden), nn.Dropout(0.3), nn.ReLU(), nn.Linear(hidden, 3))


def batch(step):
    generator = torch.Generator().manual_seed(step)
    return torch.randn(16, 5, generator=generator), torch.randint(0, 3, (16,), generator=generator)


def bits(model):
    return [*(value.clone() for value in model.state_dict().values()), torch.get_rng_state()]


def test_one_call_gives_what_each_probe_gives():
    model = network().double()
    x, y = batch(0)
    x = x.double()
    before = bits(model)
    found = probes.measure(model, F.cross_entropy, (x, y), STEP, WHAT, (0.5, 3.0), step=7)
    assert all(torch.equal(a, b) for a, b in zip(before, bits(model), strict=True))
    point = probes.Point.at(model, F.cross_entropy, x, y, STEP)
    for name, values in (probes.landscape(point, (0.5, 3.0)) | probes.covariate_shift(point)).items():
        np.testing.assert_array_equal(found[name][0], values)
    assert found.top_eigenvalue.item() == top_eigenvalue(point)
    assert found.loss.item() == F.cross_entropy(model(x), y).item()  # with the draws of the same pass
    assert found.layer.values.tolist() == ["0", "4"] and found.step_length.values.tolist() == [0.5, 3.0]
    assert {found[f"{name}_step"].item() for name in WHAT} == {7} and found.step_size.item() == STEP


def test_a_network_of_ones_own_is_drawn_beside_the_books():
    mine = probes.measure(network(), F.cross_entropy, batch(0), STEP, WHAT)
    curves = {**results.load("fig-4", "laptop"), "mine": mine}
    for draw in (figures.landscape, figures.edge, figures.predictiveness):
        figure = draw(curves)
        assert "mine" in {label.norm for panel in figure.panels for label in panel.labels}
        figure.canvas.draw()
    shown = figures.shift({**results.load("fig-3-vgg", "laptop"), "mine": mine})
    assert {panel.title for panel in shown.panels} == {"layer 2"}  # of two layers
    assert figures.losses({"mine": mine}).panels[0].series[0].rows == pytest.approx(mine.loss.values[None])
    edge = figures.edge({"mine": mine}).panels[0].series
    assert edge[0].rows.item() == pytest.approx(measures.smoothness(mine).item() * STEP)
    assert edge[1].rows.item() == pytest.approx(mine.top_eigenvalue.item() * STEP)


def test_many_unknown_networks_can_be_told_apart():
    labels = [style.Label(f"mine {number}") for number in range(20)]
    found = style.looks(labels)
    assert len({(look["color"], look["marker"]) for look in found.values()}) == len(labels)
    assert style.name(style.Label("$L^2$ norm"), plain=True) == "L^2 norm"


def loop(steps, recorder=None, state=None, first=0, size=lambda step: STEP):
    """A plain training loop with a schedule, momentum and dropout; gives the model and everything to go on from."""
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=STEP, momentum=0.9)
    torch.manual_seed(1)
    if state:
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(copy.deepcopy(state["optimizer"]))  # torch would go on in the tensors of the state
        torch.set_rng_state(state["random"])
    for step in range(first, steps):
        x, y = batch(step)
        optimizer.param_groups[0]["lr"] = size(step)
        if recorder is not None:
            recorder(step, model, F.cross_entropy, (x, y), size(step))
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        optimizer.step()
    saved = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "random": torch.get_rng_state()}
    return model, copy.deepcopy(saved)


EVERY = {"landscape": 2, "shift": 3, "sharpness": 5}


def test_a_recorder_changes_nothing_and_resumes_bit_for_bit(tmp_path, capsys):
    plain, _ = loop(8)
    whole = probes.Recorder(tmp_path / "whole.nc", EVERY)
    watched, _ = loop(8, whole)
    assert all(torch.equal(a, b) for a, b in zip(plain.state_dict().values(), watched.state_dict().values()))
    # Stopped after step 6, with a checkpoint from before step 4: what the file has of later steps is measured anew.
    first = probes.Recorder(tmp_path / "parts.nc", EVERY)
    _, state = loop(4, first)
    loop(7, first, state, 4)
    again = probes.Recorder(str(tmp_path / "parts.nc"), EVERY)
    resumed, _ = loop(8, again, state, 4)
    assert "3 of 6 steps are measured anew" in capsys.readouterr().err
    assert all(torch.equal(a, b) for a, b in zip(plain.state_dict().values(), resumed.state_dict().values()))
    xr.testing.assert_identical(again.dataset(), whole.dataset())
    xr.testing.assert_identical(records.measured(tmp_path / "parts.nc"), whole.dataset())
    assert whole.dataset().landscape_step.values.tolist() == [0, 2, 4, 6]
    assert whole.dataset().step.values.tolist() == [0, 2, 3, 4, 5, 6]
    with xr.open_dataset(tmp_path / "parts.nc", engine="h5netcdf") as by_xarray:
        xr.testing.assert_equal(by_xarray, whole.dataset())


def test_what_is_recorded_is_what_a_call_measures_there():
    recorder = probes.Recorder(every=4)
    loop(9, recorder)
    model, _ = loop(8)
    alone = probes.measure(model, F.cross_entropy, batch(8), STEP, step=8)
    last = recorder.dataset().isel({axis: [-1] for axis in ("step", "landscape_step", "shift_step")})
    xr.testing.assert_equal(last, alone)


def test_a_schedule_of_step_sizes_is_drawn_with_its_own():
    recorder = probes.Recorder(every=EVERY)
    loop(7, recorder, size=lambda step: STEP / (1 + step))
    found = recorder.dataset()
    assert "step_size" not in found.attrs
    sizes = STEP / (1 + found.landscape_step)
    beta = found.grad_change / (found.step_length * sizes * found.grad_norm)
    np.testing.assert_allclose(measures.smoothness(found), beta.max("step_length"), rtol=1e-6)
    edge = figures.edge({"mine": found}).panels[0].series
    np.testing.assert_allclose(edge[0].rows[0], beta.max("step_length") * sizes, rtol=1e-6)
    np.testing.assert_allclose(edge[1].rows[0], found.top_eigenvalue * STEP / (1 + found.sharpness_step), rtol=1e-6)
    at = figures.predictiveness({"mine": found}, moments=(1.0,)).panels[0].series[0]
    np.testing.assert_allclose(at.x, found.step_length * STEP / 7)


def test_a_file_of_another_network_is_refused_and_kept(tmp_path):
    path = tmp_path / "run.nc"
    probes.Recorder(path)(0, network(), F.cross_entropy, batch(0), STEP)
    kept = path.read_bytes()
    with pytest.raises(UsageError, match=r"run.nc holds measurements of another network.*another path"):
        probes.Recorder(path)(0, network(hidden=9), F.cross_entropy, batch(0), STEP)
    with pytest.raises(UsageError, match=r"step lengths"):
        probes.Recorder(path, step_lengths=(1.0,))(10, network(), F.cross_entropy, batch(0), STEP)
    assert path.read_bytes() == kept
    path.write_bytes(kept[:-100] + b"x" + kept[-99:])
    with pytest.raises(Failure, match=r"run.nc is not a readable recording.*another path"):
        probes.Recorder(path)


def test_layers_that_thaw_during_training_are_refused():
    model, recorder = network(), probes.Recorder(every=1)
    model[0].weight.requires_grad_(False)
    model[0].bias.requires_grad_(False)
    recorder(0, model, F.cross_entropy, batch(0), STEP)
    model[0].weight.requires_grad_(True)
    with pytest.raises(UsageError, match="layers are others"):
        recorder(1, model, F.cross_entropy, batch(1), STEP)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"what": ("landscape", "beauty")}, "what is 'beauty'.*landscape, shift, sharpness"),
        ({"what": ()}, "what is empty"),
        ({"step_lengths": ()}, "step_lengths"),
        ({"step_lengths": (1.0, 0.5)}, "step_lengths.*rise"),
        ({"step_lengths": (0.0, 1.0)}, "step_lengths is 0.0"),
        ({"step": -1}, "step is -1"),
        ({"step_size": 0}, "step_size is 0"),
        ({"batch": torch.ones(16, 5)}, "batch is a Tensor.*pair"),
    ],
)
def test_bad_arguments_are_named_before_any_work(options, named):
    def loss(output, y):
        raise AssertionError("too late")

    asked = {"model": network(), "loss": loss, "batch": batch(0), "step_size": STEP} | options
    with pytest.raises(UsageError, match=named):
        probes.measure(**asked)


def test_a_recorder_names_what_it_cannot_take(tmp_path):
    with pytest.raises(UsageError, match=r"every\['shift'\] is 0"):
        probes.Recorder(every={"shift": 0})
    with pytest.raises(UsageError, match="what is 'beauty'"):
        probes.Recorder(every={"beauty": 1})
    recorder = probes.Recorder(every=2)
    with pytest.raises(UsageError, match="nothing has been measured"):
        recorder.dataset()
    recorder(3, network(), F.cross_entropy, batch(3), STEP)
    with pytest.raises(UsageError, match="step is 3, but 3 came before"):
        recorder(3, network(), F.cross_entropy, batch(3), STEP)
