"""Data: CIFAR-10 in two forms, an embedded image set, and the Gaussian regression of the DLN.

Images are uint8 tensors [N, 3, 32, 32] that live on the training device and are
normalized there; nothing is decoded in the hot loop.
"""

from __future__ import annotations

import functools
import hashlib
import io
import os
import tarfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lib.errors import Failure, UsageError, check_choice
from lib.specs import DATA

ROOT = Path(__file__).resolve().parent.parent
CACHE = ROOT / "_build" / "data"
CLASSES = (
    "airplane", "automobile", "bird", "cat", "deer",
    "dog", "frog", "horse", "ship", "truck",
)  # fmt: skip
JPEG_ARCHIVE = "cifar10-jpeg.tar.xz"
JPEG_SHA256 = "6bada4ac4b2cd8743b44bf07945826402e0e9170f557e1194b5f08aec622a389"
DESCRIPTIONS = {
    "cifar10": "CIFAR-10",
    "cifar10-jpeg": "CIFAR-10, JPEG re-encoded",
    "synthetic": "embedded procedural images (not CIFAR-10)",
}


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
        pixels = self.train_x.float().flatten(2)
        mean = pixels.mean((0, 2)).to(dtype)[:, None, None]
        deviation = pixels.std((0, 2)).to(dtype)[:, None, None]

        def normalize(x: Tensor) -> Tensor:
            return ((x.to(dtype) - mean) / deviation).contiguous(memory_format=torch.channels_last)

        return normalize


def data_folder() -> Path:
    """Where image data is looked for: the folder named by BN_DATA, else `data/` in the project."""
    return Path(os.environ.get("BN_DATA", ROOT / "data"))


def available() -> str:
    """The best image set that is at hand without a download: cifar10, else cifar10-jpeg, else synthetic."""
    folder = data_folder()
    if (folder / "cifar-10-batches-py").is_dir() or (folder / "cifar-10-python.tar.gz").is_file():
        return "cifar10"
    if (folder / JPEG_ARCHIVE).is_file() or (folder / "train").is_dir():
        return "cifar10-jpeg"
    return "synthetic"


@functools.cache
def load_images(kind: str) -> Images:
    """The image set `kind`: "cifar10", "cifar10-jpeg" or "synthetic".

    "cifar10" is downloaded by torchvision into the data folder if it is not there;
    "cifar10-jpeg" is an ImageFolder tree (train/<class>/*.jpg, test/...) or the known tar
    of one in the data folder. Decoded arrays are cached. Raises `UsageError` for an unknown
    kind and `Failure` where the images are missing, truncated or not the ones they should be.
    """
    check_choice("data", kind, DATA)
    if kind == "synthetic":
        return _synthetic()
    return _torchvision() if kind == "cifar10" else _image_folder(data_folder())


def _torchvision() -> Images:
    from torchvision.datasets import CIFAR10

    folder = data_folder()
    try:
        train, test = (CIFAR10(folder, train=train, download=True) for train in (True, False))
    except Exception as error:  # torchvision raises whatever urllib, tarfile or pickle raise
        raise Failure(
            f"CIFAR-10 is neither in {folder} nor could it be downloaded ({error}); put "
            f"cifar-10-python.tar.gz there, or use data 'cifar10-jpeg' or 'synthetic'."
        ) from error
    arrays = []
    for part in (train, test):
        arrays += [part.data.transpose(0, 3, 1, 2), np.array(part.targets)]
    return _images(arrays, "cifar-10-python.tar.gz, md5 " + CIFAR10.tgz_md5)


