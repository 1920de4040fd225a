"""Write the repository's copy of a sweep's results: `python -m tools.results NAME RUNS… [-o results]`.

`results/contents.yaml` says which tables, claims and figures belong to NAME. The folder `results/NAME` is written anew,
with these files, `runs.csv` (a row a run; what never varies is in README.md instead) and a README.md with the commands
that make all of it again, the time it took and the machine.
"""

from __future__ import annotations

import io
import shlex
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pandas as pd

from analysis import claim, plot, table
from analysis.export import tidy, to_bytes
from analysis.runs import RUNS, Run, load
from analysis.values import show
from sfa_bench.config import user_yaml
from sfa_bench.config.canonical import MACHINE, hashes
from sfa_bench.config.compose import compose_checked
from sfa_bench.config.schema import SEED_KEYS
from sfa_bench.config.sweep_files import jobs
from sfa_bench.config.terminal import Parser, door, entry_point
from sfa_bench.config.values import nearest
from sfa_bench.errors import ConfigError
from sfa_bench.store.atomic import write_bytes
from sfa_bench.store.folder import writing

TOOLS = {"table": table.main, "claim": claim.main, "plot": plot.main}
PATHS = ("runs_dir", "data_dir", "dataset.cache_dir")
MEASURED = ("cost/", "selection/", "test/", "val/")
OF_RUNS = ("hash", "command", "knows", "observed_labels", "classes")  # columns that are no settings
# Where a run was made does not affect its result.
LEFT_OUT = ("folder", "cost/seconds/data", "cost/seconds/storage", *PATHS)


def make(name: str, paths: Sequence[Path], output: Path) -> int:
    """Write `output/NAME` and return the number of its runs.

    Raises: ConfigError with a sentence where something cannot be made; nothing is changed then.
    """
    contents = _contents(output / "contents.yaml")
    if name not in contents:
        near = nearest(name, contents)
        raise ConfigError(
            f"contents.yaml has no {name}" + (f"; did you mean {near}?" if near else f": {', '.join(contents)}")
        )
    entry = contents[name]
    runs, _ = load(paths)
    asked = planned(entry["sweep"])
    if strange := [run for run in runs if run.hash not in asked]:
        raise ConfigError(
            f"{len(strange)} runs ({strange[0].path} …) are not of the sweep {entry['sweep']}: give a folder with its "
            "own runs only, or the commands on the page would not make these files"
        )
    notes: dict[str, str] = {}
    files: dict[str, bytes] = {}
    for file, line in entry["files"].items():
        files[file], notes[file] = _made(file, line, paths)
    frame, constant = _varying(tidy(runs))
    files["runs.csv"] = to_bytes(frame, ".csv")
    page = _page(name, entry, runs, len(asked), notes, constant)
    files["README.md"] = page.encode()
    folder = output / name
    with writing(folder / "README.md"):
        folder.mkdir(exist_ok=True)
        for file, content in files.items():
            write_bytes(folder / file, content)
        for old in folder.iterdir():
            if old.name not in files:
                old.unlink()
    return len(runs)


def _contents(path: Path) -> dict[str, Any]:
    try:
        return dict(user_yaml.read(path))
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{path} is not a list of tables: {error}") from error


def planned(sweep: str) -> set[str]:
    """The hashes of all runs that a sweep asks for, and of those that its classifiers are fitted on."""
    wanted: set[str] = set()
    for job in jobs(shlex.split(sweep), None):
        try:
            identity = hashes(compose_checked(job))
            wanted |= {identity.run, identity.trained}
        except ConfigError as error:
            if not error.invalid_combination:
                raise
    return wanted


def _made(file: str, line: str, paths: Sequence[Path]) -> tuple[bytes, str]:
    """What one command of contents.yaml makes, and for a figure its caption."""
    tool, *options = shlex.split(line)
    if tool not in TOOLS:
        raise ConfigError(f"{file}: {tool} makes no file of results, only {', '.join(TOOLS)} do")
    kind, options = ([options[0]], options[1:]) if tool == "plot" else ([], options)
    out, err = io.StringIO(), io.StringIO()
    with TemporaryDirectory() as scratch, redirect_stdout(out), redirect_stderr(err):
        drawn = Path(scratch) / file
        try:
            status = TOOLS[tool]([*kind, *map(str, paths), *options, *(["-o", str(drawn)] if kind else [])])
        except SystemExit as left:  # argparse does not know an option
            status = int(left.code or 0)
        if status == 0:
            return (
                (drawn.read_bytes(), _caption(out.getvalue().splitlines()[1:]))
                if kind
                else (out.getvalue().encode(), "")
            )
    sentence = err.getvalue().strip().splitlines()[-1].removeprefix("refused: ")  # argparse prints its usage first
    raise ConfigError(f"{file}: {line.strip()}: {sentence}")


def _caption(lines: Sequence[str]) -> str:
    """The sentences below a figure as one paragraph; what is not finished is said once for the whole folder."""
    return " ".join(f"{line.rstrip('.')}." for line in lines if not line.startswith("not finished"))


