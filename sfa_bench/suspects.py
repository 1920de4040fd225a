"""`sfa-bench suspects RUN… [-o suspects.csv]`: the labels of a data set that are most probably wrong, by what finished
runs on it found.

Several runs on the same labels are averaged. A sample's clean probability is the mean over networks and runs of what
selected it, and in runs without a selection of the probability that the network gives the label itself.
"""

from __future__ import annotations

import argparse
import csv
import io
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from sfa_bench.config.compose import compose
from sfa_bench.config.terminal import Parser, door, entry_point, markdown_table
from sfa_bench.data import build as build_data
from sfa_bench.data.images import ImageFiles
from sfa_bench.doors import Door
from sfa_bench.errors import ConfigError, RunError
from sfa_bench.store.archives import load_arrays
from sfa_bench.store.folder import write_file
from sfa_bench.store.ledger import run_folders
from sfa_bench.store.reading import Damaged
from sfa_bench.store.record import load as load_record
from sfa_bench.store.record import recorded_overrides

COLUMNS = (
    *("index", "path", "given", "suggested", "clean_probability", "suggested_probability", "selected"),
    *("class_size", "rank", "rank_in_class"),
)
THRESHOLD = 0.5
SHOWN = 20  # lines in the terminal
FORMULA = ("=", "+", "-", "@", "\t", "\r", "'")  # first characters of a cell that a spreadsheet would compute


@dataclass(frozen=True)
class FinishedRun:
    """What a finished run says of its training samples [N]."""

    path: Path
    record: dict[str, Any]
    index: np.ndarray  # int64, positions in the data set as it stands
    given: np.ndarray  # int64, observed labels
    clean_probability: np.ndarray  # float64, mean over networks
    selected: np.ndarray | None  # bool, by at least one network; None: the run has no selection
    class_probability: np.ndarray  # [N, K] float64, mean over networks

    @classmethod
    def open(cls, path: Path) -> FinishedRun:
        """Raises: ConfigError where the run is not done, or does not hold what its networks say of the samples."""
        try:
            record = load_record(path / "run.json")
            if record["state"] != "done":
                raise ConfigError(f"{path} is not done ({record['state']}): repeat its command, which is in run.json")
            arrays = load_arrays(path / "predictions.npz")
        except (OSError, Damaged) as error:
            raise ConfigError(f"{path}: its record or its predictions cannot be read: {error}") from error
        if (probability := arrays.get("train_probability")) is None:
            raise ConfigError(
                f"{path} does not hold what its networks say of the training samples: repeat its command with "
                "record.train_probability=true and another runs_dir"
            )
        given, probability = arrays["observed_label"], probability.astype(np.float64).mean(axis=0)
        clean, mask = arrays.get("clean_probability"), arrays.get("selected")
        if clean is None:
            clean = probability[np.arange(len(given)), given]
        else:
            with np.errstate(invalid="ignore"):
                judged = np.isfinite(clean)
                clean = np.where(judged, clean, 0).sum(axis=0, dtype=np.float64) / judged.sum(axis=0)
        return cls(path, record, arrays["index"], given, clean, None if mask is None else mask.any(axis=0), probability)


def suspects(runs: Sequence[FinishedRun], paths: Sequence[str] | None = None) -> pd.DataFrame:
    """All training samples, the most probably mislabelled first: `COLUMNS`.

    Args: paths of the images [N], where they are files. Raises: ConfigError where runs differ in samples or labels.
    """
    first = runs[0]
    for run in runs[1:]:
        if not (np.array_equal(run.index, first.index) and np.array_equal(run.given, first.given)):
            raise ConfigError(
                f"{run.path} was trained on other samples or labels than {first.path}: name runs of the same data, "
                "noise and data_seed, or one at a time"
            )
    given, samples = first.given, np.arange(len(first.given))
    clean = _mean([run.clean_probability for run in runs])
    classes = np.mean([run.class_probability for run in runs], axis=0)
    masks = [run.selected for run in runs if run.selected is not None]
    order = np.lexsort((samples, classes[samples, given], clean))  # NaN, of samples that nobody judged, comes last
    rank = np.empty(len(order), dtype=np.int64)
    rank[order] = np.arange(1, len(order) + 1)
    names = first.record["data"].get("classes")
    frame = pd.DataFrame(
        {
            "index": first.index,
            "path": "" if paths is None else list(paths),
            "given": [_name(names, k) for k in given],
            "suggested": [_name(names, k) for k in classes.argmax(axis=1)],
            "clean_probability": clean,
            "suggested_probability": classes.max(axis=1),
            "selected": np.mean(masks, axis=0) >= 0.5 if masks else pd.NA,
            "class_size": np.bincount(given, minlength=classes.shape[1])[given],
            "rank": rank,
        }
    ).iloc[order]
    frame["rank_in_class"] = frame.groupby("given", sort=False).cumcount() + 1
    return frame[list(COLUMNS)].reset_index(drop=True)


