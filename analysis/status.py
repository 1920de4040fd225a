"""The status of runs, done and missing: `python -m analysis.status RUNS… [--watch] [--json]`.

Finished, running, interrupted and failed runs; claims of dead processes; missing runs of stored sweeps; epochs, time
left and disk space. A table on a terminal, lines elsewhere. `analysis.status clean RUNS…` is analysis/clean.py.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Column, Table
from rich.text import Text

from analysis.runs import check_folders, reason
from sfa_bench.config.terminal import Parser, door, entry_point
from sfa_bench.doors import Door
from sfa_bench.errors import ConfigError
from sfa_bench.store.claim import Claim
from sfa_bench.store.folder import RunFolder
from sfa_bench.store.index import FOLDER as INDEX
from sfa_bench.store.ledger import no_garbage, read_record, table
from sfa_bench.store.plans import missing, read_plans

STATES = ("done", "running", "interrupted", "stale", "failed", "missing")
SHOWN = 10  # lines of each list on the terminal; --json has all
BAR = 16  # characters
COLOURS = {"running": "green", "stale": "yellow", "failed": "red"}


@dataclass(frozen=True)
class Unfinished:
    """A run that is not done. `state` is the record's, or `stale` for a running one whose process is gone."""

    folder: str
    state: str
    epoch: int
    epochs: int
    seconds_left: float | None
    holder: str | None
    error: str | None
    command: str


@dataclass(frozen=True)
class Sweep:
    """A stored sweep: how many runs it asked for, and how many of them are done."""

    command: str
    asked: int
    done: int


@dataclass
class Status:
    """Everything below some runs folders. `missing` are commands of planned runs without a folder."""

    states: dict[str, int]
    unfinished: list[Unfinished]
    sweeps: list[Sweep]
    missing: list[str] = field(default_factory=list)
    seconds_left: float | None = None
    bytes_used: int = 0


def status(paths: Sequence[Path]) -> Status:
    """Read the folders. Raises ConfigError with a sentence when there is neither a run nor a plan.

    Time left: of runs that have begun, their own seconds an epoch; of others, the mean of finished runs of the same
    data set, method and plug-in, else of all; divided by the processes at work, at least one. None where nothing is
    known yet.
    """
    check_folders(paths)
    states: Counter[str] = Counter()
    unfinished, done, seen = [], set[str](), set[str]()
    costs: dict[Any, list[float]] = defaultdict(list)
    # Half of the time is the disk's: it is asked for sizes by a process beside this one where there is much to ask.
    many = any((path / INDEX).is_dir() for path in paths)
    with ProcessPoolExecutor(1) if many and (os.cpu_count() or 1) > 1 else nullcontext() as other, no_garbage():
        sizes = (other.map if other else map)(_size, paths)
        runs = table(paths)
        kinds = list(zip(*(runs.values(f"names/{key}") for key in ("dataset", "method", "plugin")), strict=True))
        values = zip(runs.folders, *map(runs.values, ("state", "hash", "cost/total_seconds")), kinds, strict=True)
        for folder, state, hash, seconds, kind in values:
            seen.add(hash)
            record = None if state == "done" else read_record(Path(folder, "run.json"))
            if record is not None and record["state"] != "done":
                run = _unfinished(Path(folder), record)
                states[run.state] += 1
                unfinished.append((run, kind))
            elif state == "done" or record is not None:  # finished just now
                done.add(hash)
                states["done"] += 1
                if seconds:
                    costs[kind].append(seconds)
    plans = [plan for path in paths for plan in read_plans(path)]
    not_begun = missing(plans, seen)
    if not states and not plans:
        raise ConfigError(f"there is neither a run nor a sweep in {', '.join(map(str, paths))}")
    states["missing"] = len(not_begun)
    counts = {state: states[state] for state in STATES if states[state]}
    sweeps = [Sweep(plan.command, len(plan.runs), sum(run.hash in done for run in plan.runs)) for plan in plans]
    progress = Status(counts, [run for run, _ in unfinished], sweeps, [run.command for run in not_begun])
    progress.seconds_left = _seconds_left(unfinished, len(not_begun), costs)
    progress.bytes_used = sum(sizes)
    return progress


def _unfinished(folder: Path, record: dict[str, Any]) -> Unfinished:
    rows = RunFolder(folder).read_metrics()
    epochs, epoch = int(record["config"].get("epochs") or 0), rows[-1]["epoch"] if rows else 0
    seconds = [row["seconds"] for row in rows if isinstance(row.get("seconds"), (int, float))]
    left = float(np.mean(seconds)) * (epochs - epoch) if seconds else None
    holder = Claim(folder).holder() if record["state"] == "running" else None
    state = "stale" if record["state"] == "running" and holder is None else record["state"]
    error = (reason(record) or None) if state == "failed" else None
    return Unfinished(
        str(folder), state, epoch, epochs, left, None if holder is None else str(holder), error, record["command"]
    )


def _seconds_left(
    unfinished: Sequence[tuple[Unfinished, tuple[Any, ...]]], not_begun: int, costs: dict[Any, list[float]]
) -> float | None:
    everything = [seconds for of_kind in costs.values() for seconds in of_kind]
    usual = float(np.mean(everything)) if everything else None
    needed = []
    for run, kind in unfinished:
        alike = float(np.mean(costs[kind])) if costs.get(kind) else usual
        needed.append(run.seconds_left if run.seconds_left is not None else alike)
    needed += [usual] * not_begun
    known = [seconds for seconds in needed if seconds is not None]
    if len(known) < len(needed):
        return None
    return sum(known) / max(1, sum(run.state == "running" for run, _ in unfinished))


