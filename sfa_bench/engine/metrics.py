"""What a run reports: accuracies of the ensemble and how good a selection was (protocol.md §4, algorithms/data.md
§7-8).

Arrays in, plain floats and lists out. Undefined values are None, never NaN or zero.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sfa_bench.choices.heads import ALL
from sfa_bench.parts.prototypes import members_of_classes
from sfa_bench.parts.ranking import auc
from sfa_bench.parts.softmax import log_softmax, softmax

GROUPS = ("many", "medium", "few", "head", "mid", "tail")
# What is reported of a validation set, of the metrics of a test set.
VALIDATION = ("acc", *(f"acc/{name}" for name in (*GROUPS, "worst", "gmean")), "macro_f1", "per_class")
ECE_BINS = 15

Logits = Sequence[Mapping[str, NDArray]]
"""One mapping a network: head ("main", and of `choices.heads` those that it has) to logits [M, K]."""


def ensemble(logits: Logits, how: str) -> NDArray[np.float64]:
    """Log-probabilities [M, K] of all networks and heads together (algorithms/sfa.md §9).

    `logit_sum` is the softmax of the mean logit vector (same argmax as the sum), `prob_mean` the mean of the softmaxes;
    `main` and `abc` are `logit_sum` over that head alone.
    """
    vectors = _vectors(logits, how)
    if how == "prob_mean":
        from scipy.special import logsumexp

        return logsumexp(log_softmax(vectors, axis=2), axis=0) - np.log(len(vectors))
    return log_softmax(vectors.mean(axis=0), axis=1)


def scores(logits: Logits, how: str) -> NDArray[np.float64]:
    """Scores that rank the classes [M, K]: the sum of what `ensemble` averages, logits or softmaxes. A logarithm would
    merge logits that are nearly equal; here only equal values are ties, which go to the lower class (argmax, `top_k`).
    """
    vectors = _vectors(logits, how)
    return (softmax(vectors, axis=2) if how == "prob_mean" else vectors).sum(axis=0)


def _vectors(logits: Logits, how: str) -> NDArray[np.float64]:
    """The logits of the heads that predict together [V, M, K]."""
    heads = ALL if how in ("logit_sum", "prob_mean") else (how,)
    return np.stack([net[head] for net in logits for head in heads if head in net]).astype(np.float64)


def top_k(scores: NDArray, labels: NDArray[np.int64], k: int) -> NDArray[np.bool_]:
    """Whether each label [M] is among the k first classes by `scores` [M, K]; of equal scores the lower class is first,
    as for argmax, which is k = 1. A constant network hits the labels below k: as often as chance on balanced classes.
    """
    of_label = np.take_along_axis(scores, labels[:, None], axis=1)
    lower = np.arange(scores.shape[1]) < labels[:, None]
    return ((scores > of_label) | ((scores == of_label) & lower)).sum(axis=1) < k


def test_metrics(
    logits: Logits, labels: ArrayLike, how: str, groups: Mapping[str, Sequence[int]]
) -> dict[str, float | list[float | None] | None]:
    """Test figures in percent, under the keys of `metrics.jsonl`.

    Args: labels [M]; how, see `ensemble`; groups, class ids of many, medium, few, head, mid, tail. A group's accuracy
        is the unweighted mean of its classes' accuracies; a class without test sample counts nowhere.
    """
    labels = np.asarray(labels)
    ranking = scores(logits, how)
    predictions = ranking.argmax(axis=1)
    num_classes = ranking.shape[1]
    correct = predictions == labels
    per_class = _by_class(correct, labels, num_classes)
    present = np.array([value for value in per_class if value is not None])
    metrics: dict[str, Any] = {"test/acc": _percent(correct)}
    for name in GROUPS:
        metrics[f"test/acc/{name}"] = _mean([per_class[c] for c in groups[name]])
    metrics["test/acc/worst"] = float(present.min())
    # Not exp of the mean logarithm, which warns for a class with accuracy 0.
    metrics["test/acc/gmean"] = float(np.prod(present / 100) ** (1 / len(present)) * 100)
    for head in (*ALL, "ncm"):  # nearest class mean: reported, never part of the ensemble
        has = all(head in net for net in logits)
        if has or head in ("main", "abc"):  # these two are in every record
            metrics[f"test/acc/{head}"] = _percent(scores(logits, head).argmax(axis=1) == labels) if has else None
    if len(logits) > 1:
        each = [_percent(scores([net], how).argmax(axis=1) == labels) for net in logits]
        metrics |= {f"test/acc/network_{k}": value for k, value in enumerate(each, start=1)}
        metrics["test/acc/network_mean"] = _mean(each)
    metrics["test/macro_f1"] = 100 * macro_f1(labels, predictions, num_classes)
    metrics["test/per_class"] = per_class
    if num_classes > 10:
        metrics["test/top5"] = _percent(top_k(ranking, labels, 5))
    metrics["test/ece"] = _expected_calibration_error(np.exp(ensemble(logits, how).max(axis=1)), correct)
    return metrics


def validation_metrics(
    logits: Logits, labels: ArrayLike, how: str, groups: Mapping[str, Sequence[int]]
) -> dict[str, float | list[float | None] | None]:
    """Accuracy on the validation set under `val/`, overall, by group and by class, and macro-averaged F1; arguments and
    definitions as of `test_metrics`.
    """
    found = test_metrics(logits, labels, how, groups)
    return {f"val/{name}": found[f"test/{name}"] for name in VALIDATION}


def macro_f1(labels: NDArray[np.int64], predictions: NDArray[np.int64], num_classes: int) -> float:
    """Mean of F1 = 2·TP / (labels + predictions) over the classes that occur in either; scikit-learn's `f1_score`."""
    right = np.bincount(labels[labels == predictions], minlength=num_classes)
    total = np.bincount(labels, minlength=num_classes) + np.bincount(predictions, minlength=num_classes)
    return float((2 * right[total > 0] / total[total > 0]).mean())


