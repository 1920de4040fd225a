"""Ranks of classes, neighbour classes and shared labels, by the numbers of algorithms/ibc.md §6 and by plain loops."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sfa_bench.parts.shots import by_rank, neighbour_classes, shared_labels


def plain_neighbours(queries, centroids, known, count):
    """The definition, a query at a time."""
    found = np.zeros((len(queries), len(centroids)), dtype=bool)
    for i, query in enumerate(queries):
        candidates = [k for k in range(len(centroids)) if known[k]]
        similarity = {k: sum(float(a) * float(b) for a, b in zip(query, centroids[k], strict=True)) for k in candidates}
        for k in sorted(candidates, key=lambda k: (-similarity[k], k))[:count]:
            found[i, k] = True
    return found


def plain_labels(labels, neighbours, epsilon):
    """The definition, an entry at a time."""
    rows = []
    for label, near in zip(labels, neighbours, strict=True):
        row = [0.0] * len(near)
        row[label] += 1 - epsilon
        for k in np.flatnonzero(near):
            row[k] += epsilon / near.sum()
        rows.append([value / sum(row) for value in row])
    return np.array(rows)


def test_the_ranks_of_ten_classes_are_three_four_and_three():
    counts = np.array([5000, 2997, 1796, 1077, 645, 387, 232, 139, 83, 50])
    assert by_rank(counts, 3, 3) == ([0, 1, 2], [3, 4, 5, 6], [7, 8, 9])
    assert by_rank(counts[::-1], 3, 3) == ([7, 8, 9], [3, 4, 5, 6], [0, 1, 2])


def test_of_equal_counts_the_lower_class_is_the_larger_one():
    assert by_rank(np.full(10, 7), 3, 3) == ([0, 1, 2], [3, 4, 5, 6], [7, 8, 9])
    assert by_rank(np.array([4, 9, 4, 4]), 1, 1) == ([1], [0, 2], [3])


@pytest.mark.parametrize("ends", [0, 1])
def test_without_a_class_at_an_end_all_are_between(ends):
    assert by_rank(np.array([1, 3, 2]), ends, 0) == ([1][:ends], [0, 1, 2] if not ends else [0, 2], [])


@pytest.mark.parametrize(
    ("label", "near", "few", "expected"),
    [
        (0, [1, 3], [3], [0.9, 0, 0, 0.1]),
        (0, [1, 3], [], [1, 0, 0, 0]),
        (3, [3], [3], [0, 0, 0, 1]),
        (3, [1, 3], [1, 3], [0, 0.05, 0, 0.95]),
        (2, [0, 1, 3], [0, 1, 3], [1 / 30, 1 / 30, 0.9, 1 / 30]),
    ],
)
def test_shared_labels_are_the_worked_numbers(label, near, few, expected):
    classes = np.arange(4)
    shared = np.isin(classes, near) & np.isin(classes, few)
    assert shared_labels(np.array([label]), shared[None], 0.1)[0] == pytest.approx(expected, abs=1e-12)


@given(st.integers(0, 10_000), st.integers(2, 9), st.floats(0, 0.999))
def test_shared_labels_are_distributions_and_those_of_the_definition(seed, num_classes, epsilon):
    rng = np.random.default_rng(seed)
    labels, neighbours = rng.integers(0, num_classes, 12), rng.random((12, num_classes)) < 0.3
    found = shared_labels(labels, neighbours, epsilon)
    assert found == pytest.approx(plain_labels(labels, neighbours, epsilon), abs=1e-12)
    assert found.sum(axis=1) == pytest.approx(np.ones(12), abs=1e-12)
    assert (found >= 0).all()
    alone = ~neighbours.any(axis=1)
    assert np.array_equal(found[alone], np.eye(num_classes)[labels[alone]])


@given(st.integers(0, 10_000))
def test_without_a_share_labels_are_one_hot_to_the_bit(seed):
    rng = np.random.default_rng(seed)
    labels, neighbours = rng.integers(0, 5, 9), rng.random((9, 5)) < 0.6
    assert np.array_equal(shared_labels(labels, neighbours, 0.0), np.eye(5)[labels])


@given(st.integers(0, 10_000), st.integers(1, 8))
def test_neighbours_are_those_of_the_definition_ties_included(seed, count):
    rng = np.random.default_rng(seed)
    queries, centroids = rng.integers(-2, 3, (10, 3)).astype(float), rng.integers(-1, 2, (6, 3)).astype(float)
    known = rng.random(6) < 0.8
    found = neighbour_classes(queries, centroids, known, count)
    assert np.array_equal(found, plain_neighbours(queries, centroids, known, count))
    assert (found.sum(axis=1) == min(count, known.sum())).all()


@given(st.integers(0, 10_000))
def test_neighbours_move_with_samples_and_classes(seed):
    rng = np.random.default_rng(seed)
    queries, centroids, known = rng.normal(size=(10, 4)), rng.normal(size=(7, 4)), rng.random(7) < 0.8
    rows, classes = rng.permutation(10), rng.permutation(7)
    found = neighbour_classes(queries, centroids, known, 3)
    moved = neighbour_classes(queries[rows], centroids[classes], known[classes], 3)
    assert np.array_equal(moved, found[rows][:, classes])


@given(st.integers(0, 10_000), st.floats(0.01, 100))
def test_neither_the_length_of_a_query_nor_a_common_factor_of_the_centroids_matters(seed, scale):
    rng = np.random.default_rng(seed)
    queries, centroids, known = rng.normal(size=(10, 4)), rng.normal(size=(7, 4)), np.ones(7, dtype=bool)
    found = neighbour_classes(queries, centroids, known, 3)
    assert np.array_equal(neighbour_classes(scale * queries, centroids, known, 3), found)
    assert np.array_equal(neighbour_classes(queries, scale * centroids, known, 3), found)
