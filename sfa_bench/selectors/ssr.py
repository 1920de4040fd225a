"""Clean is what the nearest neighbours agree with, by labels that confident predictions have replaced
(algorithms/ssr.md).
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from sfa_bench.parts.softmax import softmax
from sfa_bench.selectors.base import Probe, Selection, Selector, SelectorInputs

BLOCK = 512  # samples whose similarities to all others are held at once
SAME = 1e-9  # relative difference of votes that are equal but for rounding


def neighbour_votes(features: np.ndarray, labels: np.ndarray, neighbours: int, num_classes: int) -> np.ndarray:
    """How many of the nearest neighbours of each sample have each label: int64 [N, K].

    Args: features [N, d], compared by their cosine; labels [N]; neighbours, of which the sample itself is the first.
    """
    unit, votes_of = F.normalize(torch.from_numpy(features).float()), torch.from_numpy(labels)
    counts = torch.zeros(len(unit), num_classes, dtype=torch.int64)
    nearest = min(neighbours, len(unit))
    for rows in torch.arange(len(unit)).split(BLOCK):
        similarity = unit[rows] @ unit.T
        similarity[torch.arange(len(rows)), rows] = torch.inf  # also where another one is the same
        votes: Tensor = votes_of[similarity.topk(nearest, dim=1, sorted=False).indices]
        counts[rows] = counts[rows].scatter_add(1, votes, torch.ones_like(votes))
    return counts.numpy()


class NeighbourVotes(Selector):
    """`ssr_knn`: the samples whose label, maybe a new one, has most of its neighbours' votes.

    neighbours [k]; relabel_above [θ_r]: a prediction with a higher probability replaces the label; agreement [θ_s]:
    share of the most votes that a label needs, votes for a class divided by its size.
    """

    def __init__(self, *, neighbours: int = 200, relabel_above: float = 0.9, agreement: float = 1.0):
        self.neighbours, self.relabel_above, self.agreement = neighbours, relabel_above, agreement

    @classmethod
    def of(cls, inputs: SelectorInputs) -> NeighbourVotes:
        options = inputs.options
        return cls(neighbours=options.neighbours, relabel_above=options.relabel_above, agreement=options.agreement)

    def select(self, probe: Probe, epoch: int) -> Selection:
        p, observed = softmax(probe.logits.astype(np.float64), axis=1), probe.observed_labels
        labels = np.where(p.max(axis=1) > self.relabel_above, p.argmax(axis=1), observed)
        counts = neighbour_votes(probe.features, labels, self.neighbours, probe.num_classes)
        votes = counts / np.bincount(labels, minlength=probe.num_classes).clip(min=1)
        share = votes / votes.max(axis=1, keepdims=True)
        each = np.arange(len(labels))
        mask = share[each, labels] >= self.agreement * (1 - SAME)
        label_share = share[each, observed]
        return Selection.by_rule(probe, mask, label_share, label_share, labels)
