"""RoLT's epochs against algorithms/methods.md §8 written out again; its prototypes and its second head."""

import copy

import numpy as np
import pytest
import torch
from sklearn.mixture import GaussianMixture

from sfa_bench.engine.metrics import test_metrics as figures_of
from sfa_bench.methods.base import BalancedHead
from sfa_bench.methods.rolt import Rolt
from sfa_bench.parts.losses import make_loss
from sfa_bench.selectors.base import Probe, Selection, Selector, Thresholds
from sfa_bench.selectors.prototype import Prototype
from sfa_bench.selectors.sfa import StochasticFeatureAveraging

LABELS = np.array([0] * 7 + [1] * 4 + [2] * 2)
EYE = np.eye(3)


def mask_of(e):
    """Another selection in every epoch; sometimes nobody of class 2."""
    return np.random.default_rng([8, e]).random(13) < 0.5


class Changing(Selector):
    """`mask_of` its epoch, with or without prototypes of its own."""

    def __init__(self, prototypes=None):
        self.prototypes = prototypes

    def select(self, probe, epoch):
        mask = mask_of(epoch)
        counts = np.bincount(LABELS[mask], minlength=3)
        return Selection(mask, mask.astype(float), mask.astype(float), counts, prototypes=self.prototypes)


def seen(e):
    """What a selection is shown in epoch e: unrelated to the network, so that averages over epochs matter."""
    rng = np.random.default_rng([9, e])
    features, logits = rng.normal(size=(13, 8)), 2 * rng.normal(size=(13, 3))
    return Probe(features.astype(np.float32), logits.astype(np.float32), None, LABELS)


@pytest.fixture
def learner(make_view, make_training):
    """One batch of all 13 samples an epoch, ten epochs: soft labels from the fifth, the switch before the ninth."""

    def make(loss="ce", *, head=None, selectors=None, warmup=0, **options):
        selectors = selectors or [Changing() for _ in range(options.get("networks", 1))]
        training = make_training(
            make_view(LABELS), head=head, selectors=selectors, warmup=warmup, epochs=10, plain_batch=13, lr=0.05
        )
        return Rolt(training, loss=make_loss(loss), **options)

    return make


def scripted_probes(method):
    method._probes = lambda networks, e: [seen(e) for _ in networks]
    return method


def prototypes_of(probe, mask):
    """Unit vectors about the mean, and the mean of the masked ones of each class (None: there is none)."""
    f = probe.features.astype(np.float64)
    g = np.array([(row - f.mean(0)) / np.sqrt(((row - f.mean(0)) ** 2).sum()) for row in f])
    rows = [[i for i in range(13) if LABELS[i] == k and mask[i]] for k in range(3)]
    return g, [g[r].mean(0) if r else None for r in rows]


def distances(g, prototypes):
    return np.array([[-np.inf if c is None else -((row - c) ** 2).sum() for c in prototypes] for row in g])


def predictions(e, own):
    """Logits and distances of all samples in epoch e; `own`: prototypes that come with the selection."""
    probe = seen(e)
    g, prototypes = prototypes_of(probe, mask_of(e))
    return probe.logits.astype(np.float64), distances(g, prototypes if own is None else own)


def guesses(e, first=1, bias="corrected", own=None):
    """a and b of epoch e: steps 4 and 5."""
    averages = [0.0, 0.0]
    for t, epoch in enumerate(range(first, e + 1), start=1):
        for i, new in enumerate(predictions(epoch, own)):
            averages[i] = 0.6 * averages[i] + 0.4 * new
            if bias == "release":
                averages[i] = new / 0.4 if t == 1 else averages[i] / (1 - 0.6**t)
    return [average.argmax(1) for average in averages]  # the correction 1/(1 − 0.6^t) does not move the largest


def components(e, *, drw, first=1, bias="corrected", own=None):
    """Step 6: label lists with their weights, and the labels whose counts are used (step 7)."""
    if e <= 4 or e < first:
        return [(1.0, LABELS)], LABELS
    keep, (a, b) = mask_of(e), guesses(e, first, bias, own)

    def uniform(weight):
        return [(weight / 3, np.where(keep, LABELS, k)) for k in range(3)]

    if drw and e > 8:
        h = np.where(mask_of(9), LABELS, guesses(9, first, bias, own)[0])
        return [(0.5, h), *uniform(0.5)], h
    lists = [(0.4, np.where(keep, LABELS, a)), (0.2, np.where(keep, LABELS, b)), (0.2, LABELS), *uniform(0.2)]
    return lists, np.where(keep, LABELS, a)


