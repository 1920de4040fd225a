"""Line by line: both sides in processes of their own, round after round, ours and the baseline one after the other."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

from sfa_bench.errors import RunError
from sfa_bench.speed import report
from sfa_bench.speed.children import Child, serve_limits, serve_side
from sfa_bench.speed.jobs import Job
from sfa_bench.speed.limits import operations
from sfa_bench.speed.settings import Setting, amount
from sfa_bench.speed.timing import Parts

ROUNDS = 5
LIMIT = 750.0  # seconds that `hurry` shares among the lines: a line takes no further round once its part is used up
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

    Args: hurry: end within 15 minutes, if need be with fewer rounds, or without the last lines; sizes: of the limits'
    matrices and copies.
    """
    began = time.monotonic()
    say("the machine's limits")
    limits, flops = _limits(setting, sorted({job.width for job in jobs if job.width}), sizes or {})
    lines = []
    for i, job in enumerate(jobs):
        say(f"{i + 1} of {len(jobs)}: {' '.join(str(part) for part in job if part is not None)}")
        left = LIMIT - (time.monotonic() - began)
        until = time.monotonic() + left / (len(jobs) - i) if hurry else None
        try:
            if hurry and left <= 0:
                raise RunError(f"left out, no time remained; --phase {job.phase} measures it alone")
            lines.append(_line(setting, job, rounds, until, limits, flops))
        except RunError as error:
            say(f"failed: {error}")
            lines.append(report.failed(job, str(error)))
    return {
        "setting": {"images": amount(setting, Job("mixtures-10"))[0], **vars(setting), "rounds": rounds},
        "limits": limits,
        "phases": lines,
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
    limits: Mapping[str, Any],
    flops: Mapping[int, tuple[int, int]],
) -> dict[str, Any]:
    found: dict[str, list[Parts]] = {name: [] for name in SIDES}
    budget = (STEPS if job.batch else None) if setting.seconds is None else setting.seconds
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        children = {name: stack.enter_context(Child(serve_side, name, setting, job, folder)) for name in SIDES}
        for child in children.values():  # they start at the same time
            child.receive()
        for child in children.values():
            child.ask(0.0)  # to warm up
        while len(found["plain"]) < rounds:
            for name, child in children.items():
                found[name].append(child.ask(budget))
            if until is not None and time.monotonic() > until:
                break
        peaks = {name: child.ask("peak") for name, child in children.items()}
    images, passed = amount(setting, job)
    needed: dict[str, dict[str, int]] = {name: {} for name in SIDES}
    if passed is not None and job.width is not None and job.width in flops:
        for name in SIDES:
            needed[name] = operations(passed, flops[job.width], name == "ours" and setting.bfloat16)
    return report.line(job, found, images, needed, limits, peaks)
