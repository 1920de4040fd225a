"""What tools.hours reckons with: `python -m benchmarks.flops forward|rate > tools/measured/FILE.csv`.

forward: floating-point operations of one image through each backbone, as a run's record counts them (forward.csv).
rate: operations/s of training steps of a PreAct ResNet-18 (width 64, 64 images of 32×32, fp32), as `sfa-bench speed`
takes them: the mean of some seconds, as many threads as cores (rate.csv).
"""

from __future__ import annotations

import argparse
import csv
import datetime
import os
import sys
from types import SimpleNamespace
from typing import Any

import torch

from sfa_bench.config.compose import compose
from sfa_bench.engine import machine
from sfa_bench.engine.cost import forward_flops
from sfa_bench.models.build import build
from sfa_bench.models.network import Network
from sfa_bench.speed.jobs import Job
from sfa_bench.speed.phases import step
from sfa_bench.speed.settings import Setting

SHAPES = {
    "cifar10": (3, 32, 32, 10),
    "cifar100": (3, 32, 32, 100),
    "webvision": (3, 299, 299, 50),
    "clothing1m": (3, 224, 224, 14),
}
FORWARDS = (
    *((dataset, model) for dataset in ("cifar10", "cifar100") for model in ("preact_resnet18", "resnet32", "resnet34")),
    ("webvision", "inception_resnet_v2"),
    ("clothing1m", "resnet50"),
)
BATCH, SECONDS = 64, 5.0


def network_of(dataset: str, model: str) -> Network:
    """As a run of cross-entropy builds it."""
    words = [f"dataset={dataset}", f"model={model}", "method=ce", "plugin=none"]
    words += ["model.pretrained=false"] if dataset == "clothing1m" else []
    channels, height, width, classes = SHAPES[dataset]
    return build(compose(words).model, channels, (height, width), classes, ("main",), 0)


def flops(network: Network, dataset: str) -> int:
    method: Any = SimpleNamespace(networks=[network], devices=[torch.device("cpu")])
    return forward_flops(method, SHAPES[dataset][:3])


def forward() -> list[dict[str, Any]]:
    lines = []
    for dataset, model in FORWARDS:
        made = {"dataset": dataset, "model": model, "side": SHAPES[dataset][1], "classes": SHAPES[dataset][3]}
        lines.append(made | {"flops": flops(network_of(dataset, model), dataset)})
    return lines


def rate(condition: str) -> list[dict[str, Any]]:
    machine.keep_freed_memory()
    threads = os.cpu_count() or 1
    torch.set_num_threads(threads)
    measure = step(Setting(threads=threads), Job("step", 64, BATCH))
    measure(1.0)  # warm-up
    operations = 3 * BATCH * flops(network_of("cifar10", "preact_resnet18"), "cifar10")
    return [
        {
            "machine": f"{threads} cores of an {machine.processor()} with {torch.backends.cpu.get_cpu_capability()}",
            "condition": condition,
            "work": f"training steps of a PreAct ResNet-18 (width 64, {BATCH} images of 32×32, fp32)",
            "date": datetime.date.today().isoformat(),
            "flops_per_second": f"{operations / measure(SECONDS)['step'].seconds:.3g}",
        }
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("forward", "rate"))
    parser.add_argument("--condition", default="idle", help="what else the machine does meanwhile, in a word or two")
    options = parser.parse_args()
    lines = forward() if options.what == "forward" else rate(options.condition)
    writer = csv.DictWriter(sys.stdout, lines[0], lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)


if __name__ == "__main__":
    main()
