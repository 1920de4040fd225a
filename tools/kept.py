"""Make a runs folder of kept results: `python -m tools.kept results/NAME… -o RUNS [--sweep +sweep=NAME]`.

So they can be asked for other tables and claims, and those of several data sets together, without running them again.

Each row of `runs.csv` becomes a finished run again: its configuration is composed from its command, and must have the
row's hash; its metrics, selection and cost are those of the row. What only the run's own folder had is missing: epochs,
checkpoints, and in tables of before November 2026 measurements that were equal in all runs.
"""

from __future__ import annotations

import csv
import json
import re
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from sfa_bench.config.canonical import hashes
from sfa_bench.config.compose import compose
from sfa_bench.config.terminal import Parser, door, entry_point
from sfa_bench.errors import ConfigError
from sfa_bench.store.atomic import write_bytes
from sfa_bench.store.folder import writing
from sfa_bench.store.ledger import run_path
from sfa_bench.store.record import dumps, loads, new_record, recorded_overrides
from tools.results import planned

SECTIONS = ("selection", "cost")
OF_METRICS = ("test/", "val/")
NEEDED = {"hash", "command", "observed_labels"}
NUMBER = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?(e[-+]?\d+)?", re.IGNORECASE)


def records(table: Path, wanted: Collection[str] | None = None) -> Iterator[dict[str, Any]]:
    """The record of each run in a `runs.csv`, or of those with one of the wanted hashes.

    Raises: ConfigError with a sentence where there is no such table, or a row's command is not the run that the row has
    the hash of.
    """
    try:
        with table.open(newline="", encoding="utf-8") as lines:
            rows = list(csv.DictReader(lines))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise ConfigError(f"{table} cannot be read: {reason}; give folders of results/") from error
    if rows and (missing := NEEDED - rows[0].keys()):
        lacking = ", ".join(sorted(missing))
        raise ConfigError(f"{table} is no table of runs, it lacks {lacking}: give folders of results/")
    machines = _machines(table.with_name("README.md"))
    for row in rows:
        if wanted is not None and row["hash"] not in wanted:
            continue
        config = compose(recorded_overrides(row["command"])[0])
        if (found := hashes(config).run) != row["hash"]:
            raise ConfigError(
                f"{table}: `{row['command']}` is run {found} of this version, not {row['hash']}: its results were "
                "made by a version that computes something else; use that one, which README.md beside it names"
            )
        record = new_record(
            hash=row["hash"], config=config.to_plain(), names=config.recorded_names, command=row["command"]
        )
        values = {key: _value(key, text) for key, text in row.items() if text}
        record |= {"state": "done", "knows": row.get("knows", "").split(), "metrics": _metrics(values)}
        record |= {section: _nested(values, f"{section}/") for section in SECTIONS}
        record["environment"] = {"device_name": machines, "threads": config.threads, "versions": {}}
        record["environment"] |= {"commit": None, "modified": None}
        record["data"] = {"fingerprints": {"observed_labels": row["observed_labels"]}}
        try:
            if classes := row.get("classes"):
                record["data"]["classes"] = json.loads(classes)
            yield loads(dumps(record))
        except ValueError as error:
            raise ConfigError(f"{table}: the row of {row['hash']} is no run: {error}; restore the file") from error


def _machines(page: Path) -> str:
    """The machines that the folder's page names, of which a run was made on one."""
    try:
        lines = re.findall(r"^- \d+ runs: (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    except OSError:
        lines = []
    return " or ".join(lines) or "unknown"


def _value(key: str, text: str) -> Any:
    """A cell as the number, truth or text that it was; beginnings that a spreadsheet would compute are quoted in it."""
    if not key.endswith("/run") and NUMBER.fullmatch(text):
        return json.loads(text)
    return {"True": True, "False": False}.get(text, text.removeprefix("'"))


def _metrics(values: Mapping[str, Any]) -> dict[str, Any]:
    return _listed({key: value for key, value in values.items() if key.startswith(OF_METRICS)})


def _nested(values: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    """The values below a prefix; a `cost` holds sections of its own, a selection's names have strokes in them."""
    below = {key.removeprefix(prefix): value for key, value in values.items() if key.startswith(prefix)}
    if prefix != "cost/":
        return _listed(below)
    nested: dict[str, Any] = {}
    for path, value in below.items():
        *sections, key = path.split("/")
        here = nested
        for section in sections:
            here = here.setdefault(section, {})
        here[key] = value
    return nested


def _listed(values: Mapping[str, Any]) -> dict[str, Any]:
    """`name/0`, `name/1` … as the list `name`, in which those that are missing are None."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        name, _, last = key.rpartition("/")
        if last.isdecimal():
            items = found.setdefault(name, [])
            items += [None] * (int(last) - len(items)) + [value]
        else:
            found[key] = value
    return found


@entry_point
def main(arguments: Sequence[str]) -> None:
    """The command."""
    parser = Parser(prog="python -m tools.kept", description="A runs folder of kept results.")
    parser.add_argument("results", nargs="+", type=Path, help="folders with a runs.csv")
    parser.add_argument("-o", "--output", required=True, type=Path, help="a runs folder, which may have other runs")
    parser.add_argument("--sweep", help="only the runs that this sweep asks for, as a command line has it")
    options = parser.parse_args(arguments)
    made, wanted = 0, None if options.sweep is None else planned(options.sweep)
    for folder in options.results:
        for record in records(folder / "runs.csv", wanted):
            place = run_path(options.output, record["names"], record["hash"])
            if not (place / "run.json").exists():  # what was run is not replaced by what was kept of it
                with writing(place / "run.json"):
                    place.mkdir(parents=True, exist_ok=True)
                    write_bytes(place / "run.json", dumps(record).encode())
                made += 1
    print(f"{made} runs in {options.output}")


if __name__ == "__main__":
    sys.exit(door(main))
