"""One loss on one network, or on two as an ensemble; optionally a schedule, mixup, a selector and a balanced head
(algorithms/methods.md §2–4, algorithms/sfa.md §8).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from sfa_bench import streams
from sfa_bench.choices.losses import LOSSES
from sfa_bench.methods.base import Method, Training
from sfa_bench.methods.loss import loss_of
from sfa_bench.numerics import send
from sfa_bench.parts import mixmatch
from sfa_bench.parts.losses import Loss
from sfa_bench.parts.reweighting import class_balanced_weights, resample, weighted_mean
from sfa_bench.parts.schedules import deferred
from sfa_bench.parts.stateful import StatefulLoss
from sfa_bench.selectors.base import Selection

if TYPE_CHECKING:
    from sfa_bench.config.schema import RunConfig


class SingleInputs(NamedTuple):
    """The inputs of one network's epoch."""

    keep: Tensor | None  # selected samples [N] bool; None: all
    labels: Tensor  # to train on [N] int64
    loss_counts: Tensor  # class counts inside the loss [K]
    log_counts: Tensor  # shift of the balanced head's logits [K]
    class_weights: Tensor | None  # [K]


class Single(Method):
    """Trains on shuffled batches of all samples; with a selector, from the end of the warm-up on the selected ones.

    Args:
        loss: of a sample, see `parts.losses.make_loss`; loss_name: its name, by which `choices.losses` says how it is
            weighted and whether it remembers; a loss of one's own may have any other.
        average_over: what a batch's loss is divided by with a selector, the `selected` samples or all of the `batch`.
        main_subset: `selected` restricts the main head's loss to the selected samples of a batch, `all` (for
            noise-robust losses) only the balanced head's.
        networks: 2 is an ensemble; each has its own streams and selects for itself.
        mixup: mixed pairs, one share a batch from Beta(1, 1).
        schedule: from e > 0.8E on `drw` weights classes and `drs` resamples them by their effective number, whose β is
            class_beta and whose counts are at least count_floor; some losses are weighted from the first epoch.
    """

    def __init__(
        self,
        training: Training,
        *,
        loss: Loss,
        loss_name: str,
        average_over: str = "selected",
        main_subset: str = "selected",
        networks: int = 1,
        mixup: bool = False,
        schedule: str = "none",
        class_beta: float = 0.9999,
        count_floor: float = 1.0,
    ):
        self.networks_used = networks
        super().__init__(training)
        described = LOSSES.get(loss_name)
        self.loss, self.plain_mean = loss, described is not None and described.plain_mean
        self.remembering: list[StatefulLoss] = []  # of each network, in the place of `loss`
        if described is not None and described.remembers:
            make = cast(Callable[..., StatefulLoss], loss)
            samples, num_classes = len(self.labels), training.view.num_classes
            self.remembering = [make(samples, num_classes, device) for device in self.devices]
            for k, stateful in enumerate(self.remembering):
                stateful.draw(self.generator("loss", k, 0))
        self.main_subset, self.mixup, self.over_batch = main_subset, mixup, average_over == "batch"
        self.class_beta, self.count_floor = class_beta, count_floor
        switch, never = deferred(training.epochs), training.epochs + 1
        weighted = described is not None and described.weighted
        self.weights_from = 1 if weighted else switch if schedule == "drw" else never
        self.resampled_from = switch if schedule == "drs" else never

    @classmethod
    def of(cls, training: Training, config: RunConfig) -> Single:
        """Build the method from its configuration."""
        method = config.method
        return cls(
            training,
            loss=loss_of(method.loss),
            loss_name=method.loss.name,
            average_over=method.average_over,
            main_subset=config.plugin.main_subset,
            networks=method.networks,
            mixup=method.mixup,
            schedule=method.schedule,
            class_beta=method.class_beta,
            count_floor=method.count_floor,
        )

    def epoch(self, e: int) -> dict[str, float | None]:
        if self.selects_in(e):
            self.select(e)
        return self.figures(e, [self.descend(k, e, self._losses(k, e)) for k in range(self.networks_used)])

    def _losses(self, k: int, e: int) -> Iterator[tuple[Tensor, int]]:
        selection = self.selections[k] if self.selects_in(e) else None
        phase = "training" if selection or not self.training.selectors else "warm-up"
        self.begin(k, e, phase)
        device = self.devices[k]
        order = self._order(k, e, selection)
        given = self._given(selection, order, e, device)
        mixing = self.generator("mixup", k, e)
        beta = streams.numpy_generator(self.training.seed, "mixup_share", k, e)
        parts = self.plain_batches(order)
        if self.mixup:
            if given.keep is not None:
                parts = [rows[given.keep[rows]] for rows in parts]
            parts = [rows for rows in parts if len(rows) > 1]  # else no partner to mix with, no batch statistics
        for rows, images in self.views(k, parts, self.generator("augmentation", k, e), phase):
            if self.mixup:
                yield self._mixed_loss(k, given, rows, images, mixing, float(beta.beta(1, 1))), len(rows)
                continue
            out = self.forward(k, images)
            labels = send(given.labels[rows], device)
            keep = None if given.keep is None else send(given.keep[rows].nonzero()[:, 0], device)
            values = self._values(k, rows, out.main, labels, given)
            loss = self._main(values, labels, given, None if self.main_subset == "all" else keep)
            if out.abc is not None:
                loss = loss + self._reduce(self._balanced(out.abc, labels, given), keep)
            yield loss, len(rows)
            if self.remembering:
                self.remembering[k].stepped()

    def _given(self, selection: Selection | None, order: Tensor, e: int, device: torch.device) -> SingleInputs:
        # Priors, margins and weights inside a loss follow the samples in use (algorithms/methods.md §3.5).
        drawn = self.counts_of(order) if self.training.warmup_draw else self.observed_counts
        counts = torch.from_numpy(selection.class_counts) if selection else drawn
        weights = class_balanced_weights(counts, self.class_beta, self.count_floor) if e >= self.weights_from else None
        return SingleInputs(
            torch.from_numpy(selection.mask) if selection else None,
            self.labels_of(selection),
            counts.to(device),
            self.training.head.log_prior(self.counts_for_head(selection) if selection else drawn, device),
            None if weights is None else weights.to(device),
        )

    def _order(self, k: int, e: int, selection: Selection | None) -> Tensor:
        """All samples once, or those of a draw, shuffled; under DRS as many draws with replacement."""
        if e < self.resampled_from:
            if selection is None or selection.rows is None:
                return self.epoch_order(k, e)
            rows = torch.from_numpy(selection.rows)
            return rows[torch.randperm(len(rows), generator=self.generator("shuffle", k, e))]
        counts = torch.from_numpy(selection.class_counts) if selection else self.observed_counts
        labels = self.labels_of(selection)
        return resample(labels, counts, self.class_beta, self.count_floor, self.generator("resample", k, e))

    def _mixed_loss(
        self, k: int, given: SingleInputs, rows: Tensor, images: Tensor, mixing: torch.Generator, lam: float
    ) -> Tensor:
        """mean(λ·ℓ(z, ỹ) + (1−λ)·ℓ(z, ỹ_π)) on mixed inputs, both heads on the same rows (algorithms/methods.md §4)."""
        device = self.devices[k]
        permutation = torch.randperm(len(rows), generator=mixing)
        out = self.forward(k, mixmatch.mix(images, lam, send(permutation, device)))
        loss = out.main.new_zeros(())
        for weight, labels in ((lam, given.labels[rows]), (1 - lam, given.labels[rows[permutation]])):
            labels = send(labels, device)
            values = self.loss(out.main, labels, given.loss_counts)
            loss = loss + weight * self._main(values, labels, given, None)
            if out.abc is not None:
                loss = loss + weight * self._balanced(out.abc, labels, given).mean()
        return loss

    def _values(self, k: int, rows: Tensor, logits: Tensor, labels: Tensor, given: SingleInputs) -> Tensor:
        """The loss of each row [B]."""
        if self.remembering:
            return self.remembering[k](logits, labels, given.loss_counts, send(rows, logits.device))
        return self.loss(logits, labels, given.loss_counts)

    def _main(self, values: Tensor, labels: Tensor, given: SingleInputs, keep: Tensor | None) -> Tensor:
        if given.class_weights is None:
            return self._reduce(values, keep)
        weights = given.class_weights[labels]
        if self.plain_mean:
            return self._reduce(weights * values, keep)
        if keep is None:
            return weighted_mean(values, weights)
        if self.over_batch:
            return (values * weights)[keep].sum() / weights.sum()
        return weighted_mean(values[keep], weights[keep])

    def _balanced(self, logits: Tensor, labels: Tensor, given: SingleInputs) -> Tensor:
        return F.cross_entropy(logits + given.log_counts, labels, reduction="none")

    def _reduce(self, values: Tensor, keep: Tensor | None) -> Tensor:
        """Mean, or Σ s·ℓ / max(1, Σ s) over the rows to keep: without one nothing; unselected infinities stay out. Or
        Σ s·ℓ / B (algorithms/dss.md §1).
        """
        if keep is None:
            return values.mean()
        return values[keep].sum() / (len(values) if self.over_batch else max(1, len(keep)))

    def state(self) -> dict[str, Any]:
        remembered = [loss.state() for loss in self.remembering]
        return {**super().state(), **({"losses": remembered} if remembered else {})}

    def load_state(self, state: dict[str, Any]) -> None:
        super().load_state(state)
        for loss, values in zip(self.remembering, state["losses"] if self.remembering else [], strict=True):
            loss.load_state(values)
