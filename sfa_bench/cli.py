"""`sfa-bench SUBCOMMAND …` or `python -m sfa_bench SUBCOMMAND …`: all commands of the installed suite, in any
folder.
"""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from importlib import import_module

from sfa_bench.config.external import keep_analysis
from sfa_bench.config.terminal import door, entry_point
from sfa_bench.doors import Door
from sfa_bench.errors import ConfigError

# Subcommand → module, its function, arguments to put first, and its help.
COMMANDS: dict[str, tuple[str, str, list[str], str]] = {
    "run": ("sfa_bench.main", "main", [], "one run: KEY=VALUE …"),
    "sweep": ("sfa_bench.main", "main", ["-m"], "every combination that is not done yet: KEY=V1,V2 …"),
    "where": ("sfa_bench.main", "where", [], "hash, folder and state of a run, without making it: KEY=VALUE …"),
    "tune": ("sfa_bench.tune.command", "main", [], "values chosen on validation sets, one budget for every method"),
    "embed": ("sfa_bench.embed", "main", [], "features of a data set by a frozen network: KEY=VALUE … -o FILE.npz"),
    "table": ("analysis.table", "main", [], "a table of finished runs"),
    "plot": ("analysis.plot", "main", [], "a figure of finished runs"),
    "claim": ("analysis.claim", "main", [], "whether the runs support a claim"),
    "report": ("analysis.report", "main", [], "all runs as one page"),
    "status": ("analysis.status", "main", [], "what is done and what is missing; `status clean` removes"),
    "export": ("sfa_bench.export", "main", [], "all finished runs as CSV or Parquet; or for cleanlab"),
    "ingest": ("analysis.ingest", "main", [], "other people's predictions as a run"),
    "data": ("sfa_bench.data.tools.command", "main", [], "check, describe and export data sets"),
    "evaluate": (
        "sfa_bench.api.evaluation",
        "main",
        [],
        "a saved model on the test set of other data: RUN KEY=VALUE …",
    ),
    "replay": ("sfa_bench.replay", "main", [], "another selector on what a run recorded"),
    "suspects": ("sfa_bench.suspects", "main", [], "the labels that are most probably wrong"),
    "relabel": ("sfa_bench.relabel", "main", [], "labels corrected as decided on the page of suspects"),
    "speed": ("sfa_bench.speed.command", "main", [], "how fast this machine runs the suite"),
}


@entry_point
def main(arguments: Sequence[str]) -> int:
    """Run a subcommand and return its exit status; 2 where there is none of this name."""
    program = Door.here.program or "sfa-bench"
    name, rest = (arguments[0] if arguments else "--help"), list(arguments[1:])
    if name in ("-h", "--help"):
        print(_help(program))
        return 0
    if name not in COMMANDS:
        near = get_close_matches(name, COMMANDS, 1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(COMMANDS)}"
        raise ConfigError(f"{program} {name}: no such subcommand; {hint}")
    module, function, before, _ = COMMANDS[name]
    keep_analysis()  # with `python -m` the current folder comes first
    return int(getattr(import_module(module), function)([*before, *rest]))


def _help(program: str) -> str:
    lines = [f"  {name:<8} {what}" for name, (*_, what) in COMMANDS.items()]
    end = f"`{program} SUBCOMMAND --help` says the rest; `{program} run --help` lists what can be chosen."
    return "\n".join([f"usage: {program} SUBCOMMAND …", "", *lines, "", end])


def console() -> int:
    """The entry point of the installed command."""
    Door.here = Door.of("sfa-bench")
    return door(main)
