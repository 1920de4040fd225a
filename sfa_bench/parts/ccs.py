"""Cross-entropy without the classes that a sample's confidence rises for (algorithms/dss.md §3)."""

from __future__ import annotations

from statistics import NormalDist

import torch
import torch.nn.functional as F
from torch import Tensor

from sfa_bench.parts.stateful import StatefulLoss


class RisingClasses(StatefulLoss):
    """CCS: cross-entropy without the classes that a sample's confidence rises for (Pan et al. 2026).

    −log( e^{z_y} / Σ_{c∉I} e^{z_c} ), where I has the classes but the label y whose confidences, of the last `window`
    times that the sample was trained on, have a rising trend: the one-sided test of Mann and Kendall without ties
    rejects that they have none at `level`. This time's confidence counts from the next time on.
    """

    def __init__(self, samples: int, num_classes: int, device: torch.device, *, level: float, window: int):
        self.least = NormalDist().inv_cdf(1 - level)  # of Z
        self.history = torch.zeros(samples, window, num_classes, dtype=torch.float16, device=device)  # a ring
        self.kept = torch.zeros(samples, dtype=torch.int64, device=device)  # confidences so far, those lost included
        self.trend = torch.zeros(samples, num_classes, dtype=torch.int32, device=device)  # S of what is in the ring

    def __call__(self, logits: Tensor, labels: Tensor, class_counts: Tensor, rows: Tensor) -> Tensor:
        left_out = self.rising(rows).scatter(1, labels[:, None], False)
        self._keep(rows, F.softmax(logits.detach().float(), dim=1))
        return F.cross_entropy(logits.masked_fill(left_out, -torch.inf), labels, reduction="none")

    def rising(self, rows: Tensor) -> Tensor:
        """The classes whose confidences rise for these samples [B, K] bool."""
        n = self.kept[rows].clamp(max=self.history.shape[1]).double()
        variance = n * (n - 1) * (2 * n + 5) / 18
        trend = self.trend[rows]
        return (trend > 0) & (trend - 1 > self.least * variance.sqrt()[:, None])

    def _keep(self, rows: Tensor, confidences: Tensor) -> None:
        """Put confidences [B, K] into the ring, in the place of the oldest where it is full, and follow S, the sum of
        sign(later − earlier) over all pairs in it.
        """
        new, ring, before = confidences.half(), self.history[rows], self.kept[rows]
        window = ring.shape[1]
        slot = before % window
        there = torch.arange(window, device=rows.device) < before[:, None]
        full = there.all(dim=1)
        oldest = ring[torch.arange(len(rows), device=rows.device), slot]
        lost = _signs(ring, oldest).sum(dim=1) * full[:, None]
        stays = there.scatter(1, slot[:, None], False)
        gained = -(_signs(ring, new) * stays[:, :, None]).sum(dim=1)
        self.trend[rows] += (gained - lost).int()
        self.history[rows, slot] = new
        self.kept[rows] += 1

    def state(self) -> dict[str, Tensor]:
        return {"history": self.history, "kept": self.kept, "trend": self.trend}


def _signs(ring: Tensor, value: Tensor) -> Tensor:
    """sign(ring − value) [B, window, K] int32; of numbers whose difference half precision might not hold."""
    value = value[:, None]
    return (ring > value).int() - (ring < value).int()
