"""A user's own images in a table: columns path, label, split and perhaps clean_label (algorithms/data.md §2)."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from sfa_bench.data.sources import image_files
from sfa_bench.data.sources.contents import Contents, Files, listed
from sfa_bench.data.sources.names import one_name
from sfa_bench.data.types import Source
from sfa_bench.errors import DataError

if TYPE_CHECKING:
    from sfa_bench.choices.sources import DatasetConfig

SPLITS = ("train", "val", "test")
MAX_DIGITS = 9
NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)", re.ASCII)  # -1 and 2.0 are mistakes, not class names


class Row(NamedTuple):
    line: int
    name: bytes
    label: str
    clean_label: str


def load(dataset: DatasetConfig, path: Path, seed: int) -> Source:
    """Paths are relative to the table's folder. Labels are integers 0…K-1 without a gap, or names, which are sorted;
    names that are one to Unicode (NFC) are one class.

    `label` counts as noisy; `clean_label` are the clean labels of the training images. Rows keep their order.
    Raises: DataError, with the number of the line, for everything that is missing or broken.
    """
    if not path.is_file():
        raise DataError(f"dataset=csv reads one .csv file: data_dir={path} is none; give data_dir=FILE.csv")
    rows: dict[str, list[Row]] = {split: [] for split in SPLITS}
    for split, row in read_rows(path):
        rows[split].append(row)
    for split in ("train", "test"):
        if not rows[split]:
            raise DataError(f"{path} has no row with split={split}; a training and a test set are needed")
    with_truth = _check_clean_labels(rows, path)
    numbers = _classes(rows["train"], with_truth, path)
    spellings = {label for those in rows.values() for row in those for label in (row.label, row.clean_label)}
    twice = len(spellings) - len({one_name(label) for label in spellings})
    notes = (f"{twice} label(s) are written in another form of Unicode, too: each is one class (NFC)",) if twice else ()

    parts = {split: _find(dataset, path, split, those, numbers) for split, those in rows.items() if those}
    truth = _numbers([row.clean_label for row in rows["train"]], rows["train"], numbers, path) if with_truth else None
    return image_files.source(
        dataset,
        parts,
        len(set(numbers.values())),
        clean_labels=None if truth is None else truth[parts["train"].kept],
        class_names=None if any(map(NUMBER.fullmatch, numbers)) else tuple(numbers),
        notes=notes,
    )


def read_rows(path: Path) -> Iterator[tuple[str, Row]]:
    """Split and row of every line after the header. Raises: DataError for the first that is refused."""
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            lines = csv.reader(file, strict=True)
            try:
                header = [cell.strip() for cell in next(lines, [])]
                at = _columns(header, path)
                for cells in lines:
                    yield _row(cells, header, at, f"line {lines.line_num:,} of {path}", lines.line_num)
            except csv.Error as error:
                raise DataError(f"line {lines.line_num:,} of {path} is not valid CSV: {error}") from None
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 (byte {error.start:,} of a block); save it as UTF-8") from None


def _columns(header: list[str], path: Path) -> dict[str, int]:
    """Where the columns stand that are read."""
    first_line = f"line 1 of {path} has {', '.join(header) or 'nothing'}, separated by commas"
    if missing := [name for name in ("path", "label") if name not in header]:
        raise DataError(f"{path} has no column {' and no column '.join(missing)}: {first_line}")
    if "split" not in header:
        raise DataError(
            f"{path} has no column split: a test set is needed; add it, with train, val or test in each row"
        )
    names = ("path", "label", "split", "clean_label")
    if twice := [name for name in names if header.count(name) > 1]:
        raise DataError(f"{path} has two columns {twice[0]}: {first_line}")
    return {name: header.index(name) for name in names if name in header}


def _row(cells: list[str], header: list[str], at: dict[str, int], where: str, line: int) -> tuple[str, Row]:
    if not cells:
        raise DataError(f"{where} is blank; remove it")
    if len(cells) != len(header):
        raise DataError(f"{where} has {len(cells)} cells, the header {len(header)}: quote cells that have a comma")
    cell = {name: cells[column].strip() for name, column in at.items()}
    if cell["split"] not in SPLITS:
        raise DataError(f"{where} has split={cell['split']!r}; it must be train, val or test")
    for column in ("label", "clean_label"):
        cell[column] = cell.get(column, "").strip("\ufeff").strip()  # a byte order mark of tables put together
    if not cell["label"]:
        raise DataError(f"{where} has no label")
    try:
        name = image_files.safe_name(cell["path"].encode())
    except image_files.RefusedName as reason:
        raise DataError(f"{where} is refused: {reason} ({cell['path'][:80]!r})") from None
    return cell["split"], Row(line, name, cell["label"], cell["clean_label"])


def _check_clean_labels(rows: dict[str, list[Row]], path: Path) -> bool:
    """Whether the training rows have them: all or none."""
    for split in ("val", "test"):
        for row in rows[split]:
            if row.clean_label and one_name(row.clean_label) != one_name(row.label):
                raise DataError(
                    f"line {row.line:,} of {path} has label {row.label!r} and clean_label {row.clean_label!r}: in a "
                    f"{split} row label is the truth; leave clean_label empty there"
                )
    without = [row for row in rows["train"] if not row.clean_label]
    if without and len(without) < len(rows["train"]):
        raise DataError(
            f"line {without[0].line:,} of {path} has no clean_label, as {len(without):,} of {len(rows['train']):,} "
            "training rows: fill it in all of them, or in none"
        )
    return not without


def _classes(train: list[Row], with_truth: bool, path: Path) -> dict[str, int]:
    """The number of every class of the training rows, by its one name; in the order of the names as they are written,
    so that taking two forms for one renumbers no class of a table that has one form.
    """
    lines: dict[str, int] = {}
    for row in train:
        lines.setdefault(row.label, row.line)
        if with_truth:
            lines.setdefault(row.clean_label, row.line)
    numbers = {name: c for c, name in enumerate(dict.fromkeys(map(one_name, sorted(lines))))}
    if any(NUMBER.fullmatch(label) for label in lines):
        integers = {label for label in lines if label.isascii() and label.isdigit() and len(label) <= MAX_DIGITS}
        if odd := [label for label in lines if label not in integers]:
            raise DataError(
                f"line {lines[odd[0]]:,} of {path} has the class {odd[0]!r}: labels are integers 0…K-1 in all rows, or "
                "names in all rows"
            )
        numbers = {label: int(label) for label in integers}
    present = sorted(set(numbers.values()))
    if gaps := [c for c, number in enumerate(present) if c != number]:
        raise DataError(f"class {gaps[0]} has no training image in {path}: labels must be 0…K-1 without a gap")
    if len(present) < 2:
        raise DataError(f"the training rows of {path} hold one class; at least two are needed")
    return numbers


def _numbers(labels: Sequence[str], rows: Sequence[Row], numbers: dict[str, int], path: Path) -> np.ndarray:
    """Classes int64 [n] of labels as they are written."""
    for label, row in zip(labels, rows, strict=True):
        if one_name(label) not in numbers:
            raise DataError(f"line {row.line:,} of {path} has the class {label!r}, which no training row has")
    return np.array([numbers[one_name(label)] for label in labels], dtype=np.int64)


def _find(
    dataset: DatasetConfig, path: Path, split: str, rows: Sequence[Row], numbers: dict[str, int]
) -> image_files.Found:
    names, labels = np.array([row.name for row in rows]), _numbers([row.label for row in rows], rows, numbers, path)
    return image_files.find(dataset, path.parent, names, labels, split, f"{path.name} with split={split}")


def _look(dataset: DatasetConfig, contents: Contents) -> None:
    path, contents.root = contents.root, contents.root.parent
    listed(path, lambda path: np.array([row.name for _, row in read_rows(path)], dtype=bytes), contents)


FILES = Files(
    tree="""\
FOLDER/
├── FILE.csv                   data_dir=FOLDER/FILE.csv
│                              path,label,split[,clean_label]
│                              images/a.jpg,0,train,0
└── images/a.jpg …             paths are relative to the .csv""",
    where="yours",
    look=_look,
)
