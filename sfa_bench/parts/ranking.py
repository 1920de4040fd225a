"""How well a score ranks one kind of samples above the other."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def auc(right: NDArray[np.bool_], values: NDArray) -> float | None:
    """ROC-AUC as the Mann-Whitney statistic; None unless both kinds occur. scikit-learn's function gives the same and
    takes ten times as long on a small class, and this is called once a class.

    Args: right [N], the positives; values [N].
    """
    positives = int(right.sum())
    negatives = len(right) - positives
    if not positives or not negatives:
        return None
    _, place, ties = np.unique(values, return_inverse=True, return_counts=True)
    ranks = (ties.cumsum() - (ties - 1) / 2)[place]  # equal values share their mean rank
    wins = ranks[right].sum() - positives * (positives + 1) / 2
    return float(wins / (positives * negatives))
