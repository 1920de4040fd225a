"""One network, one loss; optionally a selector and a balanced head (spec/methods.md §4, spec/sfa.md §8)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from sfa_bench.methods.base import Method, RunningMean, Training
from sfa_bench.models import Output
from sfa_bench.parts.losses import LOSSES, log_prior


class Single(Method):
    """Trains on shuffled batches of all samples; with a selector, from the end of the warm-up on the selected ones.

    Args: loss: a key of `LOSSES`; main_subset: `selected` restricts the main head's loss to the selected samples of a
    batch, `all` (for losses that bear noise) only the balanced head's.
    """

    def __init__(self, training: Training, *, loss: str, main_subset: str = "selected"):
        super().__init__(training)
        self.loss = LOSSES[loss]
        self.main_subset = main_subset

    def epoch(self, e: int) -> dict[str, float | None]:
        selecting = self.selects_in(e)
        if selecting:
            self.select(e)
        selection = self.selections[0] if selecting else None
        # Priors inside a loss follow the samples in use (spec/methods.md §3.5).
        loss_counts = torch.from_numpy(selection.class_counts) if selection else self.observed_counts
        phase = "training" if selecting or not self.t.selectors else "warm-up"
        self.t.on_phase(phase)
        self.set_rate(0, e)
        self.networks[0].train()
        device = self.devices[0]
        loss_counts = loss_counts.to(device)
        head_counts = self.counts_for_head(selection).to(device)
        mask = None if selection is None else torch.from_numpy(selection.mask)
        augmentation = self.generator("augmentation", 0, e)
        mean = RunningMean()
        for rows in self.epoch_batches(0, e, self.t.plain_batch, phase):
            images = self.loaders[device].train_view(rows, augmentation)
            labels = self.labels[rows].to(device)
            keep = None if mask is None else mask[rows].to(device)
            loss = self._loss(self.forward(0, images), labels, keep, loss_counts, head_counts)
            self.step(0, loss)
            self.cost.trained += len(rows)
            mean.add(loss)
        return {"loss": mean.value(0, e), "lr": self.t.optimisation.rate(e)}

    def _loss(
        self, out: Output, labels: Tensor, keep: Tensor | None, loss_counts: Tensor, head_counts: Tensor
    ) -> Tensor:
        """Main term plus, with the head, the balanced term; `keep` [B] marks the selected rows (None: all)."""
        main = self.loss(out.main, labels, loss_counts)
        loss = main.mean() if keep is None or self.main_subset == "all" else _mean_of(main, keep)
        if out.abc is not None and self.t.head is not None:
            balanced = F.cross_entropy(
                out.abc + log_prior(head_counts, self.t.head.count_floor), labels, reduction="none"
            )
            loss = loss + (balanced.mean() if keep is None else _mean_of(balanced, keep))
        return loss


def _mean_of(values: Tensor, keep: Tensor) -> Tensor:
    """Σ s·ℓ / max(1, Σ s): a batch without a selected sample adds nothing. Unselected infinities stay out."""
    return values[keep].sum() / keep.sum().clamp(min=1)
