"""A user's own data: an `.npz` with x_train, y_train, x_test, y_test and optionally y_train_clean (algorithms/data.md
§2).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.lib.format import MAGIC_PREFIX

from sfa_bench import archives
from sfa_bench.data.sources import files
from sfa_bench.data.sources.contents import Contents, Files, file
from sfa_bench.data.types import Source
from sfa_bench.errors import ConfigError, DataError

if TYPE_CHECKING:
    from sfa_bench.choices.sources import DatasetConfig

REQUIRED = ("x_train", "y_train", "x_test", "y_test")
MIN_STD = 1e-3


def load(dataset: DatasetConfig, path: Path, seed: int) -> Source:
    """Images uint8 [N, H, W] or [N, H, W, C]; integer labels 0…K-1 without a gap. No crop and no flip.

    Mean and std are taken over all training images, per channel. Labels count as noisy as they come.
    """
    return checked(read(path, dataset.source), str(path))


def checked(arrays: Mapping[str, np.ndarray], place: str) -> Source:
    """The data set of these arrays. place: where they come from, for sentences. Raises: DataError."""
    train, test = (_check_images(arrays[name], name, place) for name in ("x_train", "x_test"))
    if train.shape[1:] != test.shape[1:]:
        raise DataError(f"{place}: images of x_train are {list(train.shape[1:])}, of x_test {list(test.shape[1:])}")
    truth = arrays.get("y_train_clean")
    num_classes = _num_classes(arrays["y_train"] if truth is None else truth, place)

    def labels(name: str, count: int) -> np.ndarray:
        return files.check_labels(arrays[name], count, num_classes, f"{name} of {place}")

    mean, std = files.pixel_statistics(train)
    return Source(
        train,
        labels("y_train", len(train)),
        test,
        labels("y_test", len(test)),
        num_classes,
        mean,
        tuple(max(s, MIN_STD) for s in std),
        padding=0,
        flip=False,
        labels_are_clean=False,
        clean_labels=None if truth is None else labels("y_train_clean", len(train)),
    )


def read(path: Path, choice: str, optional: Sequence[str] = ()) -> dict[str, np.ndarray]:
    """The arrays in the file of `dataset=CHOICE`: those of REQUIRED, and y_train_clean and `optional` if there.

    Raises: DataError.
    """
    if not path.is_file():
        raise DataError(f"dataset={choice} reads one .npz file: data_dir={path} is none; give data_dir=FILE.npz")
    try:
        with open(path, "rb") as file:
            if file.read(len(MAGIC_PREFIX)) == MAGIC_PREFIX:
                wanted = ", ".join(REQUIRED)
                raise DataError(f"{path} holds a single array; dataset={choice} needs an .npz with {wanted}")
        held = archives.members(path)
        if missing := [name for name in REQUIRED if name not in held]:
            raise DataError(f"{path} has no {' and no '.join(missing)}; it holds {', '.join(held)}")
        return archives.read_arrays(path, [*REQUIRED, *(n for n in ("y_train_clean", *optional) if n in held)])
    except ConfigError:
        raise
    except Exception as error:  # zipfile, zlib and NumPy each have their own ways to fail on a broken file
        raise DataError(f"{path} is truncated or not an .npz of plain arrays ({error})") from error


def _check_images(images: np.ndarray, name: str, place: str) -> np.ndarray:
    if images.dtype != np.uint8 or images.ndim not in (3, 4) or 0 in images.shape[1:]:
        raise DataError(
            f"{name} of {place} must be uint8 [N, H, W] or [N, H, W, C], not {images.dtype} {list(images.shape)}"
        )
    if len(images) == 0:
        raise DataError(f"{name} of {place} holds no image")
    return images if images.ndim == 4 else images[..., None]


def _num_classes(labels: np.ndarray, place: str) -> int:
    if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer):
        raise DataError(f"the labels in {place} are not a list of integers ({labels.dtype}, {labels.ndim} dimensions)")
    present = np.unique(labels)
    gaps = np.flatnonzero(present != np.arange(len(present)))
    if len(gaps) and present[0] >= 0:
        raise DataError(f"class {gaps[0]} has no training image in {place}: labels must be 0…K-1 without a gap")
    if len(present) < 2:
        raise DataError(f"the training labels in {place} hold {len(present)} class(es); at least two are needed")
    return len(present)


def look(dataset: DatasetConfig, contents: Contents) -> None:
    """Look for the one file that `data_dir` names."""
    contents.items.append(file(contents.root, contents.root.parent))


FILES = Files(
    tree="""\
data_dir=FILE.npz
├── x_train         uint8 [N, H, W] or [N, H, W, C]
├── y_train         integers 0…K-1, as they are (perhaps noisy)
├── y_train_clean   the clean labels, where known (optional)
├── x_test
└── y_test""",
    where="yours: numpy.savez(FILE, x_train=…, y_train=…, x_test=…, y_test=…)",
    look=look,
)
