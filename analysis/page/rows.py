"""Fields and figures of all runs as columns, and a run as a row of them: what a page of many runs reads no record for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from analysis.metrics import current
from analysis.runs import CHECKED, CHECKSUM, NOTED, SECTIONS, SEEDS, WITHOUT, Run
from analysis.values import NO_VALUE, Listed, Value, valued
from sfa_bench.choices.recipes import CHANGED
from sfa_bench.config.canonical import MACHINE, defaults
from sfa_bench.store.columns import ABSENT, LISTED, Column, identity, leaves
from sfa_bench.store.run_table import RunTable

NOTHING = object()  # stands for no such key; None is a value
WHOSE = "environment/external"
SEPARATELY = {key: group for group, (key, _) in WITHOUT.items()}
TWO = 2  # codes below 0: ABSENT, LISTED


class Columns:
    """What `analysis.runs.Run` says of one run, of all runs of a table."""

    def __init__(self, table: RunTable):
        self.table = table
        self._fields: dict[str, Column] = {}
        self._ranked: dict[str, tuple[np.ndarray, list[Value]]] = {}

    @cached_property
    def groups(self) -> list[str]:
        """The groups whose choices records name."""
        return sorted(key.removeprefix("names/") for key in self.table.keys() if key.startswith("names/"))

    @cached_property
    def keys(self) -> list[str]:
        """The keys of fields that any run has: the groups, then the paths of the configuration as one record has them."""
        paths = [key.removeprefix("config/") for key in in_order(self.table) if key.startswith("config/")]
        return list(dict.fromkeys([*self.groups, *paths]))

    def field(self, key: str) -> Column:
        """One field of every run, see `Run.fields`; lists as `Listed`."""
        if key not in self._fields:
            self._fields[key] = self._field(key)
        return self._fields[key]

    def _field(self, key: str) -> Column:
        own = f"config/{key}"
        if key in self.groups:
            further = {"dataset": ["config/dataset.name"], "model": ["config/model.library", "config/model.name"]}
            keys = [own, f"names/{key}", f"config/{key}.name", *further.get(key, [])]
            return self._derived(keys, {"dataset": _dataset, "model": _model}.get(key, _choice))
        if key in SEPARATELY:
            choices = WITHOUT[SEPARATELY[key]][1]
            return self._derived([own, f"names/{SEPARATELY[key]}"], lambda v, n: NOTHING if n in choices else v)
        if key == CHECKSUM:
            return self._derived([own, "config/dataset.source", "names/dataset", "config/dataset.name"], _checksum)
        column = self.table.column(own)
        return Column(column.codes, list(map(_plain, column.values)))

    @cached_property
    def external(self) -> Column:
        """The source of the code of external results; empty for the suite's own."""
        parts = [key for key in self.table.keys() if key.startswith(f"{WHOSE}.") and key != f"{WHOSE}.note"]
        return self._derived([WHOSE, f"{WHOSE}.note", *parts], _whose)

    def _derived(self, keys: Sequence[str], rule: Callable[..., Any]) -> Column:
        """The column of rule(values of these keys), asked once for each combination of values."""
        columns = [self.table.column(key) for key in keys]
        combined = together([(column.codes, len(column.values)) for column in columns])
        _, first, inverse = np.unique(combined, return_index=True, return_inverse=True)
        places: dict[Any, tuple[int, Any]] = {}
        codes = []
        for row in first:
            value = rule(*(_at(column, row) for column in columns))
            known = value is not NOTHING
            codes.append(places.setdefault(identity(value), (len(places), value))[0] if known else ABSENT)
        return Column(np.array(codes, np.int32)[inverse], [value for _, value in places.values()])

    def ranked(self, key: str) -> tuple[np.ndarray, list[Value]]:
        """Codes [runs] that sort as the values of a field do, equal where these are, and the values in order."""
        if key not in self._ranked:
            column = self.field(key)
            values = [*map(valued, column.values), NO_VALUE, NO_VALUE]  # the last for ABSENT
            there = sorted({values[code] for code in np.unique(column.codes)})
            rank = {value: place for place, value in enumerate(there)}
            self._ranked[key] = np.array([rank.get(value, -1) for value in values], np.int32)[column.codes], there
        return self._ranked[key]

    def numbers(self, metric: str) -> np.ndarray:
        """A metric of every run [runs] float64, NaN where a run has none or no single number."""
        column = self.table.column(metric_key(metric))
        plain = [value if isinstance(value, (int, float)) else np.nan for value in column.values]
        return np.array([*plain, np.nan, np.nan], np.float64)[column.codes]

    @cached_property
    def patterns(self) -> tuple[np.ndarray, list[list[str]]]:
        """Which fields runs have: the number of each run's set of keys [runs], and these sets."""
        there = [(self.field(key).codes >= 0) for key in self.keys]
        combined = together([(present, 2) for present in there])
        _, first, inverse = np.unique(combined, return_index=True, return_inverse=True)
        sets = [[key for key, present in zip(self.keys, there, strict=True) if present[row]] for row in first]
        return inverse, sets


def in_order(table: RunTable) -> list[str]:
    """The keys of a table in an order that does not depend on where they were read: as in its first record, then by
    name.
    """
    keys = set(table.keys())
    try:
        known = [key for key, _ in leaves(table.record(0))]
    except (OSError, ValueError):  # changed meanwhile
        known = []
    return [*dict.fromkeys(key for key in known if key in keys), *sorted(keys - set(known))]


def together(parts: Sequence[tuple[np.ndarray, int]]) -> np.ndarray:
    """One number for each combination of codes. parts: codes [n] from -2, and how many they are from 0."""
    combined = np.zeros(len(parts[0][0]), np.int64)
    many = 1
    for codes, values in parts:
        if many * (values + TWO) >= 2**62:
            _, combined = np.unique(combined, return_inverse=True)
            many = int(combined.max(initial=0)) + 1
        combined = combined * (values + TWO) + codes + TWO
        many *= values + TWO
    return combined


