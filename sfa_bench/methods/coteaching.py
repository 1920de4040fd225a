"""Co-teaching (Han et al., NeurIPS 2018): each network learns from the other's small-loss samples
(algorithms/methods.md §6).
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch.nn.functional as F
from torch import Tensor

from sfa_bench.choices.noises import told_rate
from sfa_bench.data.types import Transform
from sfa_bench.methods.base import Method, RunningMean, Training
from sfa_bench.numerics import send
from sfa_bench.parts.schedules import keep_fraction

if TYPE_CHECKING:
    from sfa_bench.config.schema import RunConfig


class CoTeaching(Method):
    """Two networks on the same batches; in each, the samples of small loss are handed to the other network.

    Args: forget_rate: share of large losses left out once its rise over ten epochs is done; double_mean: divide the
    mean over the kept samples by their number once more, as the release (Q56); native: pixels only scaled to [0, 1],
    no augmentation, in training and prediction.
    """

    networks_used = 2

    def __init__(self, training: Training, *, forget_rate: float, double_mean: bool = False, native: bool = False):
        if native:
            channels = training.view.images.shape[1]
            plain = Transform((0.0,) * channels, (1.0,) * channels)
            training = replace(training, view=replace(training.view, transform=plain))
        super().__init__(training)
        self.forget_rate, self.double_mean = forget_rate, double_mean
        self.class_counts = self.observed_counts  # of the samples of this epoch

    @classmethod
    def of(cls, training: Training, config: RunConfig) -> CoTeaching:
        """Build the method from its configuration."""
        method = config.method
        told = told_rate(config) if method.forget_rate is None else method.forget_rate
        assert told is not None  # else validate has refused it
        return cls(training, forget_rate=told, double_mean=method.double_mean, native=method.native)

    def epoch(self, e: int) -> dict[str, float | None]:
        for k in (0, 1):
            self.begin(k, e, "training")
        keep = keep_fraction(e, self.training.epochs, self.forget_rate)
        augmentation = self.generator("augmentation", 0, e)
        means = (RunningMean(), RunningMean())
        order = self.epoch_order(0, e)
        self.class_counts = self.counts_of(order)
        for rows, images in self.views(0, self.plain_batches(order), augmentation, "training"):
            losses = self._losses(rows, images, keep)
            for k, loss in enumerate(losses):
                self.step(k, loss)
                means[k].add(loss)
            self.cost.trained += 2 * len(rows)
        return {**self.figures(e, [mean.value(k, e) for k, mean in enumerate(means)]), "kept": keep}

    def _losses(self, rows: Tensor, images: Tensor, keep: float) -> list[Tensor]:
        """Both losses of one batch, from forwards that precede both steps."""
        outs = [self.forward(k, images.to(self.devices[k])) for k in (0, 1)]
        labels = [send(self.labels[rows], device) for device in self.devices]
        each = [F.cross_entropy(out.main, y, reduction="none") for out, y in zip(outs, labels, strict=True)]
        kept = max(1, int(keep * len(rows) + 1e-9))
        easy = [values.detach().argsort(stable=True)[:kept] for values in each]
        losses = []
        for k in (0, 1):
            loss = each[k][easy[1 - k].to(self.devices[k])].mean()
            if self.double_mean:
                loss = loss / kept
            if (abc := outs[k].abc) is not None:
                log_counts = self.training.head.log_prior(self.class_counts, self.devices[k])
                loss = loss + F.cross_entropy(abc + log_counts, labels[k])
            losses.append(loss)
        return losses
