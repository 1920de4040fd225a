"""Tables: drawn on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text
from tabulate import tabulate

MANY_CLASSES = 20
ENDS = 6  # of the largest and of the smallest classes, where there are many


def table(headers: Sequence[str], rows: Iterable[Sequence[str]], texts: int = 1) -> None:
    """Print a table; the first `texts` columns are words, the others numbers."""
    sides = ["left" if place < texts else "right" for place in range(len(headers))]
    if not sys.stdout.isatty():
        print(tabulate([list(row) for row in rows], list(headers), "plain", disable_numparse=True, colalign=sides))
        return
    drawn = Table(box=SIMPLE_HEAD, pad_edge=False)
    for place, header in enumerate(headers):
        drawn.add_column(header, justify="left" if place < texts else "right", overflow="fold")
    for row in rows:
        drawn.add_row(*map(Text, row))
    Console().print(drawn)


def class_table(
    columns: Mapping[str, np.ndarray],
    more: Mapping[str, Sequence[str]] | None = None,
    names: Sequence[str] | None = None,
) -> None:
    """Print counts [K] by class and their sums; beyond 20 classes those at both ends of the first column's order.

    more: further columns that have no sum, already texts; names [K] of the classes, where they have any.
    """
    more = more or {}
    first = next(iter(columns.values()))
    chosen = list(range(len(first)))
    gap = len(first) > MANY_CLASSES
    if gap:
        order = np.argsort(-first, kind="stable").tolist()
        chosen = [*order[:ENDS], *order[-ENDS:]]
    shown = [str(label) for label in range(len(first))] if names is None else [plain(name) for name in names]
    cells = {
        label: [name, *(f"{counts[label]:,}" for counts in columns.values()), *(m[label] for m in more.values())]
        for label, name in enumerate(shown)
    }
    rows = [cells[label] for label in chosen]
    if gap:
        rows.insert(ENDS, [f"… {len(first) - 2 * ENDS} more", *[""] * (len(columns) + len(more))])
    rows.append(["all", *(f"{int(counts.sum()):,}" for counts in columns.values()), *[""] * len(more)])
    table(["class", *columns, *more], rows)


def plain(text: str) -> str:
    """A text that is safe on a terminal: control characters and bytes that are not UTF-8 are escaped, as
    `lists` does.
    """
    text = text.encode(errors="surrogateescape").decode(errors="backslashreplace")
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)
