"""Data sets, and the views of them: methods see a `LearnerView`, which has no clean labels
(contributing/architecture.md §2).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from sfa_bench.choices.sources import USUAL_STRONG
from sfa_bench.data.bayes import Bayes
from sfa_bench.data.images import ImageFiles

Images = Tensor | ImageFiles  # uint8 [N, C, H, W] or vectors float32 [N, D] in memory; or files


@dataclass(frozen=True)
class Transform:
    """How pixels become input: mean and std per channel of pixels in [0, 1]; padding in pixels; horizontal flip.

    Vectors come as they are; `jitter` is the standard deviation of the noise on a training view of them. `policy`:
    `module.function` of what changes training views beside, None for nothing; `strong`: of what changes strong ones.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    padding: int = 0
    flip: bool = False
    jitter: float = 0.0
    policy: str | None = None
    strong: str = USUAL_STRONG

    def changed(self, policy: str | None = None, strong: str = USUAL_STRONG) -> Transform:
        """The same with these policies."""
        return replace(self, policy=policy, strong=strong)


@dataclass(frozen=True)
class LearnerView:
    """What a method may see: N images or vectors, and their observed labels int64 [N].

    There are no clean labels. class_embeddings: float32 [K, d_e] of the classes' names, where the data have them.
    """

    images: Images
    observed_labels: Tensor
    num_classes: int
    transform: Transform
    class_embeddings: Tensor | None = None

    @property
    def observed_counts(self) -> Tensor:
        """Samples of each observed class, int64 [K]."""
        return torch.bincount(self.observed_labels, minlength=self.num_classes)


@dataclass(frozen=True)
class EvaluationSet:
    """M images or vectors and the labels int64 [M] that predictions are compared with."""

    images: Images
    labels: Tensor


@dataclass(frozen=True)
class Data:
    """A training set with its long tail and its noise, and what only metrics may know about it.

    `index` int64 [N] is the position in the original training set; `clean_labels` int64 [N] are -1 where unknown, and
    then `noise_rate`, `confusion` (row clean, column observed) and `clean_counts` are None. `fingerprints` are 16 hex
    digits of SHA-256 each; `groups` maps many, medium, few, head, mid, tail to class ids (algorithms/data.md §7);
    `bayes` bounds what is possible, where the densities are known. `more_tests` are further test sets by the first part
    of their metrics' names (`test_imagenet`). `fold` are the samples that `dataset.fold` leaves out of training, with
    their observed labels, and `fold_index` int64 their positions in the original training set, which has `size`
    samples. `own_val`: the validation set is the data set's own, and chooses an epoch of each network. `skipped` are
    unreadable image files that were left out, as `part: name`; `left_out` counts files
    that are not images by their ending. `class_names` [K] where the data have them; `notes` are messages for the user;
    `drawn_with` are the versions and sizes that drawn images depend on.
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
    more_tests: Mapping[str, EvaluationSet] = field(default_factory=dict)
    fold: EvaluationSet | None = None
    fold_index: np.ndarray | None = None
    size: int = 0
    own_val: bool = False
    skipped: tuple[str, ...] = ()
    left_out: Mapping[str, int] = field(default_factory=dict)
    class_names: tuple[str, ...] | None = None
    notes: tuple[str, ...] = ()
    drawn_with: Mapping[str, str] = field(default_factory=dict)

    @property
    def known_fingerprints(self) -> dict[str, str | None]:
        """`fingerprints` to show: None for unknown clean labels, whose fingerprint is the same for all data.

        A run's identity keeps it, because it covers the test labels, too.
        """
        unknown = bool((self.clean_labels < 0).any())
        return {name: None if unknown and name == "clean_labels" else v for name, v in self.fingerprints.items()}

    def class_label(self, k: int) -> str:
        """The name of class k where it has one, else its number."""
        return str(k) if self.class_names is None else self.class_names[k]


@dataclass(frozen=True)
class Source:
    """A data set as its files hold it, before long tail and noise: labels int64 [n], and images uint8 [n, H, W, C] or
    in files; there `padding` is 0, since the framing has its own crop.

    Vectors are float32 [n, D], and their `mean` and `std` are (). `log_density`: points [n, D] → log p(x|k) [n, K].
    `class_maps`: the class that asymmetric noise turns a class into, by the name of the map.

    `labels_are_clean` is false where the labels may be noisy already (`arrays`); then `clean_labels` int64 [n] are the
    clean labels if the files have them.

    `val_images` and `val_labels` are a validation set of the data set's own; `more_tests`, see `Data`. `by_rank`: an
    imbalance goes by the rank of a class's natural size, not by its number (algorithms/data.md §3). `skipped` are the
    files that were left out because they are missing (`dataset.on_bad_image=skip`), each as `part: name`; `original`
    int64 [n] are then the positions of the training images in the list as it stands, None for all of it. `left_out`,
    `class_names`, `notes`, `drawn_with`: see `Data`; `class_embeddings` [K, d_e]: see `LearnerView`.
    """

    train_images: np.ndarray | ImageFiles
    train_labels: np.ndarray
    test_images: np.ndarray | ImageFiles
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
    class_maps: Mapping[str, Mapping[int, int]] = field(default_factory=dict)
    val_images: np.ndarray | ImageFiles | None = None
    val_labels: np.ndarray | None = None
    more_tests: Mapping[str, tuple[ImageFiles, np.ndarray]] = field(default_factory=dict)
    by_rank: bool = False
    skipped: tuple[str, ...] = ()
    original: np.ndarray | None = None
    left_out: Mapping[str, int] = field(default_factory=dict)
    class_names: tuple[str, ...] | None = None
    notes: tuple[str, ...] = ()
    drawn_with: Mapping[str, str] = field(default_factory=dict)
    class_embeddings: np.ndarray | None = None
