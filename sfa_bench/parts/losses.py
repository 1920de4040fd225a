"""Losses of one sample (algorithms/methods.md §2): (logits [B, K], labels [B], class counts [K]) → [B].

In the formulas p = softmax(z), p_y the probability of the observed label, CE = −log p_y.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from sfa_bench.choices.code import load
from sfa_bench.choices.losses import LOSSES

Loss = Callable[[Tensor, Tensor, Tensor], Tensor]

REVERSE = -math.log(1e-4)  # the −log of a clamped zero label in reverse cross-entropy


def log_prior(class_counts: Tensor, floor: float = 1.0) -> Tensor:
    """log max(n_k, floor), the shift of the balanced softmax. A floor of 0 admits −inf, as the SFA release (Q6)."""
    return class_counts.to(torch.float32).clamp(min=floor).log()


def _of_label(values: Tensor, labels: Tensor) -> Tensor:
    return values.gather(1, labels[:, None])[:, 0]


def cross_entropy(logits: Tensor, labels: Tensor, class_counts: Tensor) -> Tensor:
    """−log p_y; the class counts play no part."""
    return F.cross_entropy(logits, labels, reduction="none")


def balanced_softmax(logits: Tensor, labels: Tensor, class_counts: Tensor) -> Tensor:
    """Cross-entropy of the logits shifted by the log counts (Ren et al. 2020); counts below 1 count as 1."""
    return F.cross_entropy(logits + log_prior(class_counts), labels, reduction="none")


def logit_adjust(logits: Tensor, labels: Tensor, class_counts: Tensor, *, tau: float = 1.0) -> Tensor:
    """Cross-entropy of z + τ·log π (Menon et al. 2021); τ = 1 is the balanced softmax, whose shift is log n."""
    return F.cross_entropy(logits + tau * log_prior(class_counts), labels, reduction="none")


def mae(logits: Tensor, labels: Tensor, class_counts: Tensor) -> Tensor:
    """1 − p_y, half of the L1 distance to the one-hot label."""
    return 1 - _of_label(F.softmax(logits, dim=1), labels)


def reverse_cross_entropy(logits: Tensor, labels: Tensor, class_counts: Tensor) -> Tensor:
    """A·(1 − p_y), A = −ln 1e-4: labels are clamped to [1e-4, 1], probabilities to [1e-7, 1] (Wang et al. 2019)."""
    p = F.softmax(logits, dim=1).clamp(1e-7, 1)
    return REVERSE * (p.sum(dim=1) - _of_label(p, labels))


def symmetric_cross_entropy(
    logits: Tensor, labels: Tensor, class_counts: Tensor, *, alpha: float, beta: float
) -> Tensor:
    """α·CE + β·RCE (Wang et al. 2019)."""
    reverse = reverse_cross_entropy(logits, labels, class_counts)
    return alpha * cross_entropy(logits, labels, class_counts) + beta * reverse


def generalised_cross_entropy(logits: Tensor, labels: Tensor, class_counts: Tensor, *, q: float = 0.7) -> Tensor:
    """(1 − p_y^q)/q (Zhang and Sabuncu 2018): q → 0 is CE, q = 1 is MAE."""
    return (1 - _of_label(F.softmax(logits, dim=1), labels).clamp(min=1e-7) ** q) / q


def normalised_cross_entropy(logits: Tensor, labels: Tensor, class_counts: Tensor) -> Tensor:
    """CE / Σ_k(−log p_k) (Ma et al. 2020); the denominator keeps its gradient."""
    log_p = F.log_softmax(logits, dim=1)
    return _of_label(log_p, labels) / log_p.sum(dim=1)


def nce_rce(logits: Tensor, labels: Tensor, class_counts: Tensor, *, alpha: float, beta: float) -> Tensor:
    """α·NCE + β·RCE (Ma et al. 2020)."""
    passive = reverse_cross_entropy(logits, labels, class_counts)
    return alpha * normalised_cross_entropy(logits, labels, class_counts) + beta * passive


def nce_mae(logits: Tensor, labels: Tensor, class_counts: Tensor, *, alpha: float, beta: float) -> Tensor:
    """α·NCE + β·MAE (Ma et al. 2020)."""
    passive = mae(logits, labels, class_counts)
    return alpha * normalised_cross_entropy(logits, labels, class_counts) + beta * passive


def focal(logits: Tensor, labels: Tensor, class_counts: Tensor, *, gamma: float = 1.0) -> Tensor:
    """(1 − p_y)^γ·CE (Lin et al. 2017), with the gradient through both factors."""
    ce = cross_entropy(logits, labels, class_counts)
    # −expm1(−CE) is 1 − p_y without cancellation; the clamp keeps the power's gradient finite at p_y = 1.
    return (-torch.expm1(-ce)).clamp(min=1e-12) ** gamma * ce


def normalised_focal(
    logits: Tensor, labels: Tensor, class_counts: Tensor, *, gamma: float = 0.5, scale: float = 1.0
) -> Tensor:
    """scale · focal(y) / Σ_k focal(k) (Ma et al. 2020); the modulating factors (1 − p)^γ are detached."""
    log_p = F.log_softmax(logits, dim=1)
    terms = -((1 - log_p.detach().exp()).clamp(min=0) ** gamma) * log_p
    return scale * _of_label(terms, labels) / terms.sum(dim=1).clamp(min=1e-12)


def normalised_gce(logits: Tensor, labels: Tensor, class_counts: Tensor, *, q: float, scale: float = 1.0) -> Tensor:
    """scale · (1 − p_y^q) / (K − Σ_k p_k^q) (Ma et al. 2020)."""
    powers = F.softmax(logits, dim=1).clamp(min=1e-7) ** q
    return scale * (1 - _of_label(powers, labels)) / (logits.shape[1] - powers.sum(dim=1)).clamp(min=1e-12)


def amse(logits: Tensor, labels: Tensor, class_counts: Tensor, *, a: float) -> Tensor:
    """‖a·onehot(y) − p‖²/K, the asymmetric mean squared error (algorithms/jal_sop.md §1); a = 1 is the usual one."""
    p = F.softmax(logits, dim=1)
    return (a * F.one_hot(labels, logits.shape[1]) - p).square().mean(dim=1)


def jal_ce(logits: Tensor, labels: Tensor, class_counts: Tensor, *, alpha: float, beta: float, a: float) -> Tensor:
    """α·NCE + β·AMSE (Wang et al. 2025)."""
    active = normalised_cross_entropy(logits, labels, class_counts)
    return alpha * active + beta * amse(logits, labels, class_counts, a=a)


def jal_fl(
    logits: Tensor, labels: Tensor, class_counts: Tensor, *, alpha: float, beta: float, gamma: float, a: float
) -> Tensor:
    """α·NFL + β·AMSE (Wang et al. 2025)."""
    active = normalised_focal(logits, labels, class_counts, gamma=gamma)
    return alpha * active + beta * amse(logits, labels, class_counts, a=a)


def ldam_margins(class_counts: Tensor, margin: float = 0.5) -> Tensor:
    """margin·n_k^{−1/4}, scaled so that the rarest class has the whole margin (Cao et al. 2019); counts at least 1."""
    quarter = class_counts.to(torch.float32).clamp(min=1) ** -0.25
    return margin * quarter / quarter.max()


def ldam(logits: Tensor, labels: Tensor, class_counts: Tensor, *, scale: float = 30.0, margin: float = 0.5) -> Tensor:
    """CE of scale·(cos − m_y·onehot(y)) (Cao et al. 2019). logits: scale·cos, as the cosine head gives them."""
    margins = ldam_margins(class_counts, margin).to(logits)[labels]
    shifted = logits - scale * F.one_hot(labels, logits.shape[1]) * margins[:, None]
    return F.cross_entropy(shifted, labels, reduction="none")


def make_loss(name: str, **constants: float | None) -> Loss:
    """The loss of that name (choices/losses.py) with its constants bound; one that is None keeps the loss's own. Of one
    that remembers it is what makes it for a network (parts/stateful.py).
    """
    code = LOSSES[name].code
    if code is None:
        raise ValueError(f"the loss {name} {LOSSES[name].own_method}")
    return partial(load(code), **{key: value for key, value in constants.items() if value is not None})
