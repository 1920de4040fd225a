"""Class-balanced draws of a part of the training set (algorithms/data.md §2, Clothing1M)."""

from __future__ import annotations

import torch
from torch import Tensor


def class_balanced(labels: Tensor, size: int, num_classes: int, generator: torch.Generator) -> Tensor:
    """Positions int64 [≤ size], shuffled: the first size/K of each class in a random order.

    Args: labels int64 [N], observed. A class with fewer samples is kept whole, and other classes do not make up for it.
    """
    order = torch.randperm(len(labels), generator=generator)
    met = labels[order]
    # For each sample, the number of samples of its class before it in this order.
    by_class = met.argsort(stable=True)
    starts = torch.bincount(met, minlength=num_classes).cumsum(0).roll(1)
    starts[0] = 0
    before = torch.empty_like(met)
    before[by_class] = torch.arange(len(met)) - starts[met[by_class]]
    kept = order[before < size / num_classes][:size]
    return kept[torch.randperm(len(kept), generator=generator)]
