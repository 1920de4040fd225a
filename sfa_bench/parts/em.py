"""A mixture of two Gaussians for 1-D values, by the steps of scikit-learn's `GaussianMixture` and to the same bits.

On the hundred values of a class that class spends nine tenths of a fit in checks and dispatch, and importing it takes
longer than many runs. The operations here are its own, in its order: a sum by another routine would differ in the last
bit. Groups of more values than k-means' block, whose sums depend on the number of threads, are given to its `KMeans`.
"""

from __future__ import annotations

import math
import warnings

import numpy as np

BLOCK = 256  # values that scikit-learn's k-means adds up in one thread
COLLAPSED = "a component of the mixture has no variance: raise reg_covar"


class TwoGaussians:
    """The mixture fitted to values [n], float64 and not all equal.

    Raises: ValueError where a value is not finite, or a component collapses.
    """

    def __init__(self, values: np.ndarray, *, max_iter: int = 100, tol: float = 1e-3, reg_covar: float = 1e-6) -> None:
        if not np.isfinite(values).all():
            raise ValueError("a mixture is fitted to finite values only")
        x = values.reshape(-1, 1)
        share = np.zeros((len(x), 2))
        share[np.arange(len(x)), two_means(x)] = 1
        mass = self._maximise(x, share, reg_covar)
        self.weights = mass / len(x)
        bound = -math.inf
        for _ in range(max_iter):
            before = bound
            norm, log_share = self._expect(x)
            mass = self._maximise(x, np.exp(log_share), reg_covar)
            self.weights = mass / mass.sum()
            bound = norm.mean()
            if abs(bound - before) < tol:
                break

    def posteriors(self, values: np.ndarray) -> np.ndarray:
        """The share of each component in each of the values [n]: [n, 2]."""
        return np.exp(self._expect(values.reshape(-1, 1))[1])

    def _maximise(self, x: np.ndarray, share: np.ndarray, reg_covar: float) -> np.ndarray:
        """Set means and precisions from the share [n, 2] of each component. Returns the components' mass [2]."""
        mass = share.sum(axis=0) + 10 * np.finfo(np.float64).eps
        self.means = ((share.T @ x) / mass[:, None])[:, 0]
        variances = np.empty(2)
        for k in range(2):
            apart = x - self.means[k]
            variances[k] = (((share[:, k] * apart.T) @ apart) / mass[k])[0, 0] + reg_covar
        if not (variances > 0).all():
            raise ValueError(COLLAPSED)
        self.roots = 1 / np.sqrt(variances)  # of the precisions
        return mass

    def _expect(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The log density of each value [n], and the log share of each component in it [n, 2]."""
        squared = np.square(x * self.roots - self.means * self.roots)
        joint = -0.5 * (math.log(2 * math.pi) + squared) + np.log(self.roots) + np.log(self.weights)
        low, high = joint.min(axis=1), joint.max(axis=1)
        # log(e^low + e^high); two equal ones are counted, not added.
        same = low == high
        norm = np.log1p(np.where(same, 0.0, np.exp(low - high))) + np.where(same, math.log(2), 0.0) + high
        return norm, joint - norm[:, None]


def two_means(x: np.ndarray) -> np.ndarray:
    """Which of two clusters each of the values [n, 1] is in, by k-means with seed 0: int [n] of 0 and 1."""
    if len(x) > BLOCK:
        return _by_sklearn(x)
    tolerance = x.var(axis=0).mean() * 1e-4
    centred = x - x.mean(axis=0)
    first, second = _seeds(centred)
    values = centred[:, 0]
    centres = np.array([values[first], values[second]])
    former = None
    for _ in range(300):
        labels = _nearest(values, centres)
        counts = np.bincount(labels, minlength=2)
        if not counts.all():
            return _by_sklearn(x)  # which moves the empty cluster elsewhere
        # One after the other, as compiled code adds them; `sum` adds in pairs.
        sums = np.bincount(labels, weights=values, minlength=2)
        now = sums * (1 / counts)
        if former is not None and (labels == former).all():
            return labels
        if (np.abs(now - centres) ** 2).sum() <= tolerance:
            return _nearest(values, now)
        centres, former = now, labels
    return _nearest(values, centres)


def _nearest(values: np.ndarray, centres: np.ndarray) -> np.ndarray:
    apart = centres * centres - 2 * (values[:, None] * centres)  # less what both distances share
    return (apart[:, 1] < apart[:, 0]).astype(np.int64)


def _seeds(x: np.ndarray) -> tuple[int, int]:
    """Positions of two of the values by k-means++: the second is the better of two that are drawn by distance."""
    draws, ones = np.random.RandomState(0), np.ones(len(x))
    norms = (x * x).T
    first = draws.choice(len(x), p=ones / ones.sum())
    apart = _distances(x[[first]], x, norms)
    reached = draws.uniform(size=2) * (apart @ ones)
    trials = np.minimum(np.searchsorted(apart.cumsum(), reached), len(x) - 1)
    left = np.minimum(apart, _distances(x[trials], x, norms)) @ ones[:, None]
    return int(first), int(trials[left.argmin()])


def _distances(centres: np.ndarray, x: np.ndarray, norms: np.ndarray) -> np.ndarray:
    """Squared distances [m, n] of the values x [n, 1], whose squares are norms [1, n], from centres [m, 1]."""
    return np.maximum(-2 * (centres * x.T) + centres * centres + norms, 0)


def _by_sklearn(x: np.ndarray) -> np.ndarray:
    import sklearn
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings(), sklearn.config_context(skip_parameter_validation=True):
        warnings.simplefilter("ignore", ConvergenceWarning)
        return KMeans(2, n_init=1, random_state=np.random.RandomState(0)).fit(x).labels_
