"""A data set from the user's own function, `_target_` of a YAML in the user's conf/dataset."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sfa_bench.arrays import Arrays
from sfa_bench.config import external
from sfa_bench.data.sources import arrays, features
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
    of_vectors = given["x_train"].dtype.kind == "f"
    source = features.checked(given, place) if of_vectors else arrays.checked(given, place)
    return source if made.class_names is None else features.named(source, made.class_names, place)
