"""`ssr_knn`, `fine` and `scs` against plain reimplementations and worked numbers (algorithms/ssr.md,
algorithms/fine.md, algorithms/scs.md).
"""

import math

import numpy as np
import pytest
import torch
from scipy.special import softmax
from sklearn.cluster import KMeans
from sklearn.mixture import GaussianMixture
from sklearn.neighbors import NearestNeighbors

from sfa_bench.selectors.base import Probe, Thresholds, flaw
from sfa_bench.selectors.fine import Fine, main_direction
from sfa_bench.selectors.scs import SelfAdaptive
from sfa_bench.selectors.ssr import NeighbourVotes, neighbour_votes


def probe(seed=0, n=240, num_classes=4, width=6, sharp=2.5):
    """Noisy labels of a long tail, seen in the features and by the network."""
    rng = np.random.default_rng(seed)
    prior = 0.7 ** np.arange(num_classes)
    clean = rng.choice(num_classes, n, p=prior / prior.sum())
    labels = np.where(rng.random(n) < 0.3, rng.integers(0, num_classes, n), clean)
    centres = rng.normal(size=(num_classes, width)) * 2
    features = np.abs(centres[clean] + rng.normal(size=(n, width)))  # positive, and no two of one direction
    logits = rng.normal(size=(n, num_classes)) + sharp * np.eye(num_classes)[clean]
    return Probe(features.astype(np.float32), logits.astype(np.float32), None, labels)


def scs(num_classes, momentum=0.999, quantile=0.8):
    return SelfAdaptive(num_classes, momentum=momentum, quantile=quantile)


MADE = {
    "ssr_knn": lambda k: NeighbourVotes(neighbours=15, relabel_above=0.7),
    "fine": lambda k: Fine(Thresholds()),
    "fine mean": lambda k: Fine(Thresholds(), direction="mean"),
    "fine kmeans": lambda k: Fine(Thresholds(), split="kmeans"),
    "scs": lambda k: scs(k, 0.5),
    "scs mean": lambda k: scs(k, 0.5, "mean"),
}


# ---- SSR


def plain_votes(one, k, above, agreement):
    """algorithms/ssr.md, sample by sample, with the library's neighbours."""
    p, observed = softmax(one.logits.astype(float), axis=1), one.observed_labels
    labels = np.array([row.argmax() if row.max() > above else label for row, label in zip(p, observed, strict=True)])
    unit = one.features.astype(float) / np.linalg.norm(one.features.astype(float), axis=1, keepdims=True)
    index = NearestNeighbors(n_neighbors=min(k, len(unit))).fit(unit).kneighbors(unit, return_distance=False)
    mask, own = [], []
    for near, label, given in zip(index, labels, observed, strict=True):
        votes = [(labels[near] == c).sum() / max((labels == c).sum(), 1) for c in range(p.shape[1])]
        mask.append(votes[label] >= agreement * max(votes) - 1e-12)
        own.append(votes[given] / max(votes))
    return labels, mask, own


@pytest.mark.parametrize(
    ("k", "above", "agreement"), [(15, 0.7, 1.0), (40, 0.9, 0.6), (15, 1.0, 1.0), (9999, 0.5, 1.0)]
)
@pytest.mark.parametrize("seed", [0, 1])
def test_neighbours_vote_by_new_labels_and_class_sizes(seed, k, above, agreement, monkeypatch):
    monkeypatch.setattr("sfa_bench.selectors.ssr.BLOCK", 37)
    one = probe(seed)
    selection = NeighbourVotes(neighbours=k, relabel_above=above, agreement=agreement).select(one, 3)
    labels, mask, own = plain_votes(one, k, above, agreement)
    assert np.array_equal(selection.labels, labels)
    assert selection.mask.tolist() == mask
    assert selection.clean_probability == pytest.approx(own, abs=1e-9)
    assert selection.class_counts.tolist() == np.bincount(labels[selection.mask], minlength=4).tolist()
    assert (above == 1) is np.array_equal(labels, one.observed_labels)
    assert flaw(selection, one) == ""


