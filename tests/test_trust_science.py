"""Which image, with which label, cropped how, at which step of which run: on images that are always there."""

import pytest
import torch

from lib import data
from lib.runs import batches
from lib.specs import ImageSpec

SPEC = ImageSpec(data="synthetic", train_images=4_000, batch_size=64, width=1 / 32, depth=7)


@pytest.fixture(scope="module")
def images():
    """Images that say which they are: number i has i in its first two pixels, and a label that no neighbour has."""
    number = torch.arange(4_000)
    x = torch.zeros(4_000, 3, 32, 32, dtype=torch.uint8)
    x[:, 0, 0, 0], x[:, 0, 0, 1] = number % 256, number // 256
    return data.Images(x, number * 7 % 10, x[:100], number[:100] % 10, "numbered")


def numbers(x):
    """Which images a batch has."""
    return x[:, 0, 0, 0].long() + 256 * x[:, 0, 0, 1].long()


def test_every_image_of_a_batch_has_its_own_label(images):
    for step in (0, 1, 61, 62, 200):
        x, y = batches.batch(SPEC, images, step)
        assert x.shape == (64, 3, 32, 32) and torch.equal(y, numbers(x) * 7 % 10)
        _, augmented = batches.batch(SPEC.but(augment=True), images, step)
        assert torch.equal(augmented, y)


def test_an_epoch_shows_each_image_once_and_drops_the_rest(images):
    spec = SPEC.but(train_images=1_000, batch_size=64)
    first = torch.cat([numbers(batches.batch(spec, images, step)[0]) for step in range(15)])
    second = torch.cat([numbers(batches.batch(spec, images, step)[0]) for step in range(15, 30)])
    for epoch in (first, second):
        assert len(epoch.unique()) == 15 * 64
    assert len(torch.cat([first, second]).unique()) <= 1_000 and not torch.equal(first, second)


def test_a_smaller_training_set_is_the_same_for_every_seed(images):
    seen = [
        torch.cat([numbers(batches.batch(spec, images, step)[0]) for step in range(10)]).sort().values
        for spec in (SPEC.but(train_images=640, seed=seed) for seed in (0, 5))
    ]
    assert torch.equal(*seen)


def test_no_two_epochs_or_seeds_share_their_order(images):
    orders = {
        tuple(numbers(batches.batch(SPEC.but(seed=seed), images, 62 * epoch)[0]).tolist())
        for seed in range(4)
        for epoch in range(4)
    }
    assert len(orders) == 16


def crops(seed, step, count=4_000):
    """Each crop's corner (row, column) and whether it is flipped, from images whose pixels number rows and columns."""
    x = torch.zeros(count, 3, 32, 32, dtype=torch.uint8)
    x[:, 0] = torch.arange(1, 33, dtype=torch.uint8)[:, None]
    x[:, 1] = torch.arange(1, 33, dtype=torch.uint8)
    z = batches._augment(x, seed, step).long()
    flipped = z[:, 1, 16, 17] < z[:, 1, 16, 16]
    column = torch.where(
        flipped, z[:, 1, 16, 15], z[:, 1, 16, 16]
    )  # 16 places from the left edge of the unflipped crop
    return z[:, 0, 16, 16] - 13, column - 13, flipped


def test_crops_have_all_nine_corners_in_both_directions_and_half_are_flipped():
    rows, columns, flipped = crops(0, 3)
    for corner in (rows, columns):
        assert corner.unique().tolist() == list(range(9))
        assert (corner.bincount(minlength=9) / len(corner) - 1 / 9).abs().max() < 0.02
    assert abs(flipped.double().mean() - 0.5) < 0.03
    # Drawn apart from each other.
    for one, other in ((rows, columns), (rows, flipped), (columns, flipped)):
        assert abs(torch.corrcoef(torch.stack([one.double(), other.double()]))[0, 1]) < 0.06


def test_no_two_steps_or_seeds_share_their_crops():
    seen = {
        tuple(torch.cat([part.long() for part in crops(seed, step, 64)]).tolist())
        for seed in range(4)
        for step in range(4)
    }
    assert len(seen) == 16


def test_padding_is_black():
    x = torch.full((500, 3, 32, 32), 9, dtype=torch.uint8)
    z = batches._augment(x, 0, 0)
    assert set(z.unique().tolist()) == {0, 9}
    lost = (z[:, 0] == 0).sum((1, 2))
    assert lost.max() == 32 * 32 - 28 * 28 and lost.min() == 0


def test_the_table_of_mutants_fits_the_library():
    """At least 120 break a line that is there; each has a name of its own and names tests that are there."""
    from mutants import MUTANTS, ROOT

    fit = [m for m in MUTANTS if (ROOT / m.file).read_text().count(m.old) == 1 and m.old != m.new]
    assert len(fit) >= 120, "lines of the table have changed in the library: see the stale ones of `make mutants`"
    assert len({m.name for m in MUTANTS}) == len(MUTANTS)
    assert all((ROOT / test).is_file() for m in MUTANTS for test in m.tests)
