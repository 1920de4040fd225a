"""Finished runs for the analysis: which there are, filters, and checks of what is asked of them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from analysis.columns import SECTIONS, Run, RunColumns, classes, differences, shared
from analysis.metrics import absent, current, exists
from analysis.values import Key, listed, meant
from sfa_bench.config.values import nearest, options
from sfa_bench.doors import Door
from sfa_bench.errors import ConfigError
from sfa_bench.store.columns import ABSENT, LISTED
from sfa_bench.store.ledger import no_garbage, table

# What a run was made on, but for its seed; and what else makes runs comparable or not.
DATA = ("dataset", "imbalance", "imb_factor", "noise", "noise_ratio")
SETTING = (*DATA, "model", "recipe")
# Arguments that many commands have.
RUNS: dict[str, Any] = {"nargs": "+", "type": Path, "help": "runs folders, or folders of single runs"}
WHERE: dict[str, Any] = {"default": "", "help": "only these runs: KEY=VALUE[,VALUE…][,KEY=VALUE…]"}

Item = TypeVar("Item")
Group = TypeVar("Group")
Cells = dict[tuple[Key, Key], list[Run]]  # (values of the row keys, values of the column keys) -> runs


def check_folders(paths: Iterable[Path]) -> None:
    """Refuse a folder that does not exist."""
    for path in paths:
        if not path.exists():
            raise ConfigError(f"there is no folder {path}")


def load(paths: Iterable[Path], where: str = "") -> tuple[list[Run], Counter[str]]:
    """The finished runs at or below the paths, a hash once, and how many others there are of every state, without those
    that are finished elsewhere.

    Args: where, conditions as `parse_pairs` reads them. Raises: ConfigError with a sentence when there is nothing to
    show.
    """
    paths = list(paths)
    check_folders(paths)
    with no_garbage():
        everyone = table(paths)
        states = np.array(everyone.values("state"), dtype=object)
        done, hashes = states == "done", everyone.column("hash").codes
        rows = np.flatnonzero(done)
        rest = np.flatnonzero(~done & ~np.isin(hashes, hashes[rows]))
        if not len(rows):
            places = ", ".join(map(str, paths))
            there = Counter(states.tolist())
            known = f" ({counted(there)})" if there else "; a run's folder holds a readable run.json"
            raise ConfigError(f"no finished run in {places}{known}")
        firsts = np.unique(hashes[rows], return_index=True)[1]
        columns = RunColumns(everyone.take(rows[np.sort(firsts)]))
        if where:
            conditions = parse_pairs(where)
            columns = RunColumns(columns.table.take(_chosen(columns, np.arange(len(firsts)), conditions)))
            unfinished = RunColumns(everyone.take(rest))
            rest = rest[_chosen(unfinished, np.arange(len(rest)), conditions, refuse=False)]
        return columns.runs(), Counter(states[rest].tolist())


def reason(record: Mapping[str, Any]) -> str:
    """The reason in its record why a run is not done: `SIGINT`, `RunError: the loss is not finite`."""
    error = record["error"]
    if not isinstance(error, Mapping):
        return str(error or "").strip()
    kind, message = (str(error.get(key) or "") for key in ("type", "message"))
    return message if record["state"] == "interrupted" else ": ".join(part for part in (kind, message) if part)


@contextmanager
def reading(run: Run) -> Iterator[None]:
    """Turn errors inside the block into a ConfigError that names the run whose files are missing or inconsistent."""
    try:
        yield
    except ConfigError:
        raise
    except (KeyError, IndexError, TypeError, ValueError, ArithmeticError) as error:
        raise ConfigError(
            f"{run.path}: what is needed of it is missing or does not fit together ({type(error).__name__}: {error}); "
            "leave that run out with --where, or run it again"
        ) from error


def counted(states: Counter[str]) -> str:
    return ", ".join(f"{count} {state}" for state, count in sorted(states.items()))


def not_counted(states: Counter[str]) -> list[str]:
    """A sentence on runs that are not finished, where there are any."""
    return [f"not finished and not counted: {counted(states)}"] if states else []


def grouped(items: Iterable[Item], key: Callable[[Item], Group]) -> dict[Group, list[Item]]:
    """What has the same key, in the order of each key's first."""
    groups: dict[Group, list[Item]] = {}
    for item in items:
        groups.setdefault(key(item), []).append(item)
    return groups


