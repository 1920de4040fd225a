"""How cost grows with samples, classes, width and jobs in parallel.

`python -m benchmarks.growth measure -o growth.json`, then `… plot growth.json -o docs/growth.png`; both print a
table in Markdown.

One epoch of DivideMix with SFA on random images, in fp32: its parts and the peak memory, along one axis at a time.
Each point is a fresh process (or two, on the axis of jobs), in each of `--repeats` passes over all points. Forward
passes and training are timed for some steps and multiplied; the selectors, and the figures of their selections that a
run reports, are timed whole, on features and logits of the shapes that the network would give.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from sfa_bench.speed.child import Child
from sfa_bench.speed.settings import Setting, made_probe

if TYPE_CHECKING:
    from sfa_bench.speed.phases import TimedMethod

CPU = torch.device("cpu")
PARTS = ("selection forward", "selectors", "report", "training")
MEMORY = ("peak", "above libraries")


class Point(NamedTuple):
    """What an epoch is measured at; each axis changes one of the first four."""

    samples: int = 10_000
    classes: int = 10
    width: int = 16
    jobs: int = 1
    threads: int = 2  # of a job


AXES = {
    "samples": [Point(samples=n) for n in (1_000, 2_500, 5_000, 10_000, 25_000, 50_000)],
    "classes": [Point(30_000, classes=k) for k in (10, 30, 100, 300, 1_000)],  # 30,000 are multiples of all of them
    "width": [Point(width=w) for w in (16, 32, 64)],
    "jobs": [Point(jobs=n, threads=1) for n in (1, 2)],
}
QUICK = {
    "samples": [Point(n, width=4, threads=1) for n in (200, 400, 800)],
    "classes": [Point(600, classes=k, width=4, threads=1) for k in (10, 30, 100)],
    "width": [Point(200, width=w, threads=1) for w in (4, 8)],
    "jobs": [Point(200, width=4, jobs=n, threads=1) for n in (1, 2)],
}


def serve(there: Connection, setting: Setting, point: Point) -> None:
    """One job: prepare; then, at a word, answer with the seconds of each part, and the bytes of libraries and epoch."""
    from sfa_bench.engine.machine import keep_freed_memory, set_threads
    from sfa_bench.speed.phases import TimedMethod
    from sfa_bench.speed.timing import forget_peak, peak_bytes

    keep_freed_memory()
    set_threads(setting.threads)
    # Much is imported only where it is first used, which is no part of an epoch.
    tiny = Setting(threads=setting.threads, seconds=0.0, size=40, imb_factor=1)
    seconds_of(TimedMethod(tiny, "sfa", 4), tiny)
    forget_peak(CPU)
    libraries = peak_bytes(CPU)[0]
    timed = TimedMethod(setting, "sfa", point.width, point.classes)
    there.send((False, None))
    there.recv()
    seconds, peak = seconds_of(timed, setting)
    there.send((False, {**seconds, "libraries": libraries, "peak": peak}))


def seconds_of(timed: TimedMethod, setting: Setting) -> tuple[dict[str, float], int]:
    """Seconds of each part of an epoch, and the most bytes that the process had meanwhile."""
    from sfa_bench.data.groups import shot_groups
    from sfa_bench.engine.report import describe_selections
    from sfa_bench.speed.phases import EPOCH
    from sfa_bench.speed.timing import forget_peak, peak_bytes, repeated

    forget_peak(timed.device)  # that of making the data
    timings = {**timed.forward(setting.seconds), **timed.training(setting.seconds)}
    peak = peak_bytes(timed.device)[0]

    probe = made_probe(setting, timed.data.view.num_classes, timed.method.networks[0].feature_width)
    timed.answer(probe)
    forget_peak(timed.device)
    timings["selectors"] = repeated(lambda: timed.method.select(EPOCH), timed.device, None)
    data, counts = timed.data, timed.data.observed_counts
    known = data.view.observed_labels.numpy(), data.clean_labels, shot_groups("", counts, counts), None
    probes, selections = timed.method.probes, timed.method.selections
    timings["report"] = repeated(lambda: describe_selections(probes, selections, *known), timed.device, None)
    # A network computes its answers batch by batch; its stand-in has all of them from the start.
    prepared = sum(array.nbytes for array in (probe.features, probe.logits, probe.abc_logits) if array is not None)
    peak = max(peak, peak_bytes(timed.device)[0] - prepared)
    return {part: timings[part].seconds for part in PARTS}, peak


def epoch(point: Point, budget: float) -> dict[str, float]:
    """Seconds of each part, the mean over the jobs, and the bytes of all jobs together."""
    setting = Setting(threads=point.threads, seconds=budget, size=point.samples, imb_factor=1)
    with ExitStack() as stack:
        jobs = [stack.enter_context(Child(serve, setting, point)) for _ in range(point.jobs)]
        for job in jobs:
            job.receive()
        for job in jobs:  # once all are ready
            job.tell("go")
        answers = [job.receive() for job in jobs]
    seconds = {part: statistics.mean(answer[part] for answer in answers) for part in PARTS}
    return {**seconds, **{name: sum(answer[name] for answer in answers) for name in ("libraries", "peak")}}


def measure(axes: dict[str, list[Point]], repeats: int, budget: float) -> dict[str, Any]:
    """The environment, and of each axis its points with one `epoch` a repeat."""
    from sfa_bench.engine.machine import environment

    points = list(dict.fromkeys(point for line in axes.values() for point in line))
    epochs: dict[Point, list[dict[str, float]]] = {point: [] for point in points}
    for repeat in range(repeats):  # pass after pass, so that what else the machine does hits all points alike
        for i, point in enumerate(points):
            epochs[point].append(epoch(point, budget))
            sizes = ", ".join(f"{name} {value:,}" for name, value in point._asdict().items())
            print(f"pass {repeat + 1}, {i + 1} of {len(points)}: {sizes}", file=sys.stderr, flush=True)
    lines = {axis: [{**point._asdict(), "epochs": epochs[point]} for point in line] for axis, line in axes.items()}
    return {"environment": environment([CPU], 2, False), "axes": lines}


class Spread(NamedTuple):
    """Over the repeats."""

    median: float
    low: float
    high: float


def figures(point: dict[str, Any]) -> dict[str, Spread]:
    """Of a point: seconds of each part and of the `epoch`, `epochs/h` of all jobs together, memory in MB."""

    def spread(values: Sequence[float]) -> Spread:
        return Spread(statistics.median(values), min(values), max(values))

    epochs = point["epochs"]
    totals = [sum(row[part] for part in PARTS) for row in epochs]
    return {
        **{part: spread([row[part] for row in epochs]) for part in PARTS},
        "epoch": spread(totals),
        "epochs/h": spread([3600 * point["jobs"] / total for total in totals]),
        "peak": spread([row["peak"] / 1e6 for row in epochs]),
        "above libraries": spread([(row["peak"] - row["libraries"]) / 1e6 for row in epochs]),
    }


def slope(xs: Sequence[float], ys: Sequence[float]) -> float:
    """Between the ends, both in logarithms: 1 is linear."""
    return math.log(ys[-1] / ys[0]) / math.log(xs[-1] / xs[0])


def table(results: dict[str, Any]) -> str:
    """Medians in Markdown; below each axis the slopes between its ends, and between its last two points."""
    units = {**dict.fromkeys([*PARTS, "epoch"], " [s]"), "epochs/h": "", **dict.fromkeys(MEMORY, " [MB]")}
    rows = [["axis", "", *(name + unit for name, unit in units.items()), "epoch, least to greatest [s]"]]
    rows.append(["---", *["---:"] * (len(rows[0]) - 1)])
    for axis, line in results["axes"].items():
        xs, ys = [point[axis] for point in line], [figures(point) for point in line]
        for x, y in zip(xs, ys, strict=True):
            cells = [f"{y[name].median:,.{3 if '[s]' in unit else 0}f}" for name, unit in units.items()]
            rows.append([axis, f"{x:,}", *cells, f"{y['epoch'].low:.3f} to {y['epoch'].high:.3f}"])
        for title, first in {"slope": 0, "slope at the end": -2}.items():
            if first == 0 or len(xs) > 2:
                slopes = [slope(xs[first:], [y[name].median for y in ys[first:]]) for name in units]
                rows.append([axis, title, *(f"{value:.2f}" for value in slopes), ""])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def plot(results: dict[str, Any]) -> bytes:
    """PNG: seconds an epoch and, for jobs, epochs an hour; below them the memory. Dotted is what would be linear."""
    import pandas as pd
    from matplotlib.lines import Line2D
    from matplotlib.ticker import LogLocator

    from analysis.figures import look

    styles = dict(zip(("epoch", *PARTS, *MEMORY, "epochs/h"), look.LOOKS, strict=True))
    with look.house_style():
        figure = look.canvas("text", 4.2)
        panels = figure.subplots(2, len(AXES), sharex="col")
        for axis, column in zip(results["axes"], panels.T, strict=True):
            line = results["axes"][axis]
            xs, measured = [point[axis] for point in line], pd.DataFrame([figures(point) for point in line])
            times = ["epochs/h"] if axis == "jobs" else ["epoch", *PARTS]
            for axes, names in zip(column, (times, MEMORY), strict=True):
                for name in names:
                    part = pd.DataFrame(measured[name].tolist(), columns=["mean", "low", "high"])
                    look.errors(axes, xs, part, styles[name], name)
                if axis == "jobs":
                    axes.set(xlim=(0.8, xs[-1] + 0.2), ylim=(0, None))
                else:
                    axes.set(xscale="log", yscale="log")
                axes.set_xticks(ticks := xs if len(xs) < 4 else xs[::2], [f"{x:,}" for x in ticks])
                axes.xaxis.minorticks_off()
                axes.grid(visible=True)
                for name in {"epochs/h", "epoch", "selectors", "above libraries"}.intersection(names):
                    # An artist and no plot: it does not widen the axes.
                    ys = [measured[name][0].median * x / xs[0] for x in (xs[0], xs[-1])]
                    axes.add_artist(Line2D([xs[0], xs[-1]], ys, color="0.5", linestyle=":", linewidth=0.9))
            column[1].set_xlabel({"width": "width of the network", "jobs": "jobs in parallel"}.get(axis, axis))
        for row, label in ((panels[0, :-1], "seconds an epoch"), (panels[1, :-1], "peak memory [MB]")):
            limits = [limit for axes in row for limit in axes.get_ylim()]
            for axes in row:
                axes.set_ylim(min(limits), max(limits))
                axes.tick_params(labelleft=axes is row[0], which="both")
            row[0].set_ylabel(label)
        for axes in panels[1, :-1]:  # hardly more than one power of ten
            axes.yaxis.set(major_locator=LogLocator(subs=(1, 2, 5)), major_formatter="{x:,.0f}")
            axes.yaxis.minorticks_off()
        for axes, label in zip(panels[:, -1], ("epochs an hour, all jobs", "peak memory, all jobs [MB]"), strict=True):
            axes.set_ylabel(label)
        shown = [axes.get_legend_handles_labels() for axes in panels[:, 0]]
        handles, labels = ([item for part in shown for item in part[i]] for i in (0, 1))
        dotted = Line2D([], [], color="0.5", linestyle=":", linewidth=0.9)
        figure.legend([*handles, dotted], [*labels, "linear"], loc="outside lower center", ncols=4)
        return look.rendered(figure, "png")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="what", required=True)
    measuring = commands.add_parser("measure")
    measuring.add_argument("-o", "--output", type=Path, required=True, metavar="JSON")
    measuring.add_argument("--repeats", type=int, default=3)
    measuring.add_argument("--seconds", type=float, default=1.5, help="that forward and training are each timed for")
    measuring.add_argument("--quick", action="store_true", help="tiny sizes, to try the script")
    plotting = commands.add_parser("plot")
    plotting.add_argument("measured", type=Path, metavar="JSON")
    plotting.add_argument("-o", "--output", type=Path, required=True, metavar="PNG")
    options = parser.parse_args()
    if options.what == "measure":
        budget = 0.0 if options.quick else options.seconds
        results = measure(QUICK if options.quick else AXES, options.repeats, budget)
        options.output.write_text(json.dumps(results, indent=1) + "\n")
    else:
        results = json.loads(options.measured.read_text())
        options.output.write_bytes(plot(results))
    print(table(results))


if __name__ == "__main__":
    main()
