"""The table that only a GPU makes affordable: `python table.py OUT SECONDS --fashion DIR [--rehearse]`.

PreAct ResNet-18 of width 64 on Fashion-MNIST in CIFAR's format (32×32×3), joint noise 0.5, imb_factor=0.01. Whole runs
only, `--jobs` at a time by the suite's own sweep, in order of what decides most; what `--have` lists (`runs.csv` of an
earlier call) is skipped. The records, without weights, end in OUT/table.tar.gz.
"""

import argparse
import csv
import pickle
import time
from pathlib import Path

import numpy as np
from proof import ROOT, Results, figures, pack, sweep

from sfa_bench.config.canonical import run_hash
from sfa_bench.config.compose import compose
from sfa_bench.data.sources import fashion_mnist

# Does SFA help DivideMix, against the selector alone and against its release; then the same on single networks.
CELLS = [
    *(("dividemix", plugin) for plugin in ("none", "sfa", "abc", "sfa_release")),
    *(("ce", plugin) for plugin in ("none", "sfa")),
    *(("balanced_softmax", plugin) for plugin in ("none", "sfa")),
    *((method, plugin) for method in ("ce", "balanced_softmax") for plugin in ("abc", "sfa_release")),
]
DATA = "fashion_as_cifar"


def cifar_format(source: Path, target: Path) -> None:
    """Fashion-MNIST, padded with black to 32×32 and in three equal channels, as CIFAR-10's Python files."""
    data = fashion_mnist.read(source, checksum=False)
    target.mkdir(parents=True, exist_ok=True)
    for i, rows in enumerate(np.array_split(np.arange(len(data.train_labels)), 5), start=1):
        write(target / f"data_batch_{i}", data.train_images[rows], data.train_labels[rows])
    write(target / "test_batch", data.test_images, data.test_labels)


def write(path: Path, images: np.ndarray, labels: np.ndarray) -> None:
    padded = np.pad(images[..., 0], ((0, 0), (2, 2), (2, 2)))
    planes = np.repeat(padded[:, None], 3, axis=1).reshape(len(padded), -1)
    path.write_bytes(pickle.dumps({"data": planes, "labels": labels.tolist()}, protocol=2))


class Table:
    def __init__(self, options, results):
        self.options, self.results = options, results
        self.until = time.monotonic() + options.seconds
        self.runs = options.out / "table_runs"
        cifar_format(options.fashion, options.out / DATA)
        # Relative to OUT, where the sweep is started: the records name no folder of this machine.
        self.words = ["dataset=cifar10", f"data_dir={DATA}", "dataset.name=fashion_as_cifar", "dataset.checksum=false"]
        self.words += ["noise=joint", "noise_ratio=0.5", "precision=bf16", "threads=1", f"epochs={options.epochs}"]
        small = ["imb_factor=0.2", "device=cpu", "model=convnet", "batch_size=16"]
        self.words += small if options.rehearse else ["imb_factor=0.01", "device=cuda"]

    def planned(self):
        """Typed words of every run, replicate after replicate, without what is there."""
        have = set()
        if self.options.have and self.options.have.exists():
            with open(self.options.have, newline="") as file:
                have = {row["hash"] for row in csv.DictReader(file)}
        for replicate in range(self.options.replicates):
            for method, plugin in CELLS[: 2 if self.options.rehearse else None]:
                own = (f"method={method}", f"plugin={plugin}", f"replicate={replicate}")
                if run_hash(compose([*self.words, *own])) not in have:
                    yield own

    def make(self):
        waiting, longest = list(self.planned()), 0.0
        while waiting and time.monotonic() + 1.2 * longest < self.until:
            now, waiting = waiting[: self.options.jobs], waiting[self.options.jobs :]
            began = time.monotonic()
            self.wave(now)
            longest = max(longest, time.monotonic() - began)
            self.keep(waiting)
        self.keep(waiting)
        self.results.finish()

    def wave(self, runs):
        """So many runs at once: the same words in one sweep, whose file lists what differs."""
        blocks = [{key: value for key, _, value in (word.partition("=") for word in own)} for own in runs]
        conf = self.options.out / "conf" / "sweep"
        conf.mkdir(parents=True, exist_ok=True)
        lines = ["blocks:", *(f"  - {{{', '.join(f'{k}: {v}' for k, v in block.items())}}}" for block in blocks)]
        (conf / "wave.yaml").write_text("\n".join(lines) + "\n")
        words = ["--config-dir", "conf", "+sweep=wave", *self.words, f"runs_dir={self.runs.name}"]
        words += [f"jobs_per_gpu={len(runs)}", "hydra/launcher=joblib", f"hydra.launcher.n_jobs={len(runs)}"]
        # What is not done by then is no part of the table.
        sweep(*words, cwd=self.options.out, seconds=max(30.0, self.until - time.monotonic()))

    def keep(self, waiting):
        for record in pack(self.runs, self.options.out / "table.tar.gz"):
            names = record["names"]
            name = f"{names['method']} + {names['plugin']} · replicate {record['config']['replicate']}"
            self.results.add(name, figures(record))
        self.results.add("left", [" ".join(own) for own in waiting])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("seconds", type=float)
    parser.add_argument("--fashion", type=Path, default=fashion_mnist.DEBIAN_FOLDER, help="its IDX files, .gz or not")
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--jobs", type=int, default=4, help="runs at once on the device")
    parser.add_argument("--replicates", type=int, default=3)
    parser.add_argument("--have", type=Path, default=ROOT / "results" / "gpu" / "table" / "runs.csv")
    parser.add_argument("--rehearse", action="store_true", help="on the CPU, in small")
    given = parser.parse_args()
    if given.rehearse:
        given.epochs, given.jobs, given.replicates = 2, 2, 1
    Table(given, Results(given.out / "table.json", "cpu" if given.rehearse else "cuda")).make()
