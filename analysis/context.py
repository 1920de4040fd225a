"""What a table must say besides its numbers (design.md §6.6): what was measured, on what, and what is mixed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from analysis.runs import Cells, Run, order, show

WHICH = {
    "test/acc/final": "test accuracy, mean over the last max(1, int(0.05·E)) of E epochs",
    "test/acc/last": "test accuracy of the last epoch",
    "test/acc/last10": "test accuracy, mean over the last 10 epochs",
    "test/acc/best": "oracle: test accuracy of the epoch that is best on the test set",
    "test/acc/val": "test accuracy of the epoch that is best on the validation split",
}
SPREADS = {
    "std": "sample standard deviation",
    "sem": "standard error of the mean",
    "ci95": "half-width of the 95 % t interval of the mean",
}
# Settings that make runs of one data set comparable or not; what is constant stands in the caption.
SETTINGS = ("imbalance", "imb_factor", "noise", "noise_ratio", "model", "recipe", "epochs", "batch_size", "lr")


def caption(
    runs: Sequence[Run],
    cells: Cells,
    keys: Sequence[str],
    metrics: Sequence[str],
    versus: Mapping[str, Sequence[str]],
    spread: str = "std",
) -> str:
    """Metric and unit, what the numbers in a cell are, whether labels varied, and every setting that is constant.

    Args: `keys` are the table's row and column keys; `versus` the base of its differences, empty for none;
        `spread` a key of SPREADS.
    """
    what = "; ".join(f"{metric} ({WHICH[metric]})" if metric in WHICH else metric for metric in metrics)
    unit = ", percent" if all(metric.startswith("test") for metric in metrics) else ""
    numbers = f"mean ± {SPREADS[spread]} (n runs)"
    if versus:
        base = ", ".join(f"{key}={texts[0]}" for key, texts in versus.items())
        others = "difference to it, paired by seed and data_seed [95 % t interval] (n pairs)"
        numbers = f"{base}: {numbers}; others: {others}"
    settings = ((key, {run.fields.get(key) for run in runs}) for key in ("dataset", *SETTINGS) if key not in keys)
    constant = " ".join(f"{key}={show(*values)}" for key, values in settings if len(values) == 1 and values != {None})
    return ". ".join(part for part in (f"{what}{unit}: {numbers}", _labels(cells), constant) if part) + "."


def _labels(cells: Cells) -> str:
    several = [members for members in cells.values() if len(members) > 1]
    varied = {len({run.fields.get("data_seed") for run in members}) > 1 for members in several}
    if not varied:
        return "One run a cell"
    if len(varied) == 2:
        return "Labels vary between the replicates of some cells only"
    return "Labels vary between replicates (data_seed)" if varied == {True} else "The same labels in all replicates"


def notes(runs: Sequence[Run], cells: Cells, keys: Sequence[str], metrics: Sequence[str]) -> Iterator[str]:
    """Sentences about what is undefined, mixed or unequal in the table, what methods were told, and whose constants."""
    for metric in metrics:
        if undefined := sum(run.metrics.get(metric) is None for run in runs):
            yield f"{undefined} of {len(runs)} runs have no value of {metric} and are not in n"
    for key in SETTINGS:
        if key not in keys and (mixed := _mixed(runs, "dataset", key)):
            values = sorted(set().union(*mixed.values()), key=order)
            yield f"cells differ in {key} too ({_list(values)}): add it to --rows, --cols or --where"
    for group in ("noise", "method", "plugin"):
        for name, revisions in _mixed(runs, group, f"{group}.revision").items():
            yield f"mixed revisions of {group}={show(name)}: {_list(revisions)}"
    if len(precisions := {run.record["environment"].get("precision") for run in runs} - {None}) > 1:
        yield f"mixed precision: {_list(precisions)}"
    said: dict[str, set[str]] = defaultdict(set)
    for (row, _), members in cells.items():
        sentences = {f"told {fact}" for run in members for fact in run.record["knows"]}
        if any(run.fields.get("method.loss.transferred") for run in members):
            sentences.add("constants transferred from balanced data, or from another data set")
        for sentence in sentences:
            said[sentence].add(" ".join(show(value) for value in row))
    for sentence, rows in sorted(said.items()):
        yield f"{sentence}: {', '.join(sorted(rows))}"


def _mixed(runs: Sequence[Run], by: str, key: str) -> dict[Any, set[Any]]:
    """The values of `key` among the runs with one value of `by`, where there are several."""
    values: dict[Any, set[Any]] = defaultdict(set)
    for run in runs:
        if key in run.fields:
            values[run.fields.get(by)].add(run.fields[key])
    return {name: found for name, found in values.items() if len(found) > 1}


def _list(values: Sequence[Any] | set[Any]) -> str:
    return ", ".join(show(value) for value in sorted(values, key=order))