def accuracy(logits: Logits, labels: ArrayLike, how: str) -> float:
    """Accuracy of the ensemble in percent."""
    return 100 * float((scores(logits, how).argmax(axis=1) == np.asarray(labels)).mean())


def _by_class(correct: NDArray[np.bool_], labels: NDArray[np.int64], num_classes: int) -> list[float | None]:
    return [_percent(correct[members]) for members in members_of_classes(labels, num_classes)]


def _expected_calibration_error(confidence: NDArray, correct: NDArray) -> float:
    """Σ over 15 equal bins (lower, upper] of share · |accuracy − mean confidence|, in percent (Guo et al. 2017)."""
    bins = np.clip(np.ceil(confidence * ECE_BINS) - 1, 0, ECE_BINS - 1).astype(int)
    gap = np.bincount(bins, weights=correct - confidence, minlength=ECE_BINS)
    return 100 * float(np.abs(gap).sum()) / len(confidence)


def summarise(epoch_rows: Sequence[Mapping[str, Any]], epochs: int) -> dict[str, Any]:
    """A run's `metrics` from its epochs' rows: `epoch` (1-based), the keys of `test_metrics`, those of
    `validation_metrics` where known, and the test set's of a second one (`test_imagenet/…`).

    `test/acc/final`, `val/acc` and every key without a suffix of its own are means over the evaluated ones of the last
    max(1, int(0.05·epochs)) epochs; the last evaluated epoch where none of those was. `val/acc/best` is the accuracy
    that chose the epoch `val/epoch`, the first of equals, and `test/acc/at_best_val` the test accuracy there.
    """
    rows = [row for row in epoch_rows if row.get("test/acc", row.get("val/acc")) is not None]
    window = _last(rows, epochs, max(1, epochs // 20))
    validated = [row for row in rows if row.get("val/acc") is not None]
    chosen = max(validated, key=lambda row: row["val/acc"], default=None)
    keys = list(dict.fromkeys(key for row in window for key in row if key.startswith(("test/", "test_", "val/"))))
    metrics: dict[str, Any] = {}
    tests = (key for key in keys if key.startswith("test") and key.count("/") == 1 and key.endswith("/acc"))
    for name in dict.fromkeys(["test/acc", *tests]):
        accuracies = [row.get(name) for row in rows]
        metrics |= {
            f"{name}/final": _mean([row.get(name) for row in window]),
            f"{name}/last": accuracies[-1] if rows else None,
            f"{name}/last10": _mean([row.get(name) for row in _last(rows, epochs, 10)]),
            f"{name}/best": max((a for a in accuracies if a is not None), default=None),
            f"{name}/at_best_val": chosen.get(name) if chosen else None,
        }
        keys = [key for key in keys if key != name]
    for key in keys:
        values = [row.get(key) for row in window]
        lists = [value for value in values if isinstance(value, list)]
        metrics[key] = [_mean(column) for column in zip(*lists, strict=True)] if lists else _mean(values)
    if chosen is not None:
        metrics |= {
            "val/acc/last": validated[-1]["val/acc"],
            "val/acc/best": chosen["val/acc"],
            "val/epoch": chosen["epoch"],
        }
    return metrics


def _last(rows: list[Mapping[str, Any]], epochs: int, count: int) -> list[Mapping[str, Any]]:
    return [row for row in rows if row["epoch"] > epochs - count] or rows[-1:]


def selection_metrics(
    *,
    selected: NDArray[np.bool_],
    clean_probability: NDArray,
    score: NDArray,
    observed: NDArray[np.int64],
    clean: NDArray[np.int64],
    groups: Mapping[str, Sequence[int]],
    num_classes: int,
    clean_prior: NDArray | None = None,
    pseudo_labels: NDArray[np.int64] | None = None,
    predictions: NDArray[np.int64] | None = None,
) -> dict[str, Any]:
    """How well one network's selection found the correctly labelled samples; fractions in [0, 1].

    Args (all [N] unless said): selected, the mask; clean_probability; score, the larger the cleaner within an observed
        class; observed and clean labels, clean = -1 where unknown; clean_prior [K], shares of the clean labels;
        pseudo_labels, the guessed classes, judged on rejected samples; predictions, of the network, to see which noisy
        labels it has memorised.
    Returns: precision, recall, f1, auc, ap, and each `/group` by observed label; auc_score; counts [K], selected by
        observed label; imbalance_ratio; tv_to_clean_prior; pseudo_label_acc; memorised.
    """
    known = clean >= 0
    right = known & (observed == clean)
    wrong = known & (observed != clean)
    metrics: dict[str, Any] = {}
    members = {"": known} | {f"/{name}": known & np.isin(observed, list(groups[name])) for name in GROUPS}
    for suffix, rows in members.items():
        for name, value in _detection(right[rows], selected[rows], clean_probability[rows]).items():
            metrics[name + suffix] = value

    judged = np.flatnonzero(known)
    by_class = (judged[rows] for rows in members_of_classes(observed[judged], num_classes))
    metrics["auc_score"] = _mean([auc(right[rows], score[rows]) for rows in by_class])
    counts = np.bincount(observed[selected], minlength=num_classes)
    metrics["counts"] = counts.tolist()
    metrics["imbalance_ratio"] = float(counts.max() / counts.min()) if counts.min() > 0 else None
    metrics["tv_to_clean_prior"] = None
    if clean_prior is not None and counts.any():
        metrics["tv_to_clean_prior"] = float(np.abs(counts / counts.sum() - clean_prior).sum() / 2)
    rejected = known & ~selected
    metrics["pseudo_label_acc"] = None if pseudo_labels is None else _share((pseudo_labels == clean)[rejected])
    metrics["memorised"] = None if predictions is None else _share((predictions == observed)[wrong])
    return metrics


def _detection(right: NDArray[np.bool_], selected: NDArray[np.bool_], probability: NDArray) -> dict[str, float | None]:
    """Clean labels are the positives; F1 = 2·TP / (selected + clean), 0 where nothing is selected."""
    true_positives, total = int((right & selected).sum()), int(right.sum() + selected.sum())
    return {
        "precision": _share(right[selected]),
        "recall": _share(selected[right]),
        "f1": 2 * true_positives / total if total else None,
        "auc": auc(right, probability),
        "ap": _average_precision(right, probability) if right.any() else None,
    }


def _average_precision(right: NDArray[np.bool_], values: NDArray) -> float:
    """Σ precision · rise in recall over the falling thresholds, by the steps of scikit-learn's
    `average_precision_score` and to the same bits; that takes ten times as long on a small class.
    """
    order = np.argsort(values)[::-1]
    last = np.append(np.flatnonzero(np.diff(values[order])), len(values) - 1)  # of the samples with equal values
    found = right[order].cumsum()[last]
    precision, recall = found / (last + 1), found / found[-1]
    return max(0.0, float(-(np.diff(recall[::-1], append=0.0) * precision[::-1]).sum()))


def _share(flags: NDArray[np.bool_]) -> float | None:
    return float(flags.mean()) if len(flags) else None


def _percent(flags: NDArray[np.bool_]) -> float | None:
    share = _share(flags)
    return None if share is None else 100 * share


def _mean(values: Sequence[float | None]) -> float | None:
    defined = [value for value in values if value is not None]
    return float(np.mean(defined)) if defined else None
