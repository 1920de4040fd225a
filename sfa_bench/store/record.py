"""The record of a run, `run.json` (design.md §4): its keys, its states, and JSON that every reader can parse."""

from __future__ import annotations

import json
import math
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

SCHEMA = 1
STATES = ("running", "interrupted", "failed", "done")
KEYS = (
    *("schema", "state", "hash", "config", "names", "command", "data"),
    *("metrics", "selection", "knows", "cost", "environment", "error"),
)


class RecordError(ValueError):
    """A record that cannot be used; the message says why."""


class ForeignError(RecordError):
    """Whole JSON, which no cut leaves: another version or another program wrote it, and it is not ours to replace."""


def new_record(*, hash: str, config: dict[str, Any], names: dict[str, str], command: str) -> dict[str, Any]:
    """The record of a run that starts: `config` is plain and resolved, `names` maps a group to its choice as typed."""
    start = {"schema": SCHEMA, "state": "running", "hash": hash, "config": config, "names": names, "command": command}
    empty: dict[str, Any] = {key: {} for key in ("data", "metrics", "selection", "cost", "environment")}
    return start | empty | {"knows": [], "error": None}


def command(overrides: Sequence[str], config_dir: Path | None = None) -> str:
    """What a user types to repeat a run; config_dir: the conf folder of their own."""
    own = [] if config_dir is None else ["--config-dir", str(config_dir.resolve())]
    return shlex.join(["python", "run.py", *own, *overrides])


def plain(value: Any) -> Any:
    """The value in JSON's own types: arrays and tensors as lists, paths as text, NaN and infinities as null."""
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "tolist"):  # NumPy's and Torch's scalars and arrays
        return plain(value.tolist())
    raise TypeError(f"{type(value).__name__} has no place in a record")


def dumps(record: dict[str, Any]) -> str:
    """The text of `run.json`. Raises ValueError when a key or the state is not the contract's."""
    if set(record) != set(KEYS):
        raise ValueError(f"a record has the keys {KEYS}; these differ: {sorted(set(record) ^ set(KEYS))}")
    if record["state"] not in STATES:
        raise ValueError(f"state {record['state']!r} is none of {STATES}")
    return json.dumps(plain({key: record[key] for key in KEYS}), allow_nan=False, indent=1, ensure_ascii=False) + "\n"


def loads(text: str | bytes) -> dict[str, Any]:
    """Read a record. Raises RecordError when it is cut, ForeignError when it is whole and not one of ours."""
    try:
        record = json.loads(text, parse_constant=lambda _: None)
    except ValueError as error:
        raise RecordError("it is not whole JSON (cut while it was written?)") from error
    if not isinstance(record, dict) or not isinstance(record.get("schema"), int):
        raise ForeignError("it is not the record of a run")
    if record["schema"] != SCHEMA:
        raise ForeignError(f"it has schema {record['schema']}, this version reads {SCHEMA}")
    if missing := set(KEYS) - set(record):
        raise ForeignError(f"it lacks {', '.join(sorted(missing))}")
    if record["state"] not in STATES:
        raise ForeignError(f"its state {record['state']!r} is none of {', '.join(STATES)}")
    return record
