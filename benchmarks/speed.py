"""How many times as fast as a plain baseline the suite is on this machine: `python -m benchmarks.speed`.

The lines of `sfa-bench speed`, each measured for the suite and for benchmarks/plain_dividemix_sfa.py: one after the
other in every round, in processes of their own. The ratio is the median over the rounds, with the least and the
greatest. Options and answers are those of `sfa-bench speed`, with two sides.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import median
from typing import TYPE_CHECKING, Any

from sfa_bench.config.terminal import door, entry_point
from sfa_bench.speed import command, report

if TYPE_CHECKING:
    from sfa_bench.speed.settings import Setting, Side


@entry_point
def main(arguments: Sequence[str]) -> int:
    """The exit status, as of `sfa-bench speed`."""
    parser = command.parser("python -m benchmarks.speed", __doc__)
    parser.add_argument(
        "--baseline", choices=("fp32", "bf16"), default="fp32", help="precision of the baseline (default: fp32)"
    )
    with tempfile.TemporaryDirectory() as folder:  # also of what a process that had to be ended leaves behind
        os.environ["TMPDIR"] = folder
        return command.run(parser, arguments, both, compared)


def both(options: argparse.Namespace, setting: Setting) -> dict[str, Side]:
    from sfa_bench.speed.settings import Side

    plain = replace(setting, bfloat16=options.baseline == "bf16")
    return {
        "suite": Side("sfa_bench.speed.phases", setting),
        "plain": Side("benchmarks.plain_phases", plain, bfloat16_selection=True),
    }


def compared(measured: dict[str, Any]) -> str:
    """The machine and the table of both sides; adds the `ratio` to each line that was measured."""
    for line in measured["phases"]:
        if line["error"] is None:
            line["ratio"] = ratio(line["suite"]["round_seconds"], line["plain"]["round_seconds"])
    baseline = f"the baseline in {measured['setting']['precision']['plain']}"
    head = (*report.RATE, "plain images/s", *report.RATE[1:], "times plain")
    return f"{report.machine(measured)}; {baseline}.\n\n{report.table(measured, head, _cells)}"


def ratio(suite: Sequence[float], plain: Sequence[float]) -> dict[str, float]:
    """How many times as fast as the baseline of the same round, from the seconds of each round."""
    ratios = [plain_seconds / suite_seconds for suite_seconds, plain_seconds in zip(suite, plain, strict=True)]
    return {"median": median(ratios), "least": min(ratios), "greatest": max(ratios)}


def _cells(line: Mapping[str, Any]) -> list[str]:
    times = line["ratio"]
    spread = f"{times['median']:.2f} ({times['least']:.2f} to {times['greatest']:.2f})"
    return [*report.rate_cells(line["suite"]), *report.rate_cells(line["plain"]), spread]


if __name__ == "__main__":
    sys.exit(door(main))
