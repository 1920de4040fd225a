"""Early-learning regularisation (Liu et al., NeurIPS 2020), and ELR+ (algorithms/methods.md §5)."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor

from sfa_bench import streams
from sfa_bench.choices.methods import ELR_PLUS
from sfa_bench.methods.base import Method, Training
from sfa_bench.models import Network, Output
from sfa_bench.numerics import send
from sfa_bench.parts import mixmatch

if TYPE_CHECKING:
    from sfa_bench.config.schema import RunConfig

CLAMP = 1e-4


def early_targets(targets: Tensor, logits: Tensor, beta: float, clamp: float = CLAMP) -> Tensor:
    """t ← β·t + (1−β)·p̂/Σp̂ for the rows of a batch [B, K]; p̂ = clip(softmax(z), clamp, 1−clamp), without gradient.

    ELR's release clamps at 1e-4 here and in the regulariser; ELR+'s does not clamp here (0).
    """
    p = F.softmax(logits.detach(), dim=1).clamp(clamp, 1 - clamp)
    return beta * targets + (1 - beta) * p / p.sum(dim=1, keepdim=True)


def regulariser(targets: Tensor, logits: Tensor) -> Tensor:
    """mean_i log(1 − ⟨t_i, p̂_i⟩), with gradient through p̂ only."""
    p = F.softmax(logits, dim=1).clamp(CLAMP, 1 - CLAMP)
    return (1 - (targets * p).sum(dim=1)).log().mean()


class Elr(Method):
    """Cross-entropy plus λ times a regulariser towards the network's early predictions.

    Args:
        beta: smoothing of the targets [β]; weight: of the regulariser [λ].
        networks: 2 is an ensemble of independent ones. mixup: mixed pairs, one share a batch.
        plus: ELR+, two networks on mixed pairs, each with a weight-averaged twin; the other network's twin makes the
            targets. by_twins: the twins predict; otherwise the trained networks, which its release tests.
        mixup_alpha: Beta parameter of the share. twin_decay: of the averages. ramped: CIFAR's form of ELR+ (decay, and
            for 100 classes λ, grow over ramp_steps); otherwise, as on sets too small for that many steps, the decay is
            min(1 − 1/(step + 1), twin_decay). Steps of a network count from 1.
    """

    kept_when_done = (*Method.kept_when_done, "twins")

    def __init__(
        self,
        training: Training,
        *,
        beta: float,
        weight: float,
        networks: int = 1,
        mixup: bool = False,
        plus: bool = False,
        by_twins: bool = True,
        mixup_alpha: float = 1.0,
        twin_decay: float = 0.997,
        ramped: bool = True,
        ramp_steps: int = 40_000,
    ):
        self.networks_used = 2 if plus else networks
        super().__init__(training)
        self.beta, self.weight = beta, weight
        self.mixup, self.plus, self.mixup_alpha = mixup or plus, plus, mixup_alpha
        self.by_twins, self.twin_decay, self.ramped, self.ramp_steps = by_twins, twin_decay, ramped, ramp_steps
        rows, classes = len(self.labels), training.view.num_classes
        self.targets = [torch.zeros(rows, classes, device=device) for device in self.devices]
        self.twins = [copy.deepcopy(network).eval() for network in self.networks] if plus else []
        self.updates = [0] * self.networks_used
        self.class_counts = self.observed_counts  # of the samples of this epoch

    @classmethod
    def of(cls, training: Training, config: RunConfig) -> Elr:
        """Build the method from its configuration."""
        method = config.method
        return cls(
            training,
            beta=method.loss.beta,
            weight=method.loss.weight,
            networks=method.networks,
            mixup=method.mixup,
            plus=method.plus,
            by_twins=method.predict == "twins",
            **{"ramped": False, **(ELR_PLUS.get(config.dataset.source, {}) if method.plus else {})},
        )

    def epoch(self, e: int) -> dict[str, float | None]:
        return self.figures(e, [self.descend(k, e, self._losses(k, e)) for k in range(self.networks_used)])

    def _losses(self, k: int, e: int) -> Iterator[tuple[Tensor, int]]:
        self.begin(k, e, "training")
        mixing, beta = self.generator("mixup", k, e), streams.numpy_generator(self.training.seed, "mixup_share", k, e)
        order = self.epoch_order(k, e)
        self.class_counts = self.counts_of(order)
        for rows, images in self.views(k, self.plain_batches(order), self.generator("augmentation", k, e), "training"):
            if self.mixup:
                lam = float(beta.beta(self.mixup_alpha, self.mixup_alpha))
                yield self._mixed_loss(k, rows, images, lam, mixing), len(rows)
            else:
                yield self._plain_loss(k, rows, images), len(rows)
            if self.plus:
                self._average(k)

    def _plain_loss(self, k: int, rows: Tensor, images: Tensor) -> Tensor:
        labels = send(self.labels[rows], images.device)
        out = self.forward(k, images)
        targets = self._updated(k, rows, out.main)
        loss = F.cross_entropy(out.main, labels) + self.weight * regulariser(targets, out.main)
        return loss + self._balanced(out, labels)

    def _mixed_loss(self, k: int, rows: Tensor, images: Tensor, lam: float, mixing: torch.Generator) -> Tensor:
        """Targets from unmixed images, loss on mixed ones; in ELR+ lam is that of the nearer partner."""
        device = images.device
        with torch.no_grad():
            if self.plus:  # the other network's average decides; its batch statistics stay as they are (PROJ)
                other = self.devices[1 - k]
                guess = self.twins[1 - k](images.to(other)).main.to(device)
                lam = max(lam, 1 - lam)
            else:
                guess = self.forward(k, images).main
        self.cost.guessed += len(rows)
        targets = self._updated(k, rows, guess)
        permutation = send(torch.randperm(len(rows), generator=mixing), device)
        out = self.forward(k, mixmatch.mix(images, lam, permutation))
        labels = F.one_hot(send(self.labels[rows], device), self.training.view.num_classes).float()
        mixed_labels = mixmatch.mix(labels, lam, permutation)
        mixed_targets = mixmatch.mix(targets, lam, permutation)
        strength = 1.0
        if self.plus and self.ramped and self.training.view.num_classes == 100:
            strength = self._ramp(self.updates[k] + 1)
            mixed_labels = mixed_labels * mixed_targets
            # Zero only where a confident twin excludes both labels; the row then has no label (the release: NaN).
            smallest = torch.finfo(mixed_labels.dtype).tiny
            mixed_labels = mixed_labels / mixed_labels.sum(dim=1, keepdim=True).clamp(min=smallest)
        loss = mixmatch.soft_cross_entropy(out.main, mixed_labels)
        loss = loss + self.weight * strength * regulariser(mixed_targets, out.main)
        if out.abc is not None:
            balanced = mixmatch.soft_cross_entropy(
                out.abc + self.training.head.log_prior(self.class_counts, device),
                mixmatch.mix(labels, lam, permutation),
            )
            loss = loss + balanced
        return loss

    def _updated(self, k: int, rows: Tensor, logits: Tensor) -> Tensor:
        """The targets of these rows after this batch's update, which comes before the loss."""
        index = send(rows, logits.device)
        clamp = 0.0 if self.plus else CLAMP
        self.targets[k][index] = early_targets(self.targets[k][index], logits.float(), self.beta, clamp)
        return self.targets[k][index]

    def _balanced(self, out: Output, labels: Tensor) -> Tensor | float:
        if out.abc is None:
            return 0.0
        return F.cross_entropy(out.abc + self.training.head.log_prior(self.class_counts, labels.device), labels)

    def _ramp(self, step: int) -> float:
        """exp(−5(1 − step/S)²), 1 from step S on."""
        return math.exp(-5 * (1 - min(step / self.ramp_steps, 1.0)) ** 2)

    def _average(self, k: int) -> None:
        """Move the twin's weights; its batch statistics are taken over, since averages of them lag behind."""
        self.updates[k] += 1
        step = self.updates[k]
        # The release's ramp is one step further here than in the loss.
        decay = self.twin_decay * self._ramp(step + 1) if self.ramped else min(1 - 1 / (step + 1), self.twin_decay)
        with torch.no_grad():
            pairs = zip(self.twins[k].parameters(), self.networks[k].parameters(), strict=True)
            for average, value in pairs:
                average.lerp_(value, 1 - decay)
            for copied, current in zip(self.twins[k].buffers(), self.networks[k].buffers(), strict=True):
                copied.copy_(current)

    def predictors(self) -> list[Network]:
        return self.twins if self.twins and self.by_twins else super().predictors()

    def state(self) -> dict[str, Any]:
        twins = [twin.state_dict() for twin in self.twins]
        return {**super().state(), "targets": list(self.targets), "twins": twins, "updates": list(self.updates)}

    def load_trained(self, state: dict[str, Any]) -> None:
        super().load_trained(state)
        for twin, values in zip(self.twins, state["twins"], strict=True):
            twin.load_state_dict(values)

    def load_state(self, state: dict[str, Any]) -> None:
        super().load_state(state)
        self.targets = [table.to(device) for table, device in zip(state["targets"], self.devices, strict=True)]
        for twin, values in zip(self.twins, state["twins"], strict=True):
            twin.load_state_dict(values)
        self.updates = list(state["updates"])
