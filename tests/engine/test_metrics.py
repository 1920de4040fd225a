"""The run's figures against scikit-learn, brute force and tables worked by hand."""

import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.metrics import f1_score, top_k_accuracy_score

from sfa_bench.engine import metrics

SHOTS = {"many": [0, 1], "medium": [2, 3, 4, 5, 6], "few": [7, 8, 9], "head": [0, 1, 2], "mid": [3, 4, 5, 6]}
SHOTS["tail"] = [7, 8, 9]
NO_GROUPS = {name: [] for name in SHOTS}
ENSEMBLES = ("logit_sum", "prob_mean", "main", "abc")


def softmax(z):
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def random_logits(networks=2, samples=40, classes=10, seed=0, heads=("main", "abc")):
    generator = np.random.default_rng(seed)
    return [
        {head: 3 * generator.normal(size=(samples, classes)).astype(np.float32) for head in heads}
        for _ in range(networks)
    ]


def groups_of(num_classes):
    """Every group non-empty where there are classes enough; for K = 2 the middle ones are empty."""
    classes = list(range(num_classes))
    return dict.fromkeys(("many", "head"), classes[:1]) | {
        **dict.fromkeys(("medium", "mid"), classes[1:-1]),
        **dict.fromkeys(("few", "tail"), classes[-1:]),
    }


# ---- ensembles


def test_each_ensemble_is_the_one_of_its_definition():
    one, two = random_logits()
    z, v = [one["main"].astype(float), two["main"].astype(float)], [one["abc"].astype(float), two["abc"].astype(float)]
    expected = {
        "logit_sum": softmax((z[0] + v[0] + z[1] + v[1]) / 4),
        "prob_mean": (softmax(z[0]) + softmax(v[0]) + softmax(z[1]) + softmax(v[1])) / 4,
        "main": softmax((z[0] + z[1]) / 2),
        "abc": softmax((v[0] + v[1]) / 2),
    }
    for how, probability in expected.items():
        np.testing.assert_allclose(np.exp(metrics.ensemble([one, two], how)), probability, rtol=1e-9)
    predictions = {how: tuple(p.argmax(axis=1)) for how, p in expected.items()}
    assert len(set(predictions.values())) == 4, "the example must tell the ensembles apart"


def test_a_medium_head_is_part_of_the_ensembles_where_there_is_one():
    three = random_logits(networks=2, heads=("main", "abc", "medium_head"))
    rows = [net[head].astype(float) for net in three for head in net]
    np.testing.assert_allclose(np.exp(metrics.ensemble(three, "logit_sum")), softmax(sum(rows) / 6), rtol=1e-9)
    np.testing.assert_allclose(np.exp(metrics.ensemble(three, "prob_mean")), sum(map(softmax, rows)) / 6, rtol=1e-9)
    labels = np.arange(40) % 10
    found = metrics.test_metrics(three, labels, "logit_sum", SHOTS)
    alone = (rows[2] + rows[5]).argmax(axis=1) == labels
    assert found["test/acc/medium_head"] == pytest.approx(100 * alone.mean())
    two = [{head: net[head] for head in ("main", "abc")} for net in three]
    without = metrics.test_metrics(two, labels, "logit_sum", SHOTS)
    assert found.keys() - without.keys() == {"test/acc/medium_head"}
    assert found["test/acc/medium"] != found["test/acc/medium_head"]  # a group of classes


def test_logit_sum_predicts_the_class_with_the_largest_sum_of_raw_logits():
    logits = random_logits(samples=300)
    total = sum(net[head].astype(float) for net in logits for head in net)
    assert (metrics.ensemble(logits, "logit_sum").argmax(axis=1) == total.argmax(axis=1)).all()


def test_one_network_without_a_second_head_is_its_own_ensemble():
    logits = random_logits(networks=1, heads=("main",))
    for how in ("logit_sum", "prob_mean", "main"):
        np.testing.assert_allclose(np.exp(metrics.ensemble(logits, how)), softmax(logits[0]["main"].astype(float)))


def test_an_ensemble_stays_finite_where_a_softmax_would_overflow():
    logits = [{"main": np.array([[1e4, -1e4, 0.0]])}]
    assert np.isfinite(metrics.ensemble(logits, "logit_sum")).all()


# ---- accuracies


