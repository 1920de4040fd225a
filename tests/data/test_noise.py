import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sfa_bench.choices.noises import NoiseConfig
from sfa_bench.data.imbalance import class_counts
from sfa_bench.data.noise import corrupt, noise_law, transition_matrix
from sfa_bench.data.sources import fashion_mnist
from sfa_bench.data.sources.cifar import CLASS_MAPS, SUPERCLASSES
from sfa_bench.errors import ConfigError, DataError


def long_tail(imb_factor, num_classes=10, per_class=5000):
    return class_counts("exp", imb_factor, num_classes * per_class, np.full(num_classes, per_class))


def law_of(name, ratio, counts, dataset="cifar10", **options):
    maps = {**CLASS_MAPS, "fashion_mnist": fashion_mnist.CLASS_MAPS}.get(dataset, {})
    return noise_law(NoiseConfig(name, **options), ratio, np.asarray(counts), np.random.default_rng(7), maps)


def labels_of(counts):
    return np.repeat(np.arange(len(counts)), counts)


def confusion_of(law, counts, seed=0):
    clean = labels_of(counts)
    observed = corrupt(clean, law, np.random.default_rng(seed))
    confusion = np.zeros((len(counts), len(counts)), dtype=int)
    np.add.at(confusion, (clean, observed), 1)
    return confusion


JOINT_ROWS = {
    0: [0.5000, 0.2023, 0.1213, 0.0727, 0.0435, 0.0261, 0.0157, 0.0094, 0.0056, 0.0034],
    1: [0.2657, 0.5000, 0.0954, 0.0572, 0.0343, 0.0206, 0.0123, 0.0074, 0.0044, 0.0027],
    9: [0.2023, 0.1213, 0.0727, 0.0436, 0.0261, 0.0157, 0.0094, 0.0056, 0.0034, 0.5000],
}


def test_joint_rows_are_the_published_ones():
    counts = long_tail(0.01)
    matrix = transition_matrix(law_of("joint", 0.5, counts), counts)
    for row, expected in JOINT_ROWS.items():
        assert matrix[row] == pytest.approx(expected, abs=6e-5)
    assert int(0.5 * counts.sum()) == 6203


@pytest.mark.parametrize(
    ("name", "imb_factor", "ratio", "expected"),
    [
        ("joint", 0.01, 0.5, [4277.7, 3098.4, 1990.8, 1233.8, 751.9, 455.5, 274.6, 165.1, 98.7, 59.6]),
        ("joint", 0.1, 0.2, [4859.1, 3831.8, 3003.7, 2345.5, 1827.2, 1421.6, 1104.5, 857.4, 664.4, 515.8]),
        ("symmetric", 0.01, 0.5, [2911.4, 2021.2, 1487.4, 1167.9, 975.9, 861.2, 792.3, 751.0, 726.1, 711.4]),
    ],
)
def test_expected_observed_counts_are_the_published_ones(name, imb_factor, ratio, expected):
    counts = long_tail(imb_factor)
    assert counts @ transition_matrix(law_of(name, ratio, counts), counts) == pytest.approx(expected, abs=0.051)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("joint", [0.584, 0.484, 0.451, 0.436, 0.429, 0.425, 0.422, 0.421, 0.420, 0.420]),
        ("symmetric", [0.859, 0.741, 0.604, 0.461, 0.330, 0.225, 0.146, 0.093, 0.057, 0.035]),
    ],
)
def test_expected_shares_of_correct_labels_are_the_published_ones(name, expected):
    counts = long_tail(0.01)
    matrix = transition_matrix(law_of(name, 0.5, counts), counts)
    assert counts * matrix.diagonal() / (counts @ matrix) == pytest.approx(expected, abs=6e-4)


def test_joint_row_at_imbalance_10_and_symmetric_entries():
    counts = long_tail(0.1)
    row = transition_matrix(law_of("joint", 0.2, counts), counts)[0]
    assert row == pytest.approx(
        [0.8000, 0.0502, 0.0388, 0.0301, 0.0233, 0.0180, 0.0140, 0.0108, 0.0084, 0.0065], abs=6e-5
    )
    assert int(0.2 * counts.sum()) == 4086
    matrix = transition_matrix(law_of("symmetric", 0.5, long_tail(0.01)), long_tail(0.01))
    assert matrix[3, 3] == pytest.approx(0.5)
    assert matrix[3, 4] == pytest.approx(0.05556, abs=1e-5)


