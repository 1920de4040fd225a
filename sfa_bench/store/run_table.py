"""The records of many runs as columns, from the index of their runs folder where it has them, else from their files."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sfa_bench.store.columns import Column, Growing, joined, leaves, used
from sfa_bench.store.index import FOLDER, LARGE, RECENT_NS, WORTH, Index, Segment
from sfa_bench.store.ledger import read_record
from sfa_bench.store.places import Place, Stamp
from sfa_bench.store.plans import FOLDER as PLANS
from sfa_bench.store.record import load

LEVELS = 3  # of folders between a runs folder and its runs
KEPT = 500  # records just read that stay in memory, since what asks for few runs asks for the whole of them


class RunTable:
    """Runs with a readable record, in the order of their folders; `columns.leaves` says which keys there are."""

    def __init__(
        self, folders: Sequence[str], parts: Sequence[tuple[np.ndarray, np.ndarray, Segment]], kept: dict[str, Any]
    ):
        """parts: (places of these runs among `folders`, their rows in the segment, the segment)."""
        self.folders, self._parts, self._kept = folders, parts, kept
        self._columns: dict[str, Column] = {}

    @classmethod
    def of(cls, tables: Sequence[RunTable]) -> RunTable:
        """The runs of several tables, one after the other."""
        folders, parts, kept = list[str](), [], dict[str, Any]()
        for one in tables:
            parts += [(places + len(folders), rows, segment) for places, rows, segment in one._parts]
            folders += one.folders
            kept |= one._kept
        return cls(folders, parts, kept)

    def __len__(self) -> int:
        return len(self.folders)

    def keys(self) -> list[str]:
        """The keys that any run has."""
        return list(dict.fromkeys(key for _, _, segment in self._parts for key in segment.keys))

    def column(self, key: str) -> Column:
        """One value of every run."""
        if key not in self._columns:
            columns = [(places, rows, segment.column(key)) for places, rows, segment in self._parts]
            there = [(places, _of_rows(c, rows)) for places, rows, c in columns if c is not None]
            self._columns[key] = joined(there, len(self))
        return self._columns[key]

    def values(self, key: str) -> list[Any]:
        """One value of every run; None where there is none, and for lists that only the file has."""
        column = self.column(key)
        known = [*column.values, None, None]
        return [known[code] for code in column.codes.tolist()]

    def take(self, rows: np.ndarray) -> RunTable:
        """The table of some runs. rows: their places, ascending."""
        new = np.full(len(self), -1)
        new[rows] = np.arange(len(rows))
        parts = []
        for places, rows_of_part, segment in self._parts:
            there = new[places] >= 0
            if there.any():
                parts.append((new[places][there], rows_of_part[there], segment))
        return RunTable([self.folders[row] for row in rows], parts, self._kept)

    def record(self, row: int) -> dict[str, Any]:
        """The whole record of a run, from its file. Raises OSError or Damaged where that has changed meanwhile."""
        folder = self.folders[row]
        return self._kept.get(folder) or load(Path(folder, "run.json"))


def _of_rows(column: Column, rows: np.ndarray) -> Column:
    """Some rows of a column, without the values of the others where these are many."""
    part = Column(column.codes[rows], column.values)
    return used(part) if len(part.values) > len(rows) else part


def read_table(root: str | os.PathLike[str], places: Iterable[Place], left_out: list[Path] | None = None) -> RunTable:
    """The runs in these folders, all at or below `root`. A record that cannot be read is reported and left out; its
    folder is added to `left_out`.
    """
    places = list(places)
    home, below = _home(Path(root))
    index = Index(home) if len(places) >= WORTH else None
    stored = [] if index is None else index.segments
    new = _New(index)
    length = len(str(Path(root))) + 1 if str(Path(root)) != "." else 0
    folders, found = list[str](), list[tuple[int, int]]()
    for folder, stamp in places:
        path = f"{below}/{folder[length:]}".strip("/")
        place = index.find(path, stamp) if index is not None and stamp is not None else None
        if place is None:
            place = new.read(folder, path, stamp)
        if place is not None:
            folders.append(folder)
            found.append(place)
        elif left_out is not None:
            left_out.append(Path(folder))
    segments = dict(enumerate(stored)) | new.segments()
    numbers, rows = np.array(found, dtype=np.intp).reshape(-1, 2).T
    of_segment = ((np.flatnonzero(numbers == number), segment) for number, segment in segments.items())
    return RunTable(folders, [(there, rows[there], segment) for there, segment in of_segment if len(there)], new.kept)


def _home(root: Path) -> tuple[Path, str]:
    """The runs folder that a folder is in, which is the one with plans of sweeps or an index, else itself; and the
    folder's path below it.
    """
    there = root.absolute()
    for home in (there, *there.parents[:LEVELS]):
        if (home / FOLDER).is_dir() or (home / PLANS).is_dir():
            return home, "" if home == there else str(there.relative_to(home))
    return there, ""


class _Rows:
    """A segment that grows."""

    def __init__(self, number: int):
        self.number = number
        self._paths, self._stamps, self._columns = list[str](), list[Stamp](), Growing()

    def __len__(self) -> int:
        return len(self._paths)

    def add(self, path: str, stamp: Stamp, record: dict[str, Any]) -> tuple[int, int]:
        """Add a run; returns its place, the segment's number and its row."""
        self._paths.append(path)
        self._stamps.append(stamp)
        self._columns.add(leaves(record))
        return self.number, len(self) - 1

    def segment(self) -> Segment:
        return Segment(self._paths, np.array(self._stamps, dtype=np.int64).reshape(-1, 3), self._columns.columns())


class _New:
    """Runs that the index does not have, read from their files into segments of their own."""

    def __init__(self, index: Index | None):
        """index: where segments are stored that are worth it, and after whose segments these are numbered."""
        self._index, first = index, 0 if index is None else len(index.segments)
        self._full = dict[int, Segment]()
        self._young, self._old = _Rows(first), _Rows(first + 1)
        self._began = time.time_ns()
        self.kept: dict[str, Any] = {}  # folder -> record

    def read(self, folder: str, path: str, stamp: Stamp | None) -> tuple[int, int] | None:
        """Read a record and return its place; None where it cannot be read, which is reported."""
        record = read_record(Path(folder, "run.json"))
        if record is None:
            return None
        stamp = stamp or Stamp(0, self._began, self._began)
        if len(self._old) + len(self._young) < KEPT:
            self.kept[folder] = record
        # One as young as this may be changed once more without a change of its stamp.
        if max(stamp.modified_ns, stamp.changed_ns) > self._began - RECENT_NS:
            return self._young.add(path, stamp, record)
        place = self._old.add(path, stamp, record)
        if len(self._old) >= LARGE:
            self._store()
        return place

    def segments(self) -> dict[int, Segment]:
        """The segments by their numbers. Those whose storing pays are stored, without runs that may be written again at
        this very moment.
        """
        if len(self._old) >= WORTH:
            self._store()
        return self._full | {rows.number: rows.segment() for rows in (self._young, self._old)}

    def _store(self) -> None:
        segment = self._old.segment()
        self._full[self._old.number] = segment if self._index is None else self._index.add(segment)
        self._old = _Rows(self._old.number + 1)