def grouped_by(runs: Sequence[Run], keys: Sequence[str]) -> dict[Key, list[Run]]:
    """Runs by their values of these keys, as `grouped` has them."""
    numbers, firsts = kinds(runs, keys)
    members: list[list[Run]] = [[] for _ in firsts]
    for run, number in zip(runs, numbers, strict=True):
        members[number].append(run)
    return {group[0].key(keys): group for group in members}


def cells_of(runs: Sequence[Run], rows: Sequence[str], cols: Sequence[str]) -> Cells:
    """The cells of a table of these runs."""
    groups = grouped_by(runs, [*rows, *cols])
    return {(key[: len(rows)], key[len(rows) :]): members for key, members in groups.items()}


def distinct(runs: Sequence[Run], keys: Sequence[str]) -> list[Key]:
    """The different values of these keys together, in the order of each one's first run."""
    return [runs[first].key(keys) for first in kinds(runs, keys)[1]]


def kinds(runs: Sequence[Run], keys: Sequence[str], also: Sequence[str] = ()) -> tuple[list[int], list[int]]:
    """Number runs by their values of these keys. Args: also, keys of `RunColumns.column`.

    Returns: the number of each run, and the place of each number's first run.
    """
    columns, rows = shared(runs)
    codes = [columns.field(key).same(rows) for key in keys] + [columns.column(key).codes[rows] for key in also]
    numbers, firsts = classes(codes, len(rows))
    return numbers.tolist(), firsts.tolist()


def check_alike(groups: Iterable[Sequence[Run]], what: str, options: str) -> None:
    """Refuse runs of one group (`cell`, `series` …) that differ in a setting. Args: options, that take a key more."""
    several = [members for members in groups if len(members) > 1]
    if found := first_difference(several):
        members, key = found
        shown = listed(run.field(key) for run in members)
        raise ConfigError(f"runs of one {what} differ in {key} ({shown}): add {key} to {options} or --where")


def first_difference(groups: Sequence[Sequence[Run]]) -> tuple[Sequence[Run], str] | None:
    """The first group whose runs differ, and the first key in which they do, see `differences`."""
    found = [(int(np.argmax(differ)), key) for key, differ in differences(groups) if differ.any()]
    if not found:
        return None
    place, key = min(found, key=lambda pair: pair[0])
    return groups[place], key


def differing(runs: Sequence[Run]) -> Iterator[str]:
    """The keys in which these runs differ, see `differences`."""
    return (key for key, differ in differences([runs]) if differ[0])


def check_fields(runs: Sequence[Run], keys: Iterable[str]) -> None:
    """Refuse a key that no run has, with the nearest one that exists."""
    _check_fields(*shared(runs), keys)


def _check_fields(columns: RunColumns, rows: NDArray[np.intp], keys: Iterable[str]) -> None:
    for key in keys:
        if _has_field(columns, rows, key):
            continue
        if key in options() and not is_dataclass(options()[key][0]):
            raise ConfigError(f"no run has a key {key}: it exists, but the choices of these runs do not have it")
        near = nearest(key, sorted(known for known in columns.field_names() if _has_field(columns, rows, known)))
        hint = f"; did you mean {near}?" if near else f" ({Door.here.run} --help lists the keys)"
        raise ConfigError(f"no run has a key {key}{hint}")


def has_field(runs: Sequence[Run], key: str) -> bool:
    """Whether any run has a field."""
    return _has_field(*shared(runs), key)