def test_symmetric_that_includes_the_old_label_is_wrong_less_often():
    counts = np.full(10, 1000)
    matrix = transition_matrix(law_of("symmetric", 0.5, counts, include_self=True), counts)
    assert matrix[2, 2] == pytest.approx(0.55)
    assert matrix[2, 3] == pytest.approx(0.05)


def test_joint_on_cifar100s_tail():
    counts = long_tail(0.01, 100, 500)
    expected = counts @ transition_matrix(law_of("joint", 0.5, counts), counts)
    assert expected[95:] == pytest.approx([6.07, 5.06, 5.06, 5.06, 5.06], abs=0.006)


def test_joint_that_includes_the_old_label_draws_more_to_reach_the_ratio():
    counts = long_tail(0.01)
    law = law_of("joint", 0.5, counts, include_self=True)
    assert 0.5 / law.rate[0] == pytest.approx(0.74650, abs=6e-6)
    assert int(law.rate[0] * counts.sum()) == 8309
    confusion = confusion_of(law, counts)
    assert 1 - confusion.trace() / counts.sum() == pytest.approx(0.5, abs=4 * 0.5 / np.sqrt(counts.sum()))
    assert law_of("joint", 0.9, counts, include_self=True).rate[0] == 1.0


def test_asymmetric_flips_of_a_long_tail_are_the_published_ones():
    counts = long_tail(0.1)
    confusion = confusion_of(law_of("asymmetric", 0.4, counts), counts)
    flips = {a: int(confusion[a].sum() - confusion[a, a]) for a in range(10)}
    assert flips == {0: 0, 1: 0, 2: 1198, 3: 928, 4: 718, 5: 556, 6: 0, 7: 0, 8: 0, 9: 200}
    assert confusion.sum(axis=0).tolist() == [6198, 4071, 1799, 1948, 1078, 1763, 1077, 1552, 645, 300]
    # cat ↔ dog: computed from the clean labels, so nobody flips back (algorithms/quirks.md Q52)
    assert confusion[3, 5] == 928
    assert confusion[5, 3] == 556


@pytest.mark.parametrize(("imb_factor", "share"), [(0.1, 0.4407), (0.01, 0.3188)])
def test_realised_rate_of_asymmetric_noise_on_a_long_tail(imb_factor, share):
    counts = long_tail(imb_factor)
    matrix = transition_matrix(law_of("asymmetric", 0.3, counts, count="bernoulli"), counts)
    assert 1 - (counts * matrix.diagonal()).sum() / counts.sum() == pytest.approx(0.3 * share, abs=2e-5)


def test_superclasses_partition_cifar100_and_labels_move_inside_them():
    assert sorted(SUPERCLASSES.ravel().tolist()) == list(range(100))
    assert (np.diff(SUPERCLASSES, axis=1) > 0).all()
    targets = CLASS_MAPS["cifar100"]["default"]
    assert [targets[a] for a in (4, 30, 55, 72, 95)] == [30, 55, 72, 95, 4]
    assert [targets[a] for a in (41, 69, 81, 85, 89)] == [69, 81, 85, 89, 41]
    blocks = CLASS_MAPS["cifar100"]["block5"]
    assert [blocks[a] for a in (0, 3, 4, 95, 99)] == [1, 4, 0, 96, 95]


def test_fashion_mnist_confuses_shoes_and_tops():
    counts = np.full(10, 100)
    confusion = confusion_of(law_of("asymmetric", 0.3, counts, dataset="fashion_mnist"), counts)
    off_diagonal = {(a, b): int(n) for (a, b), n in np.ndenumerate(confusion) if n and a != b}
    assert off_diagonal == {(9, 7): 30, (7, 5): 30, (2, 6): 30, (4, 3): 30, (3, 4): 30}


