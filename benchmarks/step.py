"""Where a training step's time goes: `python -m benchmarks.step --width 64 --batch 128 --precision bf16`.

Torch's profiler over the suite's step (cross-entropy and SGD, as the phase `step` of `sfa-bench speed`): the
share of each kind of operation in Markdown, and what convolutions reach of the matrix products' limit.
"""

from __future__ import annotations

import argparse
from collections import Counter

import torch
from torch.profiler import ProfilerActivity, profile

from sfa_bench.cores import cores
from sfa_bench.engine.machine import keep_freed_memory, set_threads
from sfa_bench.speed import limits, phases
from sfa_bench.speed.jobs import Job
from sfa_bench.speed.settings import Setting

KINDS = {  # in this order: the first name that is part of an operation's
    "convolution_backward": "convolutions backward",
    "conv": "convolutions forward",
    "batch_norm": "BatchNorm",
    "threshold_backward": "ReLU backward",
    "clamp_min": "ReLU forward",
    "add": "sums (residuals, gradients, optimiser)",
    "copy": "conversions and copies",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="bf16")
    parser.add_argument("--seconds", type=float, default=5)
    options = parser.parse_args()
    keep_freed_memory()
    set_threads(cores())
    cpu, bfloat16 = torch.device("cpu"), options.precision == "bf16"
    limit = limits.limits(cpu, options.seconds)[f"matmul_{options.precision}"]
    if limit is None:
        parser.error("this processor has no unit for bfloat16; type --precision fp32")
    measure = phases.step(Setting(bfloat16=bfloat16, threads=cores()), Job("step", options.width, options.batch))
    measure(options.seconds)
    plain = measure(options.seconds)["step"].seconds
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        steps = measure(options.seconds)["step"].measured

    microseconds: Counter[str] = Counter()
    for event in profiler.key_averages():
        kind = next((KINDS[name] for name in KINDS if name in event.key), "everything else")
        microseconds[kind] += event.self_cpu_time_total
    whole = sum(microseconds.values())
    network = phases.TimedMethod(Setting(size=40, imb_factor=1), "none", options.width).method.networks[0]
    needed = limits.flops_of_image(network, cpu)[1] * options.batch / limit
    print(f"{options.batch / plain:,.0f} images/s without the profiler, {needed / plain:.0%} of the limit\n")
    print("| what | ms a step | share |\n|---|--:|--:|")
    for kind, spent in microseconds.most_common():
        print(f"| {kind} | {spent / 1000 / steps:.1f} | {spent / whole:.0%} |")
    convolutions = sum(microseconds[kind] for kind in ("convolutions forward", "convolutions backward"))
    print(f"\nConvolutions alone: {needed * whole / plain / convolutions:.0%} of the limit")


if __name__ == "__main__":
    main()
