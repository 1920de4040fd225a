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
from numpy.typing import NDArray

from analysis.best import marks
from analysis.columns import CHECKSUM, Run, RunColumns, classes, differences, shared
from analysis.page.encode import column, typed
from analysis.render import Mark
from analysis.runs import SETTING, distinct, grouped, kinds
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
    runs: Sequence[Run]

    @cached_property
    def name(self) -> str:
        """A short name that does not depend on other cells."""
        fields = [(key, value.kind, value.plain) for part in (self.fields, self.extra) for key, value in part.items()]
        text = json.dumps([*fields, self.external])
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def make_cells(runs: Sequence[Run]) -> list[Cell]:
    """The cells by setting, in each the best first; cells of other people's code after the suite's own."""
    if not runs:
        return []
    columns, rows = shared(runs)
    shown = [columns.field(key) for key in SHOWN + CHOICE]
    group, _ = classes([columns.column("external").codes[rows], *(field.same(rows) for field in shown)], len(rows))
    extras = _split(runs, group)
    _, hashes = np.unique([run.hash for run in runs], return_inverse=True)
    order = np.lexsort((hashes, ranks(columns, "data_seed", rows), ranks(columns, "seed", rows), group))
    cells = []
    for number, members in enumerate(np.split(order, np.flatnonzero(np.diff(group[order])) + 1)):
        first = rows[members[0]]
        fields = {key: field.values[field.codes[first]] for key, field in zip(SHOWN + CHOICE, shown, strict=True)}
        cells.append(Cell(fields, extras.get(number, {}), runs[members[0]].external, [runs[m] for m in members]))
    return [cells[place] for place in _order(cells)]


def ranks(columns: RunColumns, key: str, rows: NDArray[np.intp]) -> NDArray[np.intp]:
    """Numbers [rows] that sort as the values of a field do."""
    field = columns.field(key)
    place = {value: rank for rank, value in enumerate(sorted(set(field.values)))}
    return np.array([place[value] for value in field.values])[field.codes[rows]]


def _split(runs: Sequence[Run], group: NDArray[np.intp]) -> dict[int, dict[str, Value]]:
    """Split each group whose runs differ in more than their seeds, by the keys in which they do. Changes `group`,
    the numbers [runs] of the groups from 0.

    Returns: by the number of such a part, the values that tell it apart.
    """
    order = np.argsort(group, kind="stable")
    groups = np.split(order, np.flatnonzero(np.diff(group[order])) + 1)
    differing = defaultdict[int, list[str]](list)
    for key, differ in differences([[runs[place] for place in members] for members in groups]):
        for number in np.flatnonzero(differ).tolist():
            differing[number].append(key)
    extras, new = dict[int, dict[str, Value]](), len(groups)
    for number, keys in differing.items():
        places = groups[number]
        members = [runs[place] for place in places]
        if len(keys) > 1:  # in the order of the first record
            known = {key: place for place, key in enumerate((*members[0].record["names"], *members[0].fields))}
            keys.sort(key=lambda key: (known.get(key, len(known)), key))
        part, firsts = kinds(members, keys)
        settable = [key for key in keys if not key.startswith(DERIVED)]
        shown = settable if len(distinct(members, settable)) == len(firsts) else keys
        for one, first in enumerate(firsts):
            place = new + one - 1 if one else number
            group[places[np.array(part) == one]] = place
            extras[place] = {key: members[first].field(key) for key in shown}
        new += len(firsts) - 1
    return extras


def _order(cells: Sequence[Cell]) -> list[int]:
    """The places of the cells, sorted."""
    columns, rows = shared([cell.runs[0] for cell in cells])
    _, names = np.unique([cell.name for cell in cells], return_inverse=True)
    mean, _, _ = means(cells, METRICS[0][1])
    data, rest, choice = ([ranks(columns, key, rows) for key in keys] for keys in (SPLIT[:5], SPLIT[5:], CHOICE))
    keys = [*data, np.array([bool(cell.external) for cell in cells]), *rest, -np.nan_to_num(mean), *choice, names]
    return np.lexsort(keys[::-1]).tolist()


def means(cells: Sequence[Cell], metric: str) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.intp]]:
    """Of each cell mean, sample standard deviation (NaN below two runs) and number of runs that have the metric."""
    columns, rows = shared([run for cell in cells for run in cell.runs])
    column = columns.metric(metric)
    plain = [np.nan if value is None else value for value in column.values]
    numbers = np.array([*plain, np.nan, np.nan], np.float64)[column.codes[rows]]
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
        "knows": list(map(_told, cells)),
    }
    for name, metric, decimals in METRICS:
        mean, deviation, n = means(cells, metric)
        numbers[name] = _rounded(mean, decimals + 2)
        numbers[f"{name}_n"] = n.tolist()
        if name == METRICS[0][0]:
            numbers[f"{name}_std"] = _rounded(deviation, decimals + 2)
    fields = {key: column(_shown(cells, key)) for key in SHOWN + CHOICE if cells}
    columns = {key: column(values) for key, values in numbers.items()}
    return {"names": [cell.name for cell in cells], "fields": fields, "numbers": columns}


def _shown(cells: Sequence[Cell], key: str) -> list[Any]:
    """A field of each cell as the page shows it, worked out once for each different value."""
    columns, rows = shared([cell.runs[0] for cell in cells])
    field = columns.field(key)
    texts = list(map(typed, field.values))
    return [texts[code] for code in field.codes[rows].tolist()]


def _told(cell: Cell) -> str:
    """What the methods of a cell were told."""
    return ", ".join(sorted({str(fact) for run in cell.runs for fact in run.knows}))


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
        made |= {"caption": table.caption, "notes": table.notes, "head": table.head, "keys": len(rows)}
        made["rows"] = table.lines
        made["marks"] = [[line, table.head.index(column), mark] for (line, column), mark in table.marks.items()]
        yield made
