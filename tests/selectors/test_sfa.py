"""SFA's selector against algorithms/numbers.md §3 and the properties 1–8 of algorithms/sfa.md §10."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from sfa_bench.errors import RunError
from sfa_bench.parts.mixtures import min_max
from sfa_bench.parts.prototypes import centre_and_normalise, instant_centroids, label_scores
from sfa_bench.selectors.base import Probe, Thresholds
from sfa_bench.selectors.sfa import StochasticFeatureAveraging

BASE = np.array([[1, 0, 0.5, 0.2], [0, 1.2, 0.1, 0.3], [0.2, 0.1, 1.1, 0.9]])
OBSERVED = np.array([0] * 9 + [1] * 6 + [2] * 5 + [0, 0, 0, 1, 1, 2])
CLEAN = np.array([0] * 9 + [1] * 6 + [2] * 5 + [1, 2, 2, 0, 0, 0])
ROWS, COLUMNS = np.arange(26), np.arange(4)

GATED = {
    31: [0, 1, 2, 3, 6, 7, 8, 9, 10, 12, 13, 14, 15, 16, 19, 20, 23],
    32: [0, 1, 2, 5, 6, 7, 8, 9, 11, 12, 13, 14, 15, 18, 19, 22, 25],
    33: [0, 1, 4, 5, 6, 7, 8, 10, 11, 12, 13, 14, 17, 18, 19, 22, 25],
}
TAU = {31: 0.389069, 32: 0.391014, 33: 0.392969}
MEAN = {
    31: [0.514258, 0.350264, 0.555301, 0.416929],
    32: [0.514986, 0.351021, 0.555515, 0.416437],
    33: [0.515812, 0.351529, 0.555320, 0.415688],
}
CENTROIDS = {
    31: [
        [0.520477, -0.364317, -0.037181, -0.206669],
        [-0.263156, 0.503631, -0.417945, -0.174897],
        [-0.145180, -0.118594, 0.828408, 0.466907],
    ],
    32: [
        [0.546253, -0.396503, 0.041165, -0.190460],
        [-0.456019, 0.689292, -0.427886, -0.105193],
        [-0.001045, -0.210718, 0.712724, 0.408492],
    ],
    33: [
        [0.593895, -0.334258, 0.030800, -0.245968],
        [-0.477040, 0.733665, -0.332967, -0.043571],
        [-0.023541, -0.282894, 0.662608, 0.404803],
    ],
}
MOMENTS = {  # mode, epoch → μ₀, σ₀
    ("persistent", 32): ([0.523055, -0.367535, -0.029347, -0.205049], [0.007733, 0.009656, 0.023504, 0.004863]),
    ("persistent", 33): ([0.530139, -0.364208, -0.023332, -0.209140], [0.022483, 0.013549, 0.028684, 0.013114]),
    ("release", 32): ([0.054625, -0.039650, 0.004117, -0.019046], [0.163876, 0.118951, 0.012350, 0.057138]),
    ("release", 33): ([0.059390, -0.033426, 0.003080, -0.024597], [0.178169, 0.100277, 0.009240, 0.073790]),
}
SCORES_OF_0 = {
    ("persistent", 32): [-0.298634, -2.180839, -2.024414],
    ("persistent", 33): [-0.251813, -2.036586, -2.423556],
    ("release", 32): [-0.690099, -0.943519, -1.088072],
    ("release", 33): [-0.695955, -0.978894, -1.217816],
}
SELECTED = {
    "persistent": {31: [9, 6, 5], 32: [9, 6, 5], 33: [9, 6, 4]},
    "release": {31: [9, 6, 5], 32: [7, 7, 3], 33: [4, 6, 4]},
}


class Ones:
    """A generator whose every normal draw is 1; counts what is taken."""

    def __init__(self):
        self.taken = 0

    def standard_normal(self, shape):
        self.taken += int(np.prod(shape))
        return np.ones(shape)


def features(epoch):
    t = epoch - 31
    return BASE[CLEAN] + 0.3 * np.sin(1.7 * ROWS[:, None] + 0.9 * COLUMNS[None, :] + 0.5 * t)


def probe(epoch, observed=OBSERVED):
    """The §10 features, and head-2 logits whose softmax at the observed label is the §10 confidence."""
    t = epoch - 31
    confidence = np.where(OBSERVED == CLEAN, 0.55 + 0.25 * np.sin(ROWS + t), 0.30 + 0.20 * np.sin(2 * ROWS + t))
    probabilities = np.repeat((1 - confidence)[:, None] / 2, 3, axis=1)
    probabilities[ROWS, OBSERVED] = confidence
    # The main head says nothing: the gate must read the balanced one.
    return Probe(features(epoch), np.zeros((26, 3)), np.log(probabilities), observed)


def sfa(mode="persistent", generator=None, thresholds=None, **options):
    options = {"beta": 0.9, "phi": 1.005, "sample_min": 0, **options}
    ones = generator or Ones()
    return StochasticFeatureAveraging(thresholds or Thresholds(), moments=mode, generator=lambda epoch: ones, **options)


def seeded(seed=0, **options):
    return StochasticFeatureAveraging(
        Thresholds(), beta=0.9, generator=lambda epoch: np.random.default_rng([seed, epoch]), **options
    )


@pytest.mark.parametrize("epoch", [31, 32, 33])
def test_gate_mean_and_instant_centroids_are_the_spec_vectors(epoch):
    p = probe(epoch)
    selector = sfa()
    tau = selector.gate_threshold(epoch, 3)
    assert tau == pytest.approx(TAU[epoch], abs=1e-6)
    confidence = np.exp(p.abc_logits[ROWS, OBSERVED])
    assert np.flatnonzero(confidence > tau).tolist() == GATED[epoch]
    unit, mean = centre_and_normalise(p.features)
    assert mean == pytest.approx(MEAN[epoch], abs=1e-6)
    gate = np.isin(ROWS, GATED[epoch])
    centroids, counts = instant_centroids(unit, OBSERVED, gate, 3)
    assert centroids == pytest.approx(np.array(CENTROIDS[epoch]), abs=1e-6)
    assert counts.sum() == len(GATED[epoch])


@pytest.mark.parametrize("fit", ["sklearn", "batched"])
@pytest.mark.parametrize("mode", ["persistent", "release"])
def test_three_selections_give_the_spec_moments_scores_and_counts(mode, fit, monkeypatch):
    selector = sfa(mode, thresholds=Thresholds(fit=fit))
    used = {}
    update = selector._update
    monkeypatch.setattr(selector, "_update", lambda *a, **k: used.setdefault(epoch, update(*a, **k)))
    for epoch in (31, 32, 33):
        selection = selector.select(probe(epoch), epoch)
        mean, square = used[epoch]
        spread = np.sqrt(np.clip(square - mean * mean, 1e-30, 1e30))
        assert selection.class_counts.tolist() == SELECTED[mode][epoch]
        if epoch == 31:
            assert mean == pytest.approx(np.array(CENTROIDS[31]), abs=1e-6)
            assert spread == pytest.approx(np.full((3, 4), 1e-15))
            continue
        assert mean[0] == pytest.approx(MOMENTS[mode, epoch][0], abs=1e-6)
        assert spread[0] == pytest.approx(MOMENTS[mode, epoch][1], abs=1e-6)
        unit, _ = centre_and_normalise(features(epoch))
        # D of sample 0 to the drawn centroid (μ + σ·1) of every class; its own class is the score.
        to_each = label_scores(np.repeat(unit[:1], 3, axis=0), mean + spread, np.arange(3))
        assert to_each == pytest.approx(SCORES_OF_0[mode, epoch], abs=1e-6)
        assert selection.score[0] == pytest.approx(SCORES_OF_0[mode, epoch][0], abs=1e-6)
        assert selection.classes_drawn == 3


@pytest.mark.parametrize("fit", ["sklearn", "batched"])
def test_posteriors_of_the_third_selection_are_the_spec_vectors(fit):
    selector = sfa("persistent", thresholds=Thresholds(fit=fit))
    for epoch in (31, 32, 33):
        selection = selector.select(probe(epoch), epoch)
    class_0 = np.flatnonzero(OBSERVED == 0)
    expected = [0.984716, 0.992044, 0.888317, 0.959043, 0.994798, 0.970175]
    expected += [0.879191, 0.971593, 1, 0, 0.175133, 0.263763]
    assert min_max(selection.score[class_0]) == pytest.approx(expected, abs=1e-6)
    class_2 = np.flatnonzero(OBSERVED == 2)
    scores = [1, 0.344020, 0.651471, 0.960616, 0.956250, 0]
    assert min_max(selection.score[class_2]) == pytest.approx(scores, abs=1e-6)
    posteriors = [0.9999, 0.0010, 0.8928, 0.9998, 0.9998, 0.0000]
    assert selection.clean_probability[class_2] == pytest.approx(posteriors, abs=1e-3)


def test_gate_thresholds_of_the_spec_and_their_ceiling():
    known = {(10, 31): 0.116721, (10, 100): 0.164667, (10, 200): 0.271152}
    known |= {(100, 31): 0.011672, (100, 100): 0.016467, (100, 200): 0.027115, (50, 1): 0.0201, (50, 100): 0.032933}
    selector = sfa()
    for (num_classes, epoch), tau in known.items():
        assert selector.gate_threshold(epoch, num_classes) == pytest.approx(tau, abs=1e-6)
    for num_classes, reached in ((2, 139), (3, 221), (5, 323)):
        assert selector.gate_threshold(reached - 1, num_classes) < 0.999
        assert selector.gate_threshold(reached, num_classes) == 0.999
        assert selector.gate_threshold(reached + 1, num_classes) == 0.999


unit_rows = arrays(np.float64, (3, 4), elements=st.floats(-0.5, 0.5, width=32))


@given(st.lists(unit_rows, min_size=1, max_size=8), st.floats(0, 0.999))
def test_persistent_moments_have_a_variance_that_is_never_negative(sequence, beta):
    selector = sfa("persistent", beta=beta)
    every = np.ones(3, dtype=bool)
    for centroids in sequence:
        mean, square = selector._update(centroids, every)
        assert (square - mean * mean >= -1e-12).all()


@given(unit_rows, st.integers(2, 20))
def test_a_constant_centroid_has_no_spread(centroids, calls):
    selector = sfa("persistent")
    for _ in range(calls):
        mean, square = selector._update(centroids, np.ones(3, dtype=bool))
    assert np.sqrt(np.clip(square - mean * mean, 1e-30, 1e30)).max() <= 1e-14
    assert np.array_equal(mean, centroids)


@given(unit_rows, unit_rows, st.floats(0.01, 0.99))
def test_release_moments_forget_and_their_spread_is_a_multiple_of_their_mean(first, second, beta):
    selector = sfa("release", beta=beta)
    every = np.ones(3, dtype=bool)
    selector._update(first, every)
    stored = selector.mean.copy(), selector.square.copy()
    mean, square = selector._update(second, every)
    spread = np.sqrt(np.clip(square - mean * mean, 0, None))
    assert spread == pytest.approx(np.sqrt(beta / (1 - beta)) * np.abs(mean), rel=1e-6, abs=1e-9)
    assert np.array_equal(selector.mean, stored[0])
    assert np.array_equal(selector.square, stored[1])


def test_two_calls_change_the_state_in_persistent_mode_and_not_in_release_mode():
    for mode, changes in (("persistent", True), ("release", False)):
        selector = sfa(mode)
        selector.select(probe(31), 31)
        before = selector.mean.copy()
        selector.select(probe(32), 32)
        assert np.array_equal(before, selector.mean) != changes


@given(st.floats(1e-3, 1e2), st.integers(0, 100))
@settings(max_examples=50)
def test_scores_depend_on_the_direction_of_the_centroid_alone(scale, seed):
    rng = np.random.default_rng(seed)
    unit, _ = centre_and_normalise(rng.normal(size=(20, 6)))
    centroid = rng.normal(size=(1, 6))
    zeros = np.zeros(20, dtype=int)
    # The distance of unit rows to αS is an affine function of g·S; the rescaling removes it.
    assert min_max(label_scores(unit, scale * centroid, zeros)) == pytest.approx(
        min_max(label_scores(unit, centroid, zeros)), abs=1e-9
    )


def test_the_same_generator_gives_the_same_selection_and_draws_are_counted():
    a, b = seeded(seed=1), seeded(seed=1)
    other = seeded(seed=2)
    for epoch in (31, 32):
        first, second, third = (s.select(probe(epoch), epoch) for s in (a, b, other))
    assert np.array_equal(first.score, second.score)
    assert not np.array_equal(first.score, third.score)
    for samples in (1, 5):
        ones = Ones()
        sfa(generator=ones, samples=samples).select(probe(31), 31)
        assert ones.taken == samples * 3 * 4


def test_draws_add_up_their_scores():
    one, three = sfa(samples=1), sfa(samples=3)
    for epoch in (31, 32):
        single, summed = one.select(probe(epoch), epoch), three.select(probe(epoch), epoch)
    assert summed.score == pytest.approx(3 * single.score)


def test_the_relative_distance_is_that_to_the_own_centroid_less_that_to_the_nearest_other():
    selector, plain = sfa(distance="relative"), sfa()
    for epoch in (31, 32, 33):
        relative, own = selector.select(probe(epoch), epoch), plain.select(probe(epoch), epoch)
        mean, square = selector.mean, selector.square
        drawn = mean + np.sqrt(np.clip(square - mean * mean, 1e-30, 1e30))  # every draw is 1
        unit, _ = centre_and_normalise(features(epoch))
        to_each = ((unit[:, None] - drawn) ** 2).sum(axis=2)
        assert own.score == pytest.approx(-to_each[ROWS, OBSERVED])
        to_each[ROWS, OBSERVED], to_own = np.inf, to_each[ROWS, OBSERVED]
        assert relative.score == pytest.approx(to_each.min(axis=1) - to_own)
        assert np.array_equal(relative.prototypes, own.prototypes)


def test_the_relative_distance_finds_the_members_of_a_neighbour_that_a_class_took_for_its_own():
    """Class 1's observed members are mostly class 0's, so that its centroid is nearer to these than to its own."""
    rng = np.random.default_rng(0)
    clean = np.repeat([0, 0, 1, 2], [300, 120, 60, 200])
    observed = np.repeat([0, 1, 1, 2], [300, 120, 60, 200])
    centres = np.array([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0]])
    points = 8 * centres[clean] + rng.normal(scale=0.3, size=(len(clean), 4))
    seen = Probe(points, np.zeros((len(clean), 3)), np.eye(3)[observed], observed)
    of_1 = observed == 1
    kept = {how: sfa(distance=how).select(seen, 31).mask[of_1] for how in ("own", "relative")}
    right = clean[of_1] == 1
    assert np.array_equal(kept["relative"], right)
    assert np.array_equal(kept["own"], ~right)


@pytest.mark.parametrize("mode", ["persistent", "release", "none"])
def test_an_absent_class_and_a_class_of_one_are_handled(mode):
    observed = np.where(OBSERVED == 2, 1, OBSERVED)
    observed[25] = 2  # one sample of class 2
    wide = Probe(features(31), np.zeros((26, 4)), np.zeros((26, 4)), observed)  # class 3 does not occur
    selector = sfa(mode)
    for epoch in (31, 32):
        selection = selector.select(wide, epoch)
        assert np.isfinite(selection.score).all()
        assert np.isfinite(selection.clean_probability).all()
        assert selection.mask[25]
        assert selection.clean_probability[25] == 1
        assert selection.class_counts[3] == 0
        assert not selector.initialised[3]


def test_what_is_done_with_the_returned_moments_does_not_change_the_stored_ones():
    selector = sfa()
    mean, square = selector._update(np.full((3, 4), 0.25), np.ones(3, dtype=bool))
    mean += 1
    square += 1
    assert (selector.mean == 0.25).all()
    assert (selector.square == 0.0625).all()


@given(st.integers(0, 1000), st.floats(0.05, 0.95))
@settings(max_examples=30, deadline=None)
def test_the_mask_is_the_thresholded_probability_unless_a_class_was_kept_whole(seed, threshold):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, size=40)
    p = Probe(rng.normal(size=(40, 4)), rng.normal(size=(40, 3)), None, labels)
    for rule in ("keep_all", "none"):
        selection = sfa(thresholds=Thresholds(threshold, rule)).select(p, 1)
        assert selection.class_counts.sum() == selection.mask.sum()
        passes = selection.clean_probability > threshold
        kept_whole = [not passes[labels == label].any() and rule == "keep_all" for label in labels]
        assert np.array_equal(selection.mask, passes | kept_whole)


def test_an_empty_gate_starts_from_all_samples_and_later_carries_the_moments():
    shut = Probe(features(31), np.zeros((26, 3)), np.full((26, 3), 0.0), OBSERVED)  # confidence 1/3 < τ
    selector = sfa()
    first = selector.select(shut, 31)
    assert first.fallbacks["class_without_gated_sample"] == 3
    assert first.classes_drawn == 0
    unit, _ = centre_and_normalise(features(31))
    by_hand = np.stack([unit[np.flatnonzero(k == OBSERVED)].mean(axis=0) for k in range(3)])
    assert selector.mean == pytest.approx(by_hand)
    selector.select(Probe(features(32), shut.logits, shut.abc_logits, OBSERVED), 32)
    assert selector.mean == pytest.approx(by_hand)


def test_an_empty_gate_can_fail_the_run_as_in_the_release():
    shut = Probe(features(31), np.zeros((26, 3)), np.zeros((26, 3)), OBSERVED)
    with pytest.raises(RunError, match=r"plugin\.empty_class=carry"):
        sfa(empty_class="error").select(shut, 31)


def test_small_classes_are_not_drawn():
    # Gated at e = 32: 8 of class 0, 5 of class 1, 4 of class 2; only more than 5 is drawn.
    selector = sfa(sample_min=5)
    for epoch in (31, 32):
        selection = selector.select(probe(epoch), epoch)
    assert selection.classes_drawn == 1
    unit, _ = centre_and_normalise(features(32))
    undrawn = OBSERVED != 0
    assert selection.score[undrawn] == pytest.approx(label_scores(unit, selector.mean, OBSERVED)[undrawn])
    spread = np.sqrt(np.clip(selector.square - selector.mean**2, 1e-30, 1e30))
    assert selection.score[~undrawn] == pytest.approx(label_scores(unit, selector.mean + spread, OBSERVED)[~undrawn])


def test_without_draws_or_moments_the_generator_does_not_matter():
    for options in ({"draw": False}, {"mode": "none"}):
        mode = options.pop("mode", "persistent")
        a, b = (sfa(mode, generator=np.random.default_rng(s), **options) for s in (1, 2))
        for epoch in (31, 32):
            x, y = a.select(probe(epoch), epoch), b.select(probe(epoch), epoch)
        assert np.array_equal(x.score, y.score)
        assert x.classes_drawn == 0
    instant = sfa("none")
    for epoch in (31, 32):
        selection = instant.select(probe(epoch), epoch)
    unit, _ = centre_and_normalise(features(32))
    assert selection.score == pytest.approx(label_scores(unit, np.array(CENTROIDS[32]), OBSERVED), abs=1e-5)


def test_a_stored_state_continues_as_if_never_stored():
    straight = seeded()
    resumed = seeded()
    straight.select(probe(31), 31)
    resumed.load_state(straight.state())
    for epoch in (32, 33):
        assert np.array_equal(straight.select(probe(epoch), epoch).score, resumed.select(probe(epoch), epoch).score)


def test_selection_at_the_end_of_the_epoch_before_has_that_epochs_gate():
    # WebVision's release: epoch e trains on what was selected at the end of epoch e-1 with 0.02·1.005^(e-1) (Q7).
    at_end = sfa("release", selection_at="end")
    assert at_end.gate_threshold(2, 50) == pytest.approx(0.02 * 1.005)
    assert at_end.gate_threshold(101, 50) == pytest.approx(0.032933, abs=1e-6)
    assert at_end.gate_threshold(32, 3) == pytest.approx(TAU[31], abs=1e-6)


@pytest.mark.parametrize("mode", ["persistent", "release"])
def test_selection_at_the_end_begins_the_moments_in_the_first_two_calls(mode):
    a, b, c = (np.array(CENTROIDS[epoch]) for epoch in (31, 32, 33))
    selector, every = sfa(mode, selection_at="end"), np.ones(3, dtype=bool)
    for centroids in (a, b):
        mean, square = selector._update(centroids, every)
        assert np.array_equal(mean, centroids)
        assert np.array_equal(square, centroids**2)
    mean, square = selector._update(c, every)
    kept = 0.9 if mode == "persistent" else 0.0
    assert mean == pytest.approx(kept * b + 0.1 * c)
    assert square == pytest.approx(kept * b**2 + 0.1 * c**2)


def test_a_class_that_the_second_call_does_not_know_keeps_the_first_ones_moments():
    selector = sfa("persistent", selection_at="end")
    a, b = (np.array(CENTROIDS[epoch]) for epoch in (31, 32))
    selector._update(a, np.ones(3, dtype=bool))
    mean, _ = selector._update(b, np.array([True, False, True]))
    assert np.array_equal(mean, np.stack([b[0], a[1], b[2]]))


@pytest.mark.parametrize("mode", ["persistent", "release"])
def test_selection_at_the_end_is_another_selector_from_the_second_call_on(mode):
    start, end = (sfa(mode, selection_at=at) for at in ("start", "end"))
    scores = [[s.select(probe(epoch), epoch).score for s in (start, end)] for epoch in (31, 32)]
    assert not np.array_equal(*scores[1])


@pytest.mark.parametrize("stored_after", [1, 2])
def test_a_stored_state_knows_how_often_the_moments_have_begun(stored_after):
    straight, resumed = (seeded(selection_at="end") for _ in range(2))
    for epoch in range(31, 31 + stored_after):
        straight.select(probe(epoch), epoch)
    resumed.load_state(straight.state())
    for epoch in (32, 33, 34):
        assert np.array_equal(straight.select(probe(epoch), epoch).score, resumed.select(probe(epoch), epoch).score)


def test_a_state_of_before_there_was_a_count_goes_on():
    straight, resumed = seeded(), seeded()
    straight.select(probe(31), 31)
    state = straight.state()
    del state["calls"]
    resumed.load_state(state)
    assert np.array_equal(straight.select(probe(32), 32).score, resumed.select(probe(32), 32).score)
