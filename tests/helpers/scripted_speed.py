"""Processes that measure nothing, and a clock that only they move: for the commands that measure speed."""

from typing import ClassVar

from sfa_bench.errors import RunError
from sfa_bench.speed import measure
from sfa_bench.speed.child import serve_limits
from sfa_bench.speed.timing import Timing

LIMITS = {"side": 64, "matmul_fp32": 1e12, "matmul_bf16": None, "reason": "none here", "copy": 1e10}


class Scripted:
    """In the place of a process: answers at once, and fails in the phases `broken`."""

    broken: tuple[str, ...] = ()

    def __init__(self, target, *arguments):
        self.limits = target is serve_limits
        self.side, self.job = (None, None) if self.limits else arguments

    @property
    def plain(self):
        return self.side.module.startswith("benchmarks")

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass

    def receive(self):
        if self.limits and "limits" in self.broken:
            raise RunError("no limits")
        return (dict(LIMITS), {16: (10, 30), 64: (10**8, 3 * 10**8)}) if self.limits else None

    def ask(self, request):
        if self.job.phase in self.broken:
            raise RunError("ZeroDivisionError: division by zero")
        if request == "peak":
            return 3_000_000, "process"
        return {"part": Timing(5.0 if self.plain else 2.0, 1, 4)}


class Clock:
    """The time, which only the processes' answers take: `slow` times as long as those of a processor with AVX-512."""

    SECONDS: ClassVar = {("dividemix", 64): 22.0, ("dividemix-sfa", 64): 22.0, ("dividemix-sfa", 16): 4.0}
    STEPS: ClassVar = {("warm-up", 64): 6.0, ("selection-pass", 64): 10.0, ("step", 64): 4.0, ("forward", 64): 2.0}

    def __init__(self, monkeypatch, slow):
        self.now = 0.0
        seconds = {**self.SECONDS, **self.STEPS}
        real, begins = Scripted.ask, Scripted.receive

        def ask(child, request):
            times = 3.0 if child.plain else 1.0
            self.now += 0.0 if request == "peak" else slow * times * seconds.get(child.job[:2], 0.5)
            return real(child, request)

        def receive(child):
            self.now += 4.0  # to start
            return begins(child)

        monkeypatch.setattr(Scripted, "ask", ask)
        monkeypatch.setattr(Scripted, "receive", receive)
        monkeypatch.setattr(measure.time, "monotonic", lambda: self.now)
