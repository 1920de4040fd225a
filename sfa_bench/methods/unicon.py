"""UNICON (Karim et al. 2022): DivideMix on class-balanced selections of both networks together, with strong views and a
contrastive loss on what was not selected (algorithms/unicon.md).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from sfa_bench.choices.methods import confidence_penalty
from sfa_bench.choices.selectors import scores_by_divergence
from sfa_bench.data.loader import batches
from sfa_bench.methods.base import Training
from sfa_bench.methods.dividemix import DivideMix, DivideMixInputs, unlabelled_options
from sfa_bench.methods.networks import set_mode
from sfa_bench.methods.projection import Projector, added
from sfa_bench.models import Network
from sfa_bench.numerics import send
from sfa_bench.parts import mixmatch
from sfa_bench.parts.contrastive import view_contrastive
from sfa_bench.selectors.base import Selection
from sfa_bench.selectors.quota import Quota

if TYPE_CHECKING:
    from sfa_bench.config.schema import RunConfig

SURE = 0.5  # divergence below which a label is kept as it is


def add_projector(network: Network) -> None:
    """The projector of the contrastive loss (algorithms/unicon.md §1)."""
    network.projector = Projector(network.feature_width)


class Unicon(DivideMix):
    """Args beyond DivideMix's:

    contrastive: weight of the contrastive loss, 0 leaves it out; contrastive_temperature: of it.
    by_divergence: the selector's clean probability is 1 − d/ln 2, so that labels are refined by d.
    fill: `none`, or as in the release, where image 0 takes the places that no class filled.
    """

    weak_views, strong_views = 2, 2

    def __init__(
        self,
        training: Training,
        *,
        contrastive: float,
        contrastive_temperature: float,
        by_divergence: bool,
        fill: str = "none",
        **dividemix: Any,
    ):
        build = added(training.build_network, training.seed, add_projector)
        super().__init__(replace(training, build_network=build), **dividemix)
        self.contrastive, self.contrastive_temperature = contrastive, contrastive_temperature
        self.by_divergence, self.fill = by_divergence, fill

    @classmethod
    def of(cls, training: Training, config: RunConfig) -> Unicon:
        """What `conf/method` describes."""
        method = config.method
        return cls(
            training,
            **unlabelled_options(config),
            confidence_penalty=confidence_penalty(config),
            contrastive=method.contrastive,
            contrastive_temperature=method.contrastive_temperature,
            by_divergence=scores_by_divergence(method.selector),
            fill=method.fill,
        )

    def epoch(self, e: int) -> dict[str, float | None]:
        if not self.selects_in(e):
            return super().epoch(e)
        probes, selections, losses = [], [], []
        for k in (0, 1):  # network 2 selects when network 1 has been trained; each selector is asked once
            probe, selection = self.select_alone(k, e)
            losses.append(self.descend(k, e, self._losses(k, e, selection)))
            probes.append(probe)
            selections.append(selection)
        self.probes, self.selections = probes, selections
        return {**self.figures(e, losses), "lambda_u": self._unlabelled_weight(e, 0)}

    def _co_divided(self, k: int, e: int, selection: Selection) -> tuple[list[Tensor], Iterator[Tensor]]:
        steps, others = super()._co_divided(k, e, selection)
        if self.fill == "release":
            labelled = torch.from_numpy(selection.mask).nonzero()[:, 0]
            judged = np.arange(len(self.labels)) if selection.rows is None else selection.rows
            selector = self.training.selectors[k]
            assert isinstance(selector, Quota)  # another one is refused
            missing = selector.slots(-selection.score[judged], len(selection.class_counts), e) - len(labelled)
            filler = labelled.new_full((max(0, missing),), int(judged[0]))
            labelled = torch.cat([labelled, filler])
            order = labelled[torch.randperm(len(labelled), generator=self.generator("labelled", k, e))]
            steps = list(batches(order, self.training.batch_size))
        return steps, others

    def _refined_by(self, selection: Selection) -> Tensor:
        """1 where the divergence d of prediction and label is small, else 1 − d (algorithms/unicon.md §3)."""
        probability = super()._refined_by(selection)
        if not self.by_divergence:
            return probability
        divergence = (1 - probability) * math.log(2)
        return torch.where(divergence < SURE, 1.0, 1 - divergence)

    def _loss(
        self, k: int, given: DivideMixInputs, x_rows: Tensor, views: tuple[Tensor, ...], lam: float, weight: float
    ) -> tuple[Tensor, int]:
        """One labelled and one unlabelled batch: two weak views of each for the guesses, two strong ones to train on
        (algorithms/unicon.md §3–4).
        """
        device, network = self.devices[k], self.networks[k]
        x1, x2, x3, x4, u1, u2, u3, u4 = views
        observed = self._labels_of_rows(given, x_rows, device)
        w = send(given.clean_probability[x_rows].to(torch.float32), device)
        with torch.no_grad():
            set_mode(network, training=self.guess_mode == "train")
            q = (self._guess(k, u1) + self._guess(k, u2) + self._guess(1 - k, u1) + self._guess(1 - k, u2)) / 4
            t_u = mixmatch.sharpen(q, self.temperature)
            guess = (self._guess(k, x1) + self._guess(k, x2)) / 2
            t_x = mixmatch.refine_labels(observed, w, guess, self.temperature)
            set_mode(network, training=True)
        inputs = torch.cat([x3, x4, u3, u4])
        loss, _ = self._mixed_loss(k, given, x_rows, inputs, t_x, t_u, lam, weight)
        images = len(inputs)
        if self.contrastive and len(u3):
            features = self.forward(k, torch.cat([u3, u4]), watched=False).features
            first, second = network.get_submodule("projector")(features).chunk(2)
            loss = loss + self.contrastive * view_contrastive(first, second, self.contrastive_temperature)
            images += 2 * len(u3)
        return loss, images
