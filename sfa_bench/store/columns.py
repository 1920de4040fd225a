"""Runs as columns: what plans, tables and the page need of many records, without the records in memory."""

from __future__ import annotations

import json
from array import array
from collections.abc import Iterator, Mapping, Sequence
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


def leaves(record: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """(key, value) of a record's plain values: `state`, `hash`, `command`, `knows` (a list), `error/type`,
    `error/message`, `names/GROUP`, `config/PATH.OF.KEYS`, and `data/…`, `metrics/…`, `selection/…`, `cost/…` with `/`
    and `environment/…` with `.` between nested keys. A list of `config` and `knows` is a value; for any other an empty
    tuple stands, which becomes LISTED.
    """
    for key in TEXTS:
        yield key, record[key]
    yield "knows", record["knows"]
    for name, choice in record["names"].items():
        yield f"names/{name}", choice
    for key, part in (record["error"] or {}).items():
        if isinstance(part, str):
            yield f"error/{key}", part
    for section, separator in SECTIONS.items():
        yield from _flat(record[section] or {}, f"{section}/", separator, section == "config")


def _flat(plain: Mapping[str, Any], prefix: str, separator: str, lists: bool) -> Iterator[tuple[str, Any]]:
    for key, value in plain.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}{separator}", separator, lists)
        elif isinstance(value, list) and not lists:
            yield prefix + key, ()
        else:
            yield prefix + key, value


def identity(value: Any) -> Any:
    """What two values share if and only if they are the same value of the same kind."""
    if value == 0 and type(value) is float:  # 0.0 and -0.0 are equal
        return str(value)
    return json.dumps(value) if isinstance(value, (list, dict)) else (type(value), value)


class Growing:
    """Columns to which runs are added one by one."""

    def __init__(self) -> None:
        self.count = 0
        self._rows: dict[str, array[int]] = {}
        self._codes: dict[str, array[int]] = {}
        self._values: dict[str, dict[Any, tuple[int, Any]]] = {}

    def add(self, values: Iterator[tuple[str, Any]]) -> None:
        """Add a run; of a key that comes twice the last one counts."""
        for key, value in dict(values).items():
            if key not in self._rows:
                self._rows[key], self._codes[key], self._values[key] = array("i"), array("i"), {}
            self._rows[key].append(self.count)
            if value == ():
                self._codes[key].append(LISTED)
                continue
            known = self._values[key]
            self._codes[key].append(known.setdefault(identity(value), (len(known), value))[0])
        self.count += 1

    def columns(self) -> dict[str, Column]:
        """The columns of the runs added."""
        made = {}
        for key, rows in self._rows.items():
            codes = np.full(self.count, ABSENT, dtype=np.int32)
            codes[np.frombuffer(rows, np.int32)] = np.frombuffer(self._codes[key], np.int32)
            values = [value for _, value in self._values[key].values()]
            made[key] = Column(codes.astype(smallest(len(values))), values)
        return made


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