def _size(path: Path) -> int:
    """Bytes of all files below a folder, but for the index, which is derived from them."""
    total, left = 0, [os.fspath(path)]
    while left:
        with suppress(OSError), os.scandir(left.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    left += [entry.path] if entry.name != INDEX else []
                else:
                    try:  # `suppress` costs as much as the call itself
                        total += entry.stat(follow_symlinks=False).st_size
                    except FileNotFoundError:  # a temporary file of a run at work
                        continue
    return total


def show(progress: Status) -> str:
    """The status for a terminal."""
    counts = ", ".join(f"{count} {state}" for state, count in progress.states.items())
    left = (
        "" if progress.seconds_left is None or not _work(progress) else f"; about {_time(progress.seconds_left)} left"
    )
    lines = [f"{counts}; {progress.bytes_used / 1e6:,.1f} MB{left}"]
    for state in STATES[1:-1]:
        members = [run for run in progress.unfinished if run.state == state]
        lines += map(_line, members[:SHOWN])
        lines += [f"  … and {len(members) - SHOWN} more {state}"] if len(members) > SHOWN else []
    lines += [f"sweep {sweep.done} of {sweep.asked} done: {sweep.command}" for sweep in progress.sweeps[-SHOWN:]]
    lines += [f"missing: {command}" for command in progress.missing[:SHOWN]]
    if len(progress.missing) > SHOWN:
        lines.append(f"  … and {len(progress.missing) - SHOWN} more missing; the sweep's command makes them all")
    return "\n".join(lines)


def live_table(progress: Status) -> Group:
    """The status as a live table: a bar for every sweep and every run that is not done."""
    counts = ", ".join(f"{count} {state}" for state, count in progress.states.items())
    left = (
        "" if progress.seconds_left is None or not _work(progress) else f" · about {_time(progress.seconds_left)} left"
    )
    parts: list[Any] = [Text(f"{counts} · {progress.bytes_used / 1e6:,.1f} MB{left}", style="bold")]
    sweeps = Table(*_narrow("sweep", "done"), Column("", width=BAR), "command", box=None)
    for number, sweep in enumerate(progress.sweeps[-SHOWN:], start=1):
        bar = ProgressBar(sweep.asked, sweep.done, width=BAR)
        sweeps.add_row(str(number), f"{sweep.done}/{sweep.asked}", bar, Text(sweep.command))
    runs = Table(*_narrow("state", "run", "epoch"), Column("", width=BAR), *_narrow("left"), "who or why", box=None)
    ordered = sorted(progress.unfinished, key=lambda run: STATES.index(run.state))
    for run in ordered[: 2 * SHOWN]:
        time_left = "" if run.seconds_left is None or run.state == "failed" else _time(run.seconds_left)
        why = Text(run.error or run.holder or ("its process is gone" if run.state == "stale" else ""))
        place = Text("/".join(Path(run.folder).parts[-3:]))
        bar = ProgressBar(max(1, run.epochs), run.epoch, width=BAR)
        runs.add_row(
            Text(run.state, COLOURS.get(run.state, "")), place, f"{run.epoch}/{run.epochs}", bar, time_left, why
        )
    parts += [table for table, used in ((sweeps, progress.sweeps), (runs, ordered)) if used]
    if (more := len(ordered) - 2 * SHOWN) > 0:
        parts.append(Text(f"… and {more} more that are not done"))
    return Group(*parts)


def _narrow(*headers: str) -> list[Column]:
    return [Column(header, no_wrap=True) for header in headers]


def _failures(progress: Status) -> list[str]:
    """The commands to repeat, which no table has room for."""
    return [f"again: {run.command}\n" for run in progress.unfinished if run.state == "failed"][:SHOWN]


def _work(progress: Status) -> int:
    return len(progress.unfinished) + len(progress.missing)


def _line(run: Unfinished) -> str:
    progress = f"{run.state}: {run.folder}, epoch {run.epoch} of {run.epochs}"
    if run.state == "running":
        return progress + (f", {_time(run.seconds_left)} left" if run.seconds_left is not None else "")
    if run.state == "failed":
        return f"{progress}: {run.error}\n  again: {run.command}"
    gone = "; its process is gone" if run.state == "stale" else ""
    return f"{progress}{gone}\n  goes on with: {run.command}"


def _time(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"


@entry_point
def main(arguments: Sequence[str]) -> int | None:
    """The command."""
    if arguments[:1] == ["clean"]:
        from analysis.clean import main as clean

        return clean(arguments[1:])
    parser = Parser(
        prog=Door.here.tool("analysis.status"),
        description="What is done and what is missing. `clean RUNS…` removes what is no longer needed.",
    )
    parser.add_argument("runs", nargs="+", type=Path, help="runs folders")
    parser.add_argument("--watch", nargs="?", type=float, const=5.0, metavar="SECONDS", help="again every 5 seconds")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    options = parser.parse_args(list(arguments))
    progress = status(options.runs)
    if options.json:
        print(json.dumps(asdict(progress), indent=1, ensure_ascii=False))
    elif options.watch is not None:
        with Live(live_table(progress), auto_refresh=False) as live:
            while _work(progress):
                time.sleep(max(0.2, options.watch))
                progress = status(options.runs)
                live.update(live_table(progress), refresh=True)
    elif sys.stdout.isatty():
        Console().print(live_table(progress))
        print(*_failures(progress), sep="\n", end="")
    else:
        print(show(progress))
    return None


if __name__ == "__main__":
    sys.exit(door(main))
