"""The long tail: the number of samples kept of each class, and their positions (algorithms/data.md §3)."""

from __future__ import annotations

import math

import numpy as np

from sfa_bench.config.values import number
from sfa_bench.errors import DataError


def class_counts(
    profile: str, imb_factor: float, total: int, available: np.ndarray, *, by_rank: bool = False
) -> np.ndarray:
    """Samples to keep of each class, int64 [K]; class 0 is the largest.

    With m = total / K: `exp` keeps int(m·IF^(c/(K-1))); `step` keeps int(m) of the first K//2 classes and int(m·IF) of
    the rest; `none` keeps everything. Never more than `available` int64 [K].
    by_rank: for data with a long tail of their own, as mini-WebVision (algorithms/data.md §3): c is the rank of a class
    by what is available, the lower class first among equals, and m the largest class.

    Raises: DataError when a class would be left without a sample.
    """
    num_classes = len(available)
    mean = available.max() if by_rank else total / num_classes
    if profile == "none":
        counts = available.copy()
    elif profile == "exp":
        counts = np.array([int(mean * imb_factor ** (c / (num_classes - 1))) for c in range(num_classes)])
    elif profile == "step":
        head = num_classes // 2
        counts = np.array([int(mean)] * head + [int(mean * imb_factor)] * (num_classes - head))
    else:
        raise ValueError(f"no imbalance profile is called {profile!r}")
    if by_rank and profile != "none":
        profile_by_rank, counts = counts, np.empty_like(counts)
        counts[np.argsort(-available, kind="stable")] = profile_by_rank
    counts = np.minimum(counts, available).astype(np.int64)
    if not counts.all():
        empty = int(np.flatnonzero(counts == 0)[0])
        if not available[empty]:
            raise DataError(f"class {empty} has no training image; every class needs at least one")
        enough = math.ceil(1e4 / mean) / 1e4
        scale = f"the {'largest class has' if by_rank else 'classes of the whole set have'} {mean:g}"
        scale += "" if by_rank else " on average"
        raise DataError(
            f"imb_factor={number(imb_factor)} leaves class {empty} without a training image ({scale}); use "
            f"imb_factor={enough:g} or more"
        )
    return counts


def take(labels: np.ndarray, counts: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Positions to keep, int64 [Σ counts], blocked by class 0…K-1; within a class in random order.

    A class is always shuffled as a whole, so that a smaller subset of the same seed lies inside a larger one. Labels
    below zero belong to no class.
    """
    kept = [generator.permutation(np.flatnonzero(labels == c))[:n] for c, n in enumerate(counts)]
    return np.concatenate(kept)
