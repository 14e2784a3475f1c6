"""Training: determinism, resumption, divergence, and what the measurements mean."""

import io
import platform
import time

import numpy as np
import pytest
import torch
import xarray as xr
from torch.nn import functional as F

from lib import data, files, probes
from lib.errors import UsageError
from lib.models import moments, resnet, vgg
from lib.records import layout
from lib.runs import batches, problems, settings, training
from lib.specs import ImageSpec, LinearSpec

TINY = ImageSpec(
    norm="noisy",
    width=1 / 16,
    depth=7,
    data="synthetic",
    train_images=100,
    batch_size=24,
    steps=7,
    precision="float64",
    step_lengths=(0.5, 2.0),
    landscape_every=3,
    shift_every=3,
    moments_every=3,
    histogram_every=3,
    units=2,
    eval_every=3,
    eval_images=50,
)
LINEAR = LinearSpec(
    layers=5, dim=4, samples=40, steps=9, seeds=2, step_size=1e-3, landscape_every=4, shift_every=4, histogram_every=4
)


def test_a_record_has_the_dimensions_it_should():
    run = training.run(TINY)
    assert dict(run.sizes) == {
        "step": 7,
        "eval_step": 4,
        "landscape_step": 3,
        "step_length": 2,
        "shift_step": 3,
        "layer": 7,
        "moments_step": 5,
        "norm_layer": 6,
        "unit": 2,
        "histogram_step": 3,
        "bin": layout.BINS,
        "end": 2,
    }
    assert run.moments_step.values.tolist() == [0, 1, 3, 4, 6]
    assert run.eval_step.values.tolist() == [0, 3, 6, 7]
    assert all(np.isfinite(run[name]).all() for name in run.data_vars)
    assert (run.histogram.sum("bin") > 0).all()


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"momentum": 0.9},
        {"affine": False},
        {"placement": "after"},
        {"architecture": "resnet", "depth": 8},
        {"switch_step": 3, "switch_size": 0.7},
    ],
)
def test_training_is_plain_gradient_descent(changes):
    """The loop's losses are those of a loop written out here, with torch.optim.SGD and no probes."""
    spec = TINY.but(norm="batchnorm", shift_every=0, moments_every=0, histogram_every=0, **changes)
    model = (resnet if changes.get("architecture") else vgg)(spec).train()
    images = data.load_images("synthetic")
    normalize = images.normalizer(torch.float64)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.SGD(trained, lr=spec.step_size, momentum=spec.momentum)
    losses = []
    for step in range(spec.steps):
        if step == changes.get("switch_step"):
            optimizer.param_groups[0]["lr"] = changes["switch_size"]
        x, y = batches.batch(spec, images, step)
        optimizer.zero_grad()
        loss = F.cross_entropy(model(normalize(x)), y)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    np.testing.assert_allclose(training.run(spec).loss, losses, rtol=1e-6)


@pytest.mark.parametrize("norm", ["none", "batchnorm"])
def test_bfloat16_leaves_the_curve_where_it_was(norm):
    """Over 300 steps the mean of the loss in bfloat16 is within the seeds' spread of the one in float32."""
    base = ImageSpec(norm=norm, width=1 / 16, depth=7, data="synthetic", train_images=1_000, batch_size=32, steps=300)
    single, half = (
        np.array(
            [training.run(base.but(precision=precision, seed=seed)).loss.values[-100:].mean() for seed in range(3)]
        )
        for precision in ("float32", "bfloat16")
    )
    assert not np.array_equal(single, half)
    assert abs((half - single).mean()) < max(np.ptp(single), 0.05)


def test_controls_do_not_change_training():
    spec = ImageSpec(
        norm="batchnorm",
        width=1 / 32,
        depth=7,
        data="synthetic",
        train_images=100,
        batch_size=24,
        steps=5,
        precision="float64",
        step_lengths=(0.5, 2.0),
    )
    run = training.run(spec.but(controls_every=2, precision_every=4))
    assert run.loss.equals(training.run(spec).loss)
    assert all(np.isfinite(run[name]).all() for name in run.data_vars if name.startswith("control_"))
    assert run.error_beta.sizes == {"precision_step": 2, "precision": 3, "step_length": 2}


def test_probes_do_not_change_training():
    bare = TINY.but(landscape_every=0, shift_every=0, moments_every=0, histogram_every=0, eval_every=0)
    assert training.run(bare).loss.equals(training.run(TINY).loss)


def test_a_probe_sees_the_steps_own_batch_and_noise():
    run = training.run(TINY.but(step_lengths=(1e-9, 1.0)))
    # At almost no distance the loss is the step's own, noise and all.
    own = run.loss.sel(step=run.landscape_step.values).values
    np.testing.assert_allclose(run.landscape_loss.isel(step_length=0), own, rtol=1e-6)
    assert (run.grad_change.isel(step_length=0) < 1e-5).all()


