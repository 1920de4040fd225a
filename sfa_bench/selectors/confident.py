"""Confident learning: what practitioners use to find label errors (algorithms/confident_learning.md)."""

from __future__ import annotations

import numpy as np

from sfa_bench.parts import confident
from sfa_bench.parts.softmax import softmax
from sfa_bench.selectors.base import Probe, Selection, Selector, SelectorInputs


class Confident(Selector):
    """What the three have in common: the predictions, and the samples counted as mislabelled.

    counting: by the rules of `cleanlab`, or of the `paper`.
    """

    def __init__(self, *, counting: str = "cleanlab"):
        self.by_cleanlab = counting == "cleanlab"

    @classmethod
    def of(cls, inputs: SelectorInputs) -> Confident:
        return cls(counting=inputs.options.counting)

    def select(self, probe: Probe, epoch: int) -> Selection:
        probabilities, labels = softmax(probe.logits.astype(np.float64), axis=1), probe.observed_labels
        classes = confident.confident_classes(probabilities, labels, among_all=self.by_cleanlab)
        score = self.score(probabilities, labels)
        return Selection.by_rule(probe, ~self.mislabelled(probabilities, labels, classes), score, score)

    def score(self, probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """The clean probability, [N] in [0, 1]; here self-confidence, the probability of the observed label."""
        return confident.of_labels(probabilities, labels)

    def mislabelled(self, probabilities: np.ndarray, labels: np.ndarray, classes: np.ndarray) -> np.ndarray:
        """Which samples are not selected, bool [N]; here as many of the lowest score as are counted as mislabelled.

        Args: classes [N] that samples are confidently of, -1 for none.
        """
        count = int(self.counted(probabilities, labels, classes).sum())
        return confident.lowest(self.score(probabilities, labels), count)

    def counted(self, probabilities: np.ndarray, labels: np.ndarray, classes: np.ndarray) -> np.ndarray:
        """The samples that are confidently of another class than their label, bool [N]."""
        return self.except_predicted((classes >= 0) & (classes != labels), probabilities, labels)

    def except_predicted(self, flagged: np.ndarray, probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """By cleanlab's rules a label that the network predicts is no error."""
        return flagged & ~confident.agrees(probabilities, labels) if self.by_cleanlab else flagged


class SelfConfidence(Confident):
    """`self_confidence`: all but the samples whose label is the least probable."""


class NormalisedMargin(Confident):
    """`normalised_margin`: all but the samples whose label is the furthest behind the most probable other class."""

    def score(self, probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
        return confident.normalised_margin(probabilities, labels)


class ConfidentLearning(Confident):
    """`confident_learning`: all but the label errors.

    prune: which these are, by `noise_rate`, by `class`, by `both`, or the `off_diagonal` of what is counted.
    """

    def __init__(self, *, prune: str = "noise_rate", counting: str = "cleanlab"):
        super().__init__(counting=counting)
        self.prune = prune

    @classmethod
    def of(cls, inputs: SelectorInputs) -> ConfidentLearning:
        return cls(prune=inputs.options.prune, counting=inputs.options.counting)

    def mislabelled(self, probabilities: np.ndarray, labels: np.ndarray, classes: np.ndarray) -> np.ndarray:
        if self.prune == "off_diagonal":
            return self.counted(probabilities, labels, classes)
        joint = confident.confident_joint(probabilities, labels, classes)
        flagged = np.ones(len(labels), dtype=bool)
        if self.prune in ("noise_rate", "both"):
            flagged &= confident.by_noise_rate(probabilities, labels, joint)
        if self.prune in ("class", "both"):
            flagged &= confident.by_class(probabilities, labels, joint)
        return self.except_predicted(flagged, probabilities, labels)
