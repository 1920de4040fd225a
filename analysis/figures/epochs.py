"""Figures by epoch: `curves` of one metric, and `selection`, how good the selections were, overall and per group."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from analysis.columns import Run, flat
from analysis.figures.look import Look, band, canvas, legend, series_of, shade_warm_up, spread_text
from analysis.figures.series import Options, averaged, axis_name, by_series, few, name
from analysis.metrics import nearest_metric
from sfa_bench.errors import ConfigError
from sfa_bench.store.folder import RunFolder

FIGURES = ("precision", "recall", "auc", "pseudo_label_acc")
GROUPS = ("overall", "many", "medium", "few")


def curves(runs: Sequence[Run], options: Options) -> pd.DataFrame:
    """One metric by epoch. Columns: series, epoch, mean, low, high, n (over replicates), warm_up (its epochs).

    Raises: ConfigError with a sentence when no epoch has the metric, or the series are too many or mixed.
    """
    rows = _epochs(runs, options)
    metric = options.metric
    values = [row[metric] for row in rows if metric in row]
    if not values:
        _unknown(rows, metric)
    if any(isinstance(value, (list, str, bool)) for value in values):
        raise ConfigError(f"{metric} is not one number an epoch; a curve needs one")
    if all(value is None for value in values):
        raise ConfigError(f"{metric} is undefined in every epoch of these runs")
    tidy = [{"series": row["series"], "epoch": row["epoch"], "value": row.get(metric)} for row in rows]
    return _finished(averaged(pd.DataFrame(tidy), ["series", "epoch"], options.spread), rows)


def selection(runs: Sequence[Run], options: Options) -> pd.DataFrame:
    """Precision, recall, AUC (overall and per group) and pseudo-label accuracy of the selections by epoch.

    Columns: series, figure, group, epoch, mean, low, high, n, warm_up. Raises: ConfigError when nothing was selected,
    or where the clean labels are unknown, so that no selection can be judged.
    """
    rows = _epochs(runs, options)
    tidy = []
    for row in rows:
        for figure in FIGURES:
            for group in GROUPS:
                key = f"selection/{figure}" + ("" if group == "overall" else f"/{group}")
                place = {"series": row["series"], "figure": figure, "group": group, "epoch": row["epoch"]}
                tidy.append({**place, "value": row.get(key)})
    if not any(key.startswith("selection/") for row in rows for key in row):
        raise ConfigError("none of these runs has a selector: there is no selection to show")
    if all(row["value"] is None for row in tidy):
        raise ConfigError("the clean labels of these runs are unknown: their selections cannot be judged")
    return _finished(averaged(pd.DataFrame(tidy), ["series", "figure", "group", "epoch"], options.spread), rows)


def _epochs(runs: Sequence[Run], options: Options) -> list[dict[str, Any]]:
    """Every epoch of every run, flat (`selection/auc/few`), with its series."""
    groups = by_series(runs, options.by)
    names = {key: name(options.by, key, options.names) for key in groups}
    few(names.values())
    return [
        {**flat(row, "/"), "series": names[key]}
        for key, members in groups.items()
        for run in members
        for row in RunFolder(run.path).read_metrics()
    ]


def _finished(frame: pd.DataFrame, rows: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """Sort, and add the length of each series' warm-up, and in `attrs` a note on series with nothing to show."""
    places = {series: place for place, series in enumerate(dict.fromkeys(row["series"] for row in rows))}
    warm_up = dict.fromkeys(places, 0)
    for row in rows:
        if row.get("phase") == "warm-up":
            warm_up[row["series"]] = max(row["epoch"], warm_up[row["series"]])
    frame["warm_up"] = frame["series"].map(warm_up)
    frame = frame.sort_values(["series", "epoch"], key=lambda column: column.replace(places), kind="stable")
    missing = [series for series in places if series not in set(frame["series"])]
    frame.attrs["notes"] = [f"nothing to show of {', '.join(missing)}"] if missing else []
    return frame


def _unknown(rows: Sequence[dict[str, Any]], metric: str) -> None:
    near = nearest_metric(
        metric, {key for row in rows for key, value in row.items() if isinstance(value, (int, float))}
    )
    hint = f"; did you mean {near}?" if near else ""
    raise ConfigError(f"no epoch has a metric {metric}{hint} (the numbers of metrics.jsonl are an epoch's metrics)")


def draw_curves(frame: pd.DataFrame, options: Options) -> Figure:
    """A line with its band per series."""
    figure = canvas(options.width, 2.9)
    axes = figure.subplots()
    _lines(axes, frame)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set(xlabel="epoch", ylabel=axis_name(options.metric, options.names), xlim=(0.5, frame["epoch"].max() + 0.5))
    legend(figure, axes, spread_text(frame, options.spread))
    return figure


def draw_selection(frame: pd.DataFrame, options: Options) -> Figure:
    """A row of panels per group, a column per figure; the legend stands where pseudo-labels have no group."""
    shown = [group for group in GROUPS if group in set(frame["group"])]
    figure = canvas(options.width, 1.1 + 1.15 * len(shown))
    panels = figure.subplots(len(shown), len(FIGURES), sharex=True, sharey="col", squeeze=False)
    for (i, group), (j, what) in itertools.product(enumerate(shown), enumerate(FIGURES)):
        axes, part = panels[i][j], frame[(frame["group"] == group) & (frame["figure"] == what)]
        if part.empty:
            axes.set_axis_off()
            continue
        _lines(axes, part, looks={series: look for series, _, look in series_of(frame)})
        axes.set_xlim(0.5, frame["epoch"].max() + 0.5)
        axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
        if i == len(shown) - 1:
            axes.set_xlabel("epoch")
        axes.tick_params(labelbottom=i == len(shown) - 1 or (i == 0 and what == "pseudo_label_acc"))
        if i == 0:
            axes.set_title({"auc": "AUC", "pseudo_label_acc": "pseudo-label accuracy"}.get(what, what))
        if j == 0:
            axes.set_ylabel(group)
    legend(figure, panels[0][0], spread_text(frame, options.spread))
    return figure


def _lines(axes: Axes, frame: pd.DataFrame, looks: Mapping[str, Look] | None = None) -> None:
    axes.grid(True)
    parts = series_of(frame)
    shade_warm_up(axes, [part["warm_up"].iloc[0] for _, part, _ in parts])
    for place, (series, part, look) in enumerate(parts):
        band(axes, part["epoch"], part, looks[series] if looks else look, series, place)
