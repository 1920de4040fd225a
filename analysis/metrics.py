"""Metrics by name: the list of them, names in old records, units, and suggestions for unknown names."""

from __future__ import annotations

import difflib
import re
import textwrap
from collections.abc import Iterable

from sfa_bench.doors import Door

GROUPS = ("many", "medium", "few", "head", "mid", "tail")
_ACC = ("final", "last", "last10", "best", "at_best_val", *GROUPS, "worst", "gmean")
_HEADS = ("main", "abc", "medium_head", "ncm", "joint", "network_1", "network_2", "network_mean", "bayes")
_SELECTION = ("precision", "recall", "f1", "auc", "ap")
# Every metric of a record that is one number, by what reports it; `analysis.table --help` prints this.
KNOWN = {
    "test": (*(f"test/acc/{name}" for name in (*_ACC, *_HEADS)), "test/macro_f1", "test/top5", "test/ece"),
    "val": (
        *("val/acc", "val/acc/last", "val/acc/best", "val/epoch"),
        *(f"val/acc/{name}" for name in (*GROUPS, "worst", "gmean")),
        "val/macro_f1",
    ),
    "selection": (
        *(f"selection/{name}" for name in _SELECTION),
        *(f"selection/{name}/{group}" for name in _SELECTION for group in GROUPS),
        *("selection/auc_score", "selection/auc_bayes", "selection/pseudo_label_acc", "selection/memorised"),
        *("selection/imbalance_ratio", "selection/tv_to_clean_prior", "selection/agreement"),
        *("selection/relabelled", "selection/relabelled_acc"),
        *("selection/classes_drawn", "selection/inverted", "selection/fallbacks/class_without_mixture"),
        *("selection/fallbacks/class_without_clean_sample", "selection/fallbacks/class_without_gated_sample"),
        *("selection/fallbacks/class_without_confident_sample", "selection/fallbacks/class_with_one_component"),
        "selection/fallbacks/class_within_quota",
    ),
    "cost": (
        *("cost/total_seconds", "cost/flops", "cost/flops_per_forward", "cost/parameters", "cost/steps"),
        *("cost/images_per_second", "cost/classifier_seconds", "cost/peak_memory/host", "cost/peak_memory/device"),
        *(f"cost/samples/{kind}" for kind in ("trained", "guessed", "selected", "evaluated")),
        *(f"cost/seconds/{phase}" for phase in ("data", "warm-up", "training", "selection", "evaluation", "storage")),
        *("cost/shared/seconds", "cost/shared/epochs", "cost/seconds/estimate", "cost/estimate/seconds"),
    ),
}
ALIKE = 0.75  # similarity above which one name is a typing error of the other
SECOND = "test_imagenet"  # WebVision's other test set
WHY = {
    "test/top5": "it is reported for more than 10 classes",
    "test/acc/abc": "they have no balanced head",
    "test/acc/medium_head": "they have no medium head (plugin=ibc)",
    "test/acc/bayes": "it is known where the densities are, on dataset=synthetic",
    "test/acc/network": "they have one network",
    "val/": "they have no validation set (dataset.val)",
    "selection/relabelled": "their selectors replace no label (method.selector.name=ssr_knn)",
    "selection/": "they select no samples",
    f"{SECOND}/": "it is of WebVision's second test set",
}


def current(name: str) -> str:
    """The current name of a metric: the first edition called `test/acc/at_best_val` `test/acc/val`."""
    head, _, last = name.rpartition("/")
    return f"{head}/at_best_val" if last == "val" and head.startswith("test") and head.endswith("/acc") else name


def is_percent(metric: str) -> bool:
    """Whether a metric is a percentage; the others are shares, counts and seconds."""
    return metric.startswith(("test", "val/")) and metric != "val/epoch"


def exists(metric: str) -> bool:
    """Whether a run can report this metric."""
    return metric.replace(f"{SECOND}/", "test/", 1) in {name for names in KNOWN.values() for name in names}


