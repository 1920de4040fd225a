"""TABASCO against worked numbers, a plain re-implementation and its two stages by hand (algorithms/tabasco.md)."""

import numpy as np
import pytest
from sklearn.mixture import GaussianMixture

from sfa_bench.config.canonical import without_effect
from sfa_bench.config.compose import compose
from sfa_bench.parts.mixtures import Mixture
from sfa_bench.selectors.base import Probe, Thresholds
from sfa_bench.selectors.tabasco import Tabasco, adaptive_centroids, weighted_divergence, wjsd_separates

# Thirty iterations are the release's choice, converged or not.
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

ROWS = np.array([[0.7, 0.2, 0.1], [0.8, 0.1, 0.1], [0.3, 0.6, 0.1]])


def probe(seed=0, sizes=(60, 40, 30), rate=0.35, sureness=2.5, dim=6):
    """Noisy labels on a long tail, and a network that mostly knows the clean ones."""
    rng = np.random.default_rng(seed)
    num_classes = len(sizes)
    clean = np.repeat(np.arange(num_classes), sizes)
    observed = np.where(rng.random(len(clean)) < rate, rng.integers(0, num_classes, len(clean)), clean)
    logits = rng.normal(size=(len(clean), num_classes)) + sureness * np.eye(num_classes)[clean]
    features = rng.normal(size=(len(clean), dim)) + 4 * np.eye(num_classes, dim)[clean]
    return Probe(features.astype(np.float32), logits.astype(np.float32), None, observed)


# ---- a plain implementation, sample by sample


def kl(p, q):
    return sum(a * np.log((a + 1e-10) / (b + 1e-10)) for a, b in zip(p, q, strict=True))


def jsd(p, q):
    m = (p + q) / 2
    return (kl(p, m) + kl(q, m)) / 2


def plain_mixture(values):
    model = GaussianMixture(2, max_iter=30, tol=1e-2, reg_covar=5e-4, random_state=0).fit(values[:, None])
    means = model.means_[:, 0]
    order = [int(means.argmin()), int(means.argmax())]
    return lambda x: model.predict_proba(np.atleast_1d(x)[:, None])[:, order]


def plain(p):
    """Mask, posterior of the clean component, and what decided each class: `wjsd`, `near` or `far`."""
    z, labels = p.features.astype(np.float64), p.observed_labels
    probability = np.exp(p.logits.astype(np.float64))
    probability /= probability.sum(axis=1, keepdims=True)
    num_classes = probability.shape[1]
    direction = [(row - z.mean(axis=0)) / np.linalg.norm(row - z.mean(axis=0)) for row in z]
    centroids, sizes, spread = {}, {}, {}
    for k in range(num_classes):
        of_class = [i for i in range(len(labels)) if labels[i] == k]
        a = np.mean([probability[i] for i in of_class], axis=0)
        m = int(np.argmax(a))
        sharpened = []
        for i in of_class:
            row = probability[i].copy()
            row[m] *= max(1.0, row[m] / a[m])
            sharpened.append(row)
        b = np.mean(sharpened, axis=0)
        top = int(np.argmax(b))
        high = [i for i in of_class if np.argmax(probability[i]) == top and probability[i, top] > b[top]] or of_class
        centroids[k], sizes[k] = np.mean([direction[i] for i in high], axis=0), len(high)
        spread[k] = of_class, a, m
    affinity = np.array([[np.exp(centroids[k] @ centroids[c]) for c in range(num_classes)] for k in range(num_classes)])
    affinity /= affinity.sum(axis=1, keepdims=True)
    mask, clean, decided = np.zeros(len(labels), dtype=bool), np.zeros(len(labels)), {}
    for k, (of_class, a, m) in spread.items():
        wjsd = []
        for i in of_class:
            weight = min(max(max(probability[i]) / probability[i, k], 1.0), a[m] / a[k])
            wjsd.append(weight * jsd(probability[i], np.eye(num_classes)[k]))
        wjsd, acd = np.array(wjsd), np.array([direction[i] @ centroids[k] for i in of_class])
        wjsd, acd = ((v - v.min()) / (v.max() - v.min()) for v in (wjsd, acd))
        by_wjsd, by_acd = plain_mixture(wjsd), plain_mixture(acd)
        far = by_acd(acd)[:, 0] > 0.5
        std, component = [1.0, 1.0], {}
        for name, part in (("lo", wjsd[far]), ("hi", wjsd[~far])):
            component[name] = int(by_wjsd(part.mean())[0].argmax())  # 0: the smaller mean
            std[component[name]] = part.std() if part.std() > 0 else 0.1
        if (component["lo"] == component["hi"] == 1) or std[1] / std[0] < 0.65:
            decided[k], posterior = "wjsd", by_wjsd(wjsd)[:, 0]
        else:
            rival = max((c for c in range(num_classes) if c != k), key=lambda c: affinity[k, c])
            alike = abs(affinity[k, k] - affinity[k, rival]) < 0.1 * affinity[k, k]
            decided[k] = "far" if alike and sizes[k] < sizes[rival] else "near"
            posterior = by_acd(acd)[:, 0 if decided[k] == "far" else 1]
        mask[of_class], clean[of_class] = posterior > 0.5, posterior
    return mask, clean, decided


