"""The input and the output of selectors."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from sfa_bench.errors import RunError

if TYPE_CHECKING:
    from torch import Tensor

    from sfa_bench.choices.heads import Head
    from sfa_bench.choices.selectors import PluginConfig, SelectorConfig
    from sfa_bench.config.schema import Effective


@dataclass(frozen=True)
class Probe:
    """One evaluation-mode pass of a network over all N training samples, in data set order, or over a draw of them."""

    features: np.ndarray  # [N, d] float32, the input of the heads
    logits: np.ndarray  # [N, K] float32, main head
    abc_logits: np.ndarray | None  # [N, K] float32, balanced head
    observed_labels: np.ndarray  # [N] int64
    rows: np.ndarray | None = None  # [N] int64, where these samples are in the training set; None: all, in order
    others: tuple[Probe, ...] = ()  # of the other networks, over the same samples, where a selector asks for them
    projections: np.ndarray | None = None  # [N, p] float32, what the network's projector makes of the features

    @property
    def num_classes(self) -> int:
        return self.logits.shape[1]


@dataclass(frozen=True)
class Selection:
    """The samples that are selected as clean for a network."""

    mask: np.ndarray  # s [N] bool
    clean_probability: np.ndarray  # w [N] float64 in [0, 1]
    score: np.ndarray  # [N] float64, the larger the cleaner; comparable within an observed class
    class_counts: np.ndarray  # nˢ [K] int64, selected samples by observed label
    classes_drawn: int = 0
    prototypes: np.ndarray | None = None  # [K, d] in the space of centred unit features, where the selector has them
    center: np.ndarray | None = None  # [d], the mean of the features that the prototypes' space is centred on
    inverted: int | None = None  # samples with a lower probability than one of a lower score (class-wise mixtures)
    fallbacks: dict[str, int] = field(default_factory=dict)  # special case → number of classes
    rows: np.ndarray | None = None  # [n] int64, the samples that were judged; None: all of them
    labels: np.ndarray | None = None  # [N] int64, to train on in the place of the observed ones; None: those
    # Head → [N, K] float32, rows that sum to 1: what the network that selected is to learn from labelled samples.
    targets: Mapping[str, np.ndarray] | None = None

    @classmethod
    def by_rule(
        cls,
        probe: Probe,
        mask: np.ndarray,
        probability: np.ndarray,
        score: np.ndarray,
        labels: np.ndarray | None = None,
    ) -> Selection:
        """What a rule selects that has no threshold on a probability; classes that it leaves without a sample are said.

        Args: [N] each; labels as in a selection.
        """
        used, num_classes = probe.observed_labels if labels is None else labels, probe.num_classes
        counts = np.bincount(used[mask], minlength=num_classes)
        emptied = int(((counts == 0) & (np.bincount(used, minlength=num_classes) > 0)).sum())
        fallbacks = {"class_without_clean_sample": emptied} if emptied else {}
        return cls(mask, probability, score, counts, fallbacks=fallbacks, labels=labels)

    def among(self, count: int, rows: np.ndarray | None) -> Selection:
        """This selection of the samples at `rows` [n], extended to all `count` samples of the training set: the others
        are not selected, and have no probability and no score (NaN). `rows=None`: it covers all already.
        """
        if rows is None:
            return self
        if self.targets is not None:
            raise RunError(f"targets are of all samples, and these are {len(rows)}: set dataset.selection_draw=0")
        mask = np.zeros(count, dtype=bool)
        probability, score = np.full((2, count), np.nan)
        mask[rows], probability[rows], score[rows] = self.mask, self.clean_probability, self.score
        labels = self.labels
        if labels is not None:
            labels = np.full(count, -1, dtype=np.int64)
            labels[rows] = self.labels
        return replace(self, mask=mask, clean_probability=probability, score=score, rows=rows, labels=labels)


@dataclass(frozen=True)
class Thresholds:
    """How every selector turns clean probabilities into a mask."""

    p_threshold: float = 0.5
    no_clean_class: str = "keep_all"  # or "none"
    min_samples: int = 2
    monotone: bool = False  # a mixture's posterior never falls as the score rises
    fit: str = "sklearn"  # or "batched"

    @property
    def mixtures(self) -> dict[str, Any]:
        """The options for `class_posteriors`."""
        return {"min_samples": self.min_samples, "monotone": self.monotone, "fit": self.fit}

    def decide(
        self,
        probability: np.ndarray,
        score: np.ndarray,
        labels: np.ndarray,
        num_classes: int,
        unsplit: np.ndarray | None = None,
        **notes: Any,
    ) -> Selection:
        """Select what is above the threshold; a class left without a sample is kept whole or left empty (`keep_all`,
        `none`: algorithms/sfa.md §5). Samples of an unsplit class have probability 1.
        """
        mask = probability > self.p_threshold
        fallbacks = dict(notes.pop("fallbacks", {}))
        if unsplit is not None and len(unsplit):
            fallbacks["class_without_mixture"] = len(unsplit)
        counts = np.bincount(labels[mask], minlength=num_classes)
        emptied = np.flatnonzero((counts == 0) & (np.bincount(labels, minlength=num_classes) > 0))
        if len(emptied):
            fallbacks["class_without_clean_sample"] = len(emptied)
            if self.no_clean_class == "keep_all":
                mask |= np.isin(labels, emptied)
                counts = np.bincount(labels[mask], minlength=num_classes)
        return Selection(mask, probability, score, counts, fallbacks=fallbacks, **notes)


@dataclass(frozen=True)
class Samples:
    """The training samples of a run in their data set: index int64 [N], the paths of image files, and the size of the
    data set's whole training set.
    """

    index: np.ndarray
    paths: Sequence[str] | None
    size: int


@dataclass(frozen=True)
class SelectorInputs:
    """The inputs of `of` of the suite's selectors, for one network.

    options: `method.selector`, resolved; averaged: it averages over epochs; clean_labels int64 [N], -1 where unknown,
    and None for all but those whose description says that they know them; observed_counts int64 [K]; first_epoch: of
    the selections; generator: epoch → that of its draws; heads: of its network, beside the main one; samples: for those
    whose description says that they ask for them.
    """

    thresholds: Thresholds
    plugin: PluginConfig
    effective: Effective
    options: SelectorConfig
    averaged: bool
    clean_labels: np.ndarray | None
    observed_counts: Any
    first_epoch: int
    generator: Callable[[int], np.random.Generator]
    heads: Sequence[Head]
    samples: Samples | None = None


def flaw(selection: Any, probe: Probe) -> str:
    """The error of a selection for this probe, as the end of a sentence; empty where it is valid."""
    if not isinstance(selection, Selection):
        return f"it must return a Selection, not {type(selection).__name__}"
    n, labels, num_classes = len(probe.observed_labels), probe.observed_labels, probe.num_classes
    shapes = {"mask": (n,), "clean_probability": (n,), "score": (n,), "class_counts": (num_classes,)}
    for name, shape in shapes.items():
        values = getattr(selection, name)
        kinds = {"mask": "b", "class_counts": "iuf"}.get(name, "fiub")
        if not isinstance(values, np.ndarray) or values.shape != shape or values.dtype.kind not in kinds:
            is_now = f"{values.dtype} {list(values.shape)}" if isinstance(values, np.ndarray) else type(values).__name__
            wanted = {"b": "bool", "i": "int64", "f": "float64"}[kinds[0]]
            return f"{name} is {is_now}: it must be a NumPy array {wanted} {list(shape)}"
        if np.isnan(values).any():
            return f"{name} has values that are not numbers (NaN)"
    lowest, highest = selection.clean_probability.min(initial=0), selection.clean_probability.max(initial=1)
    if lowest < 0 or highest > 1 + 1e-9:  # a posterior may exceed 1 by rounding
        return f"clean_probability lies in [{lowest:g}, {highest:g}]: it must lie in [0, 1]"
    if selection.labels is not None:
        labels = selection.labels
        if not isinstance(labels, np.ndarray) or labels.shape != (n,) or labels.dtype != np.int64:
            return f"labels must be a NumPy array int64 [{n}]"
        if n and not 0 <= labels.min() <= labels.max() < num_classes:
            return f"labels lie in [{labels.min()}, {labels.max()}]: they must be classes, 0 to {num_classes - 1}"
    counts = np.bincount(labels[selection.mask], minlength=num_classes)
    whole = selection.class_counts.dtype.kind != "f"  # a selector that weights samples may count in fractions
    if (whole and (selection.class_counts != counts).any()) or (selection.class_counts < 0).any():
        return (
            f"class_counts is {selection.class_counts.tolist()[:10]}, and by label it selects "
            f"{counts.tolist()[:10]}: they must be np.bincount(labels[mask], minlength=num_classes)"
        )
    for head, targets in (selection.targets or {}).items():
        shaped = isinstance(targets, np.ndarray) and targets.shape == (n, num_classes)
        if not shaped or (targets < 0).any() or not np.allclose(targets.sum(axis=1), 1):
            return f"targets[{head!r}] must be a NumPy array [{n}, {num_classes}] whose rows are distributions"
    return ""


class Selector:
    """A selector of one network. Stateless ones need only `select`."""

    knows: tuple[str, ...] = ()  # what a class from outside the suite is told beyond the observed labels
    all_networks: bool = False  # `probe.others` has the other networks' probes, which are then all of the same samples
    gives_targets = False  # its selections have `targets`, which not every method trains on

    def select(self, probe: Probe, epoch: int) -> Selection:
        """Select for the epoch (1-based) that is about to be trained."""
        raise NotImplementedError

    def answer(self, probe: Probe, epoch: int) -> Selection:
        """The result of `select`. Raises RunError where it is not a valid selection of the probe's samples."""
        selection = self.select(probe, epoch)
        if wrong := flaw(selection, probe):
            raise RunError(f"{type(self).__name__}.select in epoch {epoch}: {wrong}")
        return selection

    def watch(self, logits: Tensor) -> None:
        """See the main head's logits [B, K] of a batch that its network is trained on, in the order of the steps; only
        for those whose description says that they watch.
        """
        raise NotImplementedError

    def state(self) -> dict[str, Any]:
        """The state that must survive a restart: tensors and plain types."""
        return {}

    def load_state(self, state: dict[str, Any]) -> None:
        """Restore the result of `state`."""


def shown(selectors: Sequence[Selector], probes: Sequence[Probe]) -> list[Probe]:
    """What the selector of each network sees: the network's own probe, with the others' beside it where it asks."""
    return [
        replace(probe, others=tuple(other for other in probes if other is not probe))
        if selector.all_networks
        else probe
        for selector, probe in zip(selectors, probes, strict=True)
    ]