def test_asymmetric_is_refused_where_no_class_map_exists():
    with pytest.raises(ConfigError, match=r"no class map default in these data \(they have none\)") as error:
        law_of("asymmetric", 0.4, [5, 5], dataset="digits")
    assert error.value.invalid_combination
    with pytest.raises(ConfigError, match=r"no class map block5 in these data \(they have default\)"):
        law_of("asymmetric", 0.4, [5] * 10, map="block5")


def test_pair_noise_moves_to_the_next_class():
    assert transition_matrix(law_of("pair", 0.3, [9, 9, 9]), np.array([9, 9, 9])) == pytest.approx(
        np.array([[0.7, 0.3, 0], [0, 0.7, 0.3], [0.3, 0, 0.7]])
    )


@given(st.integers(2, 12), st.integers(0, 10_000))
def test_flip_noise_gives_each_class_one_other_class(num_classes, seed):
    law = noise_law(NoiseConfig("flip"), 0.4, np.ones(num_classes, int), np.random.default_rng(seed))
    assert np.count_nonzero(law.target, axis=1).tolist() == [1] * num_classes
    assert law.target.diagonal().sum() == 0


def test_flip_noise_can_choose_every_other_class():
    seen = {
        int(noise_law(NoiseConfig("flip"), 0.4, np.ones(4, int), np.random.default_rng(s)).target[1].argmax())
        for s in range(60)
    }
    assert seen == {0, 2, 3}


def test_tail_to_head_moves_labels_only_to_larger_classes():
    counts = np.array([600, 300, 300, 100])
    matrix = transition_matrix(law_of("tail_to_head", 0.4, counts), counts)
    expected = [[1, 0, 0, 0], [0.4, 0.6, 0, 0], [0.4, 0, 0.6, 0], [0.2, 0.1, 0.1, 0.6]]
    assert matrix == pytest.approx(np.array(expected))
    realised = 1 - (counts * matrix.diagonal()).sum() / counts.sum()
    assert realised == pytest.approx(0.4 * (1300 - 600) / 1300)


COUNTS = np.array([4000, 2500, 1200, 800])


@pytest.mark.parametrize("count", ["exact", "exact_per_class", "bernoulli"])
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("symmetric", {}),
        ("symmetric", {"include_self": True}),
        ("joint", {}),
        ("joint", {"include_self": True}),
        ("pair", {}),
        ("flip", {}),
        ("tail_to_head", {}),
    ],
)
def test_drawn_labels_follow_the_transition_matrix(name, options, count):
    law = law_of(name, 0.35, COUNTS, count=count, **options)
    matrix = transition_matrix(law, COUNTS)
    drawn = confusion_of(law, COUNTS) / COUNTS[:, None]
    assert (np.abs(drawn - matrix) <= 4 * np.sqrt(matrix * (1 - matrix) / COUNTS[:, None]) + 1e-12).all()
    assert (drawn[matrix == 0] == 0).all()


@settings(deadline=None)
@given(
    counts=st.lists(st.integers(1, 40), min_size=2, max_size=8),
    ratio=st.floats(0, 0.99),
    name=st.sampled_from(["symmetric", "joint", "pair", "flip"]),
    seed=st.integers(0, 99),
)
def test_exact_counts_are_exact(counts, ratio, name, seed):
    counts = np.array(counts)
    total = confusion_of(law_of(name, ratio, counts, count="exact"), counts, seed)
    assert total.sum() - total.trace() == int(ratio * counts.sum())
    by_class = confusion_of(law_of(name, ratio, counts, count="exact_per_class"), counts, seed)
    assert (by_class.sum(axis=1) - by_class.diagonal()).tolist() == [int(ratio * n) for n in counts]


def test_the_number_of_flips_is_cut_from_the_float64_product():
    counts = class_counts("step", 0.1, 50_000, np.full(10, 5000))
    confusion = confusion_of(law_of("symmetric", 0.29, counts), counts)
    assert confusion.sum() - confusion.trace() == 7974  # and not 7975 = .29·27500


