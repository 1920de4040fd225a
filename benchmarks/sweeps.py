"""How fast sweeps are: `python -m benchmarks.sweeps parallel | scale`.

parallel: throughput of 8 equal runs by 2 workers of one thread against 1 worker of one thread, in alternating pairs.
scale: planning, repeating and watching sweeps over ledgers of finished runs that are generated; seconds of a process
that has imported everything, and its largest memory.
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

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "helpers"))
import ledger_scale  # type: ignore[import-not-found]  # noqa: E402

AXES = ["method=ce,gce,balanced_softmax,dividemix", "plugin=none,sfa"]
AXES += ["noise_ratio=0.1,0.2,0.3,0.4,0.5", "imb_factor=0.1,0.05,0.02,0.01,1"]
EACH = 200  # runs of one replicate
# Everything is imported before the clock starts: a child measures itself.
CHILD = """
import json, resource, sys, time
import hydra, analysis.status, analysis.table, sfa_bench.main, sfa_bench.sweep.plan, sfa_bench.sweep.results
import hydra_plugins.sfa_sweeper.sweeper
what, words = sys.argv[1], sys.argv[2:]
sys.argv[1:] = []
sys.stdout = open("/dev/null", "w")
before, cpu = time.perf_counter(), time.process_time()
if what == "plan":
    sfa_bench.sweep.plan.plan(words)
elif what == "again":
    try:
        sfa_bench.main.main(["-m", *words])
    except SystemExit as ended:
        assert ended.code == 0, ended.code
elif what == "status":
    assert analysis.status.main(words) == 0
took = {"seconds": time.perf_counter() - before, "cpu_seconds": time.process_time() - cpu}
took["megabytes"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
sys.__stdout__.write(json.dumps(took))
"""


def child(what, *words):
    done = subprocess.run([sys.executable, "-c", CHILD, what, *words], cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)
    return json.loads(done.stdout)


def parallel(pairs):
    sweep = ["dataset=digits", "method=dividemix", "plugin=sfa", "replicate=0,1,2,3,4,5,6,7", "threads=1"]
    kinds = {"1 worker": [], "2 workers": ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]}
    seconds: dict[str, list[float]] = {kind: [] for kind in kinds}
    for _ in range(pairs):
        for kind, words in kinds.items():
            with tempfile.TemporaryDirectory() as folder:
                before = time.perf_counter()
                command = [sys.executable, "run.py", "-m", *sweep, *words, f"runs_dir={folder}"]
                subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
                seconds[kind].append(time.perf_counter() - before)
            print(f"{kind}: 8 runs in {seconds[kind][-1]:.1f} s", file=sys.stderr, flush=True)
    ratios = [one / two for one, two in zip(*seconds.values(), strict=True)]
    return {"seconds": seconds, "ratio": spread(ratios), "cores": os.cpu_count()}


def scale(sizes, repeats):
    rows = []
    for size in sizes:
        with tempfile.TemporaryDirectory() as folder:
            words = [*AXES, f"replicate=range(0,{size // EACH})", f"runs_dir={folder}"]
            ledger_scale.write_planned(words)
            thousand = [*AXES, f"replicate=range(0,{1000 // EACH})", f"runs_dir={folder}"]
            kinds = {"plan": ("plan", *words), "repeat 1,000": ("again", *thousand), "repeat all": ("again", *words)}
            kinds["status"] = ("status", folder)
            for name, call in kinds.items():
                measured = [child(*call) for _ in range(repeats)]
                row = {"runs": size, "what": name}
                row |= {key: spread([result[key] for result in measured]) for key in measured[0]}
                rows.append(row)
                print(
                    f"{size:,} runs, {name}: {row['seconds']}, {row['megabytes'][1]:.0f} MB",
                    file=sys.stderr,
                    flush=True,
                )
    return rows


def spread(values):
    """(smallest, median, largest)."""
    return [round(value, 3) for value in (min(values), statistics.median(values), max(values))]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition(":")[0])
    parser.add_argument("what", choices=("parallel", "scale"))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1000, 10_000, 100_000], help="runs in the ledger")
    options = parser.parse_args()
    answer = parallel(options.repeats) if options.what == "parallel" else scale(options.sizes, options.repeats)
    print(json.dumps(answer, indent=1))
