"""Find, fetch and check the files of a data set; every failure is one sentence."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from sfa_bench.errors import DataError


def first_folder(folders: Iterable[Path], names: Iterable[str]) -> Path | None:
    """The first folder that holds any of the files; the reader reports missing ones."""
    names = list(names)
    return next((folder for folder in folders if any((folder / name).is_file() for name in names)), None)


def fetch(download: Callable[[], object], title: str, data_dir: Path) -> None:
    """Run torchvision's download into `data_dir`. Raises DataError when there is no network or it fails."""
    try:
        download()
    except (
        Exception
    ) as error:  # URLError, HTTPError, RuntimeError on a bad checksum, OSError on a full disk: all say why
        raise DataError(
            f"{title} is not in {data_dir} and could not be downloaded into it ({error}); put its files there, "
            "or give the folder that has them as data_dir"
        ) from error


def read(path: Path) -> bytes:
    """The file's content. Raises DataError."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise DataError(f"{path} is missing, while other files of the data set are there") from None
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from None


def verify(content: bytes, md5: str, path: Path) -> None:
    """Compare with the official checksum. Raises DataError."""
    if hashlib.md5(content, usedforsecurity=False).hexdigest() != md5:
        raise DataError(
            f"{path} is not the official file (its checksum differs): fetch it again, or, if these are your own "
            "files of the same format, add dataset.checksum=false"
        )


def check_labels(labels: np.ndarray, count: int, num_classes: int, what: str) -> np.ndarray:
    """int64 labels, one for each of `count` images, all in 0…num_classes-1. Raises DataError."""
    if count == 0:
        raise DataError(f"{what} holds no image")
    if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer):
        raise DataError(f"the labels of {what} are not a list of integers ({labels.dtype}, {labels.ndim} dimensions)")
    if len(labels) != count:
        raise DataError(f"{what} has {count} images but {len(labels)} labels")
    outside = (labels < 0) | (labels >= num_classes)
    if outside.any():
        at = int(outside.argmax())
        raise DataError(f"label {labels[at]} (number {at} of {what}) is out of range: labels are 0…{num_classes - 1}")
    return labels.astype(np.int64)


def every_fifth(labels: np.ndarray) -> np.ndarray:
    """Mask [n] of the test samples of data without a split: every fifth of each class, in the order of the file."""
    test = np.zeros(len(labels), dtype=bool)
    for label in np.unique(labels):
        test[np.flatnonzero(labels == label)[4::5]] = True
    return test


def pixel_statistics(images: np.ndarray) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and std of every channel of uint8 [n, H, W, C], for pixels in [0, 1]; exact integer sums, in blocks."""
    count = images[..., 0].size
    total = squares = np.zeros(images.shape[-1], dtype=np.int64)
    for start in range(0, len(images), 1000):
        block = images[start : start + 1000].astype(np.int64)
        total = total + block.sum(axis=(0, 1, 2))
        squares = squares + (block**2).sum(axis=(0, 1, 2))
    mean = total / count
    std = np.sqrt(np.maximum(squares / count - mean**2, 0))
    return tuple((mean / 255).tolist()), tuple((std / 255).tolist())
