"""Paper-style table of finished runs: `python -m analysis.table RUNS… --rows method,plugin --cols noise_ratio`.

Cells show mean ± sample standard deviation (n) over replicates, or what `--spread` asks for; with
`--versus plugin=none` every other cell shows its difference to the base, paired by (seed, data_seed), with the 95 % t
interval of the mean difference. With `--gap FLOOR CEILING` a further column shows the share of the gap between two rows
that each row closes.
"""

from __future__ import annotations

import argparse
import itertools
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence

import pandas as pd

from analysis.best import ALONE, NOTE, marks, untested
from analysis.cells import CellWriter
from analysis.context import SPREADS, caption, notes, row_notes
from analysis.gap import Row, find_gap
from analysis.metrics import listing
from analysis.presets import PRESETS, SETS, shape
from analysis.render import Mark, Table
from analysis.reported import Line, published
from analysis.runs import (
    RUNS,
    WHERE,
    Run,
    check_alike,
    check_fields,
    check_metric,
    grouped,
    load,
    metric_name,
    not_counted,
    parse_pairs,
    select,
    words,
)
from analysis.values import MISSING, Key
from sfa_bench.config.terminal import Parser, door, entry_point
from sfa_bench.doors import Door
from sfa_bench.errors import ConfigError


def make_table(
    runs: Sequence[Run],
    rows: Sequence[str],
    cols: Sequence[str] = (),
    metrics: Sequence[str] = ("test/acc/final",),
    versus: Mapping[str, Sequence[str]] | None = None,
    spread: str = "std",
    reported: bool = False,
    gap: tuple[Row, Row] | None = None,
) -> Table:
    """The table of these runs. Raises ConfigError with a sentence when it would mislead or cannot be made.

    Results of other people's code stand below ours; with `reported`, published numbers below these. `gap` names a floor
    and a ceiling, see `analysis.gap`.
    """
    versus = versus or {}
    if any(len(values) != 1 for values in versus.values()):
        raise ConfigError("--versus compares with one base: KEY=VALUE[,KEY=VALUE…]")
    if versus and gap:
        raise ConfigError("--gap and --versus are two tables: ask for one of them")
    asked = dict.fromkeys(key for side in (versus, *(gap or ())) for key in side)
    rows = list(dict.fromkeys([*rows, *(key for key in asked if key not in cols)]))
    cols = list(dict.fromkeys(cols))
    check_fields(runs, [*rows, *cols])
    metrics = list(dict.fromkeys(metric_name(runs, metric) for metric in metrics))
    for metric in metrics:
        check_metric(runs, metric)
    if versus:
        select(runs, versus)  # refuses a base that does not exist
    cells = grouped(runs, lambda run: (run.key(rows), run.key(cols)))
    check_alike(cells.values(), "cell", "--rows, --cols")
    closed = find_gap(runs, cells, rows, gap) if gap else None
    foreign = {r for (r, _), members in cells.items() if any(run.external for run in members)}
    row_keys = sorted({r for r, _ in cells}, key=lambda key: (key in foreign, key))
    col_keys = sorted({c for _, c in cells})
    names = {(c, metric): _heading(c, cols, metric, metrics) for c in col_keys for metric in metrics}
    if len(headings := [*rows, *names.values()]) > len(set(headings)):
        twice = next(text for text in headings if headings.count(text) > 1)
        raise ConfigError(f"two columns would be headed {twice}: leave one out with --where, or take a key into --rows")
    writer = CellWriter(cells, rows, cols, versus, spread)
    lines = [
        dict(zip(rows, map(str, r), strict=True)) | {names[c, m]: writer.text(r, c, m) for c, m in names}
        for r in row_keys
    ]
    marked: dict[tuple[int, str], Mark] = {}
    sentences = list(notes(runs, cells, (*rows, *cols), metrics))
    for c, metric in [] if versus else itertools.product(col_keys, metrics):
        column = [cells.get((r, c), []) for r in row_keys]
        column_marks = marks(column, metric)
        marked |= {(line, names[c, metric]): mark for line, mark in column_marks.items()}
        sentences += [ALONE] if column_marks and untested(column, metric) and ALONE not in sentences else []
    if unpaired := len(writer.unpaired):
        sentences.append(f"{unpaired} runs without a partner of the same seed and data_seed are not in the differences")
    blocks = {row_keys.index(r) for r in row_keys if r in foreign and row_keys.index(r) == len(row_keys) - len(foreign)}
    by_row = [(note, frozenset(map(row_keys.index, about))) for note, about in row_notes(cells)]
    below = published(cells, rows, cols, metrics) if reported and not versus else []
    if below:
        blocks.add(len(lines))
        by_row += _protocols(below, len(lines))
        lines += [_published_line(line, rows, names) for line in below]
    elif reported:
        sentences.append(
            "no published number is of this setting and metric" if not versus else "published numbers: no pairs"
        )
    above = caption(runs, cells, (*rows, *cols), metrics, versus, spread)
    table = Table(
        pd.DataFrame(lines, columns=headings),
        f"{above} {NOTE}" if marked else above,
        sentences,
        marked,
        {name: _levels(c, cols, metric, metrics) for (c, metric), name in names.items()},
        by_row,
        frozenset(blocks),
        len(row_keys) if below else None,
    )
    return closed.beside(table, row_keys, names) if closed else table


