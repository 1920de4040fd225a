"""What tables, claims and figures ask of runs, as columns: computed once for each different value, not once a run.

A `Run` is a row. Its record is read from its file where something needs what no column holds: lists, such as the
accuracy of each class, and the order of its keys.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from operator import attrgetter
from pathlib import Path
from sys import intern
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from analysis.metrics import current
from analysis.values import ABSENT as NO_SUCH_KEY
from analysis.values import NO_VALUE, NULL, TRUTH, Key, Listed, Value, valued
from sfa_bench.choices.noises import WITHOUT_RATIO
from sfa_bench.choices.recipes import CHANGED
from sfa_bench.choices.sources import named
from sfa_bench.config.canonical import MACHINE, defaults
from sfa_bench.config.schema import SEED_KEYS
from sfa_bench.config.values import options
from sfa_bench.errors import ConfigError
from sfa_bench.store.columns import ABSENT, LISTED, Column, Growing, identity, joined, leaves, used
from sfa_bench.store.index import Segment
from sfa_bench.store.reading import Damaged
from sfa_bench.store.record import new_record
from sfa_bench.store.run_table import RunTable

# May differ between runs of one cell, with a footnote.
NOTED = ("precision", "revision")
# Keys without effect, by the choices of a group.
WITHOUT = {"noise": ("noise_ratio", WITHOUT_RATIO), "imbalance": ("imb_factor", ("none",))}
SECTIONS = ("selection", "cost")
CHECKED = frozenset(named("checked"))
CHECKSUM = "dataset.checksum"
# Columns from which a field follows, beside its own and that of its choice's name.
FOLLOWS = {
    "model": ("config/model.library",),
    CHECKSUM: ("config/dataset.source", "names/dataset", "config/dataset.name"),
    **{key: (f"names/{group}",) for group, (key, _) in WITHOUT.items()},
}
FOREIGN = "environment/external"
EMPTY = new_record(hash="", config={}, names={}, command="")

Item = TypeVar("Item")


def fields_of(names: Mapping[str, str], config: Mapping[str, Any]) -> dict[str, Any]:
    """Names of choices (`method`, `plugin` …; `auto` as what it stood for) and every configuration path.

    Args: names and the flat configuration of a record.
    """
    config, names = dict(config), dict(names)
    if "dataset" in names:  # older records have the choice there (`folder`), not the name of the data
        names["dataset"] = config.get("dataset.name") or names["dataset"]
    if library := config.get("model.library"):  # the suite's own may have the same name
        names["model"] = f"{library}/{config.get('model.name')}"
    for group, (key, choices) in WITHOUT.items():
        if names.get(group) in choices:
            config.pop(key, None)
    if CHECKSUM in config and config.get("dataset.source", names.get("dataset")) not in CHECKED:
        config[CHECKSUM] = True  # false means something only where there are official checksums
    return config | {k: config.get(f"{k}.name", name) if name == "auto" else name for k, name in names.items()}


def metrics_of(record: Mapping[str, Any]) -> dict[str, Any]:
    """`test/…` and `val/…`, and `selection/…`, `cost/…`; lists and other non-numbers included."""
    own = record["metrics"] or {}
    metrics = {current(name): own.get(current(name), value) for name, value in own.items()}
    for section in SECTIONS:
        metrics |= {f"{section}/{key}": value for key, value in flat(record[section] or {}, "/").items()}
    return metrics


def flat(plain: Mapping[str, Any], separator: str = ".") -> dict[str, Any]:
    """Leaves of nested mappings by their path; lists as text, so that every value can be compared and grouped."""
    leaves: dict[str, Any] = {}
    _flatten(plain, separator, "", leaves)
    return leaves


def _flatten(plain: Mapping[str, Any], separator: str, prefix: str, leaves: dict[str, Any]) -> None:
    for key, value in plain.items():
        path = intern(prefix + key)  # thousands of runs have the same paths
        if isinstance(value, dict):  # JSON has no other mapping; asking for Mapping takes ten times as long
            _flatten(value, separator, path + separator, leaves)
        else:
            leaves[path] = _leaf(value) if separator == "." else value


def _leaf(value: Any) -> Any:
    return Listed(json.dumps(value)) if isinstance(value, list) else value


class FieldColumn(NamedTuple):
    """One field of every run. `codes` [runs]: the place in `values`, −1 for NO_VALUE, which is the last of them.
    `alike` [values]: the place of the first equal value (1 for 1.0), −1 of NO_VALUE.
    """

    codes: NDArray[Any]
    values: list[Value]
    alike: NDArray[Any]

    @classmethod
    def of(cls, column: Column) -> FieldColumn:
        values = [valued(plain) for plain in column.values]
        first: dict[Value, int] = {}
        alike = [first.setdefault(value, place) for place, value in enumerate(values)]
        return cls(column.codes, [*values, NO_VALUE], np.array([*alike, ABSENT], dtype=np.int32))

    def same(self, rows: NDArray[np.intp]) -> NDArray[np.int32]:
        """Codes [rows] that are equal where the values are."""
        return self.alike[self.codes[rows]]


class RunColumns:
    """The columns of a table of runs."""

    def __init__(self, table: RunTable):
        self.table = table
        self._keys = frozenset(table.keys())
        self._fields: dict[str, FieldColumn] = {}
        # Of each run, by key.
        self._plain: dict[str, list[Any]] = {}
        self._values: dict[str, list[Value]] = {}
        self._metrics: dict[str, list[Any]] = {}
        self._numbers: dict[str, list[Any]] = {}

    def runs(self) -> list[Run]:
        return [Run.of(self, row) for row in range(len(self.table))]

    def column(self, key: str) -> Column:
        """The plain values of a key of `store.columns.leaves`, and of `external`, see `Run`."""
        if key == "external":
            return self._external
        if key not in self._keys:
            return Column(np.full(len(self.table), ABSENT, dtype=np.int8), [])
        column = self.table.column(key)
        return used(column) if len(column.values) > len(self.table) else column

    def plain(self, key: str) -> list[Any]:
        """The plain value of each run; None where it has none."""
        if key not in self._plain:
            column = self.column(key)
            self._plain[key] = _each(column.codes, [*column.values, None, None])
        return self._plain[key]

    def field(self, key: str) -> FieldColumn:
        """A field as tables key and show it."""
        if key not in self._fields:
            self._fields[key] = FieldColumn.of(self._field(key))
        return self._fields[key]

    def values(self, key: str) -> list[Value]:
        """The field of each run."""
        if key not in self._values:
            column = self.field(key)
            self._values[key] = _each(column.codes, column.values)
        return self._values[key]

    def _field(self, key: str) -> Column:
        asked = (f"names/{key}", f"config/{key}", f"config/{key}.name", *FOLLOWS.get(key, ()))
        columns = {name: self.column(name) for name in asked if name in self._keys}
        if not columns.keys() - {f"config/{key}"} and key not in FOLLOWS:  # nothing else bears on it
            column = self.column(f"config/{key}")
            return Column(column.codes, [_leaf(value) for value in column.values])
        kinds, firsts = classes([column.codes for column in columns.values()], len(self.table))
        codes, known = np.full(len(firsts), ABSENT, dtype=np.int32), dict[Any, tuple[int, Any]]()
        for kind, row in enumerate(firsts.tolist()):
            sections: dict[str, dict[str, Any]] = {"names": {}, "config": {}}
            for name, column in columns.items():
                if (code := column.codes[row]) >= 0:
                    section, _, path = name.partition("/")
                    sections[section][path] = _leaf(column.values[code])
            found = fields_of(**sections)
            if key in found:
                codes[kind] = known.setdefault(identity(found[key]), (len(known), found[key]))[0]
        return Column(codes[kinds], [value for _, value in known.values()])

    @cached_property
    def _external(self) -> Column:
        keys = sorted(key for key in self._keys if key == FOREIGN or key.startswith(f"{FOREIGN}."))
        columns = {key: self.column(key) for key in keys}
        kinds, firsts = classes([column.codes for column in columns.values()], len(self.table))
        found = []
        for row in firsts.tolist():
            codes = {key: column.codes[row] for key, column in columns.items() if column.codes[row] != ABSENT}
            found.append(_whose({key: True if c == LISTED else columns[key].values[c] for key, c in codes.items()}))
        return Column(kinds, found)

    def metric(self, name: str) -> Column:
        """A metric under its current name; LISTED where it is a list."""
        if current(name) != name:
            return self.column("")
        head, _, last = name.rpartition("/")
        old = [f"metrics/{head}/val"] if last == "at_best_val" and current(f"{head}/val") == name else []
        keys = [*old, f"metrics/{name}", *([name] if name.startswith(tuple(f"{s}/" for s in SECTIONS)) else [])]
        columns = [self.column(key) for key in keys if key in self._keys]
        if len(columns) == 1:
            return columns[0]
        parts = [(rows, c) for c in columns if len(rows := np.flatnonzero(c.codes != ABSENT))]
        return joined([(rows, Column(c.codes[rows], c.values)) for rows, c in parts], len(self.table))

    def metrics(self, name: str) -> list[Any]:
        """The metric of each run: Ellipsis where it has none, an empty tuple where it is a list."""
        if name not in self._metrics:
            column = self.metric(name)
            self._metrics[name] = _each(column.codes, [*column.values, (), ...])
        return self._metrics[name]

    def numbers(self, name: str) -> list[Any]:
        """The metric of each run as a float; None where it has none or it is undefined; what is no number as it is."""
        if name not in self._numbers:
            column = self.metric(name)
            known = [float(value) if isinstance(value, (int, float)) else value for value in column.values]
            self._numbers[name] = _each(column.codes, [*known, (), None])
        return self._numbers[name]

    @cached_property
    def replicates(self) -> list[tuple[Value, Value]]:
        """(seed, data_seed) of each run."""
        return list(zip(self.values("seed"), self.values("data_seed"), strict=True))

    def metric_names(self) -> list[str]:
        """All metrics that a run may have."""
        sections = tuple(f"{section}/" for section in SECTIONS)
        own = (current(key.removeprefix("metrics/")) for key in self._keys if key.startswith("metrics/"))
        return [*own, *(key for key in self._keys if key.startswith(sections))]

    def field_names(self) -> list[str]:
        """All fields that a run may have: names of choices, then configuration paths in the order of the schema."""
        names = {key.removeprefix("names/") for key in self._keys if key.startswith("names/")}
        if "config/model.library" in self._keys:
            names.add("model")
        paths = {key.removeprefix("config/") for key in self._keys if key.startswith("config/")}
        place = {key: number for number, key in enumerate(options())}

        def order(key: str) -> tuple[bool, int, str]:
            return key not in names, place.get(key, len(place)), key

        return sorted(names | paths, key=order)

    @cached_property
    def varying(self) -> list[str]:
        """The fields in which runs may differ beyond seeds, machine and what is only noted."""
        keys = (
            k
            for k in self.field_names()
            if k not in MACHINE and k not in SEED_KEYS and k.rsplit(".", 1)[-1] not in NOTED
        )
        return [key for key in keys if key in CHANGED or len(np.unique(self.field(key).alike)) > 2]


def _whose(external: Mapping[str, Any]) -> str:
    """The source of other people's code. external: the leaves of `environment.external`, true for a list."""
    if not external or not external.get(FOREIGN, True):
        return ""
    whose = external.get(FOREIGN) or external.get(f"{FOREIGN}.note")
    return whose if isinstance(whose, str) and whose else "other code"


