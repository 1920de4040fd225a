"""Clean is what lies along the main direction of its class's features (algorithms/fine.md)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy.sparse.linalg import svds

from sfa_bench.parts.mixtures import SAME, class_posteriors
from sfa_bench.parts.prototypes import members_of_classes
from sfa_bench.selectors.base import Probe, Selection, Selector, SelectorInputs, Thresholds

DENSE = 32  # rows or columns up to which the whole decomposition is as fast


def main_direction(features: np.ndarray) -> np.ndarray:
    """The first right singular vector [d] of features [n, d] float64 as they are, not centred; its sign is arbitrary.

    Found by Lanczos iterations from the mean on, so that it is the same in every run.
    """
    n, width = features.shape
    if min(n, width) <= DENSE or not features.any():
        return np.linalg.svd(features, full_matrices=False)[2][0]
    start = features.mean(axis=0)
    start = features @ start if n <= width else start  # in the smaller of the two spaces
    return svds(features, k=1, v0=start + 1e-12, return_singular_vectors="vh")[2][0]


class Fine(Selector):
    """direction: of a class, its main one (`eigenvector`) or that of its `mean`.

    split: of a class's scores, by a `mixture` of two Gaussians or by `kmeans`.
    """

    def __init__(self, thresholds: Thresholds, *, direction: str = "eigenvector", split: str = "mixture"):
        self.thresholds, self.by_mean, self.by_kmeans = thresholds, direction == "mean", split == "kmeans"

    @classmethod
    def of(cls, inputs: SelectorInputs) -> Fine:
        return cls(inputs.thresholds, direction=inputs.options.direction, split=inputs.options.split)

    def select(self, probe: Probe, epoch: int) -> Selection:
        labels, num_classes = probe.observed_labels, probe.num_classes
        scores = self._scores(probe.features, labels, num_classes)
        if self.by_kmeans:
            return self._by_kmeans(scores, labels, num_classes)
        options = {**self.thresholds.mixtures, "tol": 1e-6}
        posterior = class_posteriors(scores, labels, num_classes, larger=True, rescale=False, **options)
        return self.thresholds.decide(
            posterior.probability, scores, labels, num_classes, posterior.unsplit, inverted=posterior.inverted
        )

    def _scores(self, features: np.ndarray, labels: np.ndarray, num_classes: int) -> np.ndarray:
        """|⟨v, z/‖z‖⟩| with the direction v of the label's class: [N] in [0, 1]."""
        scores = np.zeros(len(labels))
        for members in members_of_classes(labels, num_classes):
            if len(members):
                vectors = features[members].astype(np.float64)
                direction = vectors.mean(axis=0) if self.by_mean else main_direction(vectors)
                direction /= max(float(np.linalg.norm(direction)), 1e-12)
                scores[members] = np.abs(vectors @ direction) / np.maximum(np.linalg.norm(vectors, axis=1), 1e-12)
        return scores

    def _by_kmeans(self, scores: np.ndarray, labels: np.ndarray, num_classes: int) -> Selection:
        """Clean is the cluster with the larger mean; a clean probability of 1 or 0."""
        from sklearn.cluster import KMeans

        probability, unsplit = np.ones(len(labels)), []
        for k, members in enumerate(members_of_classes(labels, num_classes)):
            if not len(members):
                continue
            values = scores[members]
            if len(members) < self.thresholds.min_samples or np.ptp(values) <= SAME * values.max():
                unsplit.append(k)
                continue
            clusters = KMeans(2, n_init=10, random_state=0).fit(values[:, None])
            probability[members] = clusters.labels_ == clusters.cluster_centers_[:, 0].argmax()
        thresholds = replace(self.thresholds, p_threshold=0.5)
        return thresholds.decide(probability, scores, labels, num_classes, np.array(unsplit, dtype=np.int64))
