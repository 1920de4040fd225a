"""What a run costs: seconds per phase, samples, floating-point operations, memory (explanation/runs.md §4)."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch

from sfa_bench.engine import flops
from sfa_bench.methods.base import Method


class Cost:
    """A clock of phases, one at a time, kept across restarts.

    Args: estimate: hash (`run`) and cost of the run that the learner needed first; it counts as this run's.
    """

    def __init__(self, estimate: Mapping[str, Any] | None = None) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self.evaluated = 0
        self.estimate = estimate
        self.shared: dict[str, Any] | None = None  # epochs of a shared warm-up
        self._forward: int | None = None  # operations of an image, once they are counted
        self._phase: str | None = None
        self._since = 0.0

    def enter(self, phase: str | None) -> None:
        """Close the phase that is open and open this one (None: none)."""
        now = time.perf_counter()
        if self._phase is not None:
            self.seconds[self._phase] += now - self._since
        self._phase, self._since = phase, now

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        self.enter(name)
        try:
            yield
        finally:
            self.enter(None)

    def state(self) -> dict[str, Any]:
        self.enter(self._phase)
        return {"seconds": dict(self.seconds), "evaluated": self.evaluated, "shared": self.shared}

    def load(self, state: dict[str, Any]) -> None:
        for phase, seconds in state["seconds"].items():
            self.seconds[phase] += seconds
        self.evaluated = state["evaluated"]
        self.shared = state.get("shared")

    def share(self, state: dict[str, Any], run: str, epochs: int) -> None:
        """Add the cost of a shared warm-up: the result needed it, but this run did not spend it."""
        reading = self.seconds["data"]
        self.seconds.clear()
        self.load(state)
        spent = sum(seconds for phase, seconds in self.seconds.items() if phase != "data")
        self.seconds["data"] = reading
        self.shared = {"run": run, "epochs": epochs, "seconds": round(spent, 3)}

    def report(self, method: Method, image_shape: tuple[int, ...], peak_memory: dict[str, int]) -> dict[str, Any]:
        """The `cost` of a record. FLOPs are estimated: a backward pass counts as two forward passes."""
        self.enter(self._phase)
        ledger = method.cost
        if self._forward is None:
            self._forward = forward_flops(method, image_shape)
        forward = self._forward
        forwards = 3 * ledger.trained + ledger.guessed + ledger.selected + self.evaluated
        busy = sum(self.seconds[phase] for phase in ("warm-up", "training"))
        report = {
            "seconds": {phase: round(seconds, 3) for phase, seconds in self.seconds.items()},
            "total_seconds": round(sum(self.seconds.values()), 3),
            "steps": ledger.steps,
            "samples": {"trained": ledger.trained, "guessed": ledger.guessed, "selected": ledger.selected}
            | {"evaluated": self.evaluated},
            "flops": forward * forwards,
            "flops_per_forward": forward,
            "parameters": sum(p.numel() for network in method.networks for p in network.parameters()),
            "images_per_second": round((ledger.trained + ledger.guessed) / busy, 1) if busy else None,
            "peak_memory": peak_memory,
            "shared": self.shared,  # the part that comes from another run's warm-up
        }
        return report if self.estimate is None else _with_estimate(report, self.estimate)


def _with_estimate(cost: dict[str, Any], estimate: Mapping[str, Any]) -> dict[str, Any]:
    """The cost of a run together with that of its learner's estimate."""
    seconds = estimate["total_seconds"]
    return cost | {
        "seconds": {**cost["seconds"], "estimate": seconds},
        "total_seconds": round(cost["total_seconds"] + seconds, 3),
        "samples": {what: count + estimate["samples"][what] for what, count in cost["samples"].items()},
        **{what: cost[what] + estimate[what] for what in ("steps", "flops")},
        "estimate": {"run": estimate["run"], "seconds": seconds},  # the part that comes from it
    }


def forward_flops(method: Method, image_shape: tuple[int, ...]) -> int:
    """Floating-point operations of one image through one network (convolutions and matrix products)."""
    network = method.networks[0]
    mode = network.training
    network.eval()
    counted = flops.count(network, torch.zeros(1, *image_shape, device=method.devices[0]))
    network.train(mode)
    return counted
