"""All runs as one page for the browser: `python -m analysis.report RUNS… -o page.html`.

One self-contained file: a leaderboard with a row for each cell (runs that differ in nothing but their
seeds), a table for each setting, and every run with its curves, classes, selection, images and configuration.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from analysis.columns import CHECKSUM, Run, classes, shared
from analysis.context import WHICH, notes, own_files
from analysis.page.details import Details, why
from analysis.page.encode import compact, packed, page, typed
from analysis.page.leaderboard import METRICS, SHOWN, SPLIT, Cell, leaderboard, make_cells, tables
from analysis.page.read import SERIES, AllRuns, Reader, having, read, state
from analysis.page.thumbnails import sheets
from analysis.runs import RUNS, WHERE, counted, parse_pairs, select
from sfa_bench.config.terminal import Parser, door, entry_point
from sfa_bench.doors import Door
from sfa_bench.errors import ConfigError
from sfa_bench.store.folder import write_file
from sfa_bench.store.ledger import no_garbage

TOGETHER = 240  # runs whose details are unpacked together, at most, where a cell is not larger
TABLES = 50  # tables of settings that are unpacked together
PAGE = 12_000_000  # characters of the file
DETAILED = 10_000  # most runs whose details are read: twice as many fill the file, and take twice the time
CURVES = 3_500_000  # of them for learning curves
IMAGES = 2_000_000  # and for images
LARGE = 1_500_000  # from which the index is packed, too
PROGRAM = 100_000  # characters of the file for what is the same on every page


def make_page(
    ledger: AllRuns, curves: int = CURVES, images: int = IMAGES, whole: int = PAGE, detailed: int = DETAILED
) -> bytes:
    """The page of these runs. The budgets are characters of the file; detailed: most runs that have details."""
    cells = make_cells(ledger.done)
    others = sorted(ledger.others, key=lambda run: (state(run), str(run.path)))
    runs = [run for cell in cells for run in cell.runs] + others
    order = _by_importance(cells, len(others))
    with Reader(runs, order[:detailed], curves) as reader:
        index: dict[str, Any] = {
            "facts": _facts(ledger, cells),
            "setting": SHOWN,
            "usual": {CHECKSUM: True},
            "columns": [{"name": name, "metric": metric, "decimals": decimals} for name, metric, decimals in METRICS],
            "which": WHICH[METRICS[0][1]],
            "series": {name: steps for name, _, steps in SERIES},
            "notes": _notes(cells),
            "board": leaderboard(cells),
            "tables": list(tables(cells)),
            "hashes": [run.hash for run in runs],
            "others": [_other(run) for run in others],
        }
        blobs = _packed_index(index)
        room = whole - PROGRAM - len(compact(index)) - sum(map(len, blobs.values()))
        filled = _fill(cells, runs, order[:detailed], reader, images, room)
    index |= {"chunks": filled.chunks, "sheets": filled.sheets}
    index["notes"] += _left_out(len(runs), filled, curves, images, whole, detailed)
    return page(index, blobs | filled.blobs)


def _packed_index(index: dict[str, Any]) -> dict[str, str]:
    """Take out of a large index what is better packed: the leaderboard, hashes and tables; returns these parts."""
    if len(compact(index)) <= LARGE:
        return {}
    blobs, bodies = {}, index["tables"]
    index["tables"] = [{key: table[key] for key in ("setting", "refused") if key in table} for table in bodies]
    for number, first in enumerate(range(0, len(bodies), TABLES)):
        blobs[f"tables-{number}"] = packed(compact(bodies[first : first + TABLES]))
    large = {key: index.pop(key) for key in ("board", "tables", "hashes", "others")}
    return blobs | {"large": packed(compact(large))}


def _by_importance(cells: Sequence[Cell], others: int) -> list[int]:
    """Positions of the runs: the first replicate of every cell, then the second …, of the best cells of each setting
    first; at last runs that are not finished.
    """
    places, position = [], 0
    rank = Counter[tuple[object, ...]]()
    for cell_number, cell in enumerate(cells):
        setting = (bool(cell.external), *(cell.fields[key] for key in SPLIT))
        places += [(r, rank[setting], cell_number, position + r) for r in range(len(cell.runs))]
        rank[setting] += 1
        position += len(cell.runs)
    return [place for *_, place in sorted(places)] + list(range(position, position + others))


@dataclass
class Filled:
    """What the page has of single runs, and how many runs it lacks something of for lack of space."""

    blobs: dict[str, str]
    chunks: list[int]  # position of the first run of each
    sheets: dict[str, dict[str, Any]]
    no_details: int
    no_curves: int
    no_images: int


def _fill(
    cells: Sequence[Cell], runs: Sequence[Run], order: Sequence[int], reader: Reader, images: int, room: int
) -> Filled:
    """Details of as many runs as there is room for, the most important first, with their curves and images."""
    count = len(order)
    while True:
        reader.until(count)
        filled = _filled(cells, runs, order[:count], reader, images)
        if sum(map(len, filled.blobs.values())) <= room or count == 0:
            return filled
        size = Counter[str]()
        for name, blob in filled.blobs.items():
            size[name.partition("-")[0]] += len(blob)
        each, curve = size["details"] / count, size["curves"] / max(1, count - filled.no_curves)
        left = room - size["sheet"]
        # As many as there is room for with curves each, or with as many curves as these have.
        fewer = 0.98 * max(left / (each + curve), (left - size["curves"]) / each)
        count = max(0, min(count - 1, int(fewer)))


def _filled(
    cells: Sequence[Cell], runs: Sequence[Run], important: Sequence[int], reader: Reader, images: int
) -> Filled:
    by_name, sheet_of, no_images = sheets(runs, reader.loaded, important, images)
    kept = np.array(sorted(important), np.intp)
    loaded = [reader.loaded[position] for position in kept]
    details = Details([runs[p] for p in kept], loaded, [sheet_of[p] for p in kept]) if len(kept) else None
    blobs = {f"sheet-{name}": sheet.pop("png") for name, sheet in by_name.items()}
    chunks = list(_chunks([len(cell.runs) for cell in cells], len(runs), kept))
    for number, (first, end) in enumerate(chunks):
        start, stop = np.searchsorted(kept, (first, end)).tolist()
        part: dict[str, Any] = details.part(start, stop) if details and stop > start else {}
        if stop - start < end - first:
            part["kept"] = (kept[start:stop] - first).tolist()
        blobs[f"details-{number}"] = packed(compact(part))
        texts = [
            "0" if position in reader.lacking else extras.curves or "null"
            for position, extras in zip(kept[start:stop].tolist(), loaded[start:stop], strict=True)
        ]
        blobs[f"curves-{number}"] = packed(f"[{','.join(texts)}]")
    no_curves = sum(position in reader.lacking for position in important)
    return Filled(blobs, [first for first, _ in chunks], by_name, len(runs) - len(kept), no_curves, no_images)


def _chunks(cells: Sequence[int], runs: int, kept: np.ndarray) -> Iterator[tuple[int, int]]:
    """First and one past the last position of each chunk; a cell is in one chunk, as are all unfinished runs.

    Args: cells, how many runs each has; kept, positions of runs with details, which a chunk has few of.
    """
    ends = np.cumsum([*cells, runs - sum(cells)])
    until = np.searchsorted(kept, ends).tolist()
    first = end = before = last = 0
    for position, count in zip(ends.tolist(), until, strict=True):
        if end > first and count - before > TOGETHER:
            yield first, end
            first, before = end, last
        end, last = position, count
    yield first, end


def _other(run: Run) -> dict[str, Any]:
    """A line of the list of runs that are not finished."""
    lines = why(run).splitlines()
    names = {key: typed(run.field(key)) for key in ("dataset", "method", "plugin", "noise_ratio", "imb_factor")}
    return {"hash": run.hash, "state": state(run), "error": lines[-1][:200] if lines else "", **names}


def _facts(ledger: AllRuns, cells: Sequence[Cell]) -> dict[str, Any]:
    return {
        "runs": len(ledger.done),
        "cells": len(cells),
        "external": sum(len(cell.runs) for cell in cells if cell.external),
        "datasets": sorted({str(cell.fields["dataset"]) for cell in cells}),
        "commits": _commits([run for cell in cells if not cell.external for run in cell.runs]),
        "others": counted(ledger.states()),
        "unreadable": ledger.unreadable,
    }


def _commits(runs: Sequence[Run]) -> list[list[Any]]:
    """[commit, modified, runs] of each version of the suite that made them."""
    if not runs:
        return []
    columns, rows = shared(runs)
    keys = ("environment/commit", "environment/modified")
    numbers, firsts = classes([columns.column(key).codes[rows] for key in keys], len(rows))
    found = Counter[tuple[str, bool]]()
    for first, count in zip(rows[firsts].tolist(), np.bincount(numbers).tolist(), strict=True):
        commit, modified = (columns.plain(key)[first] for key in keys)
        found[commit or "unknown", bool(modified)] += count
    return [[commit, modified, n] for (commit, modified), n in sorted(found.items())]


def _notes(cells: Sequence[Cell]) -> list[str]:
    """Notes on the leaderboard; a key that has a column is not reported as mixed."""
    runs = [run for cell in cells if not cell.external for run in cell.runs]
    return [*notes(runs, (*SHOWN, "method", "plugin"), [METRICS[0][1]]), *own_files(runs)] if runs else []


def _left_out(runs: int, filled: Filled, curves: int, images: int, whole: int, detailed: int) -> Iterator[str]:
    if count := filled.no_details:
        yield (
            f"details of {count:,} of {runs:,} runs are left out: there are those of {detailed:,} at most, as far as "
            f"this file stays within {whole / 1e6:g} MB (first replicates of the best configurations "
            "of each setting go first); the runs' folders have them, and a page of fewer runs (--where)"
        )
    for what, count, budget in (("curves", filled.no_curves, curves), ("images", filled.no_images, images)):
        if count:
            yield (
                f"{what} of {count} of {runs - filled.no_details} runs are left out, to keep them within "
                f"{budget / 1e6:g} MB of this file (first replicates go first); the runs' folders have them"
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
