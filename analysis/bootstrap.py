"""Inference on the mean of paired differences: a bootstrap over data set → data_seed → seed.

The replicates of a data set are shared by all its cells (methods, noise ratios …), so a draw takes or leaves a
replicate in all cells at once. Cells are fixed and have equal weight.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Replicate = tuple[Any, Any]  # (seed, data_seed)
Differences = Mapping[Any, Mapping[Any, Mapping[Replicate, float]]]  # data set -> cell -> replicate -> ours − theirs
DRAWS = 10_000
POWER = 0.8
FEWEST_DATA_SETS = 5  # fewest data sets from which a claim says something about others, and competitors are compared
ROUNDING = 1e-9  # relative, of sums of differences
MOST_FLIPPED = 40  # independent replicates whose signs are enumerated, in two halves of a million sums each


@dataclass(frozen=True)
class Estimate:
    """Mean difference, its 95 % interval and two-sided p value (None where one replicate gives no spread).

    `replicates` is the smallest number of independent replicates in a cell: label sets where they vary, else seeds.
    """

    mean: float
    interval: tuple[float, float] | None
    p: float | None
    replicates: int
    error: float | None


def estimate(differences: Differences, draws: int = DRAWS) -> Estimate:
    """Mean over data sets of the mean over cells of the mean over replicates, with its uncertainty.

    Percentiles of a bootstrap are too narrow for a handful of replicates (they never leave the range of the data), so
    interval and p are Student's with n − 1 degrees of freedom around the bootstrap's standard error, which is widened
    by √(n/(n−1)): for one cell of one data set these are the paired t test's, up to the draws.

    A data set that is drawn twice has its replicates drawn anew. With variance u between S data sets, and v of the mean
    of one, the error's square is (n/(n−1)·(S−1)/S·(u + v) + v)/S on average, and the mean's variance (u + v)/S: spread
    inside data sets counts twice. So the interval is conservative for S ≥ n, and for fewer unless u is large beside v.
    """
    generator = np.random.default_rng(0)  # the same runs give the same result
    sets = len(differences)
    chosen = generator.integers(sets, size=(draws, sets))
    effects = np.empty(chosen.shape)
    for number, cells in enumerate(differences.values()):
        slots = chosen == number
        effects[slots] = _draws(cells, int(slots.sum()), generator)
    mean = float(np.mean([np.mean([np.mean([*c.values()]) for c in cells.values()]) for cells in differences.values()]))
    n = min(replicates(cell) for cells in differences.values() for cell in cells.values())
    if n < 2:
        return Estimate(mean, None, None, n, None)
    from scipy import stats  # it takes a second to import

    error = float(np.sqrt(n / (n - 1)) * np.std(effects.mean(axis=1)))
    if error < ROUNDING * abs(mean):  # equal differences, but for the last digits of their subtraction
        error = 0.0
    half = float(stats.t.ppf(0.975, n - 1)) * error
    p = float(mean == 0) if error == 0 else float(2 * stats.t.sf(abs(mean) / error, n - 1))
    return Estimate(mean, (mean - half, mean + half), p, n, error)


def replicates(cell: Mapping[Replicate, float]) -> int:
    """The number of independent replicates of a cell: label sets, or seeds where all labels are the same."""
    labels = len({data_seed for _, data_seed in cell})
    return labels if labels > 1 else len(cell)


def _draws(cells: Mapping[Any, Mapping[Replicate, float]], draws: int, generator: np.random.Generator) -> NDArray:
    """The data set's effect in each draw [draws]."""
    everyone = sorted({replicate for cell in cells.values() for replicate in cell}, key=str)
    place = {replicate: position for position, replicate in enumerate(everyone)}
    values = np.zeros((len(everyone), len(cells)))
    known = np.zeros_like(values)
    for column, cell in enumerate(cells.values()):
        for replicate, difference in cell.items():
            values[place[replicate], column], known[place[replicate], column] = difference, 1
    by_labels: dict[Any, list[int]] = {}
    for replicate, position in place.items():
        by_labels.setdefault(replicate[1], []).append(position)
    times = _times([*by_labels.values()], len(everyone), draws, generator)
    taken = times @ known
    with np.errstate(invalid="ignore"):  # a cell without any of the drawn replicates counts nowhere in that draw
        means = np.where(taken > 0, times @ values / taken, np.nan)
    present = ~np.isnan(means)
    # A draw without any cell of a ragged data set is replaced by the data set's mean.
    whole = np.nanmean(np.where(known > 0, values, np.nan))
    count = present.sum(axis=1)
    return np.where(count > 0, np.where(present, means, 0).sum(axis=1) / np.maximum(count, 1), whole)