def _varying(frame: pd.DataFrame) -> tuple[pd.DataFrame, dict[str, Any]]:
    """The frame without settings that have one value only, and these; nor measurements that no run has."""
    frame = frame.drop(columns=[name for name in LEFT_OUT if name in frame])
    none = [name for name in map(str, frame) if name.startswith(MEASURED) and frame[name].isna().all()]
    frame = frame.drop(columns=none)
    frame["command"] = frame["command"].map(_anywhere)
    settings = [name for name in map(str, frame) if name not in OF_RUNS and not name.startswith(MEASURED)]
    constant = [name for name in settings if frame[name].nunique(dropna=False) == 1]
    return frame.drop(columns=constant), {name: frame[name].tolist()[0] for name in constant}


def _anywhere(command: str) -> str:
    """The command without folders of the machine that it was run on; as it is where a shell could not parse it."""
    try:
        words = shlex.split(command)
    except ValueError:
        return command
    return shlex.join(word for word in words if word.partition("=")[0] not in PATHS)


def _page(
    name: str,
    entry: Mapping[str, Any],
    runs: Sequence[Run],
    asked: int,
    notes: Mapping[str, str],
    constant: Mapping[str, Any],
) -> str:
    where = f"runs/{name}"
    seconds, shared = _spent(runs)
    made = Counter(_machine(run) for run in runs)
    lines = [
        *(f"# {entry['title']}", "", entry["about"].strip(), ""),
        *("## Made by", "", "```"),
        f"python run.py -m {entry['sweep']} runs_dir={where} hydra/launcher=joblib",
        f"python -m tools.results {name} {where}",
        *("```", "", "of which the second ran", "", "```"),
        *(_shown(file, line.strip(), where) for file, line in entry["files"].items()),
        *("```", ""),
        f"{len(runs)} runs of the {asked} that the sweep asks for, {seconds / 3600:.1f} hours of them in all"
        + (f" (warm-ups that runs share counted once, {shared / 3600:.1f} hours saved)" if shared >= 360 else "")
        + (", one core each." if all(run.record["environment"]["threads"] == 1 for run in runs) else "."),
        *("", "Machines:", ""),
        *(f"- {count} runs: {machine}" for machine, count in made.most_common()),
        *("", "## Files", "", "- `runs.csv`: every run with its command, every metric, and each setting that varies"),
        *(f"- `{file}`" + (f": {notes[file]}" if notes[file] else "") for file in notes),
        *("", "## The same in all runs", ""),
        ", ".join(
            f"`{key}={show(value)}`"
            for key, value in constant.items()
            if key not in (*MACHINE, *SEED_KEYS, "external") and pd.notna(value)
        )
        + ".",
    ]
    return "\n".join(lines) + "\n"


def _spent(runs: Sequence[Run]) -> tuple[float, float]:
    """Seconds of all runs, and seconds that shared warm-ups saved. The record of a classifier has the cost of the run
    below it too, which many may have in common.
    """
    trained, saved, fitted = {}, {}, 0.0
    for run in runs:
        cost = run.record["cost"]
        fit, base = cost.get("classifier_seconds", 0.0), cost.get("base", run.hash)
        saved[base] = (cost.get("shared") or {}).get("seconds", 0.0)
        trained[base] = cost["total_seconds"] - fit - saved[base]
        fitted += fit
    return sum(trained.values()) + fitted, sum(saved.values())


def _machine(run: Run) -> str:
    made = run.record["environment"]
    if not made["versions"]:  # of `tools.kept`
        return str(made["device_name"])
    versions = ", ".join(
        f"{package} {made['versions'].get(package, 'unknown')}" for package in ("python", "torch", "numpy")
    )
    changed = " (modified)" if made["modified"] else ""
    commit = (made["commit"] or "unknown")[:12]  # unknown outside a checkout
    instructions = f" ({made['instructions']})" if "instructions" in made else ""  # older records have none
    return f"{made['device_name']}{instructions}, {made['threads']} thread(s), {versions}; commit {commit}{changed}"


def _shown(file: str, line: str, where: str) -> str:
    tool, _, rest = line.partition(" ")
    if tool == "plot":
        kind, _, rest = rest.strip().partition(" ")
        return f"python -m analysis.plot {kind} {where} {rest}".rstrip() + f" -o {file}"
    return f"python -m analysis.{tool} {where} {rest.strip()} > {file}"


@entry_point
def main(arguments: Sequence[str]) -> None:
    """The command."""
    parser = Parser(prog="python -m tools.results", description="What is kept of a sweep.")
    parser.add_argument("name", help="a name in contents.yaml")
    parser.add_argument("runs", **RUNS)
    parser.add_argument("-o", "--output", type=Path, default=Path("results"), help="folder (default: results)")
    options = parser.parse_args(arguments)
    count = make(options.name, options.runs, options.output)
    print(f"{count} runs in {options.output / options.name}")


if __name__ == "__main__":
    sys.exit(door(main))
