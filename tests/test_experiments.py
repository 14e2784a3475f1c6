"""Experiments: on which images, until when."""

import pytest

from lib import records
from lib.errors import UsageError
from lib.paper import experiments
from lib.specs import LinearSpec


def images(runs):
    return {spec.data for group in runs.values() for spec in group if not isinstance(spec, LinearSpec)}


@pytest.mark.parametrize("scale", ["laptop", "paper"])
def test_every_wanted_run_is_on_the_original_images(scale):
    for name in experiments.EXPERIMENTS:
        copies = {"cifar10-jpeg"} if name == "images" else set()  # whose question is what they cost
        assert images(experiments.wanted(name, scale)) <= {"cifar10"} | copies
        assert name != "images" or experiments.specs(name, scale) == experiments.wanted(name, scale)


def test_reencoded_images_stand_in_until_the_originals_are_recorded(store):
    records.COMMITTED.mkdir()
    assert images(experiments.specs("fig-4", "laptop")) == {"cifar10"}
    wanted = experiments.unique(["fig-4"], "laptop", experiments.wanted)
    for spec in wanted:
        (records.COMMITTED / records.file_name(experiments.on_images(spec, "cifar10-jpeg"))).touch()
    assert images(experiments.specs("fig-4", "laptop")) == {"cifar10-jpeg"}
    for spec in wanted[:-1]:
        (records.COMMITTED / records.file_name(spec)).touch()
    assert images(experiments.specs("fig-4", "laptop")) == {"cifar10-jpeg"}, "never two kinds of images in one figure"
    (records.COMMITTED / records.file_name(wanted[-1])).touch()
    assert images(experiments.specs("fig-4", "laptop")) == {"cifar10"}


def test_unknown_names_are_refused():
    with pytest.raises(UsageError, match="experiment is 'fig-99'"):
        experiments.wanted("fig-99", "laptop")