def _has_field(columns: RunColumns, rows: NDArray[np.intp], key: str) -> bool:
    return bool((columns.field(key).codes[rows] >= 0).any())


def check_metric(runs: Sequence[Run], metric: str) -> None:
    """Refuse a metric that no run has or that is no single number."""
    columns, rows = shared(runs)

    def kinds_of(name: str) -> set[type]:
        column = columns.metric(name)
        there = set(np.unique(column.codes[rows]).tolist())
        return {type(column.values[code]) if code != LISTED else list for code in there - {ABSENT}}

    found = kinds_of(metric)
    if not found:
        raise ConfigError(absent(metric, {m for m in columns.metric_names() if kinds_of(m) - {list, str}}))
    if found & {list, str, bool}:
        raise ConfigError(f"{metric} is not one number a run; a table needs one")


def metric_name(runs: Sequence[Run], name: str) -> str:
    """The current name of a metric; `tail` stands for `test/acc/tail`, `macro_f1` for `test/macro_f1`, `auc` for
    `selection/auc`.
    """
    places = ("test/acc", "test", *SECTIONS)
    full = [current(metric) for metric in (name, *(f"{place}/{name}" for place in places))]
    there = (metric for metric in full if has_metric(runs, metric))
    return next(there, next(filter(exists, full), full[0]))


def has_metric(runs: Sequence[Run], metric: str) -> bool:
    """Whether any run has the metric, if only as undefined."""
    columns, rows = shared(runs)
    return bool((columns.metric(metric).codes[rows] != ABSENT).any())


def words(text: str) -> list[str]:
    """Split at commas."""
    return [word.strip() for word in text.split(",") if word.strip()]


def parse_pairs(text: str) -> dict[str, list[str]]:
    """`method=dividemix,rolt,noise_ratio=0.2` -> {"method": ["dividemix", "rolt"], "noise_ratio": ["0.2"]}; a comma
    between double quotes or brackets is part of a value.
    """
    pairs: dict[str, list[str]] = {}
    key = ""
    for part in map(str.strip, _PART.findall(f"{text},")):
        head, equals, value = part.partition("=")
        if not equals or head.startswith(('"', "[")):
            head, value = key, part
        key = head
        if not key or not value:
            raise ConfigError(f"{text!r} is not of the form KEY=VALUE[,VALUE…][,KEY=VALUE…]")
        pairs.setdefault(key, []).append(value)
    return pairs


_QUOTED = r'"(?:\\.|[^"\\])*"'
_PART = re.compile(rf'((?:{_QUOTED}|\[(?:{_QUOTED}|[^\]\["])*\]|[^,])*),')


def select(runs: Sequence[Run], conditions: Mapping[str, Sequence[str]]) -> list[Run]:
    """The runs that have one of the given values under every key. Raises ConfigError for a value that no run has."""
    return [runs[place] for place in _chosen(*shared(runs), conditions)]


def _chosen(
    columns: RunColumns, rows: NDArray[np.intp], conditions: Mapping[str, Sequence[str]], refuse: bool = True
) -> NDArray[np.intp]:
    """The places of the rows that `select` takes. Args: refuse, what no run has."""
    if refuse:
        _check_fields(columns, rows, conditions)
    chosen = np.ones(len(rows), dtype=bool)
    for key, texts in conditions.items():
        column = columns.field(key)
        codes = column.same(rows)
        present = {column.values[code]: code for code in np.unique(codes).tolist() if code >= 0}
        wanted = []
        for text in texts:
            if (value := meant(present, text)) is not None:
                wanted.append(present[value])
            elif refuse:
                raise ConfigError(f"no run has {key}={text}; there is {listed(present)}")
        chosen &= np.isin(codes, wanted)
    if refuse and not chosen.any():
        raise ConfigError("no run has all of " + " ".join(f"{key}={','.join(v)}" for key, v in conditions.items()))
    return np.flatnonzero(chosen)
