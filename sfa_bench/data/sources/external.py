"""A data set from the user's own function, `_target_` of a YAML in the user's conf/dataset."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sfa_bench.arrays import Arrays
from sfa_bench.config import external
from sfa_bench.data.sources import arrays
from sfa_bench.data.types import Source
from sfa_bench.errors import ConfigError, DataError, RunError

if TYPE_CHECKING:
    from sfa_bench.choices.sources import DatasetConfig


def load(dataset: DatasetConfig, data_dir: Path, seed: int) -> Source:
    """The data set that the function returns, checked as `dataset=arrays` is; it gets None where there is no data
    folder.

    Raises: DataError where it fails, or returns something else.
    """
    target = str(dataset.target)
    try:
        made = external.load("dataset", target)(data_dir if data_dir.exists() else None, **dataset.arguments)
    except (ConfigError, RunError):
        raise
    except Exception as error:  # a user's own code may fail in any way
        raise DataError(f"{target} failed: {external.describe_error(error)}") from error
    if not isinstance(made, Arrays):
        raise DataError(f"{target} returned {type(made).__name__}: it must return sfa_bench.Arrays")
    arrays_of = {name: value for name, value in vars(made).items() if name != "class_names" and value is not None}
    given = {name: np.asarray(value) for name, value in arrays_of.items()}
    place = f"what {target} returned"
    source = features(given, place) if given["x_train"].dtype.kind == "f" else arrays.checked(given, place)
    names = made.class_names
    if names is not None and len(names) != source.num_classes:
        raise DataError(f"{place} has {len(names)} class_names for {source.num_classes} classes; give one for each")
    return replace(source, class_names=None if names is None else tuple(map(str, names)))


def features(given: dict[str, np.ndarray], place: str) -> Source:
    """Vectors in place of images. Raises: DataError."""
    for name in ("x_train", "x_test"):
        x = given[name]
        if x.ndim != 2 or x.dtype.kind != "f" or 0 in x.shape or not np.isfinite(x).all():
            raise DataError(f"{name} of {place} must be finite floats [N, D], not {x.dtype} {list(x.shape)}")
    # Labels and classes are checked as those of images; one black pixel stands for each row.
    blank = {name: np.zeros((len(given[name]), 1, 1), dtype=np.uint8) for name in ("x_train", "x_test")}
    source = arrays.checked({**given, **blank}, place)
    train, test = (np.ascontiguousarray(given[name], dtype=np.float32) for name in ("x_train", "x_test"))
    if train.shape[1] != test.shape[1]:
        raise DataError(f"{place}: x_train has {train.shape[1]} features, x_test {test.shape[1]}")
    return replace(source, train_images=train, test_images=test, mean=(), std=())
