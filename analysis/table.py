"""Paper-style table of finished runs: `python -m analysis.table RUNS… --rows method,plugin --cols noise_ratio`.

Cells show mean ± sample standard deviation (n) over replicates, or what `--spread` asks for; with
`--versus plugin=none` every other cell shows its difference to the base, paired by (seed, data_seed), with the 95 % t
interval of the mean difference.
"""

from __future__ import annotations

import argparse
import itertools
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from analysis.best import DATA_KEYS, NOTE, marks
from analysis.context import SPREADS, caption, notes
from analysis.paired import by_replicate, paired_difference, value, values
from analysis.render import Mark, Table
from analysis.runs import (
    MISSING,
    Cells,
    Key,
    Run,
    check_fields,
    check_metric,
    counted,
    differing,
    load,
    matches,
    order,
    parse_pairs,
    select,
    show,
    words,
)
from sfa_bench.errors import ConfigError


def make_table(
    runs: Sequence[Run],
    rows: Sequence[str],
    cols: Sequence[str] = (),
    metrics: Sequence[str] = ("test/acc/final",),
    versus: Mapping[str, Sequence[str]] | None = None,
    spread: str = "std",
) -> Table:
    """The table of these runs. Raises ConfigError with a sentence when it would mislead or cannot be made."""
    versus = versus or {}
    if any(len(values) != 1 for values in versus.values()):
        raise ConfigError("--versus compares with one base: KEY=VALUE[,KEY=VALUE…]")
    rows = [*rows, *(key for key in versus if key not in rows and key not in cols)]
    check_fields(runs, [*rows, *cols])
    for metric in metrics:
        check_metric(runs, metric)
    if versus:
        select(runs, versus)  # refuses a base that does not exist
    cells = _cells(runs, rows, cols)
    row_keys = sorted({r for r, _ in cells}, key=lambda key: [order(value) for value in key])
    col_keys = sorted({c for _, c in cells}, key=lambda key: [order(value) for value in key])
    unpaired: set[str] = set()
    lines = []
    for r in row_keys:
        line = dict(zip(rows, map(show, r), strict=True))
        for c in col_keys:
            base = _base(cells, r, c, rows, cols, versus)
            for metric in metrics:
                text = _cell(cells.get((r, c), []), base, metric, unpaired, versus, spread)
                line[_heading(c, cols, metric, metrics)] = text
        lines.append(line)
    marked: dict[tuple[int, str], Mark] = {}
    for c, metric in [] if versus else itertools.product(col_keys, metrics):
        column = [cells.get((r, c), []) for r in row_keys]
        for line_number, mark in marks(column, metric).items():
            marked[line_number, _heading(c, cols, metric, metrics)] = mark
    said = list(notes(runs, cells, (*rows, *cols), metrics))
    if unpaired:
        said.append(f"{len(unpaired)} runs without a partner of the same seed and data_seed are not in the differences")
    above = caption(runs, cells, (*rows, *cols), metrics, versus, spread)
    return Table(pd.DataFrame(lines), f"{above} {NOTE}" if marked else above, said, marked)


def _cells(runs: Sequence[Run], rows: Sequence[str], cols: Sequence[str]) -> Cells:
    cells: Cells = defaultdict(list)
    for run in runs:
        cells[tuple(map(run.field, rows)), tuple(map(run.field, cols))].append(run)
    for members in cells.values():
        if differ := list(differing(members)):
            key = differ[0]
            values = ", ".join(show(v) for v in sorted({run.field(key) for run in members}, key=order))
            raise ConfigError(f"runs of one cell differ in {key} ({values}): add {key} to --rows, --cols or --where")
    return dict(cells)


def _base(
    cells: Cells, r: Key, c: Key, rows: Sequence[str], cols: Sequence[str], versus: Mapping[str, Sequence[str]]
) -> list[Run] | None:
    """The runs that this cell is compared with; None where the cell is itself the base, or nothing is compared."""

    def is_base(values: Mapping[str, Any]) -> bool:
        return all(matches(values[key], texts[0]) for key, texts in versus.items())

    here = dict(zip((*rows, *cols), (*r, *c), strict=True))
    if is_base(here):  # also where nothing is compared
        return None
    for (r2, c2), members in cells.items():
        there = dict(zip((*rows, *cols), (*r2, *c2), strict=True))
        if is_base(there) and all(there[key] == here[key] for key in here if key not in versus):
            return members
    return []


