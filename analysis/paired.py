"""Pairs of runs of the same replicate, and their differences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtrit  # the quantile of Student's t; scipy.stats takes a second to import

from analysis.runs import Run
from analysis.values import Value
from sfa_bench.errors import ConfigError


@dataclass(frozen=True)
class Difference:
    """Mean paired difference in the metric's unit, its 95 % interval (None below two pairs) and the number of pairs."""

    mean: float
    interval: tuple[float, float] | None
    pairs: int


def paired_difference(values: Sequence[float], base: Sequence[float]) -> Difference:
    """Mean of values − base, pair by pair, with the t interval of 95 %."""
    differences = np.subtract(values, base)
    n, mean = len(differences), float(np.mean(differences))
    if n < 2:
        return Difference(mean, None, n)
    half = float(stdtrit(n - 1, 0.975) * np.std(differences, ddof=1) / np.sqrt(n))
    return Difference(mean, (mean - half, mean + half), n)


def value(run: Run, metric: str) -> float:
    """A metric that the run has, see `values`."""
    return float(run.metrics[metric])


def values(members: Sequence[Run], metric: str) -> list[float]:
    """The metric of the runs that have it."""
    return [value(run, metric) for run in members if run.metrics.get(metric) is not None]


def by_replicate(members: Sequence[Run], metric: str) -> dict[tuple[Value, Value], Run]:
    """The runs that have the metric, by (seed, data_seed). Raises ConfigError when two are the same replicate."""
    found: dict[tuple[Value, Value], Run] = {}
    for run in members:
        if run.metrics.get(metric) is None:
            continue
        if run.replicate in found:
            raise ConfigError(f"{found[run.replicate].path} and {run.path} are the same replicate: pairs are ambiguous")
        found[run.replicate] = run
    return found
