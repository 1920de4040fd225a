"""The best of each class, up to a quota that all classes share: UNICON's, CBS's and ProMix's rules
(algorithms/quota.md).
"""

from __future__ import annotations

import math
from functools import reduce

import numpy as np

from sfa_bench.parts.divergence import LARGEST, divergence_from_label
from sfa_bench.parts.mixtures import SAME, min_max
from sfa_bench.parts.prototypes import members_of_classes
from sfa_bench.parts.softmax import log_softmax
from sfa_bench.selectors.base import Probe, Selection, Selector, SelectorInputs

STEPS_BACK = 5  # UNICON's τ: the share of the way to the smallest distance that a mean above its limit goes back


class Quota(Selector):
    """Args (algorithms/quota.md §1–3):

    score: distance of prediction and label, `jsd` or the `loss` scaled to [0, 1] over all samples.
    rate: share ρ of the samples that the quotas add up to, or `mean_threshold`, the share nearer than their mean.
    rate_end, rate_epochs: a number goes to rate_end in as many epochs after the first selection; None: it stays.
    mean_limit: a mean distance above it goes back; None: it stays.
    all_networks: predictions are the mean of all networks' softmax.
    first_epoch: of the selections.

    It remembers nothing from epoch to epoch.
    """

    def __init__(
        self,
        *,
        score: str = "jsd",
        rate: float | str = "mean_threshold",
        rate_end: float | None = None,
        rate_epochs: int = 100,
        mean_limit: float | None = None,
        all_networks: bool = False,
        first_epoch: int = 1,
    ):
        self.score = score
        self.rate, self.rate_end, self.rate_epochs = rate, rate_end, rate_epochs
        self.mean_limit = mean_limit
        self.all_networks = all_networks
        self.first_epoch = first_epoch

    @classmethod
    def of(cls, inputs: SelectorInputs) -> Quota:
        options = inputs.options
        return cls(
            score=options.score,
            rate=options.rate,
            rate_end=options.rate_end,
            rate_epochs=options.rate_epochs,
            mean_limit=options.mean_limit,
            all_networks=options.networks == "both",
            first_epoch=inputs.first_epoch,
        )

    def select(self, probe: Probe, epoch: int) -> Selection:
        labels, num_classes = probe.observed_labels, probe.num_classes
        distance = self.distances([probe, *probe.others])
        quota = self.quota(distance, num_classes, epoch)
        mask = nearest(distance, labels, num_classes, quota)
        sizes = np.bincount(labels, minlength=num_classes)
        whole = int(((sizes > 0) & (sizes <= quota)).sum())
        return Selection(
            mask,
            1 - distance / (LARGEST if self.score == "jsd" else 1),
            -distance,
            np.bincount(labels[mask], minlength=num_classes),
            fallbacks={"class_within_quota": whole} if whole else {},
        )

    def distances(self, probes: list[Probe]) -> np.ndarray:
        """d [N] of the mean prediction of these networks, the smaller the cleaner (algorithms/quota.md §1)."""
        labels = probes[0].observed_labels
        each = [log_softmax(probe.logits.astype(np.float64), axis=1) for probe in probes]
        logs = reduce(np.logaddexp, each) - math.log(len(each))  # of the mean of their softmax
        if self.score == "loss":
            return min_max(-logs[np.arange(len(labels)), labels])
        return np.minimum(divergence_from_label(np.exp(logs), labels), LARGEST)

    def quota(self, distance: np.ndarray, num_classes: int, epoch: int) -> int:
        """The most samples that are selected of a class, at least 1 (algorithms/quota.md §2)."""
        if isinstance(self.rate, str):
            return max(1, self.below_mean(distance) // num_classes)
        # But for rounding of the product: 0.07 of 1,000 samples are 70.
        return max(1, math.ceil(round(self.rate_in(epoch, self.rate) * len(distance) / num_classes, 9)))

    def slots(self, distance: np.ndarray, num_classes: int, epoch: int) -> int:
        """Places that quotas are made of: UNICON's release has them before it divides them by the classes."""
        if isinstance(self.rate, str):
            return self.below_mean(distance)
        return num_classes * self.quota(distance, num_classes, epoch)

    def below_mean(self, distance: np.ndarray) -> int:
        """How many samples are nearer than the mean distance, or than where it goes back to; all, if all are as far."""
        if np.ptp(distance) <= SAME * distance.max():
            return len(distance)
        threshold = distance.mean()
        if self.mean_limit is not None and threshold > self.mean_limit:
            threshold -= (threshold - distance.min()) / STEPS_BACK
        return int((distance < threshold).sum())

    def rate_in(self, epoch: int, start: float) -> float:
        """ρ of an epoch: from `start` in the first selection to `rate_end` after `rate_epochs`, in equal steps."""
        if self.rate_end is None:
            return start
        gone = min(max((epoch - self.first_epoch) / self.rate_epochs, 0), 1)
        return start + (self.rate_end - start) * gone


def nearest(distance: np.ndarray, labels: np.ndarray, num_classes: int, quota: int) -> np.ndarray:
    """Mask [N] of the `quota` samples of each observed class with the smallest distance [N], all of a smaller class;
    ties go to the first.
    """
    mask = np.zeros(len(labels), dtype=bool)
    for rows in members_of_classes(labels, num_classes):
        mask[rows[np.argsort(distance[rows], kind="stable")[:quota]]] = True
    return mask