def _each(codes: NDArray[Any], known: Sequence[Item]) -> list[Item]:
    return [known[code] for code in codes.tolist()]


def classes(parts: Sequence[NDArray[Any]], count: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Number runs by their codes in several columns, in the order of each number's first run.

    Args: parts, codes [count] each. Returns: numbers [count], and the first run of each number.
    """
    if not count:
        return np.empty(0, np.intp), np.empty(0, np.intp)
    joint, size = np.zeros(count, dtype=np.int64), 1
    for codes in parts:
        low = int(codes.min())
        span = int(codes.max()) - low + 1
        if span == 1:
            continue
        joint = joint * span + (codes.astype(np.int64) - low)
        size *= span
        if size > 4 * count:
            there, joint = np.unique(joint, return_inverse=True)
            size = len(there)
    firsts = np.full(size, count)
    firsts[joint[::-1]] = np.arange(count)[::-1]  # where several are set the last one stays
    found = np.flatnonzero(firsts < count)
    order = found[np.argsort(firsts[found])]
    places = np.empty(size, dtype=np.intp)
    places[order] = np.arange(len(order))
    return places[joint], firsts[order]


class Run:
    """One run. Args: its folder and its record, which may lack sections."""

    __slots__ = ("_fields", "columns", "row")

    def __init__(self, path: Path, record: Mapping[str, Any]):
        self._set(columns_of([(path, record)]), 0)

    @classmethod
    def of(cls, columns: RunColumns, row: int) -> Run:
        run = cls.__new__(cls)
        run._set(columns, row)
        return run

    def _set(self, columns: RunColumns, row: int) -> None:
        self.columns, self.row = columns, row
        self._fields: dict[str, Any] | None = None

    @property
    def path(self) -> Path:
        return Path(self.columns.table.folders[self.row])

    @property
    def record(self) -> dict[str, Any]:
        """The whole record, from its file. Raises ConfigError where that has changed since the runs were loaded."""
        try:
            return self.columns.table.record(self.row)
        except (OSError, Damaged) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            raise ConfigError(f"{self.path}/run.json cannot be read any more: {reason}") from error

    @property
    def fields(self) -> dict[str, Any]:
        """All fields, in the record's order, see `fields_of`."""
        if self._fields is None:
            record = self.record
            self._fields = fields_of(record["names"], flat(record["config"]))
        return self._fields

    def field(self, key: str) -> Value:
        """One field as tables key and show it."""
        return self.columns.values(key)[self.row]

    def key(self, keys: Iterable[str]) -> Key:
        """The values of several fields: what groups runs."""
        return tuple([self.columns.values(key)[self.row] for key in keys])

    @property
    def metrics(self) -> Metrics:
        """Its metrics by name, see `metrics_of`."""
        return Metrics(self)

    def number(self, metric: str) -> float | None:
        """A metric that is one number; None where the run has none, or it is undefined."""
        value = self.columns.numbers(metric)[self.row]
        return value if value is None or type(value) is float else float(value)

    @property
    def hash(self) -> str:
        return str(self.columns.plain("hash")[self.row])

    @property
    def external(self) -> str:
        """The source of the code of an external result (`analysis.ingest`); empty for the suite's own."""
        return str(self.columns.plain("external")[self.row])

    @property
    def knows(self) -> Sequence[str]:
        """What the method was told."""
        return self.columns.plain("knows")[self.row] or ()

    @property
    def precision(self) -> str | None:
        """Of its arithmetic: `fp32`, `amp` …; None where that is not recorded."""
        return self.columns.plain("environment/precision")[self.row]

    @property
    def own_files(self) -> bool:
        """Whether its data have the name of an official data set but are the user's own files."""
        return self.field(CHECKSUM) == Value(TRUTH, False)

    @property
    def changed(self) -> tuple[str, ...]:
        """What it changed of its recipe, which other runs of this recipe did not: `recipe.optimizer=adamw`."""
        there = ((key, self.field(key)) for key in CHANGED)
        return tuple(f"{key}={value}" for key, value in there if _changed(key, value))

    @property
    def replicate(self) -> tuple[Value, Value]:
        """(seed, data_seed): what two runs must share to be a pair."""
        return self.columns.replicates[self.row]

    @property
    def labels(self) -> str | None:
        """Fingerprint of the labels that the method was trained on."""
        return self.columns.plain("data/fingerprints/observed_labels")[self.row]


def _changed(key: str, value: Value) -> bool:
    return value.kind not in (NO_SUCH_KEY, NULL) and value.plain != defaults()[key]


class Metrics(Mapping[str, Any]):
    """The metrics of a run by name, from columns; lists, and all of them together, from its record."""

    __slots__ = ("_run",)

    def __init__(self, run: Run):
        self._run = run

    def __getitem__(self, name: str) -> Any:
        value = self._run.columns.metrics(name)[self._run.row]
        if value is ...:
            raise KeyError(name)
        return metrics_of(self._run.record)[name] if value == () else value

    def __contains__(self, name: object) -> bool:
        return self._run.columns.metrics(str(name))[self._run.row] is not ...

    def __iter__(self) -> Iterator[str]:
        return iter(metrics_of(self._run.record))

    def __len__(self) -> int:
        return len(metrics_of(self._run.record))


def columns_of(found: Sequence[tuple[Path, Mapping[str, Any]]]) -> RunColumns:
    """The columns of records in memory. found: (folder, record), which may lack sections."""
    rows, growing = np.arange(len(found)), Growing()
    records = [{**EMPTY, **record} for _, record in found]
    for record in records:
        growing.add(leaves(record))
    folders = [str(path) for path, _ in found]
    segment = Segment(folders, np.zeros((len(found), 3), np.int64), growing.columns())
    return RunColumns(RunTable(folders, [(rows, rows, segment)], dict(zip(folders, records, strict=True))))


def shared(runs: Sequence[Run]) -> tuple[RunColumns, NDArray[np.intp]]:
    """Columns that hold all of these runs, and their rows there [runs]."""
    rows = np.fromiter(map(_ROW, runs), dtype=np.intp, count=len(runs))
    parts, first = dict.fromkeys(map(_COLUMNS, runs)), 0
    if len(parts) == 1:  # as always but in a figure or a claim of several folders
        return next(iter(parts)), rows
    for part in parts:
        parts[part], first = first, first + len(part.table)
    rows += np.fromiter((parts[run.columns] for run in runs), dtype=np.intp, count=len(runs))
    return RunColumns(RunTable.of([part.table for part in parts])), rows


_ROW, _COLUMNS = attrgetter("row"), attrgetter("columns")


def differences(groups: Sequence[Sequence[Run]]) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    """For each field in which runs of one group may differ, whether those of each group do [groups].

    Seeds, machine and what is only noted are left out; names of choices come first. A field that one run lacks does not
    count, unless another changed its recipe by it: records made before a key existed had its default.
    """
    if not groups:
        return
    columns, rows = shared([run for members in groups for run in members])
    starts = np.cumsum([0, *map(len, groups[:-1])])
    for key in columns.varying:
        column = columns.field(key)
        codes = column.same(rows)
        most, none = np.maximum.reduceat(codes, starts), np.minimum.reduceat(codes, starts) < 0
        least = np.minimum.reduceat(np.where(codes < 0, len(column.values), codes), starts)
        differ = most > least
        if key in CHANGED:  # they may change much, and are never pooled
            changed = np.array([_changed(key, value) for value in column.values])
            differ |= (most == least) & none & changed[most]
        yield key, differ
