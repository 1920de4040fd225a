"""Do accuracy and selection depend on the precision? `python precision.py OUT SECONDS --fashion DIR [--rehearse]`.

SFA on digits and, with a PreAct ResNet-18, on Fashion-MNIST, in fp32, TF32 and bf16 over replicates, `--jobs` at a time
on the device. The records, without weights, end in OUT/precision.tar.gz.
"""

import argparse
import statistics
import time
from itertools import groupby
from pathlib import Path

from proof import Results, figures, pack, sweep

PRECISIONS = ("fp32", "tf32", "bf16")
COMMON = ["noise=joint", "noise_ratio=0.5", "plugin=sfa", f"precision={','.join(PRECISIONS)}", "threads=1"]


def studies(fashion, rehearse):
    digits = ["dataset=digits", "imb_factor=0.1", "method=dividemix,ce", "replicate=range(0,5)"]
    if rehearse:
        return [[*digits[:2], "method=ce", "replicate=range(0,2)", "epochs=2"]]
    full = ["dataset=fashion_mnist", f"data_dir={fashion}", "imb_factor=0.01", "method=ce", "epochs=10"]
    return [digits, [*full, "replicate=range(0,3)"]]


def spread(values):
    """Mean and standard deviation; None where no run has it."""
    values = [value for value in values if value is not None]
    if not values:
        return None
    return {"mean": statistics.fmean(values), "std": statistics.stdev(values) if len(values) > 1 else None}


def summary(records):
    """Each cell's figures by precision."""

    def key(record):
        return tuple(record["names"][part] for part in ("dataset", "method")), record["config"]["precision"]

    found = {}
    for (cell, precision), group in groupby(sorted(records, key=key), key):
        runs = [figures(record) for record in group]
        entry = {figure: spread([run[figure] for run in runs]) for figure in ("final", "few", "auc", "seconds")}
        found.setdefault(" ".join(cell), {})[precision] = {"runs": len(runs), **entry}
    return found


def main(options):
    device = "cpu" if options.rehearse else "cuda"
    results, until = Results(options.out / "precision.json", device), time.monotonic() + options.seconds
    runs = options.out / "precision_runs"
    words = [*COMMON, f"device={device}", f"runs_dir={runs.name}", f"jobs_per_gpu={options.jobs}"]
    words += ["hydra/launcher=joblib", f"hydra.launcher.n_jobs={options.jobs}"]
    for study in studies(options.fashion, options.rehearse):
        sweep(*words, *study, cwd=options.out, seconds=max(30.0, until - time.monotonic()))
        for cell, found in summary(pack(runs, options.out / "precision.tar.gz")).items():
            results.add(cell, found)
    results.finish()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("seconds", type=float)
    parser.add_argument("--fashion", type=Path, required=True, help="Fashion-MNIST's IDX files, .gz or not")
    parser.add_argument("--jobs", type=int, default=8, help="runs at once on the device")
    parser.add_argument("--rehearse", action="store_true", help="on the CPU, in small")
    given = parser.parse_args()
    if given.rehearse:
        given.jobs = 2
    main(given)
