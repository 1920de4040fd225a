"""Runs for the page: their columns, and what only files have, by several processes and as far as there is room."""

from __future__ import annotations

import hashlib
import math
import os
import re
import zlib
from collections import Counter, deque
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from analysis.columns import Run, RunColumns, flat
from analysis.page.encode import compact, rounded
from analysis.runs import check_folders, load
from analysis.values import meant
from sfa_bench.store.folder import MOST_METRICS, RunFolder
from sfa_bench.store.ledger import table
from sfa_bench.store.reading import Damaged, parse, read_bytes
from sfa_bench.store.record import load as load_record
from sfa_bench.store.shapes import whole

# Series of a run's curves: name, where it is in a line of metrics.jsonl, steps per unit (what it is rounded to).
SERIES = (
    ("accuracy", "test/acc", 10),
    ("precision", "selection/precision", 1000),
    ("recall", "selection/recall", 1000),
    ("auc", "selection/auc", 1000),
)
MANY = 400  # runs from which a second process is worth its start
TOGETHER = 50  # runs that a process reads at a time
AHEAD = 200  # such parts that are asked for before the first is looked at
# Sections of a record whose lists only its file has, and which of them the page has no use for.
LISTS = ("data", "metrics", "selection", "cost", "environment")
UNUSED = ("data/confusion",)


@dataclass(frozen=True)
class Extras:
    """What of a run is not in columns: the lists of its record, by the keys of a table; curves as JSON (empty: none, or
    not read), their compressed size, thumbnails.
    """

    lists: Mapping[str, list[Any]] = field(default_factory=dict)
    curves: str = ""
    size: int = 0
    images: Thumbnails | None = None


@dataclass(frozen=True)
class Thumbnails:
    """Thumbnails of mislabelled images: a key for equal content, and the observed, clean and probability columns."""

    key: str
    columns: Mapping[str, list[Any]]


@dataclass
class AllRuns:
    """All runs below some folders: finished ones, the others, and the number of unreadable folders."""

    done: list[Run] = field(default_factory=list)
    others: list[Run] = field(default_factory=list)
    unreadable: int = 0

    def states(self) -> Counter[str]:
        return Counter(map(state, self.others))


def read(paths: Sequence[Path]) -> AllRuns:
    """The runs at or below the paths, a hash once. Raises ConfigError, as tables do, when none is finished."""
    check_folders(paths)
    ledger, left_out = AllRuns(), list[Path]()
    columns = RunColumns(table(paths, left_out))
    rows = dict[str, int]()
    states = columns.plain("state")
    for row, hash in enumerate(columns.plain("hash")):
        if hash not in rows or states[row] == "done" != states[rows[hash]]:
            rows[hash] = row
    ledger.unreadable = len(left_out)
    for row in rows.values():
        (ledger.done if states[row] == "done" else ledger.others).append(Run.of(columns, row))
    if not ledger.done:
        load(paths)  # refuses
    return ledger


def state(run: Run) -> str:
    return str(run.columns.plain("state")[run.row])


def having(runs: Iterable[Run], conditions: Mapping[str, Sequence[str]]) -> list[Run]:
    """The runs that match, where none need match (`analysis.runs.select` refuses that)."""
    kept = list(runs)
    for key, texts in conditions.items():
        wanted = {meant([run.field(key) for run in kept], text) for text in texts}
        kept = [run for run in kept if run.field(key) in wanted]
    return kept


class Reader:
    """Reads what is not in columns, in the order of the runs' importance and by other processes where there are many:
    curves until `curves` characters of the file are full, lists and images of as many runs as are asked for.
    """

    def __init__(self, runs: Sequence[Run], order: Sequence[int], curves: int):
        self._runs, self._order, self._room = runs, order, curves
        self._asked, self.loaded = 0, dict[int, Extras]()  # position of a run -> what was read
        self.lacking: set[int] = set()  # positions of runs whose curves there is no room for
        self._pool = ProcessPoolExecutor(2) if len(runs) >= MANY and (os.cpu_count() or 1) > 1 else None
        self._ahead: deque[tuple[Sequence[int], Any]] = deque()

    def __enter__(self) -> Reader:
        while self._pool and len(self._ahead) < AHEAD and self._asked < len(self._order):
            self._ask()
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool:
            self._pool.shutdown(cancel_futures=True)

    def _ask(self) -> None:
        positions = self._order[self._asked : self._asked + TOGETHER]
        self._asked += len(positions)
        folders = [str(self._runs[position].path) for position in positions]
        if self._pool:
            self._ahead.append((positions, self._pool.submit(_read, folders, self._room >= 0)))
        else:
            self._ahead.append((positions, _Now([_extras(Path(folder), self._room >= 0) for folder in folders])))

    def until(self, count: int) -> None:
        """Read the first runs of the order, so many at least."""
        count = min(count, len(self._order))
        while len(self.loaded) < count:
            while not self._ahead or (self._pool and len(self._ahead) < AHEAD and self._asked < count):
                self._ask()
            positions, found = self._ahead.popleft()
            for position, extras in zip(positions, found.result(), strict=True):
                self.loaded[position] = self._within(position, extras)

    def _within(self, position: int, extras: Extras) -> Extras:
        """What is kept of it, now that the more important runs have what they need."""
        if not extras.curves:
            return extras
        self._room -= extras.size * 4 // 3  # in base64
        if self._room >= 0:
            return extras
        self.lacking.add(position)
        return replace(extras, curves="")


class _Now(NamedTuple):
    """What a process would have read."""

    found: list[Extras]

    def result(self) -> list[Extras]:
        return self.found


def _read(folders: Sequence[str], curves: bool) -> list[Extras]:
    return [_extras(Path(folder), curves) for folder in folders]