def test_a_probe_goes_as_far_as_its_steps_own_size():
    """Where the step size is switched, a probe sees the weights of the run that is not, and longer steps."""
    plain = TINY.but(shift_every=0, step_lengths=(1.0, 7.0))
    switched = training.run(plain.but(switch_step=3, switch_size=0.7, step_lengths=(1.0,)))
    plain = training.run(plain)
    assert plain.landscape_step.values.tolist() == [0, 3, 6]
    for name in ("landscape_loss", "grad_change"):
        here, there = switched[name].values, plain[name].values
        np.testing.assert_allclose(here[0, 0], there[0, 0], rtol=1e-12)
        np.testing.assert_allclose(here[1, 0], there[1, 1], rtol=1e-9)
        assert abs(here[2, 0] / there[2, 1] - 1) > 1e-3, "by then the weights are others"


def test_an_epoch_has_every_image_at_most_once_and_seeds_differ():
    images = data.load_images("synthetic")
    first = [batches._epoch_order(0, epoch, 100, len(images.train_x)) for epoch in (0, 1)]
    other = batches._epoch_order(1, 0, 100, len(images.train_x))
    assert sorted(first[0].tolist()) == sorted(first[1].tolist()) == sorted(other.tolist())
    assert len(set(first[0].tolist())) == 100
    assert not torch.equal(*first) and not torch.equal(first[0], other)


def test_augmentation_crops_and_flips_whole_images():
    x = torch.arange(1, 32 * 32 + 1).reshape(1, 1, 32, 32).repeat(200, 3, 1, 1)
    z = batches._augment(x, seed=0, step=1)
    assert z.shape == x.shape and torch.equal(z, batches._augment(x, seed=0, step=1))
    assert not torch.equal(z, batches._augment(x, seed=0, step=2))
    # Neighbours in a row differ by 1 (by -1 in flipped images), wherever padding (0) is not involved.
    inner = z[:, 0, 8:24, 8:24]
    steps = inner[:, :, 1:] - inner[:, :, :-1]
    flipped = (steps == -1).all((1, 2))
    assert (flipped | (steps == 1).all((1, 2))).all() and 60 < flipped.sum() < 140
    assert ((inner[:, 1:] - inner[:, :-1]) == 32).all()
    assert len({tuple(image.flatten().tolist()) for image in inner}) > 50


@pytest.fixture(scope="module")
def unfinished(tmp_path_factory):
    """A checkpoint of TINY after its first step, and the loss of the whole run."""
    checkpoint = tmp_path_factory.mktemp("checkpoint") / "run.pt"
    with pytest.raises(training.OutOfTime):
        training.run(TINY, checkpoint=checkpoint, deadline=0)
    return checkpoint.read_bytes(), training.run(TINY).loss


def _saved(content):
    file = io.BytesIO()
    torch.save(content, file)
    return file.getvalue()


def _state(checkpoint):
    return torch.load(io.BytesIO(files.unsealed(checkpoint.read_bytes())), weights_only=True)


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"",
        lambda content: b"not a checkpoint",
        lambda content: b"junk",
        lambda content: b"text " * 100,
        lambda content: content[:300],
        lambda content: content[: len(content) // 2],
        lambda content: content[:-1],
        lambda content: content[:-1_000] + bytes(1_000),
        lambda content: _saved({"a": 1}),
        lambda content: files.sealed(_saved({"a": 1})),
        lambda content: files.sealed(_saved([1])),
    ],
)
def test_a_damaged_checkpoint_does_not_block_its_run(tmp_path, capsys, unfinished, damage):
    content, loss = unfinished
    checkpoint = tmp_path / "run.pt"
    checkpoint.write_bytes(damage(content))
    again = training.run(TINY, checkpoint=checkpoint)
    assert "is damaged" in capsys.readouterr().err
    np.testing.assert_array_equal(again.loss, loss)


def test_divergence_of_a_linear_network_is_data_with_theorem_terms_too():
    spec = LinearSpec(layers=4, dim=3, samples=20, seeds=2, steps=40, norm="batchnorm", step_size=1.0, theorem_every=10)
    assert training.run(spec).sizes["step"] == 40


