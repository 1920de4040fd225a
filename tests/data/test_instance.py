"""Part-dependent noise against its definition, written once more in loops, and SciPy's truncated normal."""

import numpy as np
import pytest
from scipy.stats import kstest, norm, truncnorm

from sfa_bench.config.compose import compose
from sfa_bench.data import build
from sfa_bench.data import instance as instance_noise
from sfa_bench.streams import numpy_generator


def data(*typed):
    return build(compose(["noise=instance", *typed]))


def by_hand(vectors, clean, num_classes, ratio, seed):
    """The law, sample by sample, on the same draws."""
    chance = numpy_generator(seed, "instance_rate").random(len(clean))
    low, high = norm.cdf(-ratio / 0.1), norm.cdf((1 - ratio) / 0.1)
    q = ratio + 0.1 * norm.ppf(low + chance * (high - low))
    assert ((q >= 0) & (q <= 1)).all()
    flips, draws = numpy_generator(seed, "noise").random((2, len(clean)))
    matrices = [
        numpy_generator(seed, "instance_weights", epoch=a).standard_normal((vectors.shape[1], num_classes))
        for a in range(num_classes)
    ]
    observed = []
    for x, a, q_i, flip, draw in zip(vectors, clean, q, flips, draws, strict=True):
        u = x @ matrices[a]
        u[a] = -np.inf
        p = np.exp(u - u.max())
        p /= p.sum()
        observed.append(a if flip >= q_i else int(np.searchsorted(np.cumsum(p), draw, side="right")))
    return observed


@pytest.mark.parametrize("dataset", ["digits", "synthetic"])
@pytest.mark.parametrize("ratio", [0.05, 0.4, 0.95])
def test_labels_are_the_laws_on_the_same_draws(monkeypatch, dataset, ratio):
    monkeypatch.setattr(instance_noise, "BLOCK", 7)  # no block is whole
    d = data(f"dataset={dataset}", f"noise_ratio={ratio}", "data_seed=3")
    images = d.view.images.numpy().astype(np.float64)
    if dataset == "digits":
        images = (images / 255 - d.view.transform.mean[0]) / d.view.transform.std[0]
    vectors = images.reshape(len(images), -1)
    assert d.view.observed_labels.tolist() == by_hand(vectors, d.clean_labels, 10, ratio, 3)
    assert d.noise_rate == np.mean(d.view.observed_labels.numpy() != d.clean_labels)
    assert d.confusion.sum() - np.trace(d.confusion) == np.sum(d.view.observed_labels.numpy() != d.clean_labels)


def test_colour_is_flattened_as_the_test_view_is(tmp_path):
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 256, (60, 5, 4, 3), dtype=np.uint8), np.arange(60) % 3
    x //= np.array([1, 3, 9], dtype=np.uint8)  # channels of their own mean and std
    np.savez(tmp_path / "mine.npz", x_train=x, y_train=y, x_test=x, y_test=y)
    mine = ["dataset=arrays", "dataset.name=mine", f"data_dir={tmp_path}/mine.npz", "noise_ratio=0.8"]
    d = data(*mine)
    mean, std = x.mean(axis=(0, 1, 2)) / 255, (x / 255).std(axis=(0, 1, 2))
    vectors = ((x[d.index] / 255 - mean) / std).transpose(0, 3, 1, 2).reshape(60, -1)
    assert d.view.observed_labels.tolist() == by_hand(vectors, d.clean_labels, 3, 0.8, 0)
    # whose mean and std the networks see is another question
    assert data(*mine, "dataset.normalise=cifar10").fingerprints == d.fingerprints


def observed_of(ratio, count, seed=0, num_classes=3, dim=4):
    clean = np.arange(count) % num_classes
    vectors = np.random.default_rng(9).normal(size=(count, dim))
    return clean, instance_noise.corrupt(lambda rows: vectors[rows], vectors.shape[1], clean, num_classes, ratio, seed)


@pytest.mark.parametrize("ratio", [0.02, 0.2, 0.5, 0.9, 0.99])
def test_the_rate_is_the_truncated_normals(ratio):
    drawn = instance_noise._law(ratio).ppf(numpy_generator(0, "instance_rate").random(100_000))
    expected = truncnorm((0 - ratio) / 0.1, (1 - ratio) / 0.1, ratio, 0.1)
    assert drawn.mean() == pytest.approx(expected.mean(), abs=4 * expected.std() / 100_000**0.5)
    assert drawn.std() == pytest.approx(expected.std(), rel=0.02)
    kept = np.random.default_rng(1).normal(ratio, 0.1, 400_000)
    kept = kept[(kept >= 0) & (kept <= 1)]  # truncation as it is defined
    assert kstest(drawn, kept).pvalue > 1e-3
    clean, observed = observed_of(ratio, 100_000)
    mean = expected.mean()
    assert (clean != observed).mean() == pytest.approx(mean, abs=4 * (mean * (1 - mean) / 100_000) ** 0.5)
    if 0.3 < ratio < 0.7:
        assert mean == pytest.approx(ratio, abs=1e-4)


