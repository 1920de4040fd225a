"""All runs as one page for the browser: `python -m analysis.report RUNS… -o page.html`.

One self-contained file: a leaderboard with a row for each cell (runs that differ in nothing but their
seeds), a table for each setting, and every run with its curves, classes, selection, images and configuration.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from analysis.context import WHICH, notes, own_files
from analysis.metrics import current
from analysis.page.encode import columns, compact, packed, page, rounded, typed
from analysis.page.leaderboard import METRICS, SHOWN, Cell, leaderboard, make_cells, tables
from analysis.page.read import SERIES, AllRuns, Extras, extras, having, read
from analysis.page.thumbnails import sheets
from analysis.runs import (
    CHECKSUM,
    RUNS,
    WHERE,
    Cells,
    Run,
    counted,
    flat,
    grouped,
    no_garbage,
    parse_pairs,
    reason,
    select,
)
from sfa_bench.config.terminal import Parser, door, entry_point
from sfa_bench.doors import Door
from sfa_bench.errors import ConfigError
from sfa_bench.store.folder import write_file

TOGETHER = 240  # runs whose details are unpacked together, at most, where a cell is not larger
CURVES = 3_500_000  # characters of the file for learning curves
IMAGES = 2_000_000  # and for images


def make_page(ledger: AllRuns, curves: int = CURVES, images: int = IMAGES) -> bytes:
    """The page of these runs; the budgets are characters of the file."""
    cells = make_cells(ledger.done)
    others = sorted(ledger.others, key=lambda run: (run.record["state"], str(run.path)))
    runs = [run for cell in cells for run in cell.runs] + others
    with extras(runs) as later:
        board, by_setting, sentences = leaderboard(cells), list(tables(cells)), _notes(cells)
        loaded = list(later)
    important = _by_importance(cells, len(others))
    kept, no_curves = _within(loaded, important, curves)
    images_by_name, sheet_of, no_images = sheets(runs, loaded, important, images)
    chunks = list(_chunks([len(cell.runs) for cell in cells], len(runs)))
    blobs = {}
    for number, (first, end) in enumerate(chunks):
        blobs[f"details-{number}"] = packed(compact(_details(runs[first:end], loaded[first:end], sheet_of[first:end])))
        texts = [loaded[position].curves or "null" if kept[position] else "0" for position in range(first, end)]
        blobs[f"curves-{number}"] = packed(f"[{','.join(texts)}]")
    for name, sheet in images_by_name.items():
        blobs[f"sheet-{name}"] = sheet.pop("png")
    index = {
        "facts": _facts(ledger, cells),
        "notes": [*sentences, *_left_out(len(runs), no_curves, no_images, curves, images)],
        "setting": SHOWN,
        "usual": {CHECKSUM: True},
        "columns": [{"name": name, "metric": metric, "decimals": decimals} for name, metric, decimals in METRICS],
        "which": WHICH[METRICS[0][1]],
        "board": board,
        "tables": by_setting,
        "hashes": [run.hash for run in runs],
        "chunks": [first for first, _ in chunks],
        "series": {name: steps for name, _, steps in SERIES},
        "sheets": images_by_name,
        "others": [_other(run) for run in others],
    }
    return page(index, blobs)


def _by_importance(cells: Sequence[Cell], others: int) -> list[int]:
    """Positions of the runs: the first replicate of every cell, then the second …, at last runs not finished."""
    places, position = [], 0
    for cell_number, cell in enumerate(cells):
        places += [(replicate, cell_number, position + replicate) for replicate in range(len(cell.runs))]
        position += len(cell.runs)
    return [place for *_, place in sorted(places)] + list(range(position, position + others))


def _within(loaded: Sequence[Extras], important: Sequence[int], budget: int) -> tuple[list[bool], int]:
    """Whether the curves of each run are kept, and the number of those left out for lack of space."""
    kept, left_out = [True] * len(loaded), 0
    for position in important:
        budget -= loaded[position].size * 4 // 3  # in base64
        if budget < 0 and loaded[position].curves:
            kept[position] = False
            left_out += 1
    return kept, left_out


def _chunks(cells: Sequence[int], runs: int) -> Iterator[tuple[int, int]]:
    """First and one past the last position of each chunk; a cell is in one chunk, as are all unfinished runs."""
    first = end = 0
    for size in (*cells, runs - sum(cells)):
        if end > first and end + size - first > TOGETHER:
            yield first, end
            first = end
        end += size
    yield first, end


def _details(runs: Sequence[Run], loaded: Sequence[Extras], sheet_of: Sequence[str | None]) -> dict[str, Any]:
    """The details of each run without its curves, a section for each part of the record."""
    rows: dict[str, list[Mapping[str, Any]]] = {
        "config": [{key: typed(run.field(key)) for key in run.fields} for run in runs],
        "metrics": [rounded({current(key): value for key, value in run.record["metrics"].items()}) for run in runs],
        "selection": [rounded(flat(run.record["selection"], "/")) for run in runs],
        "cost": [rounded(flat(run.record["cost"])) for run in runs],
        "environment": [flat(run.record["environment"]) for run in runs],
        "data": [rounded(flat(run.record["data"], "/")) for run in runs],
        "run": [_run(run) for run in runs],
        "images": [
            {"sheet": sheet, **extra.images.columns} if sheet and extra.images else {}
            for extra, sheet in zip(loaded, sheet_of, strict=True)
        ],
    }
    return {section: columns(part) for section, part in rows.items()}


def _run(run: Run) -> dict[str, Any]:
    row = {key: run.record[key] for key in ("state", "command")} | {"error": reason(run.record)}
    seed, data_seed = map(typed, run.replicate)
    row |= {"seed": seed, "data_seed": data_seed, "folder": str(run.path), "external": run.external}
    return row | {"knows": ", ".join(map(str, run.record["knows"]))}


def _other(run: Run) -> dict[str, Any]:
    """A line of the list of runs that are not finished."""
    lines = reason(run.record).splitlines()
    names = {key: typed(run.field(key)) for key in ("dataset", "method", "plugin", "noise_ratio", "imb_factor")}
    return {"hash": run.hash, "state": run.record["state"], "error": lines[-1][:200] if lines else "", **names}


def _facts(ledger: AllRuns, cells: Sequence[Cell]) -> dict[str, Any]:
    commits = Counter(
        (run.record["environment"].get("commit") or "unknown", bool(run.record["environment"].get("modified")))
        for run in ledger.done
        if not run.external
    )
    return {
        "runs": len(ledger.done),
        "cells": len(cells),
        "external": sum(bool(run.external) for run in ledger.done),
        "datasets": sorted({str(cell.fields["dataset"]) for cell in cells}),
        "commits": [[commit, modified, n] for (commit, modified), n in sorted(commits.items())],
        "others": counted(ledger.states()),
        "unreadable": ledger.unreadable,
    }


def _notes(cells: Sequence[Cell]) -> list[str]:
    """Notes on the leaderboard; a key that has a column is not reported as mixed."""
    runs = [run for cell in cells if not cell.external for run in cell.runs]
    by_choice: Cells = grouped(runs, lambda run: (run.key(("method", "plugin")), ()))
    return [*notes(runs, by_choice, (*SHOWN, "method", "plugin"), [METRICS[0][1]]), *own_files(runs)] if runs else []


def _left_out(runs: int, no_curves: int, no_images: int, curves: int, images: int) -> Iterator[str]:
    for what, count, budget in (("curves", no_curves, curves), ("images", no_images, images)):
        if count:
            yield (
                f"{what} of {count} of {runs} runs are left out, to keep them within {budget / 1e6:g} MB of this file "
                "(first replicates go first); the runs' folders have them"
            )


@entry_point
def main(arguments: Sequence[str]) -> None:
    """The command."""
    parser = Parser(prog=Door.here.tool("analysis.report"), description="All runs as one page.")
    parser.add_argument("runs", **RUNS)
    parser.add_argument("-o", "--output", required=True, type=Path, help="FILE.html")
    parser.add_argument("--where", **WHERE)
    options = parser.parse_args(arguments)
    if options.output.suffix not in (".html", ".htm"):
        raise ConfigError(f"-o takes a name that ends in .html, not {options.output.name}")
    with no_garbage():
        ledger = read(options.runs)
    if options.where:
        conditions = parse_pairs(options.where)
        ledger.done = select(ledger.done, conditions)
        ledger.others = having(ledger.others, conditions)
    with no_garbage():
        content = make_page(ledger)
    write_file(options.output, content)
    others = f"; not finished: {counted(ledger.states())}" if ledger.others else ""
    broken = f"; left out as unreadable: {ledger.unreadable}" if ledger.unreadable else ""
    print(f"{len(ledger.done)} runs in {options.output} ({len(content) / 1e6:.1f} MB){others}{broken}")


if __name__ == "__main__":
    sys.exit(door(main))
