"""Data: both forms of CIFAR-10, the embedded set, and every way a file can be wrong."""

import hashlib
import io
import json
import os
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lib import data, files
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
    with pytest.raises(Failure, match="it is 16x16, not 32x32"):
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

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(Failure, match="No space left.*free about 200 MB"):
        data.load_images("cifar10-jpeg")
    assert not list((folder / "cache").iterdir())


def test_missing_images_say_where_to_put_them(folder):
    with pytest.raises(Failure, match="BN_DATA"):
        data.load_images("cifar10-jpeg")
    with pytest.raises(Failure, match=f"CIFAR-10 is not in {folder}; `make data` fetches it.*cifar-10-python.tar.gz"):
        data.load_images("cifar10")
    assert data.available() == "synthetic"
    (folder / "data_batch_1.png").touch()
    (folder / "test_lables.json").touch()
    with pytest.raises(Failure, match="but for data_batch_1.png, test_lables.json, which is a part of it"):
        data.load_images("cifar10")


@pytest.fixture
def batches(monkeypatch):
    """Six batches like CIFAR-10's: images [10000, 3, 32, 32], each with its number in red in its first pixels."""
    made = []
    for index, name in enumerate(data.BATCHES):
        x = np.zeros((10_000, 3, 32, 32), np.uint8)
        number = 10_000 * index + np.arange(10_000)
        x[:, 0, 0, 0], x[:, 0, 0, 1], x[:, 1, 1, 0], x[:, 2, 0, 1] = number % 256, number // 256, 7, index
        y = (number * 7 // 3) % 10
        layout = np.concatenate([y[:, None].astype(np.uint8), x.reshape(10_000, -1)], 1).tobytes()
        monkeypatch.setitem(data.BATCHES, name, hashlib.md5(layout).hexdigest())
        made.append((x, y))
    return made


def check(images, batches):
    """Every image with its label, in order."""
    assert torch.equal(images.train_x, torch.from_numpy(np.concatenate([x for x, _ in batches[:5]])))
    assert torch.equal(images.train_y, torch.from_numpy(np.concatenate([y for _, y in batches[:5]])))
    assert torch.equal(images.test_x, torch.from_numpy(batches[5][0]))
    assert torch.equal(images.test_y, torch.from_numpy(batches[5][1]))


def write_npm(folder, batches):
    """The files of the npm package: an image a row, its pixels one after another."""
    for name, (x, _) in zip(data.BATCHES, batches):
        rows = x.transpose(0, 2, 3, 1).reshape(10_000, 1_024, 3)
        Image.fromarray(rows).save(folder / f"{name}.png", compress_level=1)
    labels = [y.tolist() for _, y in batches]
    (folder / "train_lables.json").write_text(json.dumps([label for part in labels[:5] for label in part]))
    (folder / "test_lables.json").write_text(json.dumps(labels[5]))


def test_both_archives_of_cifar10_become_the_same_images(folder, batches, monkeypatch):
    import torchvision

    class Stored:
        tgz_md5 = "c58f"

        def __init__(self, root, train, download):
            parts = batches[:5] if train else batches[5:]
            self.data = np.concatenate([x for x, _ in parts]).transpose(0, 2, 3, 1)
            self.targets = [int(label) for _, y in parts for label in y]

    monkeypatch.setattr(torchvision.datasets, "CIFAR10", Stored)
    (folder / "cifar-10-batches-py").mkdir()
    for name in data.BATCHES:
        (folder / "cifar-10-batches-py" / name).touch()
    assert data.available() == "cifar10"
    images = data.load_images("cifar10")
    check(images, batches)
    (folder / "cifar-10-python.tar.gz").write_bytes(b"half")
    data.load_images.cache_clear()
    with pytest.raises(Failure, match="cifar-10-python.tar.gz is damaged or partial: its md5 is not c58f"):
        data.load_images("cifar10")

    write_npm(folder, batches)
    data.load_images.cache_clear()
    again = data.load_images("cifar10")
    check(again, batches)
    assert again.identity == images.identity and "md5" in images.identity

    # The archive that npm fetches, and one that is truncated.
    archive = folder / data.NPM_ARCHIVE
    with tarfile.open(archive, "w:gz", compresslevel=1) as tar:
        for name in data._NPM_FILES:
            tar.add(folder / name, f"package/{name}")
    for name in data._NPM_FILES:
        (folder / name).unlink()
    monkeypatch.setattr(data, "NPM_SHA256", hashlib.sha256(archive.read_bytes()).hexdigest())
    data.load_images.cache_clear()
    check(data.load_images("cifar10"), batches)
    archive.write_bytes(archive.read_bytes()[:-1000])
    data.load_images.cache_clear()
    with pytest.raises(Failure, match="truncated or altered. Remove it and fetch it again"):
        data.load_images("cifar10")


@pytest.mark.parametrize(
    ("name", "damage", "named"),
    [
        ("data_batch_3.png", "pixel", "data_batch_3 in .* is damaged"),
        ("data_batch_3.png", "size", "it is 1024x9999, not 1024x10000"),
        ("data_batch_3.png", "JPEG", "no image in the format PNG"),
        ("train_lables.json", "swapped", "data_batch_1 in .* is damaged"),
        ("train_lables.json", "wrapped", "data_batch_1 in .* is damaged: labels are 0 to 9"),
        ("train_lables.json", "deep", "cannot be read"),
        ("train_lables.json", "huge", "cannot be read"),
    ],
)
def test_each_damage_of_cifar10_is_named(folder, batches, name, damage, named):
    write_npm(folder, batches)
    path = folder / name
    if damage in ("pixel", "size", "JPEG"):
        pixels = np.asarray(Image.open(path)).copy()
        if damage == "pixel":
            pixels[17, 3, 1] ^= 1
        image = Image.fromarray(pixels[: 9_999 if damage == "size" else None])
        image.save(path, format="JPEG" if damage == "JPEG" else "PNG")
    else:
        labels = json.loads(path.read_text())
        if damage == "swapped":
            labels[0], labels[1] = labels[1], labels[0]
        path.write_text(
            {
                "swapped": json.dumps(labels),
                "wrapped": json.dumps([labels[0] + 256, *labels[1:]]),  # the same byte
                "deep": "[" * 100_000,
                "huge": json.dumps([10**30, *labels[1:]]),
            }[damage]
        )
    with pytest.raises(Failure, match=named) as raised:
        data.load_images("cifar10")
    assert "\n" not in str(raised.value) and "make data" in str(raised.value)


def test_rows_columns_and_channels_of_an_image_keep_their_places(folder):
    """An unsymmetric image: a row of red, a column of green."""
    write_tree(folder)
    pixels = np.zeros((32, 32, 3), np.uint8)
    pixels[2, :, 0] = 255
    pixels[:, 5, 1] = 255
    Image.fromarray(pixels).save(folder / "train" / "airplane" / "0000.jpg", format="PNG")  # lossless
    (x, *_) = data.load_images("cifar10-jpeg").train_x
    assert torch.equal(x, torch.from_numpy(pixels).permute(2, 0, 1))


def test_what_systems_hide_among_images_is_left_out(folder):
    write_tree(folder)
    first = data.load_images("cifar10-jpeg")
    (folder / "train" / "cat" / "._0000.jpg").write_bytes(b"a Macintosh was here")
    data.load_images.cache_clear()
    assert data.load_images("cifar10-jpeg").identity == first.identity


@pytest.mark.parametrize("suffix", [".png", ".JPG"])
def test_trees_of_other_files_say_what_is_needed(folder, suffix):
    write_tree(folder)
    for path in folder.rglob("*.jpg"):
        path.rename(path.with_suffix(suffix))
    with pytest.raises(Failure, match=r"lacks some of the ten classes: it needs \*.jpg files"):
        data.load_images("cifar10-jpeg")


def jpeg_header(width, height):
    """A JPEG that claims a size and holds no pixel."""
    frame = bytes([8, height >> 8, height & 255, width >> 8, width & 255, 1, 1, 0x11, 0])
    return (
        b"\xff\xd8\xff\xc0" + (len(frame) + 2).to_bytes(2, "big") + frame + b"\xff\xda\x00\x08\x01\x01\x00\x00\x3f\x00"
    )


@pytest.mark.parametrize(
    "bad",
    ["empty", "bomb", "warned", "pixel-less", "folder", "loop", "pipe", "device", "GIF", "DDS", "EPS", "dangling"],
)
def test_what_is_no_image_is_one_line_that_names_it(folder, bad, capfd):
    write_tree(folder)
    path = folder / "test" / "dog" / "0001.jpg"
    path.unlink()
    contents = {
        "empty": b"",
        "bomb": jpeg_header(65_000, 65_000),
        "warned": jpeg_header(10_000, 10_000),
        "pixel-less": jpeg_header(32, 32),
        "DDS": b"DDS " + bytes(124),
        "EPS": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 32 32\n",
    }
    if bad in contents:
        path.write_bytes(contents[bad])
    elif bad == "GIF":
        Image.new("RGB", (32, 32)).save(path, format="GIF")
    elif bad == "folder":
        path.mkdir()
    elif bad == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to({"loop": path, "device": "/dev/zero", "dangling": folder / "none"}[bad])
    with pytest.raises(Failure, match="test/dog/0001.jpg") as raised:
        data.load_images("cifar10-jpeg")
    assert "\n" not in str(raised.value) and capfd.readouterr() == ("", "")


@pytest.mark.parametrize("cache", ["empty", "half", "objects", "other", "folder", "unsealed"])
def test_a_cache_of_decoded_images_that_is_no_cache_is_made_again(folder, cache):
    write_tree(folder)
    first = data.load_images("cifar10-jpeg")
    (path,) = (folder / "cache").glob("*.npz")
    content, buffer = path.read_bytes(), io.BytesIO()
    if cache == "folder":
        path.unlink()
        path.mkdir()
        data.load_images.cache_clear()
        with pytest.raises(Failure, match="cannot write"):
            data.load_images("cifar10-jpeg")
        return
    if cache in ("objects", "other"):
        np.savez(buffer, *[np.array(["a", None], object) if cache == "objects" else np.arange(3)] * 4)
    changed = bytearray(files.unsealed(content))
    changed[len(changed) // 2] ^= 1
    path.write_bytes(
        {"empty": b"", "half": content[:999], "unsealed": changed}.get(cache, files.sealed(buffer.getvalue()))
    )
    data.load_images.cache_clear()
    assert torch.equal(data.load_images("cifar10-jpeg").train_x, first.train_x)
    assert path.read_bytes() == content


def test_the_data_folder_is_the_one_that_is_meant(monkeypatch):
    monkeypatch.setenv("BN_DATA", "")
    assert data.data_folder() == data.ROOT / "data"
    monkeypatch.setenv("BN_DATA", "~/images")
    assert data.data_folder() == Path.home() / "images"
    monkeypatch.setenv("BN_DATA", "~nobody-of-this-name/images")
    with pytest.raises(Failure, match="~nobody-of-this-name/images"):
        data.load_images("cifar10")
    monkeypatch.setenv("BN_DATA", 300 * "x")
    for ask in (data.available, lambda: data.load_images("cifar10")):
        with pytest.raises(Failure, match="File name too long"):
            ask()


def test_a_folder_without_the_test_images_is_not_a_tree(folder):
    write_tree(folder)
    shutil.rmtree(folder / "test")
    assert data.available() == "synthetic"


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
    drawn = torch.Generator().manual_seed(3)
    torch.randn(40, 5, generator=drawn, dtype=torch.float64)
    matrix = torch.randn(5, 5, generator=drawn, dtype=torch.float64)
    torch.testing.assert_close(y[0], torch.stack([(row * x[0]).sum() for row in matrix]))  # y = A x, not its transpose
    assert not torch.equal(x, data.gaussian_regression(4, 40, 5)[0])
    with pytest.raises(UsageError, match="samples is 0"):
        data.gaussian_regression(0, 0, 5)


def test_unknown_kind_is_named():
    with pytest.raises(UsageError, match="data is 'svhn'.*synthetic"):
        data.load_images("svhn")