@pytest.mark.parametrize(
    "how",
    [
        {"seed": 0},
        {"seed": 1, "rate": 0.6},
        {"seed": 2, "sizes": (80, 50)},
        {"seed": 3, "sizes": (90, 20, 10), "rate": 0.6, "sureness": 4},
        {"seed": 4, "sizes": (200, 60, 20, 8), "rate": 0.5},
        {"seed": 8, "sizes": (150, 15), "rate": 0.7, "sureness": 6},
    ],
)
def test_it_selects_what_a_plain_implementation_selects(how):
    p = probe(**how)
    mask, clean, _ = plain(p)
    selection = Tabasco(Thresholds(no_clean_class="none")).select(p, 31)
    assert np.array_equal(selection.mask, mask)
    assert selection.clean_probability == pytest.approx(clean, abs=1e-6)
    assert selection.class_counts.tolist() == np.bincount(p.observed_labels[mask], minlength=p.num_classes).tolist()


def test_these_probes_take_every_way_through_the_two_stages():
    ways = [plain(probe(seed=3, sizes=(90, 20, 10), rate=0.6, sureness=4)), plain(probe()), plain(confused())]
    assert {way for _, _, decided in ways for way in decided.values()} == {"wjsd", "near", "far"}


# ---- worked numbers and single steps


def test_the_weights_of_the_divergence_are_limited_by_the_mean_prediction():
    assert weighted_divergence(ROWS, 1) == pytest.approx([0.845621, 1.051195, 0.163897], abs=1e-6)


def test_a_centroid_is_of_the_samples_that_are_surer_than_the_sharpened_mean():
    """b = (0.727778, 0.3, 0.1): of the three rows the second alone is surer."""
    unit = np.eye(3)
    centroids, sizes, without = adaptive_centroids(ROWS, unit, [np.arange(0), np.arange(3), np.arange(0)])
    assert centroids.tolist() == [[0, 0, 0], [0, 1, 0], [0, 0, 0]]
    assert (sizes.tolist(), without) == ([0, 1, 0], 0)
    between = np.array([[0.72, 0.2, 0.08], [0.8, 0.1, 0.1], [0.28, 0.62, 0.1]])  # 0.72 is surer than 0.6 alone
    assert adaptive_centroids(between, unit, [np.arange(3)])[1].tolist() == [1]


def test_a_class_without_a_sample_surer_than_its_mean_has_all_in_its_centroid():
    alike = np.array([[0.6, 0.4], [0.6, 0.4]])
    centroids, sizes, without = adaptive_centroids(alike, np.eye(2), [np.arange(2), np.arange(0)])
    assert centroids.tolist() == [[0.5, 0.5], [0, 0]]
    assert (sizes.tolist(), without) == ([2, 0], 1)


