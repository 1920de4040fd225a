"""`sfa-bench relabel RUN decisions.csv -o corrected.csv`: the labels that a run was trained on, corrected as decided on
the page of `suspects --sheet`.

The file has path, label and split, as dataset=csv reads them: write it into the folder of the images, and train with
dataset=csv data_dir=FOLDER/corrected.csv. Dropped images are left out of it.
"""

from __future__ import annotations

import argparse
import csv
import io
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from sfa_bench.config.schema import RunConfig
from sfa_bench.config.terminal import Parser, door, entry_point
from sfa_bench.data.images import ImageFiles
from sfa_bench.data.sources.csv_file import NUMBER
from sfa_bench.data.tools.export import columns
from sfa_bench.data.types import Data
from sfa_bench.doors import Door
from sfa_bench.errors import ConfigError
from sfa_bench.labels.decisions import Decision, read
from sfa_bench.labels.runs import FinishedRun, class_names, source_of
from sfa_bench.store.folder import write_file
from sfa_bench.store.ledger import run_folders
from sfa_bench.tables import guarded


@entry_point
def main(arguments: Sequence[str]) -> None:
    """The command."""
    parser = Parser(
        prog=Door.here.tool("sfa_bench.relabel"),
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("run", type=Path, metavar="RUN", help="folder of the runs that the sheet was made from")
    parser.add_argument("decisions", nargs="+", type=Path, metavar="DECISIONS", help="files that the page saved")
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", required=True, help="the corrected labels (.csv)")
    parser.add_argument(
        "--keep-list",
        type=Path,
        metavar="FILE",
        help="also write index,path,keep for method.selector.file: 0 where the label was changed or dropped",
    )
    options = parser.parse_args(arguments)
    if (found := next(iter(run_folders([options.run])), None)) is None:
        raise ConfigError(
            f"{options.run} is no run and holds none: give the folder of a run that the sheet was made from"
        )
    run = FinishedRun.open(found)
    config, data, _ = source_of(run)
    classes = class_names(run)
    observed = dict(zip(data.index.tolist(), data.view.observed_labels.tolist(), strict=True))
    decided = read(options.decisions, observed, classes)
    table = corrected(data, config, decided, classes, options.output)
    write_file(options.output, table)
    changed = [i for i, one in decided.items() if one.label not in (None, observed[i])]
    dropped = [i for i, one in decided.items() if one.label is None]
    print(
        f"{options.output}: of {len(observed):,} training labels {len(changed):,} are changed and {len(dropped):,} "
        f"dropped; {len(decided) - len(changed) - len(dropped):,} were confirmed"
    )
    if options.keep_list:
        write_file(options.keep_list, keep_list(data, {*changed, *dropped}))
        print(f"{options.keep_list}: keep = 0 for {len(changed) + len(dropped):,} samples")


def corrected(
    data: Data, config: RunConfig, decided: Mapping[int, Decision], classes: Sequence[str], file: Path
) -> bytes:
    """The table of all splits with the labels as decided, by name where `dataset=csv` takes the classes' names.

    Raises: ConfigError where the images do not lie below the folder of the file, which is what its paths begin at.
    """
    table = columns(data, config)
    if isinstance(data.view.images, ImageFiles):
        above = os.path.relpath(_folder_of(config), file.parent)
        if above.split(os.sep)[0] == os.pardir:
            raise ConfigError(
                f"-o {file}: its paths would leave its folder, which dataset=csv refuses; write it into "
                f"{_folder_of(config)}, or into a folder above"
            )
        start = "" if above == os.curdir else f"{above}/"
        table["path"] = np.array(
            [start + path.removeprefix("./") if start else path for path in table["path"].tolist()]
        )
    labels = table["label"].copy()
    for at, index in enumerate(table["index"].tolist()):
        if index >= 0 and index in decided:
            new = decided[index].label
            labels[at] = -1 if new is None else new
    left = {name: values[labels >= 0].tolist() for name, values in (table | {"label": labels}).items()}
    if not any(map(NUMBER.fullmatch, classes)):  # of which it takes 0…K-1 alone
        left["label"] = [classes[k] for k in left["label"]]
        left["clean_label"] = [classes[k] if k >= 0 else "" for k in left["clean_label"]]
    else:
        left["clean_label"] = [k if k >= 0 else "" for k in left["clean_label"]]
    return _csv(left, zip(*left.values(), strict=True))


def _folder_of(config: RunConfig) -> Path:
    """What the paths of `columns` begin at."""
    place = Path(config.data_dir).expanduser()
    return place.parent if place.is_file() else place


def keep_list(data: Data, left_out: set[int]) -> bytes:
    """index, path and keep of all training samples, as `method.selector.file` reads them."""
    images, indexes = data.view.images, data.index.tolist()
    if not isinstance(images, ImageFiles):
        return _csv(("index", "keep"), [(i, int(i not in left_out)) for i in indexes])
    names = [guarded(name.decode()) for name in images.names.tolist()]
    return _csv(
        ("index", "path", "keep"), [(i, name, int(i not in left_out)) for i, name in zip(indexes, names, strict=True)]
    )


def _csv(header: Iterable[str], rows: Iterable[Sequence[object]]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return text.getvalue().encode()


if __name__ == "__main__":
    sys.exit(door(main))