def test_exact_flips_are_spread_over_classes_in_proportion():
    counts, ratio = long_tail(0.1), 0.4
    confusion = confusion_of(law_of("joint", ratio, counts), counts)
    rates = 1 - confusion.diagonal() / counts
    assert (np.abs(rates - ratio) < 4 * np.sqrt(ratio * (1 - ratio) / counts)).all()
    assert len(set(np.round(rates, 6))) > 1  # not fixed per class


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("symmetric", "exact"),
        ("joint", "exact"),
        ("asymmetric", "exact_per_class"),
        ("pair", "bernoulli"),
        ("flip", "bernoulli"),
        ("tail_to_head", "bernoulli"),
    ],
)
def test_automatic_count_is_the_sources(name, count):
    assert law_of(name, 0.3, np.full(10, 50)).count == count


@pytest.mark.parametrize("name", ["joint", "symmetric", "pair", "flip", "tail_to_head", "none"])
def test_no_noise_changes_nothing(name):
    clean = labels_of([30, 20, 10])
    law = law_of(name, 0.7 if name == "none" else 0.0, [30, 20, 10])
    observed = corrupt(clean, law, np.random.default_rng(0))
    assert observed.tolist() == clean.tolist()
    assert observed.dtype == np.int64


def test_more_than_127_classes_do_not_overflow():
    clean = labels_of(np.full(300, 5))
    observed = corrupt(clean.astype(np.int16), law_of("pair", 0.5, np.full(300, 5)), np.random.default_rng(0))
    assert observed.dtype == np.int64
    assert set(((observed - clean) % 300).tolist()) == {0, 1}
    assert observed.max() == 299


def test_an_unknown_model_is_refused():
    with pytest.raises(ConfigError, match="no class-dependent noise model is called 'imb'"):
        law_of("imb", 0.4, [5, 5])


class TestMatrix:
    T = np.array([[0.7, 0.2, 0.1], [0.0, 1.0, 0.0], [0.5, 0.4, 0.1]])

    @pytest.mark.parametrize("ending", [".npy", ".csv", ".txt"])
    def test_labels_follow_the_users_matrix(self, tmp_path, ending):
        file = tmp_path / f"t{ending}"
        if ending == ".npy":
            np.save(file, self.T)
        else:
            np.savetxt(file, self.T, delimiter="," if ending == ".csv" else " ")
        counts = np.array([6000, 3000, 2000])
        law = law_of("matrix", 0.4, counts, file=str(file))
        assert transition_matrix(law, counts) == pytest.approx(self.T)
        drawn = confusion_of(law, counts) / counts[:, None]
        assert (np.abs(drawn - self.T) <= 4 * np.sqrt(self.T * (1 - self.T) / counts[:, None])).all()

    def test_exact_counts_need_one_rate(self, tmp_path):
        np.save(tmp_path / "t.npy", self.T)
        with pytest.raises(ConfigError, match=r"use noise\.count=exact_per_class or bernoulli"):
            law_of("matrix", 0.4, [5, 5, 5], file=str(tmp_path / "t.npy"), count="exact")

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("1 0 0\n0 1 0", "2 × 3 matrix; the data set needs 3 × 3"),
            ("1 0 0\n0 1 0\n0 0 0.9", "row 2 .* sums to 0.9"),
            ("1 0 0\n0 1.1 -0.1\n0 0 1", "negative"),
            ("1 0 0\n0 nan 0\n0 0 1", "non-finite"),
            ("1 0 0\n0 one 0\n0 0 1", "cannot be read"),
        ],
    )
    def test_what_is_no_transition_matrix_is_refused(self, tmp_path, text, message):
        (tmp_path / "t.txt").write_text(text)
        with pytest.raises(DataError, match=message):
            law_of("matrix", 0.4, [5, 5, 5], file=str(tmp_path / "t.txt"))

    def test_a_missing_or_pickled_file_is_refused(self, tmp_path):
        with pytest.raises(DataError, match="does not exist"):
            law_of("matrix", 0.4, [5, 5], file=str(tmp_path / "t.txt"))
        with pytest.raises(ConfigError, match=r"needs noise\.file"):
            law_of("matrix", 0.4, [5, 5])
        np.save(tmp_path / "t.npy", np.array([[object()]]), allow_pickle=True)
        with pytest.raises(DataError, match="cannot be read"):
            law_of("matrix", 0.4, [5, 5], file=str(tmp_path / "t.npy"))