@pytest.mark.parametrize("norm", ["noisy", "batchnorm", "momentum"])
def test_an_interrupted_run_resumes_to_the_same_record(tmp_path, monkeypatch, norm):
    changes = {"norm": "batchnorm", "momentum": 0.9} if norm == "momentum" else {"norm": norm}
    spec, checkpoint = TINY.but(**changes), tmp_path / "run.pt"
    whole = training.run(spec)
    landscape, calls = probes.landscape, []

    def interrupted(*arguments):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return landscape(*arguments)

    monkeypatch.setattr(probes, "landscape", interrupted)
    monkeypatch.setattr(training, "CHECKPOINT_EVERY", 0)
    with pytest.raises(KeyboardInterrupt):
        training.run(spec, checkpoint=checkpoint)
    monkeypatch.undo()
    assert checkpoint.is_file()
    resumed = training.run(spec, checkpoint=checkpoint)
    xr.testing.assert_equal(resumed, whole)
    assert resumed.attrs.keys() == whole.attrs.keys()


def test_time_spent_before_an_interruption_counts(tmp_path, monkeypatch):
    checkpoint = tmp_path / "run.pt"
    with pytest.raises(training.OutOfTime):
        training.run(TINY, checkpoint=checkpoint, deadline=0)
    checkpoint.write_bytes(files.sealed(_saved(_state(checkpoint) | {"seconds": 1000.0})))
    assert 1000 < training.run(TINY, checkpoint=checkpoint).attrs["seconds"] < 1100


def test_a_deadline_leaves_a_checkpoint(tmp_path):
    checkpoint = tmp_path / "run.pt"
    for _ in range(3):
        with pytest.raises(training.OutOfTime):
            training.run(TINY, checkpoint=checkpoint, deadline=time.time() - 1)
    assert _state(checkpoint)["step"] == 3  # one step a call
    xr.testing.assert_equal(training.run(TINY, checkpoint=checkpoint), training.run(TINY))


def test_divergence_is_data():
    run = training.run(TINY.but(norm="none", step_size=100.0, steps=12))
    lost = ~np.isfinite(run.loss.values)
    assert lost.any() and not lost[0]
    assert np.isnan(run.loss.values[np.argmax(lost) + 1 :]).all()
    linear = training.run(LINEAR.but(step_size=1.0, steps=200))
    assert not np.isfinite(linear.loss.values[-1]).any() and np.isfinite(linear.loss.values[0]).all()


def test_linear_training_is_gradient_descent():
    from lib.data import gaussian_regression
    from lib.models import deep_linear

    run = training.run(LINEAR.but(norm="batchnorm"))
    model, (x, y) = deep_linear(LINEAR.but(norm="batchnorm"), 1), gaussian_regression(1, 40, 4)
    optimizer = torch.optim.SGD(model.parameters(), lr=LINEAR.step_size)
    for step in range(LINEAR.steps):
        optimizer.zero_grad()
        loss = (model(x) - y).square().sum()
        loss.backward()
        assert run.loss.values[step, 1] == pytest.approx(loss.item(), rel=1e-6)
        optimizer.step()
    assert run.histogram.sum("bin").values.min() == LINEAR.samples


def test_a_probe_at_one_step_size_is_the_next_full_batch_loss():
    run = training.run(LINEAR.but(landscape_every=1))
    np.testing.assert_allclose(run.landscape_loss.sel(step_length=1.0).values[:-1], run.loss.values[1:], rtol=1e-12)


def test_theorem_terms_leave_training_alone_and_need_batchnorm():
    spec = TINY.but(norm="batchnorm")
    measured = training.run(spec.but(theorem_every=3))
    assert measured.loss.equals(training.run(spec).loss)
    assert measured.theorem_removed.shape == (3, 6, layout.THEOREM_UNITS)
    assert ((measured.theorem_removed >= 0) & (measured.theorem_removed <= 1)).all()
    linear = training.run(LINEAR.but(norm="batchnorm", theorem_every=4))
    assert linear.theorem_scale.shape == (3, 4, 2) and (linear.theorem_scale > 0).all()
    with pytest.raises(UsageError, match="theorem_every goes with norm 'batchnorm', not 'none'"):
        TINY.but(norm="none", theorem_every=3)


def test_a_measurement_that_is_off_does_not_change_a_records_identity():
    assert "theorem_every" not in TINY.canonical()
    assert TINY.but(norm="batchnorm", theorem_every=3).hash != TINY.but(norm="batchnorm").hash


def test_devices_and_sizes_that_are_not_there_are_named():
    with pytest.raises(UsageError, match="device is 'tpu'.*cpu, cuda"):
        training.run(TINY, device="tpu")
    if not torch.cuda.is_available():
        with pytest.raises(UsageError, match="no CUDA device"):
            training.run(TINY, device="cuda")
    with pytest.raises(UsageError, match="train_images is 50000.*4000"):
        training.run(TINY.but(train_images=50_000))


