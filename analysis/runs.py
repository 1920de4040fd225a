"""Finished runs for the analysis: fields by name or configuration path, metrics, filters."""

from __future__ import annotations

import gc
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, is_dataclass
from functools import cached_property
from pathlib import Path
from sys import intern
from typing import Any, TypeVar

from analysis.metrics import absent, current, exists
from analysis.values import NO_VALUE, Key, Listed, Value, listed, meant, valued
from sfa_bench.choices.noises import WITHOUT_RATIO
from sfa_bench.choices.recipes import CHANGED
from sfa_bench.choices.sources import named
from sfa_bench.config.canonical import MACHINE, defaults
from sfa_bench.config.values import nearest, options
from sfa_bench.doors import Door
from sfa_bench.errors import ConfigError
from sfa_bench.store.ledger import records

SEEDS = ("replicate", "seed", "data_seed")
# What a run was made on, but for its seed; and what else makes runs comparable or not.
DATA = ("dataset", "imbalance", "imb_factor", "noise", "noise_ratio")
SETTING = (*DATA, "model", "recipe")
# Arguments that many commands have.
RUNS: dict[str, Any] = {"nargs": "+", "type": Path, "help": "runs folders, or folders of single runs"}
WHERE: dict[str, Any] = {"default": "", "help": "only these runs: KEY=VALUE[,VALUE…][,KEY=VALUE…]"}
# May differ between runs of one cell, with a footnote.
NOTED = ("precision", "revision")
# Keys without effect, by the choices of a group.
WITHOUT = {"noise": ("noise_ratio", WITHOUT_RATIO), "imbalance": ("imb_factor", ("none",))}
SECTIONS = ("selection", "cost")
CHECKED = frozenset(named("checked"))
CHECKSUM = "dataset.checksum"


@dataclass(frozen=True)
class Run:
    """One finished run."""

    path: Path
    record: Mapping[str, Any]

    @cached_property
    def fields(self) -> dict[str, Any]:
        """Names of choices (`method`, `plugin` …; `auto` as what it stood for) and every configuration path."""
        config = flat(self.record["config"])
        names = dict(self.record["names"])
        if "dataset" in names:  # older records have the choice there (`folder`), not the name of the data
            names["dataset"] = config.get("dataset.name") or names["dataset"]
        if library := config.get("model.library"):  # the suite's own may have the same name
            names["model"] = f"{library}/{config['model.name']}"
        for group, (key, choices) in WITHOUT.items():
            if names.get(group) in choices:
                config.pop(key, None)
        if CHECKSUM in config and config.get("dataset.source", names.get("dataset")) not in CHECKED:
            config[CHECKSUM] = True  # false means something only where there are official checksums
        return config | {k: config.get(f"{k}.name", name) if name == "auto" else name for k, name in names.items()}

    def field(self, key: str) -> Value:
        """One field as tables key and show it."""
        return valued(self.fields[key]) if key in self.fields else NO_VALUE

    def key(self, keys: Iterable[str]) -> Key:
        """The values of several fields: what groups runs."""
        return tuple(map(self.field, keys))

    @cached_property
    def metrics(self) -> dict[str, Any]:
        """`test/…` and `val/…`, and `selection/…`, `cost/…`; lists and other non-numbers included."""
        metrics = {current(name): value for name, value in (self.record["metrics"] or {}).items()}
        for section in SECTIONS:
            metrics |= {f"{section}/{key}": value for key, value in flat(self.record[section] or {}, "/").items()}
        return metrics

    @property
    def hash(self) -> str:
        return str(self.record["hash"])

    @property
    def external(self) -> str:
        """The source of the code of an external result (`analysis.ingest`); empty for the suite's own."""
        whose = self.record["environment"].get("external")
        if isinstance(whose, dict):
            whose = whose.get("note") or "other code"
        return (whose if isinstance(whose, str) else "other code") if whose else ""

    @property
    def own_files(self) -> bool:
        """Whether its data have the name of an official data set but are the user's own files."""
        return self.fields.get(CHECKSUM) is False

    @property
    def changed(self) -> tuple[str, ...]:
        """What it changed of its recipe, which other runs of this recipe did not: `recipe.optimizer=adamw`."""
        usual = defaults()
        there = ((key, self.fields[key]) for key in CHANGED if key in self.fields)
        return tuple(f"{key}={self.field(key)}" for key, value in there if value is not None and value != usual[key])

    @property
    def replicate(self) -> tuple[Value, Value]:
        """(seed, data_seed): what two runs must share to be a pair."""
        return self.field("seed"), self.field("data_seed")

    @property
    def labels(self) -> str | None:
        """Fingerprint of the labels that the method was trained on."""
        return (self.record["data"].get("fingerprints") or {}).get("observed_labels")


Item = TypeVar("Item")
Group = TypeVar("Group")
Cells = dict[tuple[Key, Key], list[Run]]  # (values of the row keys, values of the column keys) -> runs


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
        elif separator == "." and isinstance(value, list):
            leaves[path] = Listed(json.dumps(value))
        else:
            leaves[path] = value


