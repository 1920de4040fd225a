"""How good a selection was: against scikit-learn, brute force and a table worked by hand."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.metrics import average_precision_score, f1_score, precision_score, recall_score, roc_auc_score

from sfa_bench.engine import metrics

SHOTS = {"many": [0, 1], "medium": [2, 3, 4, 5, 6], "few": [7, 8, 9], "head": [0, 1, 2], "mid": [3, 4, 5, 6]}
SHOTS["tail"] = [7, 8, 9]


def groups_of(num_classes):
    """Every group non-empty where there are classes enough; for K = 2 the middle ones are empty."""
    classes = list(range(num_classes))
    return dict.fromkeys(("many", "head"), classes[:1]) | {
        **dict.fromkeys(("medium", "mid"), classes[1:-1]),
        **dict.fromkeys(("few", "tail"), classes[-1:]),
    }


def selection(seed=0, samples=400, classes=10, **changes):
    generator = np.random.default_rng(seed)
    observed = generator.integers(0, classes, samples)
    clean = np.where(generator.random(samples) < 0.4, generator.integers(0, classes, samples), observed)
    right = observed == clean
    # Rounded, so that ties are part of every comparison.
    probability = np.round(np.clip(generator.normal(0.4 + 0.3 * right, 0.25), 0, 1), 2)
    values = {
        "selected": probability > 0.5,
        "clean_probability": probability,
        "score": np.round(generator.normal(right + observed), 1),
        "observed": observed,
        "clean": clean,
        "groups": SHOTS if classes == 10 else groups_of(classes),
        "num_classes": classes,
        "clean_prior": np.bincount(clean, minlength=classes) / samples,
        "pseudo_labels": generator.integers(0, classes, samples),
        "predictions": generator.integers(0, classes, samples),
    }
    return values | changes


@pytest.mark.parametrize("seed", range(3))
def test_detection_figures_are_scikit_learns_overall_and_per_group_of_observed_labels(seed):
    case = selection(seed)
    found = metrics.selection_metrics(**case)
    right = case["observed"] == case["clean"]
    for suffix, classes in {"": range(10), **{f"/{name}": ids for name, ids in SHOTS.items()}}.items():
        rows = np.array([label in classes for label in case["observed"]])
        g, s, w = right[rows], case["selected"][rows], case["clean_probability"][rows]
        assert found["precision" + suffix] == pytest.approx(precision_score(g, s))
        assert found["recall" + suffix] == pytest.approx(recall_score(g, s))
        assert found["f1" + suffix] == pytest.approx(f1_score(g, s))
        assert found["auc" + suffix] == pytest.approx(roc_auc_score(g, w))
        assert found["ap" + suffix] == pytest.approx(average_precision_score(g, w))


@pytest.mark.parametrize("kind", [np.float64, np.float32])
def test_average_precision_has_scikit_learns_bits_also_with_ties(kind):
    draw = np.random.default_rng(5)
    for n in (1, 2, 3, 10, 57, 400):
        for digits in (0, 1, 2, 15):
            values, right = np.round(draw.random(n) ** 2, digits).astype(kind), draw.random(n) < 0.6
            right[draw.integers(n)] = True
            found = metrics._detection(right, right, values)["ap"]
            assert found == average_precision_score(np.append(right, True)[:n], values)


def test_auc_score_is_the_mean_of_the_aucs_within_each_observed_class():
    case = selection(1)
    # Class 3 has no wrong label and class 4 no right one: neither has an AUC.
    case["clean"] = np.where(case["observed"] == 3, 3, np.where(case["observed"] == 4, 5, case["clean"]))
    right = case["observed"] == case["clean"]
    per_class = []
    for c in set(range(10)) - {3, 4}:
        members = case["observed"] == c
        pairs = [
            (a > b) + (a == b) / 2 for a in case["score"][members & right] for b in case["score"][members & ~right]
        ]
        per_class.append(np.mean(pairs))
    assert metrics.selection_metrics(**case)["auc_score"] == pytest.approx(np.mean(per_class))


def test_auc_score_does_not_change_when_a_class_is_shifted_as_a_whole():
    case = selection(2)
    before = metrics.selection_metrics(**case)["auc_score"]
    case["score"] = 3 * case["score"] + 100.0 * (case["observed"] == 2)
    assert metrics.selection_metrics(**case)["auc_score"] == pytest.approx(before)


def test_a_selection_worked_by_hand():
    found = metrics.selection_metrics(
        selected=np.array([True, True, False, True, False, False]),
        clean_probability=np.array([0.9, 0.8, 0.3, 0.7, 0.2, 0.4]),
        score=np.array([3.0, 1.0, 2.0, 1.0, 0.0, 2.0]),
        observed=np.array([0, 0, 0, 1, 1, 1]),
        clean=np.array([0, 1, 0, 1, 0, 2]),
        groups={"many": [0], "medium": [1], "few": [2], "head": [0], "mid": [1], "tail": [2]},
        num_classes=3,
        clean_prior=np.array([3, 2, 1]) / 6,
        pseudo_labels=np.array([1, 1, 0, 0, 1, 2]),
        predictions=np.array([2, 0, 1, 0, 1, 0]),
    )
    assert found["precision"] == pytest.approx(2 / 3)
    assert found["recall"] == pytest.approx(2 / 3)
    assert found["f1"] == pytest.approx(2 / 3)
    assert found["auc"] == pytest.approx(6 / 9)  # right .9 .3 .7 against wrong .8 .2 .4
    assert found["auc_score"] == pytest.approx((1 + 1 / 2) / 2)
    assert (found["precision/many"], found["recall/many"]) == (0.5, 0.5)
    assert (found["precision/medium"], found["recall/medium"]) == (1, 1)
    assert (found["precision/few"], found["recall/few"], found["auc/few"]) == (None, None, None)
    assert found["counts"] == [2, 1, 0]
    assert found["imbalance_ratio"] is None
    assert found["tv_to_clean_prior"] == pytest.approx((1 / 6 + 0 + 1 / 6) / 2)
    assert found["pseudo_label_acc"] == pytest.approx(2 / 3)  # rejected rows 2, 4, 5: right, wrong, right
    assert found["memorised"] == pytest.approx(2 / 3)  # wrong rows 1, 4, 5 predicted 0, 1, 0


def test_imbalance_ratio_is_largest_over_smallest_selected_class():
    observed = np.array([0] * 6 + [1] * 3)
    case = selection(samples=9, classes=2, observed=observed, clean=observed, selected=np.arange(9) != 8)
    assert metrics.selection_metrics(**case)["imbalance_ratio"] == 3


def test_the_oracles_selection_is_perfect_and_its_reverse_is_the_opposite():
    case = selection()
    right = case["observed"] == case["clean"]
    oracle = case | {"selected": right, "clean_probability": right * 1.0, "score": right * 1.0}
    found = metrics.selection_metrics(**oracle)
    assert {found[key] for key in ("precision", "recall", "f1", "auc", "ap", "auc_score")} == {1.0}
    reverse = case | {"selected": ~right, "clean_probability": ~right * 1.0, "score": ~right * 1.0}
    found = metrics.selection_metrics(**reverse)
    assert {found[key] for key in ("precision", "recall", "f1", "auc", "auc_score")} == {0.0}


def test_unknown_clean_labels_leave_only_what_needs_none():
    case = selection(clean=np.full(400, -1), clean_prior=None)
    found = metrics.selection_metrics(**case)
    kept = {key for key, value in found.items() if value is not None}
    assert kept == {"counts", "imbalance_ratio"}
    assert found["counts"] == np.bincount(case["observed"][case["selected"]], minlength=10).tolist()


def test_an_empty_selection_has_no_precision_and_finds_nothing():
    found = metrics.selection_metrics(**selection(selected=np.zeros(400, bool)))
    assert found["precision"] is None
    assert found["recall"] == found["f1"] == 0
    assert found["counts"] == [0] * 10
    assert found["imbalance_ratio"] is None
    assert found["tv_to_clean_prior"] is None


def test_a_training_set_without_wrong_labels_has_no_auc_and_nothing_to_memorise():
    case = selection()
    found = metrics.selection_metrics(**case | {"clean": case["observed"]})
    assert (found["auc"], found["auc_score"], found["memorised"]) == (None, None, None)
    assert found["precision"] == 1


def test_without_guesses_and_predictions_their_figures_are_missing():
    found = metrics.selection_metrics(**selection(pseudo_labels=None, predictions=None))
    assert (found["pseudo_label_acc"], found["memorised"]) == (None, None)


@settings(max_examples=60, deadline=None)
@given(data=st.data(), classes=st.integers(2, 6), samples=st.integers(1, 25))
def test_selection_figures_are_fractions_or_missing_for_any_selection(data, classes, samples):
    def draw(dtype, elements):
        return data.draw(hnp.arrays(dtype, samples, elements=elements))

    labels = st.integers(0, classes - 1)
    case = {
        "selected": draw(bool, st.booleans()),
        "clean_probability": draw(np.float64, st.floats(0, 1)),
        "score": draw(np.float64, st.floats(-1e6, 1e6)),
        "observed": draw(np.int64, labels),
        "clean": draw(np.int64, st.integers(-1, classes - 1)),
        "groups": groups_of(classes),
        "num_classes": classes,
        "clean_prior": np.full(classes, 1 / classes),
        "pseudo_labels": draw(np.int64, labels),
        "predictions": draw(np.int64, labels),
    }
    found = metrics.selection_metrics(**case)
    json.dumps(found, allow_nan=False)
    assert sum(found["counts"]) == case["selected"].sum()
    fractions = {key: value for key, value in found.items() if key not in ("counts", "imbalance_ratio")}
    assert all(value is None or -1e-12 <= value <= 1 + 1e-12 for value in fractions.values())
    assert found["imbalance_ratio"] is None or found["imbalance_ratio"] >= 1


def test_samples_of_unknown_clean_label_are_left_out_of_what_needs_it():
    case = selection()
    case["clean"] = np.where(np.arange(400) % 3 == 0, -1, case["clean"])
    per_sample = ("selected", "clean_probability", "score", "observed", "clean", "pseudo_labels", "predictions")
    known = case["clean"] >= 0
    found = metrics.selection_metrics(**case)
    among_known = metrics.selection_metrics(**case | {name: case[name][known] for name in per_sample})
    of_all = ("counts", "imbalance_ratio", "tv_to_clean_prior")
    assert found["counts"] != among_known["counts"]
    assert {k: v for k, v in found.items() if k not in of_all} == {
        k: v for k, v in among_known.items() if k not in of_all
    }
