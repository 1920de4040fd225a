"""Line by line: each side in a process of its own, round after round, the sides one after the other."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

from sfa_bench.errors import RunError
from sfa_bench.speed.child import Child, OutOfTime, serve_limits, serve_phase
from sfa_bench.speed.jobs import Job
from sfa_bench.speed.limits import operations
from sfa_bench.speed.report import figures
from sfa_bench.speed.settings import Setting, Side, amount
from sfa_bench.speed.timing import Parts

ROUNDS = 5
LIMIT = 750.0  # seconds that `hurry` divides among the lines: a line begins no round that would exceed its share
END = 860.0  # seconds after which `hurry` no longer waits for anything
STEPS = 1.0  # seconds of forwards or steps where there is no budget: one alone would begin with cold caches

Flops = dict[int, tuple[int, int]]  # by width: of an image forward, and forward and backward


def measure(
    sides: Mapping[str, Side],
    jobs: Sequence[Job],
    *,
    rounds: int = ROUNDS,
    hurry: bool = False,
    sizes: Mapping[str, int] | None = None,
    say: Callable[[str], None] = lambda sentence: None,
) -> dict[str, Any]:
    """The machine's `limits` and the figures of each job, in `phases`. A failed job has an `error`, and the others go
    on.

    Args: sides: by their names in the figures; their settings differ in precision only; hurry: end within 15 minutes,
    if need be with fewer rounds, or none but the first, cold one; what had no time at all is listed in `left_out`;
    sizes: of the limits' matrices and copies.
    """
    began = time.monotonic()
    setting = next(iter(sides.values())).setting
    say("the machine's limits")
    limits, flops = _limits(setting, sorted({job.width for job in jobs if job.width}), sizes or {})
    lines: list[dict[str, Any]] = []
    left_out = []
    for i, job in enumerate(jobs):
        say(f"{i + 1} of {len(jobs)}: {' '.join(str(part) for part in job if part is not None)}")
        now = time.monotonic()
        left = LIMIT - (now - began)
        until, deadline = (now + left / (len(jobs) - i), began + END) if hurry else (None, None)
        try:
            if hurry and left <= 0:
                raise OutOfTime("no time remained")
            line = _line(sides, job, rounds, until, deadline, limits, flops)
        except OutOfTime as error:
            line = {"error": f"left out, {error}; --phase {job.phase} measures it alone"}
            say(line["error"])
            left_out.append({**job._asdict(), "reason": line["error"]})
        except RunError as error:
            line = {"error": str(error)}
            say(f"failed: {error}")
        lines.append({**job._asdict(), **line})
    precisions = {name: side.precision for name, side in sides.items()}
    images = amount(setting, Job("mixtures-10"))[0]
    return {
        "setting": {"images": images, **vars(setting), "rounds": rounds, "precision": precisions},
        "limits": limits,
        "phases": lines,
        **({"left_out": left_out} if left_out else {}),
    }


def _limits(setting: Setting, widths: Sequence[int], sizes: Mapping[str, int]) -> tuple[dict[str, Any], Flops]:
    try:
        with Child(serve_limits, setting, dict(sizes), tuple(widths)) as child:
            limits, flops = child.receive()
            return limits | {"error": None}, flops
    except RunError as error:
        return {"error": str(error)}, {}


def _line(
    sides: Mapping[str, Side],
    job: Job,
    rounds: int,
    until: float | None,
    deadline: float | None,
    limits: Mapping[str, Any],
    flops: Flops,
) -> dict[str, Any]:
    """until: no round begins that would end later; deadline: of every answer."""
    setting = next(iter(sides.values())).setting
    budget = (STEPS if job.batch else None) if setting.seconds is None else setting.seconds
    parts: dict[str, list[Parts]] = {name: [] for name in sides}
    with ExitStack() as stack:
        children = {name: stack.enter_context(Child(serve_phase, side, job)) for name, side in sides.items()}
        for child in children.values():
            child.deadline = deadline
        for child in children.values():  # they start at the same time
            child.receive()
        began = time.monotonic()
        cold = {name: [child.ask(0.0)] for name, child in children.items()}
        for _ in range(rounds):
            now = time.monotonic()
            if until is not None and now + (now - began) > until:  # another round like the last would exceed its share
                break
            began = now
            for name, child in children.items():
                parts[name].append(child.ask(budget))
        warm = all(parts.values())
        if not warm:
            parts = cold
        peaks = {name: child.ask("peak") for name, child in children.items()}
    images, passed = amount(setting, job)
    line: dict[str, Any] = {"images": images, "rounds": len(next(iter(parts.values()))), "warm": warm, "error": None}
    for name, side in sides.items():
        known = None if job.width is None else flops.get(job.width)
        needed = operations(passed, known, side) if passed and known else {}
        line[name] = figures(parts[name], images, needed, limits, peaks[name])
    return line
