"""Pairs of runs of the same replicate, and their differences."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import ArrayLike

from analysis.runs import DATA, Run
from analysis.values import Value
from sfa_bench.errors import ConfigError

Replicate = tuple[Value, Value]  # (seed, data_seed)


@dataclass(frozen=True)
class Difference:
    """Mean paired difference in the metric's unit, its 95 % interval (None below two pairs) and the number of pairs."""

    mean: float
    interval: tuple[float, float] | None
    pairs: int


@dataclass(frozen=True)
class Pairs:
    """Runs of two sides by the replicate that they share, and those without a partner."""

    both: dict[Replicate, tuple[Run, Run]]
    alone: list[Run]

    def difference(self, metric: str) -> Difference:
        """Of the first side to the second."""
        ours, theirs = (values((pair[side] for pair in self.both.values()), metric) for side in (0, 1))
        return paired_difference(ours, theirs)


def pairs(ours: Sequence[Run], theirs: Sequence[Run], metric: str, compared: Iterable[str]) -> Pairs:
    """Pair the runs that have the metric. Args: compared, the keys that tell the sides apart.

    Raises: ConfigError when two runs of a side are the same replicate, or a pair saw different labels and no key of the
    data is compared.
    """
    mine, others = by_replicate(ours, metric), by_replicate(theirs, metric)
    both = {key: (mine[key], others[key]) for key in sorted(mine.keys() & others.keys())}
    if not compares_data(compared):
        for pair in both.values():
            check_labels(*pair)
    return Pairs(both, [run for key, run in [*mine.items(), *others.items()] if key not in both])


def compares_data(keys: Iterable[str]) -> bool:
    """Whether these keys distinguish data sets or noise, so that a pair may have different labels."""
    return any(key.split(".")[0] in (*DATA, "data_seed") for key in keys)


def check_labels(one: Run, other: Run) -> None:
    """Refuse a pair whose runs did not see the same labels."""
    if one.labels != other.labels:
        raise ConfigError(f"{one.path} and {other.path} are a pair by seed and data_seed but saw different labels")


def paired_difference(values: Sequence[float], base: Sequence[float]) -> Difference:
    """Mean of values − base, pair by pair, with the t interval of 95 %."""
    n, (mean, deviation) = len(values), mean_std(np.subtract(values, base))
    if n < 2:
        return Difference(mean, None, n)
    half = float(student(n) * deviation / np.sqrt(n))
    return Difference(mean, (mean - half, mean + half), n)


def mean_std(numbers: ArrayLike) -> tuple[float, float]:
    """`np.mean` and `np.std` with ddof=1, to the same bits; these take five times as long for a few numbers. The
    deviation of one is NaN.
    """
    array = np.asarray(numbers, dtype=np.float64)
    n = len(array)
    mean = np.add.reduce(array) / n
    above = array - mean
    return float(mean), float(np.sqrt(np.add.reduce(above * above) / (n - 1))) if n > 1 else float("nan")


@cache
def student(n: int) -> float:
    """How many standard errors a 95 % interval of the mean of n numbers reaches to each side."""
    from scipy.special import stdtrit  # a quarter of a second to import; scipy.stats takes a second

    return float(stdtrit(n - 1, 0.975))


def value(run: Run, metric: str) -> float:
    """A metric that the run has, see `values`."""
    number = run.number(metric)
    assert number is not None
    return number


def values(members: Iterable[Run], metric: str) -> list[float]:
    """The metric of the runs that have it."""
    return [number for run in members if (number := run.number(metric)) is not None]


def by_replicate(members: Sequence[Run], metric: str) -> dict[Replicate, Run]:
    """The runs that have the metric, by (seed, data_seed). Raises ConfigError when two are the same replicate."""
    runs: dict[Replicate, Run] = {}
    for run in members:
        if run.metrics.get(metric) is None:
            continue
        if (other := runs.setdefault(run.replicate, run)) is not run:
            raise ConfigError(f"{other.path} and {run.path} are the same replicate: pairs are ambiguous")
    return runs
