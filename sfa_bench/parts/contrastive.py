"""Contrastive losses on projections, rows of unit length (algorithms/dasc.md §5–6, algorithms/unicon.md §4)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

SMALLEST_COUNT = 1e-6  # of the others of a class, by which an entry is divided


def balanced_contrastive(entries: Tensor, targets: Tensor, queries: int, temperature: float) -> Tensor:
    """The balanced supervised contrastive loss of each query (algorithms/dasc.md §5), [queries].

    Args: entries [J, p], the queries first and then the class prototypes; targets [J, K], distributions, constant. Each
    entry is a positive of a query as far as their targets agree, and in the denominator it counts by the inverse number
    of its class's entries.
    """
    similarity = entries[:queries] @ entries.T / temperature
    similarity = similarity - similarity.amax(dim=1, keepdim=True).detach()
    others = torch.ones_like(similarity)
    others.fill_diagonal_(0)
    positives = targets[:queries] @ targets.T * others
    classes = targets.argmax(dim=1)
    count = torch.bincount(classes, minlength=targets.shape[1])[classes]
    weights = others / (count - positives).clamp(min=SMALLEST_COUNT)
    log_denominator = (similarity.exp() * weights).sum(dim=1, keepdim=True).log()
    return -(positives * (similarity - log_denominator)).sum(dim=1) / positives.sum(dim=1)


def instance_contrastive(
    queries: Tensor, keys: Tensor, memory: Tensor, temperature: float, columns: Tensor | None = None
) -> Tensor:
    """InfoNCE of each query with its own key [B, p] against a memory [M, p] (algorithms/dasc.md §6), [B].

    columns: what each query is pulled to, int64 [B], of its own key (0) and the memory (from 1 on), the last one where
    there are fewer; None: its own key.
    """
    logits = torch.cat([(queries * keys).sum(dim=1, keepdim=True), queries @ memory.T], dim=1) / temperature
    own_key = torch.zeros(len(logits), dtype=torch.int64, device=logits.device)
    wanted = own_key if columns is None else columns.clamp(max=logits.shape[1] - 1)
    return F.cross_entropy(logits, wanted, reduction="none")


def view_contrastive(first: Tensor, second: Tensor, temperature: float) -> Tensor:
    """SimCLR's loss: each of the 2B views of B samples against its sample's other one, among all others of the batch
    (algorithms/unicon.md §4). Returns the mean; 0 without a sample.
    """
    if len(first) == 0:
        return first.sum()
    views = torch.cat([first, second])
    logits = views @ views.T / temperature
    logits = logits.masked_fill(torch.eye(len(views), dtype=torch.bool, device=views.device), -torch.inf)
    other = torch.arange(len(views), device=views.device).roll(len(first))
    return F.cross_entropy(logits, other)


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean of `values` [B] where `mask` [B] is true; 0 where it is nowhere. No value may be infinite."""
    return (values * mask).sum() / mask.sum().clamp(min=1)
