"""How long the default run takes beside the same training written plainly: `python -m benchmarks.digits`.

The suite is `python run.py` as it stands, from the start of the process to its end; plain_dividemix_sfa.py reads the
arrays that the suite's own builder made, and writes no record and no checkpoint. Each is a fresh process, one after the
other in each round, without an accelerator and with as many threads as there are cores. The ratio is plain to suite in
the same round.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.plain_dividemix_sfa import Settings
from benchmarks.plain_phases import augmentation, save_arrays
from benchmarks.speed import ratio
from sfa_bench.config.compose import compose
from sfa_bench.config.schema import RunConfig
from sfa_bench.data import build
from sfa_bench.data.types import Data

ROOT = Path(__file__).resolve().parents[1]


def prepare(folder: Path, config: RunConfig, data: Data) -> None:
    """What the baseline's `train` reads, for the run with this configuration on these data."""
    save_arrays(folder / "train.npz", data.view.images, data.view.observed_labels)
    save_arrays(folder / "test.npz", data.test.images, data.test.labels)
    effective = config.recipe.effective
    assert config.model.width is not None
    settings = Settings(
        augmentation=augmentation(data),
        num_classes=data.view.num_classes,
        width=config.model.width,
        epochs=config.epochs,
        warmup_epochs=config.warmup_epochs,
        ramp_epochs=effective.ramp_epochs,
        lr_drop_epoch=effective.lr_drop_epoch,
        beta=effective.beta,
        phi=effective.phi,
        lr_drop=config.recipe.lr_drop,
        batch_size=config.batch_size,
        evaluation_batch=config.eval.batch_size,
        seed=config.seed,
        threads=config.threads,
    )
    (folder / "settings.json").write_text(json.dumps(asdict(settings)))


def measure(rounds: int, words: Sequence[str]) -> dict[str, Any]:
    config = compose(words)
    seconds: dict[str, list[float]] = {"suite": [], "plain": []}
    with tempfile.TemporaryDirectory() as given:
        prepare(Path(given), config, build(config))
        for _ in range(rounds):
            with tempfile.TemporaryDirectory() as runs:
                seconds["suite"].append(timed("run.py", *words, f"runs_dir={runs}"))
            seconds["plain"].append(timed("benchmarks/plain_dividemix_sfa.py", given))
    return {"seconds": seconds, "ratio": ratio(seconds["suite"], seconds["plain"]), "cores": os.cpu_count()}


def timed(*command: str) -> float:
    """Seconds of a Python process."""
    environment = {key: value for key, value in os.environ.items() if key != "OMP_NUM_THREADS"}
    environment["CUDA_VISIBLE_DEVICES"] = ""
    before = time.perf_counter()
    done = subprocess.run([sys.executable, *command], cwd=ROOT, env=environment, capture_output=True, text=True)
    took = time.perf_counter() - before
    if done.returncode:
        raise SystemExit(done.stdout + done.stderr)
    print(f"{took:.1f} s: python {' '.join(command)}", file=sys.stderr, flush=True)
    return round(took, 2)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--epochs", type=int, help="of both, the warm-up in proportion; without it the run's own 60")
    parser.add_argument("--threads", type=int, help="of both; without it all cores")
    options = parser.parse_args()
    given = {"epochs": options.epochs, "threads": options.threads}
    words = [f"{key}={value}" for key, value in given.items() if value is not None]
    print(json.dumps(measure(options.rounds, words), indent=1))
