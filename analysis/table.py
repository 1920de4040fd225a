"""Paper-style table of finished runs: `python -m analysis.table RUNS… --rows method,plugin --cols noise_ratio`.

Cells show mean ± sample standard deviation (n) over replicates, or what `--spread` asks for; with
`--versus plugin=none` every other cell shows its difference to the base, paired by (seed, data_seed), with the 95 % t
interval of the mean difference. With `--gap FLOOR CEILING` a further column shows the share of the gap between two rows
that each row closes. Where runs of one cell differ in more than their seeds, the rows are split by the keys in which
they do. LaTeX and HTML have the names of papers, see `analysis.names`.
"""

from __future__ import annotations

import argparse
import itertools
import re
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from analysis.best import ALONE, NOTE, marks, untested
from analysis.cells import CellWriter
from analysis.context import SPREADS, caption, notes, row_notes
from analysis.gap import Row, find_gap
from analysis.metrics import listing
from analysis.names import TYPED, Names, built_in, read_names
from analysis.presets import PRESETS, SETS, shape
from analysis.render import Mark, Table
from analysis.reported import Line, published
from analysis.runs import (
    RUNS,
    WHERE,
    Run,
    cells_of,
    check_alike,
    check_fields,
    check_metric,
    first_difference,
    grouped_by,
    has_metric,
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

FORMATS = ("md", "latex", "html", "csv")


@dataclass(frozen=True)
class Style:
    """How a table is written: names, digits of percentages after the point, whether n is left out where no run lacks,
    and a caption and a label of the user's own.
    """

    names: Names = TYPED
    decimals: int = 2
    hide_n: bool = False
    caption: str = ""
    label: str = ""


PLAIN = Style()


def make_table(
    runs: Sequence[Run],
    rows: Sequence[str],
    cols: Sequence[str] = (),
    metrics: Sequence[str] = ("test/acc/final",),
    versus: Mapping[str, Sequence[str]] | None = None,
    spread: str = "std",
    reported: bool = False,
    gap: tuple[Row, Row] | None = None,
    style: Style = PLAIN,
) -> Table:
    """The table of these runs. Raises ConfigError with a sentence when it would mislead or cannot be made.

    Results of other people's code stand below ours; with `reported`, published numbers below these. `gap` names a floor
    and a ceiling, see `analysis.gap`; `style` how the table is written.
    """
    named = style.names
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
    cells = cells_of(runs, rows, cols)
    check_alike(cells.values(), "cell", "--rows, --cols")
    closed = find_gap(runs, cells, rows, gap) if gap else None
    foreign = {r for (r, _), members in cells.items() if any(run.external for run in members)}
    row_keys = sorted({r for r, _ in cells}, key=lambda key: (key in foreign, key))
    col_keys = sorted({c for _, c in cells})
    for place, key in enumerate(rows):
        named.check(key, {r[place] for r in row_keys})
    levels = {(c, metric): _levels(c, cols, metric, metrics, named) for c in col_keys for metric in metrics}
    names = {place: " ".join(texts) for place, texts in levels.items()}
    if len(headings := [*map(named.key, rows), *names.values()]) > len(set(headings)):
        twice = next(text for text in headings if headings.count(text) > 1)
        raise ConfigError(f"two columns would be headed {twice}: leave one out with --where, or take a key into --rows")
    writer = CellWriter(cells, rows, cols, versus, spread, style.decimals, style.hide_n)
    lines = _rows(rows, row_keys, named)
    for line, r in zip(lines, row_keys, strict=True):
        line |= {name: writer.text(r, c, m) for (c, m), name in names.items()}
    marked: dict[tuple[int, str], Mark] = {}
    sentences = list(notes(runs, (*rows, *cols), metrics))
    for c, metric in [] if versus else itertools.product(col_keys, metrics):
        column = [cells.get((r, c), []) for r in row_keys]
        column_marks = marks(column, metric)
        marked |= {(line, names[c, metric]): mark for line, mark in column_marks.items()}
        sentences += [ALONE] if column_marks and untested(column, metric) and ALONE not in sentences else []
    if unpaired := len(writer.unpaired):
        sentences.append(f"{unpaired} runs without a partner of the same seed and data_seed are not in the differences")
    blocks = {len(row_keys) - len(foreign)} if foreign else set()
    place_of = {r: place for place, r in enumerate(row_keys)}
    by_row = [(note, frozenset(map(place_of.__getitem__, about))) for note, about in row_notes(cells)]
    below = published(cells, rows, cols, metrics) if reported and not versus else []
    if below:
        blocks.add(len(lines))
        by_row += _protocols(below, len(lines))
        lines += [_published_line(line, rows, names, named) for line in below]
    elif reported:
        sentences.append(
            "no published number is of this setting and metric" if not versus else "published numbers: no pairs"
        )
    above = caption(runs, cells, (*rows, *cols), metrics, versus, spread, named)
    above += f" {_hidden(writer.most)}" if style.hide_n else ""
    table = Table(
        headings,
        [[*line.values()] for line in lines],
        style.caption or (f"{above} {NOTE}" if marked else above),
        sentences,
        marked,
        {name: levels[place] for place, name in names.items()},
        by_row,
        frozenset(blocks),
        len(row_keys) if below else None,
        len(rows),
        style.label,
    )
    return closed.beside(table, row_keys, names) if closed else table


def _rows(rows: Sequence[str], keys: Sequence[Key], named: Names) -> list[dict[str, str]]:
    headings = [*map(named.key, rows)]
    # Thousands of rows have the same few values. Equal ones of two types (10¹⁷ and 1e17) are shown as they were set.
    text = cache(lambda name, value, kind: named.value(name, value))
    words = (
        [text(name, value, type(value.plain).__name__) for name, value in zip(rows, key, strict=True)] for key in keys
    )
    return [dict(zip(headings, line, strict=True)) for line in words]


def _published_line(
    line: Line, rows: Sequence[str], names: Mapping[tuple[Key, str], str], named: Names
) -> dict[str, str]:
    cells = {name: line.cells.get(place, MISSING) for place, name in names.items()}
    return _rows(rows, [line.row], named)[0] | cells


def _hidden(most: int) -> str:
    return f"n = {most}, where no other is shown."


def _protocols(lines: Sequence[Line], first: int) -> list[tuple[str, frozenset[int]]]:
    """Each sentence on a protocol with the lines that it is about."""
    about: dict[str, set[int]] = defaultdict(set)
    for number, line in enumerate(lines, start=first):
        for sentence in line.said:
            about[f"published: {sentence}"].add(number)
    return [(sentence, frozenset(numbers)) for sentence, numbers in about.items()]


def _levels(c: Key, cols: Sequence[str], metric: str, metrics: Sequence[str], named: Names) -> tuple[str, ...]:
    parts = [named.setting(key, value) for key, value in zip(cols, c, strict=True)]
    oracle = " (oracle)" if metric.endswith("acc/best") else ""
    return (*parts, *([named.metric(metric) + oracle] if len(metrics) > 1 or not cols or oracle else []))


def split(runs: Sequence[Run], keys: Sequence[str]) -> list[str]:
    """Further keys by which runs have to be told apart, so that those with the same values differ in their seeds alone;
    names of choices before the keys that follow from them.
    """
    added: list[str] = []
    while True:
        found = first_difference([*grouped_by(runs, (*keys, *added)).values()])
        if found is None:
            return added
        added.append(found[1])


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
    parser.add_argument("--format", choices=FORMATS, default="md", help="Markdown (default), LaTeX with booktabs …")
    _add_style(parser)
    options = parser.parse_args(arguments)
    style = _style(options)
    runs, others = load(options.runs, options.where)
    table = _asked_for(runs, options, style)
    table.notes.extend(not_counted(others))
    print(table.to(options.format))


def _add_style(parser: argparse.ArgumentParser) -> None:
    words = "a YAML file with names of methods, plug-ins, metrics …, above those that latex and html have anyway"
    parser.add_argument("--names", type=Path, metavar="FILE", help=words)
    parser.add_argument("--caption", default="", metavar="TEXT", help="in the place of the caption; not csv")
    parser.add_argument("--label", default="", metavar="NAME", help="latex: its \\label; html: its id")
    digits: dict[str, Any] = {"type": int, "choices": range(7), "metavar": "N"}
    parser.add_argument("--decimals", **digits, default=2, help="of percentages (default: 2); shares have one more")
    parser.add_argument("--hide-n", action="store_true", help="no (n) in cells that have as many runs as any")


def _style(options: argparse.Namespace) -> Style:
    """How the table is written. Raises ConfigError for an option that does not act on the format."""
    markup = options.format in ("latex", "html")
    if options.label and not markup:
        raise ConfigError(f"--label={options.label} has no effect on --format={options.format}: set latex or html")
    if options.label and not re.fullmatch(r"[\w:.-]+", options.label, re.ASCII):
        raise ConfigError(f"--label={options.label} is not of letters, digits and  : . _ -")
    if options.caption and options.format == "csv":
        raise ConfigError("--caption has no effect on --format=csv, which has no caption: leave it out")
    names = read_names(options.names) if options.names is not None else built_in() if markup else TYPED
    return Style(names, options.decimals, options.hide_n, options.caption, options.label)


def _asked_for(runs: Sequence[Run], options: argparse.Namespace, style: Style) -> Table:
    """The table of the options: those that are set, else those of the preset, else the defaults."""
    rows, cols, metrics = words("method,plugin"), words(""), words("final")
    versus: Mapping[str, Sequence[str]] = {}
    reported = options.reported
    if options.preset:
        preset = PRESETS[options.preset]
        runs, rows, cols = shape(preset, runs)
        versus, reported = {} if options.gap else preset.versus, reported or preset.reported
        # Of several metrics a preset shows those that the runs have.
        metrics = [m for m in preset.metrics if has_metric(runs, metric_name(runs, m))]
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
    check_fields(runs, [*rows, *cols, *versus])
    further = split(runs, [*rows, *cols, *versus, *(key for side in gap or () for key in side)])
    table = make_table(runs, [*rows, *further], cols, metrics, versus, options.spread, reported, gap, style)
    if further:
        table.notes.append(f"rows are split by {', '.join(further)}, in which runs of one cell differ")
    return table


if __name__ == "__main__":
    sys.exit(door(main))
