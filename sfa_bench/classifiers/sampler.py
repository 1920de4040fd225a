"""The class-aware sampler (algorithms/methods.md §10)."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

CONSECUTIVE = 4  # items of a class at each visit


def _cycle(items: Tensor, generator: torch.Generator) -> Iterator[int]:
    """The items in endless rounds, reshuffled in each round."""
    while True:
        yield from items[torch.randperm(len(items), generator=generator)].tolist()


def class_aware(rows: Tensor, labels: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """`count` of the rows: classes in a shuffled cycle, of each four items in a row from its own shuffled cycle.

    Args: rows [n] that may be drawn; labels [N] of all samples. Classes without a row are skipped.
    """
    cycles = {int(k): _cycle(rows[labels[rows] == k], generator) for k in labels[rows].unique()}
    classes = _cycle(torch.tensor(sorted(cycles)), generator)
    drawn: list[int] = []
    while len(drawn) < count:
        items = cycles[next(classes)]
        drawn += [next(items) for _ in range(CONSECUTIVE)]
    return torch.tensor(drawn[:count])