def test_a_worked_vote():
    angles = np.deg2rad([0, 1, 2, 90, 91, 45])  # the last between two groups, nearer to neither's middle
    features = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    labels = np.array([0, 0, 1, 1, 1, 0])
    counts = neighbour_votes(features, labels, 3, 2)
    assert counts[:5].tolist() == [[2, 1]] * 3 + [[1, 2]] * 2
    sure = np.array([[0, 0], [0, 0], [5, 0], [0, 0], [0, 0], [0, 0]], np.float32)  # 0.9933 of class 0
    selection = NeighbourVotes(neighbours=3).select(Probe(features, sure, None, labels), 1)
    assert selection.labels.tolist() == [0, 0, 0, 1, 1, 0]
    # Votes (3, 0) around the first three, (1, 2) around the next two; for class sizes 4 and 2: 1/4 against 1.
    assert selection.mask.tolist()[:5] == [True] * 5
    assert selection.clean_probability[2] == 0  # nobody near votes for its observed label any more


def test_a_sample_is_its_own_neighbour_also_among_equal_ones():
    features, labels = np.ones((50, 3), np.float32), np.arange(50)
    assert np.array_equal(neighbour_votes(features, labels, 1, 50), np.eye(50, dtype=int))


# ---- FINE


@pytest.mark.parametrize("shape", [(3, 40), (60, 40), (40, 60), (200, 50), (1, 5), (5, 1)])
def test_the_main_direction_is_the_first_right_singular_vector(shape):
    features = np.maximum(np.random.default_rng(0).normal(size=shape) + 0.5, 0)
    expected = np.linalg.svd(features, full_matrices=False)[2][0]
    assert abs(main_direction(features) @ expected) == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize("direction", ["eigenvector", "mean"])
def test_each_class_is_split_by_its_alignment_with_its_main_direction(direction):
    one = probe(2)
    selection = Fine(Thresholds(), direction=direction).select(one, 1)
    kmeans = Fine(Thresholds(), direction=direction, split="kmeans").select(one, 1)
    for k in range(4):
        own = one.observed_labels == k
        z = one.features[own].astype(float)
        values, vectors = np.linalg.eigh(z.T @ z)
        v = vectors[:, values.argmax()] if direction == "eigenvector" else z.mean(0) / np.linalg.norm(z.mean(0))
        scores = np.abs((z / np.linalg.norm(z, axis=1, keepdims=True)) @ v)
        assert selection.score[own] == pytest.approx(scores, abs=1e-9)
        mixture = GaussianMixture(2, tol=1e-6, random_state=0).fit(scores[:, None])
        clean = mixture.predict_proba(scores[:, None])[:, mixture.means_[:, 0].argmax()]
        assert selection.clean_probability[own] == pytest.approx(clean, abs=1e-6)
        clusters = KMeans(2, n_init=10, random_state=0).fit(scores[:, None])
        larger = clusters.labels_ == clusters.cluster_centers_[:, 0].argmax()
        assert np.array_equal(kmeans.mask[own], larger)
    assert np.array_equal(selection.mask, selection.clean_probability > 0.5)


def test_mean_and_eigenvector_differ():
    one = probe(2)
    scores = [Fine(Thresholds(), direction=how).select(one, 1).score for how in ("eigenvector", "mean")]
    assert np.abs(scores[0] - scores[1]).max() > 1e-3


# ---- SCS


def test_at_the_releases_momentum_the_general_threshold_hardly_moves():
    selector = scs(100)
    p = np.full((10, 100), 0.4 / 99)
    labels = np.arange(10)
    p[labels, labels] = 0.6
    one = Probe(np.zeros((10, 1), np.float32), np.log(p).astype(np.float32), None, labels)
    for epoch in range(1, 81):
        selector.select(one, epoch)
    assert float(selector.general) == pytest.approx(0.0554, abs=5e-5)
    assert float(selector.general) == pytest.approx(0.6 - 0.59 * 0.999**80, abs=1e-6)


