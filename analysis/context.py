"""Captions and notes of tables (explanation/rules.md §6): what was measured, on what, and what is mixed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache

from analysis.columns import CHANGED, CHECKSUM, Run
from analysis.metrics import is_percent
from analysis.names import TYPED, Names
from analysis.runs import SETTING, Cells, distinct, kinds
from analysis.values import ABSENT, NO_VALUE, NULL, Key, Value, listed, show, valued
from sfa_bench.config import hydras
from sfa_bench.config.overrides import choices
from sfa_bench.config.user_yaml import read

WHICH = {
    "test/acc/final": "test accuracy, mean over the last max(1, int(0.05·E)) of E epochs",
    "test/acc/last": "test accuracy of the last epoch",
    "test/acc/last10": "test accuracy, mean over the last 10 epochs",
    "test/acc/best": "oracle: test accuracy of the epoch that is best on the test set",
    "test/acc/at_best_val": (
        "test accuracy of the epoch that is best on the validation set, of each network's on Clothing1M"
    ),
    "val/acc": "accuracy on the validation set, mean over the same epochs as test/acc/final",
    "val/acc/best": "accuracy on the validation set in its best epoch, which chooses test/acc/at_best_val",
}
SPREADS = {
    "std": "sample standard deviation",
    "sem": "standard error of the mean",
    "ci95": "half-width of the 95 % t interval of the mean",
}
# Settings that make runs of one data set comparable or not; what is constant stands in the caption.
SETTINGS = (*SETTING[1:], "epochs", "batch_size", "lr")


def caption(
    runs: Sequence[Run],
    cells: Cells,
    keys: Sequence[str],
    metrics: Sequence[str],
    versus: Mapping[str, Sequence[str]],
    spread: str = "std",
    names: Names = TYPED,
) -> str:
    """Metric and unit, what the numbers in a cell are, whether labels varied, and every setting that is constant.

    Args: `keys` are the table's row and column keys; `versus` the base of its differences, empty for none;
        `spread` a key of SPREADS; `names`, the words of metrics and settings.
    """
    titles = {metric: names.metric(metric) for metric in metrics}
    what = "; ".join(f"{title} ({WHICH[metric]})" if metric in WHICH else title for metric, title in titles.items())
    unit = ", percent" if all(map(is_percent, metrics)) else ""
    numbers = f"mean ± {SPREADS[spread]} (n runs)"
    if versus:
        base = ", ".join(f"{key}={texts[0]}" for key, texts in versus.items())
        others = "difference to it, paired by seed and data_seed [95 % t interval] (n pairs)"
        numbers = f"{base}: {numbers}; others: {others}"
    settings = ((key, distinct(runs, [key])) for key in ("dataset", *SETTINGS) if key not in keys)
    known = ((key, values[0][0]) for key, values in settings if len(values) == 1)
    shown = (names.setting(key, value) for key, value in known if value.kind not in (NULL, ABSENT))
    constant = (" " if names == TYPED else ", ").join(shown)
    return ". ".join(part for part in (f"{what}{unit}: {numbers}", _labels(cells), constant) if part) + "."


def _labels(cells: Cells) -> str:
    several = [members for members in cells.values() if len(members) > 1]
    varied = {len({run.field("data_seed") for run in members}) > 1 for members in several}
    if not varied:
        return "One run a cell"
    if len(varied) == 2:
        return "Labels vary between the replicates of some cells only"
    return "Labels vary between replicates (data_seed)" if varied == {True} else "The same labels in all replicates"


def notes(runs: Sequence[Run], keys: Sequence[str], metrics: Sequence[str]) -> Iterator[str]:
    """Sentences about what is undefined, mixed, out of date or unequal in the table."""
    for metric in metrics:
        if undefined := sum(run.number(metric) is None for run in runs):
            yield f"{undefined} of {len(runs)} runs have no value of {metric} and are not in n"
    own = [run for run in runs if not run.external]
    for key in SETTINGS:
        if key not in keys and (mixed := _mixed(own, "dataset", key)):
            shown = listed(set().union(*mixed.values()))
            yield f"cells differ in {key} too ({shown}): add it to --rows, --cols or --where"
    for group in ("noise", "method", "plugin"):
        for choice, revisions in _mixed(runs, group, f"{group}.revision").items():
            yield f"mixed revisions of {group}={choice}: {listed(revisions)}"
        for name, sentence in _stale(own, group):
            yield f"stale revision of {group}={show(name)}: {sentence}"
    if len(precisions := {run.precision for run in runs} - {None}) > 1:
        yield f"mixed precision: {listed(map(valued, precisions))}"


def row_notes(cells: Cells) -> list[tuple[str, set[Key]]]:
    """Sentences about single rows, with the rows: what methods were told, the source of constants and of code."""
    members = [(row, run) for (row, _), members in cells.items() for run in members]
    keys = ("method.loss.transferred", *CHANGED, "tuned.trials", CHECKSUM, "dataset")
    numbers, firsts = kinds([run for _, run in members], keys, ("knows", "external"))
    sentences = [list(_row_notes(members[first][1])) for first in firsts]
    rows_by_note: dict[str, set[Key]] = defaultdict(set)
    for (row, _), number in zip(members, numbers, strict=True):
        for sentence in sentences[number]:
            rows_by_note[sentence].add(row)
    return sorted(rows_by_note.items())


def _row_notes(run: Run) -> Iterator[str]:
    yield from (f"told {fact}" for fact in run.knows)
    if run.field("method.loss.transferred").plain:
        yield "constants transferred from balanced data, or from another data set"
    if run.changed:
        yield f"another recipe: {' '.join(run.changed)}"
    if trials := run.field("tuned.trials").plain:
        yield f"tuned, {trials} trials"
    yield from own_files([run])
    if run.external:
        yield "external: predictions of other people's code, trained on the same labels"


def own_files(runs: Iterable[Run]) -> list[str]:
    """A sentence where runs under the name of an official data set used other files."""
    names = {run.field("dataset") for run in runs if run.own_files}
    return [f"on files of the user's own: {listed(names)}"] if names else []


def _mixed(runs: Sequence[Run], by: str, key: str) -> dict[Value, set[Value]]:
    """The values of `key` among the runs with one value of `by`, where there are several."""
    values: dict[Value, set[Value]] = defaultdict(set)
    for choice, value in distinct(runs, [by, key]):
        if value != NO_VALUE:
            values[choice].add(value)
    return {name: distinct for name, distinct in values.items() if len(distinct) > 1}


def _stale(own: Sequence[Run], group: str) -> Iterator[tuple[str, str]]:
    """Choices of a group whose runs were made before a change of their results."""
    oldest: dict[str, int] = {}
    for key in distinct(own, [group, f"{group}.revision"]):
        name, revision = (value.plain for value in key)
        if name is not None and isinstance(revision, int):
            oldest[name] = min(revision, oldest.get(name, revision))
    for name, revision in sorted(oldest.items()):
        if revision < (now := current_revision(group, name)):
            yield name, f"runs of {revision}, and this version has {now}; the same command makes them again"


@cache
def current_revision(group: str, name: str) -> int:
    """The revision of a choice in this version of the suite; 1 for a user's own choice."""
    return _revision(group, name) or 1 if name in choices(group) else 1


def _revision(group: str, name: str) -> int | None:
    """The revision in a choice's own file, else in the last of its parts that has one, as Hydra would compose it."""
    content = read(hydras.CONF / group / f"{name}.yaml")
    own = {**content, **(content.get(group) or {})}.get("revision")
    parts = [part for part in content.get("defaults", ()) if isinstance(part, str) and part != "_self_"]
    return own or next(filter(None, (_revision(group, part) for part in reversed(parts))), None)