def _times(groups: Sequence[Sequence[int]], size: int, draws: int, generator: np.random.Generator) -> NDArray:
    """The count of each replicate [draws, size]: label sets with replacement, then seeds within each."""
    times = np.zeros((draws, size))
    rows = np.arange(draws)
    chosen = generator.integers(len(groups), size=(draws, len(groups)))
    longest = max(map(len, groups))
    table = np.array([[group[i % len(group)] for i in range(longest)] for group in groups])
    sizes = np.array([len(group) for group in groups])
    for slot in chosen.T:
        for turn in range(longest):
            inside = turn < sizes[slot]
            member = table[slot, (generator.random(draws) * sizes[slot]).astype(int)]
            np.add.at(times, (rows, member), inside / sizes[slot])
    return times


def sign_flip(differences: Differences) -> tuple[float, int] | None:
    """Exact two-sided p value of the mean difference if the sign of every independent replicate were arbitrary, and the
    number of these; None where they are more than `MOST_FLIPPED`.

    A replicate (a label set, or a seed where all labels are the same) has one sign in all cells of its data set. This
    assumes no distribution, but n replicates can have no p below 2^(1 − n).
    """
    shares = np.array([share for cells in differences.values() for share in _shares(cells)]) / len(differences)
    p = flipped(shares)
    return None if p is None else (p, len(shares))


def flipped(terms: NDArray[np.float64]) -> float | None:
    """Two-sided p value of a sum if the sign of each term were arbitrary, counted over all signs; None for more terms
    than `MOST_FLIPPED`.
    """
    n, total = len(terms), abs(float(terms.sum()))
    if n > MOST_FLIPPED:
        return None
    rounding = ROUNDING * float(np.abs(terms).sum())
    if total <= rounding:
        return 1.0
    one, other = _signed_sums(terms[: n // 2]), np.sort(_signed_sums(terms[n // 2 :]))
    above = len(other) * len(one) - int(np.searchsorted(other, total - rounding - one).sum())
    return 2 * above / 2**n


def _shares(cells: Mapping[Any, Mapping[Replicate, float]]) -> list[float]:
    """What each independent replicate of a data set adds to its effect, the mean over its cells."""
    labels_vary = len({data_seed for cell in cells.values() for _, data_seed in cell}) > 1
    shares: dict[Any, float] = defaultdict(float)
    for cell in cells.values():
        for (seed, data_seed), difference in cell.items():
            shares[data_seed if labels_vary else seed] += difference / len(cell) / len(cells)
    return [*shares.values()]


def _signed_sums(terms: NDArray[np.float64]) -> NDArray[np.float64]:
    """The sums for all combinations of signs [2^n]."""
    sums = np.zeros(1)
    for term in terms:
        sums = np.concatenate([sums + term, sums - term])
    return sums


def superiority(differences: Differences) -> float:
    """Probability that ours is above theirs in a pair, ties as half; cells and data sets count the same."""

    def share(cell: Mapping[Replicate, float]) -> float:
        return float(np.mean([0.5 if value == 0 else value > 0 for value in cell.values()]))

    return float(np.mean([np.mean([share(cell) for cell in cells.values()]) for cells in differences.values()]))


def holm(p_values: Sequence[float]) -> list[float]:
    """p values adjusted for the number of claims (Holm 1979), in the order given."""
    adjusted = [0.0] * len(p_values)
    largest = 0.0
    for rank, position in enumerate(np.argsort(p_values)):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[position]))
        adjusted[position] = largest
    return adjusted


def needed(effect: Estimate, most: int = 1000) -> int | None:
    """Replicates at which a paired t test at 5 % finds a mean of this size with 80 % power; None beyond `most`.

    The spread of one replicate is taken from the estimate's standard error.
    """
    if not effect.error:
        return None
    from scipy import stats

    size = abs(effect.mean) / (effect.error * np.sqrt(effect.replicates))
    for n in range(2, most + 1):
        limit = stats.t.ppf(0.975, n - 1)
        if not stats.nct.sf(limit, n - 1, size * np.sqrt(n)) < POWER:  # SciPy (1.17) has NaN for a huge effect
            return n
    return None
