"""The plans of sweeps, in `RUNS_DIR/.sweeps/` (explanation/runs.md §6), one file for each distinct sweep."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sfa_bench.store.atomic import replacing
from sfa_bench.store.digest import check_json, json_seal
from sfa_bench.store.folder import ensure_writable, writing
from sfa_bench.store.reading import Damaged, Foreign, parse, read_bytes
from sfa_bench.store.record import plain
from sfa_bench.store.shapes import mapping, optional, text

FOLDER = ".sweeps"
MOST = 2_000_000_000  # bytes of a plan; two million runs have one
ODD = "it lacks the keys of a plan"

log = logging.getLogger("sfa_bench.store")


@dataclass(frozen=True, slots=True)
class PlannedRun:
    """A run that a sweep asked for: its hash, the command that makes it alone, and the hash of its shared warm-up."""

    hash: str
    command: str
    warmup: str | None = None


@dataclass(frozen=True)
class SweepPlan:
    """A sweep: its command and its runs."""

    command: str
    runs: tuple[PlannedRun, ...]


def write_plan(runs_dir: str | os.PathLike[str], plan: SweepPlan) -> Path:
    """Write the plan. Raises ConfigError or RunError with a sentence when the folder cannot be written."""
    path = _path(runs_dir, (run.hash for run in plan.runs))
    ensure_writable(path.parent)
    with writing(path), replacing(path) as file:
        digest = hashlib.sha256()
        for part in _parts(plan):
            file.write(part)
            digest.update(part)
        file.write(json_seal(digest.hexdigest()))
    return path


def is_written(runs_dir: str | os.PathLike[str], hashes: Iterable[str], command: str) -> bool:
    """Whether there is a whole plan of these runs by this command."""
    with suppress(OSError, Damaged):
        content = read_bytes(_path(runs_dir, hashes), MOST)
        check_json(content)
        return content.startswith(_head(command))
    return False


def _path(runs_dir: str | os.PathLike[str], hashes: Iterable[str]) -> Path:
    identity = hashlib.sha256(" ".join(sorted(hashes)).encode()).hexdigest()[:12]
    return Path(runs_dir, FOLDER, f"{identity}.json")


def _head(command: str) -> bytes:
    return f'{{\n "command": {_json(command)},\n "runs": ['.encode()


def _parts(plan: SweepPlan) -> Iterator[bytes]:
    """What `json.dumps` writes of a plan with `indent=1`, up to its last brace, a thousand runs at a time."""
    yield _head(plan.command)
    for first in range(0, len(plan.runs), 1000):
        texts = (
            f'\n  {{\n   "hash": {_json(run.hash)},\n   "command": {_json(run.command)},\n'
            f'   "warmup": {"null" if run.warmup is None else _json(run.warmup)}\n  }}'
            for run in plan.runs[first : first + 1000]
        )
        yield (("," if first else "") + ",".join(texts)).encode()
    yield b"\n ]" if plan.runs else b"]"


def _json(text: str) -> str:
    return _to_json(plain(text))


_to_json = json.JSONEncoder(ensure_ascii=False).encode


def read_plans(runs_dir: str | os.PathLike[str]) -> list[SweepPlan]:
    """All plans, in the order of their file names; one that cannot be read is reported and left out."""
    plans = []
    for path in sorted(Path(runs_dir, FOLDER).glob("*.json")):
        try:
            plans.append(_loads(read_bytes(path, MOST)))
        except OSError as error:
            log.warning("%s is left out: %s", path, error.strerror)
        except Damaged as error:
            log.warning("%s is left out: it is not a plan of a sweep (%s)", path, error)
    return plans


def _loads(content: bytes) -> SweepPlan:
    plan = parse(content)
    check_json(content)
    if not (isinstance(plan, dict) and text(plan.get("command")) and isinstance(plan.get("runs"), list)):
        raise Foreign(ODD)
    return SweepPlan(plan["command"], tuple(map(_planned, plan["runs"])))


_is_run = mapping(optional(text))


def _planned(run: Any) -> PlannedRun:
    if not (_is_run(run) and text(run.get("hash")) and text(run.get("command"))):
        raise Foreign(ODD)
    return PlannedRun(run["hash"], run["command"], run.get("warmup"))


def missing(plans: Sequence[SweepPlan], known: set[str]) -> list[PlannedRun]:
    """Planned runs whose hash is not among the known ones, each once."""
    runs = {run.hash: run for plan in plans for run in plan.runs if run.hash not in known}
    return [*runs.values()]
