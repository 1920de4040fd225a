"""How long the default run takes beside the same training written plainly: `python tests/benchmarks/digits.py`.

No test, as it takes minutes. The suite is `python run.py` as it stands, from the start of the process to its end; the
plain baseline (`sfa_bench/speed/plain/whole.py`) reads the arrays that the suite's own builder made, and writes no
record and no checkpoint. Each is a fresh process, one after the other in each round, without an accelerator and with as
many threads as there are cores. The ratio is plain to suite in the same round: smallest, median, largest.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from sfa_bench.config.compose import compose
from sfa_bench.data import build
from sfa_bench.speed.plain.whole import prepare

ROOT = Path(__file__).resolve().parents[2]


def measure(rounds, words):
    config = compose(words)
    seconds = {"suite": [], "plain": []}
    with tempfile.TemporaryDirectory() as given:
        prepare(Path(given), config, build(config))
        for _ in range(rounds):
            with tempfile.TemporaryDirectory() as runs:
                seconds["suite"].append(timed("run.py", *words, f"runs_dir={runs}"))
            seconds["plain"].append(timed("-m", "sfa_bench.speed.plain.whole", given))
    ratios = [plain / suite for suite, plain in zip(*seconds.values(), strict=True)]
    spread = (min(ratios), statistics.median(ratios), max(ratios))
    return {"seconds": seconds, "ratio": [round(ratio, 2) for ratio in spread], "cores": os.cpu_count()}


def timed(*command):
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
