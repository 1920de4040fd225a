"""Average ranks over data sets, and the critical-difference figure (Demšar 2006)."""

from __future__ import annotations

import io
import itertools
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats

from analysis.columns import CHECKSUM, Run
from analysis.paired import by_replicate, value, values
from analysis.runs import SETTING, Cells, cells_of, check_alike, check_fields
from analysis.values import Key
from sfa_bench.errors import ConfigError
from sfa_bench.store.folder import write_file

FEWEST_DATA_SETS = 5  # fewest data sets for a critical difference


@dataclass(frozen=True)
class Ranks:
    """`table`: a row each competitor, a column each data set, 1 = best; `left_out`: competitors not run everywhere;
    `by_setting`: a metric's means, a column each setting; `by_replicate`: a setting's values, a column each replicate.
    """

    table: pd.DataFrame
    metric: str
    left_out: list[str]
    by_setting: pd.DataFrame
    by_replicate: list[pd.DataFrame]

    @property
    def settings(self) -> int:
        return self.by_setting.shape[1]

    @property
    def average(self) -> pd.Series:
        return self.table.mean(axis=1).sort_values(kind="stable")

    @property
    def critical_difference(self) -> float | None:
        """Nemenyi's at 5 %: q·√(k(k+1)/(6N)); None below five data sets."""
        k, n = self.table.shape
        if n < FEWEST_DATA_SETS:
            return None
        return float(stats.studentized_range.ppf(0.95, k, np.inf) / np.sqrt(2) * np.sqrt(k * (k + 1) / (6 * n)))


def ranks(runs: Sequence[Run], keys: Sequence[str], metric: str) -> Ranks:
    """Rank the competitors (values of `keys`) in every setting by their mean, and average over a data set's settings.

    Raises: ConfigError when fewer than two competitors have run in every setting, or runs of one differ in more.
    """
    check_fields(runs, keys)
    setting = [key for key in (*SETTING, CHECKSUM) if key not in keys]
    cells = cells_of(runs, keys, setting)
    check_alike(cells.values(), "competitor", "--ranks")
    if len({_named(who) for who, _ in cells}) < len({who for who, _ in cells}):
        raise ConfigError(f"two competitors of --ranks {','.join(keys)} would have one name: give the keys otherwise")
    means = pd.Series(
        {
            (_named(who), where): float(np.mean(numbers))
            for (who, where), members in cells.items()
            if (numbers := values(members, metric))
        }
    )
    if means.empty:
        raise ConfigError(f"{metric} is undefined in all of these runs")
    by_setting = means.unstack()
    whole = by_setting.dropna()
    if len(whole) < 2:
        raise ConfigError("fewer than two competitors have run in every setting: choose settings with --where")
    ranked = whole.rank(ascending=False)
    ranked.columns = [str(column[0]) for column in ranked.columns]
    table = ranked.T.groupby(level=0).mean().T
    left_out = sorted(set(by_setting.index) - set(whole.index))
    return Ranks(table, metric, left_out, whole, [_replicates(cells, where, metric, whole.index) for where in whole])


def _named(who: Key) -> str:
    return " ".join(map(str, who))


def _replicates(cells: Cells, where: Hashable, metric: str, competitors: Iterable[str]) -> pd.DataFrame:
    """A setting's values, a row each competitor, a column each replicate that all of them have."""
    by_competitor = {
        _named(who): {replicate: value(run, metric) for replicate, run in by_replicate(members, metric).items()}
        for (who, place), members in cells.items()
        if place == where
    }
    return pd.DataFrame.from_dict(by_competitor, orient="index").loc[list(competitors)].dropna(axis=1)


def agreement(columns: Iterable[pd.DataFrame]) -> tuple[float, float, int] | None:
    """Kendall's τ-b between two columns of one frame: mean and least over all such pairs, and their number; without
    columns in which all are equal, which have no order.
    """
    taus = [
        float(stats.kendalltau(frame[one], frame[other]).statistic)
        for frame in columns
        for one, other in itertools.combinations([name for name in frame if frame[name].nunique() > 1], 2)
    ]
    return (float(np.mean(taus)), min(taus), len(taus)) if taus else None


def print_ranks(ranked: Ranks) -> None:
    k, n = ranked.table.shape
    print(f"Average rank by {ranked.metric} over {n} data sets ({ranked.settings} settings); 1 is best.\n")
    print(pd.DataFrame({"average rank": ranked.average.map("{:.2f}".format)}).to_markdown(disable_numparse=True))
    print()
    for between, columns in (
        ("settings, by their means", [ranked.by_setting]),
        ("replicates of one setting", ranked.by_replicate),
    ):
        if alike := agreement(columns):
            mean, least, pairs = alike
            tau = f"Kendall's τ {mean:+.2f} on average, {least:+.2f} at least"
            print(f"- the same order in two {between}: {tau} ({pairs} pairs)")
    if ranked.left_out:
        print(f"- not run in every setting and left out: {', '.join(ranked.left_out)}")
    difference = ranked.critical_difference
    if difference is None:
        print(f"- {n} data sets: a critical difference needs {FEWEST_DATA_SETS}")
    else:
        test = f"; Friedman's p = {stats.friedmanchisquare(*ranked.table.to_numpy()).pvalue:.2g}" if k > 2 else ""
        print(f"- critical difference (Nemenyi, 5 %): {difference:.2f}{test}")


def draw(ranked: Ranks, output: Path) -> None:
    """The figure as .pdf, .png or .svg: competitors on the axis of ranks, bars over those that cannot be told apart."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    difference = ranked.critical_difference
    if difference is None:
        n = ranked.table.shape[1]
        raise ConfigError(f"a critical-difference figure needs {FEWEST_DATA_SETS} data sets, and there are {n}")
    if output.suffix not in (".pdf", ".png", ".svg"):
        raise ConfigError(f"-o takes a name that ends in .pdf, .png or .svg, not {output.name}")
    average = ranked.average
    figure = Figure(figsize=(6.9, 0.8 + 0.22 * len(average)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    heights = range(len(average))
    axes.plot(average, heights, "o", color="#0072B2")
    for height, (name, rank) in enumerate(average.items()):
        axes.annotate(f"{name} ({rank:.2f})", (rank, height), (6, 0), textcoords="offset points", va="center", size=8)
    for position, (first, last) in enumerate(cliques(average.to_numpy(), difference)):
        axes.plot([average.iloc[first], average.iloc[last]], [-0.6 - 0.35 * position] * 2, color="black", lw=3)
    axes.set(xlabel=f"average rank over {ranked.table.shape[1]} data sets (critical difference {difference:.2f})")
    axes.set_yticks([])
    axes.invert_yaxis()
    axes.margins(x=0.25)
    buffer = io.BytesIO()
    figure.savefig(buffer, format=output.suffix[1:], dpi=200)
    write_file(output, buffer.getvalue())


def cliques(average: np.ndarray, difference: float) -> list[tuple[int, int]]:
    """Longest runs of two or more sorted ranks that lie within the difference, as (first, last) positions."""
    intervals: list[tuple[int, int]] = []
    for first in range(len(average)):
        last = int(np.searchsorted(average, average[first] + difference, side="right")) - 1
        if last > first and not any(last <= end for _, end in intervals):
            intervals.append((first, last))
    return intervals
