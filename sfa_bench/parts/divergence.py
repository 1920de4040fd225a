"""How far a prediction is from a label: the Jensen-Shannon divergence (algorithms/tabasco.md §3, algorithms/quota.md
§1).
"""

from __future__ import annotations

import math

import numpy as np

LARGEST = math.log(2)  # of a prediction that rules the label out
FLOOR = 1e-10  # added inside the logarithms, as in the releases


def divergence_from_label(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """JSD(p_i, onehot(y_i)) with natural logarithms.

    Args: probabilities p [N, K] float64, rows sum to 1; labels y [N] int64.
    Returns: [N] float64, 0 where the label is certain, and LARGEST, but for rounding, where it has probability 0.
    """
    rows = np.arange(len(labels))
    label_probability = probabilities[rows, labels]
    # Off the label the one-hot vector is 0 and the mean of both is p/2.
    terms = probabilities * np.log((probabilities + FLOOR) / (probabilities / 2 + FLOOR))
    middle = np.log((label_probability + 1) / 2 + FLOOR)
    terms[rows, labels] = label_probability * (np.log(label_probability + FLOOR) - middle)
    return np.maximum((terms.sum(axis=1) + np.log(1 + FLOOR) - middle) / 2, 0)
