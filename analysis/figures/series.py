"""Group runs into the series of a figure: their names, means and spread over replicates."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from analysis.metrics import is_percent, title
from analysis.names import TYPED, Names
from analysis.runs import Run, check_alike, check_fields, grouped_by
from analysis.values import Key
from sfa_bench.errors import ConfigError
from sfa_bench.store.folder import RunFolder
from sfa_bench.store.ledger import DEFAULTS
from sfa_bench.store.reading import Damaged

MOST = 8  # series that can be told apart, by colour and in print
SPREADS = {"std": "± standard deviation", "range": "min–max"}
NO_EPOCHS = "without epochs to show (metrics.jsonl)"

Groups = dict[Key, list[Run]]  # values of the keys in `by` -> runs that differ in nothing but seeds


@dataclass(frozen=True)
class Options:
    """The options of figures; each kind takes some of them and has its own defaults."""

    by: tuple[str, ...] = ("method", "plugin")
    metric: str = "test/acc/final"
    spread: str = "std"
    counts: str = "observed"
    over: str = ""
    cost: str = "flops"
    x: str = "selection/auc"
    versus: Mapping[str, Sequence[str]] = field(default_factory=lambda: {"plugin": ["none"]})
    of: Mapping[str, Sequence[str]] = field(default_factory=lambda: {"plugin": ["sfa"]})
    width: str = "column"
    names: Names = TYPED


def by_series(runs: Sequence[Run], by: Sequence[str]) -> Groups:
    """Runs by their values of `by`, in order. Raises ConfigError where runs of one group differ in a setting."""
    check_fields(runs, by)
    groups = grouped_by(runs, by)
    check_alike(groups.values(), "series", "--by")
    if len({name(by, key) for key in groups}) < len(groups):
        raise ConfigError(f"two series by {','.join(by)} would have one name: leave one out with --where")
    return {key: groups[key] for key in sorted(groups)}


def few(names: Iterable[str]) -> None:
    """Refuse more series than a reader can tell apart."""
    if (count := len(set(names))) > MOST:
        raise ConfigError(
            f"{count} series are too many to tell apart (at most {MOST}): choose with --where, or merge with --by"
        )


def name(by: Sequence[str], key: Key, names: Names = TYPED) -> str:
    """`dividemix+sfa dataset.val=none`: choices of a method as in its folder's name, anything else with its key; with
    the names of papers `DivideMix + SFA dataset.val=none`.
    """
    values = dict(zip(by, key, strict=True))
    parts = []
    if "method" in values:
        added = {group: values.pop(group) for group in DEFAULTS if group in values}
        shown = {group: value for group, value in added.items() if str(value) != DEFAULTS[group]}
        whole = {"method": values.pop("method"), **shown}
        parts.append((" + " if names.titles else "+").join(names.value(group, value) for group, value in whole.items()))
    return " ".join([*parts, *(names.setting(group, value) for group, value in values.items())]) or "all runs"


def the_only(runs: Sequence[Run], by: Sequence[str], kind: str) -> list[Run]:
    """The replicates of the one series there is. Raises ConfigError when there are several."""
    groups = by_series(runs, by)
    if len(groups) > 1:
        first = ", ".join([name(by, key) for key in groups][:MOST]) + (" …" if len(groups) > MOST else "")
        raise ConfigError(f"{kind} shows one series and there are {len(groups)} ({first}): choose one with --where")
    return next(iter(groups.values()))


def with_epochs(runs: Sequence[Run]) -> tuple[list[Run], list[str]]:
    """The runs that have metrics.jsonl, and a sentence about the others. Raises ConfigError when there are none."""
    kept = [run for run in runs if (run.path / "metrics.jsonl").exists()]
    others = [run for run in runs if not (run.path / "metrics.jsonl").exists()]
    foreign = sum(bool(run.external) for run in others)
    parts = [(foreign, f"foreign results {NO_EPOCHS}"), (len(others) - foreign, f"runs {NO_EPOCHS}")]
    left_out = [f"{count} {what}" for count, what in parts if count]
    if not kept:
        raise ConfigError(f"there is nothing to draw by epoch: {' and '.join(left_out)}")
    return kept, [f"left out: {' and '.join(left_out)}"] if left_out else []


def arrays(run: Run, file: str = "predictions.npz") -> dict[str, Any]:
    """The arrays of a file of the run. Raises ConfigError with a sentence when it is missing or broken."""
    try:
        return RunFolder(run.path).read_arrays(file)
    except FileNotFoundError as error:
        raise ConfigError(f"{run.path} has no {file}, which this figure is drawn from") from error
    except (OSError, Damaged) as error:
        raise ConfigError(f"{run.path / file} is damaged; leave that run out with --where, or run it again") from error


def averaged(frame: pd.DataFrame, keys: Sequence[str], spread: str, column: str = "value") -> pd.DataFrame:
    """Mean, low, high and n of a column over the rows of one key; low and high are undefined below two.

    Args: spread, a key of SPREADS: mean ± sample standard deviation, or the least and the greatest.
    """
    rows = frame.dropna(subset=[column]).astype({column: float})
    summary = rows.groupby(list(keys), sort=False)[column].agg(["mean", "std", "min", "max", "count"])
    if spread == "std":
        low, high = summary["mean"] - summary["std"], summary["mean"] + summary["std"]
    else:
        several = summary["count"] > 1
        low, high = summary["min"].where(several), summary["max"].where(several)
    parts = {"mean": summary["mean"], "low": low, "high": high, "n": summary["count"]}
    return pd.DataFrame(parts).reset_index()


def axis_name(metric: str, names: Names = TYPED) -> str:
    """The label of an axis: `test accuracy, few (%)`, `selection AUC`, `cost flops`; a user's own name first."""
    unit = " (%)" if is_percent(metric) else ""
    if metric in names.metrics:
        return names.metrics[metric] + unit
    rest = metric.removeprefix("test/acc").removesuffix("/final").strip("/")
    if metric.startswith(("val/", "selection/")):
        return title(metric) + unit
    if metric.startswith("test/acc"):
        return "test accuracy" + (f", {rest.replace('/', ' ')}" if rest else "") + unit
    return metric.replace("/", " ").replace("_", " ") + unit


def apart(numbers: Sequence[float], share: float) -> bool:
    """Whether sorted numbers are at least a share of the axis apart, on the scale that `decades` chooses."""
    places = np.log(numbers) if decades(numbers) else np.array(numbers, dtype=float)
    return len(places) < 2 or bool(np.diff(places).min() >= share * (places[-1] - places[0]))


def decades(values: Iterable[float]) -> bool:
    """Whether positive numbers span more than a decade, so that a logarithmic axis shows them better."""
    numbers = np.array([value for value in values if np.isfinite(value)])
    return bool(len(numbers) and numbers.min() > 0 and numbers.max() > 10 * numbers.min())
