"""The groups of classes: many, medium, few and head, mid, tail (algorithms/data.md §7, protocol.md §2)."""

from __future__ import annotations

import numpy as np

from sfa_bench.choices.sources import SOURCES
from sfa_bench.parts.shots import by_rank

FIXED_TEN = {"many": [0, 1], "medium": [2, 3, 4, 5, 6], "few": [7, 8, 9]}


def shot_groups(
    source: str, basis_counts: np.ndarray, rank_counts: np.ndarray, *, observed: bool = False
) -> dict[str, list[int]]:
    """Class ids of each group; a group may be empty.

    Args: basis_counts [K] decide many, medium and few (`dataset.shots.basis`); rank_counts [K] (clean where known)
    decide head, mid and tail: max(1, int(0.3K)) classes at each end. Ties: the lower class first. observed: the basis
    is `observed`; then the rule of 100 and 20 samples, which CIFAR-100 always has, takes the place of FIXED_TEN, as in
    RoLT's release (algorithms/quirks.md Q36).
    """
    num_classes = len(basis_counts)
    rule = SOURCES[source].shots
    if rule == "number" and not observed:
        groups = {name: list(ids) for name, ids in FIXED_TEN.items()}
    elif rule != "rank":
        groups = {
            "many": np.flatnonzero(basis_counts > 100).tolist(),
            "medium": np.flatnonzero((basis_counts >= 20) & (basis_counts <= 100)).tolist(),
            "few": np.flatnonzero(basis_counts < 20).tolist(),
        }
    else:
        ends = int(0.3 * num_classes)
        groups = dict(zip(("many", "medium", "few"), by_rank(basis_counts, max(1, ends), ends), strict=True))
    ends = max(1, int(0.3 * num_classes))
    return groups | dict(zip(("head", "mid", "tail"), by_rank(rank_counts, ends, ends), strict=True))
