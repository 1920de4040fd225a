"""The record of a run, `run.json` (explanation/runs.md §4): its keys, its states, and JSON that every reader can
parse.
"""

from __future__ import annotations

import json
import math
import shlex
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from sfa_bench.doors import Door
from sfa_bench.errors import ConfigError
from sfa_bench.store.digest import check_json
from sfa_bench.store.reading import Foreign, parse, read_bytes
from sfa_bench.store.shapes import misfit

SCHEMA = 1
STATES = ("running", "interrupted", "failed", "done")
KEYS = (
    *("schema", "state", "hash", "config", "names", "command", "data"),
    *("metrics", "selection", "knows", "cost", "environment", "error"),
)


def new_record(*, hash: str, config: dict[str, Any], names: dict[str, str], command: str) -> dict[str, Any]:
    """The record of a run that starts: `config` is plain and resolved, `names` maps a group to its choice."""
    start = {"schema": SCHEMA, "state": "running", "hash": hash, "config": config, "names": names, "command": command}
    empty: dict[str, Any] = {key: {} for key in ("data", "metrics", "selection", "cost", "environment")}
    return start | empty | {"knows": [], "error": None}


def ended(state: str, error: BaseException | None = None) -> dict[str, Any]:
    """The state of a record and the error that led to it."""
    return {
        "state": state,
        "error": None if error is None else {"type": type(error).__name__, "message": str(error)},
    }


def command(overrides: Sequence[str], config_dir: Path | None = None, *, sweep: bool = False) -> str:
    """The command that repeats a run or a sweep; config_dir: the user's own conf folder."""
    options = [] if config_dir is None else ["--config-dir", str(config_dir.resolve())]
    door = Door.here.sweep if sweep else Door.here.run
    return _joined([*door.split(), *options, *overrides])


def commands(runs: Iterable[Sequence[str]], config_dir: Path | None = None) -> Iterator[str]:
    """The command that repeats each run, by its overrides."""
    begin = command([], config_dir)
    return (f"{begin} {_joined(overrides)}" if overrides else begin for overrides in runs)


_quoted = lru_cache(maxsize=65536)(shlex.quote)  # the runs of a sweep have most of their words in common


def _joined(words: Iterable[str]) -> str:
    return " ".join(map(_quoted, words))


def recorded_overrides(command: str) -> tuple[list[str], Path | None]:
    """The overrides of a recorded command, and its `--config-dir`. Raises: ConfigError where it cannot be parsed."""
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise ConfigError(f"the recorded command cannot be parsed ({error}): {command}") from error
    words = words[4 if words[1:2] == ["-m"] else 2 :]  # python -m sfa_bench run, python run.py, sfa-bench run
    return (words[2:], Path(words[1])) if words[:1] == ["--config-dir"] and len(words) > 1 else (words, None)


def plain(value: Any) -> Any:
    """The value in JSON's own types: arrays and tensors as lists, paths as text, NaN and infinities as null."""
    if value is None or isinstance(value, (bool, int)):
        return value
    if isinstance(value, str):
        return value if value.isascii() else _whole_text(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, dict):
        return {plain(str(key)): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "tolist"):  # NumPy's and Torch's scalars and arrays
        return plain(value.tolist())
    raise TypeError(f"{type(value).__name__} has no place in a record")


def _whole_text(value: str) -> str:
    """The text with lone surrogates escaped, which come from file names that are not UTF-8 and cannot be written to a
    file.
    """
    return value.encode(errors="backslashreplace").decode()


def dumps(record: dict[str, Any]) -> str:
    """The text of `run.json`. Raises ValueError when the keys or the state are not those of a record."""
    if set(record) != set(KEYS):
        raise ValueError(f"a record has the keys {KEYS}; these differ: {sorted(set(record) ^ set(KEYS))}")
    if record["state"] not in STATES:
        raise ValueError(f"state {record['state']!r} is none of {STATES}")
    return json.dumps(plain({key: record[key] for key in KEYS}), allow_nan=False, indent=1, ensure_ascii=False) + "\n"


def loads(content: str | bytes) -> dict[str, Any]:
    """Parse a record, and check what its readers rely on.

    Raises: Damaged when it is incomplete or does not match its digest; Foreign when it is complete, but not a record of
    this version.
    """
    content = content.encode() if isinstance(content, str) else content
    record = parse(content)
    if not isinstance(record, dict) or type(record.get("schema")) is not int:
        raise Foreign("it is not the record of a run")
    if record["schema"] != SCHEMA:
        raise Foreign(f"it has schema {record['schema']}, this version reads {SCHEMA}")
    check_json(content)
    record.pop("digest", None)
    if missing := set(KEYS) - set(record):
        raise Foreign(f"it lacks {', '.join(sorted(missing))}")
    if record["state"] not in STATES:
        raise Foreign(f"its state {record['state']!r} is none of {', '.join(STATES)}")
    if sentence := misfit(record):
        raise Foreign(sentence)
    return record


def load(path: Path) -> dict[str, Any]:
    """The record in a file. Raises what `loads` does, and OSError with a sentence where the file cannot be read."""
    return loads(read_bytes(path))
