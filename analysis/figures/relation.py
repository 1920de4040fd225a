"""Figure `relation`: one metric of each run against another, and their rank correlation."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from scipy import stats

from analysis.figures.look import canvas, legend, series_of
from analysis.figures.series import Options, axis_name, few, name
from analysis.runs import Run, check_fields, check_metric
from sfa_bench.errors import ConfigError

FEWEST = 3  # fewest runs on the same labels for a rank correlation


def relation(runs: Sequence[Run], options: Options) -> pd.DataFrame:
    """Both metrics, a row a run. Columns: series, x, value, labels (fingerprint of what the run was trained on).

    Raises: ConfigError when no run has both, or for too many series.
    """
    check_fields(runs, options.by)
    for metric in (options.metric, options.x):
        check_metric(runs, metric)
    rows = [
        {"series": name(options.by, run.key(options.by), options.names), "x": x, "value": y, "labels": run.labels}
        for run in runs
        if (x := run.metrics.get(options.x)) is not None and (y := run.metrics.get(options.metric)) is not None
    ]
    if not rows:
        raise ConfigError(f"no run has both {options.x} and {options.metric}")
    frame = pd.DataFrame(rows).sort_values("series", kind="stable", ignore_index=True)
    few(frame["series"])
    lacking = len(runs) - len(frame)
    frame.attrs["notes"] = [
        rank_correlation(frame),
        *([f"{lacking} runs lack one of the two and are left out"] if lacking else []),
    ]
    return frame


def rank_correlation(frame: pd.DataFrame) -> str:
    """Spearman's rank correlation, only between runs that were trained on the same labels, then averaged."""
    by_labels: dict[str, float] = {}
    for labels, part in frame.groupby("labels"):
        if len(part) >= FEWEST and part["x"].nunique() > 1 and part["value"].nunique() > 1:
            by_labels[str(labels)] = float(stats.spearmanr(part["x"], part["value"]).statistic)
    if not by_labels:
        return f"no rank correlation: nowhere {FEWEST} runs on the same labels that differ in both"
    correlations = np.array(list(by_labels.values()))
    return (
        f"Spearman's rank correlation between runs on the same labels: {correlations.mean():+.2f} on average over "
        f"{len(correlations)} sets of labels ({correlations.min():+.2f} to {correlations.max():+.2f})"
    )


def draw_relation(frame: pd.DataFrame, options: Options) -> Figure:
    """A mark per run."""
    figure = canvas(options.width, 2.9)
    axes = figure.subplots()
    axes.grid(True)
    for series, part, look in series_of(frame):
        axes.plot(part["x"], part["value"], look.marker, color=look.colour, label=series, markersize=3, alpha=0.7)
    axes.set(xlabel=axis_name(options.x, options.names), ylabel=axis_name(options.metric, options.names))
    legend(figure, axes, f"n = {len(frame)} runs")
    return figure
