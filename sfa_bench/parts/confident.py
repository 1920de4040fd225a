"""Confident learning (Northcutt, Jiang and Chuang 2021): how many labels of each class are wrong, and which
(algorithms/confident_learning.md).

probabilities [N, K], of a network; labels [N], observed.
"""

from __future__ import annotations

import numpy as np

from sfa_bench.parts.prototypes import members_of_classes

SAME = 1e-6  # probabilities of float32 logits that are equal but for rounding


def of_labels(values: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The value of each row's label: [N, K] → [N]."""
    return values[np.arange(len(labels)), labels]


def agrees(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Whether no class is more probable than the label: bool [N]."""
    return of_labels(probabilities, labels) >= probabilities.max(axis=1) * (1 - SAME)


def normalised_margin(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """(p_ỹ − max_{k≠ỹ} p_k + 1)/2, in [0, 1]: below 1/2 another class is more probable than the label."""
    others = probabilities.copy()
    others[np.arange(len(labels)), labels] = -np.inf
    return (of_labels(probabilities, labels) - others.max(axis=1) + 1) / 2


def class_thresholds(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """t_k [K], the mean probability of class k among the samples labelled k; infinite where there is none."""
    num_classes = probabilities.shape[1]
    counts = np.bincount(labels, minlength=num_classes)
    sums = np.bincount(labels, weights=of_labels(probabilities, labels), minlength=num_classes)
    return np.divide(sums, counts, out=np.full(num_classes, np.inf), where=counts > 0)


def confident_classes(probabilities: np.ndarray, labels: np.ndarray, *, among_all: bool) -> np.ndarray:
    """The class that each sample is confidently of [N], -1 where it is of none: that whose probability reaches t_k.

    Of several it is the most probable one; with `among_all` that of all classes, which may be another one (cleanlab).
    Of classes that are equally probable it is the label.
    """
    reached = probabilities >= class_thresholds(probabilities, labels) - SAME
    several = reached.sum(axis=1) > 1
    allowed = reached | several[:, None] if among_all else reached
    candidates = np.where(allowed, probabilities, -1.0)
    best = np.where(agrees(candidates, labels), labels, candidates.argmax(axis=1))
    return np.where(reached.any(axis=1), best, -1)


def confident_joint(probabilities: np.ndarray, labels: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Samples by observed label and by the class that they are really of, as estimated: whole numbers [K, K] whose rows
    sum to the observed counts.

    Samples that are confidently of one of the `classes` [N] (-1: of none) are counted, at least one of each observed
    class as its own, and each row is scaled to its class's samples.
    """
    num_classes = probabilities.shape[1]
    counts = np.zeros((num_classes, num_classes))
    np.add.at(counts, (labels[classes >= 0], classes[classes >= 0]), 1)
    observed = np.bincount(labels, minlength=num_classes)
    diagonal = np.arange(num_classes)
    counts[diagonal, diagonal] = np.where(observed > 0, np.maximum(counts[diagonal, diagonal], 1), 0)
    scaled = counts * (observed / np.maximum(counts.sum(axis=1), 1))[:, None]
    joint = np.zeros((num_classes, num_classes), dtype=np.int64)
    for k, members in enumerate(members_of_classes(labels, num_classes)):
        if len(members):
            joint[k] = _rounded(scaled[k], probabilities[members].sum(axis=0))
    return joint


def _rounded(row: np.ndarray, mass: np.ndarray) -> np.ndarray:
    """Whole numbers with the same sum: the largest remainders are rounded up, of equal ones those of the larger mass
    [K].
    """
    whole = np.floor(row + SAME)
    missing = round(float(row.sum() - whole.sum()))
    remainders = np.round(row - whole, 9)  # equal but for rounding
    whole[np.lexsort((-mass, -remainders))[:missing]] += 1
    return whole.astype(np.int64)


def by_noise_rate(probabilities: np.ndarray, labels: np.ndarray, joint: np.ndarray) -> np.ndarray:
    """Of the samples labelled k, for each other class j the joint[k, j] with the largest margin p_j − p_k: bool [N]."""
    flagged = np.zeros(len(labels), dtype=bool)
    classes = np.arange(probabilities.shape[1])
    for k, members in enumerate(members_of_classes(labels, len(classes))):
        if not len(members):
            continue
        margins = probabilities[members] - probabilities[members, k, None]
        wanted = np.where(classes == k, 0, joint[k])
        falling = -np.sort(-margins, axis=0)
        least = np.where(wanted > 0, falling[np.maximum(wanted, 1) - 1, classes], np.inf)
        flagged[members] = (margins >= least).any(axis=1)
    return flagged


def by_class(probabilities: np.ndarray, labels: np.ndarray, joint: np.ndarray) -> np.ndarray:
    """Of the samples labelled k, as many as the joint has of other classes, those with the smallest p_k: bool [N]."""
    label_probability = of_labels(probabilities, labels)
    flagged = np.zeros(len(labels), dtype=bool)
    for k, members in enumerate(members_of_classes(labels, probabilities.shape[1])):
        wanted = joint[k].sum() - joint[k, k]
        if wanted > 0:
            flagged[members] = label_probability[members] <= np.sort(label_probability[members])[wanted - 1]
    return flagged


def lowest(scores: np.ndarray, count: int) -> np.ndarray:
    """The `count` samples with the smallest scores, of equal ones the first: bool [N]."""
    flagged = np.zeros(len(scores), dtype=bool)
    flagged[np.argsort(scores, kind="stable")[:count]] = True
    return flagged
