"""Instances Benefitting Classes: SFA's selection, and soft labels for the heads that classes near a sample share
(algorithms/ibc.md).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from sfa_bench.parts.shots import by_rank, neighbour_classes, shared_labels
from sfa_bench.selectors.base import Probe, Selection, SelectorInputs, Thresholds
from sfa_bench.selectors.sfa import StochasticFeatureAveraging

if TYPE_CHECKING:
    from sfa_bench.choices.heads import Head


class InstancesBenefittingClasses(StochasticFeatureAveraging):
    """IBC's selector and relabeller of one network; it has SFA's arguments, and these:

    observed_counts: int64 [K], by which classes are few-shot or medium ones.
    heads: those beside the main one, which learn soft labels; the main one learns observed labels.
    epsilon: share of a soft label that neighbour classes have [ε].
    kappa: share of the classes that are a sample's neighbours [κ], at least one.
    query_centre: what is subtracted from a feature before it is compared with centroids: the mean feature of the
        `dataset`, as in the centroids; or the mean over its own coordinates (`sample`), as in the release.
    """

    gives_targets = True

    def __init__(
        self,
        thresholds: Thresholds,
        *,
        observed_counts: np.ndarray,
        heads: Sequence[Head],
        epsilon: float = 0.1,
        kappa: float = 0.25,
        query_centre: str = "dataset",
        **averaging: Any,
    ):
        super().__init__(thresholds, **averaging)
        self.heads, self.epsilon, self.query_centre = heads, epsilon, query_centre
        num_classes = len(observed_counts)
        self.neighbours = max(1, int(kappa * num_classes + 1e-9))  # 0.29 · 100 is less than 29 in binary
        ends = int(0.3 * num_classes)
        _, medium, few = by_rank(np.asarray(observed_counts), ends, ends)
        self.shots = {name: np.isin(np.arange(num_classes), ids) for name, ids in (("medium", medium), ("few", few))}

    @classmethod
    def arguments(cls, inputs: SelectorInputs) -> dict[str, Any]:
        plugin = inputs.plugin
        return super().arguments(inputs) | {
            "observed_counts": inputs.observed_counts,
            "heads": inputs.heads,
            "epsilon": plugin.epsilon,
            "kappa": plugin.kappa,
            "query_centre": plugin.query_centre,
        }

    def select(self, probe: Probe, epoch: int) -> Selection:
        selection = super().select(probe, epoch)
        return replace(selection, targets=self.targets(probe, selection))

    def targets(self, probe: Probe, selection: Selection) -> Mapping[str, np.ndarray]:
        """Head → labels float32 [N, K] (algorithms/ibc.md §5)."""
        assert selection.prototypes is not None
        assert selection.center is not None
        assert self.initialised is not None
        own_mean = probe.features.mean(axis=1, keepdims=True, dtype=np.float64)
        queries = probe.features - (own_mean if self.query_centre == "sample" else selection.center)
        # The length of a query changes no order, so that it need not be 1.
        near = neighbour_classes(queries, selection.prototypes, self.initialised, self.neighbours)
        no_class = np.zeros(probe.num_classes, dtype=bool)
        sharing = {"main": no_class} | {head.name: self.shots[head.shots] for head in self.heads}
        return {
            name: shared_labels(probe.observed_labels, near & classes, self.epsilon).astype(np.float32)
            for name, classes in sharing.items()
        }
