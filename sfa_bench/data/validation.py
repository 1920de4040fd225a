"""Samples that are held out of training (algorithms/data.md §9): a noisy or a clean balanced validation set
(`dataset.val`), and a fold (`dataset.fold`).
"""

from __future__ import annotations

import numpy as np

from sfa_bench.config.values import number
from sfa_bench.errors import DataError


def hold_out(labels: np.ndarray, quota: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """A mask [N] of `quota[k]` samples of each class k to hold out, drawn at random."""
    mask = np.zeros(len(labels), dtype=bool)
    for k, n in enumerate(quota):
        mask[generator.permutation(np.flatnonzero(labels == k))[:n]] = True
    return mask


def fold(labels: np.ndarray, i: int, k: int, generator: np.random.Generator) -> np.ndarray:
    """A mask [N] of fold i of k, from 1: each class is spread evenly over the folds, whose sizes differ by one at most.

    All folds that are drawn by equal generators divide the samples: each is in exactly one. Raises: DataError where a
    fold would have no sample.
    """
    if k > len(labels):
        raise DataError(f"dataset.fold={i}/{k} divides {len(labels)} samples: set at most {len(labels)} folds")
    shuffled = generator.permutation(len(labels))
    by_class = shuffled[np.argsort(labels[shuffled], kind="stable")]
    number = np.empty(len(labels), dtype=np.int64)
    number[by_class] = np.arange(len(labels)) % k
    mask: np.ndarray = number == i - 1
    return mask


def noisy_quota(fraction: float, observed_counts: np.ndarray) -> np.ndarray:
    """int(fraction·n_k) of every observed class; at least one stays in training because fraction < 1."""
    quota = np.array([int(fraction * n) for n in observed_counts])
    if not quota.any():
        raise DataError(
            f"dataset.val=noisy with val_fraction={number(fraction)} holds out no image: the largest class has "
            f"{observed_counts.max()}; raise dataset.val_fraction or use dataset.val=none"
        )
    return quota


def balanced_quota(fraction: float, available: np.ndarray) -> np.ndarray:
    """max(1, int(fraction·m)) clean samples of every class, m the mean class size of the whole training set."""
    quota = max(1, int(fraction * available.sum() / len(available)))
    if available.min() <= quota:
        raise DataError(
            f"dataset.val=clean_balanced with val_fraction={number(fraction)} takes {quota} of every class, but class "
            f"{available.argmin()} has {available.min()}: none would be left for training; use dataset.val=none"
        )
    return np.full(len(available), quota)
