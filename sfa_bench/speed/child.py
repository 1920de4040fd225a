"""Processes for measurements: one for each line and side, so that its peak memory is its own."""

from __future__ import annotations

import gc
import multiprocessing
import os
import time
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from multiprocessing.connection import Connection
from typing import Any

import torch

from sfa_bench.errors import RunError
from sfa_bench.speed.jobs import Job
from sfa_bench.speed.settings import Setting, Side


class OutOfTime(RunError):
    """Raised where an answer did not arrive before the deadline."""


class Child:
    """A process that answers requests in order; a context manager that ends it."""

    deadline: float | None = None  # by `time.monotonic`, of every answer

    def __init__(self, target: Callable[..., None], *arguments: Any):
        context = multiprocessing.get_context("spawn")
        self._here, there = context.Pipe()
        self._process = context.Process(target=_main, args=(target, there, arguments))
        self._process.start()
        there.close()

    def ask(self, request: Any) -> Any:
        """The answer to this request. Raises RunError with the reason where the process failed."""
        self.tell(request)
        return self.receive()

    def tell(self, request: Any) -> None:
        """Send a request without waiting for its answer, which `receive` gives."""
        with suppress(OSError):  # where it has ended, `receive` reports why
            self._here.send(request)

    def receive(self) -> Any:
        """The next answer. Raises RunError as `ask` does, OutOfTime past the deadline."""
        if self.deadline is not None and not self._here.poll(max(0.0, self.deadline - time.monotonic())):
            raise OutOfTime("no time remained for an answer")
        try:
            failed, answer = self._here.recv()
        except (EOFError, OSError):
            raise RunError(self._ended()) from None
        if failed:
            raise RunError(answer)
        return answer

    def _ended(self) -> str:
        self._process.join(5)
        return f"its process ended with status {self._process.exitcode}"

    def __enter__(self) -> Child:
        return self

    def __exit__(self, *error: object) -> None:
        self._here.close()  # a child that waits for a request ends here
        self._process.join(5)
        if self._process.is_alive():
            self._process.terminate()
            self._process.join()


def _main(target: Callable[..., None], there: Connection, arguments: tuple[Any, ...]) -> None:
    os.dup2(2, 1)  # standard output is for the report
    try:
        target(there, *arguments)
    except (EOFError, BrokenPipeError, KeyboardInterrupt):
        pass
    except Exception as error:
        reason = str(error).strip().splitlines() or [""]
        there.send((True, f"{type(error).__name__}: {reason[0]}".rstrip(": ")))


def serve_phase(there: Connection, side: Side, job: Job) -> None:
    """Prepare a phase; then answer each budget with its timings, and the request `peak` with its peak memory."""
    from sfa_bench.engine.machine import set_threads
    from sfa_bench.speed.timing import peak_bytes

    set_threads(side.setting.threads)
    measure = import_module(side.module).prepare(side.setting, job)
    there.send((False, None))
    while True:
        request = there.recv()
        if request == "peak":
            there.send((False, peak_bytes(torch.device(side.setting.device))))
            continue
        gc.collect()
        there.send((False, measure(request)))


def serve_limits(there: Connection, setting: Setting, sizes: dict[str, int], widths: tuple[int, ...]) -> None:
    """The machine's limits, and the operations of an image through a network of each width."""
    from sfa_bench import models
    from sfa_bench.engine.machine import set_threads
    from sfa_bench.speed import limits
    from sfa_bench.speed.settings import composed

    set_threads(setting.threads)
    device = torch.device(setting.device)
    flops = {}
    for width in widths:
        network = models.build(composed(setting, "none", width).model, 3, (32, 32), 10, ("main",), 0).to(device)
        flops[width] = limits.flops_of_image(network, device)
    there.send((False, (limits.limits(device, setting.seconds or 3.0, **sizes), flops)))
