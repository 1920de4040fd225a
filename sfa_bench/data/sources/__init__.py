"""Readers of images and labels: one module a format, each with `load(dataset, data_dir, seed) -> Source`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from sfa_bench.choices import code
from sfa_bench.choices.sources import SOURCES
from sfa_bench.data.types import Source
from sfa_bench.errors import DataError

if TYPE_CHECKING:
    from sfa_bench.choices.sources import DatasetConfig

DEFAULT_DATA_DIR = "data"


def load(dataset: DatasetConfig, data_dir: str, seed: int = 0) -> Source:
    """Read the data set from `data_dir`, or draw it from `seed`.

    Raises: DataError with a sentence for everything that is missing or broken.
    """
    source: Source = code.load(SOURCES[dataset.source].code)(dataset, existing(data_dir), seed)
    return source


def existing(data_dir: str) -> Path:
    """`data_dir` as a path. Raises DataError where it does not exist; the default may be made by a download."""
    folder = Path(data_dir).expanduser()
    if str(data_dir) != DEFAULT_DATA_DIR and not folder.exists():
        raise DataError(f"data_dir={data_dir} does not exist; give an existing folder, or leave data_dir out")
    return folder
