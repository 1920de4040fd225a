"""What the data part hands on, and to whom: methods see a `LearnerView`, which has no clean labels (design.md §5)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from sfa_bench.data.bayes import Bayes


@dataclass(frozen=True)
class Transform:
    """How pixels become input: mean and std per channel of pixels in [0, 1]; padding in pixels; horizontal flip.

    Vectors come as they are; `jitter` is the standard deviation of the noise on a training view of them.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    padding: int = 0
    flip: bool = False
    jitter: float = 0.0


@dataclass(frozen=True)
class LearnerView:
    """All that a method may see: images uint8 [N, C, H, W], or vectors float32 [N, D]; observed labels int64 [N].

    There are no clean labels.
    """

    images: Tensor
    observed_labels: Tensor
    num_classes: int
    transform: Transform

    @property
    def observed_counts(self) -> Tensor:
        """Samples of each observed class, int64 [K]."""
        return torch.bincount(self.observed_labels, minlength=self.num_classes)


@dataclass(frozen=True)
class EvaluationSet:
    """Images uint8 [M, C, H, W] and the labels int64 [M] that predictions are compared with."""

    images: Tensor
    labels: Tensor


@dataclass(frozen=True)
class Data:
    """One training set with its long tail and its noise, and what only metrics may know about it.

    `index` int64 [N] is the position in the original training set; `clean_labels` int64 [N] are -1 where unknown, and
    then `noise_rate`, `confusion` (row clean, column observed) and `clean_counts` are None. `fingerprints` are 16 hex
    digits of SHA-256 each; `groups` maps many, medium, few, head, mid, tail to class ids (spec/data.md §7); `bayes`
    bounds what is possible, where the densities are known.
    """

    view: LearnerView
    index: np.ndarray
    clean_labels: np.ndarray
    test: EvaluationSet
    val: EvaluationSet | None
    noise_rate: float | None
    confusion: np.ndarray | None
    clean_counts: np.ndarray | None
    observed_counts: np.ndarray
    fingerprints: dict[str, str]
    groups: dict[str, list[int]]
    bayes: Bayes | None = None


@dataclass(frozen=True)
class Source:
    """A data set as its files hold it, before long tail and noise: images uint8 [n, H, W, C], labels int64 [n].

    Synthetic data are vectors float32 [n, D] with `log_density` (points [n, D] → log p(x|k) [n, K]) and `similar`, the
    class that asymmetric noise turns a class into.

    `labels_are_clean` is false where the labels may be noisy as they come (`arrays`); then `clean_labels` int64 [n] are
    the true ones if the files tell them.
    """

    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray
    num_classes: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    padding: int
    flip: bool
    labels_are_clean: bool = True
    clean_labels: np.ndarray | None = None
    jitter: float = 0.0
    log_density: Callable[[np.ndarray], np.ndarray] | None = None
    similar: dict[int, int] | None = None
