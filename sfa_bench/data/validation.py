"""Held-out validation samples (`dataset.val`, algorithms/data.md §9): a noisy split, or a clean balanced one."""

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
