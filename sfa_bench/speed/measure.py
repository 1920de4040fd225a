"""Line by line: both sides in processes of their own, round after round, ours and the baseline one after the other."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

from sfa_bench.errors import RunError
from sfa_bench.speed import report
from sfa_bench.speed.children import Child, OutOfTime, serve_limits, serve_side
from sfa_bench.speed.jobs import Job
from sfa_bench.speed.limits import operations
from sfa_bench.speed.settings import Setting, amount
from sfa_bench.speed.timing import Parts

ROUNDS = 5
LIMIT = 750.0  # seconds that `hurry` shares among the lines: a line takes no round that would go beyond its part
END = 860.0  # seconds after which `hurry` waits for nothing any more
STEPS = 1.0  # seconds of forwards or steps where there is no budget: one alone would begin with cold caches
SIDES = ("ours", "plain")


def measure(
    setting: Setting,
    jobs: Sequence[Job],
    *,
    rounds: int = ROUNDS,
    hurry: bool = False,
    sizes: Mapping[str, int] | None = None,
    say: Callable[[str], None] = lambda sentence: None,
) -> dict[str, Any]:
    """The machine's `limits` and the figures of each job, in `phases`. What fails has an `error`, and the rest goes on.

    Args: hurry: end within 15 minutes, if need be with fewer rounds, or none but the first, cold one; what had no time
    at all is listed in `left_out`; sizes: of the limits' matrices and copies.
    """
    began = time.monotonic()
    say("the machine's limits")
    limits, flops = _limits(setting, sorted({job.width for job in jobs if job.width}), sizes or {})
    lines: list[dict[str, Any]] = []
    left_out = []
    for i, job in enumerate(jobs):
        say(f"{i + 1} of {len(jobs)}: {' '.join(str(part) for part in job if part is not None)}")
        left = LIMIT - (time.monotonic() - began)
        until = time.monotonic() + left / (len(jobs) - i) if hurry else None
        try:
            if hurry and left <= 0:
                raise OutOfTime("no time remained")
            lines.append(_line(setting, job, rounds, until, began + END if hurry else None, limits, flops))
        except OutOfTime as error:
            reason = f"left out, {error}; --phase {job.phase} measures it alone"
            say(reason)
            left_out.append({**job._asdict(), "reason": reason})
            lines.append(report.failed(job, reason))
        except RunError as error:
            say(f"failed: {error}")
            lines.append(report.failed(job, str(error)))
    return {
        "setting": {"images": amount(setting, Job("mixtures-10"))[0], **vars(setting), "rounds": rounds},
        "limits": limits,
        "phases": lines,
        **({"left_out": left_out} if left_out else {}),
    }


def _limits(
    setting: Setting, widths: Sequence[int], sizes: Mapping[str, int]
) -> tuple[dict[str, Any], dict[int, tuple[int, int]]]:
    try:
        with Child(serve_limits, setting, dict(sizes), tuple(widths)) as child:
            found, flops = child.receive()
            return found | {"error": None}, flops
    except RunError as error:
        return {"error": str(error)}, {}


def _line(
    setting: Setting,
    job: Job,
    rounds: int,
    until: float | None,
    deadline: float | None,
    limits: Mapping[str, Any],
    flops: Mapping[int, tuple[int, int]],
) -> dict[str, Any]:
    found: dict[str, list[Parts]] = {name: [] for name in SIDES}
    budget = (STEPS if job.batch else None) if setting.seconds is None else setting.seconds
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        children = {name: stack.enter_context(Child(serve_side, name, setting, job, folder)) for name in SIDES}
        for child in children.values():
            child.deadline = deadline
        for child in children.values():  # they start at the same time
            child.receive()
        began = time.monotonic()
        cold = {name: child.ask(0.0) for name, child in children.items()}
        while len(found["plain"]) < rounds:
            now = time.monotonic()
            if until is not None and now + (now - began) > until:  # another one like the last would go beyond its part
                break
            began = now
            for name, child in children.items():
                found[name].append(child.ask(budget))
        warm = bool(found["plain"])
        if not warm:
            found = {name: [parts] for name, parts in cold.items()}
        peaks = {name: child.ask("peak") for name, child in children.items()}
    images, passed = amount(setting, job)
    needed: dict[str, dict[str, int]] = {name: {} for name in SIDES}
    if passed is not None and job.width is not None and job.width in flops:
        for name in SIDES:
            needed[name] = operations(passed, flops[job.width], name, setting)
    return report.line(job, found, images, needed, limits, peaks) | {"warm": warm}
