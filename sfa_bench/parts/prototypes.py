"""Class prototypes in the space of centred unit features (algorithms/sfa.md §2, algorithms/methods.md §8)."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

BLOCK = 256  # rows that are worked on at a time: they stay in the processor's cache, and no [N, d] is made in between


def _blocks(count: int) -> Iterator[slice]:
    return (slice(start, start + BLOCK) for start in range(0, count, BLOCK))


def members_of_classes(labels: np.ndarray, num_classes: int) -> list[np.ndarray]:
    """Positions of each class, in ascending order, by one sort instead of a search for each class."""
    order = np.argsort(labels, kind="stable")
    return np.split(order, np.cumsum(np.bincount(labels, minlength=num_classes))[:-1])


def centre_and_normalise(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Subtract the mean over all rows and scale each row to unit length.

    Args: features [N, d].
    Returns: unit features [N, d] float64 and the mean [d]. A row equal to the mean stays zero (norm clamped at 1e-12).
    """
    unit = np.array(features, dtype=np.float64)
    mean = unit.mean(axis=0)
    for rows in _blocks(len(unit)):
        unit[rows] -= mean
        _to_unit_length(unit[rows])
    return unit, mean


def normalise(features: np.ndarray) -> np.ndarray:
    """Each row of features [N, d] at unit length, [N, d] float64; a row of zeros stays (norm clamped at 1e-12)."""
    unit = np.array(features, dtype=np.float64)
    for rows in _blocks(len(unit)):
        _to_unit_length(unit[rows])
    return unit


def _to_unit_length(block: np.ndarray) -> None:
    """In place."""
    block /= np.maximum(np.sqrt((block * block).sum(axis=1, keepdims=True)), 1e-12)


def instant_centroids(
    unit: np.ndarray, labels: np.ndarray, gate: np.ndarray, num_classes: int
) -> tuple[np.ndarray, np.ndarray]:
    """Mean unit feature of the gated samples of each class (algorithms/sfa.md §2.4); not normalised again.

    Args: unit [N, d] centred unit features; labels [N] observed labels; gate [N] bool.
    Returns: centroids [K, d] float64 and the number of gated samples [K]. A class with none has a zero row, which is
    the caller's to handle.
    """
    gated = np.flatnonzero(gate)
    counts = np.bincount(labels[gated], minlength=num_classes)
    centroids = np.zeros((num_classes, unit.shape[1]))
    for k, members in enumerate(members_of_classes(labels[gated], num_classes)):
        if len(members):
            centroids[k] = unit[gated[members]].mean(axis=0)
    return centroids, counts


def label_scores(unit: np.ndarray, prototypes: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Negative squared distance of each row to the prototype of its own label: [N] (algorithms/sfa.md §2.8)."""
    scores = np.empty(len(unit))
    for rows in _blocks(len(unit)):
        apart = unit[rows] - prototypes[labels[rows]]
        scores[rows] = -(apart * apart).sum(axis=1)
    return scores


def nearest_other(unit: np.ndarray, prototypes: np.ndarray, labels: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Squared distance of each row to the nearest prototype of another label than its own: [N].

    Args: known [K] bool, the classes that have a prototype. Zero where there is no other.
    """
    lengths = np.where(known, (prototypes * prototypes).sum(axis=1), np.inf)
    nearest = np.empty(len(unit))
    for rows in _blocks(len(unit)):
        block = unit[rows]
        apart = lengths - 2 * (block @ prototypes.T)
        apart[np.arange(len(block)), labels[rows]] = np.inf
        nearest[rows] = (block * block).sum(axis=1) + apart.min(axis=1)
    return np.where(np.isfinite(nearest), nearest, 0.0)
