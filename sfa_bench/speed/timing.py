"""Clocks that wait for the device, and end a pass once enough of its steps have been timed."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import torch

from sfa_bench.engine.machine import peak_memory


class Timing(NamedTuple):
    """Seconds of a whole pass of which `measured` of `steps` steps were timed and the rest extrapolated."""

    seconds: float
    measured: int
    steps: int


Parts = dict[str, Timing]  # what one measurement consists of
Measure = Callable[[float | None], Parts]  # budget in seconds, None for the whole → its parts


class Enough(Exception):
    """Raised to end a pass that has been timed for long enough."""


def now(device: torch.device) -> float:
    """The time after the device has finished all queued work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


class Stopwatch:
    """Times passes whose `step` is called as each step begins, with the number of steps of one pass.

    The first step is not counted: it may wait for processes that start. What precedes it counts once.
    """

    def __init__(self, device: torch.device):
        self.device = device
        self.budget: float | None = None
        self.begun = self.steps = 0  # steps that began; steps of a pass
        self.began = self.first = self.counted = self.last = 0.0

    def step(self, steps: int) -> None:
        self.steps, self.begun = steps, self.begun + 1
        if self.begun == 1:
            self.first = time.perf_counter()
        elif self.begun == 2:
            self.counted = now(self.device)
        elif self.budget is not None and time.perf_counter() - self.counted >= self.budget:
            self.last = now(self.device)
            raise Enough

    def time(self, run: Callable[[], object], budget: float | None, passes: int = 1) -> Timing:
        """Seconds of `run`, which makes that many equal passes; extrapolated where it was ended early."""
        self.budget, self.begun = budget, 0
        self.began = now(self.device)
        try:
            run()
        except Enough:
            measured = self.begun - 2
            each = (self.last - self.counted) / measured
            return Timing(passes * (self.first - self.began + self.steps * each), measured, passes * self.steps)
        return Timing(now(self.device) - self.began, self.begun, self.begun)


def repeated(act: Callable[[], object], device: torch.device, budget: float | None) -> Timing:
    """Seconds of one `act`, the mean of as many as the budget allows; one where there is no budget."""
    began, count = now(device), 0
    while True:
        act()
        count += 1
        if budget is None or time.perf_counter() - began >= budget:
            return Timing((now(device) - began) / count, count, count)


def forget_peak(device: torch.device) -> None:
    """`peak_bytes` counts from now on, where the system can do that: Linux and CUDA."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def peak_bytes(device: torch.device) -> tuple[int, str]:
    """Most memory so far, or since `forget_peak`, and what it is of: a CUDA device's tensors, or what this process had
    resident.

    Not `ru_maxrss`, in which Linux also counts the parent that the process was forked from.
    """
    peaks = peak_memory(device)
    if "device" in peaks:
        return peaks["device"], "device"
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")), "process"
    except (OSError, StopIteration):
        return peaks["host"], "process"
