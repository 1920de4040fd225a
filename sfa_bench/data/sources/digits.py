"""scikit-learn's embedded 8×8 digits: nothing to download (algorithms/data.md §1)."""

from __future__ import annotations

import gzip
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sfa_bench.data.sources import files
from sfa_bench.data.types import Source

if TYPE_CHECKING:
    from sfa_bench.choices.sources import DatasetConfig


def load(dataset: DatasetConfig, data_dir: Path, seed: int) -> Source:
    """1,438 training and 359 test images [8, 8, 1]; every fifth image is a test image."""
    table = _table()
    # np.rint rounds half to even, as the design asks; the file holds integers 0…16
    images = np.rint(table[:, :-1].reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8)[..., None]
    labels = table[:, -1].astype(np.int64)
    test = np.arange(len(labels)) % 5 == 4
    mean, std = files.pixel_statistics(images[~test])
    return Source(
        train_images=images[~test],
        train_labels=labels[~test],
        test_images=images[test],
        test_labels=labels[test],
        num_classes=10,
        mean=mean,
        std=std,
        padding=1,
        flip=False,
    )


def _table() -> np.ndarray:
    """A row of 64 pixels and the label for each image [1797, 65]: what `load_digits` reads, without importing
    scikit-learn, which takes longer than a short run.
    """
    package = find_spec("sklearn")
    assert package is not None  # the suite requires it
    assert package.origin is not None
    path = Path(package.origin).parent / "datasets" / "data" / "digits.csv.gz"
    with gzip.open(path, "rt", encoding="utf-8") as file:
        numbers = file.read().replace("\n", ",").rstrip(",")
    return np.fromstring(numbers, sep=",").reshape(-1, 65)
