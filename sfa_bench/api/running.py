"""Runs and sweeps in this process."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sfa_bench.api.runs import Run, Runs
from sfa_bench.errors import ConfigError, Interrupted, RunError

if TYPE_CHECKING:
    from rich.console import Console

    from sfa_bench.sweep.plan import Plan

_ONE_AT_A_TIME = threading.RLock()  # threads and kernels are the whole process's


def run(*, config_dir: str | os.PathLike[str] | None = None, quiet: bool = False, **keys: Any) -> Run:
    """Train one run in this process, go on with it, or find it done.

    Args: keys of the command line with Python's values (`noise_ratio=0.2`, `dataset="digits"`, None for null); those
    with a dot by `**{"plugin.beta": 0.9}`. A text stands for itself where the key takes any text, and elsewhere for
    what it says on the command line. config_dir: the folder of your own choices, as `--config-dir`; quiet: print
    nothing.

    Raises: ConfigError where the command line refuses, before anything is trained; RunError where the run fails;
    KeyboardInterrupt after an interruption, from which the same call goes on. Calls from several threads wait for each
    other. Threads, kernels and signal handlers of the process are afterwards as they were.
    """
    from sfa_bench.api.words import run_words
    from sfa_bench.config.compose import requested
    from sfa_bench.store.record import command

    conf, words = _resolved(config_dir), run_words(keys)
    config = requested(words, conf)
    with undisturbed(), console(quiet) as shown:
        from sfa_bench.engine.changes import other_length
        from sfa_bench.engine.posthoc import start

        if note := other_length(config):
            shown.print(note, highlight=False, soft_wrap=True)
        return Run(start(config, command(words, conf), shown))


def sweep(*, config_dir: str | os.PathLike[str] | None = None, quiet: bool = False, **keys: Any) -> Runs:
    """Do what is missing of a sweep, run after run in this process. Returns all its runs, in the order of the axes.

    Args: as of `run`; a list, a tuple, a range or an array is an axis, and so is a text of several values on the
    command line (`replicate="range(0,5)"`). A list inside of a list is one value. Combinations that make no sense are
    printed and left out.

    Raises: ConfigError as `run`, and where no combination makes sense; RunError, after all other runs have been made,
    where runs failed; KeyboardInterrupt, after which the same call goes on.
    """
    from sfa_bench.api.words import sweep_words
    from sfa_bench.config.hydras import is_hydras
    from sfa_bench.config.overrides import as_axes, check_overrides
    from sfa_bench.doors import Door
    from sfa_bench.store.record import command
    from sfa_bench.sweep.plan import keep_plan, plan

    conf, words = _resolved(config_dir), as_axes(sweep_words(keys))
    if hydras := [key for key in keys if is_hydras(key.lstrip("+~"))]:
        raise ConfigError(f"{hydras[0]}: launchers are for the command {Door.here.sweep}; leave {hydras[0]} out")
    check_overrides(words, conf, sweep=True)
    planned = plan(words, conf)
    if not planned.runs:
        why = f": {planned.not_valid[0][1]}" if planned.not_valid else ""
        raise ConfigError(f"no combination of this sweep makes sense, so nothing was run{why}")
    with undisturbed(), console(quiet) as shown, console(quiet, live_only=True) as live:
        shown.print(str(planned), highlight=False, soft_wrap=True)
        for job, reason in planned.not_valid:
            shown.print(f"not valid: {' '.join(job)}: {reason}", highlight=False, soft_wrap=True)
        if planned.missing:
            keep_plan(_runs_dir(planned), planned, command(words, conf, sweep=True), conf)
        failures = _make_missing(planned, conf, shown, live)
    if failures:
        first = "; ".join(failures[:3]) + ("; …" if len(failures) > 3 else "")
        raise RunError(f"{len(failures)} of {len(planned.runs)} runs are not done: {first}")
    return Runs(Run(planned.done[identity]) for identity in planned.runs)


def _make_missing(planned: Plan, conf: Path | None, shown: Console, live: Console) -> list[str]:
    """Train what is missing; fills `planned.done`. Returns a sentence for each run that is not done."""
    from sfa_bench.config.stored import from_stored
    from sfa_bench.engine.posthoc import start
    from sfa_bench.engine.session import banner
    from sfa_bench.store.record import command

    identities = {tuple(job): identity for identity, job in planned.runs.items()}
    failures = [f"{folder}: failed before, and retry_failed=False" for folder in planned.left.values()]
    for number, job in enumerate(planned.missing, start=1):
        config = from_stored(json.loads(planned.configs[identities[tuple(job)]]))
        place, again = f"[{number}/{len(planned.missing)}]", command(job, conf)
        try:
            path = start(config, again, live)
        except (ConfigError, RunError) as error:
            failures.append(f"{again}: {error}")
            shown.print(f"{place} {banner(config)} · {error}", highlight=False, soft_wrap=True)
            if config.fail_fast:
                failures += [f"{command(left, conf)}: not begun" for left in planned.missing[number:]]
                break
        else:
            planned.done[identities[tuple(job)]] = path
            accuracy = Run(path).metrics.get("test/acc/final")
            figure = "" if accuracy is None else f" · accuracy {accuracy:.2f}"
            shown.print(f"{place} {banner(config)}{figure}", highlight=False, soft_wrap=True)
    return failures


def _runs_dir(planned: Plan) -> Path:
    """Where the plan is kept: with the first of the runs that are missing."""
    from sfa_bench.config.stored import from_stored

    return Path(from_stored(json.loads(next(iter(planned.configs.values())))).runs_dir)


def _resolved(config_dir: str | os.PathLike[str] | None) -> Path | None:
    return None if config_dir is None else Path(config_dir).expanduser().resolve()


@contextmanager
def console(quiet: bool, live_only: bool = False) -> Iterator[Console]:
    """Where a run is shown: in a terminal, a notebook or as plain lines; nowhere if `quiet`. live_only: only its
    progress, where that is one line which disappears.
    """
    from rich.console import Console
    from rich.control import Control

    class LiveOnly(Console):
        def print(self, *objects: Any, **options: Any) -> None:
            if all(isinstance(one, Control) for one in objects):  # by which a live display is refreshed
                super().print(*objects, **options)

    kind = LiveOnly if live_only else Console
    if not quiet:
        yield kind(markup=False)
        return
    with open(os.devnull, "w", encoding="utf-8", errors="replace") as nowhere:
        yield kind(file=nowhere, markup=False, force_jupyter=False)


@contextmanager
def undisturbed() -> Iterator[None]:
    """Inside the block one run at a time computes; afterwards the process is as it was.

    An interruption is then what the signal is to the program: by Ctrl-C or a notebook's stop button KeyboardInterrupt.
    """
    from threadpoolctl import threadpool_limits

    from sfa_bench.engine.signals import StopAtStep
    from sfa_bench.numerics import kept

    try:
        with _ONE_AT_A_TIME, threadpool_limits(limits=None), kept(), StopAtStep.in_a_program():
            yield
    except Interrupted as interrupted:
        signal.raise_signal(interrupted.number)
        raise KeyboardInterrupt from None
