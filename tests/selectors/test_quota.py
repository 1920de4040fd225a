"""The quota of each class: the rules of three papers by hand, worked counts, and what holds for all inputs
(algorithms/quota.md).
"""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sfa_bench.selectors.base import Probe, shown
from sfa_bench.selectors.quota import Quota, nearest


def probe(seed=0, sizes=(70, 20, 10), sureness=2.0):
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(len(sizes)), sizes)
    clean = np.where(rng.random(len(labels)) < 0.4, rng.integers(0, len(sizes), len(labels)), labels)
    logits = rng.normal(size=(len(labels), len(sizes))) + sureness * np.eye(len(sizes))[clean]
    return Probe(np.zeros((len(labels), 2), np.float32), logits.astype(np.float32), None, labels)


def soft(logits):
    exponent = np.exp(logits - logits.max())
    return exponent / exponent.sum()


def jsd(p, q):
    m = (p + q) / 2
    return sum(sum(x * math.log((x + 1e-10) / (y + 1e-10)) for x, y in zip(one, m, strict=True)) / 2 for one in (p, q))


def unicon(probes, mean_limit=None):
    """UNICON's rule for the mean of these networks, sample by sample: d and the mask."""
    labels, num_classes = probes[0].observed_labels, probes[0].num_classes
    mean = [np.mean([soft(p.logits[i].astype(np.float64)) for p in probes], axis=0) for i in range(len(labels))]
    d = np.array([jsd(p, np.eye(num_classes)[y]) for p, y in zip(mean, labels, strict=True)])
    threshold = d.mean()
    if mean_limit is not None and threshold > mean_limit:
        threshold = threshold - (threshold - d.min()) / 5
    ratio = sum(1 for x in d if x < threshold) / len(d)
    return d, smallest(d, labels, max(1, int(ratio * len(d) / num_classes + 1e-9)))


def cbs(p, rate):
    """CBS's rule at rate ρ: d and the mask."""
    labels, num_classes = p.observed_labels, p.num_classes
    loss = np.array([-math.log(soft(z.astype(np.float64))[y]) for z, y in zip(p.logits, labels, strict=True)])
    d = (loss - loss.min()) / (loss.max() - loss.min())
    return d, smallest(d, labels, max(1, math.ceil(rate * len(labels) / num_classes - 1e-9)))


def smallest(d, labels, quota):
    mask = np.zeros(len(d), dtype=bool)
    for k in set(labels.tolist()):
        best = sorted((d[i], i) for i in range(len(d)) if labels[i] == k)
        mask[[i for _, i in best[:quota]]] = True
    return mask


def check(selection, d, mask, probability):
    assert np.array_equal(selection.mask, mask)
    assert selection.score == pytest.approx(-d, abs=1e-9)
    assert selection.clean_probability == pytest.approx(probability, abs=1e-9)


@pytest.mark.parametrize("seed", range(4))
def test_unicons_rule_goes_by_the_mean_divergence_of_both_networks(seed):
    one, other = probe(seed), probe(seed + 100)
    other = replace(other, observed_labels=one.observed_labels)
    d, mask = unicon([one, other])
    selectors = [Quota(all_networks=True), Quota(all_networks=True)]
    both = [s.select(p, 1) for s, p in zip(selectors, shown(selectors, [one, other]), strict=True)]
    check(both[0], d, mask, 1 - d / math.log(2))
    # Both networks select the same, to the last bit.
    assert np.array_equal(both[0].clean_probability, both[1].clean_probability)
    d, mask = unicon([one])
    check(Quota().select(one, 1), d, mask, 1 - d / math.log(2))
    assert not np.array_equal(both[0].mask, mask)


@pytest.mark.parametrize("limit", [0.05, 0.3])
def test_a_mean_above_its_limit_goes_back_a_fifth_of_the_way_to_the_smallest(limit):
    p = probe(1)
    d, mask = unicon([p], limit)
    assert bool(d.mean() > limit) is (limit == 0.05)
    check(Quota(mean_limit=limit).select(p, 1), d, mask, 1 - d / math.log(2))
    assert np.array_equal(mask, unicon([p])[1]) is (limit == 0.3)


def test_the_releases_limit_cannot_act():
    """No mean of natural divergences passes 0.7, which is above ln 2."""
    wrong = Probe(np.zeros((8, 1)), np.tile([50.0, 0.0], (8, 1)), None, np.repeat([0, 1], 4))
    distances = Quota().distances([replace(wrong, observed_labels=np.ones(8, dtype=int))])
    assert 0.69 < distances.mean() <= math.log(2) < 0.7


@pytest.mark.parametrize("rate", [0.01, 0.2, 0.37, 0.5, 0.9, 1.0])
def test_cbss_rule_goes_by_the_loss_at_a_given_rate(rate):
    p = probe(2)
    d, mask = cbs(p, rate)
    check(Quota(score="loss", rate=rate).select(p, 1), d, mask, 1 - d)


