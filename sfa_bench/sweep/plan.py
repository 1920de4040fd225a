"""What a sweep asks for, and what of it is missing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sfa_bench.config.canonical import run_hash
from sfa_bench.config.compose import compose, split_sweep
from sfa_bench.errors import ConfigError
from sfa_bench.store.claim import Claim
from sfa_bench.store.ledger import find_done, records, run_path


@dataclass
class Plan:
    """The jobs of a sweep, each a list of overrides; equal configurations stand for one run."""

    asked: int = 0
    missing: list[list[str]] = field(default_factory=list)
    done: int = 0
    duplicates: int = 0
    not_valid: list[tuple[list[str], str]] = field(default_factory=list)
    runs: dict[str, list[str]] = field(default_factory=dict)  # hash -> overrides, of all that make sense
    begun: Counter[str] = field(default_factory=Counter)  # what is there of the missing ones, see `_state`

    def __str__(self) -> str:
        there = ", ".join(f"{count} {state}" for state, count in sorted(self.begun.items()))
        to_run = f"{len(self.missing)} to run" + (f" ({there})" if set(self.begun) - {"new"} else "")
        parts = [to_run, f"{self.done} done"]
        if self.duplicates:
            parts.append(f"{self.duplicates} asked for twice")
        if self.not_valid:
            parts.append(f"{len(self.not_valid)} not valid")
        return f"sweep of {self.asked}: " + ", ".join(parts)


def plan(overrides: Sequence[str], config_dir: Path | None = None) -> Plan:
    """Compose every job. A combination that makes no sense is noted; anything else wrong refuses the sweep."""
    result = Plan()
    for job in split_sweep(overrides, config_dir):
        result.asked += 1
        try:
            config = compose(job, config_dir)
        except ConfigError as error:
            if not error.invalid_combination:
                raise
            result.not_valid.append((job, str(error)))
            continue
        identity = run_hash(config)
        if identity in result.runs:
            result.duplicates += 1
            continue
        result.runs[identity] = job
        if find_done(config.runs_dir, identity) is not None:
            result.done += 1
        else:
            result.missing.append(job)
            result.begun[_state(run_path(config.runs_dir, config.names, identity))] += 1
    return result


def _state(folder: Path) -> str:
    """What is there of a run that is not done."""
    record = next((record for _, record in records([folder])), None)
    if record is None:
        return "new"
    if record["state"] == "running" and Claim(folder).holder() is not None:
        return "running elsewhere"
    return "failed before" if record["state"] == "failed" else "resumable"
