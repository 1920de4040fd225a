"""Part-dependent label noise (Xia et al., 2020, Appendix; algorithms/data.md §4): the new label depends on the image.

Sample i is mislabelled with probability q_i ~ N(ρ, 0.1²) truncated to [0, 1], independently of the image; the new label
is drawn from softmax(x_i W_a) without its own class a, where W_a [D, K] is standard normal, one for each class. Near
the ends the truncation moves the mean of q: 0.101 at ρ = 0.05, 0.206 at 0.2, 0.871 at 0.9. ρ = 0 is no noise, as in
every other model, although the truncated distribution would have a mean of 0.08 there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from sfa_bench.parts.softmax import softmax
from sfa_bench.streams import numpy_generator

SPREAD = 0.1  # standard deviation of q before it is truncated
BLOCK = 1000  # samples whose features are in memory at a time,
BLOCK_NUMBERS = 1 << 26  # and never more than so many numbers of them


def corrupt(
    features: Callable[[np.ndarray], np.ndarray],
    width: int,
    labels: np.ndarray,
    num_classes: int,
    ratio: float,
    seed: int,
) -> np.ndarray:
    """Observed labels int64 [N] for the clean labels int64 [N].

    Args: features gives the normalised test views of positions [n] as float64 [n, D]; width is D; seed is `data_seed`.
    """
    observed = labels.astype(np.int64, copy=True)
    if ratio == 0:
        return observed
    flips, draws = numpy_generator(seed, "noise").random((2, len(labels)))
    flipped = flips < _law(ratio).ppf(numpy_generator(seed, "instance_rate").random(len(labels)))
    for a in range(num_classes):
        members = np.flatnonzero(flipped & (labels == a))
        size = min(BLOCK, max(1, BLOCK_NUMBERS // width))
        for start in range(0, len(members), size):
            block = members[start : start + size]
            cumulative = new_label_probability(features(block), a, num_classes, seed).cumsum(axis=1)
            # the last column becomes exactly 1, so that no draw in [0, 1) falls behind it
            cumulative /= cumulative[:, -1:]
            observed[block] = (draws[block, None] >= cumulative).sum(axis=1)
    return observed


def new_label_probability(features: np.ndarray, clean_label: int, num_classes: int, seed: int) -> np.ndarray:
    """softmax(x W_a) of mislabelled samples of class a = clean_label, float64 [n, K]; 0 for that class.

    In float64: the scores are large, and their last bits differ between machines.
    """
    weights = numpy_generator(seed, "instance_weights", epoch=clean_label).standard_normal(
        (features.shape[1], num_classes)
    )
    scores = features @ weights
    scores[:, clean_label] = -np.inf
    return softmax(scores, axis=1)


def likelihood(features: np.ndarray, observed: np.ndarray, num_classes: int, ratio: float, seed: int) -> np.ndarray:
    """P(observed label | class a, features) for each sample and every class a, float64 [N, K]; q is not known."""
    rate = float(_law(ratio).mean()) if ratio > 0 else 0.0
    rows = np.arange(len(observed))
    columns = [rate * new_label_probability(features, a, num_classes, seed)[rows, observed] for a in range(num_classes)]
    probabilities = np.stack(columns, axis=1)
    probabilities[rows, observed] = 1 - rate
    return probabilities


def _law(ratio: float) -> Any:
    from scipy.stats import truncnorm

    return truncnorm(-ratio / SPREAD, (1 - ratio) / SPREAD, loc=ratio, scale=SPREAD)