def _mean(values: Sequence[np.ndarray]) -> np.ndarray:
    """Mean over runs of what is defined; NaN where nothing is."""
    stacked = np.stack(values)
    judged = np.isfinite(stacked)
    with np.errstate(invalid="ignore"):
        mean: np.ndarray = np.where(judged, stacked, 0).sum(axis=0) / judged.sum(axis=0)
    return mean


def _name(names: Sequence[str] | None, k: int) -> str:
    return str(k) if names is None else names[k]


def image_paths(run: FinishedRun) -> list[str] | None:
    """Paths of the training images relative to the folder of the data set; None where images are no files.

    Raises: ConfigError or RunError where the data cannot be read.
    """
    config = compose(*recorded_overrides(run.record["command"]))
    data = build_data(replace(config, dataset=replace(config.dataset, cache="off")))
    images = data.view.images
    return [name.decode() for name in images.names.tolist()] if isinstance(images, ImageFiles) else None


def chosen(frame: pd.DataFrame, threshold: float, per_class: int | None) -> pd.DataFrame:
    """Suspects with a clean probability below the threshold, at most `per_class` of each given class."""
    frame = frame[frame["clean_probability"] < threshold]
    return frame if per_class is None else frame[frame["rank_in_class"] <= per_class]


def to_csv(frame: pd.DataFrame) -> bytes:
    """Probabilities with six decimals; a ' before texts that a spreadsheet would compute."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in frame.itertuples(index=False):
        writer.writerow([_cell(value) for value in row])
    return text.getvalue().encode()


def _cell(value: Any) -> str:
    if value is pd.NA:
        return ""
    if isinstance(value, (bool, np.bool_)):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{value:.6f}"
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA) else str(value)


@entry_point
def main(arguments: Sequence[str]) -> None:
    """The command."""
    parser = Parser(
        prog=Door.here.tool("sfa_bench.suspects"),
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="folders of finished runs on the same labels")
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", help="write all suspects as CSV")
    parser.add_argument(
        "--threshold", type=float, default=THRESHOLD, metavar="P", help="clean probability below which one is a suspect"
    )
    parser.add_argument("--per-class", type=int, metavar="N", help="at most N of each given class")
    options = parser.parse_args(arguments)
    if not 0 < options.threshold <= 1:
        raise ConfigError(f"--threshold {options.threshold}: give a number above 0 and up to 1")
    if options.per_class is not None and options.per_class < 1:
        raise ConfigError(f"--per-class {options.per_class}: give a number of samples, 1 or more")
    if missing := [str(path) for path in options.runs if not path.exists()]:
        raise ConfigError(f"{', '.join(missing)}: there is no such folder")
    runs = [FinishedRun.open(path) for path in run_folders(options.runs)]
    if not runs:
        raise ConfigError("no run is named: give the folder of a run, or one that holds runs")
    paths, notes = None, []
    try:
        paths = image_paths(runs[0])
    except (ConfigError, RunError) as error:
        notes.append(f"paths are left out, since the data cannot be read: {error}")
    found = chosen(suspects(runs, paths), options.threshold, options.per_class)
    samples = len(runs[0].given)
    print(f"{len(found):,} of {samples:,} labels are suspect, by {len(runs)} run(s)")
    if len(found):
        print(render(found.head(SHOWN)))
    if len(found) > SHOWN and options.output is None:
        notes.append(f"{len(found) - SHOWN:,} more: -o suspects.csv writes all")
    for note in notes:
        print(f"note: {note}", file=sys.stderr)
    if options.output:
        write_file(options.output, to_csv(found))


def render(frame: pd.DataFrame) -> str:
    """A Markdown table of the first suspects."""
    rows = [["sample", "given", "suggested", "clean", "prob.", "class size", "rank", "in class"]]
    for row in frame.to_dict("records"):
        numbers = [f"{row[name]:.3f}" for name in ("clean_probability", "suggested_probability")]
        places = [str(row[name]) for name in ("class_size", "rank", "rank_in_class")]
        rows.append([row["path"] or str(row["index"]), row["given"], row["suggested"], *numbers, *places])
    return markdown_table(rows, texts=3)


if __name__ == "__main__":
    sys.exit(door(main))