def _published_line(line: Line, rows: Sequence[str], names: Mapping[tuple[Key, str], str]) -> dict[str, str]:
    cells = {name: line.cells.get(place, MISSING) for place, name in names.items()}
    return dict(zip(rows, map(str, line.row), strict=True)) | cells


def _protocols(lines: Sequence[Line], first: int) -> list[tuple[str, frozenset[int]]]:
    """Each sentence on a protocol with the lines that it is about."""
    about: dict[str, set[int]] = defaultdict(set)
    for number, line in enumerate(lines, start=first):
        for sentence in line.said:
            about[f"published: {sentence}"].add(number)
    return [(sentence, frozenset(numbers)) for sentence, numbers in about.items()]


def _levels(c: Key, cols: Sequence[str], metric: str, metrics: Sequence[str]) -> tuple[str, ...]:
    parts = [f"{key}={value}" for key, value in zip(cols, c, strict=True)]
    oracle = " (oracle)" if metric.endswith("acc/best") else ""
    return (*parts, *([metric + oracle] if len(metrics) > 1 or not cols or oracle else []))


def _heading(c: Key, cols: Sequence[str], metric: str, metrics: Sequence[str]) -> str:
    return " ".join(_levels(c, cols, metric, metrics))


@entry_point
def main(arguments: Sequence[str]) -> None:
    """The command."""
    parser = Parser(
        prog=Door.here.tool("analysis.table"),
        description="Table of finished runs.",
        epilog=listing(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    keys = "names (method, plugin, dataset, model …) or configuration paths (plugin.beta), separated by commas"
    sets = f"one or more: final, best, tail, selection/auc …; together: {', '.join(SETS)}"
    parser.add_argument("runs", **RUNS)
    parser.add_argument("--preset", choices=PRESETS, help="a table by name; other options override it")
    parser.add_argument("--rows", help=f"{keys} (default: method,plugin)")
    parser.add_argument("--cols", help=keys)
    parser.add_argument("--metric", help=f"{sets} (default: final)")
    parser.add_argument("--where", **WHERE)
    parser.add_argument("--versus", default="", help="show paired differences to a base: KEY=VALUE[,KEY=VALUE…]")
    two = "how much of the gap between two rows each closes; each KEY=VALUE[,KEY=VALUE…]"
    parser.add_argument("--gap", nargs=2, metavar=("FLOOR", "CEILING"), help=two)
    parser.add_argument("--spread", choices=SPREADS, default="std", help="what ± shows (default: std)")
    parser.add_argument("--reported", action="store_true", help="published numbers of the same settings below ours")
    formats = ("md", "latex", "html", "csv")
    parser.add_argument("--format", choices=formats, default="md", help="Markdown (default), LaTeX with booktabs …")
    options = parser.parse_args(arguments)
    runs, others = load(options.runs, options.where)
    table = _asked_for(runs, options)
    table.notes.extend(not_counted(others))
    print(table.to(options.format))


def _asked_for(runs: Sequence[Run], options: argparse.Namespace) -> Table:
    """The table of the options: those that are set, else those of the preset, else the defaults."""
    rows, cols, metrics = words("method,plugin"), words(""), words("final")
    versus: Mapping[str, Sequence[str]] = {}
    reported = options.reported
    if options.preset:
        preset = PRESETS[options.preset]
        runs, rows, cols = shape(preset, runs)
        versus, reported = {} if options.gap else preset.versus, reported or preset.reported
        # Of several metrics a preset shows those that the runs have.
        metrics = [m for m in preset.metrics if any(metric_name(runs, m) in run.metrics for run in runs)]
    # A key that is set as a row is not a default column, and the other way round.
    if options.rows is not None:
        rows = words(options.rows)
        cols = [key for key in cols if key not in rows]
    if options.cols is not None:
        cols = words(options.cols)
        rows = rows if options.rows is not None else [key for key in rows if key not in cols]
    if options.metric is not None:
        metrics = [name for word in words(options.metric) for name in SETS.get(word, (word,))]
    if options.versus:
        versus = parse_pairs(options.versus)
    gap = (parse_pairs(options.gap[0]), parse_pairs(options.gap[1])) if options.gap else None
    return make_table(runs, rows, cols, metrics, versus, options.spread, reported, gap)


if __name__ == "__main__":
    sys.exit(door(main))
