"""Average ranks over data sets, and the figure of who cannot be told apart: Wilcoxon's signed-rank test of every pair
with Holm's correction, since the groups of a test on mean ranks depend on who else is ranked (Benavoli, Corani and
Mangili 2016).
"""

from __future__ import annotations

import io
import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import pandas as pd
from scipy import stats

from analysis.bootstrap import FEWEST_DATA_SETS, flipped, holm
from analysis.columns import CHECKSUM, Run
from analysis.paired import by_replicate, value, values
from analysis.runs import SETTING, Cells, cells_of, check_alike, check_fields
from analysis.values import ABSENT, NULL, Key
from sfa_bench.errors import ConfigError
from sfa_bench.store.folder import write_file

LEVEL = 0.05  # of the tests of pairs


@dataclass(frozen=True)
class Ranks:
    """`table`: a row each competitor, a column each data set, 1 = best; `means`: the metric, in the same rows and
    columns; `left_out`: competitors not run everywhere; `by_setting`: a metric's means, a column each setting;
    `by_replicate`: a setting's values, a column each replicate that all have; `unshared`: the runs of other replicates.
    """

    table: pd.DataFrame
    means: pd.DataFrame
    metric: str
    left_out: list[str]
    by_setting: pd.DataFrame
    by_replicate: list[pd.DataFrame]
    unshared: int

    @property
    def settings(self) -> int:
        return self.by_setting.shape[1]

    @property
    def average(self) -> pd.Series:
        return self.table.mean(axis=1).sort_values(kind="stable")

    @property
    def p_values(self) -> dict[tuple[str, str], float] | None:
        """Of each pair of competitors, in the order of their average ranks, the exact p value of Wilcoxon's signed-rank
        test over the data sets, adjusted by Holm; None below five data sets.
        """
        if self.means.shape[1] < FEWEST_DATA_SETS:
            return None
        pairs = [*itertools.combinations(self.average.index, 2)]
        found = [_wilcoxon(self.means.loc[one].to_numpy() - self.means.loc[other].to_numpy()) for one, other in pairs]
        return dict(zip(pairs, holm(found), strict=True))


def _wilcoxon(differences: np.ndarray) -> float:
    """Exact with equal differences too, for which SciPy (1.17) takes the normal approximation from 14 on."""
    there = differences[differences != 0]
    p = flipped(np.sign(there) * stats.rankdata(np.abs(there)))
    return float(stats.wilcoxon(there).pvalue) if p is None else p


def ranks(runs: Sequence[Run], keys: Sequence[str], metric: str) -> Ranks:
    """Rank the competitors (values of `keys`) in every setting by their mean over the replicates that all of them have,
    and average over a data set's settings.

    Raises: ConfigError when fewer than two competitors have run in every setting, they share no replicate of one, or
    runs of one differ in more.
    """
    check_fields(runs, keys)
    setting = [key for key in (*SETTING, CHECKSUM) if key not in keys]
    cells = cells_of(runs, keys, setting)
    check_alike(cells.values(), "competitor", "--ranks")
    if len({_named(who) for who, _ in cells}) < len({who for who, _ in cells}):
        raise ConfigError(f"two competitors of --ranks {','.join(keys)} would have one name: give the keys otherwise")
    counts = {(_named(who), where): len(values(members, metric)) for (who, where), members in cells.items()}
    if not any(counts.values()):
        raise ConfigError(f"{metric} is undefined in all of these runs")
    by_competitor = pd.Series({place: count for place, count in counts.items() if count}).unstack()
    there = by_competitor.dropna()
    if len(there) < 2:
        raise ConfigError("fewer than two competitors have run in every setting: choose settings with --where")
    places = cast("list[Key]", there.columns.tolist())
    by_replicate = [_replicates(cells, where, metric, there.index) for where in places]
    for where, frame in zip(places, by_replicate, strict=True):
        if frame.empty:
            shown = " ".join(f"{k}={v}" for k, v in zip(setting, where, strict=True) if v.kind not in (NULL, ABSENT))
            raise ConfigError(
                f"the {len(there)} competitors share no replicate of {shown}: choose some, or settings, with --where"
            )
    means = np.column_stack([frame.to_numpy().mean(axis=1) for frame in by_replicate])
    whole = pd.DataFrame(means, there.index, there.columns)
    ranked = whole.rank(ascending=False)
    ranked.columns = [str(column[0]) for column in ranked.columns]
    table = ranked.T.groupby(level=0).mean().T
    by_data_set = whole.set_axis(ranked.columns, axis=1).T.groupby(level=0).mean().T
    left_out = sorted(set(by_competitor.index) - set(whole.index))
    unshared = int(there.to_numpy().sum()) - sum(frame.size for frame in by_replicate)
    return Ranks(table, by_data_set, metric, left_out, whole, by_replicate, unshared)


def _named(who: Key) -> str:
    return " ".join(map(str, who))


def _replicates(cells: Cells, where: Key, metric: str, competitors: Iterable[str]) -> pd.DataFrame:
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
    if ranked.unshared:
        print(f"- {ranked.unshared} runs whose replicate another competitor lacks are left out")
    p_values = ranked.p_values
    if p_values is None:
        print(f"- {n} data sets: to tell competitors apart takes {FEWEST_DATA_SETS} at least")
        return
    apart = [f"{one} and {other} (p = {p:.2g})" for (one, other), p in p_values.items() if p < LEVEL]
    how = f"Wilcoxon over {n} data sets, Holm over {len(p_values)} pairs, 5 %"
    print(f"- told apart ({how}): {', '.join(apart) or 'none'}")
    if (least := least_data_sets(k)) > n:
        print(f"- {n} data sets cannot tell any two of {k} apart, however they differ; that takes {least}")


def least_data_sets(competitors: int) -> int:
    """Data sets from which some pair can be told apart: Wilcoxon's least p over n of them is 2^(1 − n)."""
    pairs = competitors * (competitors - 1) // 2
    return next(n for n in itertools.count(FEWEST_DATA_SETS) if pairs * 2.0 ** (1 - n) < LEVEL)


def draw(ranked: Ranks, output: Path) -> None:
    """The figure as .pdf, .png or .svg: competitors on the axis of ranks, bars over those that are not told apart."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    p_values = ranked.p_values
    if p_values is None:
        n = ranked.table.shape[1]
        raise ConfigError(f"the figure needs {FEWEST_DATA_SETS} data sets, and there are {n}")
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
    for position, (first, last) in enumerate(cliques([*average.index], p_values)):
        axes.plot([average.iloc[first], average.iloc[last]], [-0.6 - 0.35 * position] * 2, color="black", lw=3)
    axes.set(xlabel=f"average rank over {ranked.table.shape[1]} data sets; bars: not told apart (Wilcoxon, Holm, 5 %)")
    axes.set_yticks([])
    axes.invert_yaxis()
    axes.margins(x=0.25)
    buffer = io.BytesIO()
    figure.savefig(buffer, format=output.suffix[1:], dpi=200)
    write_file(output, buffer.getvalue())


def cliques(names: Sequence[str], p_values: Mapping[tuple[str, str], float]) -> list[tuple[int, int]]:
    """Longest runs of two or more competitors of which no two are told apart, as (first, last) positions."""

    def alike(first: int, last: int) -> bool:
        return all(p_values[pair] >= LEVEL for pair in itertools.combinations(names[first : last + 1], 2))

    intervals: list[tuple[int, int]] = []
    for first in range(len(names)):
        last = max(end for end in range(first, len(names)) if alike(first, end))
        if last > first and not any(last <= end for _, end in intervals):
            intervals.append((first, last))
    return intervals
