"""scikit-learn's embedded 8×8 digits: nothing to download (algorithms/data.md §1)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sfa_bench.data.sources import files
from sfa_bench.data.types import Source

if TYPE_CHECKING:
    from sfa_bench.choices.sources import DatasetConfig


def load(dataset: DatasetConfig, data_dir: Path, seed: int) -> Source:
    """1,438 training and 359 test images [8, 8, 1]; every fifth image is a test image."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    # np.rint rounds half to even, as the design asks; the files hold integers 0…16
    images = np.rint(digits.images * (255 / 16)).astype(np.uint8)[..., None]
    labels = digits.target.astype(np.int64)
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
