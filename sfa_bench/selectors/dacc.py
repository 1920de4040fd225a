"""DaCC, the selector of DaSC (Baik et al. 2024): centroids that every sample adds to by what the network says of it
(algorithms/dacc.md).
"""

from __future__ import annotations

import sys

import numpy as np

from sfa_bench.parts.mixtures import class_posteriors, min_max
from sfa_bench.parts.prototypes import normalise
from sfa_bench.parts.softmax import log_softmax, softmax
from sfa_bench.selectors.base import Probe, Selection, Selector, SelectorInputs, Thresholds

HIGHEST_GATE = 0.999


class DistributionAwareCentroids(Selector):
    """DaCC of one network; it remembers nothing from epoch to epoch.

    phi: growth of the gate's threshold an epoch, whatever the length of the run; temperature: of the predictions that
    weigh the samples in the centroids; projections: take what DaSC's projector makes of the features, where there is
    one, in the place of the heads' input (`method.selector.features`, algorithms/dasc.md §3).
    """

    def __init__(
        self, thresholds: Thresholds, *, phi: float = 1.005, temperature: float = 0.1, projections: bool = True
    ):
        self.thresholds = thresholds
        self.phi, self.temperature, self.projections = phi, temperature, projections

    @classmethod
    def of(cls, inputs: SelectorInputs) -> DistributionAwareCentroids:
        options = inputs.options
        projections = options.features == "project"
        return cls(inputs.thresholds, phi=options.phi, temperature=options.temperature, projections=projections)

    def gate_threshold(self, epoch: int, num_classes: int) -> float:
        """θ = φ^t / K with t = e − 1, the release's epoch; kept below one, which no probability would pass."""
        try:
            growth = self.phi ** (epoch - 1)
        except OverflowError:
            growth = sys.float_info.max
        return min(growth / num_classes, HIGHEST_GATE)

    def select(self, probe: Probe, epoch: int) -> Selection:
        labels, num_classes = probe.observed_labels, probe.num_classes
        heads = [probe.logits] if probe.abc_logits is None else [probe.logits, probe.abc_logits]
        threshold = self.gate_threshold(epoch, num_classes)
        gate = np.all([softmax(logits.astype(np.float64), axis=1).max(axis=1) > threshold for logits in heads], axis=0)
        fallbacks = {}
        if not gate.any():
            gate[:] = True
            fallbacks["class_without_gated_sample"] = num_classes
        projected = probe.projections if self.projections else None
        unit = normalise(probe.features if projected is None else projected)
        centroids = prediction_centroids(unit, probe.logits.astype(np.float64) / self.temperature, gate)
        score = softmax(unit @ centroids.T, axis=1)[np.arange(len(labels)), labels]
        posterior = class_posteriors(
            min_max(-score), labels, num_classes, larger=False, rescale=False, **self.thresholds.mixtures
        )
        return self.thresholds.decide(
            posterior.probability,
            score,
            labels,
            num_classes,
            posterior.unsplit,
            inverted=posterior.inverted,
            # No prototypes: these features are not centred.
            fallbacks=fallbacks,
        )


def prediction_centroids(unit: np.ndarray, logits: np.ndarray, gate: np.ndarray) -> np.ndarray:
    """Unit centroids [K, d]; each class weighs all gated samples by their predictions (algorithms/dacc.md §2).

    Args: unit [N, d] unit features; logits [N, K] of the sharpened predictions; gate [N] bool, true for some.
    """
    log_weights = log_softmax(logits, axis=1)
    log_weights[~gate] = -np.inf
    # Only directions matter: with each class's largest weight at 1, one that nobody is sure of does not underflow.
    weights = np.exp(log_weights - log_weights.max(axis=0))
    return normalise(weights.T @ unit)