def test_evaluation_uses_all_test_images_at_the_end_only():
    images = data.load_images("synthetic")
    model = vgg(TINY)
    normalize = images.normalizer(torch.float64)
    few = problems.evaluate(model, images, normalize, 50)
    every = problems.evaluate(model, images, normalize, 50, every_test_image=True)
    assert few["train_accuracy"] == every["train_accuracy"] and model.training
    # Shares of 50 and of all 1,000 test images
    assert float(few["test_accuracy"]) * 50 == pytest.approx(round(float(few["test_accuracy"]) * 50), abs=1e-3)
    assert float(every["test_accuracy"]) * 1000 == pytest.approx(round(float(every["test_accuracy"]) * 1000), abs=1e-3)
    assert float(every["test_accuracy"]) != float(few["test_accuracy"])


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
def test_a_step_in_the_memory_of_the_one_before():
    import resource  # not on every system

    spec = ImageSpec(norm="batchnorm", width=1 / 4, data="synthetic", train_images=4_000)
    model, images = vgg(spec).train(), data.load_images("synthetic")
    x, y = batches.batch(spec, images, 0)
    x = images.normalizer(torch.float32)(x)
    faults = []
    with settings.as_in_runs():
        for _ in range(6):
            before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
            problems.gradient(model, spec, x, y)
            faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
    assert sum(faults[3:]) < 1_000, "a page of 4 kB each; thousands a step where the system gives memory anew"


@pytest.mark.parametrize("spec", [TINY.but(steps=1), LINEAR.but(steps=1)], ids=["images", "linear"])
def test_a_run_puts_process_wide_settings_back(monkeypatch, spec):
    inside = []

    def look(point):
        inside.append((torch.backends.cudnn.allow_tf32, torch.get_float32_matmul_precision()))
        return {}

    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    torch.set_float32_matmul_precision("high")
    try:
        training.run(spec, probes=[probes.Probe("look", [0], look)])
        assert inside == [(False, "highest")]
        assert (torch.backends.cudnn.allow_tf32, torch.get_float32_matmul_precision()) == (True, "high")
    finally:
        torch.set_float32_matmul_precision("highest")


def test_a_new_measurement_is_one_probe_from_outside():
    """No file of the library knows of it: how far the loss lies above a straight line after one step."""

    def above(point):
        moved = probes.landscape(point, (1.0,))["landscape_loss"]
        here, _ = point.gradients()
        return {"above_line": moved - here + point.step_size * probes.norm(point.grads).square()}

    probe = probes.Probe("above", range(0, TINY.steps, 2), above, {"above_line": ("way",)}, {"way": 1})
    run = training.run(TINY.but(landscape_every=2, step_lengths=(1.0,)), probes=[probe])
    assert run.above_line.dims == ("above_step", "way") and run.above_step.values.tolist() == [0, 2, 4, 6]
    line = run.loss[::2].values - TINY.step_size * run.grad_norm.values.astype(float) ** 2
    np.testing.assert_allclose(run.above_line[:, 0], run.landscape_loss[:, 0] - line, rtol=1e-4)
    xr.testing.assert_equal(run.loss, training.run(TINY).loss)


def test_the_loop_computes_what_its_formulas_say_to_the_last_bit():
    """Batches, gradients, steps and landscape of both kinds of problem, written out here without the loop's parts."""
    spec = TINY.but(norm="batchnorm", landscape_every=1, shift_every=0, moments_every=0, histogram_every=0)
    run, images = training.run(spec), data.load_images("synthetic")
    model, normalize = vgg(spec).train(), images.normalizer(torch.float64)
    for step in range(spec.steps):
        x, y = batches.batch(spec, images, step)
        x = normalize(x)
        parameters = list(model.parameters())
        loss = F.cross_entropy(model(x), y)
        grads = torch.autograd.grad(loss, parameters)
        assert run.loss[step].item() == loss.float().item()
        buffers = {name: value.clone() for name, value in model.named_buffers()}
        start = [parameter.detach().clone() for parameter in parameters]
        for number, length in enumerate(spec.step_lengths):
            with torch.no_grad():
                for parameter, value, grad in zip(parameters, start, grads):
                    parameter.copy_(torch.add(value, grad, alpha=-length * spec.step_size))
            moved = F.cross_entropy(model(x), y)
            assert run.landscape_loss[step, number].item() == moved.float().item()
        with torch.no_grad():
            for parameter, value, grad in zip(parameters, start, grads):
                parameter.copy_(torch.add(value, grad, alpha=-spec.step_size))
            for name, value in model.named_buffers():
                value.copy_(buffers[name])
    linear = LINEAR.but(norm="batchnorm", landscape_every=0)
    run, problem = training.run(linear), moments.LinearProblem(linear)
    weights = problem.weights
    for step in range(linear.steps):
        loss, gradient = problem.gradient(weights)
        assert run.loss[step].values.tolist() == loss.tolist()
        weights = weights - linear.step_size * gradient
