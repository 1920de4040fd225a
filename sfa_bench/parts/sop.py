"""Sparse over-parameterisation (Liu et al., ICML 2022; algorithms/jal_sop.md §2)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from sfa_bench.parts.stateful import StatefulLoss

START = 1e-8  # standard deviation of the initial u and v; at zero they would never move
LEAST = 1e-4  # of a class's share in the sum


class SparseNoise(StatefulLoss):
    """The noise of each label, learned beside the network: s = u²·onehot(y) − v²·(1 − onehot(y)).

    The network and u learn by cross-entropy of p + s, v by the squared error of onehot(argmax z) + s against the label;
    each takes the other's part for a constant. u and v make steps of plain SGD within [−1, 1] when the network does.

    Args: lr_u, lr_v: learning rates of u [N] and v [N, K], the same to the end.
    """

    def __init__(self, samples: int, num_classes: int, device: torch.device, *, lr_u: float, lr_v: float):
        self.u, self.v = torch.zeros(samples, device=device), torch.zeros(samples, num_classes, device=device)
        self.lr_u, self.lr_v = lr_u, lr_v
        self._batch: tuple[Tensor, Tensor, Tensor] | None = None  # rows, and their u and v with gradients

    def draw(self, generator: torch.Generator) -> None:
        for table in (self.u, self.v):
            table.copy_(START * torch.randn(table.shape, generator=generator))

    def __call__(self, logits: Tensor, labels: Tensor, class_counts: Tensor, rows: Tensor) -> Tensor:
        u, v = self.u[rows].requires_grad_(), self.v[rows].requires_grad_()
        self._batch = rows, u, v
        label = F.one_hot(labels, logits.shape[1])
        at_label, elsewhere = label * u.square()[:, None], (1 - label) * v.square()
        shares = (F.softmax(logits, dim=1) + at_label - elsewhere.detach()).clamp(min=LEAST)
        cross_entropy = shares.sum(dim=1).log() - shares.gather(1, labels[:, None])[:, 0].log()
        guess = F.one_hot(logits.argmax(dim=1), logits.shape[1])
        return cross_entropy + (guess + at_label.detach() - elsewhere - label).square().sum(dim=1)

    def stepped(self) -> None:
        if self._batch is None:
            return
        rows, u, v = self._batch
        self._batch = None
        for table, values, rate in ((self.u, u, self.lr_u), (self.v, v, self.lr_v)):
            if values.grad is not None:
                table.index_add_(0, rows, values.grad, alpha=-rate)  # a sample that came twice has both gradients
                table[rows] = table[rows].clamp(-1, 1)

    def state(self) -> dict[str, Tensor]:
        return {"u": self.u, "v": self.v}
