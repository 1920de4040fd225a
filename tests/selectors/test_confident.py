"""The selectors of confident learning against cleanlab on the same probabilities, and what must not matter."""

import numpy as np
import pytest
from cleanlab.filter import find_label_issues
from scipy.special import softmax

from sfa_bench.selectors.base import Probe
from sfa_bench.selectors.confident import ConfidentLearning, NormalisedMargin, SelfConfidence

FILTERS = {
    "prune_by_noise_rate": ConfidentLearning(),
    "prune_by_class": ConfidentLearning(prune="class"),
    "both": ConfidentLearning(prune="both"),
    "confident_learning": ConfidentLearning(prune="off_diagonal"),
    "low_self_confidence": SelfConfidence(),
    "low_normalized_margin": NormalisedMargin(),
}
EVERY = [*FILTERS.values(), *(type(one)(counting="paper") for one in (ConfidentLearning(), SelfConfidence()))]


def probe(seed, n=400, num_classes=4, sharp=1.5):
    rng = np.random.default_rng(seed)
    prior = 0.7 ** np.arange(num_classes)
    clean = rng.choice(num_classes, n, p=prior / prior.sum())
    labels = np.where(rng.random(n) < 0.3, rng.integers(0, num_classes, n), clean)
    logits = rng.normal(size=(n, num_classes)) + sharp * np.eye(num_classes)[clean]
    return Probe(np.zeros((n, 1), np.float32), logits.astype(np.float32), None, labels)


@pytest.mark.parametrize("how", FILTERS)
@pytest.mark.parametrize(("seed", "num_classes"), [(0, 4), (1, 2), (4, 3), (3, 5)])  # no equal remainders
def test_it_selects_what_cleanlab_does_not_flag(how, seed, num_classes):
    one = probe(seed, num_classes=num_classes)
    p = softmax(one.logits.astype(np.float64), axis=1)
    selection = FILTERS[how].select(one, 1)
    flagged = find_label_issues(one.observed_labels, p, filter_by=how, n_jobs=1)
    assert flagged.any()
    assert np.array_equal(selection.mask, ~flagged)


def plainly(one, prune):
    """The paper's algorithm, sample by sample (Northcutt, Jiang and Chuang 2021, sections 3.1 and 3.2)."""
    p, labels = softmax(one.logits.astype(np.float64), axis=1), one.observed_labels
    k = p.shape[1]
    t = [p[labels == c, c].mean() for c in range(k)]
    counts = np.zeros((k, k))
    counted = np.zeros(len(labels), dtype=bool)
    for i, label in enumerate(labels):
        if able := [c for c in range(k) if p[i, c] >= t[c]]:
            guess = max(able, key=lambda c: p[i, c])
            counts[label, guess] += 1
            counted[i] = guess != label
    if prune == "off_diagonal":
        return ~counted
    joint = counts / counts.sum(axis=1, keepdims=True) * np.bincount(labels)[:, None]
    assert np.abs(joint - np.round(joint)).max() > 0.01  # rows have to be rounded
    by_rate, by_class = np.zeros((2, len(labels)), dtype=bool)
    for a in range(k):
        whole = np.floor(joint[a])
        for c in sorted(range(k), key=lambda c: -(joint[a, c] % 1))[: round(joint[a].sum() - whole.sum())]:
            whole[c] += 1
        mine = np.flatnonzero(labels == a)
        for c in range(k):
            if c != a:
                by_rate[sorted(mine, key=lambda i: p[i, a] - p[i, c])[: int(whole[c])]] = True
        by_class[sorted(mine, key=lambda i: p[i, a])[: int(whole.sum() - whole[a])]] = True
    return ~{"noise_rate": by_rate, "class": by_class, "both": by_rate & by_class}[prune]


@pytest.mark.parametrize("prune", ["noise_rate", "class", "both", "off_diagonal"])
def test_the_papers_rules_are_a_plain_reimplementations(prune):
    one = probe(0, sharp=1.2)
    selection = ConfidentLearning(prune=prune, counting="paper").select(one, 1)
    assert np.array_equal(selection.mask, plainly(one, prune))


@pytest.mark.parametrize("make", [ConfidentLearning, SelfConfidence, NormalisedMargin])
def test_whose_rules_differ_and_by_the_papers_a_predicted_label_may_be_an_error(make):
    one = probe(7, n=800, num_classes=10, sharp=2)
    paper, cleanlab = (make(counting=rules).select(one, 1) for rules in ("paper", "cleanlab"))
    assert not np.array_equal(paper.mask, cleanlab.mask)
    sure = probe(7, n=1500, num_classes=2, sharp=3)  # of two classes the more probable one reaches its threshold first
    same = [make(counting=rules).select(sure, 1).mask for rules in ("paper", "cleanlab")]
    assert np.array_equal(*same)


@pytest.mark.parametrize("selector", EVERY, ids=lambda one: f"{type(one).__name__} {vars(one)}")
def test_order_of_samples_and_names_of_classes_do_not_matter(selector):
    one, rng = probe(5), np.random.default_rng(1)
    order, names = rng.permutation(400), rng.permutation(4)
    renamed = Probe(one.features, one.logits[order][:, np.argsort(names)], None, names[one.observed_labels[order]])
    first, second = selector.select(one, 1), selector.select(renamed, 1)
    assert np.array_equal(first.mask[order], second.mask)
    assert first.score[order] == pytest.approx(second.score, abs=1e-12)


@pytest.mark.parametrize("selector", EVERY, ids=lambda one: f"{type(one).__name__} {vars(one)}")
def test_absent_classes_a_sample_of_its_own_a_hundred_classes_and_equal_predictions(selector):
    labels = np.array([0] * 10 + [1])
    flat = Probe(np.zeros((11, 1), np.float32), np.zeros((11, 4), np.float32), None, labels)
    assert selector.select(flat, 1).mask.all()
    wide = probe(2, n=300, num_classes=100)
    selection = selector.select(wide, 1)
    assert ((selection.clean_probability >= 0) & (selection.clean_probability <= 1)).all()
    assert 0 < selection.mask.sum() < 300
    emptied = (selection.class_counts == 0) & (np.bincount(wide.observed_labels, minlength=100) > 0)
    assert selection.fallbacks.get("class_without_clean_sample", 0) == emptied.sum()
