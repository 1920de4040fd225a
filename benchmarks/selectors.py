"""Seconds and memory of each selector for one network, without its forward pass, and the length of its file:
`python -m benchmarks.selectors`.

All answer to the same features and logits. The table in Markdown has the median of the rounds, one selector after the
other in one process, and its ratio to that of `proto`; the memory is what one selection takes at most beyond the
features and logits, each in a new process (Linux).
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Sequence
from dataclasses import replace
from importlib.util import find_spec
from multiprocessing import get_context
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from sfa_bench.choices.selectors import NAMES, SELECTORS
from sfa_bench.config.compose import compose
from sfa_bench.engine.build import build_selectors
from sfa_bench.engine.machine import set_threads
from sfa_bench.selectors.base import Probe
from sfa_bench.speed.settings import Setting, made_probe

REFERENCE = "proto"


def settings() -> dict[str, list[str]]:
    """Each selector with the words that choose it; whoever sees the clean labels computes nothing."""
    able = [name for name in NAMES if SELECTORS[name].code is not None and not SELECTORS[name].knows]
    plugins = {name: SELECTORS[name].plugin for name in able}
    words = {
        name: [f"plugin={plugin}"] if plugin else ["plugin=abc", f"method.selector.name={name}"]
        for name, plugin in plugins.items()
    }
    return words | {"quota, both networks": [*words["quota"], "method.selector.networks=both"]}


def seconds(words: Sequence[str], probe: Probe) -> float:
    """One selection by a fresh selector."""
    config = compose(["dataset=digits", "method=dividemix", *words])
    counts = np.bincount(probe.observed_labels, minlength=probe.num_classes)
    data: Any = SimpleNamespace(clean_labels=None, observed_counts=counts)
    selector = build_selectors(config, data, 1)[0]
    shown = replace(probe, others=(probe,)) if selector.all_networks else probe
    start = time.perf_counter()
    selector.select(shown, config.warmup_epochs + 1)
    return time.perf_counter() - start


def megabytes(words: Sequence[str], setting: Setting, classes: int, width: int) -> float:
    """The highest memory during one selection, less that before it, in a process that has selected nothing large."""
    set_threads(setting.threads)
    seconds(words, made_probe(replace(setting, size=20 * classes), classes, 8))  # imports
    probe = made_probe(setting, classes, width)
    Path("/proc/self/clear_refs").write_text("5")  # the highest is from now on
    before = _kilobytes("VmRSS")
    seconds(words, probe)
    return (_kilobytes("VmHWM") - before) / 1024


def _kilobytes(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:"))


def lines_of(selector: str) -> int:
    """The length of the module that holds the selector, shared by those that stand together."""
    code = SELECTORS[selector].code
    assert code is not None
    spec = find_spec(code.rpartition(".")[0])
    assert spec is not None
    assert spec.origin is not None
    return len(Path(spec.origin).read_text().splitlines())


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=50_000)
    parser.add_argument("--classes", type=int, default=100)
    parser.add_argument("--width", type=int, default=512, help="of the features")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--fit", choices=("sklearn", "batched"), default="sklearn", help="plugin.gmm.fit")
    options = parser.parse_args(arguments)
    set_threads(options.threads)
    setting = Setting(threads=options.threads, seconds=0.0, size=options.samples, imb_factor=1)
    probe = made_probe(setting, options.classes, options.width)
    small = made_probe(replace(setting, size=20 * options.classes), options.classes, 8)
    measured = {name: [*words, f"plugin.gmm.fit={options.fit}"] for name, words in settings().items()}
    for words in measured.values():
        seconds(words, small)  # what is imported at the first use is no part of a selection
    rounds = [{name: seconds(words, probe) for name, words in measured.items()} for _ in range(options.rounds)]
    middle = {name: statistics.median(row[name] for row in rounds) for name in measured}
    processes = get_context("forkserver")  # one that has imported, not one that has measured: it keeps what it freed
    processes.set_forkserver_preload([__spec__.name, "sklearn.mixture", "torch"])
    with processes.Pool(1, maxtasksperchild=1) as pool:
        tasks = [(words, setting, options.classes, options.width) for words in measured.values()]
        memory = dict(zip(measured, pool.starmap(megabytes, tasks, chunksize=1), strict=True))
    print(f"N = {options.samples:,}, K = {options.classes}, d = {options.width}, {options.threads} thread(s)\n")
    print(f"| selector | seconds | of {REFERENCE} | MB | lines |\n|:--|--:|--:|--:|--:|")
    for name, value in sorted(middle.items(), key=lambda item: item[1]):
        ratio, lines = value / middle[REFERENCE], lines_of(name.partition(",")[0])
        print(f"| {name} | {value:.3f} | {ratio:.2f} | {memory[name]:.0f} | {lines} |")


if __name__ == "__main__":
    main()