@pytest.mark.parametrize("quantile", [0.8, 0.2, "mean"])
def test_thresholds_follow_the_predictions_of_each_selection(quantile):
    selector, g, local = scs(4, 0.9, quantile), 0.25, [0.25] * 4
    selected = []
    for epoch in range(1, 6):
        one = probe(epoch)
        p = softmax(one.logits.astype(float), axis=1)
        own = sorted(p[i, label] for i, label in enumerate(one.observed_labels))
        if quantile == "mean":
            q = sum(own) / len(own)
        else:
            place = quantile * (len(own) - 1)
            low = math.floor(place)
            q = own[low] + (place - low) * (own[low + 1] - own[low])
        g = 0.9 * g + 0.1 * q
        local = [0.9 * old + 0.1 * sum(p[:, c]) / len(p) for c, old in enumerate(local)]
        selection = selector.select(one, epoch)
        expected = [row[y] >= g * local[y] / max(local) for row, y in zip(p, one.observed_labels, strict=True)]
        assert selection.mask.tolist() == expected
        selected.append(selection.mask.mean())
    assert 0 < min(selected) <= max(selected) < 1


def test_the_general_threshold_is_never_above_095():
    one, selector = probe(0, sharp=40), scs(4, 0.0)
    selector.select(one, 1)
    assert float(selector.general) == 0.95


def test_stored_thresholds_go_on_as_if_never_stored():
    straight, resumed = scs(4, 0.9), scs(4, 0.9)
    for epoch in (1, 2):
        straight.select(probe(epoch), epoch)
    resumed.load_state(straight.state())
    assert np.array_equal(straight.select(probe(3), 3).mask, resumed.select(probe(3), 3).mask)
    assert torch.equal(straight.by_class, resumed.by_class)
    assert float(straight.general) == float(resumed.general)


# ---- all


@pytest.mark.parametrize("name", MADE)
def test_order_of_samples_and_names_of_classes_do_not_matter(name):
    one, rng = probe(5), np.random.default_rng(1)
    order, names = rng.permutation(240), rng.permutation(4)
    renamed = Probe(
        one.features[order], one.logits[order][:, np.argsort(names)], None, names[one.observed_labels[order]]
    )
    first, second = MADE[name](4).select(one, 2), MADE[name](4).select(renamed, 2)
    # A mixture starts with k-means, whose draws are of positions: the same to its tolerance.
    close = 0.05 if name.startswith("fine") else 1e-9
    assert first.clean_probability[order] == pytest.approx(second.clean_probability, abs=close)
    assert first.score[order] == pytest.approx(second.score, abs=1e-9)
    assert (first.mask[order] != second.mask).mean() <= (0.02 if name.startswith("fine") else 0)


@pytest.mark.parametrize("num_classes", [2, 100])
@pytest.mark.parametrize("name", MADE)
def test_two_and_a_hundred_classes_absent_ones_and_single_samples(name, num_classes):
    one = probe(3, num_classes=num_classes)
    lonely = one.observed_labels.copy()
    lonely[lonely == num_classes - 1] = 0
    lonely[0] = num_classes - 1
    for labels in (one.observed_labels, lonely, np.zeros(240, dtype=np.int64)):
        shown = Probe(one.features, one.logits, None, labels)
        assert flaw(MADE[name](num_classes).select(shown, 1), shown) == ""


@pytest.mark.parametrize("name", MADE)
def test_features_and_predictions_that_say_nothing_and_a_single_sample(name):
    labels = np.array([0, 0, 1, 1, 1, 2])
    flat = Probe(np.zeros((6, 5), np.float32), np.zeros((6, 3), np.float32), None, labels)
    selection = MADE[name](3).select(flat, 1)
    assert flaw(selection, flat) == ""
    if not name.startswith("ssr"):  # equal scores speak against no sample, and equal votes are for the rarest class
        assert selection.mask.all()
    alone = Probe(np.ones((1, 5), np.float32), np.zeros((1, 3), np.float32), None, np.array([1]))
    assert MADE[name](3).select(alone, 1).mask.all()