def nearest_mean(values):
    """Posteriors of a mixture with means 0.2 and 0.8 that assigns a value to the nearer one."""
    return np.where(np.abs(np.asarray(values)[:, None] - [0.2, 0.8]).argmin(axis=1)[:, None] == [0, 1], 1.0, 0.0)


@pytest.mark.parametrize(
    ("far", "near", "separates"),
    [
        ((0.1, 0.3), (0.88, 0.92), True),  # small 0.1, big 0.02: 0.2 < 0.65
        ((0.1, 0.3), (0.735, 0.865), False),  # 0.065 / 0.1 = 0.65 is not below
        ((0.1, 0.3), (0.7351, 0.8649), True),  # 0.0649 / 0.1
        ((0.7, 0.9), (0.6, 0.95), True),  # both in the larger component
        ((0.1, 0.3), (0.2, 0.4), False),  # both in the smaller: 1 / 0.1
        ((0.7, 0.9), (0.1, 0.1), False),  # small 0 counts as 0.1, big 0.1: 1
        ((0.7, 0.72), (0.1, 0.1), True),  # small 0 counts as 0.1, big 0.01: 0.1
        ((), (0.1, 0.9), True),  # one side is empty: nothing to compare
        ((0.1, 0.9), (), True),
    ],
)
@pytest.mark.parametrize("turned", [False, True])
def test_wjsd_separates_where_its_larger_component_is_the_tighter_one(far, near, separates, turned):
    means, posteriors = np.array([0.2, 0.8]), nearest_mean
    if turned:  # the order of a mixture's components means nothing
        means, posteriors = means[::-1], lambda values: nearest_mean(values)[:, ::-1]
    side = np.array([True] * len(far) + [False] * len(near))
    assert wjsd_separates(np.array(far + near), side, Mixture(means, posteriors)) is separates


