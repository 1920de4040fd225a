"""The leaderboard: cells of replicates, their means, what is best among comparable ones, and a table a setting."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from analysis.best import marks
from analysis.page.encode import column, typed
from analysis.page.rows import Row, differs, is_setting, together
from analysis.render import Mark
from analysis.runs import CHECKSUM, SETTING, flat, grouped
from analysis.table import make_table
from analysis.values import Value
from sfa_bench.errors import ConfigError

SPLIT = (*SETTING, "epochs", CHECKSUM)  # a table each
SHOWN = (*SPLIT, "batch_size", "lr")  # these may belong to a method, and do not split tables
CHOICE = ("method", "plugin", "classifier")
DERIVED = "recipe.effective."  # computed from other keys: shown only where nothing else tells two cells apart
# Columns of numbers: name, metric, decimals. The first one ranks.
METRICS = (
    ("final", "test/acc/final", 2),
    ("many", "test/acc/many", 2),
    ("medium", "test/acc/medium", 2),
    ("few", "test/acc/few", 2),
    ("worst", "test/acc/worst", 2),
    ("auc", "selection/auc", 3),
    ("seconds", "cost/total_seconds", 1),
)


@dataclass(frozen=True)
class Cell:
    """Runs that differ in nothing but their seeds (and what a table only notes)."""

    fields: Mapping[str, Value]  # SHOWN and CHOICE
    extra: Mapping[str, Value]  # further keys in which cells of the same fields differ
    external: str  # source of external results, empty for the suite's own
    runs: Sequence[Row]

    @cached_property
    def name(self) -> str:
        """A short name that does not depend on other cells."""
        fields = [(key, value.kind, value.plain) for part in (self.fields, self.extra) for key, value in part.items()]
        text = json.dumps([*fields, self.external])
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def make_cells(runs: Sequence[Row]) -> list[Cell]:
    """The cells by setting, in each the best first; cells of other people's code after the suite's own."""
    if not runs:
        return []
    columns, rows = runs[0].columns, np.array([run.row for run in runs])
    shown = [columns.ranked(key) for key in SHOWN + CHOICE]
    whose = columns.external
    parts = [(whose.codes[rows], len(whose.values)), *((codes[rows], len(values)) for codes, values in shown)]
    _, group = np.unique(together(parts), return_inverse=True)
    extras = _split(runs, rows, group)
    # Replicates in order: by seed, data_seed and hash.
    _, hashes = np.unique([run.hash for run in runs], return_inverse=True)
    order = np.lexsort((hashes, columns.ranked("data_seed")[0][rows], columns.ranked("seed")[0][rows], group))
    cells = []
    for number, members in enumerate(np.split(order, np.flatnonzero(np.diff(group[order])) + 1)):
        first = int(rows[members[0]])
        fields = {key: values[codes[first]] for key, (codes, values) in zip(SHOWN + CHOICE, shown, strict=True)}
        cells.append(Cell(fields, extras.get(number, {}), runs[members[0]].external, [runs[row] for row in members]))
    return [cells[place] for place in _order(cells)]


def _split(runs: Sequence[Row], rows: np.ndarray, group: np.ndarray) -> dict[int, dict[str, Value]]:
    """Split each group whose runs differ in more than their seeds, by the keys in which they do. Changes `group` [runs],
    the numbers of the groups from 0.

    Returns: by the number of such a part, the values that tell it apart.
    """
    columns = runs[0].columns
    order = np.argsort(group, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(group[order])) + 1, len(order))
    same = np.diff(group[order]) == 0
    differing = defaultdict[int, list[str]](list)
    for key in columns.keys:
        if is_setting(key):
            column = columns.field(key)
            codes = column.codes[rows][order]
            for number in np.unique(group[order][1:][same & (np.diff(codes) != 0)]).tolist():
                if differs(key, column, codes[ends[number - 1] if number else 0 : ends[number]]):
                    differing[number].append(key)
    extras, new = dict[int, dict[str, Value]](), len(ends)
    for number, keys in differing.items():
        members = order[ends[number - 1] if number else 0 : ends[number]]
        if len(keys) > 1:  # in the order of its first record
            first = runs[members.min()]
            known = [*first.record["names"], *flat(first.columns.table.record(first.row)["config"])]
            keys.sort(key=lambda key: (known.index(key) if key in known else len(known), key))
        several = [(codes[rows[members]], len(values)) for codes, values in map(columns.ranked, keys)]
        _, part = np.unique(together(several), return_inverse=True)
        settable = [place for place, key in enumerate(keys) if not key.startswith(DERIVED)]
        enough = settable and len(np.unique(together([several[place] for place in settable]))) == part.max() + 1
        shown = [keys[place] for place in settable] if enough else keys
        for one in range(part.max() + 1):
            mine = members[part == one]
            place = new if one else number
            new += bool(one)
            group[mine] = place
            extras[place] = {key: runs[mine[0]].field(key) for key in shown}
    return extras


def _order(cells: Sequence[Cell]) -> Sequence[int]:
    """The places of the cells, sorted."""
    columns = cells[0].runs[0].columns
    first = np.array([cell.runs[0].row for cell in cells])
    _, names = np.unique([cell.name for cell in cells], return_inverse=True)
    mean, _, _ = means(cells, METRICS[0][1])
    data, rest, choice = ([columns.ranked(key)[0][first] for key in keys] for keys in (SPLIT[:5], SPLIT[5:], CHOICE))
    keys = [*data, np.array([bool(cell.external) for cell in cells]), *rest, -np.nan_to_num(mean), *choice, names]
    return np.lexsort(keys[::-1]).tolist()


def means(cells: Sequence[Cell], metric: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of each cell mean, sample standard deviation (NaN below two runs) and number of runs that have the metric."""
    rows = np.array([run.row for cell in cells for run in cell.runs])
    numbers = cells[0].runs[0].columns.numbers(metric)[rows]
    of_cell = np.repeat(np.arange(len(cells)), [len(cell.runs) for cell in cells])[~np.isnan(numbers)]
    numbers = numbers[~np.isnan(numbers)]
    n = np.bincount(of_cell, minlength=len(cells))
    first = np.cumsum(n) - n
    mean, deviation = np.full((2, len(cells)), np.nan)
    for size in np.unique(n[n > 0]):
        matrix = numbers[first[n == size][:, None] + np.arange(size)]
        mean[n == size] = matrix.mean(axis=1)
        if size > 1:
            deviation[n == size] = matrix.std(axis=1, ddof=1)
    return mean, deviation, n


