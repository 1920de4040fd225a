"""IBC's selector: SFA's selection, and labels by a plain reimplementation of algorithms/ibc.md §3–5."""

import numpy as np
import pytest

from sfa_bench.choices.heads import WITH
from sfa_bench.selectors.base import Probe, Thresholds
from sfa_bench.selectors.ibc import InstancesBenefittingClasses
from sfa_bench.selectors.sfa import StochasticFeatureAveraging

K, D = 10, 6
COUNTS = np.array([30, 25, 20, 16, 12, 10, 8, 6, 4, 3])
LABELS = np.repeat(np.arange(K), COUNTS)
N = len(LABELS)


def probe(seed=0, labels=LABELS, num_classes=K):
    """Classes that can be told apart, with as many of the samples astray."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(99).normal(size=(K, D))
    features = (centres[labels] + rng.normal(size=(len(labels), D))).astype(np.float32)
    logits = rng.normal(size=(2, len(labels), num_classes)).astype(np.float32)
    return Probe(features, logits[0], logits[1], labels)


def averaging(**options):
    generator = lambda epoch: np.random.default_rng([7, epoch])  # noqa: E731
    return {"generator": generator, "beta": 0.9, "samples": 5, **options}


def ibc(counts=COUNTS, head="experts", **options):
    return InstancesBenefittingClasses(Thresholds(), observed_counts=counts, heads=WITH[head], **averaging(**options))


def plain_targets(seen, prototypes, groups, *, epsilon=0.1, kappa=0.25, centre="dataset"):
    """The labels of each head, sample by sample, in Python's numbers."""
    num_classes = len(prototypes)
    features = [[float(value) for value in row] for row in seen.features]
    mean = [sum(column) / len(features) for column in zip(*features, strict=True)]
    labels = {"main": [], "abc": [], "medium_head": []}
    for row, label in zip(features, seen.observed_labels, strict=True):
        middle = mean if centre == "dataset" else [sum(row) / len(row)] * len(row)
        query = [value - m for value, m in zip(row, middle, strict=True)]
        length = max(sum(value**2 for value in query) ** 0.5, 1e-12)
        likeness = [sum(q / length * c for q, c in zip(query, prototypes[k], strict=True)) for k in range(num_classes)]
        near = sorted(range(num_classes), key=lambda k: -likeness[k])[: int(kappa * num_classes)]
        for head, group in {"main": (), "abc": groups["few"], "medium_head": groups["medium"]}.items():
            shared = [k for k in near if k in group]
            target = [0.0] * num_classes
            target[label] = 1 - epsilon
            for k in shared:
                target[k] += epsilon / len(shared)
            labels[head].append([value / sum(target) for value in target])
    return {head: np.array(rows) for head, rows in labels.items()}


GROUPS = {"medium": (3, 4, 5, 6), "few": (7, 8, 9)}


@pytest.mark.parametrize("centre", ["dataset", "sample"])
@pytest.mark.parametrize("moments", ["persistent", "release", "none"])
@pytest.mark.parametrize(("epsilon", "kappa"), [(0.1, 0.25), (0.4, 0.6), (0.0, 0.25)])
def test_labels_are_those_of_the_plain_reimplementation(centre, moments, epsilon, kappa):
    selector = ibc(query_centre=centre, moments=moments, epsilon=epsilon, kappa=kappa)
    for epoch in (31, 32):
        seen = probe(epoch)
        selection = selector.select(seen, epoch)
        expected = plain_targets(seen, selection.prototypes, GROUPS, epsilon=epsilon, kappa=kappa, centre=centre)
        assert selection.targets.keys() == expected.keys()
        for head, rows in expected.items():
            assert selection.targets[head].dtype == np.float32
            assert selection.targets[head] == pytest.approx(rows, abs=1e-6), head
    soft = [(selection.targets[head] < 0.999).sum(axis=1).max() for head in ("main", "abc", "medium_head")]
    one_hot = [(selection.targets[head] == np.eye(K)[LABELS]).all() for head in ("main", "abc", "medium_head")]
    assert one_hot == ([True] * 3 if epsilon == 0 else [True, False, False]), soft


def test_it_selects_as_sfa_does():
    ours, theirs = ibc(), StochasticFeatureAveraging(Thresholds(), **averaging())
    for epoch in (31, 32, 33):
        a, b = ours.select(probe(epoch), epoch), theirs.select(probe(epoch), epoch)
        for name in ("mask", "clean_probability", "score", "class_counts", "prototypes", "center"):
            assert np.array_equal(getattr(a, name), getattr(b, name)), name
        assert b.targets is None


@pytest.mark.parametrize(("head", "names"), [("none", ["main"]), ("abc", ["main", "abc"])])
def test_only_heads_that_there_are_have_labels(head, names):
    both, fewer = ibc().select(probe(), 31), ibc(head=head).select(probe(), 31)
    assert list(fewer.targets) == names
    assert all(np.array_equal(fewer.targets[name], both.targets[name]) for name in names)


def test_few_and_medium_classes_are_those_of_the_observed_counts():
    by_size = ibc(counts=COUNTS[::-1])
    assert np.flatnonzero(by_size.shots["few"]).tolist() == [0, 1, 2]
    assert np.flatnonzero(by_size.shots["medium"]).tolist() == [3, 4, 5, 6]
    equal = ibc(counts=np.full(K, 5))
    assert np.flatnonzero(equal.shots["few"]).tolist() == [7, 8, 9]


