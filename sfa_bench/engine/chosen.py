"""Each network's predictions at its best epoch on the data set's own validation set (algorithms/methods.md §7,
Clothing1M).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from sfa_bench.engine.metrics import Logits, accuracy


class Chosen:
    """Keeps the test logits of each network at its best epoch on the validation set; the first of equal ones."""

    def __init__(self, how: str):
        self.how = how  # how heads are combined, see `ensemble`
        self.epochs: list[int] = []
        self.accuracies: list[float] = []
        self.logits: list[Mapping[str, NDArray[Any]]] = []

    def update(self, epoch: int, validation: Logits, labels: ArrayLike, test: Logits) -> None:
        """Update at the end of an epoch. Args: logits of the validation and of the test set; labels of the validation
        set.
        """
        if not self.epochs:
            self.epochs, self.accuracies = [0] * len(test), [-1.0] * len(test)
            self.logits = [{} for _ in test]
        for k, network in enumerate(validation):
            if (score := accuracy([network], labels, self.how)) > self.accuracies[k]:
                self.epochs[k], self.accuracies[k], self.logits[k] = epoch, score, test[k]

    def test_accuracy(self, labels: ArrayLike) -> float:
        """Accuracy of the networks together, each as in its best epoch, in percent."""
        return accuracy(self.logits, labels, self.how)

    def state(self) -> dict[str, Any]:
        """Tensors and plain types."""
        logits = [{head: torch.from_numpy(np.asarray(z)) for head, z in heads.items()} for heads in self.logits]
        return {"epochs": list(self.epochs), "accuracies": list(self.accuracies), "logits": logits}

    def load_state(self, state: dict[str, Any]) -> None:
        """Restore the result of `state`."""
        self.epochs, self.accuracies = list(state["epochs"]), list(state["accuracies"])
        self.logits = [{head: z.numpy() for head, z in heads.items()} for heads in state["logits"]]
