"""`sfa-bench speed`: how fast this machine runs the suite.

Prints the machine's limits and a table (Markdown), or one JSON object. Without --full, epochs are timed over as many
steps as fit into the budget and multiplied; the JSON says how many (`steps_measured`). All ends within 15 minutes on
two cores: on a slow machine with fewer rounds (`rounds`), or with nothing but the first, cold steps of a line (`warm`);
what had no time at all is listed in `left_out`.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from sfa_bench.config.terminal import Parser, entry_point
from sfa_bench.cores import cores
from sfa_bench.doors import Door
from sfa_bench.errors import ConfigError
from sfa_bench.speed.jobs import PHASES, jobs

if TYPE_CHECKING:  # Torch, which --help and an unknown option do not need
    from sfa_bench.speed.settings import Setting, Side

Sides = Callable[[argparse.Namespace, "Setting"], dict[str, "Side"]]  # the sides to measure, from the options
Finish = Callable[[dict[str, Any]], str]  # may add figures to the result; returns its Markdown

SECONDS = 1.0  # with which all ends within 15 minutes on 2 cores


@entry_point
def main(arguments: Sequence[str]) -> int:
    """The exit status, as of `run`."""
    from sfa_bench.speed.report import markdown

    return run(parser(Door.here.tool("sfa_bench.speed"), __doc__), arguments, _the_suite, markdown)


def _the_suite(options: argparse.Namespace, setting: Setting) -> dict[str, Side]:
    from sfa_bench.speed.settings import Side

    return {"suite": Side("sfa_bench.speed.phases", setting)}


def run(parser: Parser, arguments: Sequence[str], sides: Sides, finish: Finish) -> int:
    """The exit status: 0, also where a phase had no time; 1 where one failed."""
    options = parser.parse_args(arguments)
    measured = _measured(options, sides)
    text = finish(measured)
    print(json.dumps(measured, indent=1) if options.json else text)
    failed = [entry for entry in measured["phases"] if entry["error"]]
    return 1 if measured["limits"]["error"] or len(failed) > len(measured.get("left_out", ())) else 0


def parser(prog: str, description: str | None) -> Parser:
    parser = Parser(prog=prog, description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output, nothing else")
    parser.add_argument("--full", action="store_true", help="whole epochs, widths 16, 32 and 64, batches of 64 to 256")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1 … (default: auto)")
    parser.add_argument("--threads", type=_positive(int), metavar="N", help="default: as many as there are cores")
    parser.add_argument(
        "--precision", choices=("fp32", "bf16", "auto"), default="auto", help="of the suite's training (default: auto)"
    )
    parser.add_argument("--phase", metavar="NAME,…", help="only these, of " + ", ".join(PHASES))
    parser.add_argument(
        "--seconds", type=_positive(float), metavar="S", help=f"budget of one measurement (default: {SECONDS:g})"
    )
    return parser


def _positive(kind: Callable[[str], float]) -> Callable[[str], float]:
    def convert(text: str) -> float:
        if not 0 < (value := kind(text)) < 1e6:
            raise ValueError
        return value

    convert.__name__ = "positive number"
    return convert


def _measured(options: argparse.Namespace, sides: Sides) -> dict[str, Any]:
    from sfa_bench.engine import machine
    from sfa_bench.speed.measure import measure
    from sfa_bench.speed.settings import MODEL, Setting

    phases = options.phase.split(",") if options.phase else list(PHASES)
    if unknown := [name for name in phases if name not in PHASES]:
        raise ConfigError(f"--phase {unknown[0]}: must be among {', '.join(PHASES)}")
    device = machine.devices(options.device)[0]
    if device.type not in ("cpu", "cuda"):
        raise ConfigError(f"--device {options.device}: only cpu and cuda are measured, whose clocks are known")
    threads = options.threads or cores()
    bfloat16 = machine.uses_bfloat16(options.precision, device, MODEL)
    seconds = options.seconds or (None if options.full else SECONDS)
    setting = Setting(str(device), threads, bfloat16=bfloat16, seconds=seconds)
    began = time.monotonic()
    measured = measure(sides(options, setting), jobs(phases, options.full), hurry=not options.full, say=_say)
    return {
        "environment": machine.environment([device], threads, bfloat16),
        **measured,
        "total_seconds": round(time.monotonic() - began, 1),
    }


def _say(sentence: str) -> None:
    print(sentence, file=sys.stderr, flush=True)
