"""The pieces of DivideMix's semi-supervised step (algorithms/methods.md §7) and of the balanced head (algorithms/sfa.md
§7).
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from sfa_bench.parts.reweighting import weighted_mean


def sharpen(probabilities: Tensor, temperature: float) -> Tensor:
    """Raise to the power 1/T and normalise along the class axis. Rows [B, K] stay distributions."""
    # In log space, so that a small T cannot make a whole row underflow.
    tiny = torch.finfo(probabilities.dtype).tiny
    return F.softmax(probabilities.clamp(min=tiny).log() / temperature, dim=1)


def refine_labels(observed: Tensor, clean_probability: Tensor, guess: Tensor, temperature: float) -> Tensor:
    """Targets of labelled samples: the observed label and the guess, weighed by the clean probability, sharpened.

    Args: observed [B] int64; clean_probability [B] in [0, 1]; guess [B, K] mean prediction over the views.
    """
    one_hot = F.one_hot(observed, guess.shape[1]).to(guess.dtype)
    w = clean_probability[:, None]
    return sharpen(w * one_hot + (1 - w) * guess, temperature)


def mix(rows: Tensor, share: float, permutation: Tensor) -> Tensor:
    """share · row + (1 − share) · partner, along the first axis."""
    return share * rows + (1 - share) * rows[permutation]


def soft_cross_entropy(logits: Tensor, targets: Tensor, weights: Tensor | None = None) -> Tensor:
    """−mean over rows of Σ_k t_k log softmax(z)_k, targets [B, K] distributions; weights [B] make it Σωℓ/Σω."""
    values = -(targets * F.log_softmax(logits, dim=1)).sum(dim=1)
    return values.mean() if weights is None else weighted_mean(values, weights)


def squared_error(logits: Tensor, targets: Tensor) -> Tensor:
    """Mean over all elements of (softmax(z) − t)²; 0 where there are no rows."""
    if len(logits) == 0:
        return logits.sum()
    return (F.softmax(logits, dim=1) - targets).square().mean()


def prior_penalty(logits: Tensor) -> Tensor:
    """Σ_k (1/K) log((1/K) / p̄_k), p̄ the mean prediction over all rows: pulls it to the uniform distribution (Q26)."""
    mean = F.softmax(logits, dim=1).mean(dim=0)
    uniform = 1 / len(mean)
    return (uniform * (math.log(uniform) - mean.log())).sum()


def negative_entropy(logits: Tensor) -> Tensor:
    """Mean over rows of Σ_k p_k log p_k: added to the warm-up loss it penalises confidence."""
    log_p = F.log_softmax(logits, dim=1)
    return (log_p.exp() * log_p).sum(dim=1).mean()


def unlabelled_weight(lambda_u: float, epochs_since_warmup: float, ramp_epochs: float) -> float:
    """λ = λ_u · clip(t/R, 0, 1), t the (fractional) epochs since the warm-up ended, R the length of the ramp."""
    return lambda_u * min(max(epochs_since_warmup / ramp_epochs, 0.0), 1.0)
