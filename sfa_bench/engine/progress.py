"""The progress of a run: a live display on a terminal, plain lines elsewhere; `log.txt` gets the lines in
either case.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from rich.cells import cell_len
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Table

from sfa_bench.config.terminal import duration

logger = logging.getLogger("sfa_bench")


class TimeLeft:
    """Seconds to the end, from the mean time of an epoch of the same kind; None while a kind to come is unknown."""

    def __init__(self, epochs: int, warmup_epochs: int):
        self.epochs, self.warmup_epochs = epochs, warmup_epochs
        self.seconds: dict[bool, list[float]] = {True: [], False: []}

    def add(self, epoch: int, seconds: float) -> None:
        self.seconds[epoch <= self.warmup_epochs].append(seconds)

    def after(self, epoch: int) -> float | None:
        left = {True: max(self.warmup_epochs - epoch, 0), False: self.epochs - max(epoch, self.warmup_epochs)}
        total = 0.0
        for kind, count in left.items():
            if count:
                if not self.seconds[kind]:
                    return None
                total += count * sum(self.seconds[kind]) / len(self.seconds[kind])
        return total


WIDE = 100  # columns that a bar needs


def fitted(parts: Sequence[str], width: int) -> str:
    """As many of the parts as fit into a line of this width, in order of importance; always the first."""
    line, *rest = filter(None, parts)
    for part in rest:
        if cell_len(longer := f"{line} · {part}") > width:
            break
        line = longer
    return line


class NotebookLine:
    """A line of a notebook's output that is replaced as a run goes on, and empty at its end."""

    def __init__(self) -> None:
        self._shown: Any = None

    def start(self) -> None:
        from IPython.display import display  # a notebook has it

        self._shown = display({"text/plain": ""}, raw=True, display_id=True)

    def stop(self) -> None:
        self._show("")

    def add_task(self, description: str, **fields: Any) -> None:
        """As of `rich`, of whose bar this is the counterpart."""

    def update(self, task: Any, *, completed: int, line: str) -> None:
        self._show(line)

    def _show(self, line: str) -> None:
        if self._shown is not None:
            self._shown.update({"text/plain": line}, raw=True)


class ProgressDisplay:
    """Shows one run: epoch, time left, accuracy, loss, phase and selection precision, as far as the line goes."""

    def __init__(self, console: Console, epochs: int, warmup_epochs: int):
        self.console = console
        self.epochs = epochs
        self.time_left = TimeLeft(epochs, warmup_epochs)
        self.is_live = console.is_terminal or console.is_jupyter
        self.live: Any = NotebookLine() if console.is_jupyter else self._bar()
        self.task = self.live.add_task("", total=epochs, line="")
        self.last_update = 0.0
        self.figures: list[str] = []  # of the last whole epoch
        self.left = ""

    def _bar(self) -> Progress:
        return Progress(
            *([BarColumn(bar_width=20)] if self.console.width >= WIDE else []),
            TextColumn("{task.fields[line]}", markup=False),
            console=self.console,
            transient=True,
            disable=not self.console.is_terminal,
            refresh_per_second=4,
        )

    def __enter__(self) -> ProgressDisplay:
        self.live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.live.stop()

    def say(self, line: str) -> None:
        """Show one line to the user and log it."""
        logger.info(line)
        self.console.print(line, highlight=False, markup=False, soft_wrap=True)

    def step(self, epoch: int, phase: str, network: int, step: int, steps: int) -> None:
        now = time.monotonic()
        if self.is_live and now - self.last_update > 0.2:
            self.last_update = now
            self._show(epoch, f"{phase} · network {network + 1} · step {step + 1}/{steps}")

    def epoch(self, row: Mapping[str, Any]) -> None:
        """Show the line of a finished epoch."""
        epoch = row["epoch"]
        self.time_left.add(epoch, row["seconds"])
        left = self.time_left.after(epoch)
        self.left = "" if left is None or epoch == self.epochs else f"{duration(left)} left"
        self.figures = self._figures(row)
        line = " · ".join(filter(None, [f"epoch {epoch}/{self.epochs}", row["phase"], *self.figures, self.left]))
        logger.info(line)
        if self.is_live:
            self._show(epoch, row["phase"], done=True)
        else:
            self.console.print(line, highlight=False, markup=False, soft_wrap=True)

    def _show(self, epoch: int, where: str, done: bool = False) -> None:
        loss, *rest = self.figures or [""]
        parts = [f"epoch {epoch}/{self.epochs}", self.left, *rest[:1], loss, where, *rest[1:]]
        width = self.console.width - (21 if self.console.width >= WIDE else 0)
        self.live.update(self.task, completed=epoch if done else epoch - 1, line=fitted(parts, width))

    @staticmethod
    def _figures(row: Mapping[str, Any]) -> list[str]:
        parts = ["no step" if row["loss"] is None else f"loss {row['loss']:.3f}"]
        if row.get("test/acc") is not None:
            parts.append(f"accuracy {row['test/acc']:.2f}")
        elif row.get("val/acc") is not None:
            parts.append(f"validation accuracy {row['val/acc']:.2f}")
        precision = (row.get("selection") or {}).get("precision")
        if precision is not None:
            parts.append(f"selection precision {precision:.3f}")
        return parts


_ACCURACIES = {
    "final": "final (mean of the last epochs)",
    "last": "last epoch",
    "best": "best epoch (oracle)",
    "at_best_val": "epoch best on validation",
    "many": "many",
    "medium": "medium",
    "few": "few",
    "worst": "worst class",
    "main": "main head alone",
    "abc": "balanced head alone",
    "medium_head": "medium head alone",
}


def show_done(console: Console, words: str, path: Path, record: Mapping[str, Any]) -> None:
    """Print where a finished run is, after these words, and its summary."""
    console.print(f"{words}: {path}", highlight=False, soft_wrap=True)
    console.print(summary(record["metrics"], record["selection"]))


def summary(metrics: Mapping[str, Any] | None, selection: Mapping[str, Any] | None) -> Table:
    """The table at the end of a run, in the names and units of `analysis.table`: test accuracies in percent, and how
    good the last selection was, between 0 and 1.
    """
    table = Table("test accuracy", "%")
    table.columns[1].justify = "right"
    for key, title in _ACCURACIES.items():
        value = (metrics or {}).get(f"test/acc/{key}")
        if key == "at_best_val" and value is None:  # as the first edition called it
            value = (metrics or {}).get("test/acc/val")
        if isinstance(value, (int, float)):
            table.add_row(title, f"{value:.2f}")
    table.add_section()
    for key in ("precision", "recall", "auc"):
        value = (selection or {}).get(key)
        if isinstance(value, (int, float)):
            table.add_row(f"selection {'AUC' if key == 'auc' else key}", f"{value:.3f}")
    return table