@pytest.fixture
def worked():
    """Five classes; per-class accuracies 100, 50, 0, –, 50 by hand; class 3 has no test sample."""
    labels = np.array([0, 0, 1, 1, 2, 2, 2, 4, 4])
    predicted = np.array([0, 0, 1, 0, 0, 1, 4, 4, 3])
    logits = [{"main": 2.0 * np.eye(5)[predicted]}]
    groups = {"many": [0, 1], "medium": [2, 3], "few": [3], "head": [0], "mid": [1, 2, 3], "tail": [4]}
    return metrics.test_metrics(logits, labels, "logit_sum", groups)


def test_accuracies_of_a_table_worked_by_hand(worked):
    assert worked["test/per_class"] == [100, 50, 0, None, 50]
    assert worked["test/acc"] == pytest.approx(100 * 4 / 9)
    assert worked["test/acc/many"] == 75
    assert worked["test/acc/medium"] == 0
    assert worked["test/acc/few"] is None
    assert (worked["test/acc/head"], worked["test/acc/mid"], worked["test/acc/tail"]) == (100, 25, 50)
    assert worked["test/acc/worst"] == 0
    assert worked["test/acc/gmean"] == 0


def test_a_group_is_the_unweighted_mean_of_its_classes():
    labels = np.array([0] * 8 + [1] * 2)
    predicted = np.array([0] * 8 + [0] * 2)
    found = metrics.test_metrics([{"main": np.eye(2)[predicted]}], labels, "main", NO_GROUPS | {"many": [0, 1]})
    assert found["test/acc"] == 80
    assert found["test/acc/many"] == 50
    assert found["test/acc/few"] is None


def test_the_geometric_mean_of_two_classes():
    labels = np.array([0, 0, 1, 1])
    found = metrics.test_metrics([{"main": np.eye(2)[[0, 0, 1, 0]]}], labels, "main", NO_GROUPS)
    assert found["test/acc/gmean"] == pytest.approx(math.sqrt(100 * 50))
    assert found["test/acc/worst"] == 50


def test_macro_f1_has_scikit_learns_bits():
    draw = np.random.default_rng(6)
    for classes, samples in ((1, 1), (3, 2), (10, 359), (100, 40)):
        labels, predictions = draw.integers(classes, size=(2, samples))
        expected = f1_score(labels, predictions, average="macro", zero_division=0)
        assert metrics.macro_f1(labels, predictions, classes + 1) == expected


@pytest.mark.parametrize("how", ENSEMBLES)
def test_both_heads_are_reported_whatever_the_ensemble(how):
    logits = random_logits(samples=200)
    labels = np.random.default_rng(1).integers(0, 10, 200)
    found = metrics.test_metrics(logits, labels, how, SHOTS)
    for head in ("main", "abc"):
        by_hand = (logits[0][head] + logits[1][head]).argmax(axis=1)
        assert found[f"test/acc/{head}"] == pytest.approx(100 * np.mean(by_hand == labels))
    if how in ("main", "abc"):
        assert found["test/acc"] == found[f"test/acc/{how}"]


@pytest.mark.parametrize("how", ENSEMBLES)
def test_each_of_two_networks_is_reported_by_itself_and_their_mean(how):
    logits, labels = random_logits(samples=200), np.random.default_rng(1).integers(0, 10, 200)
    found = metrics.test_metrics(logits, labels, how, SHOTS)
    for k, net in enumerate(logits, start=1):
        z, v = net["main"].astype(float), net["abc"].astype(float)
        scores = {"logit_sum": z + v, "prob_mean": softmax(z) + softmax(v), "main": z, "abc": v}[how]
        assert found[f"test/acc/network_{k}"] == pytest.approx(100 * np.mean(scores.argmax(axis=1) == labels))
    each = found["test/acc/network_1"], found["test/acc/network_2"]
    assert found["test/acc/network_mean"] == pytest.approx(sum(each) / 2)
    alone = metrics.test_metrics(logits[:1], labels, how, SHOTS)
    assert not any("network" in key for key in alone)


def test_nearest_class_means_are_reported_and_never_vote():
    logits, labels = random_logits(samples=200), np.random.default_rng(1).integers(0, 10, 200)
    plain = metrics.test_metrics(logits, labels, "logit_sum", SHOTS)
    assert "test/acc/ncm" not in plain
    added = random_logits(samples=200, seed=7, heads=("ncm",))
    found = metrics.test_metrics([a | b for a, b in zip(logits, added, strict=True)], labels, "logit_sum", SHOTS)
    by_hand = (added[0]["ncm"] + added[1]["ncm"]).argmax(axis=1)
    assert found.pop("test/acc/ncm") == pytest.approx(100 * np.mean(by_hand == labels))
    assert found == plain