@pytest.mark.parametrize(
    ("num_classes", "kappa", "count"), [(10, 0.25, 2), (100, 0.25, 25), (100, 0.29, 29), (3, 0.25, 1), (7, 1, 7)]
)
def test_a_share_of_the_classes_are_neighbours_and_at_least_one(num_classes, kappa, count):
    assert ibc(counts=np.ones(num_classes, dtype=int), kappa=kappa).neighbours == count


def test_a_class_that_nobody_is_labelled_with_is_no_neighbour():
    labels = np.where(LABELS == 9, 8, LABELS)
    counts = np.bincount(labels, minlength=K)
    selection = ibc(counts=counts, kappa=1).select(probe(labels=labels), 31)
    assert (selection.targets["abc"][:, 9] == 0).all()
    assert (selection.targets["abc"][:, 8] > 0).all()


def test_labels_move_with_the_samples():
    rows = np.random.default_rng(3).permutation(N)
    seen = probe()
    moved = Probe(seen.features[rows], seen.logits[rows], seen.abc_logits[rows], LABELS[rows])
    a, b = ibc(moments="none").select(seen, 31), ibc(moments="none").select(moved, 31)
    for head in a.targets:
        assert np.array_equal(a.targets[head][rows], b.targets[head]), head


# ---- where the defects of the release act, and where they cannot


def labels_of(selector, probes):
    for epoch, seen in enumerate(probes, start=31):
        selection = selector.select(seen, epoch)
    return selection.targets


def alike(a, b):
    return all(np.array_equal(a[head], b[head]) for head in a)


def test_the_release_forgets_its_averages_where_centroids_move_and_not_where_they_stand():
    first, later = probe(1), probe(2)
    kept, lost = (lambda seen, m=m: labels_of(ibc(moments=m, tau0=0), seen) for m in ("persistent", "release"))
    assert alike(kept([first]), lost([first]))
    assert alike(kept([first, first, first]), lost([first, first, first]))  # (1 − β)·c has the direction of c
    assert not alike(kept([first, later, later]), lost([first, later, later]))


def test_the_release_centres_queries_by_their_own_coordinates_which_shows_where_the_mean_feature_is_uneven():
    uneven = probe()
    uneven = Probe(uneven.features + np.arange(D, dtype=np.float32), uneven.logits, uneven.abc_logits, LABELS)
    right, wrong = (ibc(query_centre=centre) for centre in ("dataset", "sample"))
    assert not alike(right.select(uneven, 31).targets, wrong.select(uneven, 31).targets)
    # Rows and columns of mean 3: both subtract 3 from every coordinate.
    values = np.random.default_rng(5).integers(-8, 8, (N // 2, D)) * 0.25
    values = np.concatenate([values, -values])
    values = np.concatenate([values[:, : D // 2], -values[:, : D // 2]], axis=1).astype(np.float32) + 3
    even = Probe(values, probe().logits, probe().abc_logits, LABELS)
    assert alike(right.select(even, 32).targets, wrong.select(even, 32).targets)


def with_shut_gate(seen, classes):
    """The same, with no confidence in the labels of these classes."""
    abc = seen.abc_logits.copy()
    rows = np.flatnonzero(np.isin(LABELS, classes))
    abc[rows, LABELS[rows]] = -50
    return Probe(seen.features, seen.logits, abc, LABELS)


def test_in_the_release_a_class_without_a_gated_sample_has_a_centroid_of_zeros():
    seen = with_shut_gate(probe(), [8, 9])
    released = ibc(moments="release", empty_class="zero")
    first = released.select(seen, 31)
    unit = seen.features - seen.features.mean(axis=0, dtype=np.float64)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    # The first centroids are of all samples, whatever the gate says.
    assert first.prototypes == pytest.approx(
        np.stack([unit[np.flatnonzero(k == LABELS)].mean(axis=0) for k in range(K)])
    )
    assert not first.fallbacks
    second = released.select(seen, 32)
    assert (second.prototypes[8:] == 0).all()
    assert second.prototypes[:8].any(axis=1).all()
    assert second.fallbacks["class_without_gated_sample"] == 2
    assert second.fallbacks["class_without_mixture"] == 2  # equal scores: nothing is told apart by rounding
    assert second.mask[LABELS >= 8].all()
    likeness = (seen.features - seen.features.mean(axis=0, dtype=np.float64)) @ second.prototypes.T
    nearer = (likeness[:, :8] > 0).sum(axis=1)  # classes before those at the origin, whose likeness is 0
    labelled_9 = second.targets["abc"][:, 9] > 0
    assert np.array_equal(labelled_9, (nearer < 1) | (LABELS == 9))  # of two zeros the lower class is nearer


def test_persistent_averages_with_centroids_of_zeros_are_pulled_to_the_origin():
    seen = with_shut_gate(probe(), [9])
    selector = ibc(empty_class="zero")
    first, second = (selector.select(seen, epoch).prototypes for epoch in (31, 32))
    assert second[9] == pytest.approx(0.9 * first[9])
    carried = ibc()
    first, second = (carried.select(seen, epoch).prototypes for epoch in (31, 32))
    assert np.array_equal(first[9], second[9])


def test_a_stored_state_continues_as_if_never_stored():
    straight, resumed = ibc(), ibc()
    straight.select(probe(31), 31)
    resumed.load_state(straight.state())
    for epoch in (32, 33):
        assert alike(straight.select(probe(epoch), epoch).targets, resumed.select(probe(epoch), epoch).targets)
