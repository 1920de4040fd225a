"""Classes by the rank of their size, and soft labels that classes near a sample share (algorithms/ibc.md §3–5)."""

from __future__ import annotations

import numpy as np


def by_rank(counts: np.ndarray, top: int, bottom: int) -> tuple[list[int], list[int], list[int]]:
    """Class ids of the `top` largest counts [K], of those between, and of the `bottom` smallest, each in ascending
    order; of equal counts the lower class counts as the larger one.
    """
    order = np.argsort(-counts, kind="stable").tolist()
    last = len(order) - bottom
    return sorted(order[:top]), sorted(order[top:last]), sorted(order[last:])


def neighbour_classes(queries: np.ndarray, centroids: np.ndarray, known: np.ndarray, count: int) -> np.ndarray:
    """Whether a class is one of the `count` whose centroids have the largest inner product with a query; of equal ones
    the lower class is nearer.

    Args: queries [N, d]; centroids [K, d]; known [K] bool, the classes that have a centroid: no other is a neighbour.
    Returns: bool [N, K], with min(count, Σ known) in each row.
    """
    similarity = np.where(known, queries @ centroids.T, -np.inf)
    nearest = np.argsort(-similarity, axis=1, kind="stable")[:, : min(count, int(known.sum()))]
    neighbours = np.zeros(similarity.shape, dtype=bool)
    np.put_along_axis(neighbours, nearest, True, axis=1)
    return neighbours


def shared_labels(labels: np.ndarray, neighbours: np.ndarray, epsilon: float) -> np.ndarray:
    """Soft labels: 1 − ε of the observed label, and ε in equal parts of the neighbours; without any, the label alone.

    Args: labels [N] observed; neighbours [N, K] bool; epsilon in [0, 1).
    Returns: float64 [N, K], rows sum to 1. With ε = 0 they are exactly one-hot.
    """
    soft = neighbours * (epsilon / np.maximum(neighbours.sum(axis=1, keepdims=True), 1))
    soft[np.arange(len(labels)), labels] += 1 - epsilon
    return soft / soft.sum(axis=1, keepdims=True)