def test_without_the_balanced_head_its_accuracy_is_missing():
    logits = random_logits(heads=("main",))
    found = metrics.test_metrics(logits, np.arange(40) % 10, "logit_sum", SHOTS)
    assert found["test/acc/abc"] is None
    assert found["test/acc/main"] == found["test/acc"]


@pytest.mark.parametrize("classes", [11, 50])
def test_top5_and_macro_f1_are_scikit_learns(classes):
    logits = random_logits(samples=400, classes=classes)
    labels = np.random.default_rng(2).integers(0, classes, 400)
    found = metrics.test_metrics(logits, labels, "logit_sum", SHOTS)
    total = sum(net[head].astype(float) for net in logits for head in net)
    top5 = top_k_accuracy_score(labels, total, k=5, labels=np.arange(classes))
    assert found["test/top5"] == pytest.approx(100 * top5)
    per_class = []
    for c in range(classes):
        tp = np.sum((labels == c) & (total.argmax(1) == c))
        per_class.append(2 * tp / (np.sum(labels == c) + np.sum(total.argmax(1) == c)))
    assert found["test/macro_f1"] == pytest.approx(100 * np.mean(per_class))


@settings(max_examples=100, deadline=None)
@given(data=st.data(), classes=st.integers(11, 14), samples=st.integers(1, 20), how=st.sampled_from(ENSEMBLES))
def test_of_equal_sums_the_lower_class_is_first(data, classes, samples, how):
    """Against a sort of every row; the logits are whole and few, so that most are equal."""
    few = hnp.arrays(np.float32, (samples, classes), elements=st.sampled_from([-1.0, 0.0, 2.0]))
    logits = [{head: data.draw(few) for head in ("main", "abc")} for _ in range(2)]
    labels = data.draw(hnp.arrays(np.int64, samples, elements=st.integers(0, classes - 1)))
    vectors = [net[head].astype(float) for net in logits for head in net if how not in ("main", "abc") or head == how]
    summed = sum(softmax(v) for v in vectors) if how == "prob_mean" else sum(vectors)
    order = [sorted(range(classes), key=lambda c, row=row: (-row[c], c)) for row in summed]
    found = metrics.test_metrics(logits, labels, how, groups_of(classes))
    # Sums of softmaxes are rounded in another order here; where that parts a tie, nothing is said.
    if how != "prob_mean" or all(len(set(np.round(row, 12))) == len(set(row)) for row in summed):
        assert found["test/acc"] == pytest.approx(
            100 * np.mean([o[0] == y for o, y in zip(order, labels, strict=True)])
        )
        assert found["test/top5"] == pytest.approx(
            100 * np.mean([y in o[:5] for o, y in zip(order, labels, strict=True)])
        )


def test_a_constant_network_has_chance_and_no_more():
    labels = np.arange(400) % 20
    for value in (0.0, 3.0):
        flat = [{"main": np.full((400, 20), value, dtype=np.float32)}]
        found = metrics.test_metrics(flat, labels, "logit_sum", SHOTS)
        assert (found["test/acc"], found["test/top5"]) == (5, 25)
        assert 100 * top_k_accuracy_score(labels, flat[0]["main"], k=5, labels=np.arange(20)) == 25


def test_rounding_to_half_as_many_digits_does_not_raise_top5():
    """Nearly flat logits of 100 classes: in bfloat16 they are equal in groups, and hits are chance as before."""
    logits = 1 + 0.02 * torch.randn(4000, 100, generator=torch.Generator().manual_seed(0))
    labels = np.arange(4000) % 100
    rounded = logits.bfloat16().float().numpy()
    hits = [metrics.test_metrics([{"main": z}], labels, "main", SHOTS)["test/top5"] for z in (logits.numpy(), rounded)]
    assert hits == pytest.approx([5, 5], abs=4 * 100 * (0.05 * 0.95 / 4000) ** 0.5)
    ahead = (rounded > rounded[np.arange(4000), labels][:, None]).sum(axis=1)
    assert 100 * np.mean(ahead < 5) > 7  # what counting every tie as a hit would give


