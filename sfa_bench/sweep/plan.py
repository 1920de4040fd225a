"""The plan of a sweep: its runs, and which of them are missing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from sfa_bench.config.effect import no_effect
from sfa_bench.config.external import make_importable
from sfa_bench.config.sweep_files import jobs_by_setting
from sfa_bench.errors import ConfigError
from sfa_bench.store.claim import Claim
from sfa_bench.store.ledger import find_runs, no_garbage, states_of
from sfa_bench.store.plans import PlannedRun, SweepPlan, is_written, write_plan
from sfa_bench.store.record import commands
from sfa_bench.store.warmups import made_in, shared_folder
from sfa_bench.sweep.settings import Seeds, Setting, Settings, StoredConfigs

if TYPE_CHECKING:
    from sfa_bench.store.run_table import RunTable

NEW = "new", Path()  # state and folder of a run that is not there


@dataclass
class Plan:
    """The jobs of a sweep, each a list of overrides; equal configurations stand for one run."""

    # The plan of this process: made before Hydra starts, which creates the sweeper without arguments of ours.
    of_this_process: ClassVar[Plan]

    asked: int = 0
    duplicates: int = 0
    not_valid: list[tuple[list[str], str]] = field(default_factory=list)
    runs: dict[str, list[str]] = field(default_factory=dict)  # hash -> overrides, of all valid combinations
    configs: Mapping[str, str] = field(default_factory=dict)  # hash of a missing run -> its stored configuration as
    # JSON, which is made when it is asked for
    found: RunTable | None = None  # the records of its runs when they were last looked for; it holds files open
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
    """Compose every setting. A combination that makes no sense is noted; any other error refuses the sweep, and so does
    an option that acts in none of its runs.
    """
    with no_garbage():
        return _plan(overrides, config_dir)


def _plan(overrides: Sequence[str], config_dir: Path | None) -> Plan:
    conf = None if config_dir is None else config_dir.resolve()
    make_importable(conf)
    result = Plan()
    chosen: dict[str, tuple[Setting, Seeds]] = {}  # hash -> its run
    settings, equal_seeds = Settings(conf), dict[Seeds, Seeds]()
    for key, job in jobs_by_setting(overrides, conf):
        result.asked += 1
        try:
            setting = settings.of(job, key)
        except ConfigError as error:
            if not error.invalid_combination:
                raise
            result.not_valid.append(([override.text for override in job], str(error)))
            continue
        seeds = setting.seeds(job)
        identity = setting.run(seeds)
        if identity in chosen:
            result.duplicates += 1
            continue
        result.runs[identity] = setting.words(job)
        chosen[identity] = setting, equal_seeds.setdefault(seeds, seeds)
    for option in settings.without_effect():
        raise no_effect(option)
    result.found, states = _states(chosen)
    missing: dict[str, tuple[Setting, Seeds]] = {}
    for identity, (setting, seeds) in chosen.items():
        state, folder = states.get(identity, NEW)
        if state == "done" and not setting.rerun:
            result.done[identity] = folder
        elif state == "failed" and not setting.retry_failed:
            result.left[identity] = folder
        else:
            missing[identity] = setting, seeds
            if state in ("failed", "done"):
                result.ended_before[identity] = _written(folder)
            result.begun[_words(state, folder)] += 1
    result.configs = StoredConfigs(missing)
    result.warmups = _shared(missing)
    result.missing = [result.runs[identity] for identity in _first_of_each(missing, result.warmups)]
    return result


def _states(chosen: Mapping[str, tuple[Setting, Seeds]]) -> tuple[RunTable, dict[str, tuple[str, Path]]]:
    """The records of the runs that are there; state and folder of each, by its hash."""
    from sfa_bench.store.run_table import RunTable

    places = {setting.runs_dir for setting, _ in chosen.values()}
    found = list[RunTable]()
    for runs_dir in places:  # which may depend on a seed or a variable of the environment
        several = len(places) > 1
        there = {h for h, (setting, _) in chosen.items() if setting.runs_dir == runs_dir} if several else chosen.keys()
        found.append(find_runs(runs_dir, there))
    together = RunTable.of(found)
    return together, states_of(together)


def keep_plan(runs_dir: Path, planned: Plan, command_of_sweep: str, config_dir: Path | None) -> None:
    """Write the sweep's plan, and make the folders whose existence asks runs to share their warm-up. The plan of a
    sweep of which nothing is missing stays as it is.

    Raises: ConfigError or RunError where the plan cannot be written.
    """
    if not planned.missing and is_written(runs_dir, planned.runs, command_of_sweep):
        return
    asked = zip(planned.runs, commands(planned.runs.values(), config_dir), strict=True)
    warmups = {h: folder.name for h, folder in planned.warmups.items()}
    write_plan(runs_dir, SweepPlan(command_of_sweep, tuple(PlannedRun(h, c, warmups.get(h)) for h, c in asked)))
    for folder in set(planned.warmups.values()):
        with suppress(OSError):  # then warm-ups are not shared
            folder.mkdir(parents=True, exist_ok=True)


def _shared(missing: Mapping[str, tuple[Setting, Seeds]]) -> dict[str, Path]:
    """Runs that share their warm-up with others, or whose warm-up has been made already, with its folder."""
    # A run and the same with a decoupled classifier are one: the second continues from the first anyway.
    trained: dict[tuple[str, str], str] = {}  # runs_dir and warm-up -> the first run that has it
    warmups: dict[str, tuple[str, str]] = {}
    several: set[tuple[str, str]] = set()
    for identity, (setting, seeds) in missing.items():
        if (warmup := setting.warmup(seeds)) is not None:
            warmups[identity] = place = setting.runs_dir, warmup
            base = setting.trained(seeds)
            if trained.setdefault(place, base) != base:
                several.add(place)
    made = {runs_dir: made_in(runs_dir) for runs_dir in {place[0] for place in trained}}
    folders = {place: shared_folder(*place) for place in trained if place in several or place[1] in made[place[0]]}
    return {identity: folders[place] for identity, place in warmups.items() if place in folders}


def _first_of_each(missing: Iterable[str], warmups: dict[str, Path]) -> list[str]:
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