def is_setting(key: str) -> bool:
    """Whether runs that differ in this field are not replicates of each other, see `analysis.runs.differing`."""
    return not (key in MACHINE or key in SEEDS or key.rsplit(".", 1)[-1] in NOTED)


def differs(key: str, column: Column, codes: np.ndarray) -> bool:
    """Whether runs with these codes of a field differ in it, see `analysis.runs.differing`."""
    values = {column.values[code] for code in np.unique(codes) if code >= 0}
    if key in CHANGED and len(values) == 1 and (codes < 0).any():
        values |= {defaults()[key]} if None not in values else set()
    kinds = {valued(column.values[code]) for code in np.unique(codes) if code >= 0}
    return len(values) > 1 or (values <= {0, 1} and len(kinds) > 1)


def metric_key(metric: str) -> str:
    """The key of a metric in a table."""
    return metric if metric.split("/", 1)[0] in SECTIONS else f"metrics/{metric}"


def _plain(value: Any) -> Any:
    return Listed(identity(value)) if isinstance(value, list) else value


def _at(column: Column, row: int) -> Any:
    code = column.codes[row]
    return NOTHING if code == ABSENT else [...] if code == LISTED else _plain(column.values[code])


def _choice(own: Any, name: Any, called: Any) -> Any:
    return own if name is NOTHING else name if name != "auto" or called is NOTHING else called


def _dataset(own: Any, name: Any, called: Any, data: Any) -> Any:
    name = data if name is not NOTHING and data is not NOTHING and data else name
    return _choice(own, name, called)


def _model(own: Any, name: Any, called: Any, library: Any, model: Any) -> Any:
    return f"{library}/{model}" if library is not NOTHING and library else _choice(own, name, called)


def _checksum(own: Any, source: Any, name: Any, data: Any) -> Any:
    if own is NOTHING:
        return NOTHING
    name = None if name is NOTHING else data if data is not NOTHING and data else name
    return own if (name if source is NOTHING else source) in CHECKED else True


def _whose(direct: Any, note: Any, *parts: Any) -> str:
    whose = None if direct is NOTHING else direct
    if note is not NOTHING or any(part is not NOTHING for part in parts):
        whose = "other code" if note is NOTHING else note or "other code"
    return (whose if isinstance(whose, str) else "other code") if whose else ""


class Part(Mapping[str, Any]):
    """Some values of one row: a mapping from the rest of their keys."""

    def __init__(self, run: Row, column: Callable[[str], Column], keys: Callable[[], Sequence[str]]):
        self._run, self._column, self._keys = run, column, keys

    def __getitem__(self, key: str) -> Any:
        column = self._column(key)
        code = column.codes[self._run.row]
        if code == LISTED:
            return [...]  # what is in it only the file has
        if code == ABSENT:
            raise KeyError(key)
        return column.values[code]

    def __iter__(self) -> Iterator[str]:
        return iter(self._keys())

    def __len__(self) -> int:
        return len(self._keys())


class Row(Run):
    """A run as a row of columns; its record is read when something asks for what these do not have."""

    def __init__(self, columns: Columns, row: int):
        self.__dict__.update(columns=columns, row=row)

    columns: Columns
    row: int

    @property
    def path(self) -> Path:  # type: ignore[override]
        return Path(self.columns.table.folders[self.row])

    @property
    def record(self) -> Mapping[str, Any]:  # type: ignore[override]
        return Record(self)

    def section(self, prefix: str) -> Part:
        table = self.columns.table

        def keys() -> list[str]:
            there = (key for key in table.keys() if key.startswith(prefix))
            return [key.removeprefix(prefix) for key in there if table.column(key).codes[self.row] != ABSENT]

        return Part(self, lambda key: table.column(prefix + key), keys)

    @property
    def fields(self) -> Mapping[str, Any]:  # type: ignore[override]
        number, sets = self.columns.patterns
        return Part(self, self.columns.field, lambda: sets[number[self.row]])

    def field(self, key: str) -> Value:
        codes, values = self.columns.ranked(key)
        return values[codes[self.row]]

    @property
    def metrics(self) -> Mapping[str, Any]:  # type: ignore[override]
        table = self.columns.table

        def keys() -> list[str]:
            there = (key for key in table.keys() if key.split("/", 1)[0] in ("metrics", *SECTIONS))
            return [_metric(key) for key in there if table.column(key).codes[self.row] != ABSENT]

        return Part(self, lambda metric: table.column(metric_key(metric)), keys)

    @property
    def hash(self) -> str:
        return str(self.record["hash"])

    @property
    def external(self) -> str:
        return str(_at(self.columns.external, self.row))

    @property
    def labels(self) -> str | None:
        return self.section("data/fingerprints/").get("observed_labels")


def _metric(key: str) -> str:
    return current(key.removeprefix("metrics/"))


class Record(Mapping[str, Any]):
    """A record as far as columns have it, else from its file."""

    def __init__(self, run: Row):
        self._run = run

    def __getitem__(self, key: str) -> Any:
        run = self._run
        if key in ("state", "hash", "command", "knows"):
            return run.section("")[key]
        if key in ("names", "environment"):
            return run.section(f"{key}/")
        if key == "error":
            return dict(run.section("error/")) or None
        return run.columns.table.record(run.row)[key]

    def __iter__(self) -> Iterator[str]:
        return iter(run_keys())

    def __len__(self) -> int:
        return len(run_keys())


def run_keys() -> tuple[str, ...]:
    from sfa_bench.store.record import KEYS

    return KEYS
