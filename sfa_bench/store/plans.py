"""What sweeps asked for, in `RUNS_DIR/.sweeps/` (design.md §4): the same sweep is one file, an extended one another."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from sfa_bench.store.atomic import write_bytes
from sfa_bench.store.folder import ensure_writable, writing

FOLDER = ".sweeps"

log = logging.getLogger("sfa_bench.store")


@dataclass(frozen=True)
class PlannedRun:
    """A run that a sweep asked for: its identity, what a user types to make it alone, and what warm-up it shares."""

    hash: str
    command: str
    warmup: str | None = None


@dataclass(frozen=True)
class SweepPlan:
    """A sweep as it was typed, and its runs."""

    command: str
    runs: tuple[PlannedRun, ...]


def write_plan(runs_dir: str | os.PathLike[str], plan: SweepPlan) -> Path:
    """Keep the plan. Raises ConfigError or RunError with a sentence when the folder cannot be written."""
    identity = hashlib.sha256(" ".join(sorted(run.hash for run in plan.runs)).encode()).hexdigest()[:12]
    path = Path(runs_dir, FOLDER, f"{identity}.json")
    ensure_writable(path.parent)
    with writing(path):
        write_bytes(path, (json.dumps(asdict(plan), indent=1, ensure_ascii=False) + "\n").encode())
    return path


def read_plans(runs_dir: str | os.PathLike[str]) -> list[SweepPlan]:
    """All plans, in the order of their files' names; one that cannot be read is said and left out."""
    found = []
    for path in sorted(Path(runs_dir, FOLDER).glob("*.json")):
        try:
            plain = json.loads(path.read_bytes())
            runs = tuple(PlannedRun(str(run["hash"]), str(run["command"]), run.get("warmup")) for run in plain["runs"])
            found.append(SweepPlan(str(plain["command"]), runs))
        except OSError as error:
            log.warning("%s is left out: %s", path, error.strerror)
        except (ValueError, KeyError, TypeError):
            log.warning("%s is left out: it is no plan of a sweep", path)
    return found


def missing(plans: Sequence[SweepPlan], known: set[str]) -> list[PlannedRun]:
    """Planned runs whose hash is not known, each once."""
    found = {run.hash: run for plan in plans for run in plan.runs if run.hash not in known}
    return [*found.values()]