def _cell(
    members: Sequence[Run],
    base: Sequence[Run] | None,
    metric: str,
    unpaired: set[str],
    versus: Mapping[str, Sequence[str]],
    spread: str,
) -> str:
    decimals = 2 if metric.startswith("test") else 3
    if base is None:
        found = values(members, metric)
        if not found:
            return MISSING
        around = f" ± {_spread(found, spread):.{decimals}f}" if len(found) > 1 else ""
        return f"{np.mean(found):.{decimals}f}{around} ({len(found)})"
    ours, theirs = by_replicate(members, metric), by_replicate(base, metric)
    common = sorted(ours.keys() & theirs.keys())
    unpaired |= {run.hash for key in ours.keys() ^ theirs.keys() for run in [ours.get(key) or theirs[key]]}
    if not common:
        return MISSING
    if not any(key.split(".")[0] in DATA_KEYS for key in versus):
        for key in common:
            if ours[key].labels != theirs[key].labels:
                raise ConfigError(
                    f"{ours[key].path} and {theirs[key].path} are a pair by seed and data_seed but saw different labels"
                )
    change = paired_difference([value(ours[k], metric) for k in common], [value(theirs[k], metric) for k in common])
    interval = "" if change.interval is None else " [{:+.{d}f}, {:+.{d}f}]".format(*change.interval, d=decimals)
    return f"{change.mean:+.{decimals}f}{interval} ({change.pairs})"


def _heading(c: Key, cols: Sequence[str], metric: str, metrics: Sequence[str]) -> str:
    parts = [f"{key}={show(value)}" for key, value in zip(cols, c, strict=True)]
    return " ".join([*parts, *([metric] if len(metrics) > 1 or not cols else [])])


def _spread(values: Sequence[float], kind: str) -> float:
    n = len(values)
    deviation = float(np.std(values, ddof=1))
    factor = {"std": 1.0, "sem": n**-0.5, "ci95": float(stats.t.ppf(0.975, n - 1)) * n**-0.5}
    return deviation * factor[kind]


def main(arguments: Sequence[str] | None = None) -> int:
    """The command. Returns the exit status: 0, or 2 with a sentence when nothing can be shown."""
    parser = argparse.ArgumentParser(prog="python -m analysis.table", description="Table of finished runs.")
    keys = "names (method, plugin, dataset, model …) or configuration paths (plugin.beta), separated by commas"
    parser.add_argument("runs", nargs="+", type=Path, help="runs folders, or folders of single runs")
    parser.add_argument("--rows", default="method,plugin", help=f"{keys} (default: method,plugin)")
    parser.add_argument("--cols", default="", help=keys)
    parser.add_argument("--metric", default="test/acc/final", help="one or more, e.g. test/acc/tail,selection/auc")
    parser.add_argument("--where", default="", help="only these runs: KEY=VALUE[,VALUE…][,KEY=VALUE…]")
    parser.add_argument("--versus", default="", help="show paired differences to a base: KEY=VALUE[,KEY=VALUE…]")
    parser.add_argument("--spread", choices=SPREADS, default="std", help="what ± shows (default: std)")
    formats = ("md", "latex", "html", "csv")
    parser.add_argument("--format", choices=formats, default="md", help="Markdown (default), LaTeX with booktabs …")
    options = parser.parse_args(arguments)
    try:
        runs, others = load(options.runs)
        if options.where:
            runs = select(runs, parse_pairs(options.where))
        versus = parse_pairs(options.versus) if options.versus else None
        rows, cols, metrics = (words(text) for text in (options.rows, options.cols, options.metric))
        table = make_table(runs, rows, cols, metrics, versus, options.spread)
    except ConfigError as error:
        print(f"refused: {error}", file=sys.stderr)
        return 2
    if others:
        table.notes.append(f"not finished and not counted: {counted(others)}")
    print(table.to(options.format))
    return 0


if __name__ == "__main__":
    sys.exit(main())
