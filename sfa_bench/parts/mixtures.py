"""Two-component Gaussian mixtures that turn a score into a clean probability (algorithms/sfa.md §5,
algorithms/methods.md §7).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from sfa_bench.parts.em import TwoGaussians
from sfa_bench.parts.prototypes import members_of_classes

# Relative range of scores that are equal but for rounding: two samples are as far from their mean as each other, and
# scaled to [0, 1] their last bits would tell a clean one from a noisy one.
SAME = 1e-12


def min_max(values: np.ndarray) -> np.ndarray:
    """Shift the minimum to 0 and, where the range is not zero, scale the maximum to 1."""
    shifted = values - values.min()
    top = shifted.max()
    return shifted / top if top > 0 else shifted


class Judgement(NamedTuple):
    """The posterior of a mixture for its values."""

    probability: np.ndarray  # posterior of the clean component [n]
    inverted: int  # values that a monotone posterior would move


def posteriors(
    groups: Sequence[np.ndarray], *, larger: bool, fit: str = "sklearn", monotone: bool = False, **options: Any
) -> list[Judgement]:
    """For each group of 1-D values [n] float64, the posterior of the component with the larger (or smaller) mean of a
    mixture fitted to it.

    scikit-learn's defaults are the reference (k-means start, seed 0, one start). A mixture stopped by `max_iter` is
    used as it stands: the releases stop early on purpose.

    fit: `sklearn`, one after the other (sfa_bench/parts/em.py), or `batched`, all at once (sfa_bench/parts/batched.py).
    monotone: beyond the clean component's mean the posterior never falls, and beyond the other's it never rises; with
    unequal variances it would. Between the means it is monotone by itself.
    options: max_iter (100), tol (1e-3), reg_covar (1e-6).
    """
    return [
        judge(values, mixture, larger=larger, monotone=monotone)
        for values, mixture in zip(groups, fitted(groups, fit=fit, **options), strict=True)
    ]


def posterior(values: np.ndarray, **options: Any) -> np.ndarray:
    """The posterior of one group of values: see `posteriors`."""
    return posteriors([values], **options)[0].probability


class Mixture(NamedTuple):
    """A fitted mixture."""

    means: np.ndarray  # [2]
    posteriors: Callable[[np.ndarray], np.ndarray]  # values [n] → [n, 2]


def fitted(groups: Sequence[np.ndarray], *, fit: str = "sklearn", **options: Any) -> Iterator[Mixture]:
    """The mixture of each group of values, in their order; arguments as in `posteriors`."""
    fits = {"sklearn": _by_sklearn, "batched": _batched}
    return fits[fit]([np.asarray(values, dtype=np.float64) for values in groups], **options)


def _by_sklearn(groups: Sequence[np.ndarray], **options: Any) -> Iterator[Mixture]:
    for values in groups:
        mixture = TwoGaussians(values, **options)
        yield Mixture(mixture.means, mixture.posteriors)


def _batched(groups: Sequence[np.ndarray], **options: Any) -> Iterator[Mixture]:
    from sfa_bench.parts.batched import fit_mixtures

    for weights, means, variances in fit_mixtures(groups, **options):
        yield Mixture(means, partial(_densities_shared, weights, means, variances))


def _densities_shared(weights: np.ndarray, means: np.ndarray, variances: np.ndarray, values: np.ndarray) -> np.ndarray:
    joint = np.log(weights / np.sqrt(variances)) - (values[:, None] - means) ** 2 / (2 * variances)
    share = np.exp(joint - joint.max(axis=1, keepdims=True))
    return share / share.sum(axis=1, keepdims=True)


def judge(values: np.ndarray, mixture: Mixture, *, larger: bool, monotone: bool = False) -> Judgement:
    """What a mixture says of values [n]; arguments as in `posteriors`."""
    values = np.asarray(values, dtype=np.float64)
    means = mixture.means
    clean = int(np.argmax(means) if larger else np.argmin(means))
    cleaner, ends = (values, means) if larger else (-values, -means)  # the larger, the cleaner
    probability = mixture.posteriors(values)[:, clean]
    inverted = count_inverted(cleaner, probability)
    if monotone:
        at_means = mixture.posteriors(means)[:, clean]
        order = np.argsort(cleaner, kind="stable")
        above, below = order[cleaner[order] >= ends[clean]], order[::-1][cleaner[order[::-1]] <= ends[1 - clean]]
        probability[above] = np.maximum.accumulate(np.maximum(probability[above], at_means[clean]))
        probability[below] = np.minimum.accumulate(np.minimum(probability[below], at_means[1 - clean]))
    return Judgement(probability, inverted)


def count_inverted(scores: np.ndarray, probability: np.ndarray) -> int:
    """Samples with a smaller clean probability than some sample of a lower score (the larger the score the cleaner)."""
    order = np.argsort(scores)
    ordered = scores[order]
    highest = np.concatenate([[-np.inf], np.maximum.accumulate(probability[order])])
    lower = np.searchsorted(ordered, ordered)  # the number of samples with a lower score
    return int((probability[order] < highest[lower] - 1e-12).sum())


class Posteriors(NamedTuple):
    """The posteriors of class-wise mixtures."""

    probability: np.ndarray  # of being clean [N] in [0, 1]
    unsplit: np.ndarray  # ids of the classes without a mixture; their samples have probability 1
    inverted: int  # samples that a monotone posterior would move, summed over the classes


def class_posteriors(
    scores: np.ndarray,
    labels: np.ndarray,
    num_classes: int,
    *,
    larger: bool,
    rescale: bool,
    min_samples: int = 2,
    **mixture: Any,
) -> Posteriors:
    """One mixture per observed class (algorithms/sfa.md §5).

    Args: scores [N]; labels [N] observed labels; larger: the clean component has the larger mean; rescale: min-max the
    scores within each class first; min_samples (2 or more): smaller classes get no mixture; fit, monotone, max_iter,
    tol, reg_covar: see `posteriors`.
    Classes that cannot be split have fewer than `min_samples` samples, or equal scores.
    """
    probability = np.ones(len(scores))
    unsplit, split, groups = [], [], []
    for k, members in enumerate(members_of_classes(labels, num_classes)):
        if len(members) == 0:
            continue
        values = scores[members]
        if len(members) < min_samples or np.ptp(values) <= SAME * np.abs(values).max():
            unsplit.append(k)
            continue
        split.append(members)
        groups.append(min_max(values) if rescale else values)
    judgements = posteriors(groups, larger=larger, **mixture)
    for members, judgement in zip(split, judgements, strict=True):
        probability[members] = judgement.probability
    return Posteriors(
        probability, np.array(unsplit, dtype=np.int64), sum(judgement.inverted for judgement in judgements)
    )
