"""Two-component Gaussian mixtures that turn a score into a clean probability (spec/sfa.md §5, spec/methods.md §7)."""

from __future__ import annotations

import warnings

import numpy as np


def min_max(values: np.ndarray) -> np.ndarray:
    """Shift the minimum to 0 and, where the range is not zero, scale the maximum to 1."""
    shifted = values - values.min()
    top = shifted.max()
    return shifted / top if top > 0 else shifted


def posterior(
    values: np.ndarray, *, larger: bool, max_iter: int = 100, tol: float = 1e-3, reg_covar: float = 1e-6
) -> np.ndarray:
    """Posterior of the component with the larger (or smaller) mean of a mixture fitted to 1-D values, [n] float64.

    scikit-learn's defaults are the reference (k-means start, seed 0, one start). A mixture stopped by `max_iter` is
    used as it stands: the releases stop early on purpose.
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
    return mixture.predict_proba(column)[:, clean]


def class_posteriors(
    scores: np.ndarray, labels: np.ndarray, num_classes: int, *, larger: bool, rescale: bool, min_samples: int = 2
) -> tuple[np.ndarray, np.ndarray]:
    """One mixture per observed class (spec/sfa.md §5).

    Args: scores [N]; labels [N] observed labels; larger: the clean component has the larger mean; rescale: min-max the
    scores within each class first; min_samples (2 or more): smaller classes get no mixture.
    Returns: clean probability [N] in [0, 1], and the ids of the classes that could not be split (fewer than
    `min_samples` samples, or all scores equal): their samples have probability 1.
    """
    probability = np.ones(len(scores))
    unsplit = []
    for k in range(num_classes):
        members = np.flatnonzero(labels == k)
        if len(members) == 0:
            continue
        values = scores[members]
        if len(members) < min_samples or values.max() == values.min():
            unsplit.append(k)
            continue
        probability[members] = posterior(min_max(values) if rescale else values, larger=larger)
    return probability, np.array(unsplit, dtype=np.int64)
