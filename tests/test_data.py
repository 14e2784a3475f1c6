"""Data: both forms of CIFAR-10, the embedded set, and every way a file can be wrong."""

import tarfile

import numpy as np
import pytest
import torch
from PIL import Image

from lib import data
from lib.errors import Failure, UsageError


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty data folder and cache."""
    monkeypatch.setenv("BN_DATA", str(tmp_path))
    monkeypatch.setattr(data, "CACHE", tmp_path / "cache")
    data.load_images.cache_clear()
    yield tmp_path
    data.load_images.cache_clear()


def write_tree(folder, size=(32, 32)):
    """Two images of each class and part; the red channel holds class and number."""
    for part in ("train", "test"):
        for index, name in enumerate(data.CLASSES):
            (folder / part / name).mkdir(parents=True)
            for number in range(2):
                Image.new("RGB", size, (20 * index + 5 * number, 0, 0)).save(
                    folder / part / name / f"{number:04}.jpg", quality=95
                )


def test_image_folder_is_read_in_order(folder):
    write_tree(folder)
    images = data.load_images("cifar10-jpeg")
    assert images.train_x.shape == (20, 3, 32, 32) and images.train_x.dtype == torch.uint8
    assert images.test_y.tolist() == [index for index in range(10) for _ in range(2)]
    red = images.train_x[:, 0, 0, 0].tolist()
    assert red == pytest.approx([20 * index + 5 * number for index in range(10) for number in range(2)], abs=3)
    assert "sha256" in images.identity and data.available() == "cifar10-jpeg"


def test_decoded_images_are_cached_and_the_cache_follows_the_content(folder):
    write_tree(folder)
    first = data.load_images("cifar10-jpeg")
    assert len(list((folder / "cache").glob("*.npz"))) == 1
    data.load_images.cache_clear()
    assert torch.equal(data.load_images("cifar10-jpeg").train_x, first.train_x)
    Image.new("RGB", (32, 32), (0, 255, 0)).save(folder / "train" / "cat" / "0000.jpg")
    data.load_images.cache_clear()
    changed = data.load_images("cifar10-jpeg")
    assert changed.identity != first.identity and not torch.equal(changed.train_x, first.train_x)


def make_archive(folder, monkeypatch):
    source = folder / "source"
    write_tree(source)
    archive = folder / data.JPEG_ARCHIVE
    with tarfile.open(archive, "w:xz") as tar:
        for part in ("train", "test"):
            tar.add(source / part, part)
    import hashlib

    monkeypatch.setattr(data, "JPEG_SHA256", hashlib.sha256(archive.read_bytes()).hexdigest())
    return archive


def test_tar_is_the_same_as_its_tree(folder, monkeypatch):
    make_archive(folder, monkeypatch)
    from_tar = data.load_images("cifar10-jpeg")
    monkeypatch.setenv("BN_DATA", str(folder / "source"))
    data.load_images.cache_clear()
    assert torch.equal(from_tar.train_x, data.load_images("cifar10-jpeg").train_x)


@pytest.mark.parametrize("damage", ["truncated", "altered"])
def test_damaged_archive_is_named_with_both_hashes(folder, monkeypatch, damage):
    archive = make_archive(folder, monkeypatch)
    content = bytearray(archive.read_bytes())
    if damage == "truncated":
        content = content[: len(content) // 2]
    else:
        content[len(content) // 2] ^= 1
    archive.write_bytes(content)
    with pytest.raises(Failure, match=f"{archive.name} has sha256 .*{data.JPEG_SHA256}.*truncated or altered"):
        data.load_images("cifar10-jpeg")


def test_files_that_are_not_the_images_are_named(folder):
    write_tree(folder)
    (folder / "test" / "dog" / "0001.jpg").write_bytes(b"no image")
    with pytest.raises(Failure, match="test/dog/0001.jpg"):
        data.load_images("cifar10-jpeg")


def test_wrong_size_and_missing_class_are_named(folder):
    write_tree(folder, size=(16, 16))
    with pytest.raises(Failure, match=r"\(16, 16, 3\), not 32x32"):
        data.load_images("cifar10-jpeg")
    for part in ("train", "test"):
        for path in (folder / part).rglob("*.jpg"):
            Image.new("RGB", (32, 32)).save(path)
    for path in (folder / "train" / "ship").glob("*"):
        path.unlink()
    with pytest.raises(Failure, match="train/.*lacks some of the ten classes"):
        data.load_images("cifar10-jpeg")


def test_a_full_disk_is_named(folder, monkeypatch):
    write_tree(folder)

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(Failure, match="No space left.*free about 200 MB"):
        data.load_images("cifar10-jpeg")
    assert not list((folder / "cache").iterdir())


def test_missing_images_say_where_to_put_them(folder, monkeypatch):
    with pytest.raises(Failure, match="BN_DATA"):
        data.load_images("cifar10-jpeg")
    import torchvision

    def refuse(*_, **__):
        raise RuntimeError("no network")

    monkeypatch.setattr(torchvision.datasets, "CIFAR10", refuse)
    with pytest.raises(Failure, match="cifar-10-python.tar.gz.*synthetic"):
        data.load_images("cifar10")
    assert data.available() == "synthetic"


def test_torchvisions_arrays_become_images(folder, monkeypatch):
    import torchvision

    class Stored:
        tgz_md5 = "c58f"

        def __init__(self, root, train, download):
            self.data = np.arange(4 * 32 * 32 * 3, dtype=np.uint8).reshape(4, 32, 32, 3)
            self.targets = [0, 1, 2, 3] if train else [3, 2, 1, 0]

    monkeypatch.setattr(torchvision.datasets, "CIFAR10", Stored)
    images = data.load_images("cifar10")
    assert images.train_x.shape == (4, 3, 32, 32) and images.test_y.tolist() == [3, 2, 1, 0]
    assert images.train_x[0, :, 0, 1].tolist() == [3, 4, 5]
    assert "c58f" in images.identity


def test_embedded_set_is_balanced_learnable_and_always_the_same(folder):
    images = data.load_images("synthetic")
    assert images.train_y.bincount().tolist() == pytest.approx([400] * 10, abs=60)
    assert images.train_x.float().mean().item() == pytest.approx(127.0, abs=0.5)
    # A linear map on a coarse image does better than chance: there is something to learn.
    def features(x):
        coarse = torch.nn.functional.avg_pool2d(x.double() / 255, 8).flatten(1)
        return torch.cat([coarse, torch.ones(len(x), 1)], 1)

    target = torch.nn.functional.one_hot(images.train_y, 10).double()
    solution = torch.linalg.lstsq(features(images.train_x), target).solution
    right = (features(images.test_x) @ solution).argmax(1) == images.test_y
    assert right.double().mean() > 0.25


def test_normalizer_gives_mean_0_and_deviation_1(folder):
    images = data.load_images("synthetic")
    z = images.normalizer(torch.float64)(images.train_x).transpose(0, 1).flatten(1)
    torch.testing.assert_close(z.mean(1), torch.zeros(3, dtype=torch.float64), rtol=0, atol=1e-4)
    torch.testing.assert_close(z.std(1), torch.ones(3, dtype=torch.float64), rtol=1e-3, atol=0)


def test_gaussian_regression_is_linear_and_seeded():
    x, y = data.gaussian_regression(3, 40, 5)
    again, _ = data.gaussian_regression(3, 40, 5)
    a = torch.linalg.lstsq(x, y).solution
    assert torch.equal(x, again) and torch.allclose(x @ a, y)
    assert not torch.equal(x, data.gaussian_regression(4, 40, 5)[0])
    with pytest.raises(UsageError, match="samples is 0"):
        data.gaussian_regression(0, 0, 5)


def test_unknown_kind_is_named():
    with pytest.raises(UsageError, match="data is 'svhn'.*synthetic"):
        data.load_images("svhn")
