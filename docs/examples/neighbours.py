"""A selector of your own: a label is clean where the neighbours in feature space carry it too.

In the spirit of Bahri et al. (ICML 2020), class-wise, because a tail class has few neighbours of its own anywhere.
"""

from __future__ import annotations

import numpy as np
from sklearn.neighbors import NearestNeighbors

from sfa_bench.parts.mixtures import class_posteriors
from sfa_bench.parts.prototypes import centre_and_normalise
from sfa_bench.selectors.base import Probe, Selection, Selector, Thresholds


class NeighbourVote(Selector):
    """One for each network. The keyword arguments are the keys of conf/plugin/neighbours.yaml, with these types.

    Args: thresholds: how clean probabilities become a mask (plugin.p_threshold, plugin.gmm.*);
    neighbours: how many vote; rarity: 0 counts votes as they are, 1 divides by the size of the voter's class.
    A parameter `generator` (epoch → np.random.Generator) would be filled in as well, for selectors that draw.
    """

    def __init__(self, thresholds: Thresholds, *, neighbours: int = 20, rarity: float = 1.0):
        self.thresholds = thresholds
        self.neighbours, self.rarity = neighbours, rarity

    def select(self, probe: Probe, epoch: int) -> Selection:
        """Answer for the epoch (from 1) that is about to be trained, from one network's view of all N samples."""
        labels, num_classes = probe.observed_labels, probe.num_classes
        unit, _ = centre_and_normalise(probe.features)
        k = min(self.neighbours, len(labels) - 1)
        index = NearestNeighbors(n_neighbors=k).fit(unit).kneighbors(return_distance=False)  # leaves out the row itself
        counts = np.bincount(labels, minlength=num_classes).clip(min=1)
        votes = 1.0 / counts[labels[index]] ** self.rarity  # [N, k]
        same = labels[index] == labels[:, None]
        score = (votes * same).sum(axis=1) / votes.sum(axis=1)  # in [0, 1], the larger the cleaner
        # One mixture for each observed class turns the score into a probability, as in every class-wise selector here.
        options = self.thresholds.mixtures  # plugin.gmm.*
        found = class_posteriors(score, labels, num_classes, larger=True, rescale=True, **options)
        notes = {"inverted": found.inverted}
        return self.thresholds.decide(found.probability, score, labels, num_classes, found.unsplit, **notes)
