"""Near the class prototype is clean: RoLT's distance with one refinement (algorithms/methods.md §8–9)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from sfa_bench.parts.mixtures import class_posteriors
from sfa_bench.parts.prototypes import centre_and_normalise, instant_centroids, label_scores
from sfa_bench.selectors.base import Probe, Selection, Selector, SelectorInputs, Thresholds


class Prototype(Selector):
    """Prototypes of all samples → mask → prototypes of the masked samples → mixture per observed class.

    webvision: RoLT+'s variant there, without the refinement and with mixtures that stop early (algorithms/methods.md
    §9).
    """

    def __init__(self, thresholds: Thresholds, *, webvision: bool = False):
        self.thresholds, self.refined = thresholds, not webvision
        self.mixture: dict[str, Any] = {"max_iter": 10, "tol": 1e-2, "reg_covar": 1e-3} if webvision else {}

    @classmethod
    def of(cls, inputs: SelectorInputs) -> Prototype:
        return cls(inputs.thresholds, webvision=inputs.options.variant == "webvision")

    def select(self, probe: Probe, epoch: int) -> Selection:
        labels, num_classes = probe.observed_labels, probe.num_classes
        unit, center = centre_and_normalise(probe.features)
        every = np.ones(len(labels), dtype=bool)
        centroids, _ = instant_centroids(unit, labels, every, num_classes)
        if self.refined:
            # The mask keeps a class whole that would be left empty; otherwise the class has no prototype.
            rough = self._decide(
                unit, centroids, labels, replace(self.thresholds, p_threshold=0.5, no_clean_class="keep_all")
            )
            centroids, _ = instant_centroids(unit, labels, rough.mask, num_classes)
        return replace(self._decide(unit, centroids, labels, self.thresholds), prototypes=centroids, center=center)

    def _decide(self, unit: np.ndarray, centroids: np.ndarray, labels: np.ndarray, thresholds: Thresholds) -> Selection:
        scores = label_scores(unit, centroids, labels)
        posterior = class_posteriors(
            scores,
            labels,
            len(centroids),
            larger=True,
            rescale=True,
            **thresholds.mixtures,
            **self.mixture,
        )
        return thresholds.decide(
            posterior.probability, scores, labels, len(centroids), posterior.unsplit, inverted=posterior.inverted
        )
