"""How fast sweeps are: `python -m benchmarks.sweeps parallel | scale`.

parallel: throughput of 8 equal runs by 2 workers of one thread against 1 worker of one thread, in alternating pairs.
scale: sweeps over generated ledgers of finished runs: planning, repeating, watching and tabulating them; seconds
of a process that has imported everything, and its largest memory. `--against TREE PYTHON` measures another checkout
over the same ledgers, in turn with this one. `--profile` says in which functions each spends its time, instead.
"""

import argparse
import json
import math
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from sfa_bench.sweep.plan import plan

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "helpers"))
import ledger_scale  # type: ignore[import-not-found]  # noqa: E402

AXES = ["method=ce,gce,balanced_softmax,dividemix", "plugin=none,sfa"]
AXES += ["noise_ratio=0.1,0.2,0.3,0.4,0.5", "imb_factor=0.1,0.05,0.02,0.01,1"]
EACH = 200  # runs of one replicate
# Everything is imported before the clock starts: a child measures itself, by the code of the tree that it runs in.
CHILD = """
import contextlib, cProfile, importlib, json, os, pstats, resource, sys, time
import hydra, analysis.report, analysis.status, analysis.table, sfa_bench.main, sfa_bench.sweep.plan
import sfa_bench.sweep.results, hydra_plugins.sfa_sweeper.sweeper
modules, profiled, what, *words = sys.argv[1:]
profile = cProfile.Profile()
for name in json.loads(modules):
    with contextlib.suppress(Exception):  # some can only be imported by another module
        importlib.import_module(name)
sys.argv[1:] = []
sys.stdout = open("/dev/null", "w")

def answer(**more):
    took = {"seconds": time.perf_counter() - before, "cpu_seconds": time.process_time() - cpu, **more}
    took["modules"] = sorted(sys.modules)
    profile.disable()
    took["profile"] = shares(profile) if profiled == "yes" else []
    took["megabytes"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    sys.__stdout__.write(json.dumps(took))
    sys.__stdout__.flush()

def shares(profile):
    # File, function, its share with what it calls and without, calls; the largest without first.
    found = pstats.Stats(profile)
    rows = [
        [file, name, cumulative / found.total_tt, own / found.total_tt, calls]
        for (file, _, name), (calls, _, own, cumulative, _) in found.stats.items()
    ]
    return sorted(rows, key=lambda row: -row[3])

def first_step(*given, **named):
    answer()
    os._exit(0)

if what == "train":
    import torch
    torch.Tensor.backward = first_step
before, cpu = time.perf_counter(), time.process_time()
if profiled == "yes":
    profile.enable()
if what == "plan":
    planned = sfa_bench.sweep.plan.plan(words)
    assert planned.asked, planned
    answer(**{"planned": str(planned)})
elif what in ("again", "train"):
    try:
        status = sfa_bench.main.main(["-m", *words])
    except SystemExit as ended:
        status = ended.code
    assert not status, status
    assert what == "again", "nothing was trained"
    answer()
else:
    status = importlib.import_module(f"analysis.{what}").main(words)
    assert not status, status
    answer()
"""


@dataclass
class Tree:
    """A checkout of the suite, and a Python of an environment in which it is installed."""

    name: str
    root: Path
    python: str
    modules: dict[str, list[str]] = field(default_factory=dict)  # what each kind of child imports
    profiled: bool = False

    def child(self, what, *words):
        """What a process of this tree says of itself. Ends the benchmark where it fails."""
        profiled = "yes" if self.profiled else "no"
        call = [self.python, "-c", CHILD, json.dumps(self.modules.get(what, ())), profiled, what, *words]
        done = subprocess.run(call, cwd=self.root, capture_output=True, text=True)
        if done.returncode or not done.stdout:
            raise SystemExit(f"{self.name}: {what} {' '.join(words)}: status {done.returncode}\n{done.stderr}")
        took = json.loads(done.stdout)
        self.modules.setdefault(what, took.pop("modules"))
        return took


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


