"""Confident learning (algorithms/confident_learning.md) against cleanlab, the paper's sums, and worked numbers."""

import numpy as np
import pytest
from cleanlab.count import compute_confident_joint, get_confident_thresholds
from cleanlab.filter import find_label_issues
from cleanlab.rank import get_label_quality_scores

from sfa_bench.parts.confident import (
    agrees,
    by_class,
    by_noise_rate,
    class_thresholds,
    confident_classes,
    confident_joint,
    lowest,
    normalised_margin,
    of_labels,
)


def predicted(seed, num_classes, sharp, tail=1.0):
    """Probabilities and noisy labels, every class among them."""
    rng = np.random.default_rng(seed)
    prior = float(tail) ** np.arange(num_classes)
    clean = rng.choice(num_classes, 150 * num_classes, p=prior / prior.sum())
    labels = np.where(rng.random(len(clean)) < 0.35, rng.integers(0, num_classes, len(clean)), clean)
    logits = rng.normal(size=(len(clean), num_classes)) + sharp * np.eye(num_classes)[clean]
    p = np.exp(logits)
    return p / p.sum(axis=1, keepdims=True), labels


CASES = [(s, k, sharp, tail) for s in range(3) for k in (2, 3, 5, 10) for sharp in (0.5, 1.5, 3) for tail in (1, 0.7)]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_thresholds_and_what_is_counted_are_cleanlabs(case):
    p, labels = predicted(*case)
    k = p.shape[1]
    assert class_thresholds(p, labels) == pytest.approx(get_confident_thresholds(labels, p), abs=1e-12)
    found = confident_classes(p, labels, among_all=True)
    counts = np.zeros((k, k), dtype=int)
    np.add.at(counts, (labels[found >= 0], found[found >= 0]), 1)
    theirs = compute_confident_joint(labels, p, calibrate=False)
    assert np.array_equal(np.maximum(counts, np.eye(k)), np.maximum(theirs, np.eye(k)))
    # Of equal remainders one is rounded up, and which is chance in cleanlab.
    joint, calibrated = confident_joint(p, labels, found), compute_confident_joint(labels, p, calibrate=True)
    assert joint.sum(axis=1).tolist() == np.bincount(labels, minlength=k).tolist()
    assert np.abs(joint - calibrated).max() <= 1
    moved = np.argwhere(joint != calibrated)
    scaled = np.maximum(counts, np.eye(k)) * (joint.sum(axis=1) / np.maximum(counts, np.eye(k)).sum(axis=1))[:, None]
    for row in np.unique(moved[:, 0]):
        ties = scaled[row][moved[moved[:, 0] == row, 1]] % 1
        assert np.ptp(ties) < 1e-9


@pytest.mark.parametrize("case", CASES, ids=str)
def test_what_is_pruned_given_a_joint_is_what_cleanlab_prunes(case):
    p, labels = predicted(*case)
    joint = compute_confident_joint(labels, p, calibrate=True)
    not_predicted = ~agrees(p, labels)
    by_rate, of_class = by_noise_rate(p, labels, joint), by_class(p, labels, joint)
    for flagged, how in ((by_rate, "prune_by_noise_rate"), (of_class, "prune_by_class"), (by_rate & of_class, "both")):
        theirs = find_label_issues(labels, p, filter_by=how, confident_joint=joint, n_jobs=1)
        assert np.array_equal(flagged & not_predicted, theirs), how


@pytest.mark.parametrize("case", CASES, ids=str)
def test_scores_and_the_lowest_of_them_are_cleanlabs(case):
    p, labels = predicted(*case)
    found = confident_classes(p, labels, among_all=True)
    off_diagonal = (found >= 0) & (found != labels) & ~agrees(p, labels)
    assert np.array_equal(off_diagonal, find_label_issues(labels, p, filter_by="confident_learning", n_jobs=1))
    for score, name in ((of_labels, "self_confidence"), (normalised_margin, "normalized_margin")):
        values = score(p, labels)
        assert values == pytest.approx(get_label_quality_scores(labels, p, method=name), abs=1e-12)
        theirs = find_label_issues(labels, p, filter_by=f"low_{name}", n_jobs=1)
        assert np.array_equal(lowest(values, off_diagonal.sum()), theirs)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_papers_counting_differs_from_cleanlabs_where_the_most_probable_class_is_below_its_threshold(case):
    p, labels = predicted(*case)
    paper, cleanlab = (confident_classes(p, labels, among_all=rule) for rule in (False, True))
    t = class_thresholds(p, labels)
    for row, label, one, other in zip(p, labels, paper, cleanlab, strict=True):
        able = [k for k in range(len(row)) if row[k] >= t[k]]
        assert one == (max(able, key=lambda k: row[k]) if able else -1), label
        assert (one != other) == (len(able) > 1 and int(row.argmax()) not in able)


def test_the_two_countings_do_differ():
    p, labels = predicted(11, 10, 3, 0.7)
    paper, cleanlab = (confident_classes(p, labels, among_all=rule) for rule in (False, True))
    assert 0 < (paper != cleanlab).mean() < 0.1


P = np.array([[0.9, 0.1], [0.8, 0.2], [0.3, 0.7], [0.4, 0.6], [0.2, 0.8], [0.6, 0.4]])
LABELS = np.array([0, 0, 0, 1, 1, 1])


def test_the_worked_numbers():
    assert class_thresholds(P, LABELS) == pytest.approx([2 / 3, 0.6])
    found = confident_classes(P, LABELS, among_all=False)
    assert found.tolist() == [0, 0, 1, 1, 1, -1]
    assert confident_joint(P, LABELS, found).tolist() == [[2, 1], [0, 3]]
    assert by_noise_rate(P, LABELS, np.array([[2, 1], [0, 3]])).tolist() == [False, False, True, False, False, False]
    assert by_class(P, LABELS, np.array([[2, 1], [1, 2]])).tolist() == [False, False, True, False, False, True]
    assert normalised_margin(P, LABELS) == pytest.approx([0.9, 0.8, 0.3, 0.6, 0.8, 0.4])


def test_remainders_are_rounded_so_that_rows_keep_their_sum():
    labels = np.array([0] * 10 + [1] * 4 + [2])
    p = np.full((15, 3), 1 / 3)
    found = np.array([0, 1, 2] + [-1] * 7 + [1, 1, 1, 0] + [-1])  # rows 1 1 1 of 10 samples, 1 3 0 of 4, and none of 1
    heavier = p.copy()
    heavier[:10] = (0.3, 0.3, 0.4)
    for probabilities, first in ((p, [4, 3, 3]), (heavier, [3, 3, 4])):  # of equal remainders the class with more mass
        joint = confident_joint(probabilities, labels, found)
        assert joint.tolist() == [first, [1, 3, 0], [0, 0, 1]]


def test_a_class_without_a_sample_is_no_samples_and_equal_predictions_are_their_labels():
    labels = np.array([0, 0, 2, 2, 2])
    p = np.full((5, 4), 0.25)
    found = confident_classes(p, labels, among_all=True)
    assert found.tolist() == labels.tolist()
    joint = confident_joint(p, labels, found)
    assert joint.tolist() == [[2, 0, 0, 0], [0, 0, 0, 0], [0, 0, 3, 0], [0, 0, 0, 0]]
    assert not by_noise_rate(p, labels, joint).any()
    assert not by_class(p, labels, joint).any()
