"""Soft bootstrapping (Reed et al., ICLR 2015 workshop) as a method of your own.

The target of a sample is a mix of its observed label and what the network says by now:
t = trust · onehot(ỹ) + (1 − trust) · softmax(z). After the warm-up the network is trusted to correct labels.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

from sfa_bench.methods.base import Method, RunningMean, Training


class Bootstrapping(Method):
    """One network. The keyword arguments are the keys of conf/method/bootstrapping.yaml, with these types.

    Args: trust: share of the observed label in the target, in [0, 1]; from_epoch: first epoch (from 1) that corrects.
    """

    networks_used = 1  # the engine builds so many networks, each with its own weights

    def __init__(self, training: Training, *, trust: float = 0.8, from_epoch: int = 10):
        super().__init__(training)  # makes self.networks, self.optimisers, self.loaders, self.labels
        self.trust, self.from_epoch = trust, from_epoch

    def epoch(self, e: int) -> dict[str, float | None]:
        """Train epoch e (1-based) and return what to log; the engine evaluates, records and checkpoints."""
        selecting = self.selects_in(e)  # a plug-in may have brought a selector
        if selecting:
            self.select(e)  # fills self.selections, one a network
        self.t.on_phase("training")
        self.prepare(0, e)
        self.networks[0].train()
        device, mean = self.devices[0], RunningMean()
        # Every draw comes from a named stream of this epoch: a run that goes on is the run that never stopped.
        augmentation = self.generator("augmentation", 0, e)
        for rows in self.epoch_batches(0, e, self.t.plain_batch, "training"):
            if selecting:
                rows = rows[torch.from_numpy(self.selections[0].mask)[rows]]
            if len(rows) < 2:
                continue  # batch statistics need two rows
            out = self.forward(0, self.loaders[device].train_view(rows, augmentation))
            observed = F.one_hot(self.labels[rows].to(device), self.t.view.num_classes).float()
            trust = self.trust if e >= self.from_epoch else 1.0
            target = trust * observed + (1 - trust) * F.softmax(out.main.detach(), dim=1)
            loss = F.cross_entropy(out.main, target)
            if out.abc is not None:  # plugin=abc and plugin=sfa add the balanced head
                counts = self.counts_for_head(self.selections[0] if selecting else None).to(device)
                loss = loss + F.cross_entropy(out.abc + counts.clamp(min=1).log(), self.labels[rows].to(device))
            self.step(0, loss)
            self.cost.trained += len(rows)
            mean.add(loss)
        return {"loss": mean.value(0, e), "lr": self.t.optimisation.rate(e)}
