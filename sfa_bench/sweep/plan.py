"""The plan of a sweep: its runs, and which of them are missing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from sfa_bench.config.canonical import hashes
from sfa_bench.config.compose import compose_checked
from sfa_bench.config.effect import idle, no_effect
from sfa_bench.config.external import make_importable
from sfa_bench.config.overrides import CheckedOverride
from sfa_bench.config.stored import to_json
from sfa_bench.config.sweep_files import jobs
from sfa_bench.errors import ConfigError
from sfa_bench.store.claim import Claim
from sfa_bench.store.ledger import find_states, run_path
from sfa_bench.store.plans import PlannedRun, SweepPlan, write_plan
from sfa_bench.store.record import command
from sfa_bench.store.warmups import shared_folder


@dataclass
class Plan:
    """The jobs of a sweep, each a list of overrides; equal configurations stand for one run."""

    # The plan of this process: made before Hydra starts, which creates the sweeper without arguments of ours.
    of_this_process: ClassVar[Plan]

    asked: int = 0
    duplicates: int = 0
    not_valid: list[tuple[list[str], str]] = field(default_factory=list)
    runs: dict[str, list[str]] = field(default_factory=dict)  # hash -> overrides, of all valid combinations
    configs: dict[str, str] = field(default_factory=dict)  # hash of a missing run -> its stored configuration as JSON
    done: dict[str, Path] = field(default_factory=dict)  # hash -> folder
    left: dict[str, Path] = field(default_factory=dict)  # failed before, and not to be retried
    missing: list[list[str]] = field(default_factory=list)  # what is to be launched
    warmups: dict[str, Path] = field(default_factory=dict)  # hash -> where a missing run shares its first epochs
    ended_before: dict[str, int] = field(default_factory=dict)  # hash of a missing run that has failed, or is to be
    # done again -> when that was written
    begun: Counter[str] = field(default_factory=Counter)  # states of the missing ones, see `_words`

    def __str__(self) -> str:
        there = ", ".join(f"{count} {state}" for state, count in sorted(self.begun.items()))
        to_run = f"{len(self.missing)} to run" + (f" ({there})" if set(self.begun) - {"new"} else "")
        parts = [to_run, f"{len(self.done)} done"]
        if self.left:
            parts.append(f"{len(self.left)} failed before and left (retry_failed=false)")
        if self.duplicates:
            parts.append(f"{self.duplicates} asked for twice")
        if self.not_valid:
            parts.append(f"{len(self.not_valid)} not valid")
        return f"sweep of {self.asked}: " + ", ".join(parts)


def plan(overrides: Sequence[str], config_dir: Path | None = None) -> Plan:
    """Compose every job. A combination that makes no sense is noted; any other error refuses the sweep, and so does an
    option that acts in none of its runs.
    """
    conf = None if config_dir is None else config_dir.resolve()
    make_importable(conf)
    result = Plan()
    folders: dict[str, Path] = {}  # where a run will be, by its hash
    wanted: dict[str, set[str]] = {}  # hashes by runs_dir
    retried: set[str] = set()
    rerun: set[str] = set()
    trained: dict[str, str] = {}  # hash -> that of the run below a decoupled classifier
    lazy: dict[str, CheckedOverride] = {}  # options that have acted in no run so far, by key
    acting: set[str] = set()
    for overrides_of_job in jobs(overrides, conf):
        job = [override.text for override in overrides_of_job]
        result.asked += 1
        try:
            config = compose_checked(overrides_of_job, conf)
        except ConfigError as error:
            if not error.invalid_combination:
                raise
            result.not_valid.append((job, str(error)))
            continue
        idlers = idle(config, overrides_of_job)
        if idlers:  # the run's own command does not name them
            job = [override.text for override in overrides_of_job if override not in idlers]
            lazy |= {override.key: override for override in idlers}
        acting |= {override.key for override in overrides_of_job} - {override.key for override in idlers}
        identity, base, warmup = hashes(config)
        if identity in result.runs:
            result.duplicates += 1
            continue
        result.runs[identity] = job
        result.configs[identity] = to_json(config)
        folders[identity] = run_path(config.runs_dir, config.recorded_names, identity)
        wanted.setdefault(config.runs_dir, set()).add(identity)
        if config.retry_failed:
            retried.add(identity)
        if config.rerun:
            rerun.add(identity)
        if warmup is not None:
            result.warmups[identity] = shared_folder(config.runs_dir, warmup)
            trained[identity] = base
    for key in lazy.keys() - acting:
        raise no_effect(lazy[key])
    states = {h: there for runs_dir, those in wanted.items() for h, there in find_states(runs_dir, those).items()}
    missing = []
    for identity in result.runs:
        state, folder = states.get(identity, ("new", folders[identity]))
        if state == "done" and identity not in rerun:
            result.done[identity] = folder
        elif state == "failed" and identity not in retried:
            result.left[identity] = folder
        else:
            missing.append(identity)
            if state in ("failed", "done"):
                result.ended_before[identity] = _written(folder)
            result.begun[_words(state, folder)] += 1
    result.configs = {identity: result.configs[identity] for identity in missing}
    result.warmups = _shared({h: result.warmups[h] for h in missing if h in result.warmups}, trained)
    result.missing = [result.runs[identity] for identity in _first_of_each(missing, result.warmups)]
    return result


def keep_plan(runs_dir: Path, planned: Plan, command_of_sweep: str, config_dir: Path | None) -> None:
    """Write the sweep's plan, and make the folders whose existence asks runs to share their warm-up.

    Raises: ConfigError or RunError where the plan cannot be written.
    """
    runs = (
        PlannedRun(h, command(job, config_dir), planned.warmups[h].name if h in planned.warmups else None)
        for h, job in planned.runs.items()
    )
    write_plan(runs_dir, SweepPlan(command_of_sweep, tuple(runs)))
    for folder in set(planned.warmups.values()):
        with suppress(OSError):  # then warm-ups are not shared
            folder.mkdir(parents=True, exist_ok=True)


def _shared(warmups: dict[str, Path], trained: dict[str, str]) -> dict[str, Path]:
    """Runs that share their warm-up with others, or whose warm-up has been made already."""
    several = Counter(folder for folder, _ in {(folder, trained[h]) for h, folder in warmups.items()})
    return {identity: folder for identity, folder in warmups.items() if several[folder] > 1 or folder.is_dir()}


def _first_of_each(missing: list[str], warmups: dict[str, Path]) -> list[str]:
    """Order runs so that those that make a warm-up come before those that reuse it; otherwise these would wait in a
    worker.
    """
    makers = {folder: identity for identity, folder in reversed(warmups.items())}
    later = set(warmups) - set(makers.values())
    return [h for h in missing if h not in later] + [h for h in missing if h in later]


def _written(folder: Path) -> int:
    try:
        return (folder / "run.json").stat().st_mtime_ns
    except OSError:
        return 0


def ended_since(planned: Plan, identity: str, state: str, folder: Path) -> bool:
    """Whether this run has been done, or has failed, since the plan was made."""
    return state in ("done", "failed") and planned.ended_before.get(identity) != _written(folder)


def _words(state: str, folder: Path) -> str:
    """A word for the state of a run that is not done."""
    if state == "running" and Claim(folder).holder() is not None:
        return "running elsewhere"
    return {"new": "new", "failed": "failed before", "done": "done before"}.get(state, "resumable")
