"""A user's own feature vectors: an `.npz` as of `arrays`, with floats in place of images (algorithms/data.md §2)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sfa_bench.data.sources import arrays
from sfa_bench.data.sources.contents import Files
from sfa_bench.data.types import Source
from sfa_bench.errors import DataError

if TYPE_CHECKING:
    from sfa_bench.choices.sources import DatasetConfig


def load(dataset: DatasetConfig, path: Path, seed: int) -> Source:
    """Features float [N, D], taken as they are; integer labels 0…K-1 without a gap. All views of a sample are equal.

    Labels count as noisy already.
    """
    given = arrays.read(path, dataset.source, ("class_names", "class_embeddings"))
    names, embeddings = given.pop("class_names", None), given.pop("class_embeddings", None)
    source = checked(given, str(path))
    if names is not None:
        if names.ndim != 1 or names.dtype.kind != "U":
            raise DataError(f"class_names of {path} must be texts [K], not {names.dtype} {list(names.shape)}")
        source = named(source, names.tolist(), str(path))
    if embeddings is None:
        return source
    if embeddings.ndim != 2 or embeddings.shape[0] != source.num_classes or not _finite(embeddings):
        raise DataError(
            f"class_embeddings of {path} must be finite floats [K, d] with a row for each of {source.num_classes} "
            f"classes, not {embeddings.dtype} {list(embeddings.shape)}"
        )
    return replace(source, class_embeddings=np.ascontiguousarray(embeddings, dtype=np.float32))


def checked(given: Mapping[str, np.ndarray], place: str) -> Source:
    """The data set of these arrays. place: where they come from, for messages. Raises: DataError."""
    for name in ("x_train", "x_test"):
        if given[name].ndim != 2 or not _finite(given[name]):
            raise DataError(
                f"{name} of {place} must be finite floats [N, D], not {given[name].dtype} {list(given[name].shape)}"
            )
    # Labels and classes are checked as those of images; one black pixel stands for each row.
    blank = {name: np.zeros((len(given[name]), 1, 1), dtype=np.uint8) for name in ("x_train", "x_test")}
    source = arrays.checked({**given, **blank}, place)
    train, test = (np.ascontiguousarray(given[name], dtype=np.float32) for name in ("x_train", "x_test"))
    if train.shape[1] != test.shape[1]:
        raise DataError(f"{place}: x_train has {train.shape[1]} features, x_test {test.shape[1]}")
    return replace(source, train_images=train, test_images=test, mean=(), std=())


def named(source: Source, names: Sequence[str], place: str) -> Source:
    """The data set with a name for each class. Raises: DataError."""
    if len(names) != source.num_classes:
        raise DataError(f"{place} has {len(names)} class_names for {source.num_classes} classes; give one for each")
    return replace(source, class_names=tuple(map(str, names)))


def _finite(array: np.ndarray) -> bool:
    """Whether these are floats, at least one, and finite in float32, the type that networks take."""
    with np.errstate(over="ignore"):
        return array.dtype.kind == "f" and array.size > 0 and bool(np.isfinite(array.astype(np.float32)).all())


FILES = Files(
    tree="""\
data_dir=FILE.npz
├── x_train           float [N, D]
├── y_train           integers 0…K-1, taken as they are (perhaps noisy)
├── y_train_clean     the clean labels, where known (optional)
├── x_test
├── y_test
├── class_names       texts [K] (optional)
└── class_embeddings  float [K, d], of the names of the classes (optional)""",
    where="yours: numpy.savez(FILE, x_train=…, y_train=…, x_test=…, y_test=…)",
    look=arrays.look,
)
