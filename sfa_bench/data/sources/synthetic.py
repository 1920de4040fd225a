"""A hierarchy of Gaussian classes whose densities are known (algorithms/data.md §11)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import logsumexp

from sfa_bench import memory
from sfa_bench.data.types import Source
from sfa_bench.streams import numpy_generator

if TYPE_CHECKING:
    from sfa_bench.choices.sources import DatasetConfig

JITTER = 0.05  # standard deviation of what separates two views of a sample
GROUP_SPREAD = 3.0  # of the groups' centres


class Densities:
    """Class-conditional densities: equal mixtures of unit Gaussians. means: for each class its modes [m_k, D]."""

    def __init__(self, means: list[np.ndarray]):
        self.means = means

    def __call__(self, points: np.ndarray) -> np.ndarray:
        """log p(x|k) of points [n, D] for every class, float64 [n, K]."""
        points = np.asarray(points, dtype=np.float64)
        constant = -0.5 * points.shape[1] * np.log(2 * np.pi)
        columns = []
        for modes in self.means:
            squared = np.stack([np.square(points - mode).sum(axis=1) for mode in modes])
            columns.append(logsumexp(-0.5 * squared, axis=0) - np.log(len(modes)) + constant)
        return np.stack(columns, axis=1)

    def draw(self, k: int, count: int, generator: np.random.Generator) -> np.ndarray:
        """Samples of class k, float64 [count, D]."""
        modes = self.means[k]
        centres = modes[generator.integers(len(modes), size=count)]
        return centres + generator.standard_normal(centres.shape)


def load(dataset: DatasetConfig, data_dir: Path, seed: int) -> Source:
    """Draw everything from `data_seed`. Class k belongs to group k mod groups, so that tails have heads beside them."""
    classes, dim = dataset.classes, dataset.dim
    points = classes * (dataset.size + dataset.test_size + dataset.submodes)
    memory.require(
        2 * 8 * dim * points,  # as float64, once more while the classes are joined
        f"synthetic data with dataset.classes={classes}, dataset.size={dataset.size}, dataset.dim={dim}",
        "set smaller ones",
    )
    generator = numpy_generator(seed, "synthetic")
    groups = min(dataset.groups, classes)
    group_centres = GROUP_SPREAD * generator.standard_normal((groups, dim))
    group_of = np.arange(classes) % groups
    centres = group_centres[group_of] + generator.standard_normal((classes, dim)) / dataset.overlap
    means = []
    for k in range(classes):
        several = dataset.submodes > 1 and k >= classes // 2
        offsets = (
            generator.standard_normal((dataset.submodes, dim)) / dataset.overlap if several else np.zeros((1, dim))
        )
        means.append(centres[k] + offsets)
    densities = Densities(means)
    train, test = (
        np.concatenate([densities.draw(k, size, numpy_generator(seed, stream, epoch=k)) for k in range(classes)])
        for stream, size in (("synthetic_train", dataset.size), ("synthetic_test", dataset.test_size))
    )
    return Source(
        train_images=train.astype(np.float32),
        train_labels=np.repeat(np.arange(classes), dataset.size),
        test_images=test.astype(np.float32),
        test_labels=np.repeat(np.arange(classes), dataset.test_size),
        num_classes=classes,
        mean=(),
        std=(),
        padding=0,
        flip=False,
        jitter=JITTER,
        log_density=densities,
        class_maps={"default": next_in_group(group_of)},
    )


def next_in_group(group_of: np.ndarray) -> dict[int, int]:
    """The class map of asymmetric noise: the next class of the group, cyclic; a class alone in its group keeps its
    labels.
    """
    turned: dict[int, int] = {}
    for group in np.unique(group_of):
        members = np.flatnonzero(group_of == group)
        if len(members) > 1:
            turned |= dict(zip(members.tolist(), np.roll(members, -1).tolist(), strict=True))
    return turned
