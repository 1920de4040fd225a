"""Losses of one sample (spec/methods.md §2): (logits [B, K], labels [B], class counts [K]) → [B]."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

Loss = Callable[[Tensor, Tensor, Tensor], Tensor]


def log_prior(class_counts: Tensor, floor: float = 1.0) -> Tensor:
    """log max(n_k, floor), the shift of the balanced softmax. A floor of 0 admits −inf, as the SFA release (Q6)."""
    return class_counts.to(torch.float32).clamp(min=floor).log()


def cross_entropy(logits: Tensor, labels: Tensor, class_counts: Tensor) -> Tensor:
    """−log p_y; the class counts play no part."""
    return F.cross_entropy(logits, labels, reduction="none")


def balanced_softmax(logits: Tensor, labels: Tensor, class_counts: Tensor) -> Tensor:
    """Cross-entropy of the logits shifted by the log counts (Ren et al. 2020); counts below 1 count as 1."""
    return F.cross_entropy(logits + log_prior(class_counts), labels, reduction="none")


LOSSES: dict[str, Loss] = {"ce": cross_entropy, "balanced_softmax": balanced_softmax}
