"""What a sweep asks for, and what of it is missing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sfa_bench.config.canonical import run_hash
from sfa_bench.config.compose import compose, split_sweep
from sfa_bench.errors import ConfigError
from sfa_bench.store.ledger import find_done


@dataclass
class Plan:
    """The jobs of a sweep, each a list of overrides; equal configurations stand for one run."""

    asked: int = 0
    missing: list[list[str]] = field(default_factory=list)
    done: int = 0
    duplicates: int = 0
    not_valid: list[tuple[list[str], str]] = field(default_factory=list)
    runs: dict[str, list[str]] = field(default_factory=dict)  # hash -> overrides, of all that make sense

    def __str__(self) -> str:
        parts = [f"{len(self.missing)} to run", f"{self.done} done"]
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
    return result