def loss_of(logits, lists, counts_of, *, ldam=False, weighted=False):
    """Σ weight · mean loss over the lists (step 7), by plain NumPy."""
    n = np.maximum(np.bincount(counts_of, minlength=3), 1)
    omega = np.ones(3)
    if weighted:
        omega = (1 - 0.9999) / (1 - 0.9999**n)
        omega = 3 * omega / omega.sum()
    margins = 0.5 * n**-0.25 / (n**-0.25).max() if ldam else np.zeros(3)
    total = 0.0
    for weight, labels in lists:
        z = logits - 30 * margins[labels][:, None] * EYE[labels]
        each = np.log(np.exp(z).sum(1)) - z[np.arange(13), labels]
        total += weight * (omega[labels] * each).sum() / omega[labels].sum()
    return total


def outputs(method):
    images = (method.training.view.images.float() / 255 - 0.4) / 0.3
    with torch.no_grad():
        return copy.deepcopy(method.networks[0]).train()(images)


@pytest.mark.parametrize("drw", [False, True])
@pytest.mark.parametrize("loss", ["ce", "ldam"])
@pytest.mark.parametrize("bias", ["corrected", "release"])
def test_ten_epochs_have_the_specified_losses(learner, loss, drw, bias):
    method = scripted_probes(learner(loss, schedule="drw" if drw else "none", ensemble_bias=bias))
    for e in range(1, 11):
        z = outputs(method).main.double().numpy()
        lists, counts_of = components(e, drw=drw, bias=bias)
        expected = loss_of(z, lists, counts_of, ldam=loss == "ldam", weighted=drw and e > 8)
        assert method.epoch(e)["loss"] == pytest.approx(expected, rel=1e-4), e


def test_these_epochs_tell_the_rules_apart():
    """What the test above rests on: averages, switches, and a class without prototype all show."""
    now = [seen(e).logits.argmax(1) for e in range(1, 11)]
    assert any((guesses(e)[0] != now[e - 1]).any() for e in range(5, 11))
    assert any((guesses(e, bias="release")[0] != guesses(e)[0]).any() for e in range(5, 11))
    assert (mask_of(9) != mask_of(10)).any()
    assert (guesses(9)[0] != guesses(10)[0]).any()
    assert any(None in [None if c is None else 0 for c in prototypes_of(seen(e), mask_of(e))[1]] for e in range(1, 11))


def test_with_a_warm_up_averages_start_at_the_first_selection_and_soft_labels_at_theirs(learner):
    method = scripted_probes(learner(warmup=3))
    for e in range(1, 7):
        z = outputs(method).main.double().numpy()
        lists, counts_of = components(e, drw=False, first=4)
        assert method.epoch(e)["loss"] == pytest.approx(loss_of(z, lists, counts_of), rel=1e-4), e
    assert method.logit_average[0].updates == 3


def test_the_balanced_head_learns_the_selected_samples_with_their_counts(learner):
    method = scripted_probes(learner(head=BalancedHead(), warmup=1))
    for e in (1, 2, 3):
        out = outputs(method)
        keep = mask_of(e) if e > 1 else np.ones(13, dtype=bool)
        n = np.maximum(np.bincount(LABELS[keep], minlength=3), 1)
        v = out.abc.double().numpy() + np.log(n)
        balanced = np.log(np.exp(v).sum(1)) - v[np.arange(13), LABELS]
        expected = loss_of(out.main.double().numpy(), [(1.0, LABELS)], LABELS) + balanced[keep].mean()
        assert method.epoch(e)["loss"] == pytest.approx(expected, rel=1e-4), e


def test_a_plug_ins_prototypes_take_the_place_of_rolts(learner):
    own = np.random.default_rng(3).normal(size=(3, 8)) / 3
    method = scripted_probes(learner(selectors=[Changing(own)]))
    for e in range(1, 6):
        z = outputs(method).main.double().numpy()
        lists, counts_of = components(e, drw=False, own=list(own))
        assert method.epoch(e)["loss"] == pytest.approx(loss_of(z, lists, counts_of), rel=1e-4), e
    assert (guesses(5, own=list(own))[1] != guesses(5)[1]).any()


# ---- the second head


