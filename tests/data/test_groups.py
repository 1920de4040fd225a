import numpy as np
import pytest

from sfa_bench.config.canonical import canonical, run_hash
from sfa_bench.config.compose import compose
from sfa_bench.data import build
from sfa_bench.data.groups import shot_groups
from sfa_bench.data.imbalance import class_counts


@pytest.mark.parametrize(
    ("imb_factor", "sizes"),
    [(0.1, [69, 31, 0]), (0.05, [53, 47, 0]), (0.02, [41, 41, 18]), (0.01, [35, 35, 30]), (0.005, [30, 31, 39])],
)
def test_cifar100s_groups_have_the_published_sizes(imb_factor, sizes):
    counts = class_counts("exp", imb_factor, 50_000, np.full(100, 500))
    groups = shot_groups("cifar100", counts, counts)
    assert [len(groups[name]) for name in ("many", "medium", "few")] == sizes
    assert sorted(groups["many"] + groups["medium"] + groups["few"]) == list(range(100))


def test_the_borders_100_and_20_are_medium():
    counts = np.array([101, 100, 20, 19])
    groups = shot_groups("cifar100", counts, counts)
    assert (groups["many"], groups["medium"], groups["few"]) == ([0], [1, 2], [3])


@pytest.mark.parametrize("source", ["cifar10", "fashion_mnist", "digits"])
def test_ten_classes_have_fixed_groups(source):
    groups = shot_groups(source, np.arange(10), np.arange(10))
    assert (groups["many"], groups["medium"], groups["few"]) == ([0, 1], [2, 3, 4, 5, 6], [7, 8, 9])
    # head and tail go by count: here the last classes are the largest
    assert (groups["head"], groups["mid"], groups["tail"]) == ([7, 8, 9], [3, 4, 5, 6], [0, 1, 2])


@pytest.mark.parametrize("source", ["cifar10", "fashion_mnist", "digits"])
@pytest.mark.parametrize(
    ("counts", "groups"),
    [  # algorithms/data.md §7: clean CIFAR-10 at 0.01 has 8 and 2; and §4.1: after symmetric noise nothing is few (Q36)
        ([5000, 2997, 1796, 1077, 645, 387, 232, 139, 83, 50], ([0, 1, 2, 3, 4, 5, 6, 7], [8, 9], [])),
        ([2911, 2021, 1487, 1168, 976, 861, 792, 751, 726, 711], ([*range(10)], [], [])),
        ([101, 100, 20, 19, 0, 500, 5, 20, 21, 99], ([0, 5], [1, 2, 7, 8, 9], [3, 4, 6])),
    ],
)
def test_by_observed_counts_ten_classes_have_rolts_groups(source, counts, groups):
    found = shot_groups(source, np.array(counts), np.arange(10), observed=True)
    assert (found["many"], found["medium"], found["few"]) == groups
    assert (found["head"], found["tail"]) == ([7, 8, 9], [0, 1, 2])  # by clean counts as ever


@pytest.mark.parametrize(
    ("num_classes", "sizes"), [(50, (15, 20, 15)), (14, (4, 6, 4)), (3, (1, 2, 0)), (2, (1, 1, 0))]
)
def test_other_data_are_split_by_rank(num_classes, sizes):
    counts = np.arange(num_classes, 0, -1)
    groups = shot_groups("arrays", counts, counts)
    assert tuple(len(groups[name]) for name in ("many", "medium", "few")) == sizes
    assert groups["many"] == list(range(sizes[0]))


def test_two_classes_have_a_head_and_a_tail():
    groups = shot_groups("arrays", np.array([3, 9]), np.array([3, 9]))
    assert (groups["head"], groups["mid"], groups["tail"]) == ([1], [], [0])


def test_ties_go_to_the_lower_class_and_the_basis_is_its_own():
    groups = shot_groups("arrays", np.array([5, 5, 5, 9]), np.array([9, 5, 5, 5]))
    assert (groups["many"], groups["few"]) == ([3], [2])
    assert (groups["head"], groups["tail"]) == ([0], [3])


def test_a_run_by_observed_counts_reports_them_and_is_another_run_only_where_groups_were_fixed():
    typed = ["dataset=digits", "method=ce", "plugin=none", "noise=symmetric", "noise_ratio=0.5", "imb_factor=0.1"]
    clean, observed = (compose([*typed, f"dataset.shots.basis={basis}"]) for basis in ("clean", "observed"))
    data = build(observed)
    assert data.groups["many"] == np.flatnonzero(data.observed_counts > 100).tolist()
    assert data.groups["few"] == np.flatnonzero(data.observed_counts < 20).tolist()
    assert build(clean).groups["many"] == [0, 1]
    assert canonical(observed)["dataset.shots.revision"] == 2
    assert "dataset.shots.revision" not in canonical(clean)
    other = compose(["dataset=synthetic", "method=ce", "plugin=none", "dataset.shots.basis=observed"])
    assert "dataset.shots.revision" not in canonical(other)
    assert run_hash(other) != run_hash(clean)


@pytest.mark.parametrize("dataset", ["cifar10", "cifar100"])
def test_rolts_preset_groups_as_rolt_does(dataset):
    config = compose(["+preset=release_rolt", f"dataset={dataset}"])
    assert config.dataset.shots.basis == "observed"
    assert ("dataset.shots.revision" in canonical(config)) == (dataset == "cifar10")
