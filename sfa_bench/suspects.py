"""`sfa-bench suspects RUN… [-o suspects.csv]`: the labels of a data set that are most probably wrong, by what finished
runs on it found.

Several runs on the same labels are averaged. A sample's clean probability is the mean over networks, runs and the
epochs that record.probes saved of what selected it, and in runs without a selection, or with one by a keep list or by
clean labels, of the probability that the network gives the label itself. Of the runs of all folds (dataset.fold) each
sample has the probabilities of those that were not trained on it.
"""

from __future__ import annotations

import argparse
import csv
import io
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from sfa_bench.config.terminal import Parser, door, entry_point, markdown_table
from sfa_bench.data.images import ImageFiles
from sfa_bench.data.types import Images
from sfa_bench.doors import Door
from sfa_bench.errors import ConfigError, RunError
from sfa_bench.labels import sheet
from sfa_bench.labels.runs import FinishedRun, class_names, mean, open_all, source_of
from sfa_bench.store.folder import write_file
from sfa_bench.tables import guarded

COLUMNS = (
    *("index", "path", "given", "suggested", "clean_probability", "suggested_probability", "selected"),
    *("class_size", "rank", "rank_in_class"),
)
DECIMALS = 6
THRESHOLD = 0.5
SHOWN = 20  # lines in the terminal


def suspects(runs: Sequence[FinishedRun], paths: Sequence[str] | None = None) -> pd.DataFrame:
    """All training samples, the most probably mislabelled first: `COLUMNS`.

    Args: runs of the same samples and labels, see `open_all`; paths of the images [N], where they are files.
    """
    first = runs[0]
    given, samples = first.given, np.arange(len(first.given))
    clean = mean([run.clean_probability for run in runs])
    classes = np.mean([run.class_probability for run in runs], axis=0)
    masks = [run.selected for run in runs if run.selected is not None]
    # As written: below 1e-6 a mixture's tails decide, and the label's own probability says more. NaN, of samples that
    # nobody judged, comes last.
    order = np.lexsort((samples, classes[samples, given], clean.round(DECIMALS)))
    rank = np.empty(len(order), dtype=np.int64)
    rank[order] = np.arange(1, len(order) + 1)
    names = class_names(first)
    frame = pd.DataFrame(
        {
            "index": first.index,
            "path": "" if paths is None else list(paths),
            "given": [names[k] for k in given],
            "suggested": [names[k] for k in classes.argmax(axis=1)],
            "clean_probability": clean,
            "suggested_probability": classes.max(axis=1),
            "selected": np.mean(masks, axis=0) >= 0.5 if masks else pd.NA,
            "class_size": np.bincount(given, minlength=classes.shape[1])[given],
            "rank": rank,
        }
    ).iloc[order]
    frame["rank_in_class"] = frame.groupby("given", sort=False).cumcount() + 1
    return frame[list(COLUMNS)].reset_index(drop=True)


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
        return f"{value:.{DECIMALS}f}"
    return guarded(str(value)) if isinstance(value, str) else str(value)


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
    parser.add_argument("--sheet", type=Path, metavar="FILE", help="write a page on which to decide about them (.html)")
    parser.add_argument(
        "--threshold", type=float, default=THRESHOLD, metavar="P", help="clean probability below which one is a suspect"
    )
    parser.add_argument("--per-class", type=int, metavar="N", help="at most N of each given class")
    options = parser.parse_args(arguments)
    if not 0 < options.threshold <= 1:
        raise ConfigError(f"--threshold {options.threshold}: give a number above 0 and up to 1")
    if options.per_class is not None and options.per_class < 1:
        raise ConfigError(f"--per-class {options.per_class}: give a number of samples, 1 or more")
    runs, notes, images, at = open_all(options.runs), [], None, np.zeros(0, dtype=int)
    try:
        _, data, at = source_of(runs[0])
        images = data.view.images
    except (ConfigError, RunError) as error:
        if options.sheet:
            raise ConfigError(f"--sheet needs the images, which cannot be read: {error}") from error
        notes.append(f"paths are left out, since the data cannot be read: {error}")
    paths = [images.names[i].decode() for i in at] if isinstance(images, ImageFiles) else None
    table = suspects(runs, paths)
    found = chosen(table, options.threshold, options.per_class)
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
    if options.sheet:
        assert images is not None
        _write_sheet(options.sheet, found, samples, runs[0], images, at)


def _write_sheet(
    file: Path, found: pd.DataFrame, samples: int, run: FinishedRun, images: Images, at: np.ndarray
) -> None:
    """The page for the suspects that were found; at: where each sample of the run is among the images [N]."""
    if len(found) > sheet.MOST:
        print(f"note: the page has the first {sheet.MOST:,}: lower --threshold, or give --per-class", file=sys.stderr)
    found = found.head(sheet.MOST)
    places = dict(zip(run.index.tolist(), at.tolist(), strict=True))
    rows = np.array([places[i] for i in found["index"]], dtype=int)
    names = class_names(run)
    title = f"{run.record['names']['dataset']}: {len(found):,} suspect labels of {samples:,}"
    write_file(file, sheet.page(found, images, rows, names, title))
    print(f"{file}: open it in a browser, decide, and save decisions.csv")


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