def _extras(folder: Path, curves: bool) -> Extras:
    """Everything that is read of a run. curves: whether there is room for any; else only whether it has some."""
    images = thumbs(folder)
    extras = Extras(_lists(folder), images=Thumbnails(*_describe(images)) if images else None)
    if not curves:
        return replace(extras, curves="?" if _has_curves(folder) else "")
    rows = read_rows(folder)
    if not rows:
        return extras
    text = compact(_curves(rows))
    return replace(extras, curves=text, size=len(zlib.compress(text.encode())))


def _has_curves(folder: Path) -> bool:
    try:
        return (folder / "metrics.jsonl").stat().st_size > 0
    except OSError:
        return False


def _lists(folder: Path) -> dict[str, list[Any]]:
    """The lists of a record, rounded, by the keys of a table (`store.columns.leaves`)."""
    try:
        record = load_record(folder / "run.json")
    except (OSError, Damaged):  # changed since the table was read
        return {}
    found = {}
    for section in LISTS:
        for key, value in flat(record[section] or {}, "/").items():
            name = f"{section}/{key.replace('/', '.') if section == 'environment' else key}"
            if isinstance(value, list) and name not in UNUSED:
                found[name] = rounded(value)
    return found


def read_rows(folder: Path) -> list[dict[str, Any]]:
    """Epoch, phase and the series of every line of `metrics.jsonl`, up to the first that is not whole."""
    try:
        content = read_bytes(folder / "metrics.jsonl", MOST_METRICS)
        rows = [_scan(line) for line in content.splitlines()]
        return rows if content.endswith(b"\n") else _parsed(folder)
    except ValueError:  # not as the suite writes it
        return _parsed(folder)
    except OSError:
        return []


def _scan(line: bytes) -> dict[str, Any]:
    """The few values that are needed, found without parsing the line, because a large folder has a gigabyte of lines.

    Raises: ValueError when the line is not written as `json.dumps` writes it.
    """
    if not line.endswith(b"}"):
        raise ValueError("not a whole line")
    row = {key: _value(line, text, 0) for key, text in _FIRST}
    if not whole(row["epoch"]):
        raise ValueError("a line without an epoch")
    selection = line.find(b'"selection": {')
    for key, text in _SELECTED:
        row[key] = _value(line, text, selection) if selection >= 0 else None
    return row


def _value(line: bytes, key: bytes, after: int) -> Any:
    start = line.find(key, after)
    if start < 0:
        return None
    start += len(key)
    comma = line.find(b",", start)
    text = line[start : comma if comma >= 0 else None].rstrip(b"}")
    if text == b"null":
        return None
    # In a tenth of the time of a parser, which a million values take.
    if _NUMBER.fullmatch(text):
        return int(text) if text.isdigit() else float(text)
    if word := _WORD.fullmatch(text):
        return word[1].decode()
    return parse(text)


_FIRST = [(key, f'"{key}": '.encode()) for key in ("epoch", "phase", "test/acc")]
_SELECTED = [(key, f'"{key.removeprefix("selection/")}": '.encode()) for _, key, _ in SERIES[1:]]
_NUMBER = re.compile(rb"-?(?:0|[1-9]\d{0,15})(?:\.\d+)?(?:[eE][-+]?\d{1,3})?")
_WORD = re.compile(rb'"([a-zA-Z -]*)"')


def _parsed(folder: Path) -> list[dict[str, Any]]:
    rows = []
    for row in RunFolder(folder).read_metrics():
        selection = {f"selection/{name}": value for name, value in (row.get("selection") or {}).items()}
        rows.append({key: (row | selection).get(key) for key in ("epoch", "phase", *(key for _, key, _ in SERIES))})
    return rows


def _curves(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Epochs (left out where they are 1, 2 …), the last epoch of the warm-up, and the series as whole steps."""
    epochs = [row["epoch"] for row in rows]
    curves: dict[str, Any] = {} if epochs == list(range(1, len(rows) + 1)) else {"epochs": epochs}
    curves["warmup"] = max((row["epoch"] for row in rows if row["phase"] == "warm-up"), default=0)
    curves["last"] = epochs[-1]
    for name, key, steps in SERIES:
        values = [_steps(row[key], steps) for row in rows]
        if any(value is not None for value in values):
            curves[name] = values
    return curves


def _steps(value: Any, steps: int) -> int | None:
    return round(value * steps) if isinstance(value, (int, float)) and math.isfinite(value) else None


def thumbs(folder: Path) -> dict[str, np.ndarray] | None:
    """The arrays of `thumbs.npz`; None where there is no such file, or none that holds images and their labels."""
    try:
        arrays = RunFolder(folder).read_arrays("thumbs.npz")
        image = arrays["image"]
        columns = [arrays[name] for name in ("observed_label", "clean_label")]
    except (OSError, ValueError, KeyError):
        return None
    fits = image.ndim == 4 and image.dtype == np.uint8 and image.shape[-1] in (1, 3)
    return arrays if fits and len(image) and all(len(column) == len(image) for column in columns) else None


def _describe(arrays: Mapping[str, np.ndarray]) -> tuple[str, dict[str, list[Any]]]:
    image = np.ascontiguousarray(arrays["image"])
    key = hashlib.sha256(repr(image.shape).encode() + image.tobytes()).hexdigest()
    columns = {"observed": arrays["observed_label"].tolist(), "clean": arrays["clean_label"].tolist()}
    if len(arrays.get("index", ())) == len(image):
        columns["index"] = arrays["index"].tolist()
    probability = arrays.get("clean_probability")
    if probability is not None and probability.shape == (len(image),):
        values = [float(value) for value in probability]
        columns["probability"] = [rounded(value, 3) if np.isfinite(value) else None for value in values]
    return key, columns
