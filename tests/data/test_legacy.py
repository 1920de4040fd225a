"""The label sets of the releases, number for number (algorithms/numbers.md §4)."""

import numpy as np
import pytest

from sfa_bench.choices.noises import NoiseConfig
from sfa_bench.data.imbalance import class_counts
from sfa_bench.data.legacy import LegacyGenerators
from sfa_bench.data.noise import noise_law

FIRST = {0: [260, 860, 20, 550, 750, 930, 160, 730], 123: [80, 700, 820, 280, 630, 0, 50, 500]}
LAST = {0: [829, 319, 619], 123: [339, 109, 219]}
FLIPPED = {0: [1, 2, 4, 6, 9, 12], 123: [1, 2, 9, 13, 17, 24]}
OBSERVED = {
    (0, "symmetric"): [73, 64, 50, 42, 36, 32, 25, 31, 27, 23],
    (0, "joint"): [100, 87, 50, 47, 26, 23, 28, 18, 14, 10],
    (123, "symmetric"): [67, 50, 56, 48, 43, 28, 27, 23, 30, 31],
    (123, "joint"): [92, 65, 65, 47, 39, 28, 19, 17, 18, 13],
}
LABELS = {
    (0, "symmetric"): [0, 3, 7, 0, 2, 0, 2, 0, 0, 2, 0, 0],
    (0, "joint"): [0, 6, 1, 0, 3, 0, 2, 0, 0, 3, 0, 0],
    (123, "symmetric"): [0, 1, 4, 0, 0, 0, 0, 0, 0, 7, 0, 0],
    (123, "joint"): [0, 1, 3, 0, 0, 0, 0, 0, 0, 5, 0, 0],
}


@pytest.mark.parametrize("mode", ["symmetric", "joint"])
@pytest.mark.parametrize("seed", [0, 123])
def test_subset_and_labels_are_the_releases(seed, mode):
    original = np.arange(1000) % 10
    counts = class_counts("exp", 0.1, 1000, np.full(10, 100))
    assert counts.tolist() == [100, 77, 59, 46, 35, 27, 21, 16, 12, 10]

    legacy = LegacyGenerators(seed)
    index = legacy.take(original, counts)
    assert index[:8].tolist() == FIRST[seed]
    assert index[-3:].tolist() == LAST[seed]

    law = noise_law(NoiseConfig(mode), 0.4, counts, np.random.default_rng())
    clean = original[index]
    observed = legacy.corrupt(clean, law, symmetric=mode == "symmetric")
    flipped = np.flatnonzero(observed != clean)
    assert len(flipped) == 161
    assert flipped[:6].tolist() == FLIPPED[seed]
    assert np.bincount(observed, minlength=10).tolist() == OBSERVED[seed, mode]
    assert observed[:12].tolist() == LABELS[seed, mode]
    assert observed.dtype == np.int64
