"""Runs for the page: records that share what they have in common, curves and images, read by several processes."""

from __future__ import annotations

import hashlib
import json
import math
import os
import sys
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from analysis.page.encode import compact, rounded
from analysis.runs import Run, check_folders, load
from analysis.values import meant
from sfa_bench.store.folder import MOST_METRICS, RunFolder
from sfa_bench.store.ledger import records
from sfa_bench.store.reading import parse, read_bytes
from sfa_bench.store.shapes import whole

# Series of a run's curves: name, where it is in a line of metrics.jsonl, steps per unit (what it is rounded to).
SERIES = (
    ("accuracy", "test/acc", 10),
    ("precision", "selection/precision", 1000),
    ("recall", "selection/recall", 1000),
    ("auc", "selection/auc", 1000),
)
MANY = 400  # runs from which a second process is worth its start
MAPPINGS = ("config", "names", "data", "environment")
OPTIONAL = ("metrics", "selection", "cost")


@dataclass(frozen=True)
class Extras:
    """Data of a run beside its record: curves as JSON (empty: none), their compressed size, thumbnails."""

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
        return Counter(run.record["state"] for run in self.others)


def read(paths: Sequence[Path]) -> AllRuns:
    """The runs at or below the paths, a hash once. Raises ConfigError, as tables do, when none is finished."""
    check_folders(paths)
    ledger, shared = AllRuns(), dict[str, Any]()
    runs: dict[str, Run] = {}
    left_out: list[Path] = []
    for path, record in records(paths, left_out):
        record = _slim(record, shared)
        before = runs.get(record["hash"])
        if before is None or record["state"] == "done" != before.record["state"]:
            runs[record["hash"]] = Run(path, record)
    ledger.unreadable = len(left_out)
    for run in runs.values():
        (ledger.done if run.record["state"] == "done" else ledger.others).append(run)
    if not ledger.done:
        load(paths)  # refuses
    return ledger


def _slim(record: dict[str, Any], shared: dict[str, Any]) -> dict[str, Any]:
    """The record with parts that are equal in all records stored once, so that ten thousand fit into memory."""
    for key in MAPPINGS:
        record[key] = {sys.intern(name): _once(part, shared) for name, part in record[key].items()}
    record["data"].pop("confusion", None)
    for key in OPTIONAL:
        record[key] = {sys.intern(name): value for name, value in (record[key] or {}).items()}
    return {sys.intern(key): value for key, value in record.items()}


def _once(part: Any, shared: dict[str, Any]) -> Any:
    if isinstance(part, (dict, list)):
        return shared.setdefault(json.dumps(part), part)
    return sys.intern(part) if isinstance(part, str) else part


def having(runs: Iterable[Run], conditions: Mapping[str, Sequence[str]]) -> list[Run]:
    """The runs that match, where none need match (`analysis.runs.select` refuses that)."""
    kept = list(runs)
    for key, texts in conditions.items():
        wanted = {meant([run.field(key) for run in kept], text) for text in texts}
        kept = [run for run in kept if run.field(key) in wanted]
    return kept


@contextmanager
def extras(runs: Sequence[Run]) -> Iterator[Iterator[Extras]]:
    """Curves and images of each run, in the same order, read by other processes while the block goes on."""
    folders = [run.path for run in runs]
    if len(folders) < MANY or (os.cpu_count() or 1) < 2:
        yield map(_extras, folders)
        return
    with ProcessPoolExecutor(2) as pool:
        yield pool.map(_extras, folders, chunksize=50)


def _extras(folder: Path) -> Extras:
    images = thumbs(folder)
    described = Thumbnails(*_describe(images)) if images else None
    rows = read_rows(folder)
    if not rows:
        return Extras(images=described)
    text = compact(_curves(rows))
    return Extras(text, len(zlib.compress(text.encode())), described)


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
    row = {key: _value(line, f'"{key}": '.encode(), 0) for key in ("epoch", "phase", "test/acc")}
    if not whole(row["epoch"]):
        raise ValueError("a line without an epoch")
    selection = line.find(b'"selection": {')
    for _, key, _ in SERIES[1:]:
        name = key.removeprefix("selection/")
        row[key] = _value(line, f'"{name}": '.encode(), selection) if selection >= 0 else None
    return row


def _value(line: bytes, key: bytes, after: int) -> Any:
    start = line.find(key, after)
    if start < 0:
        return None
    start += len(key)
    comma = line.find(b",", start)
    text = line[start : comma if comma >= 0 else None].rstrip(b"}")
    return None if text == b"null" else parse(text)


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