def test_the_nearest_class_mean_is_that_of_the_epochs_start_and_the_features_are_todays(learner):
    method = learner()
    images = method.training.view.images
    assert "ncm" not in method.predict(images)[0]
    probe = method.probe(0, 1)  # the network as it stands before the epoch
    g, prototypes = prototypes_of(probe, mask_of(1))
    method.epoch(1)
    with torch.no_grad():
        f = method.networks[0].eval().features((images.float() / 255 - 0.4) / 0.3).double().numpy()
    test = f - probe.features.astype(np.float64).mean(0)
    test = test / np.sqrt((test**2).sum(1, keepdims=True))
    answer = method.predict(images)[0]
    assert answer["ncm"] == pytest.approx(np.maximum(distances(test, prototypes), -1e6), rel=1e-4, abs=1e-4)
    assert not np.allclose(distances(test, prototypes), distances(g, prototypes), atol=1e-3)


def test_both_heads_are_reported_and_only_the_linear_one_votes(learner):
    method = learner(selectors=[Changing(), Changing()], networks=2)
    method.epoch(1)
    answers = method.predict(method.training.view.images)
    groups = {name: [0] for name in ("many", "medium", "few", "head", "mid", "tail")}
    figures = figures_of(answers, LABELS, "logit_sum", groups)
    of_network = [100 * float((answer["ncm"].argmax(1) == LABELS).mean()) for answer in answers]
    assert 0 <= figures["test/acc/ncm"] <= 100
    only_one = figures_of(answers[:1], LABELS, "logit_sum", groups)
    assert only_one["test/acc/ncm"] == pytest.approx(of_network[0])
    spoilt = [{**answer, "ncm": -100 * answer["ncm"]} for answer in answers]
    others = figures_of(spoilt, LABELS, "logit_sum", groups)
    assert {key for key in figures if others[key] != figures[key]} <= {"test/acc/ncm"}


# ---- prototypes that selectors hand over


def probe_of(seed):
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(13, 8)) + 3 * np.eye(3, 8)[LABELS]
    return Probe(features.astype(np.float32), (rng.normal(size=(13, 3)) + EYE[LABELS]).astype(np.float32), None, LABELS)


def test_the_prototype_selector_hands_over_its_refined_centroids():
    probe = probe_of(1)
    g, every = prototypes_of(probe, np.ones(13, dtype=bool))
    rough, own = np.ones(13, dtype=bool), distances(g, every)[np.arange(13), LABELS]
    for k in (0, 1, 2):
        scores = own[k == LABELS]
        if np.ptp(scores) > 1e-9:  # two samples are as far from their mean as each other: kept
            scaled = ((scores - scores.min()) / np.ptp(scores))[:, None]
            mixture = GaussianMixture(2, random_state=0).fit(scaled)
            rough[k == LABELS] = mixture.predict(scaled) == mixture.means_[:, 0].argmax()
    assert not rough.all()
    _, refined = prototypes_of(probe, rough)
    selection = Prototype(Thresholds()).select(probe, 1)
    assert selection.prototypes == pytest.approx(np.array(refined), abs=1e-9)
    assert selection.center == pytest.approx(probe.features.mean(0), abs=1e-5)


def test_sfa_hands_over_its_running_mean_and_not_a_draw():
    selector = StochasticFeatureAveraging(Thresholds(), beta=0.9, tau0=0.2, generator=np.random.default_rng)
    centroids = []
    for e in (1, 2):
        probe = probe_of(e)
        p = np.exp(probe.logits) / np.exp(probe.logits).sum(1, keepdims=True)
        gate = p[np.arange(13), LABELS] > 0.2 * 1.005**e
        centroids.append(np.array(prototypes_of(probe, gate)[1], dtype=float))
        selection = selector.select(probe, e)
    assert selection.prototypes == pytest.approx(0.9 * centroids[0] + 0.1 * centroids[1], abs=1e-9)
    assert selection.center == pytest.approx(probe.features.mean(0), abs=1e-5)
    assert selection.classes_drawn == 3


# ---- state


@pytest.mark.parametrize("bias", ["corrected", "release"])
def test_a_restart_behind_the_switch_keeps_frozen_labels_averages_and_prototypes(learner, bias):
    whole, second = (
        scripted_probes(learner(schedule="drw", ensemble_bias=bias, networks=2, head=BalancedHead())) for _ in "ab"
    )
    for e in range(1, 10):
        whole.epoch(e)
    second.load_state(copy.deepcopy(whole.state()))
    images = whole.training.view.images
    for a, b in zip(whole.predict(images), second.predict(images), strict=True):
        assert all(np.array_equal(a[head], b[head]) for head in ("main", "abc", "ncm"))
    assert whole.epoch(10) == second.epoch(10)
    assert all(torch.equal(a, b) for a, b in zip(whole.frozen, second.frozen, strict=True))
    for a, b in zip(whole.networks, second.networks, strict=True):
        assert all(torch.equal(x, y) for x, y in zip(a.parameters(), b.parameters(), strict=True))
