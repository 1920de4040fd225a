"""Two-component Gaussian mixtures that turn a score into a clean probability (spec/sfa.md §5, spec/methods.md §7)."""

from __future__ import annotations

import warnings
from typing import Any, NamedTuple

import numpy as np

# Relative range of scores that are equal but for rounding: two samples are as far from their mean as each other, and
# scaled to [0, 1] their last bits would tell a clean one from a noisy one.
SAME = 1e-12


def min_max(values: np.ndarray) -> np.ndarray:
    """Shift the minimum to 0 and, where the range is not zero, scale the maximum to 1."""
    shifted = values - values.min()
    top = shifted.max()
    return shifted / top if top > 0 else shifted


def posterior(
    values: np.ndarray,
    *,
    larger: bool,
    max_iter: int = 100,
    tol: float = 1e-3,
    reg_covar: float = 1e-6,
    monotone: bool = False,
) -> np.ndarray:
    """Posterior of the component with the larger (or smaller) mean of a mixture fitted to 1-D values, [n] float64.

    scikit-learn's defaults are the reference (k-means start, seed 0, one start). A mixture stopped by `max_iter` is
    used as it stands: the releases stop early on purpose.

    monotone: beyond the clean component's mean the posterior never falls, and beyond the other's it never rises; with
    unequal variances it would. Between the means it is monotone by itself.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.mixture import GaussianMixture

    column = np.asarray(values, dtype=np.float64).reshape(-1, 1)
    mixture = GaussianMixture(2, max_iter=max_iter, tol=tol, reg_covar=reg_covar, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        mixture.fit(column)
    means = mixture.means_[:, 0]
    clean = int(np.argmax(means) if larger else np.argmin(means))
    probability = mixture.predict_proba(column)[:, clean]
    if not monotone:
        return probability
    cleaner, ends = (values, means) if larger else (-values, -means)  # the larger, the cleaner
    at_means = mixture.predict_proba(means.reshape(-1, 1))[:, clean]
    order = np.argsort(cleaner, kind="stable")
    above, below = order[cleaner[order] >= ends[clean]], order[::-1][cleaner[order[::-1]] <= ends[1 - clean]]
    probability[above] = np.maximum.accumulate(np.maximum(probability[above], at_means[clean]))
    probability[below] = np.minimum.accumulate(np.minimum(probability[below], at_means[1 - clean]))
    return probability


def count_inverted(scores: np.ndarray, probability: np.ndarray) -> int:
    """Samples with a smaller clean probability than some sample of a lower score (the larger the score the cleaner)."""
    values, group = np.unique(scores, return_inverse=True)
    highest = np.full(len(values), -np.inf)
    np.maximum.at(highest, group, probability)
    before = np.concatenate([[-np.inf], np.maximum.accumulate(highest)[:-1]])
    return int((probability < before[group] - 1e-12).sum())


class Posteriors(NamedTuple):
    """What class-wise mixtures say."""

    probability: np.ndarray  # of being clean [N] in [0, 1]
    unsplit: np.ndarray  # ids of the classes without a mixture; their samples have probability 1
    inverted: int  # samples that a monotone posterior would move, summed over the classes


def class_posteriors(
    scores: np.ndarray,
    labels: np.ndarray,
    num_classes: int,
    *,
    larger: bool,
    rescale: bool,
    min_samples: int = 2,
    monotone: bool = False,
    **mixture: Any,
) -> Posteriors:
    """One mixture per observed class (spec/sfa.md §5).

    Args: scores [N]; labels [N] observed labels; larger: the clean component has the larger mean; rescale: min-max the
    scores within each class first; min_samples (2 or more): smaller classes get no mixture; monotone, max_iter, tol,
    reg_covar: see `posterior`.
    Classes that cannot be split have fewer than `min_samples` samples, or equal scores.
    """
    probability = np.ones(len(scores))
    unsplit = []
    inverted = 0
    for k in range(num_classes):
        members = np.flatnonzero(labels == k)
        if len(members) == 0:
            continue
        values = scores[members]
        if len(members) < min_samples or np.ptp(values) <= SAME * np.abs(values).max():
            unsplit.append(k)
            continue
        values = min_max(values) if rescale else values
        plain = posterior(values, larger=larger, **mixture)
        inverted += count_inverted(values if larger else -values, plain)
        probability[members] = posterior(values, larger=larger, monotone=True, **mixture) if monotone else plain
    return Posteriors(probability, np.array(unsplit, dtype=np.int64), inverted)