def absent(metric: str, there: Iterable[str]) -> str:
    """Why no run has a metric, and what to set instead. Args: there, the metrics that the runs have."""
    if exists(metric):
        why = next((text for start, text in WHY.items() if metric.startswith(start)), "")
        return f"no run has a metric {metric}: it exists, but these runs do not report it" + (f", {why}" if why else "")
    near = nearest_metric(metric, there)
    slip = near and difflib.get_close_matches(metric, [near], 1, ALIKE)
    hint = f"; did you mean {near}?" if near else ""
    return f"no run has a metric {metric}{hint}" + (
        "" if slip else f" ({Door.here.tool('analysis.table')} --help lists the metrics)"
    )


def listing() -> str:
    """All metrics for a help text, a paragraph each kind."""
    lines = [" ".join(names) for names in KNOWN.values()]
    lines.append(f"{SECOND}/… as test/… on WebVision")
    fill = textwrap.TextWrapper(100, initial_indent="  ", subsequent_indent="  ", break_on_hyphens=False).fill
    return "metrics (test/acc/, test/, selection/ and cost/ may be left out):\n" + "\n".join(map(fill, lines))


def nearest_metric(word: str, there: Iterable[str]) -> str | None:
    """The metric of the same words, else with the same ending, else one that contains it, else one of similar spelling,
    else one with a word that begins alike (`accuracy`: `test/acc/final`).
    """
    order = {name: place for place, name in enumerate(name for names in KNOWN.values() for name in names)}
    names = {_plain(name): name for name in sorted(there, key=lambda name: order.get(name, len(order)))}
    plain = _plain(word)
    close = difflib.get_close_matches(plain, names, 1, ALIKE)
    ends = [name for name in names if name.endswith(f"/{plain}")]
    alike = [name for name in names if any(_begin_alike(a, b) for a in plain.split("/") for b in name.split("/"))]
    whole = sorted((name for name in names if plain.startswith(f"{name}/")), key=len, reverse=True)
    nearest = ([plain] if plain in names else []) or ends or whole or close or alike
    return names[nearest[0]] if nearest else None


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "/", name.lower()).strip("/")


def _begin_alike(one: str, other: str) -> bool:
    return min(len(one), len(other)) >= 3 and (one.startswith(other) or other.startswith(one))


_TITLES = {
    "test/acc/final": "accuracy",
    "test/acc/last": "accuracy, last epoch",
    "test/acc/last10": "accuracy, last 10 epochs",
    "test/acc/best": "accuracy, best epoch",
    "test/acc/at_best_val": "accuracy, best validation epoch",
    "test/acc/worst": "worst class",
    "test/acc/gmean": "geometric mean",
    "test/acc/main": "main head",
    "test/acc/abc": "balanced head",
    "test/acc/ncm": "nearest class mean",
    "test/acc/joint": "joint classifier",
    "test/acc/bayes": "Bayes bound",
    "test/top5": "top-5 accuracy",
    "val/acc": "validation accuracy",
    "cost/flops": "FLOPs",
    "cost/flops_per_forward": "FLOPs per forward pass",
    "cost/total_seconds": "seconds",
}
_SHORT = {"acc": "accuracy", "auc": "AUC", "ap": "AP", "ece": "ECE", "f1": "F1", "tv": "TV"}


def title(metric: str) -> str:
    """What a metric is called in a paper's tables and figures: `few`, `macro F1`, `selection AUC, few`."""
    if metric.startswith(f"{SECOND}/"):
        return f"{title(metric.replace(SECOND, 'test', 1))} (ImageNet)"
    if metric in _TITLES:
        return _TITLES[metric]
    section, *rest = metric.removeprefix("test/acc/").removeprefix("test/").removeprefix("cost/").split("/")
    if section == "val":
        section, *rest = (
            ["validation accuracy", *rest[1:]] if rest[0] == "acc" else [f"validation {rest[0]}", *rest[1:]]
        )
    elif section == "selection":
        section, *rest = [f"selection {rest[0]}", *rest[1:]]
    words = " ".join(_SHORT.get(word, word) for word in section.replace("_", " ").split())
    return ", ".join([words, *(word.replace("_", " ") for word in rest)])