def check_folders(paths: Iterable[Path]) -> None:
    """Refuse a folder that does not exist."""
    for path in paths:
        if not path.exists():
            raise ConfigError(f"there is no folder {path}")


def load(paths: Iterable[Path], where: str = "") -> tuple[list[Run], Counter[str]]:
    """The finished runs at or below the paths, a hash once, and how many there are of every other state.

    Args: where, conditions as `parse_pairs` reads them. Raises: ConfigError with a sentence when there is nothing to
    show.
    """
    paths = list(paths)
    check_folders(paths)
    done: dict[str, Run] = {}
    others: Counter[str] = Counter()
    with no_garbage():
        for path, record in records(paths):
            if record["state"] == "done":
                done.setdefault(str(record["hash"]), Run(path, record))
            else:
                others[record["state"]] += 1
    if not done:
        places = ", ".join(map(str, paths))
        states = f" ({counted(others)})" if others else "; a run's folder holds a readable run.json"
        raise ConfigError(f"no finished run in {places}{states}")
    runs = list(done.values())
    return select(runs, parse_pairs(where)) if where else runs, others


@contextmanager
def no_garbage() -> Iterator[None]:
    """Disable garbage collection: while millions of values are created that all stay, it takes half of the time."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
            gc.freeze()


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


def check_alike(groups: Iterable[Sequence[Run]], what: str, options: str) -> None:
    """Refuse runs of one group (`cell`, `series` …) that differ in a setting. Args: options, that take a key more."""
    for members in groups:
        if key := next(differing(members), None):
            shown = listed(run.field(key) for run in members)
            raise ConfigError(f"runs of one {what} differ in {key} ({shown}): add {key} to {options} or --where")


def check_fields(runs: Sequence[Run], keys: Iterable[str]) -> None:
    """Refuse a key that no run has, with the nearest one that exists."""
    known = {key for run in runs for key in run.fields}
    for key in keys:
        if key in known:
            continue
        if key in options() and not is_dataclass(options()[key][0]):
            raise ConfigError(f"no run has a key {key}: it exists, but the choices of these runs do not have it")
        near = nearest(key, sorted(known))
        hint = f"; did you mean {near}?" if near else f" ({Door.here.run} --help lists the keys)"
        raise ConfigError(f"no run has a key {key}{hint}")


def check_metric(runs: Sequence[Run], metric: str) -> None:
    """Refuse a metric that no run has or that is no single number."""
    values = [run.metrics[metric] for run in runs if metric in run.metrics]
    if not values:
        there = {key for run in runs for key, value in run.metrics.items() if not isinstance(value, (list, str))}
        raise ConfigError(absent(metric, there))
    if any(isinstance(value, (list, str, bool)) for value in values):
        raise ConfigError(f"{metric} is not one number a run; a table needs one")


def metric_name(runs: Sequence[Run], name: str) -> str:
    """The current name of a metric; `tail` stands for `test/acc/tail`, `macro_f1` for `test/macro_f1`, `auc` for
    `selection/auc`.
    """
    places = ("test/acc", "test", *SECTIONS)
    full = [current(metric) for metric in (name, *(f"{place}/{name}" for place in places))]
    there = (metric for metric in full if any(metric in run.metrics for run in runs))
    return next(there, next(filter(exists, full), full[0]))


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
    check_fields(runs, conditions)
    wanted: dict[str, set[Value]] = {}
    for key, texts in conditions.items():
        present = {run.field(key) for run in runs} - {NO_VALUE}
        for text in texts:
            if (value := meant(present, text)) is None:
                raise ConfigError(f"no run has {key}={text}; there is {listed(present)}")
            wanted.setdefault(key, set()).add(value)
    chosen = [run for run in runs if all(run.field(key) in values for key, values in wanted.items())]
    if not chosen:
        raise ConfigError("no run has all of " + " ".join(f"{key}={','.join(v)}" for key, v in conditions.items()))
    return chosen


def differing(runs: Sequence[Run]) -> Iterator[str]:
    """Fields in which runs differ beyond seeds, machine and what is only noted; names of choices first.

    A field that one record lacks does not count, unless another run changed its recipe by it: records made before a
    key existed had its default.
    """
    everyone = [run.fields for run in runs]
    for key in dict.fromkeys(key for run in runs for key in (*run.record["names"], *run.fields)):
        if key in MACHINE or key in SEEDS or key.rsplit(".", 1)[-1] in NOTED:
            continue
        values = {fields[key] for fields in everyone if key in fields}
        # Python takes true for 1: only there the slower comparison by kind is needed.
        if key in CHANGED and len(values) == 1 and any(key not in fields for fields in everyone):
            values |= {defaults()[key]} if None not in values else set()  # they may change much, and are never pooled
        if len(values) > 1 or (values <= {0, 1} and len({run.field(key) for run in runs} - {NO_VALUE}) > 1):
            yield key