def test_logits_that_differ_by_less_than_a_logarithm_shows_are_no_tie():
    logits = np.zeros((2, 12), dtype=np.float32)
    logits[:, 11] = [1e-17, -1e-17]
    found = metrics.test_metrics([{"main": logits}], np.array([11, 0]), "logit_sum", NO_GROUPS)
    assert found["test/acc"] == 100
    assert np.ptp(metrics.ensemble([{"main": logits}], "main")) == 0


def test_top5_is_reported_only_above_ten_classes():
    found = metrics.test_metrics(random_logits(classes=10), np.arange(40) % 10, "logit_sum", SHOTS)
    assert "test/top5" not in found


def test_calibration_error_is_the_fifteen_bin_sum():
    generator = np.random.default_rng(3)
    logits = [{"main": 2 * generator.normal(size=(500, 4))}]
    probability = softmax(logits[0]["main"])
    # Right in seven of ten cases whatever the confidence: low bins are too modest and high ones too sure.
    labels = np.where(generator.random(500) < 0.7, probability.argmax(1), generator.integers(0, 4, 500))
    confidence, correct = probability.max(1), probability.argmax(1) == labels
    expected = 0.0
    for b in range(15):
        inside = (confidence > b / 15) & (confidence <= (b + 1) / 15)
        if inside.any():
            expected += inside.mean() * abs(correct[inside].mean() - confidence[inside].mean())
    found = metrics.test_metrics(logits, labels, "logit_sum", NO_GROUPS)
    assert found["test/ece"] == pytest.approx(100 * expected)


def test_calibration_error_of_two_predictions_by_hand():
    # Confidences 0.9 (right) and 0.6 (wrong) lie in different bins: (0.1 + 0.6) / 2.
    logits = [{"main": np.log([[0.9, 0.1], [0.6, 0.4]])}]
    found = metrics.test_metrics(logits, np.array([0, 1]), "logit_sum", NO_GROUPS)
    assert found["test/ece"] == pytest.approx(35)


@settings(max_examples=50, deadline=None)
@given(data=st.data(), classes=st.integers(2, 14), samples=st.integers(1, 30), how=st.sampled_from(ENSEMBLES))
def test_figures_are_percentages_or_missing_for_any_logits(data, classes, samples, how):
    finite = st.floats(-(2.0**100), 2.0**100, width=32)
    logits = [
        {head: data.draw(hnp.arrays(np.float32, (samples, classes), elements=finite)) for head in ("main", "abc")}
    ]
    labels = data.draw(hnp.arrays(np.int64, samples, elements=st.integers(0, classes - 1)))
    found = metrics.test_metrics(logits, labels, how, groups_of(classes))
    json.dumps(found, allow_nan=False)
    values = [value for key, value in found.items() if key != "test/per_class"] + found["test/per_class"]
    assert all(value is None or -1e-9 <= value <= 100 + 1e-9 for value in values)
    present = [value for value in found["test/per_class"] if value is not None]
    assert found["test/acc/worst"] == min(present)
    assert min(present) - 1e-6 <= found["test/acc/gmean"] <= np.mean(present) + 1e-6
    sizes = np.bincount(labels, minlength=classes)
    weighted = sum(n * value for n, value in zip(sizes, found["test/per_class"], strict=True) if n)
    assert found["test/acc"] == pytest.approx(weighted / samples)


# ---- the run's summary


def rows(accuracies, **more):
    return [
        {"epoch": e, "test/acc": acc, **{key: values[e - 1] for key, values in more.items()}}
        for e, acc in enumerate(accuracies, start=1)
    ]


@pytest.mark.parametrize(("epochs", "window"), [(1, 1), (19, 1), (20, 1), (39, 1), (40, 2), (60, 3), (200, 10)])
def test_final_is_the_mean_of_the_last_twentieth_of_the_epochs(epochs, window):
    accuracies = np.random.default_rng(epochs).uniform(20, 90, epochs).tolist()
    found = metrics.summarise(rows(accuracies), epochs)
    assert found["test/acc/final"] == pytest.approx(np.mean(accuracies[-window:]))
    assert found["test/acc/last"] == accuracies[-1]
    assert found["test/acc/last10"] == pytest.approx(np.mean(accuracies[-10:]))
    assert found["test/acc/best"] == max(accuracies)
    assert found["test/acc/at_best_val"] is None
    assert "test/acc" not in found


