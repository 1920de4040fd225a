"""What a small run waits for beside its steps: `python -m benchmarks.small_runs --against TREE PYTHON`.

Three lines: the imports of one run of a single epoch, the default run (60 epochs of `dividemix` with `sfa` on digits),
and a sweep of `ce` runs of 5 epochs with two workers. Each is a command of its own, by this working tree and by that
one in turn, with as many threads as there are cores. Beside the seconds on the clock stand those of the processors, of
all processes of the command together: on a machine with other work only these can be compared.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
IMPORTS = ("method=ce", "plugin=none", "dataset=digits", "epochs=1")
DEFAULT = ("method=dividemix", "plugin=sfa", "dataset=digits", "epochs=60")
WORKERS = ("hydra/launcher=joblib", "hydra.launcher.n_jobs=2")
SWEEP = ("-m", "method=ce", "plugin=none", "dataset=digits", "epochs=5", *WORKERS)
IMPORTED = re.compile(r"import time:\s+(\d+) \|")

# Runs a command as the parent of all its descendants, also of those that outlive it, and prints what they took.
ACCOUNT = """
import ctypes, json, os, resource, subprocess, sys, time
PR_SET_CHILD_SUBREAPER = 36
ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)
begun = time.perf_counter()
status = subprocess.run(sys.argv[1:], stdout=2).returncode
clock = time.perf_counter() - begun
try:
    while True:
        os.wait()
except ChildProcessError:
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
print(json.dumps({"clock": clock, "processors": spent.ru_utime + spent.ru_stime}))
raise SystemExit(status)
"""


def command(tree: Path, python: str, *words: str) -> tuple[dict[str, float], str]:
    """Run a command in a tree. Returns its seconds, and what it wrote."""
    environment = {key: value for key, value in os.environ.items() if key != "OMP_NUM_THREADS"}
    done = subprocess.run(
        [sys.executable, "-c", ACCOUNT, python, *words],
        cwd=tree,
        env={**environment, "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise SystemExit(done.stderr)
    return json.loads(done.stdout), done.stderr


def imports(tree: Path, python: str, runs: int) -> dict[str, float]:
    """The times of the imports alone, as Python itself takes them."""
    with tempfile.TemporaryDirectory() as folder:
        _, said = command(tree, python, "-X", "importtime", "run.py", *IMPORTS, f"runs_dir={folder}")
    return {"clock": sum(map(int, IMPORTED.findall(said))) / 1e6}


def default(tree: Path, python: str, runs: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        return command(tree, python, "run.py", *DEFAULT, f"runs_dir={folder}")[0]


def sweep(tree: Path, python: str, runs: int) -> dict[str, float]:
    """Seconds of a run."""
    with tempfile.TemporaryDirectory() as folder:
        seconds, _ = command(tree, python, "run.py", *SWEEP, f"replicate=range(0,{runs})", f"runs_dir={folder}")
    return {kind: value / runs for kind, value in seconds.items()}


LINES = {"imports": imports, "default": default, "sweep": sweep}


def measure(lines: Sequence[str], trees: dict[str, tuple[Path, str]], rounds: int, runs: int) -> dict[str, Any]:
    """For each line and tree the median, least and greatest seconds, and the ratios of the medians."""
    taken: dict[str, dict[str, list[dict[str, float]]]] = {line: {name: [] for name in trees} for line in lines}
    for number in range(rounds):
        for line in lines:
            # Whoever comes second finds warmer caches: they take turns.
            for name in sorted(trees, reverse=bool(number % 2)):
                taken[line][name].append(LINES[line](*trees[name], runs))
                print(number, line, name, taken[line][name][-1], file=sys.stderr, flush=True)
    return {line: _summary(of_trees) for line, of_trees in taken.items()}


def _summary(of_trees: dict[str, list[dict[str, float]]]) -> dict[str, Any]:
    kinds = next(iter(of_trees.values()))[0]
    values = {name: {kind: [each[kind] for each in rows] for kind in kinds} for name, rows in of_trees.items()}
    found: dict[str, Any] = {
        name: {kind: [round(f(rows), 3) for f in (median, min, max)] for kind, rows in of_kind.items()}
        for name, of_kind in values.items()
    }
    if len(values) == 2:
        found["against/this"] = {
            kind: round(median(values["against"][kind]) / median(values["this"][kind]), 2) for kind in kinds
        }
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--against", nargs=2, metavar=("TREE", "PYTHON"), help="another checkout, and its Python")
    parser.add_argument("--lines", nargs="+", choices=LINES, default=list(LINES))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--runs", type=int, default=200, help="of the sweep")
    options = parser.parse_args()
    trees = {"this": (ROOT, sys.executable)}
    if options.against:
        trees["against"] = (Path(options.against[0]).resolve(), options.against[1])
    print(json.dumps(measure(options.lines, trees, options.rounds, options.runs), indent=1))
