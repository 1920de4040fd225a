"""Class weights and resampling for long tails (algorithms/methods.md §3)."""

from __future__ import annotations

import torch
from torch import Tensor


def effective_weights(class_counts: Tensor, beta: float, floor: float = 1.0) -> Tensor:
    """(1−β)/(1−β^n_k), float64 [K]: one over the effective number of samples (Cui et al. 2019). β = 0 gives ones."""
    counts = class_counts.to(torch.float64).clamp(min=floor)
    return (1 - beta) / (1 - beta**counts)


def class_balanced_weights(class_counts: Tensor, beta: float = 0.9999, floor: float = 1.0) -> Tensor:
    """Those weights scaled to sum to K, float32 [K] (algorithms/methods.md §3.1)."""
    weights = effective_weights(class_counts, beta, floor)
    return (len(weights) * weights / weights.sum()).to(torch.float32)


def weighted_mean(values: Tensor, weights: Tensor) -> Tensor:
    """Σ ω·ℓ / Σ ω over a batch [B]; 0 for an empty one."""
    return (weights * values).sum() / weights.sum().clamp(min=1e-12)


def resample(labels: Tensor, class_counts: Tensor, beta: float, floor: float, generator: torch.Generator) -> Tensor:
    """N rows drawn with replacement, each in proportion to its class's effective weight (DRS, algorithms/methods.md
    §3.4).
    """
    weights = effective_weights(class_counts, beta, floor)[labels]
    return torch.multinomial(weights, len(labels), replacement=True, generator=generator)