def test_val_is_the_test_accuracy_of_the_first_epoch_that_is_best_on_validation():
    history = [{"epoch": 1, "test/acc": 10.0, "val/acc": 50.0}, {"epoch": 2, "test/acc": 20.0, "val/acc": 70.0}]
    history += [{"epoch": 3, "test/acc": 30.0, "val/acc": 70.0}, {"epoch": 4, "test/acc": 90.0, "val/acc": 60.0}]
    found = metrics.summarise(history, 4)
    assert found["test/acc/at_best_val"] == 20
    assert (found["val/acc/best"], found["val/epoch"], found["val/acc/last"], found["val/acc"]) == (70.0, 2, 60.0, 60.0)
    assert "test/acc/val" not in found


def test_validation_accuracy_is_the_mean_over_the_same_last_epochs_as_the_test_accuracy():
    history = [{"epoch": e, "test/acc": 1.0, "test_imagenet/acc": 2.0 * e, "val/acc": 90.0 - e} for e in range(1, 41)]
    found = metrics.summarise(history, 40)
    assert found["val/acc"] == pytest.approx(90 - 39.5)  # epochs 39 and 40
    assert (found["val/acc/best"], found["val/epoch"]) == (89.0, 1)
    assert found["test_imagenet/acc/at_best_val"] == 2.0
    assert "val/acc" not in metrics.summarise([{"epoch": 1, "test/acc": 1.0}], 1)


def test_validation_figures_are_by_group_and_macro_averaged_as_those_of_a_test_set():
    labels, logits = np.array([0, 0, 0, 1, 1, 3]), np.eye(4)[[0, 0, 2, 1, 0, 3]]  # class 2 has no sample
    groups = {"many": [0], "medium": [1, 2], "few": [2], "head": [0, 1], "mid": [2, 3], "tail": [3]}
    found = metrics.validation_metrics([{"main": logits}], labels, "logit_sum", groups)
    assert found["val/acc"] == pytest.approx(400 / 6)
    assert found["val/per_class"] == [pytest.approx(200 / 3), 50.0, None, 100.0]
    by_group = {name: found[f"val/acc/{name}"] for name in groups}
    expected = {"many": 200 / 3, "medium": 50, "few": None, "head": (200 / 3 + 50) / 2, "mid": 100, "tail": 100}
    assert by_group == {name: value and pytest.approx(value) for name, value in expected.items()}
    assert (found["val/acc/worst"], found["val/acc/gmean"]) == (50, pytest.approx((2 / 3 * 0.5) ** (1 / 3) * 100))
    assert found["val/macro_f1"] == pytest.approx(100 * f1_score(labels, [0, 0, 2, 1, 0, 3], average="macro"))


def test_validation_figures_of_a_run_are_means_over_the_same_epochs():
    history = [
        {"epoch": e, "test/acc": 1.0, "val/acc": 1.0, "val/acc/few": 2.0 * e, "val/per_class": [1.0 * e, None]}
        for e in range(1, 41)
    ]
    found = metrics.summarise(history, 40)
    assert (found["val/acc/few"], found["val/per_class"]) == (79.0, [39.5, None])


def test_other_figures_are_averaged_over_the_final_window_and_missing_ones_left_out():
    history = rows(
        [1.0] * 38 + [40.0, 60.0],
        **{
            "test/acc/few": [7.0] * 38 + [10.0, None],
            "test/acc/abc": [None] * 40,
            "test/per_class": [[0.0, 0.0]] * 38 + [[10.0, None], [30.0, None]],
            "loss": [5.0] * 40,
        },
    )
    found = metrics.summarise(history, 40)
    assert found["test/acc/final"] == 50
    assert found["test/acc/few"] == 10
    assert found["test/acc/abc"] is None
    assert found["test/per_class"] == [20, None]
    assert "loss" not in found


def test_with_sparse_evaluation_only_the_evaluated_epochs_of_the_window_count():
    history = [{"epoch": e, **({"test/acc": float(e)} if e % 8 == 0 or e == 60 else {})} for e in range(1, 61)]
    found = metrics.summarise(history, 60)
    assert found["test/acc/final"] == 60
    assert found["test/acc/last10"] == pytest.approx((56 + 60) / 2)
    assert metrics.summarise(history[:57], 60)["test/acc/final"] == 56, "none in the window: the last one there is"


def test_a_run_without_an_evaluation_has_no_figures():
    found = metrics.summarise([{"epoch": 1, "loss": 1.0}], 1)
    assert set(found.values()) == {None}
