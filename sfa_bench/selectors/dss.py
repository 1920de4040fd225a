"""Clean is what the network predicts, as it stands or once its bias for some classes is taken off
(algorithms/dss.md §1–2).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from sfa_bench.parts.confident import agrees, confident_classes, confident_joint, of_labels
from sfa_bench.parts.softmax import log_softmax, softmax
from sfa_bench.selectors.base import Probe, Selection, Selector, SelectorInputs


def selected_by(probe: Probe, probabilities: np.ndarray) -> Selection:
    """The samples whose label is the most probable class; ties are the label's. Args: probabilities [N, K]."""
    label_probability = of_labels(probabilities, probe.observed_labels)
    return Selection.by_rule(probe, agrees(probabilities, probe.observed_labels), label_probability, label_probability)


class PredictedLabel(Selector):
    """`base`: the samples whose label the network predicts."""

    @classmethod
    def of(cls, inputs: SelectorInputs) -> PredictedLabel:
        return cls()

    def select(self, probe: Probe, epoch: int) -> Selection:
        return selected_by(probe, softmax(probe.logits.astype(np.float64), axis=1))


class MarginalAlignment(Selector):
    """`mda`: the same once predictions are moved from what the network predicts on average to a prior of the classes.

    prior [K], or None: estimated by the confident joint in each selection.
    momentum: of the running mean of predictions [λ], batch by batch.
    batch: samples of a training batch, as many of which as were trained on since the last selection are taken to be
    like the selection pass; None: the batches themselves are watched.
    """

    def __init__(self, num_classes: int, *, prior: np.ndarray | None, momentum: float, batch: int | None):
        self.prior, self.momentum, self.batch = prior, momentum, batch
        self.marginal = torch.full((num_classes,), 1 / num_classes)  # π [K] float32
        self.trained = 0  # epochs that it is of

    @classmethod
    def of(cls, inputs: SelectorInputs) -> MarginalAlignment:
        observed, options = np.asarray(inputs.observed_counts), inputs.options
        priors = {"uniform": np.full(len(observed), 1 / len(observed)), "observed": observed / observed.sum()}
        return cls(
            len(observed),
            prior=priors.get(options.prior),
            momentum=options.momentum,
            batch=None if options.source == "training" else inputs.effective.plain_batch,
        )

    def watch(self, logits: Tensor) -> None:
        mean = F.softmax(logits.float(), dim=1).mean(dim=0)
        self.marginal = torch.lerp(mean, self.marginal.to(mean.device), self.momentum)

    def select(self, probe: Probe, epoch: int) -> Selection:
        log_p = log_softmax(probe.logits.astype(np.float64), axis=1)
        p = np.exp(log_p)
        if self.batch is not None:
            self._follow(p.mean(axis=0), epoch, -(-len(p) // self.batch))
        prior = self._estimated(p, probe.observed_labels) if self.prior is None else self.prior
        marginal = self.marginal.cpu().numpy().astype(np.float64)
        with np.errstate(divide="ignore"):  # a class of prior 0 is never predicted
            shift = np.log(prior) - np.log(np.maximum(marginal, np.finfo(np.float32).tiny))
        return selected_by(probe, softmax(log_p + shift, axis=1))

    def _follow(self, mean: np.ndarray, epoch: int, batches: int) -> None:
        """The running mean after the batches since the last selection, each with the mean [K] of this pass."""
        kept = self.momentum ** (batches * (epoch - 1 - self.trained))
        self.marginal = torch.lerp(torch.from_numpy(mean).float(), self.marginal, kept)
        self.trained = epoch - 1

    @staticmethod
    def _estimated(p: np.ndarray, labels: np.ndarray) -> np.ndarray:
        joint = confident_joint(p, labels, confident_classes(p, labels, among_all=False))
        return joint.sum(axis=0) / joint.sum()

    def state(self) -> dict[str, Any]:
        return {"marginal": self.marginal, "trained": self.trained}

    def load_state(self, state: dict[str, Any]) -> None:
        self.marginal, self.trained = state["marginal"], state["trained"]