def confused(seed=1, n=40):
    """Class 0: most of its samples are of class 1, which is larger, and the network sees class 1 in them, in some more
    than in others, so that predictions do not separate.
    """
    rng = np.random.default_rng(seed)
    clean = np.concatenate([np.ones(n, dtype=int), np.zeros(n // 2, dtype=int), np.ones(4 * n, dtype=int)])
    observed = np.concatenate([np.zeros(n + n // 2, dtype=int), np.ones(4 * n, dtype=int)])
    features = rng.normal(size=(len(clean), 4)) + 6 * np.eye(2, 4)[clean]
    margin = np.where(clean == 1, rng.normal(2.0, 0.8, len(clean)), rng.normal(-0.5, 0.2, len(clean)))
    return Probe(features.astype(np.float32), np.stack([0 * margin, margin], axis=1).astype(np.float32), None, observed)


def test_a_centroid_on_another_larger_class_turns_the_choice_around():
    p = confused()
    _, _, decided = plain(p)
    assert decided[0] == "far"
    selection = Tabasco(Thresholds()).select(p, 1)
    own = np.flatnonzero(p.observed_labels == 0)
    assert not selection.mask[own[:40]].any()
    assert selection.mask[own[40:]].all()
    # The score says the same: the larger the cleaner.
    assert selection.score[own[40:]].min() > selection.score[own[:40]].max()


def test_a_class_whose_labels_are_right_in_majority_selects_what_is_near_its_centroid():
    p = probe(seed=5, sizes=(100, 100), rate=0.4, sureness=2.0)
    _, _, decided = plain(p)
    assert decided == {0: "near", 1: "near"}
    clean = np.repeat([0, 1], 100)
    selection = Tabasco(Thresholds()).select(p, 1)
    right = clean == p.observed_labels
    assert selection.mask[right].mean() > 0.95
    assert selection.mask[~right].mean() < 0.05


def test_the_probability_of_a_rejected_sample_is_the_clean_components_too():
    selection = Tabasco(Thresholds()).select(probe(), 1)
    assert selection.clean_probability[selection.mask].min() > 0.5
    assert selection.clean_probability[~selection.mask].max() <= 0.5


# ---- what must not matter, and guards


def test_the_order_of_the_samples_does_not_matter():
    p = probe(seed=6, sureness=5)
    order = np.random.default_rng(0).permutation(len(p.logits))
    shuffled = Probe(p.features[order], p.logits[order], None, p.observed_labels[order])
    one, other = (Tabasco(Thresholds()).select(each, 1) for each in (p, shuffled))
    assert np.array_equal(one.mask[order], other.mask)
    assert one.clean_probability[order] == pytest.approx(other.clean_probability, abs=1e-6)


def test_the_names_of_the_classes_do_not_matter():
    p = probe(seed=7)
    new = np.array([2, 0, 1])  # class k is called new[k]
    renamed = Probe(p.features, p.logits[:, np.argsort(new)], None, new[p.observed_labels])
    one, other = (Tabasco(Thresholds()).select(each, 1) for each in (p, renamed))
    assert np.array_equal(one.mask, other.mask)
    assert one.clean_probability == pytest.approx(other.clean_probability, abs=1e-9)


def test_neither_epoch_nor_balanced_head_act():
    p = probe()
    with_head = Probe(p.features, p.logits, -p.logits, p.observed_labels)
    one, other = Tabasco(Thresholds()).select(p, 1), Tabasco(Thresholds()).select(with_head, 99)
    assert np.array_equal(one.clean_probability, other.clean_probability)


def test_absent_single_and_constant_classes_are_kept_whole_and_counted():
    p = probe()
    labels = np.where(p.observed_labels == 2, 1, p.observed_labels)
    labels[0], labels[1:4] = 2, 3  # one sample; three that are equal; class 4 does not occur
    features, logits = p.features.copy(), np.pad(p.logits, ((0, 0), (0, 2)))
    features[1:4], logits[1:4] = features[1], logits[1]
    wide = Probe(features, logits, None, labels)
    for rule in ("keep_all", "none"):
        selection = Tabasco(Thresholds(no_clean_class=rule)).select(wide, 1)
        assert selection.mask[:4].all()
        assert (selection.clean_probability[:4] == 1).all()
        assert selection.class_counts[2:].tolist() == [1, 3, 0]
        assert np.isfinite(selection.score).all()
        assert selection.fallbacks["class_without_mixture"] == 2
        assert selection.fallbacks["class_without_confident_sample"] == 2


def around_one(seed):
    """Class 0: similarities to its centroid, which is its one confident sample, as this seed draws them. Class 1
    is its mirror image, so that the mean feature is 0.
    """
    drawn = np.random.default_rng(seed).normal(size=14)
    similarity = (drawn - drawn.min()) / np.ptp(drawn)
    angle = np.arccos(0.2 + 0.8 * similarity)
    features = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    margin = np.where(similarity == 1, 5, np.linspace(0.1, 0.3, 14))
    logits = np.stack([margin, 0 * margin], axis=1)
    return similarity, Probe(
        np.concatenate([features, -features]),
        np.concatenate([logits, logits[:, ::-1]]),
        None,
        np.repeat([0, 1], 14),
    )


@pytest.mark.parametrize(("seed", "side"), [(627, "near"), (898, "far")])
def test_a_class_whose_distances_have_one_component_goes_by_its_predictions_and_is_counted(seed, side):
    similarity, p = around_one(seed)
    assert (plain_mixture(similarity)(similarity)[:, 0] > 0.5).tolist() == [side == "far"] * 14
    selection = Tabasco(Thresholds()).select(p, 1)
    assert selection.fallbacks == {"class_with_one_component": 2}
    predicted = np.exp(p.logits[:14]) / np.exp(p.logits[:14]).sum(axis=1, keepdims=True)
    wjsd = np.array([jsd(row, np.array([1.0, 0.0])) for row in predicted])
    scaled = (wjsd - wjsd.min()) / np.ptp(wjsd)
    assert selection.score[:14] == pytest.approx(-scaled, abs=1e-9)
    assert selection.clean_probability[:14] == pytest.approx(plain_mixture(scaled)(scaled)[:, 0], abs=1e-6)


@pytest.mark.parametrize("num_classes", [2, 100])
def test_two_and_a_hundred_classes(num_classes):
    p = probe(sizes=(12,) * num_classes, dim=num_classes, sureness=6)
    mask, clean, _ = plain(p)
    selection = Tabasco(Thresholds(no_clean_class="none")).select(p, 1)
    assert np.array_equal(selection.mask, mask)
    assert selection.clean_probability == pytest.approx(clean, abs=1e-6)


def test_certain_predictions_stay_finite():
    p = probe()
    sure = Probe(p.features, 1000 * p.logits, None, p.observed_labels)  # softmax is 0 and 1
    selection = Tabasco(Thresholds()).select(sure, 1)
    assert np.isfinite(selection.score).all()
    assert np.isfinite(selection.clean_probability).all()


def test_mixtures_fitted_at_once_are_the_same():
    p = probe(seed=4, sizes=(200, 60, 20, 8), rate=0.5)
    one, other = (Tabasco(Thresholds(fit=fit)).select(p, 1) for fit in ("sklearn", "batched"))
    assert one.clean_probability == pytest.approx(other.clean_probability, abs=1e-9)


def test_a_monotone_probability_never_falls_as_the_score_rises():
    p = probe(seed=1, sizes=(150, 100), rate=0.6)
    free, held = (Tabasco(Thresholds(monotone=monotone)).select(p, 1) for monotone in (False, True))
    assert free.inverted > 0
    assert np.array_equal(free.score, held.score)
    for k in range(2):
        own = p.observed_labels == k
        order = np.argsort(held.score[own], kind="stable")
        assert (np.diff(held.clean_probability[own][order]) >= -1e-12).all()


# ---- the release's schedule


@pytest.mark.parametrize(("dataset", "warmup"), [("cifar10", 10), ("cifar100", 30)])
def test_the_preset_is_the_releases_schedule_and_noise(dataset, warmup):
    """algorithms/tabasco.md §8."""
    config = compose([f"dataset={dataset}", "+preset=release_tabasco"])
    recipe, method, noise = config.recipe, config.method, config.noise
    assert (config.model.name, config.epochs, config.warmup_epochs) == ("preact_resnet18", 101, warmup)
    assert (config.batch_size, recipe.effective.plain_batch, config.lr) == (64, 128, 0.02)
    assert (recipe.momentum, recipe.weight_decay) == (0.9, 5e-4)
    assert recipe.effective.lr_drop_epoch > config.epochs  # one rate throughout
    assert "recipe.lr_drop" in set(without_effect(config))
    assert (method.lambda_u, method.alpha, method.temperature, method.penalty) == (25, 4, 0.5, "uniform")
    assert (recipe.effective.ramp_epochs, method.ramp_origin) == (16, "zero_based")
    assert (method.selector.name, method.selector.no_clean_class) == ("tabasco", "none")
    assert (noise.name, noise.include_self, noise.count, config.imbalance.name) == (
        *("symmetric", True, "bernoulli"),
        "exp",
    )
    assert (config.seed, config.data_seed) == (25, 25)


def test_its_native_recipe_is_dividemixs_with_another_schedule_and_only_inside_dividemix():
    words, tabasco = ["dataset=cifar10", "plugin=none", "recipe=native"], "method.selector.name=tabasco"
    assert compose([*words, "method=dividemix", tabasco]).epochs == 101
    assert compose([*words, "method=dividemix"]).epochs == 301
    assert compose([*words, "method=rolt", tabasco]).epochs == 200
