"""The label sets of the public releases, exactly (`dataset.generator=legacy`, algorithms/data.md §6).

The order of the draws is the point here: NumPy's legacy generator shuffles each class's list and draws the joint
labels, Python's generator shuffles the positions and draws the symmetric labels, both seeded alike.
"""

from __future__ import annotations

import random

import numpy as np

from sfa_bench.data.noise import NoiseLaw


class LegacyGenerators:
    """NumPy's and Python's generators as the releases use them: `take` once, then `corrupt` once."""

    def __init__(self, seed: int):
        self.numpy = np.random.RandomState(seed)
        self.python = random.Random(seed)

    def take(self, labels: np.ndarray, counts: np.ndarray) -> np.ndarray:
        """Positions to keep, int64 [Σ counts], blocked by class."""
        kept = []
        for c, n in enumerate(counts):
            members = np.flatnonzero(labels == c)
            self.numpy.shuffle(members)
            kept.append(members[:n])
        return np.concatenate(kept)

    def corrupt(self, labels: np.ndarray, law: NoiseLaw, symmetric: bool) -> np.ndarray:
        """Observed labels int64 [N]: symmetric or joint noise at the rate of `law`, from the clean labels int64 [N]."""
        num_classes = len(law.rate)
        order = list(range(len(labels)))
        self.python.shuffle(order)
        flipped = set(order[: int(law.rate[0] * len(labels))])
        observed = labels.astype(np.int64, copy=True)
        for i in range(len(labels)):
            if i not in flipped:
                continue
            clean = int(labels[i])
            if symmetric:
                observed[i] = (clean + self.python.randint(1, num_classes - 1)) % num_classes
            else:
                observed[i] = self.numpy.choice(num_classes, p=law.target[clean])
        return observed
