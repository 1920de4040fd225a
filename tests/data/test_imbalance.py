import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sfa_bench.data.imbalance import class_counts, take
from sfa_bench.errors import DataError


def counts(profile, imb_factor, num_classes, per_class):
    return class_counts(profile, imb_factor, num_classes * per_class, np.full(num_classes, per_class))


@pytest.mark.parametrize(
    ("per_class", "imb_factor", "expected"),
    [
        (5000, 0.1, [5000, 3871, 2997, 2320, 1796, 1391, 1077, 834, 645, 500]),
        (5000, 0.02, [5000, 3237, 2096, 1357, 878, 568, 368, 238, 154, 100]),
        (5000, 0.01, [5000, 2997, 1796, 1077, 645, 387, 232, 139, 83, 50]),
        (5000, 0.005, [5000, 2775, 1540, 854, 474, 263, 146, 81, 45, 25]),
        (6000, 0.1, [6000, 4645, 3596, 2784, 2156, 1669, 1292, 1000, 774, 600]),
        (6000, 0.01, [6000, 3596, 2156, 1292, 774, 464, 278, 166, 100, 60]),
    ],
)
def test_exponential_counts_of_ten_classes_are_the_published_ones(per_class, imb_factor, expected):
    assert counts("exp", imb_factor, 10, per_class).tolist() == expected


@pytest.mark.parametrize(
    ("imb_factor", "total", "expected"),
    [
        (0.1, 19573, [500, 488, 396, 279, 156, 87, 51, 50]),
        (0.02, 12608, [500, 480, 336, 186, 69, 25, 10, 10]),
        (0.01, 10847, [500, 477, 314, 156, 48, 15, 5, 5]),
        (0.005, 9502, [500, 473, 292, 131, 34, 9, 2, 2]),
    ],
)
def test_exponential_counts_of_cifar100_are_the_published_ones(imb_factor, total, expected):
    result = counts("exp", imb_factor, 100, 500)
    assert result.sum() == total
    assert result[[0, 1, 10, 25, 50, 75, 98, 99]].tolist() == expected


@pytest.mark.parametrize(("imb_factor", "tail", "total"), [(0.1, 500, 27500), (0.01, 50, 25250)])
def test_a_step_keeps_the_first_half_whole(imb_factor, tail, total):
    result = counts("step", imb_factor, 10, 5000)
    assert result.tolist() == [5000] * 5 + [tail] * 5
    assert result.sum() == total


def test_no_imbalance_keeps_everything_even_where_classes_differ():
    assert class_counts("none", 0.1, 12, np.array([7, 4, 1])).tolist() == [7, 4, 1]


def test_a_class_never_gets_more_than_it_has():
    assert class_counts("exp", 1.0, 30, np.array([20, 6, 4])).tolist() == [10, 6, 4]


def test_a_class_left_empty_is_refused_with_a_factor_that_works():
    with pytest.raises(DataError, match=r"imb_factor=0\.001 leaves class 7 .* use imb_factor=0\.007 or more"):
        class_counts("exp", 0.001, 1438, np.full(10, 140))
    assert class_counts("exp", 0.007, 1438, np.full(10, 140))[9] == 1


def test_a_class_without_images_is_named():
    with pytest.raises(DataError, match="class 1 has no training image"):
        class_counts("none", 0.1, 10, np.array([5, 0, 5]))


def test_by_rank_the_profile_follows_the_natural_order_and_starts_at_the_largest_class():
    natural = np.array([60, 200, 120, 200, 90])
    # Ranks: class 1 before class 3 (equal, the lower first), then 2, 4, 0; 200·0.1^(r/4) = 200 112.4 63.2 35.5 20.
    assert class_counts("exp", 0.1, 670, natural, by_rank=True).tolist() == [20, 200, 63, 112, 35]
    # A head of two classes; no class has fewer than 200·0.5.
    assert class_counts("step", 0.5, 670, natural, by_rank=True).tolist() == [60, 200, 100, 200, 90]
    assert class_counts("none", 0.1, 670, natural, by_rank=True).tolist() == natural.tolist()


def test_by_rank_a_class_keeps_what_it_has_where_the_profile_asks_for_more():
    assert class_counts("exp", 1.0, 400, np.array([5, 40, 7]), by_rank=True).tolist() == [5, 40, 7]


def test_by_rank_a_class_left_empty_is_refused_with_a_factor_that_works():
    with pytest.raises(DataError, match=r"leaves class 0 .*\(the largest class has 50\); use imb_factor=0\.02 or more"):
        class_counts("exp", 0.001, 90, np.array([10, 50, 30]), by_rank=True)
    assert class_counts("exp", 0.02, 90, np.array([10, 50, 30]), by_rank=True)[0] == 1


def test_the_subset_is_blocked_by_class_and_holds_each_sample_once():
    labels = np.random.default_rng(1).integers(0, 4, 200)
    wanted = np.array([20, 11, 5, 1])
    index = take(labels, wanted, np.random.default_rng(0))
    assert labels[index].tolist() == np.repeat(np.arange(4), wanted).tolist()
    assert len(set(index.tolist())) == wanted.sum()
    assert index[:20].tolist() != sorted(index[:20].tolist())


def test_every_sample_of_a_class_is_taken_equally_often():
    labels = np.repeat([0, 1], 10)
    taken = np.concatenate([take(labels, np.array([4, 1]), np.random.default_rng(s)) for s in range(2000)])
    frequency = np.bincount(taken, minlength=20) / 2000
    assert np.abs(frequency[:10] - 0.4).max() < 4.5 * np.sqrt(0.4 * 0.6 / 2000)
    assert np.abs(frequency[10:] - 0.1).max() < 4.5 * np.sqrt(0.1 * 0.9 / 2000)


@given(st.integers(0, 1000), st.integers(1, 30), st.integers(0, 20))
def test_a_smaller_subset_of_a_seed_lies_inside_a_larger_one(seed, small, more):
    labels = np.repeat([0, 1, 2], 50)
    inside = take(labels, np.full(3, small), np.random.default_rng(seed))
    outside = take(labels, np.full(3, small + more), np.random.default_rng(seed))
    assert set(inside.tolist()) <= set(outside.tolist())
