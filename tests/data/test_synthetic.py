"""Synthetic data and their bounds against SciPy's densities, Monte Carlo and brute force (algorithms/data.md §11)."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal

from sfa_bench.config.compose import compose
from sfa_bench.data import build
from sfa_bench.data.bayes import clean_probability
from sfa_bench.data.loader import Loader
from sfa_bench.data.sources.synthetic import Densities, load, next_in_group
from sfa_bench.errors import ConfigError


def data(*typed):
    return build(compose(["dataset=synthetic", *typed]))


def source(seed=0, **keys):
    return load(replace(compose(["dataset=synthetic"]).dataset, **keys), Path(), seed)


def test_densities_are_those_of_gaussian_mixtures():
    rng = np.random.default_rng(0)
    means = [rng.normal(size=(1, 3)), rng.normal(size=(2, 3))]
    points = rng.normal(size=(5, 3))
    expected = np.stack(
        [np.mean([multivariate_normal(m, np.eye(3)).pdf(points) for m in modes], axis=0) for modes in means]
    )
    assert np.exp(Densities(means)(points)) == pytest.approx(expected.T, rel=1e-10)


def test_the_clean_probability_is_bayes_rule_over_every_pair_of_labels():
    rng = np.random.default_rng(1)
    density, prior = rng.random((6, 3)), np.array([0.5, 0.3, 0.2])
    transition = np.array([[0.6, 0.3, 0.1], [0.2, 0.8, 0.0], [0.0, 0.5, 0.5]])
    observed = np.array([0, 0, 1, 1, 2, 2])
    found = clean_probability(np.log(density), observed, prior, transition[:, observed].T)
    for i, b in enumerate(observed):
        joint = [prior[a] * density[i, a] * transition[a, b] for a in range(3)]
        assert found[i] == pytest.approx(joint[b] / sum(joint))


def test_the_probability_is_calibrated_on_many_samples():
    d = data("dataset.size=4000", "dataset.overlap=2", "noise=symmetric", "imb_factor=1", "dataset.dim=3")
    right, p = d.view.observed_labels.numpy() == d.clean_labels, d.bayes.clean_probability
    for low, high in ((0, 0.2), (0.2, 0.4), (0.4, 0.6), (0.6, 0.8), (0.8, 1.01)):
        inside = (p >= low) & (p < high)
        assert inside.sum() > 100
        spread = np.sqrt((p * (1 - p))[inside].sum()) / inside.sum()
        assert abs(right[inside].mean() - p[inside].mean()) < 4 * spread


def test_no_other_score_beats_the_bound_and_far_classes_can_be_told_apart_wholly():
    from sklearn.linear_model import LogisticRegression

    near = data("dataset.overlap=3", "dataset.size=300", "imb_factor=1")
    model = LogisticRegression(max_iter=5000).fit(near.view.images.numpy(), near.clean_labels)
    assert model.score(near.test.images.numpy(), near.test.labels.numpy()) * 100 <= near.bayes.accuracy + 1.5
    assert 0.5 < near.bayes.auc < 1
    far = data("dataset.overlap=0.1", "dataset.size=50")
    assert far.bayes.auc == pytest.approx(1)
    assert far.bayes.accuracy == 100


@pytest.mark.parametrize(
    "noise", ["joint", "symmetric", "asymmetric", "pair", "flip", "instance", "tail_to_head", "none"]
)
def test_every_noise_law_has_its_bound(noise):
    d = data(f"noise={noise}", "noise_ratio=0.3", "dataset.size=100")
    assert d.bayes.clean_probability.shape == d.clean_labels.shape
    assert ((d.bayes.clean_probability >= 0) & (d.bayes.clean_probability <= 1 + 1e-12)).all()
    if noise == "none":
        assert d.bayes.auc is None
        assert (d.bayes.clean_probability == 1).all()
    else:
        assert d.bayes.auc > 0.8
        wrong = d.view.observed_labels.numpy() != d.clean_labels
        assert d.bayes.clean_probability[wrong].mean() < d.bayes.clean_probability[~wrong].mean()


def test_asymmetric_noise_stays_within_a_group():
    assert next_in_group(np.arange(7) % 3) == {0: 3, 3: 6, 6: 0, 1: 4, 4: 1, 2: 5, 5: 2}
    assert next_in_group(np.array([0, 1, 1])) == {1: 2, 2: 1}
    d = data("noise=asymmetric", "dataset.size=200")
    observed, wrong = d.view.observed_labels.numpy(), d.view.observed_labels.numpy() != d.clean_labels
    assert wrong.any()
    assert (observed[wrong] % 3 == d.clean_labels[wrong] % 3).all()


def test_everything_is_a_function_of_the_data_seed_and_the_test_set_knows_no_noise():
    one, same = data("seed=5", "noise_ratio=0.2"), data("seed=6", "noise_ratio=0.5")
    assert torch.equal(one.test.images, same.test.images)
    assert torch.equal(one.view.images, same.view.images)
    other = data("data_seed=1")
    assert not torch.equal(one.test.images, other.test.images)
    assert data("noise_ratio=0.2").fingerprints == one.fingerprints


def test_knobs_do_what_they_say():
    s = source(classes=6, size=30, test_size=7, dim=5, groups=2, submodes=3)
    assert s.train_images.shape == (180, 5)
    assert s.test_images.shape == (42, 5)
    assert s.train_images.dtype == np.float32
    assert [len(modes) for modes in s.log_density.means] == [1, 1, 1, 3, 3, 3]
    tight, loose = source(overlap=4.0), source(overlap=0.25)

    def within(s):
        centres = np.concatenate(s.log_density.means)
        return np.mean([np.linalg.norm(centres[a] - centres[b]) for a in range(10) for b in range(a) if a % 3 == b % 3])

    assert within(loose) == pytest.approx(16 * within(tight))
    # distances of group centres, which the knob leaves alone: about 3·sqrt(2·32)
    assert 12 < np.linalg.norm(tight.log_density.means[0] - tight.log_density.means[1]) < 40


def test_views_differ_by_a_little_jitter_and_the_test_view_by_none():
    d = data("dataset.size=200")
    loader, rows = Loader(d.view, d.view.transform), torch.arange(500)
    assert torch.equal(loader.test_view(rows), d.view.images[:500])
    generator = torch.Generator().manual_seed(0)
    one, two = (loader.train_view(rows, generator) for _ in range(2))
    assert (one - d.view.images[:500]).std().item() == pytest.approx(0.05, rel=0.03)
    assert (one - two).std().item() == pytest.approx(0.05 * 2**0.5, rel=0.03)


def test_models_for_images_are_refused():
    with pytest.raises(ConfigError, match="has vectors: set model=convnet"):
        compose(["dataset=synthetic", "model=resnet32"])
