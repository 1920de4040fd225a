"""Small loss is clean: DivideMix's mixture over all samples, and its class-wise variant (algorithms/methods.md §7)."""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from scipy.special import logsumexp

from sfa_bench.parts.mixtures import class_posteriors, min_max, posteriors
from sfa_bench.selectors.base import Probe, Selection, Selector, SelectorInputs, Thresholds


def normalised_losses(probe: Probe) -> np.ndarray:
    """Cross-entropy of each sample with its observed label, min-max scaled over all samples: [N] in [0, 1]."""
    logits = probe.logits.astype(np.float64)
    label_logits = logits[np.arange(len(logits)), probe.observed_labels]
    return min_max(logsumexp(logits, axis=1) - label_logits)


class LossMixture(Selector):
    """One mixture over the losses of all samples; with `average_losses` over the mean of the last five epochs' (the
    release does so at a noise ratio of 0.9).

    reg_covar: floor of the mixture's variances, 5e-4 but in DivideMix's parallel WebVision script
    (algorithms/methods.md §7). It knows no classes, so none is kept whole: a class whose samples all have a high loss
    is left empty.
    """

    def __init__(self, thresholds: Thresholds, *, average_losses: bool = False, reg_covar: float = 5e-4):
        self.thresholds = replace(thresholds, no_clean_class="none")
        self.reg_covar = reg_covar
        self.history: deque[np.ndarray] = deque(maxlen=5 if average_losses else 1)

    @classmethod
    def of(cls, inputs: SelectorInputs) -> LossMixture:
        floor = 1e-3 if inputs.options.variant == "webvision" else 5e-4
        return cls(inputs.thresholds, average_losses=inputs.averaged, reg_covar=floor)

    def select(self, probe: Probe, epoch: int) -> Selection:
        self.history.append(normalised_losses(probe))
        losses = np.mean(self.history, axis=0)
        labels = probe.observed_labels
        if losses.max() == losses.min():
            every = np.unique(labels)
            return self.thresholds.decide(np.ones(len(losses)), -losses, labels, probe.num_classes, every)
        (judgement,) = posteriors(
            [losses],
            larger=False,
            fit=self.thresholds.fit,
            monotone=self.thresholds.monotone,
            max_iter=10,
            tol=1e-2,
            reg_covar=self.reg_covar,
        )
        return self.thresholds.decide(
            judgement.probability, -losses, labels, probe.num_classes, inverted=judgement.inverted
        )

    def state(self) -> dict[str, Any]:
        return {"history": [torch.from_numpy(losses) for losses in self.history]}

    def load_state(self, state: dict[str, Any]) -> None:
        self.history.clear()
        self.history.extend(losses.numpy() for losses in state["history"])


class ClassLossMixture(Selector):
    """One mixture per observed class over the same losses."""

    def __init__(self, thresholds: Thresholds):
        self.thresholds = thresholds

    @classmethod
    def of(cls, inputs: SelectorInputs) -> ClassLossMixture:
        return cls(inputs.thresholds)

    def select(self, probe: Probe, epoch: int) -> Selection:
        losses, labels = normalised_losses(probe), probe.observed_labels
        posterior = class_posteriors(
            losses,
            labels,
            probe.num_classes,
            larger=False,
            rescale=False,
            **self.thresholds.mixtures,
        )
        return self.thresholds.decide(
            posterior.probability, -losses, labels, probe.num_classes, posterior.unsplit, inverted=posterior.inverted
        )
