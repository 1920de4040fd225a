"""`sfa-bench export`: all finished runs as one table, or with `--format cleanlab` what runs say of their training
samples, as arrays that cleanlab reads.

The arrays are labels.npy int64 [N], pred_probs.npy float64 [N, K] and index.npy int64 [N], positions in the data set.
Probabilities are means over networks and runs: in-sample, or out-of-sample of the runs of all folds (dataset.fold).
With --features also features.npy float32 [N, d] of the saved network, of two networks side by side.
"""

from __future__ import annotations

import argparse
import io
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path

import numpy as np

from sfa_bench.config.terminal import Parser, door, entry_point
from sfa_bench.doors import Door
from sfa_bench.errors import ConfigError
from sfa_bench.store.atomic import write_bytes
from sfa_bench.store.folder import writing


@entry_point
def main(arguments: Sequence[str]) -> int:
    """The command."""
    parser = Parser(
        prog=Door.here.tool("sfa_bench.export"),
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("runs", nargs="+", metavar="RUNS", help="folders with runs")
    parser.add_argument("--format", choices=("table", "cleanlab"), default="table", help="default: table")
    parser.add_argument(
        "-o", "--output", required=True, help="table: FILE.csv or FILE.parquet; cleanlab: a folder, made where needed"
    )
    parser.add_argument("--features", action="store_true", help="cleanlab: of one run, also its features")
    options = parser.parse_args(arguments)
    if options.format == "table":
        if options.features:
            raise ConfigError("--features goes with --format cleanlab: leave it out")
        return int(import_module("analysis.export").main([*options.runs, "-o", options.output]))
    arrays, how = for_cleanlab([Path(path) for path in options.runs], features=options.features)
    folder = Path(options.output)
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        for name, array in arrays.items():
            write_bytes(folder / f"{name}.npy", _npy(array))
    shapes = ", ".join(f"{name}.npy {list(array.shape)}" for name, array in arrays.items())
    print(f"{folder}: {shapes}; probabilities are {how}")
    return 0


def for_cleanlab(paths: Sequence[Path], *, features: bool = False) -> tuple[Mapping[str, np.ndarray], str]:
    """labels, pred_probs, index and perhaps features of the runs below these folders, and whether the probabilities are
    in-sample or out-of-sample.

    Raises: ConfigError for runs that are not done, do not belong together, or have no saved network.
    """
    from sfa_bench.labels.runs import open_all  # Torch is slow to import, and a table needs none

    runs = open_all(paths)
    first = runs[0]
    probability = np.mean([run.class_probability for run in runs], axis=0)
    probability /= probability.sum(axis=1, keepdims=True)  # half precision rounded each
    arrays = {"labels": first.given.astype(np.int64), "pred_probs": probability, "index": first.index}
    folds = first.record["config"]["dataset"].get("fold") is not None
    if features:
        if folds or len(runs) > 1:
            raise ConfigError("--features takes one run without dataset.fold: networks have features of their own")
        from sfa_bench.labels.features import features_of

        arrays["features"] = features_of(first)
    return arrays, "out-of-sample" if folds else "in-sample"


def _npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()


if __name__ == "__main__":
    sys.exit(door(main))