def scale(sizes, repeats, trees, planned, kinds):
    """A row for each size, kind and tree: (least, median, greatest) of each figure."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:  # once before the clock counts, so that what it imports is known
        ledger_scale.write_planned(sweep(2 * EACH, folder))
        for kind, measure in calls(2 * EACH, folder).items():
            for tree in trees if kinds is None or kind in kinds else ():
                measure(tree)
    for size in sizes:
        with tempfile.TemporaryDirectory() as folder:
            before = time.perf_counter()
            ledger_scale.write_planned(sweep(size, folder))
            say(f"{size:,} runs written in {time.perf_counter() - before:.0f} s")
            for kind, measure in calls(size, folder).items():
                if kinds is None or kind in kinds:
                    rows += alternating(size, kind, measure, repeats, trees)
    for size in planned:
        rows += alternating(size, NEW, lambda tree, size=size: tree.child("plan", *sweep(size, "none")), repeats, trees)
    return {"rows": rows, "slopes": slopes(rows), "ratios": ratios(rows), "cores": os.cpu_count()}


NEW = "plan, nothing done"
KINDS = ("plan", "repeat all", "status", "first table of 100", "table of 100", "one more replicate", "report")


def sweep(size, folder):
    """The words of a sweep of so many runs."""
    return [*AXES, f"replicate=range(0,{size // EACH})", f"runs_dir={folder}"]


def calls(size, folder):
    """Kind → a function of a tree that measures it once, over a ledger of finished runs."""
    of_100 = ("--where", "plugin=sfa,replicate=1", "--rows", "method,noise_ratio", "--cols", "imb_factor")
    table = ("table", folder, *of_100)

    def without_index(tree):
        if tree.root == ROOT:  # the other one, which comes second, may have none, and would leave none
            shutil.rmtree(Path(folder, ".index"), ignore_errors=True)
        return tree.child(*table)

    def one_more(tree):
        """Up to the first training step of a sweep with one more replicate, in one process."""
        words = [*sweep(size + EACH, folder), "isolate=false"]
        took = tree.child("train", *words)
        for identity in set(plan(words).runs) - set(plan(sweep(size, folder)).runs):
            for path in Path(folder).glob(f"*/*/{identity}"):
                shutil.rmtree(path)
        shutil.rmtree(Path(folder, ".warmup"), ignore_errors=True)
        return took

    page = str(Path(folder, ".page.html"))
    measures = (
        lambda tree: tree.child("plan", *sweep(size, folder)),
        lambda tree: tree.child("again", *sweep(size, folder)),
        lambda tree: tree.child("status", folder),
        without_index,
        lambda tree: tree.child(*table),
        one_more,
        lambda tree: tree.child("report", folder, "-o", page),
    )
    return dict(zip(KINDS, measures, strict=True))


def alternating(size, kind, measure, repeats, trees):
    """Measure the trees in turn, so that what else the machine does is shared. Returns a row for each tree."""
    measured: dict[str, list[dict[str, float]]] = {tree.name: [] for tree in trees}
    for _ in range(repeats):
        for tree in trees:
            measured[tree.name].append(measure(tree))
    rows = []
    for name, results in measured.items():
        row = {"runs": size, "what": kind, "tree": name}
        row |= {k: spread([r[k] for r in results]) for k in ("seconds", "cpu_seconds", "megabytes")}
        rows.append(row)
        figures = f"{row['seconds']} s, processor {row['cpu_seconds']} s, {row['megabytes']} MB"
        say(f"{size:,} runs, {kind}, {name}: {figures}")
    return rows


def profiles(size, trees, kinds):
    """Of each kind and tree the functions with the largest shares of its time, as text."""
    for tree in trees:
        tree.profiled = True
    with tempfile.TemporaryDirectory() as folder:
        ledger_scale.write_planned(sweep(size, folder))
        measures = {kind: measure for kind, measure in calls(size, folder).items() if kinds is None or kind in kinds}
        for measure in measures.values():  # so that what they import is known, and the index is there
            for tree in trees:
                measure(tree)
        for kind, measure in measures.items():
            for tree in trees:
                took = measure(tree)
                print(f"\n{kind}, {size:,} runs, {tree.name}: {took['seconds']:.1f} s with the profile's own")
                print("  in all   own     calls  function")
                for file, name, whole, own, count in took["profile"][:SHOWN]:
                    where = "/".join(Path(file).parts[-2:])
                    print(f"  {whole:6.1%} {own:5.1%} {count:9,}  {name.strip('<>')} ({where})")


SHOWN = 12  # functions


def slopes(rows):
    """Slope of the median time in logarithms from each size to the next larger one, for each kind and tree."""
    lines: dict[str, list[tuple[int, float]]] = {}
    for row in rows:
        lines.setdefault(f"{row['what']}, {row['tree']}", []).append((row["runs"], row["cpu_seconds"][1]))
    return {
        name: [round(math.log(t2 / t1) / math.log(n2 / n1), 2) for (n1, t1), (n2, t2) in pairwise(sorted(points))]
        for name, points in lines.items()
    }


def ratios(rows):
    """Median time of the other tree over that of this one, for each kind and size."""
    medians = {(row["what"], row["runs"], row["tree"]): row["seconds"][1] for row in rows}
    return {
        f"{what}, {runs:,} runs": round(medians[what, runs, "other"] / seconds, 1)
        for (what, runs, tree), seconds in medians.items()
        if tree == "this" and (what, runs, "other") in medians
    }


def say(line):
    print(line, file=sys.stderr, flush=True)


def spread(values):
    """(smallest, median, largest)."""
    return [round(value, 3) for value in (min(values), statistics.median(values), max(values))]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition(":")[0])
    parser.add_argument("what", choices=("parallel", "scale"))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--sizes", type=int, nargs="*", default=[1000, 10_000, 100_000], help="runs in the ledger")
    parser.add_argument("--planned", type=int, nargs="*", default=[], help="runs that are planned over no ledger")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, help="what is measured over a ledger (default: all)")
    words = ("TREE", "PYTHON")
    parser.add_argument(
        "--against", nargs=2, metavar=words, help="another checkout, and a Python that it is installed in"
    )
    parser.add_argument(
        "--profile", action="store_true", help="of scale: where the time goes, for the first of the sizes"
    )
    options = parser.parse_args()
    if options.profile and options.what != "scale":
        parser.error("--profile is of scale: leave it out, or ask for scale")
    trees = [Tree("this", ROOT, sys.executable)]
    if options.against:
        trees.append(Tree("other", Path(options.against[0]).resolve(), options.against[1]))
    if options.profile:
        profiles(options.sizes[0], trees, options.kinds)
        raise SystemExit
    if options.what == "parallel":
        answer = parallel(options.repeats)
    else:
        answer = scale(options.sizes, options.repeats, trees, options.planned, options.kinds)
    print(json.dumps(answer, indent=1))
