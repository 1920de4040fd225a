"""The leaderboard: cells of replicates, their means, what is best among comparable ones, and a table a setting."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from analysis.best import marks
from analysis.page.encode import columns, typed
from analysis.paired import values
from analysis.render import Mark
from analysis.runs import CHECKSUM, SETTING, Run, differing, grouped
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

    @property
    def name(self) -> str:
        """A short name that does not depend on other cells."""
        fields = [(key, value.kind, value.plain) for part in (self.fields, self.extra) for key, value in part.items()]
        text = json.dumps([*fields, self.external])
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def mean(self, metric: str) -> tuple[float | None, float | None, int]:
        """Mean, sample standard deviation (None below two runs), number of runs that have the metric."""
        numbers = values(self.runs, metric)
        deviation = float(np.std(numbers, ddof=1)) if len(numbers) > 1 else None
        return (float(np.mean(numbers)) if numbers else None), deviation, len(numbers)


def make_cells(runs: Sequence[Run]) -> list[Cell]:
    """The cells by setting, in each the best first; cells of other people's code after the suite's own."""
    cells: list[Cell] = []
    for (whose, setting), members in grouped(runs, lambda run: (run.external, run.key(SHOWN + CHOICE))).items():
        keys = list(differing(members))
        parts = grouped(members, partial(Run.key, keys=keys))
        settable = [key for key in keys if not key.startswith(DERIVED)]
        shown = settable if len({run.key(settable) for run in members}) == len(parts) else keys
        for part in parts.values():
            extra = {key: part[0].field(key) for key in shown}
            replicates = sorted(part, key=lambda run: (run.replicate, run.hash))
            cells.append(Cell(dict(zip(SHOWN + CHOICE, setting, strict=True)), extra, whose, replicates))
    means = {id(cell): cell.mean(METRICS[0][1])[0] for cell in cells}

    def place(cell: Cell) -> tuple[Any, ...]:
        data, rest = ([cell.fields[key] for key in keys] for keys in (SPLIT[:5], SPLIT[5:]))
        return (
            data,
            bool(cell.external),
            rest,
            -(means[id(cell)] or 0),
            [cell.fields[k] for k in CHOICE],
            cell.name,
        )

    return sorted(cells, key=place)


def leaderboard(cells: Sequence[Cell]) -> dict[str, Any]:
    """The leaderboard as columns: names, fields, extras, numbers, what was told, and marks of the ranking column."""
    ranked: dict[int, Mark] = marks([() if cell.external else cell.runs for cell in cells], METRICS[0][1])
    rows = []
    for position, cell in enumerate(cells):
        row: dict[str, Any] = {"runs": len(cell.runs), "external": cell.external, "mark": ranked.get(position, "")}
        row["extra"] = ", ".join(f"{key}={value}" for key, value in cell.extra.items())
        row["knows"] = ", ".join(sorted({str(fact) for run in cell.runs for fact in run.record["knows"]}))
        for name, metric, decimals in METRICS:
            mean, deviation, n = cell.mean(metric)
            row[name] = None if mean is None else round(mean, decimals + 2)
            row[f"{name}_n"] = n
            if name == METRICS[0][0]:
                row[f"{name}_std"] = None if deviation is None else round(deviation, decimals + 2)
        rows.append(row)
    fields = [{key: typed(value) for key, value in cell.fields.items()} for cell in cells]
    return {"names": [cell.name for cell in cells], "fields": columns(fields), "numbers": columns(rows)}


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
