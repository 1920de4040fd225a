"""Letter, Shuttle and Satellite: feature vectors of the UCI repository, from R's package mlbench
(algorithms/data.md §1–2).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from sfa_bench.data.sources import files, packages
from sfa_bench.data.sources.contents import Contents, Files
from sfa_bench.data.sources.synthetic import JITTER
from sfa_bench.data.types import Source
from sfa_bench.errors import ConfigError, DataError

if TYPE_CHECKING:
    from sfa_bench.choices.sources import DatasetConfig

DEBIAN_FOLDER = Path("/usr/lib/R/site-library/mlbench/data")
MOST = 50_000_000  # bytes of an unpacked file; the largest official one has 5,151,416
LONGEST = 10_000_000  # numbers of a sequence, which number the rows; the longest official table has 58,000


class Table(NamedTuple):
    """A data frame of R: its name, the column of its labels, the number of its features, and the MD5 of its content."""

    frame: str
    labels: str
    features: int
    md5: str

    @property
    def file(self) -> str:
        return f"{self.frame}.rda"


TABLES = {
    "letter": Table("LetterRecognition", "lettr", 16, "646f6ff53504f0bb0d03f96eec7cca6c"),
    "shuttle": Table("Shuttle", "Class", 9, "71e1df050e8e79f104ea2c99277dd767"),
    "satellite": Table("Satellite", "classes", 36, "0a1782991c6715ef125e9e3287ecd6ab"),
}


class Content(NamedTuple):
    """Features float64 [n, D]; labels int64 [n]; the names of the classes [K]."""

    features: np.ndarray
    labels: np.ndarray
    names: tuple[str, ...]

    @property
    def bytes(self) -> bytes:
        """All of it, however R has packed it."""
        numbers = self.features.astype("<f8").tobytes() + self.labels.astype("<i8").tobytes()
        return numbers + "\n".join(self.names).encode()


def load(dataset: DatasetConfig, data_dir: Path, seed: int) -> Source:
    """Features with mean 0 and standard deviation 1 over the training samples; every fifth sample of a class is a test
    sample.
    """
    table = TABLES[dataset.source]
    path = packages.find(dataset.source, data_dir, table.file, DEBIAN_FOLDER)
    content = read(path, table)
    if dataset.checksum:
        files.verify(content.bytes, table.md5, path)
    labels = files.check_labels(content.labels, len(content.labels), len(content.names), str(path))
    test = files.every_fifth(labels)
    train = content.features[~test]
    std = train.std(axis=0)
    vectors = ((content.features - train.mean(axis=0)) / np.where(std > 0, std, 1)).astype(np.float32)
    return Source(
        vectors[~test],
        labels[~test],
        vectors[test],
        labels[test],
        num_classes=len(content.names),
        mean=(),
        std=(),
        padding=0,
        flip=False,
        jitter=JITTER,
        by_rank=True,
        class_names=content.names,
    )


def read(path: Path, table: Table) -> Content:
    """The data frame in an `.rda` file. Nothing in it is evaluated. Raises: DataError."""
    try:
        from rdata import conversion, parser
    except ImportError:
        raise DataError(
            f"{path} is a file of R's, which the Python package rdata reads: run `pip install rdata`"
        ) from None
    sequences = {name: _bounded(parser.DEFAULT_ALTREP_MAP[name]) for name in (b"compact_intseq", b"compact_realseq")}
    admitted: dict[str | bytes, Any] = {name: conversion.DEFAULT_CLASS_MAP[name] for name in ("data.frame", "factor")}
    content = packages.unpacked(path, MOST)
    if not content.startswith(b"RDX"):
        raise DataError(f"{path} is not a file of R's with {table.frame}: it starts with {content[:4]!r}")
    try:
        parsed = parser.parse_data(
            content, extension=".rda", altrep_constructor_dict={**parser.DEFAULT_ALTREP_MAP, **sequences}
        )
        objects = conversion.convert(parsed, admitted, default_encoding="ASCII")
        return _checked(objects[table.frame], table, path)
    except ConfigError:
        raise
    except Exception as error:  # a broken file may raise anything
        raise DataError(f"{path} is not a file of R's with {table.frame} ({type(error).__name__}: {error})") from error


def _bounded(expand: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Expansion of a sequence that a file of R's has as its length, start and step, and that may claim any length."""

    def expanded(state: Any) -> Any:
        if state.value[0] > LONGEST:
            raise ValueError(f"a sequence of {state.value[0]:.0f} numbers")
        return expand(state)

    return expanded


def _checked(frame: Any, table: Table, path: Path) -> Content:
    """The columns of a data frame. Raises: DataError for other columns than the table's, and what pandas raises."""
    factor = frame[table.labels].cat
    features = frame.drop(columns=table.labels).to_numpy(dtype=np.float64)
    if features.shape[1] != table.features or not np.isfinite(features).all():
        raise DataError(
            f"{table.frame} of {path} must have {table.features} columns of finite numbers beside {table.labels}"
        )
    return Content(features, factor.codes.to_numpy(dtype=np.int64), tuple(map(str, factor.categories)))


def _look(dataset: DatasetConfig, contents: Contents) -> None:
    table = TABLES[dataset.source]
    packages.look(contents, table.md5, lambda path: read(path, table).bytes, table.file, DEBIAN_FOLDER)


def _files(choice: str) -> Files:
    table = TABLES[choice]
    return Files(
        tree=f"""\
DATA_DIR/                        or the file itself, or Debian's package
└── {table.file:<28} a data frame: {table.features} numbers and the factor {table.labels}""",
        where="Debian's package r-cran-mlbench, or mlbench from CRAN",
        look=_look,
    )


LETTER, SHUTTLE, SATELLITE = map(_files, TABLES)
