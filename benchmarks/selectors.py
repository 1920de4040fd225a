"""Seconds of each selector for one network, without its forward pass: `python -m benchmarks.selectors`.

All answer to the same features and logits, one after the other in one process. The table in Markdown has the median of
the rounds, and its ratio to that of `proto`.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Sequence
from dataclasses import replace
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
    print(f"N = {options.samples:,}, K = {options.classes}, d = {options.width}, {options.threads} thread(s)\n")
    print(f"| selector | seconds | of {REFERENCE} |\n|:--|--:|--:|")
    for name, value in sorted(middle.items(), key=lambda item: item[1]):
        print(f"| {name} | {value:.3f} | {value / middle[REFERENCE]:.2f} |")


if __name__ == "__main__":
    main()