def test_the_worked_counts():
    """700, 200 and 100 samples of which 450 are nearer than the mean: 150 of each, as far as there are so many."""
    labels = np.repeat([0, 1, 2], [700, 200, 100])
    p = np.where(np.arange(1000) % 20 < 9, 0.95, 0.05)
    logits = np.zeros((1000, 3))
    logits[np.arange(1000), labels] = np.log(2 * p / (1 - p))
    selection = Quota().select(Probe(np.zeros((1000, 1)), logits, None, labels), 1)
    assert selection.class_counts.tolist() == [150, 150, 100]
    assert selection.fallbacks == {"class_within_quota": 1}
    ten = Probe(np.zeros((1000, 1)), np.random.default_rng(0).normal(size=(1000, 10)), None, np.arange(1000) ** 2 % 10)
    counts = Quota(score="loss", rate=0.5).select(ten, 1).class_counts
    sizes = np.bincount(ten.observed_labels, minlength=10)
    assert counts.tolist() == np.minimum(sizes, 50).tolist()
    assert (sizes == 0).any()


def test_a_rate_that_is_exact_in_decimals_is_exact():
    """0.07 · 100 is 7.000000000000001 in binary: the quota is 7."""
    assert 0.07 * 100 > 7
    assert Quota(rate=0.07).quota(np.zeros(700), 7, 1) == 7
    assert Quota(rate=0.0701).quota(np.zeros(700), 7, 1) == 8
    assert Quota(rate=1e-6).quota(np.zeros(700), 7, 1) == 1


@pytest.mark.parametrize(
    ("start", "end", "epochs", "expected"),
    [
        (0.8, 0.7, 100, {31: 0.8, 81: 0.75, 131: 0.7, 200: 0.7}),  # CBS
        (0.2, 0.6, 50, {31: 0.2, 56: 0.4, 81: 0.6, 300: 0.6}),  # ProMix
        (0.5, 0.6, 1, {30: 0.5, 31: 0.5, 32: 0.6}),
        (0.3, None, 50, {31: 0.3, 100: 0.3}),
    ],
)
def test_the_rate_moves_in_equal_steps_from_the_first_selection_on(start, end, epochs, expected):
    quota = Quota(rate=start, rate_end=end, rate_epochs=epochs, first_epoch=31)
    for epoch, rate in expected.items():
        assert quota.rate_in(epoch, start) == pytest.approx(rate)
        assert quota.quota(np.zeros(1000), 10, epoch) == math.ceil(round(100 * rate, 6))


@settings(deadline=None)
@given(st.integers(0, 1000), st.floats(0.01, 1), st.floats(0.01, 1))
def test_a_higher_rate_only_adds_samples(seed, one, other):
    p = probe(seed)
    low, high = (Quota(score="loss", rate=rate).select(p, 1).mask for rate in sorted((one, other)))
    assert not (low & ~high).any()


def test_ties_go_to_the_first():
    labels = np.array([0, 1, 0, 1, 0, 0])
    assert nearest(np.array([2.0, 1, 1, 1, 1, 0]), labels, 2, 2).tolist() == [False, True, True, True, False, True]


def test_samples_that_are_all_as_far_are_at_full_rate():
    labels = np.array([0, 0, 0, 0, 1, 1])
    flat = Probe(np.zeros((6, 1)), np.zeros((6, 2)), None, labels)
    selection = Quota().select(flat, 1)
    assert selection.mask.tolist() == [True, True, True, False, True, True]
    assert Quota(score="loss").select(flat, 1).mask.tolist() == selection.mask.tolist()


def test_absent_and_single_classes_raise_nothing_and_a_rare_class_is_kept_whole():
    p = probe(3, sizes=(50, 30, 1))
    wide = Probe(p.features, np.pad(p.logits, ((0, 0), (0, 1))), None, p.observed_labels)
    for options in ({}, {"score": "loss", "rate": 0.1}):
        selection = Quota(**options).select(wide, 1)
        assert selection.class_counts[2:].tolist() == [1, 0]
        assert np.isfinite(selection.clean_probability).all()
        assert selection.fallbacks == {"class_within_quota": 1}


@pytest.mark.parametrize("sizes", [(30, 12), (3,) * 100])
def test_two_and_a_hundred_classes(sizes):
    p = probe(4, sizes=sizes)
    d, mask = unicon([p])
    check(Quota().select(p, 1), d, mask, 1 - d / math.log(2))
    d, mask = cbs(p, 0.4)
    check(Quota(score="loss", rate=0.4).select(p, 1), d, mask, 1 - d)


def test_neither_the_order_of_the_samples_nor_the_names_of_the_classes_matter():
    p = probe(5)
    order, new = np.random.default_rng(0).permutation(100), np.array([2, 0, 1])
    changed = Probe(p.features, p.logits[order][:, np.argsort(new)], None, new[p.observed_labels[order]])
    for options in ({}, {"score": "loss", "rate": 0.3}):
        one, other = Quota(**options).select(p, 1), Quota(**options).select(changed, 1)
        assert np.array_equal(one.mask[order], other.mask)
        assert one.clean_probability[order] == pytest.approx(other.clean_probability, abs=1e-12)


def test_predictions_beyond_doubt_stay_finite():
    p = probe(6)
    sure = replace(p, logits=1e4 * p.logits, others=(replace(p, logits=-1e4 * p.logits),))
    for options in ({}, {"score": "loss"}):
        selection = Quota(all_networks=True, **options).select(sure, 1)
        assert np.isfinite(selection.score).all()
        assert selection.clean_probability.min() >= 0
        assert selection.clean_probability.max() <= 1


def test_a_selector_is_shown_the_other_networks_where_it_asks():
    probes = [probe(seed) for seed in range(2)]
    first, second = shown([Quota(all_networks=True), Quota()], probes)
    assert [other is probes[1] for other in first.others] == [True]
    assert second is probes[1]