def leaderboard(cells: Sequence[Cell]) -> dict[str, Any]:
    """The leaderboard as columns: names, fields, extras, numbers, what was told, and marks of the ranking column."""
    ranked: dict[int, Mark] = marks([() if cell.external else cell.runs for cell in cells], METRICS[0][1])
    numbers: dict[str, list[Any]] = {
        "runs": [len(cell.runs) for cell in cells],
        "external": [cell.external for cell in cells],
        "mark": [ranked.get(position, "") for position in range(len(cells))],
        "extra": [", ".join(f"{key}={value}" for key, value in cell.extra.items()) for cell in cells],
        "knows": _told(cells),
    }
    for name, metric, decimals in METRICS:
        mean, deviation, n = means(cells, metric)
        numbers[name] = _rounded(mean, decimals + 2)
        numbers[f"{name}_n"] = n.tolist()
        if name == METRICS[0][0]:
            numbers[f"{name}_std"] = _rounded(deviation, decimals + 2)
    fields = {key: column([typed(cell.fields[key]) for cell in cells]) for key in SHOWN + CHOICE}
    columns = {key: column(values) for key, values in numbers.items()}
    return {"names": [cell.name for cell in cells], "fields": fields, "numbers": columns}


def _told(cells: Sequence[Cell]) -> list[str]:
    """What the methods of each cell were told."""
    knows = cells[0].runs[0].columns.table.column("knows") if cells else None
    if knows is None:
        return []
    codes = knows.codes.tolist()
    told = ({code for run in cell.runs if (code := codes[run.row]) >= 0} for cell in cells)
    return [", ".join(sorted({str(fact) for code in facts for fact in knows.values[code]})) for facts in told]


def _rounded(numbers: np.ndarray, decimals: int) -> list[float | None]:
    return [None if number != number else round(number, decimals) for number in numbers.tolist()]


def tables(cells: Sequence[Cell]) -> Iterable[dict[str, Any]]:
    """For each setting a table method × plug-in of the suite's own runs, or the sentence why there is none."""
    own_cells = (cell for cell in cells if not cell.external)
    for values_, members in grouped(own_cells, lambda cell: tuple(cell.fields[key] for key in SPLIT)).items():
        runs = [run for cell in members for run in cell.runs]
        named = {key: str(value) for key, value in zip(SPLIT, values_, strict=True)}
        made: dict[str, Any] = {"setting": named}
        several = len({cell.fields["classifier"] for cell in members}) > 1
        rows = ["method", "classifier"] if several else ["method"]
        try:
            table = make_table(runs, rows, ["plugin"])
        except ConfigError as error:
            yield made | {"refused": str(error)}
            continue
        head = list(table.frame)
        made |= {"caption": table.caption, "notes": table.notes, "head": head, "keys": len(rows)}
        made["rows"] = table.frame.values.tolist()
        made["marks"] = [[line, head.index(column), mark] for (line, column), mark in table.marks.items()]
        yield made
