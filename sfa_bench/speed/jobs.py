"""The phases that can be measured, and their sizes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class Job(NamedTuple):
    """One line of the report. width: of PreAct ResNet-18; batch: images of a forward or a step; None: has none."""

    phase: str
    width: int | None = None
    batch: int | None = None

    @property
    def num_classes(self) -> int:
        return 100 if self.phase.endswith("-100") else 10


PHASES = {
    "loader": "one augmented view of every image",
    "loader-2": "two augmented views of every image",
    "forward": "forward without gradient, train mode",
    "step": "training step: cross-entropy and SGD",
    "selection-pass": "SFA's selection by both networks: forward and selector",
    "selection-10": "SFA's selector without the forward, 10 classes",
    "selection-100": "SFA's selector without the forward, 100 classes",
    "mixtures-10": "class-wise mixtures, 10 classes",
    "mixtures-100": "class-wise mixtures, 100 classes",
    "batched-100": "class-wise mixtures, 100 classes, fitted at once (plugin.gmm.fit=batched)",
    "warm-up": "warm-up epoch of both networks",
    "dividemix": "DivideMix epoch",
    "dividemix-sfa": "DivideMix epoch with SFA",
}


def jobs(phases: Sequence[str], full: bool) -> list[Job]:
    """The lines to measure for these phases, in their order in PHASES."""
    wanted = []
    for phase in (name for name in PHASES if name in phases):
        if phase in ("forward", "step"):
            sizes = [(w, b) for w in (16, 32, 64) for b in (64, 128, 256)] if full else [(64, 128)]
            wanted += [Job(phase, *size) for size in sizes]
        elif phase in ("selection-pass", "warm-up", "dividemix", "dividemix-sfa"):
            small = (16,) if phase == "dividemix-sfa" else ()
            wanted += [Job(phase, w) for w in ((16, 32, 64) if full else (*small, 64))]
        else:
            wanted.append(Job(phase))
    return wanted
