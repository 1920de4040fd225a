"""The details of runs for the page, straight from columns: a section for each part of the record."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from analysis.columns import Run, RunColumns
from analysis.metrics import current
from analysis.page.encode import columns, rounded, typed
from analysis.page.read import Extras, state
from analysis.runs import reason
from analysis.values import Listed
from sfa_bench.store.columns import ABSENT, LISTED, Column, leaves
from sfa_bench.store.reading import Damaged
from sfa_bench.store.run_table import RunTable

Coded = tuple[np.ndarray, list[Any]]  # the place of each run's value, -1 for none, and the values as the page has them


class Details:
    """The details of some runs, which may be asked for in parts."""

    def __init__(self, runs: Sequence[Run], extras: Sequence[Extras], sheets: Sequence[str | None]):
        """sheets: the name of each run's sheet of images, None for none."""
        self._runs, self._extras, self._sheets = runs, extras, sheets
        rows = np.array([run.row for run in runs], np.intp)
        several, self._place = np.unique(rows, return_inverse=True)
        whole = runs[0].columns.table
        table = whole.take(several)
        here = RunColumns(table)
        keys = _in_order(whole, set(table.keys()))
        self._sections: dict[str, dict[str, Coded]] = {"config": {}}
        for key in here.field_names():
            codes, values, _ = here.field(key)
            self._sections["config"][key] = self._coded(Column(codes, values[:-1]), typed)
        for section, name in _SECTIONS.items():
            mine = [key for key in keys if key.startswith(f"{section}/")]
            self._sections[section] = self._section(here.column, mine, section, name)

    def _section(
        self, column: Callable[[str], Column], keys: Iterable[str], section: str, name: Callable[[str], str]
    ) -> dict[str, Coded]:
        found: dict[str, Coded] = {}
        for key in keys:
            called = name(key.removeprefix(f"{section}/"))
            codes, values = self._coded(column(key), rounded if section != "environment" else _same, key)
            if called in found:  # a metric under its former name, in other runs
                others, known = found[called]
                former = np.where(others < 0, ABSENT, others + len(values))
                codes, values = np.where(codes < 0, former, codes), [*values, *known]
            found[called] = codes, values
        return found

    def _coded(self, column: Column, shown: Callable[[Any], Any], key: str = "") -> Coded:
        """A column as the page has it. shown: what it makes of a value; key: where lists are, which columns lack."""
        places: dict[str, int] = {}
        values: list[Any] = []

        def place(value: Any) -> int:
            # By their text: 1, 1.0 and True are equal, but not the same value of an option.
            position = places.setdefault(repr(value), len(values))
            if position == len(values):
                values.append(value)
            return position

        there = np.unique(column.codes)
        new = np.full(len(column.values) + 2, ABSENT, np.int32)
        for code in there[there >= 0].tolist():
            new[code] = place(shown(column.values[code]))
        codes = new[column.codes][self._place]
        if LISTED in there:
            as_text = key.startswith(("cost/", "environment/"))
            for position in np.flatnonzero(column.codes[self._place] == LISTED).tolist():
                found = self._extras[position].lists.get(key)
                if found is not None:
                    codes[position] = place(Listed(json.dumps(found)) if as_text else found)
        return codes, values

    def part(self, first: int, end: int) -> dict[str, dict[str, Any]]:
        """The details of the runs from `first` to before `end`."""
        made: dict[str, dict[str, Any]] = {}
        for section, coded in self._sections.items():
            packed = {key: _part(codes[first:end], values) for key, (codes, values) in coded.items()}
            made[section] = {key: column for key, column in packed.items() if column is not None}
        made["run"] = columns(list(map(_run, self._runs[first:end])))
        both = zip(self._extras[first:end], self._sheets[first:end], strict=True)
        made["images"] = columns([{"sheet": s, **e.images.columns} if s and e.images else {} for e, s in both])
        return made


# The sections that are as the record has them, and how their keys are called on the page.
_SECTIONS: Mapping[str, Callable[[str], str]] = {
    "metrics": current,
    "selection": str,
    "cost": lambda key: key.replace("/", "."),
    "environment": str,
    "data": str,
}


def _part(codes: np.ndarray, values: Sequence[Any]) -> dict[str, Any] | None:
    """A part of a column in the shortest of the forms of `encode.columns`; None where no run has a value."""
    there, first, inverse = np.unique(codes, return_index=True, return_inverse=True)
    if len(there) == 1:
        return {"all": values[there[0]]} if there[0] >= 0 else None
    order = np.argsort(first)
    order = order[there[order] >= 0]
    new = np.full(len(there), -1)
    new[order] = np.arange(len(order))
    at = new[inverse].tolist()
    of = [values[there[place]] for place in order]
    if 2 * len(of) > len(codes) and -1 not in at:
        return {"each": [of[place] for place in at]}
    return {"of": of, "at": at}


def _same(plain: Any) -> Any:
    return plain


def _in_order(table: RunTable, keys: set[str]) -> list[str]:
    """The keys in an order that does not depend on where they were read: as in the first record, then by name."""
    try:
        known = [*leaves(table.record(0))]
    except (OSError, Damaged):  # changed meanwhile
        known = []
    return [*dict.fromkeys(key for key in known if key in keys), *sorted(keys - set(known))]


def _run(run: Run) -> dict[str, Any]:
    seed, data_seed = map(typed, run.replicate)
    row = {"state": state(run), "command": run.columns.plain("command")[run.row], "error": why(run)}
    row |= {"seed": seed, "data_seed": data_seed, "folder": str(run.path), "external": run.external}
    return row | {"knows": ", ".join(map(str, run.knows))}


def why(run: Run) -> str:
    """Why it is not done."""
    error = {key: run.columns.plain(f"error/{key}")[run.row] for key in ("type", "message")}
    return reason({"state": state(run), "error": error})