def test_no_noise_changes_nothing_though_the_truncated_law_would():
    clean, observed = observed_of(0.0, 3000)
    assert observed.tolist() == clean.tolist()
    assert observed.dtype == np.int64
    assert truncnorm(0, 10, 0, 0.1).mean() == pytest.approx(0.0798, abs=1e-4)
    d = data("noise_ratio=0")
    assert d.noise_rate == 0
    assert data("dataset=synthetic", "noise_ratio=0").bayes.auc is None


@pytest.mark.parametrize("num_classes", [2, 5])
def test_who_loses_the_label_gets_another_one(num_classes):
    vectors = np.random.default_rng(9).normal(size=(500, 4))
    for a in range(num_classes):
        p = instance_noise.new_label_probability(vectors, a, num_classes, seed=0)
        assert (p[:, a] == 0).all()
        assert p.sum(axis=1) == pytest.approx(1)


def test_alike_samples_of_a_class_are_mislabelled_alike_and_classes_differ():
    rng = np.random.default_rng(0)
    centres = 10 * rng.normal(size=(2, 30))
    kind = np.arange(4000) % 2
    vectors = centres[kind] + 0.01 * rng.normal(size=(4000, 30))
    clean = np.arange(4000) // 2 % 10
    observed = instance_noise.corrupt(lambda rows: vectors[rows], vectors.shape[1], clean, 10, 0.5, 0)
    wrong = observed != clean
    usual, shares = {}, []
    for a in range(10):
        for k in range(2):
            told = np.bincount(observed[wrong & (clean == a) & (kind == k)], minlength=10)
            shares.append(told.max() / told.sum())
            usual[a, k] = int(told.argmax())
            assert wrong[(clean == a) & (kind == k)].mean() == pytest.approx(0.5, abs=0.15)
    assert np.mean(shares) > 0.9  # by chance, each of nine new labels would be as usual
    assert any(usual[a, 0] != usual[a, 1] for a in range(10))
    assert len({usual[a, 0] for a in range(10)}) > 3


def test_labels_are_a_function_of_the_data_seed_and_what_flips_at_a_rate_flips_at_a_higher_one():
    vectors, clean = np.random.default_rng(9).normal(size=(2000, 4)), np.arange(2000) % 3

    def at(ratio, seed=0):
        return instance_noise.corrupt(lambda rows: vectors[rows], vectors.shape[1], clean, 3, ratio, seed)

    assert at(0.4).tolist() == at(0.4).tolist()
    assert at(0.4).tolist() != at(0.4, seed=1).tolist()
    low, high = at(0.2), at(0.6)
    flipped = low != clean
    assert (low[flipped] == high[flipped]).all()
    assert data("seed=1").fingerprints == data("seed=2").fingerprints
    assert data().index.tolist() == build(compose(["noise=joint"])).index.tolist()


def test_no_more_than_a_block_of_images_is_in_memory():
    asked = []
    clean = np.repeat([0, 1], [4000, 100])

    def features(rows):
        asked.append(len(rows))
        return np.zeros((len(rows), 3))

    instance_noise.corrupt(features, 3, clean, 2, 0.9, 0)
    assert max(asked) == 1000
    assert sum(asked) == pytest.approx(truncnorm(-9, 1, 0.9, 0.1).mean() * 4100, abs=4 * (4100 * 0.86 * 0.14) ** 0.5)


def test_the_bound_of_synthetic_data_is_bayes_rule_with_the_new_label_of_each_point():
    """P(clean | x, ỹ) from the definition; and calibrated on many samples."""
    typed = ["dataset=synthetic", "dataset.size=2000", "dataset.overlap=3", "dataset.dim=3", "imb_factor=1"]
    d = data(*typed, "dataset.classes=4", "noise_ratio=0.4")
    right, p = d.view.observed_labels.numpy() == d.clean_labels, d.bayes.clean_probability
    for low, high in ((0, 0.2), (0.2, 0.4), (0.4, 0.6), (0.6, 0.8), (0.8, 1.01)):
        inside = (p >= low) & (p < high)
        assert inside.sum() > 100
        spread = np.sqrt((p * (1 - p))[inside].sum()) / inside.sum()
        assert abs(right[inside].mean() - p[inside].mean()) < 4 * spread
    vectors, observed = d.view.images.double().numpy()[:20], d.view.observed_labels.numpy()[:20]
    found = instance_noise.likelihood(vectors, observed, 4, 0.4, 0)
    mean = truncnorm(-4, 6, 0.4, 0.1).mean()
    for i in range(20):
        for a in range(4):
            u = vectors[i] @ numpy_generator(0, "instance_weights", epoch=a).standard_normal((3, 4))
            others = np.exp(np.delete(u, a))
            b = observed[i]
            expected = 1 - mean if a == b else mean * np.exp(u[b]) / others.sum()
            assert found[i, a] == pytest.approx(expected)
    for b in range(4):  # over all labels that may be observed, a law
        everywhere = [instance_noise.likelihood(vectors, np.full(20, c), 4, 0.4, 0)[:, b] for c in range(4)]
        assert np.sum(everywhere, axis=0) == pytest.approx(1)