def _image_folder(folder: Path) -> Images:
    archive = folder / JPEG_ARCHIVE
    if archive.is_file():
        digest = hashlib.sha256(archive.read_bytes()).hexdigest()
        if digest != JPEG_SHA256:
            raise Failure(
                f"{archive} has sha256 {digest}, not {JPEG_SHA256}: it is truncated or altered. "
                "Fetch it again, or unpack the images you mean to use as train/ and test/ beside it and remove it."
            )
        identity, files = f"{JPEG_ARCHIVE}, sha256 {digest}", lambda: _tar_files(archive)
    elif (folder / "train").is_dir() and (folder / "test").is_dir():
        digest = hashlib.sha256()
        for path, content in _tree_files(folder):
            digest.update(path.encode() + content)
        identity, files = f"image folder, sha256 {digest.hexdigest()}", lambda: _tree_files(folder)
    else:
        raise Failure(
            f"no {JPEG_ARCHIVE} and no train/ and test/ folders in {folder}; set BN_DATA to the folder "
            "that holds them, or use data 'cifar10' (downloaded) or 'synthetic' (embedded)."
        )
    cached = CACHE / f"{digest if isinstance(digest, str) else digest.hexdigest()}.npz"
    try:
        with np.load(cached) as stored:
            return _images([stored[name] for name in stored.files], identity)
    except (OSError, ValueError, zipfile.BadZipFile):
        pass  # absent or damaged: decoded again
    arrays = _decode(files(), folder)
    _write_cache(cached, arrays)
    return _images(arrays, identity)


def _tar_files(archive: Path) -> Iterator[tuple[str, bytes]]:
    with tarfile.open(archive) as tar:
        for member in tar:
            if member.isfile():
                yield member.name.removeprefix("./"), tar.extractfile(member).read()


def _tree_files(folder: Path) -> Iterator[tuple[str, bytes]]:
    for path in sorted(folder.glob("t*/*/*.jpg")):
        yield path.relative_to(folder).as_posix(), path.read_bytes()


def _decode(files: Iterator[tuple[str, bytes]], where: Path) -> list[np.ndarray]:
    from PIL import Image

    parts: dict[str, list[tuple[str, np.ndarray]]] = {"train": [], "test": []}
    for path, content in files:
        part, label, _ = (["", ""] + path.split("/"))[-3:]
        if part not in parts or label not in CLASSES:
            continue
        try:
            pixels = np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))
        except OSError as error:
            raise Failure(f"{path} in {where} is not an image ({error}); fetch the images again.") from error
        if pixels.shape != (32, 32, 3):
            raise Failure(f"{path} in {where} is {pixels.shape}, not 32x32 RGB; fetch the images again.")
        parts[part].append((path, pixels))
    arrays = []
    for part, images in parts.items():
        # Archive order is arbitrary; the order of the paths makes indices, and so runs, reproducible.
        images.sort(key=lambda item: item[0])
        labels = np.array([CLASSES.index(path.split("/")[-2]) for path, _ in images], dtype=np.int64)
        if len(set(labels.tolist())) != len(CLASSES):
            raise Failure(f"{part}/ in {where} lacks some of the ten classes; fetch the images again.")
        arrays += [np.stack([pixels for _, pixels in images]).transpose(0, 3, 1, 2), labels]
    return arrays


def _write_cache(path: Path, arrays: list[np.ndarray]) -> None:
    partial = path.with_suffix(f".{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("wb") as file:
            np.savez(file, *arrays)
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise Failure(f"cannot cache the decoded images in {path.parent} ({error}); free about 200 MB.") from error


def _images(arrays: list[np.ndarray], identity: str) -> Images:
    train_x, train_y, test_x, test_y = (torch.from_numpy(np.ascontiguousarray(array)) for array in arrays)
    return Images(train_x, train_y.long(), test_x, test_y.long(), identity)


def _synthetic(train: int = 4_000, test: int = 1_000) -> Images:
    """Ten classes of coloured gratings: class k fixes orientation and hue; phase, frequency, contrast and noise vary."""
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
    if samples < 1 or dim < 1:
        raise UsageError(f"samples is {samples} and dim is {dim}, but both must be at least 1.")
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(samples, dim, generator=generator, dtype=torch.float64)
    a = torch.randn(dim, dim, generator=generator, dtype=torch.float64)
    return x, x @ a.T
