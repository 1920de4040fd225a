"""Bounds on selection and accuracy where the densities are known: the Bayes-optimal selector and classifier
(algorithms/data.md §11).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sfa_bench.parts.ranking import auc


@dataclass(frozen=True)
class Bayes:
    """Bounds for the samples of one run; methods have no access to them."""

    clean_probability: np.ndarray  # P(clean | x, ỹ) [N]
    auc: float | None  # AUC of that probability; None without noisy or without clean labels
    accuracy: float  # percent on the run's test set, under the uniform test prior


def clean_probability(
    log_density: np.ndarray, observed: np.ndarray, prior: np.ndarray, likelihood: np.ndarray
) -> np.ndarray:
    """π_ỹ p(x|ỹ) T[ỹ,ỹ] / Σ_a π_a p(x|a) T[a,ỹ] for each sample, where T may depend on x.

    Args: log_density [N, K] log p(x|k); observed [N] ỹ; prior [K] π of the clean training labels; likelihood [N, K]
    T[a,ỹ] of each sample's own ỹ.
    """
    from scipy.special import logsumexp

    with np.errstate(divide="ignore"):
        log_joint = log_density + np.log(prior) + np.log(likelihood)  # [N, K] over clean classes a
    log_observed = log_joint[np.arange(len(observed)), observed]
    return np.exp(log_observed - logsumexp(log_joint, axis=1))


def bounds(
    train_density: np.ndarray,
    observed: np.ndarray,
    clean: np.ndarray,
    likelihood: np.ndarray,
    test_density: np.ndarray,
    test_labels: np.ndarray,
) -> Bayes:
    """The bounds from log densities of training and test samples [N, K], [M, K]."""
    prior = np.bincount(clean, minlength=train_density.shape[1]) / len(clean)
    probability = clean_probability(train_density, observed, prior, likelihood)
    accuracy = 100 * float((test_density.argmax(axis=1) == test_labels).mean())
    return Bayes(probability, auc(observed == clean, probability), accuracy)
