"""Runs as columns: what plans, tables and the page need of many records, without the records in memory."""

from __future__ import annotations

import json
from array import array
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

ABSENT, LISTED = -1, -2
# Sections of a record with the separator of their paths; their lists (a figure of each class, a confusion) stay in
# the file, but for those of `config`.
SECTIONS = {"config": ".", "data": "/", "metrics": "/", "selection": "/", "cost": "/", "environment": "."}
TEXTS = ("state", "hash", "command")


class Column(NamedTuple):
    """One value of every run. `codes` [runs], signed: the place in `values`, ABSENT where a record has no such key,
    LISTED where it has a list there, which only its file holds. `values`: the different ones, in no order; 1, 1.0 and
    true differ.
    """

    codes: np.ndarray
    values: list[Any]


def leaves(record: Mapping[str, Any]) -> dict[str, Any]:
    """A record's plain values by key: `state`, `hash`, `command`, `knows` (a list), `error/type`, `error/message`,
    `names/GROUP`, `config/PATH.OF.KEYS`, and `data/…`, `metrics/…`, `selection/…`, `cost/…` with `/` and
    `environment/…` with `.` between nested keys. A list of `config` and `knows` is a value; for any other an empty
    tuple stands, which becomes LISTED.
    """
    found = {key: record[key] for key in TEXTS}
    found["knows"] = record["knows"]
    for name, choice in record["names"].items():
        found[f"names/{name}"] = choice
    for key, part in (record["error"] or {}).items():
        if isinstance(part, str):
            found[f"error/{key}"] = part
    for section, separator in SECTIONS.items():
        _flatten(record[section] or {}, f"{section}/", separator, section == "config", found)
    return found


def _flatten(plain: Mapping[str, Any], prefix: str, separator: str, lists: bool, found: dict[str, Any]) -> None:
    for key, value in plain.items():
        kind = type(value)
        if kind is dict:
            _flatten(value, f"{prefix}{key}{separator}", separator, lists, found)
        else:
            found[prefix + key] = () if kind is list and not lists else value


def identity(value: Any) -> Any:
    """What two values share if and only if they are the same value of the same kind."""
    if value == 0 and type(value) is float:  # 0.0 and -0.0 are equal
        return str(value)
    return json.dumps(value) if isinstance(value, (list, dict)) else (type(value), value)


class Growing:
    """Columns to which runs are added one by one."""

    def __init__(self) -> None:
        self.count = 0
        self._columns: dict[str, _GrowingColumn] = {}
        self._new: list[Mapping[str, Any]] = []  # runs since the columns were last extended

    def add(self, values: Mapping[str, Any]) -> None:
        """Add a run, see `leaves`."""
        self._new.append(values)
        self.count += 1
        if len(self._new) == TOGETHER:
            self._extend()

    def _extend(self) -> None:
        runs, self._new = self._new, []
        keys = [*runs[0]] if runs else []
        columns: Mapping[str, Sequence[Any]]
        if all([*run] == keys for run in runs):  # as the runs of one sweep mostly have
            columns = dict(zip(keys, zip(*(run.values() for run in runs), strict=True), strict=True))
        else:
            every = dict.fromkeys(key for run in runs for key in run)
            columns = {key: [run.get(key, ...) for run in runs] for key in every}
        for key, values in columns.items():
            self._columns.setdefault(key, _GrowingColumn()).extend(self.count - len(runs), values)

    def columns(self) -> dict[str, Column]:
        """The columns of the runs added, to which no more are added."""
        self._extend()
        return {key: column.column(self.count) for key, column in self._columns.items()}


TOGETHER = 256  # runs whose values are looked at together


class _GrowingColumn:
    """One value of every run: numbers while there is nothing else, then codes."""

    def __init__(self) -> None:
        self._floats, self._codes = array("d"), array("i")
        self._known: dict[Any, tuple[int, Any]] = {}

    def extend(self, first: int, values: Sequence[Any]) -> None:
        """Add values from the run `first` on; Ellipsis where a run has none. Runs between lack one, too."""
        kinds = set(map(type, values))
        if kinds == {float} and not self._codes and len(self._floats) == first:
            self._floats.extend(values)
            return
        if self._floats:
            codes, known = _coded(self._floats)
            self._codes.frombytes(codes.tobytes())
            self._known = {identity(value): (code, value) for code, value in enumerate(known)}
            del self._floats[:]
        self._codes.extend([ABSENT] * (first - len(self._codes)))
        if len(kinds) == 1 and kinds <= {str, int, bool, type(None)}:  # in these equal values are the same
            codes_of = {value: self._code(value) for value in dict.fromkeys(values)}
            self._codes.extend(map(codes_of.__getitem__, values))
        else:
            self._codes.extend(map(self._code, values))

    def _code(self, value: Any) -> int:
        if value is ...:
            return ABSENT
        if value == ():
            return LISTED
        return self._known.setdefault(identity(value), (len(self._known), value))[0]

    def column(self, count: int) -> Column:
        """The column of so many runs."""
        if self._floats and len(self._floats) == count:
            found, values = _coded(self._floats)
        else:
            self.extend(count, [])
            found, values = np.array(self._codes, np.int32), [value for _, value in self._known.values()]
        return Column(found.astype(smallest(len(values))), values)


def _coded(numbers: array[float]) -> tuple[np.ndarray, list[float]]:
    """The codes of numbers, and the different ones. As bits: 0.0 and -0.0 are equal."""
    bits, codes = np.unique(np.frombuffer(numbers, np.int64), return_inverse=True)
    return codes.astype(np.int32), bits.view(np.float64).tolist()


def smallest(values: int) -> type[np.signedinteger[Any]]:
    """The smallest type that holds the codes of so many values."""
    return np.int8 if values <= 127 else np.int16 if values <= 32767 else np.int32


def joined(parts: Sequence[tuple[np.ndarray, Column]], count: int) -> Column:
    """One column of `count` runs from columns of some of them. parts: (places [m] of these runs, their column)."""
    codes = np.full(count, ABSENT, dtype=np.int32)
    if len(parts) == 1:
        ((rows, column),) = parts
        codes[rows] = column.codes
        return Column(codes, column.values)
    if {type(value) for _, column in parts for value in column.values} == {float}:
        of_all, different = _coded(array("d", (value for _, column in parts for value in column.values)))
        first = 0
        for rows, column in parts:
            of_part = of_all[first : first + len(column.values)]
            codes[rows] = np.append(of_part, [LISTED, ABSENT])[column.codes]
            first += len(column.values)
        return Column(codes, different)
    places: dict[Any, tuple[int, Any]] = {}
    for rows, column in parts:
        new = [places.setdefault(identity(value), (len(places), value))[0] for value in column.values]
        # Behind the values stand those of LISTED and ABSENT, which codes of -2 and -1 find there.
        codes[rows] = np.array([*new, LISTED, ABSENT], dtype=np.int32)[column.codes]
    return Column(codes, [value for _, value in places.values()])


def used(column: Column) -> Column:
    """The column with only those values that it has."""
    there = np.unique(column.codes[column.codes >= 0])
    if len(there) == len(column.values):
        return column
    new = np.full(len(column.values) + 2, ABSENT, dtype=np.int32)
    new[there], new[-2] = np.arange(len(there), dtype=np.int32), LISTED
    return Column(new[column.codes], [column.values[place] for place in there])
