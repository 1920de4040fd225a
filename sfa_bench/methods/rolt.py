"""RoLT (Wei et al. 2021): prototypes find clean samples, guesses soften the labels of the rest (algorithms/methods.md
§8).

With a selecting plug-in its mask and its prototypes take the place of RoLT's own (algorithms/sfa.md §8).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from sfa_bench.methods.base import Method, Training
from sfa_bench.methods.loss import loss_of
from sfa_bench.numerics import send
from sfa_bench.parts.label_cleaning import TemporalEnsemble, component_loss, prototype_scores, uniform_component
from sfa_bench.parts.losses import Loss
from sfa_bench.parts.prototypes import centre_and_normalise, instant_centroids
from sfa_bench.parts.reweighting import class_balanced_weights
from sfa_bench.parts.schedules import deferred, first_after

if TYPE_CHECKING:
    from sfa_bench.config.schema import RunConfig


class Cleaned(NamedTuple):
    """The inputs of one network's epoch; tensors [N] unless stated otherwise."""

    keep: Tensor  # s, bool
    labels: Tensor  # to train on
    linear_guess: Tensor  # a, by the running average of the logits
    prototype_guess: Tensor  # b, by the running average of the distances


class Rolt(Method):
    """Args:
    loss: of a sample (cross-entropy or LDAM).
    schedule: `drw` freezes labels and weights classes from e > 0.8E; class_beta, count_floor: of those weights.
    ensemble_bias: of the running averages, `corrected` or as the `release` (Q38).
    networks: 2 is an ensemble; each cleans for itself.
    """

    def __init__(
        self,
        training: Training,
        *,
        loss: Loss,
        schedule: str = "none",
        class_beta: float = 0.9999,
        count_floor: float = 1.0,
        ensemble_bias: str = "corrected",
        networks: int = 1,
    ):
        self.networks_used = networks
        super().__init__(training)
        self.loss = loss
        self.class_beta, self.count_floor = class_beta, count_floor
        self.soft_from = first_after(0.4, training.epochs)
        self.frozen_from = deferred(training.epochs) if schedule == "drw" else training.epochs + 1
        self.logit_average = [TemporalEnsemble(ensemble_bias) for _ in range(networks)]
        self.score_average = [TemporalEnsemble(ensemble_bias) for _ in range(networks)]
        self.frozen: list[Tensor | None] = [None] * networks  # h [N]
        self.prototypes: list[tuple[np.ndarray, np.ndarray] | None] = [None] * networks  # ([K, d], mean feature [d])

    @classmethod
    def of(cls, training: Training, config: RunConfig) -> Rolt:
        """Build the method from its configuration."""
        method = config.method
        return cls(
            training,
            loss=loss_of(method.loss),
            networks=method.networks,
            ensemble_bias=method.ensemble_bias,
            schedule=method.schedule,
            class_beta=method.class_beta,
            count_floor=method.count_floor,
        )

    def epoch(self, e: int) -> dict[str, float | None]:
        cleaned: list[Cleaned | None] = [None] * self.networks_used
        if self.selects_in(e):
            self.select(e)
            cleaned = [self._clean(k, e) for k in range(self.networks_used)]
        return self.figures(
            e, [self.descend(k, e, self._losses(k, e, of_network)) for k, of_network in enumerate(cleaned)]
        )

    def _clean(self, k: int, e: int) -> Cleaned:
        """Steps 1–5 of algorithms/methods.md §8, given the selection; freezes the labels in the switch's epoch."""
        probe, selection = self.probes[k], self.selections[k]
        labels = self.labels_of(selection)
        unit, center = centre_and_normalise(probe.features)
        prototypes = selection.prototypes
        if prototypes is None:  # a selector without prototypes: those of the selected samples
            prototypes, _ = instant_centroids(unit, labels.numpy(), selection.mask, probe.num_classes)
        self.prototypes[k] = (prototypes, center)
        scores = prototype_scores(unit, prototypes, np.abs(prototypes).sum(1) > 0)
        logits = self.logit_average[k].update(probe.logits.astype(np.float64))
        distances = self.score_average[k].update(scores)
        keep = torch.from_numpy(selection.mask)
        guess = torch.from_numpy(logits.argmax(axis=1))
        if e >= self.frozen_from and self.frozen[k] is None:
            self.frozen[k] = torch.where(keep, labels, guess)
        return Cleaned(keep, labels, guess, torch.from_numpy(distances.argmax(axis=1)))

    def _losses(self, k: int, e: int, cleaned: Cleaned | None) -> Iterator[tuple[Tensor, int]]:
        phase = "warm-up" if cleaned is None else "training"
        self.begin(k, e, phase)
        device, num_classes = self.devices[k], self.training.view.num_classes
        frozen = self.frozen[k] if e >= self.frozen_from else None
        observed = self.labels if cleaned is None else cleaned.labels
        label_counts = torch.bincount(self._epoch_labels(e, cleaned, frozen), minlength=num_classes)
        weights = None
        if frozen is not None:
            weights = class_balanced_weights(label_counts, self.class_beta, self.count_floor).to(device)
        selection = None if cleaned is None else self.selections[k]
        log_counts = self.training.head.log_prior(self.counts_for_head(selection), device)
        label_counts = label_counts.to(device)
        parts = self.plain_batches(self.epoch_order(k, e))
        for rows, images in self.views(k, parts, self.generator("augmentation", k, e), phase):
            out = self.forward(k, images)
            components = [(w, send(y, device)) for w, y in self._components(e, rows, cleaned, frozen)]
            loss = component_loss(self.loss, out.main, components, label_counts, weights)
            if out.abc is not None:
                balanced = F.cross_entropy(out.abc + log_counts, send(observed[rows], device), reduction="none")
                if cleaned is None:
                    loss = loss + balanced.mean()
                else:
                    keep = send(cleaned.keep[rows].nonzero()[:, 0], device)
                    loss = loss + balanced[keep].sum() / max(1, len(keep))
            yield loss, len(rows)

    def _epoch_labels(self, e: int, cleaned: Cleaned | None, frozen: Tensor | None) -> Tensor:
        """Labels whose counts determine margins and class weights (algorithms/methods.md §8.7)."""
        if frozen is not None:
            return frozen
        if cleaned is None:
            return self.labels
        if e < self.soft_from:
            return cleaned.labels
        return torch.where(cleaned.keep, cleaned.labels, cleaned.linear_guess)

    def _components(
        self, e: int, rows: Tensor, cleaned: Cleaned | None, frozen: Tensor | None
    ) -> list[tuple[float, Tensor]]:
        """The label lists of a batch with their weights (algorithms/methods.md §8.6); a selected row has its own in
        each.
        """
        observed = (self.labels if cleaned is None else cleaned.labels)[rows]
        num_classes = self.training.view.num_classes
        if cleaned is None or e < self.soft_from:
            return [(1.0, observed)]
        rejected = ~cleaned.keep[rows]
        if frozen is not None:
            return [(0.5, frozen[rows]), *uniform_component(0.5, observed, rejected, num_classes)]
        linear = torch.where(rejected, cleaned.linear_guess[rows], observed)
        prototype = torch.where(rejected, cleaned.prototype_guess[rows], observed)
        uniform = uniform_component(0.2, observed, rejected, num_classes)
        return [(0.4, linear), (0.2, prototype), (0.2, observed), *uniform]

    def extra_heads(self, k: int, features: np.ndarray) -> dict[str, np.ndarray]:
        """Nearest class mean with the prototypes of the epoch's start (algorithms/methods.md §8.8)."""
        stored = self.prototypes[k]
        if stored is None:
            return {}
        prototypes, center = stored
        centred = features.astype(np.float64) - center
        unit = centred / np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-12)
        scores = prototype_scores(unit, prototypes, np.abs(prototypes).sum(1) > 0)
        return {"ncm": scores.astype(np.float32)}

    def state(self) -> dict[str, Any]:
        state = {
            "logit_average": [average.state() for average in self.logit_average],
            "score_average": [average.state() for average in self.score_average],
            "frozen": list(self.frozen),
            "prototypes": [None if p is None else [torch.from_numpy(a) for a in p] for p in self.prototypes],
        }
        return {**super().state(), **state}

    def load_state(self, state: dict[str, Any]) -> None:
        super().load_state(state)
        for name, averages in (("logit_average", self.logit_average), ("score_average", self.score_average)):
            for average, values in zip(averages, state[name], strict=True):
                average.load_state(values)
        self.frozen = list(state["frozen"])
        self.prototypes = [None if p is None else (p[0].numpy(), p[1].numpy()) for p in state["prototypes"]]
