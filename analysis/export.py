"""All finished runs as one tidy table: `python -m analysis.export RUNS… -o runs.csv` (or runs.parquet).

One row a run. Columns: folder, hash, command; the names of choices (`method`, `plugin` …) and every configuration path;
every metric, selection and cost figure by the name that tables use, lists as `NAME/0`, `NAME/1` …
"""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from analysis.columns import Run, fields_of, flat, metrics_of
from analysis.runs import RUNS, counted, load
from analysis.values import SAFE, show
from sfa_bench.config.terminal import Parser, door, entry_point
from sfa_bench.doors import Door
from sfa_bench.errors import ConfigError
from sfa_bench.store.folder import write_file

FORMULA = ("=", "+", "-", "@", "\t", "\r", "'")  # first characters of a cell that a spreadsheet would compute


def tidy(runs: Sequence[Run]) -> pd.DataFrame:
    """One row a run; a field that a run does not have is missing in its row."""
    rows = [_row(run) for run in runs]
    frame = pd.DataFrame(rows)
    # Beside a missing value pandas turns whole numbers into floats, which loses the last digits of large ones.
    for name in {key for row in rows for key, value in row.items() if isinstance(value, int) and abs(value) > SAFE}:
        frame[name] = pd.Series([row.get(name) for row in rows], dtype=object)
    return frame


def _row(run: Run) -> dict[str, Any]:
    record = run.record
    row: dict[str, Any] = {"folder": str(run.path), "hash": run.hash, "command": record["command"]}
    fields = fields_of(record["names"], flat(record["config"]))
    row |= {name: fields[name] for name in record["names"]} | fields
    row["external"] = bool(run.external)  # results of other people's code
    row["knows"] = " ".join(run.knows)
    row["observed_labels"] = run.labels
    if (classes := record["data"].get("classes")) is not None:
        row["classes"] = json.dumps(classes, ensure_ascii=False)  # the names of test/per_class/0, /1 …
    for name, value in metrics_of(record).items():
        if isinstance(value, list):
            row |= {f"{name}/{position}": item for position, item in enumerate(value)}
        else:
            row[name] = value
    return row


def _no_formula(value: Any) -> Any:
    """Put a ' before a text that a spreadsheet would compute, and before one that begins with '. Removing the first '
    restores all texts.
    """
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA) else value


def to_bytes(frame: pd.DataFrame, suffix: str) -> bytes:
    """The file's content. Raises ConfigError for a format that does not exist or whose package is missing."""
    if suffix == ".csv":
        texts = frame.select_dtypes(["object", "string"]).columns
        safe = frame.assign(**{name: frame[name].map(_no_formula) for name in texts})
        safe = safe.rename(columns=_no_formula)
        content = safe.to_csv(index=False, lineterminator="\n")
        if "\r" in content:  # not quoted otherwise, but a line end for readers
            content = safe.to_csv(index=False, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)
        return content.encode()
    if suffix != ".parquet":
        raise ConfigError(f"-o takes a name that ends in .csv or .parquet, not {suffix or 'one without an ending'}")
    # A column of Parquet has one type; an option that is a number in one run and a word in another becomes text.
    mixed = [name for name in frame if frame[name].dropna().map(type).nunique() > 1 and frame[name].dtype == object]
    text = frame.copy()
    for name in mixed:
        text[name] = frame[name].map(show, na_action="ignore").astype("string")
    buffer = io.BytesIO()
    try:
        text.to_parquet(buffer, index=False)
    except ImportError as error:
        raise ConfigError("Parquet needs pyarrow: pip install pyarrow, or write a .csv") from error
    return buffer.getvalue()


@entry_point
def main(arguments: Sequence[str]) -> None:
    """The command."""
    parser = Parser(prog=Door.here.tool("analysis.export"), description="All finished runs, a row each.")
    parser.add_argument("runs", **RUNS)
    parser.add_argument("-o", "--output", required=True, type=Path, help="FILE.csv or FILE.parquet")
    options = parser.parse_args(arguments)
    runs, others = load(options.runs)
    write_file(options.output, to_bytes(tidy(runs), options.output.suffix))
    left_out = f"; not finished and left out: {counted(others)}" if others else ""
    print(f"{len(runs)} runs in {options.output}{left_out}")


if __name__ == "__main__":
    sys.exit(door(main))
