"""Class prototypes in the space of centred unit features (spec/sfa.md §2, spec/methods.md §8)."""

from __future__ import annotations

import numpy as np


def centre_and_normalise(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Subtract the mean over all rows and scale each row to unit length.

    Args: features [N, d].
    Returns: unit features [N, d] float64 and the mean [d]. A row equal to the mean stays zero (norm clamped at 1e-12).
    """
    features = np.asarray(features, dtype=np.float64)
    mean = features.mean(axis=0)
    centred = features - mean
    norms = np.linalg.norm(centred, axis=1, keepdims=True)
    return centred / np.maximum(norms, 1e-12), mean


def instant_centroids(
    unit: np.ndarray, labels: np.ndarray, gate: np.ndarray, num_classes: int
) -> tuple[np.ndarray, np.ndarray]:
    """Mean unit feature of the gated samples of each class (spec/sfa.md §2.4); not normalised again.

    Args: unit [N, d] centred unit features; labels [N] observed labels; gate [N] bool.
    Returns: centroids [K, d] float64 and the number of gated samples [K]. A class with none has a zero row, which is
    the caller's to handle.
    """
    counts = np.bincount(labels[gate], minlength=num_classes)
    centroids = np.zeros((num_classes, unit.shape[1]))
    for k in np.flatnonzero(counts):
        centroids[k] = unit[gate & (labels == k)].mean(axis=0)
    return centroids, counts


def label_scores(unit: np.ndarray, prototypes: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Negative squared distance of each row to the prototype of its own label: [N] (spec/sfa.md §2.8)."""
    return -np.square(unit - prototypes[labels]).sum(axis=1)
