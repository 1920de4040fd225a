"""The report at the end of a sweep: a line for each run that is not done, and a table of the finished ones."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from analysis.columns import RunColumns
from analysis.runs import has_field
from analysis.table import make_table
from sfa_bench.config.schema import SEED_KEYS
from sfa_bench.errors import ConfigError
from sfa_bench.store.claim import Claim
from sfa_bench.store.ledger import find_runs, find_states, no_garbage, records, rows_of, states_of
from sfa_bench.store.record import command
from sfa_bench.sweep.job import Outcome
from sfa_bench.sweep.plan import Plan, ended_since

METRIC = "test/acc/final"


def failures(runs_dir: Path, planned: Plan, outcomes: Mapping[str, Outcome], config_dir: Path | None) -> list[str]:
    """A line for each run that is not done, from its record on disk: folder, error, and the command that repeats it.

    Updates `planned.found` and `planned.done`. outcomes: hash → outcome of this sweep's jobs, which take precedence,
    because a full disk keeps no record of a failure.
    """
    states = {
        h: (state, f) for state, part in (("done", planned.done), ("failed", planned.left)) for h, f in part.items()
    }
    if planned.missing:  # otherwise the plan has just read everything
        planned.found = find_runs(runs_dir, planned.runs)
        states = states_of(planned.found)
    planned.done = {identity: folder for identity, (state, folder) in states.items() if state == "done"}
    lines = []
    for identity, job in planned.runs.items():
        state, folder = states.get(identity, ("new", None))
        if state == "done":
            continue
        again = command(job, config_dir)
        outcome = outcomes.get(identity)
        if outcome is not None and outcome.state == "refused":
            lines.append(f"refused: {outcome.message}; again: {again}")
        elif outcome is not None and outcome.state == "failed":
            where = "" if folder is None else f"{folder}: "
            lines.append(f"failed: {where}{outcome.message}; again: {again}")
        elif folder is None:
            lines.append(f"not begun; again: {again}")
        elif state == "failed":
            error = next((record["error"] or {} for _, record in records([folder])), {})
            lines.append(f"failed: {folder}: {error.get('type')}: {error.get('message')}; again: {again}")
        else:
            lines.append(f"{'not finished' if state == 'running' else state}: {folder}; goes on with: {again}")
    return lines


def unfinished(runs_dir: Path, planned: Plan, jobs: Sequence[list[str]]) -> tuple[list[list[str]], bool]:
    """The jobs whose run has neither finished nor failed since the plan was made, and whether any of these has begun.

    Runs that another process works on come last, because they have to wait.
    """
    begun = {tuple(planned.runs[h]): (h, *there) for h, there in find_states(runs_dir, planned.runs).items()}
    left = [job for job in jobs if tuple(job) not in begun or not ended_since(planned, *begun[tuple(job)])]

    def held(job: list[str]) -> bool:
        return tuple(job) in begun and Claim(begun[tuple(job)][2]).holder() is not None

    return sorted(left, key=held), any(tuple(job) in begun for job in left)


def results(planned: Plan) -> str:
    """The table of the sweep's finished runs, a row for each value of the swept keys; else a sentence why there is
    none.
    """
    with no_garbage():
        return _results(planned)


def _results(planned: Plan) -> str:
    if planned.found is None or not planned.done:
        return "no run of the sweep is done: no table"
    rows_done = sorted(row for identity, row in rows_of(planned.found).items() if identity in planned.done)
    runs = RunColumns(planned.found.take(np.array(rows_done))).runs()
    swept: dict[str, set[str]] = defaultdict(set)
    for override in (override for job in planned.runs.values() for override in job):
        key, _, value = override.lstrip("+").partition("=")
        swept[key].add(value)
    rows = [key for key, values in swept.items() if len(values) > 1 and key not in SEED_KEYS and has_field(runs, key)]
    try:
        return make_table(runs, rows or ["method", "plugin"], metrics=(METRIC,)).to_markdown()
    except ConfigError as error:
        return f"no table: {error}"
