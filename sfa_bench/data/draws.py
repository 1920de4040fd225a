"""Class-balanced draws of a part of the training set (algorithms/data.md §2, Clothing1M)."""

from __future__ import annotations

import torch
from torch import Tensor


def class_balanced(labels: Tensor, size: int, num_classes: int, generator: torch.Generator) -> Tensor:
    """Positions int64 [≤ size], shuffled: those met first in a random walk whose class has not kept size/K yet.

    Args: labels int64 [N], observed. A class with fewer samples is kept whole, and no other one makes up for it.
    """
    order = torch.randperm(len(labels), generator=generator)
    met = labels[order]
    # How many of its class each one has before it, in the order of the walk.
    by_class = met.argsort(stable=True)
    starts = torch.bincount(met, minlength=num_classes).cumsum(0).roll(1)
    starts[0] = 0
    before = torch.empty_like(met)
    before[by_class] = torch.arange(len(met)) - starts[met[by_class]]
    kept = order[before < size / num_classes][:size]
    return kept[torch.randperm(len(kept), generator=generator)]
