"""Bootstrapping (Reed et al., ICLR 2015 workshop) as a method of your own.

A sample's target mixes its observed label with what the network says by now: t = trust · onehot(ỹ) + (1 − trust) · q,
where q is the network's softmax (soft) or the class it favours (hard). From `from_epoch` on, so labels are corrected.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from sfa_bench.methods.base import Method, RunningMean, Training


def bootstrap_loss(logits: Tensor, labels: Tensor, trust: float, mode: str) -> Tensor:
    """Mean of −Σ_k t_k · log q_k over logits [B, K] and labels [B]. Soft targets have a gradient: without it all that
    is left is cross-entropy times `trust`.
    """
    log_q = F.log_softmax(logits, dim=1)
    one_hot = torch.eye(logits.shape[1]).to(log_q)
    own = log_q.exp() if mode == "soft" else one_hot[logits.argmax(dim=1)]
    target = trust * one_hot[labels] + (1 - trust) * own
    return -(target * log_q).sum(dim=1).mean()


class Bootstrapping(Method):
    """One network. The keyword arguments are the keys of conf/method/bootstrapping.yaml, with these types.

    Args: trust: share of the observed label in the target; from_epoch: first epoch (from 1) that corrects; mode.
    """

    networks_used = 1  # the engine builds so many, each with its own weights
    knows = ()  # told nothing but the observed labels; else among rate, type, clean_labels, clean_val, pretraining

    def __init__(
        self, training: Training, *, trust: float = 0.95, from_epoch: int = 1, mode: Literal["soft", "hard"] = "soft"
    ):
        if not 0 <= trust <= 1:
            raise ValueError(f"method.trust={trust:g}: allowed is 0 <= trust <= 1")
        super().__init__(training)  # makes self.networks, self.optimisers, self.loaders, self.labels
        self.trust, self.from_epoch, self.mode = trust, from_epoch, mode

    def epoch(self, e: int) -> dict[str, float | None]:
        """Train epoch e (1-based) and return what to log; the engine evaluates, records and saves."""
        selecting = self.selects_in(e)  # where a plug-in has brought a selector, after the warm-up
        if selecting:
            self.select(e)  # fills self.selections, one a network
        self.training.on_phase("training")
        self.prepare(0, e)
        self.networks[0].train()
        device, mean = self.devices[0], RunningMean()
        # Every draw comes from a stream named for this epoch: a run that goes on equals one that never stopped.
        augmentation = self.generator("augmentation", 0, e)
        order = self.epoch_order(0, e)
        if selecting:
            order = order[torch.from_numpy(self.selections[0].mask)[order]]
        parts = [rows for rows in self.plain_batches(order) if len(rows) > 1]  # batch statistics need two rows
        for rows, images in self.views(0, parts, augmentation, "training"):
            labels = self.labels[rows].to(device)
            out = self.forward(0, images)
            loss = bootstrap_loss(out.main, labels, self.trust if e >= self.from_epoch else 1.0, self.mode)
            if out.abc is not None:  # plugin=abc and plugin=sfa add the balanced head, which has to be trained
                counts = self.counts_for_head(self.selections[0] if selecting else None).to(device)
                loss = loss + F.cross_entropy(out.abc + counts.clamp(min=1).log(), labels)
            self.step(0, loss)
            self.cost.trained += len(rows)
            mean.add(loss)
        return {"loss": mean.value(0, e), "lr": self.training.optimisation.rate(e)}
