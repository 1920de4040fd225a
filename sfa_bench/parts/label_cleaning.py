"""RoLT's label cleaning: running averages of predictions, and losses over several label lists (algorithms/methods.md
§8).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from sfa_bench.parts.losses import Loss
from sfa_bench.parts.reweighting import weighted_mean

ALPHA = 0.6  # weight of the past in the running averages
FAR = -1e6  # score of a class that has no prototype


class TemporalEnsemble:
    """Running average of [N, K] predictions. `release` corrects the stored value itself, which inflates it (Q38)."""

    def __init__(self, bias: str = "corrected"):
        self.bias = bias
        self.stored: np.ndarray | None = None
        self.updates = 0

    def update(self, values: np.ndarray) -> np.ndarray:
        """The corrected average after one more prediction."""
        self.updates += 1
        correction = 1 - ALPHA**self.updates
        if self.bias == "release":
            past = self.stored
            blend = values if past is None else ALPHA * past + (1 - ALPHA) * values
            self.stored = blend / correction
            return self.stored
        past = np.zeros_like(values) if self.stored is None else self.stored
        self.stored = ALPHA * past + (1 - ALPHA) * values
        return self.stored / correction

    def state(self) -> dict[str, object]:
        return {"stored": None if self.stored is None else torch.from_numpy(self.stored), "updates": self.updates}

    def load_state(self, state: dict[str, object]) -> None:
        stored = state["stored"]
        self.stored = stored.numpy() if isinstance(stored, Tensor) else None
        self.updates = int(str(state["updates"]))


def prototype_scores(unit: np.ndarray, prototypes: np.ndarray, present: np.ndarray) -> np.ndarray:
    """−‖g_i − c_k‖² [N, K]; classes that are not present [K] are out of reach."""
    scores = 2 * unit @ prototypes.T - np.square(unit).sum(1, keepdims=True) - np.square(prototypes).sum(1)
    return np.where(present, scores, FAR)


def component_loss(
    loss: Loss,
    logits: Tensor,
    components: Sequence[tuple[float, Tensor]],
    counts: Tensor,
    class_weights: Tensor | None = None,
) -> Tensor:
    """Σ over (weight, labels [B]) of weight · mean loss; with class weights each list keeps its own Σωℓ/Σω."""
    total = logits.new_zeros(())
    for weight, labels in components:
        values = loss(logits, labels, counts)
        mean = values.mean() if class_weights is None else weighted_mean(values, class_weights[labels])
        total = total + weight * mean
    return total


def uniform_component(weight: float, labels: Tensor, replaced: Tensor, num_classes: int) -> list[tuple[float, Tensor]]:
    """The uniform label vector for the rows that are `replaced` [B], their own label for the others, as label lists."""
    if not replaced.any():
        return [(weight, labels)]
    lists = [torch.where(replaced, torch.full_like(labels, k), labels) for k in range(num_classes)]
    return [(weight / num_classes, filled) for filled in lists]
