"""TABASCO (Lu et al. 2023): two scores of each sample, and for each class the one that separates it
(algorithms/tabasco.md).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from sfa_bench.parts.divergence import divergence_from_label
from sfa_bench.parts.mixtures import SAME, Judgement, Mixture, fitted, judge, min_max
from sfa_bench.parts.prototypes import centre_and_normalise, members_of_classes
from sfa_bench.parts.softmax import softmax
from sfa_bench.selectors.base import Probe, Selection, Selector, SelectorInputs, Thresholds

MIXTURES: dict[str, Any] = {"max_iter": 30, "tol": 1e-2, "reg_covar": 5e-4}
TINY = np.finfo(np.float64).tiny
SPREAD_RATIO = 0.65  # below it WJSD separates
SAME_PLACE = 0.1  # relative distance of affinities below which a centroid sits on another class
NO_SPREAD = 0.1  # that a spread of zero counts as


class Dimensions(NamedTuple):
    """What each sample of a class scores, both as they are: [n] float64."""

    wjsd: np.ndarray  # weighted divergence of prediction and label, the smaller the cleaner
    acd: np.ndarray  # similarity to the adaptive centroid, the larger the nearer


class Tabasco(Selector):
    """TABASCO's selector of one network; it remembers nothing from epoch to epoch.

    Its two mixtures a class stop early, as the release's do. A class that cannot be split by one of the scores is kept
    whole.
    """

    def __init__(self, thresholds: Thresholds):
        self.thresholds = thresholds

    @classmethod
    def of(cls, inputs: SelectorInputs) -> Tabasco:
        return cls(inputs.thresholds)

    def select(self, probe: Probe, epoch: int) -> Selection:
        labels, num_classes = probe.observed_labels, probe.num_classes
        members = members_of_classes(labels, num_classes)
        scores, rivals, unsure = _dimensions(probe, members)
        enough = self.thresholds.min_samples
        split = [k for k, of_class in enumerate(scores) if len(members[k]) >= enough and _spread(of_class)]
        values = [Dimensions(*map(min_max, scores[k])) for k in split]
        of_wjsd, of_acd = (fitted(groups, fit=self.thresholds.fit, **MIXTURES) for groups in _by_score(values))
        probability, score = np.ones(len(labels)), np.zeros(len(labels))
        inverted = one_sided = 0
        for k, scaled, wjsd_mixture, acd_mixture in zip(split, values, of_wjsd, of_acd, strict=True):
            far = judge(scaled.acd, acd_mixture, larger=False).probability > 0.5
            one_sided += bool(far.all() or not far.any())
            if wjsd_separates(scaled.wjsd, far, wjsd_mixture):
                cleaner, judgement = -scaled.wjsd, self._judge(scaled.wjsd, wjsd_mixture, larger=False)
            elif rivals[k]:
                cleaner, judgement = -scaled.acd, self._judge(scaled.acd, acd_mixture, larger=False)
            else:
                cleaner, judgement = scaled.acd, self._judge(scaled.acd, acd_mixture, larger=True)
            score[members[k]], probability[members[k]] = cleaner, judgement.probability
            inverted += judgement.inverted
        fallbacks = {"class_without_confident_sample": unsure, "class_with_one_component": one_sided}
        return self.thresholds.decide(
            probability,
            score,
            labels,
            num_classes,
            np.setdiff1d(labels, split),
            inverted=inverted,
            # No prototypes: a centroid may sit on another class than its own.
            fallbacks={name: count for name, count in fallbacks.items() if count},
        )

    def _judge(self, values: np.ndarray, mixture: Mixture, larger: bool) -> Judgement:
        return judge(values, mixture, larger=larger, monotone=self.thresholds.monotone)


def adaptive_centroids(
    probabilities: np.ndarray, unit: np.ndarray, members: list[np.ndarray]
) -> tuple[np.ndarray, np.ndarray, int]:
    """Mean unit feature of the confident samples of each class (algorithms/tabasco.md §2).

    Args: probabilities [N, K]; unit [N, d] centred unit features; members: the rows of each of K classes.
    Returns: centroids [K, d], not normalised again, and the number of samples in each [K], 0 for an empty class; and
    how many classes have no confident sample, so that all their samples are in the centroid.
    """
    centroids, sizes, without = np.zeros((len(members), unit.shape[1])), np.zeros(len(members), dtype=np.int64), 0
    for k, rows in enumerate(members):
        if len(rows):
            sure = rows[_confident(probabilities[rows])]
            without += not len(sure)
            centroids[k] = unit[sure if len(sure) else rows].mean(axis=0)
            sizes[k] = len(sure) or len(rows)
    return centroids, sizes, without


def _confident(of_class: np.ndarray) -> np.ndarray:
    """Which samples of a class [n, K] are surer of the class that the network sees in it than its sharpened mean.

    Sharpening raises the entries of that class alone, so that it stays the largest.
    """
    mean = of_class.mean(axis=0)
    seen = int(mean.argmax())
    seen_probability = of_class[:, seen]
    sharpened = (seen_probability * np.maximum(1, seen_probability / mean[seen])).mean()
    return (of_class.argmax(axis=1) == seen) & (seen_probability > sharpened)


def weighted_divergence(of_class: np.ndarray, k: int) -> np.ndarray:
    """WJSD of the samples [n, K] with observed label k (algorithms/tabasco.md §3): [n]."""
    if not len(of_class):
        return np.zeros(0)
    mean, label_probability = of_class.mean(axis=0), np.maximum(of_class[:, k], TINY)
    weight = np.minimum(of_class.max(axis=1) / label_probability, mean.max() / max(mean[k], TINY))
    return weight * divergence_from_label(of_class, np.full(len(of_class), k))


def _dimensions(probe: Probe, members: list[np.ndarray]) -> tuple[list[Dimensions], np.ndarray, int]:
    """The scores of each class, which classes have their centroid on another one [K], and how many have no confident
    sample.
    """
    probabilities = softmax(probe.logits.astype(np.float64), axis=1)
    unit, _ = centre_and_normalise(probe.features)
    centroids, confident, without = adaptive_centroids(probabilities, unit, members)
    dimensions = [
        Dimensions(weighted_divergence(probabilities[rows], k), unit[rows] @ centroids[k])
        for k, rows in enumerate(members)
    ]
    return dimensions, _rivals(centroids, confident), without


def _by_score(values: list[Dimensions]) -> tuple[list[np.ndarray], list[np.ndarray]]:
    return [dimensions.wjsd for dimensions in values], [dimensions.acd for dimensions in values]


def _spread(of_class: Dimensions) -> bool:
    """Whether both scores of a class with samples differ by more than rounding."""
    return all(np.ptp(values) > SAME * np.abs(values).max() for values in of_class)


def wjsd_separates(wjsd: np.ndarray, far: np.ndarray, mixture: Mixture) -> bool:
    """Stage 1 (algorithms/tabasco.md §5): whether a class is split by WJSD, else by the centroid's distance.

    Args: wjsd [n] scaled to [0, 1]; far [n] bool: ACD's component away from the centroid; mixture: of WJSD.
    """
    if far.all() or not far.any():  # there is nothing to compare
        return True
    small = int(mixture.means.argmin())
    spread, components = [1.0, 1.0], []
    for part in (wjsd[far], wjsd[~far]):
        component = int(mixture.posteriors(np.array([part.mean()]))[0].argmax())
        spread[component] = float(part.std()) if np.ptp(part) > 0 else NO_SPREAD
        components.append(component)
    if components[0] == components[1] != small:
        return True
    return spread[1 - small] / spread[small] < SPREAD_RATIO


def _rivals(centroids: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Stage 2 (algorithms/tabasco.md §6): which classes have their centroid on another, better populated class: [K].

    Args: centroids [K, d]; sizes [K], samples in each, 0 for an empty class, which no centroid can sit on.
    """
    there = np.flatnonzero(sizes)
    rivals = np.zeros(len(sizes), dtype=bool)
    if len(there) < 2:
        return rivals
    affinity = softmax(centroids[there] @ centroids[there].T, axis=1)
    self_affinity = affinity.diagonal().copy()
    np.fill_diagonal(affinity, -1)
    nearest = affinity.argmax(axis=1)
    alike = np.abs(self_affinity - affinity.max(axis=1)) < SAME_PLACE * self_affinity
    rivals[there] = alike & (sizes[there] < sizes[there[nearest]])
    return rivals
