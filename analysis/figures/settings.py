"""Figures over settings: `sensitivity` to one key, `gain` of a plug-in over its base, `cost` against accuracy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from analysis.columns import Run
from analysis.context import SETTINGS
from analysis.figures.look import LOOKS, canvas, errors, legend, series_of, spread_text, whiskers
from analysis.figures.series import Options, apart, averaged, axis_name, by_series, decades, few, name
from analysis.metrics import is_percent
from analysis.paired import pairs
from analysis.runs import check_fields, check_metric, distinct, select
from analysis.values import NO_VALUE, NUMBER, read, valued
from sfa_bench.errors import ConfigError

MOST_ROWS = 50  # of a dot plot on one page
SEEN, LABELLED = 0.02, 0.1  # shares of an axis by which points, and texts below it, are told apart


# ---- sensitivity


def sensitivity(runs: Sequence[Run], options: Options) -> pd.DataFrame:
    """A metric over one key. Columns: series, setting (the key's value), mean, low, high, n; in the key's order.

    Raises: ConfigError without a key or a metric, and where runs of one point differ in anything else.
    """
    if not options.over:
        raise ConfigError("sensitivity needs the key that varies: --over KEY")
    check_fields(runs, [options.over])
    check_metric(runs, options.metric)
    by = [key for key in options.by if key != options.over]
    having = [run for run in runs if run.field(options.over) != NO_VALUE]
    settings = sorted({run.field(options.over) for run in having})
    tidy = []
    for key, members in by_series(having, (*by, options.over)).items():
        # By its place: pandas, too, takes true for 1.
        series, place = name(by, key[:-1], options.names), settings.index(key[-1])
        tidy += [{"series": series, "place": place, "value": run.metrics.get(options.metric)} for run in members]
    few(str(row["series"]) for row in tidy)
    frame = averaged(_defined(tidy, "value", options.metric), ["series", "place"], options.spread)
    frame["setting"] = pd.Series([settings[place].plain for place in frame.pop("place")], dtype=object)
    lacking = len(runs) - len(having)
    frame.attrs["notes"] = [f"{lacking} runs have no {options.over} and are left out"] if lacking else []
    return frame


def draw_sensitivity(frame: pd.DataFrame, options: Options) -> Figure:
    """Lines with error bars over numbers (logarithmic over more than a decade), points side by side over words, and
    over numbers that lie too close together for an axis.
    """
    figure = canvas(options.width, 2.9)
    axes = figure.subplots()
    axes.grid(True)
    values, names = sorted(set(map(valued, frame["setting"]))), options.names
    numbers = [value.plain for value in values]
    numeric = all(value.kind == NUMBER for value in values) and apart(numbers, SEEN)
    if numeric and decades(numbers):
        axes.set_xscale("log")
    elif numeric:
        axes.ticklabel_format(axis="x", style="plain", useOffset=False)
    parts = series_of(frame)
    for place, (series, part, look) in enumerate(parts):
        aside = 0.5 * ((place + 0.5) / len(parts) - 0.5)
        x = [setting if numeric else values.index(valued(setting)) + aside for setting in part["setting"]]
        errors(axes, x, part, look, series, line=numeric)
    if not numeric or apart(numbers, LABELLED):
        texts = [names.value(options.over, value) for value in values]
        tilt = 30 if sum(map(len, texts)) > 12 * figure.get_figwidth() else 0
        places = numbers if numeric else range(len(values))
        axes.set_xticks(places, texts, rotation=tilt, ha="right" if tilt else "center")
        axes.minorticks_off()
    if not numeric:
        axes.set_xlim(-0.5, len(values) - 0.5)
    axes.set(xlabel=names.key(options.over), ylabel=axis_name(options.metric, options.names))
    legend(figure, axes, spread_text(frame, options.spread))
    return figure


# ---- gain


def gain(runs: Sequence[Run], options: Options) -> pd.DataFrame:
    """Paired differences of `of` to `versus`, a row a setting, the greatest first.

    A setting is a method and whatever else of the data and the training varies. Columns: setting, mean, low, high
    (95 % t interval, undefined below two pairs), n (pairs). Raises: ConfigError when there is no pair, when pairs are
    ambiguous, or when a pair saw different labels.
    """
    check_metric(runs, options.metric)
    for text, side in (("--of", options.of), ("--versus", options.versus)):
        if any(len(values) != 1 for values in side.values()):
            raise ConfigError(f"{text} names one side of the comparison: KEY=VALUE[,KEY=VALUE…]")
    check_fields(runs, options.by)
    ours, base = select(runs, options.of), select(runs, options.versus)
    compared = {*options.of, *options.versus}
    by = _settings((*ours, *base), [key for key in options.by if key not in compared], compared)
    groups, bases = by_series(ours, by), by_series(base, by)
    rows, unpaired = [], 0
    for key in groups.keys() | bases.keys():
        paired = pairs(groups.get(key, []), bases.get(key, []), options.metric, compared)
        unpaired += len(paired.alone)
        if paired.both:
            change, called = paired.difference(options.metric), name(by, key, options.names)
            low, high = change.interval or (np.nan, np.nan)
            rows.append({"setting": called, "mean": change.mean, "low": low, "high": high, "n": change.pairs})
    if not rows:
        sides = " and ".join(_text(pairs) for pairs in (options.of, options.versus))
        raise ConfigError(f"no run with {sides} is a pair: same {', '.join(by)}, seed and data_seed, with a value")
    if len(rows) > MOST_ROWS:
        raise ConfigError(f"{len(rows)} settings are too many for a figure (at most {MOST_ROWS}): choose with --where")
    frame = pd.DataFrame(rows).sort_values(["mean", "setting"], ascending=[False, True], ignore_index=True)
    alone = f"{unpaired} runs without a partner of the same setting, seed and data_seed are left out"
    frame.attrs["notes"] = [alone] if unpaired else []
    return frame


def _settings(runs: Sequence[Run], by: Sequence[str], compared: set[str]) -> list[str]:
    """`by` and every further key of data and training in which runs of one group differ."""
    keys = list(by)
    for key in ("dataset", *SETTINGS):
        if key not in keys and key not in compared:
            pairs = distinct(runs, (*keys, key))
            if len(pairs) > len({pair[:-1] for pair in pairs}):
                keys.append(key)
    return keys


def _text(pairs: Mapping[str, Sequence[str]]) -> str:
    return ",".join(f"{key}={texts[0]}" for key, texts in pairs.items())


def _named(pairs: Mapping[str, Sequence[str]], options: Options) -> str:
    return ", ".join(options.names.setting(key, read(texts[0])) for key, texts in pairs.items())


def tally(frame: pd.DataFrame) -> str:
    """`12 of 20 settings up (5 beyond their interval), 8 down (1)`: the numbers of settings that went up and down."""
    up, down = frame["mean"] > 0, frame["mean"] < 0
    sure_up, sure_down = (frame["low"] > 0).sum(), (frame["high"] < 0).sum()
    same = f", {(~up & ~down).sum()} unchanged" if (~up & ~down).any() else ""
    return f"{up.sum()} of {len(frame)} settings up ({sure_up} clearly), {down.sum()} down ({sure_down} clearly){same}"


def draw_gain(frame: pd.DataFrame, options: Options) -> Figure:
    """A dot and its interval per setting, the greatest gain on top; hollow where one pair has no interval."""
    figure = canvas(options.width, 0.9 + 0.17 * len(frame))
    axes = figure.subplots()
    axes.grid(True, axis="x")
    axes.axvline(0, color="black", linewidth=0.8)
    for look, part in ((LOOKS[0], frame[frame["mean"] >= 0]), (LOOKS[1], frame[frame["mean"] < 0])):
        bars = whiskers(part, "mean", "low", "high")
        axes.errorbar(part["mean"], part.index, xerr=bars, color=look.colour, fmt="none", elinewidth=0.8, capsize=2)
        for filled, some in ((True, part[part["n"] > 1]), (False, part[part["n"] == 1])):
            fill = look.colour if filled else "white"
            axes.plot(some["mean"], some.index, look.marker, color=look.colour, markerfacecolor=fill)
    axes.set_yticks(frame.index, frame["setting"])
    axes.set_ylim(len(frame) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    points = ", points" if is_percent(options.metric) else ""
    what = axis_name(options.metric, options.names).removesuffix(" (%)")
    axes.set_xlabel(f"{_named(options.of, options)} − {_named(options.versus, options)}\n{what}{points}")
    figure.suptitle(tally(frame), fontsize=8)
    return figure


# ---- cost


def cost(runs: Sequence[Run], options: Options) -> pd.DataFrame:
    """A metric and what it cost. Columns: series, mean, low, high, n, and cost, cost_low, cost_high.

    Raises: ConfigError when no run has the metric or the cost, or for too many or mixed series.
    """
    of_cost = f"cost/{options.cost}"
    for metric in (options.metric, of_cost):
        check_metric(runs, metric)
    tidy: list[dict[str, Any]] = [
        {
            "series": name(options.by, key, options.names),
            "value": run.metrics.get(options.metric),
            "cost": run.metrics.get(of_cost),
        }
        for key, members in by_series(runs, options.by).items()
        for run in members
    ]
    few(row["series"] for row in tidy)
    _defined(tidy, "cost", of_cost)
    both = _defined([row for row in tidy if row["cost"] is not None], "value", options.metric)
    frame = averaged(both, ["series"], options.spread)
    costs = averaged(both, ["series"], options.spread, "cost")
    names = {"mean": "cost", "low": "cost_low", "high": "cost_high"}
    return frame.merge(costs.drop(columns="n").rename(columns=names), on="series")


def draw_cost(frame: pd.DataFrame, options: Options) -> Figure:
    """A point per series with its spread in both directions; a logarithmic axis beyond a decade of cost."""
    figure = canvas(options.width, 2.9)
    axes = figure.subplots()
    axes.grid(True)
    if decades(frame["cost"]):
        axes.set_xscale("log")
    else:
        axes.xaxis.set_major_locator(MaxNLocator(5))
    for series, part, look in series_of(frame):
        axes.errorbar(
            part["cost"],
            part["mean"],
            whiskers(part, "mean", "low", "high"),
            whiskers(part, "cost", "cost_low", "cost_high"),
            color=look.colour,
            linestyle="none",
            marker=look.marker,
            label=series,
            elinewidth=0.8,
            capsize=2,
        )
    axes.set(xlabel=COSTS.get(options.cost, options.cost), ylabel=axis_name(options.metric, options.names))
    legend(figure, axes, spread_text(frame, options.spread))
    return figure


COSTS = {"flops": "compute (FLOP, estimate)", "total_seconds": "time (seconds)", "steps": "optimiser steps"}


def _defined(rows: Sequence[Mapping[str, Any]], column: str, metric: str) -> pd.DataFrame:
    """The rows that have a value. Raises ConfigError when none has."""
    defined = [row for row in rows if row[column] is not None]
    if not defined:
        raise ConfigError(f"{metric} is undefined in all of these runs")
    return pd.DataFrame(defined)
