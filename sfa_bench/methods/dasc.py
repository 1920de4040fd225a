"""DaSC (Baik et al. 2024): DivideMix with a balanced head, distribution-aware selection and contrastive losses for
confident and unconfident samples (algorithms/dasc.md).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor

from sfa_bench.methods.base import Training
from sfa_bench.methods.dividemix import DivideMix, DivideMixInputs, unlabelled_options
from sfa_bench.methods.networks import set_mode
from sfa_bench.methods.projection import PROJECTED, Encoded, Projector, added
from sfa_bench.models import Network
from sfa_bench.numerics import send
from sfa_bench.parts import mixmatch
from sfa_bench.parts.contrastive import balanced_contrastive, instance_contrastive, masked_mean
from sfa_bench.selectors.base import Selection

if TYPE_CHECKING:
    from sfa_bench.config.schema import RunConfig


def add_projectors(network: Network) -> None:
    """The encoding before the heads, and projectors of samples and of class prototypes (algorithms/dasc.md §1)."""
    network.backbone = Encoded(network.backbone)
    network.projector = Projector(network.feature_width)
    network.prototype_projector = Projector(network.feature_width)


class Dasc(DivideMix):
    """Args beyond DivideMix's (symbols in brackets):

    sbcl, midl: weights of the two contrastive losses [λ_SBCL, λ_MIDL], 0 leaves one out; sbcl_temperature,
    midl_temperature [τ]; sbcl_from: first epoch of the warm-up with the former, and with pushes to the memory, counted
    from 0; memory: projections that the latter is held against.
    confidence: largest target probability from which on a sample is confident [τ_c].
    refinement: labels are refined by their own clean probability (`own`), or as in the release, where the j-th selected
    sample has that of training sample j; positive: what an unconfident sample is pulled to, its `own` key or as in the
    release (algorithms/dasc.md §7).
    """

    weak_views, strong_views = 1, 2

    def __init__(
        self,
        training: Training,
        *,
        sbcl: float,
        midl: float,
        sbcl_temperature: float,
        midl_temperature: float,
        sbcl_from: int,
        memory: int,
        confidence: float,
        refinement: str,
        positive: str,
        **dividemix: Any,
    ):
        build = added(training.build_network, training.seed, add_projectors)
        super().__init__(replace(training, build_network=build), **dividemix)
        self.sbcl, self.midl, self.sbcl_from, self.confidence = sbcl, midl, sbcl_from, confidence
        self.sbcl_temperature, self.midl_temperature, self.memory_size = sbcl_temperature, midl_temperature, memory
        self.refinement, self.positive = refinement, positive
        self.memories = [torch.zeros(0, PROJECTED, device=device) for device in self.devices]

    @classmethod
    def of(cls, training: Training, config: RunConfig) -> Dasc:
        """What `conf/method` describes."""
        method = config.method
        return cls(
            training,
            **unlabelled_options(config),
            sbcl=method.sbcl,
            midl=method.midl,
            sbcl_temperature=method.sbcl_temperature,
            midl_temperature=method.midl_temperature,
            sbcl_from=method.sbcl_from,
            memory=method.memory,
            confidence=method.confidence,
            refinement=method.refinement,
            positive=method.positive,
        )

    def epoch(self, e: int) -> dict[str, float | None]:
        figures = super().epoch(e)
        # Each network is held against what the other saw.
        self.memories = [m.to(device) for m, device in zip(reversed(self.memories), self.devices, strict=True)]
        return figures

    def _warm_up(self, k: int, e: int) -> Iterator[tuple[Tensor, int]]:
        """Both heads on two weak views, from an epoch on with the contrastive loss (algorithms/dasc.md §2)."""
        self.begin(k, e, "warm-up")
        order = self.epoch_order(k, e)
        log_counts = self.training.head.log_prior(self.counts_of(order), self.devices[k])
        parts = self.plain_batches(order)
        stream = self.loaders[self.devices[k]].train_views(parts, self.generator("augmentation", k, e), copies=2)
        for b, rows in enumerate(parts):
            self.training.on_step("warm-up", k, b, len(parts))
            out = self.forward(k, torch.cat(next(stream)))
            labels = send(self.labels[rows], self.devices[k]).repeat(2)
            assert out.abc is not None
            loss = F.cross_entropy(out.main, labels) + F.cross_entropy(out.abc + log_counts, labels)
            if e > self.sbcl_from and (self.sbcl or self.midl):
                projections = self._project(k, out.features)
                self._remember(k, projections[: len(rows)])
                targets = F.one_hot(labels, self.training.view.num_classes).float()
                loss = loss + self.sbcl * self._confident_loss(k, projections, targets).mean()
            yield loss, 2 * len(rows)

    def _loss(
        self, k: int, given: DivideMixInputs, x_rows: Tensor, views: tuple[Tensor, ...], lam: float, weight: float
    ) -> tuple[Tensor, int]:
        """One labelled and one unlabelled batch: a weak view of each for the guesses, two strong ones to train on
        (algorithms/dasc.md §4).
        """
        device, network = self.devices[k], self.networks[k]
        x_weak, x1, x2, u_weak, u1, u2 = views
        observed = self._labels_of_rows(given, x_rows, device)
        w = send(given.clean_probability[x_rows].to(torch.float32), device)
        with torch.no_grad():
            set_mode(network, training=self.guess_mode == "train")
            q = (self._guess(k, u_weak) + self._guess(1 - k, u_weak)) / 2
            t_u = mixmatch.sharpen(q, self.temperature)
            guess = (self._both_heads(k, x_weak) + self._both_heads(1 - k, x_weak)) / 4
            t_x = mixmatch.refine_labels(observed, w, guess, self.temperature)
            set_mode(network, training=True)
        inputs, targets = torch.cat([x1, x2, u1, u2]), torch.cat([t_x, t_x, t_u, t_u])
        loss, out = self._mixed_loss(k, given, x_rows, inputs, t_x, t_u, lam, weight)
        if not (self.sbcl or self.midl):
            return loss, len(inputs)
        sizes = [len(x1), len(x2), len(u1), len(u2)]
        loss = loss + self._contrastive(k, inputs, sizes, targets)
        with torch.no_grad():
            _, x_mixed, _, u_mixed = self._project(k, out.features).split(sizes)
        self._remember(k, torch.cat([x_mixed, u_mixed]))
        return loss, 2 * len(inputs)

    def _contrastive(self, k: int, inputs: Tensor, sizes: list[int], targets: Tensor) -> Tensor:
        """Both losses on the strong views as they are: confident samples gather around their classes, each other one
        around its own second view.

        sizes: of the first and second views of the labelled batch, then of the unlabelled one, in `inputs`.
        """
        projections = self._project(k, self.forward(k, inputs, watched=False).features)
        confident = targets.amax(dim=1) > self.confidence
        loss = self.sbcl * masked_mean(self._confident_loss(k, projections, targets), confident)
        x1, x2, u1, u2 = projections.split(sizes)
        x_confident, _, u_confident, _ = confident.split(sizes)
        unsure = ~torch.cat([x_confident, u_confident])
        # In the release the i-th of them is pulled to column i.
        columns = unsure.cumsum(dim=0).sub(1).clamp(min=0) if self.positive == "release" else None
        values = instance_contrastive(
            torch.cat([x1, u1]), torch.cat([x2, u2]).detach(), self.memories[k], self.midl_temperature, columns
        )
        return loss + self.midl * masked_mean(values, unsure)

    def _confident_loss(self, k: int, projections: Tensor, targets: Tensor) -> Tensor:
        """Of each projection, among all of them and the projected class vectors of the main head."""
        main = self.networks[k].get_parameter("main.weight")
        prototypes = self.networks[k].get_submodule("prototype_projector")(main)
        entries, targets = torch.cat([projections, prototypes]), torch.cat([targets, torch.eye(len(main)).to(targets)])
        return balanced_contrastive(entries, targets, len(projections), self.sbcl_temperature)

    def _project(self, k: int, features: Tensor) -> Tensor:
        projected: Tensor = self.networks[k].get_submodule("projector")(features)
        return projected

    def _both_heads(self, k: int, images: Tensor) -> Tensor:
        """Sum of both heads' predictions of network k."""
        self.cost.guessed += len(images)
        out = self.forward(k, images.to(self.devices[k]))
        assert out.abc is not None
        return (F.softmax(out.main, dim=1) + F.softmax(out.abc, dim=1)).to(images.device)

    def _remember(self, k: int, projections: Tensor) -> None:
        self.memories[k] = torch.cat([self.memories[k], projections.detach()])[-self.memory_size :]

    def _refined_by(self, selection: Selection) -> Tensor:
        weights = super()._refined_by(selection)
        if self.refinement == "release":
            labelled = torch.from_numpy(selection.mask).nonzero()[:, 0]
            judged = weights if selection.rows is None else weights[torch.from_numpy(selection.rows)]
            weights = weights.index_copy(0, labelled, judged[: len(labelled)])
        return weights

    def projections(self, k: int, features: Tensor) -> Tensor:
        """For a selector that takes them (algorithms/dasc.md §3)."""
        with torch.no_grad():
            return self._project(k, features.to(self.devices[k])).cpu()

    def state(self) -> dict[str, Any]:
        return {**super().state(), "memories": list(self.memories)}

    def load_state(self, state: dict[str, Any]) -> None:
        super().load_state(state)
        self.memories = [memory.to(device) for memory, device in zip(state["memories"], self.devices, strict=True)]
