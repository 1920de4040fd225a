"""Where images and labels come from: one file a data set, each with `load(...) -> Source`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from sfa_bench.data.sources import (
    arrays,
    cifar,
    clothing1m,
    csv_file,
    digits,
    fashion_mnist,
    folder,
    synthetic,
    webvision,
)
from sfa_bench.data.types import Source
from sfa_bench.errors import DataError

if TYPE_CHECKING:
    from sfa_bench.config.schema import DatasetConfig

DEFAULT_DATA_DIR = "data"
IMAGE_READERS = {
    "webvision": webvision.load,
    "clothing1m": clothing1m.load,
    "folder": folder.load,
    "csv": csv_file.load,
}


def load(dataset: DatasetConfig, data_dir: str, seed: int = 0) -> Source:
    """Read the data set from `data_dir`, or draw it from `seed`.

    Raises: DataError with a sentence for everything that is missing or broken.
    """
    where = existing(data_dir)
    if dataset.source in IMAGE_READERS:
        return IMAGE_READERS[dataset.source](dataset, where)
    if dataset.source == "digits":
        return digits.load()
    if dataset.source == "fashion_mnist":
        return fashion_mnist.load(where, dataset.checksum)
    if dataset.source in cifar.LAYOUTS:
        return cifar.load(dataset.source, where, dataset.checksum)
    if dataset.source == "synthetic":
        return synthetic.load(dataset, seed)
    if dataset.source == "arrays":
        return arrays.load(where)
    raise ValueError(f"no reader for dataset.source={dataset.source!r}")


def existing(data_dir: str) -> Path:
    """`data_dir` as a path. Raises DataError where it does not exist; the default may be made by a download."""
    folder = Path(data_dir).expanduser()
    if str(data_dir) != DEFAULT_DATA_DIR and not folder.exists():
        raise DataError(f"data_dir={data_dir} does not exist; give an existing folder, or leave data_dir out")
    return folder
