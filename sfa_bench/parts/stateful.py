"""Losses that keep something of each sample from epoch to epoch: one object for each network."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor


class StatefulLoss(ABC):
    """Made of the number of samples, the number of classes, the device of its network, and its constants."""

    @abstractmethod
    def __call__(self, logits: Tensor, labels: Tensor, class_counts: Tensor, rows: Tensor) -> Tensor:
        """The loss of a batch [B], as `parts.losses` have it; rows [B] int64: which samples these are."""

    def draw(self, generator: torch.Generator) -> None:  # noqa: B027  most have nothing to draw
        """Draw initial values, where it has any; once, before training, by a generator of the CPU."""

    def stepped(self) -> None:  # noqa: B027  most keep what they see, not what they learn
        """The network has made its step on the batch that this was last called for."""

    @abstractmethod
    def state(self) -> dict[str, Tensor]:
        """What must survive a restart."""

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Take up what `state` gave."""
        for name, now in self.state().items():
            now.copy_(state[name])
