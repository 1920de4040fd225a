"""What a run shows: a live display on a terminal, plain lines elsewhere; `log.txt` gets the lines in either case."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Table

logger = logging.getLogger("sfa_bench")


def duration(seconds: float) -> str:
    """75.2 → 1:15, 3671 → 1:01:11."""
    whole = round(seconds)
    hours, minutes = whole // 3600, whole // 60 % 60
    return f"{hours}:{minutes:02}:{whole % 60:02}" if hours else f"{minutes}:{whole % 60:02}"


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


class Display:
    """Shows one run: epoch, phase, loss, accuracy, selection precision and time left."""

    def __init__(self, console: Console, epochs: int, warmup_epochs: int):
        self.console = console
        self.epochs = epochs
        self.time_left = TimeLeft(epochs, warmup_epochs)
        self.live = Progress(
            TextColumn("[bold]epoch {task.fields[epoch]}/{task.total}"),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[phase]}"),
            TextColumn("{task.fields[figures]}"),
            TextColumn("{task.fields[left]}"),
            console=console,
            transient=True,
            disable=not console.is_terminal,
            refresh_per_second=4,
        )
        self.task = self.live.add_task("", total=epochs, epoch=0, phase="", figures="", left="")
        self.last_update = 0.0

    def __enter__(self) -> Display:
        self.live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.live.stop()

    def say(self, line: str) -> None:
        """One line for the user and the log."""
        logger.info(line)
        self.console.print(line, highlight=False, markup=False, soft_wrap=True)

    def step(self, epoch: int, phase: str, network: int, step: int, steps: int) -> None:
        now = time.monotonic()
        if self.console.is_terminal and now - self.last_update > 0.2:
            self.last_update = now
            where = f"{phase} · network {network + 1} · step {step + 1}/{steps}"
            self.live.update(self.task, completed=epoch - 1, epoch=epoch, phase=where)

    def epoch(self, row: Mapping[str, Any]) -> None:
        """The line of a finished epoch."""
        epoch = row["epoch"]
        self.time_left.add(epoch, row["seconds"])
        left = self.time_left.after(epoch)
        left_text = "" if left is None or epoch == self.epochs else f"{duration(left)} left"
        figures = self._figures(row)
        line = " · ".join(filter(None, [f"epoch {epoch}/{self.epochs}", row["phase"], figures, left_text]))
        logger.info(line)
        if self.console.is_terminal:
            self.live.update(
                self.task, completed=epoch, epoch=epoch, phase=row["phase"], figures=figures, left=left_text
            )
        else:
            self.console.print(line, highlight=False, markup=False, soft_wrap=True)

    @staticmethod
    def _figures(row: Mapping[str, Any]) -> str:
        parts = ["no step" if row["loss"] is None else f"loss {row['loss']:.3f}"]
        if row.get("test/acc") is not None:
            parts.append(f"accuracy {row['test/acc']:.2f}")
        precision = (row.get("selection") or {}).get("precision")
        if precision is not None:
            parts.append(f"selection precision {precision:.3f}")
        return " · ".join(parts)


_ACCURACIES = {
    "final": "final (mean of the last epochs)",
    "last": "last epoch",
    "best": "best epoch (oracle)",
    "val": "epoch best on validation",
    "head": "head classes",
    "mid": "mid classes",
    "tail": "tail classes",
    "worst": "worst class",
    "main": "main head alone",
    "abc": "balanced head alone",
}


def summary(metrics: Mapping[str, Any] | None, selection: Mapping[str, Any] | None) -> Table:
    """The table at the end of a run: test accuracies in percent, and how good the last selection was."""
    table = Table("test accuracy", "%")
    table.columns[1].justify = "right"
    for key, title in _ACCURACIES.items():
        value = (metrics or {}).get(f"test/acc/{key}")
        if isinstance(value, (int, float)):
            table.add_row(title, f"{value:.2f}")
    table.add_section()
    for key in ("precision", "recall", "auc"):
        value = (selection or {}).get(key)
        if isinstance(value, (int, float)):
            table.add_row(f"selection {key}", f"{100 * value:.1f}")
    return table
