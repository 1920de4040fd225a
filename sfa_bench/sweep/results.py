"""The table at the end of a sweep."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

from analysis.runs import SEEDS, Run
from analysis.table import make_table
from sfa_bench.errors import ConfigError
from sfa_bench.store.ledger import records
from sfa_bench.sweep.plan import Plan


def results(runs_dir: Path, planned: Plan) -> str:
    """The finished runs of the sweep, a row for each value of what was swept; else a sentence why there is no table."""
    found = {r["hash"]: Run(path, r) for path, r in records([runs_dir]) if r["state"] == "done"}
    runs = [found[identity] for identity in planned.runs if identity in found]
    if not runs:
        return "no run of the sweep is done: no table"
    swept: dict[str, set[str]] = defaultdict(set)
    for override in (override for job in planned.runs.values() for override in job):
        key, _, value = override.lstrip("+").partition("=")
        swept[key].add(value)
    known = {key for run in runs for key in run.fields}.difference(SEEDS)
    rows = [key for key, values in swept.items() if len(values) > 1 and key in known]
    try:
        return make_table(runs, rows or ["method", "plugin"]).to_markdown()
    except ConfigError as error:
        return f"no table: {error}"
