"""Clean is what the network is sure enough of, by a threshold for each class that grows as it learns
(algorithms/scs.md).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from sfa_bench.parts.confident import of_labels
from sfa_bench.parts.softmax import softmax
from sfa_bench.selectors.base import Probe, Selection, Selector, SelectorInputs

HIGHEST = 0.95  # of the global threshold


class SelfAdaptive(Selector):
    """SED's selection. Both thresholds start at 1/K and move once in each selection.

    momentum: of both; quantile: of the probabilities of observed labels, which the global threshold follows; `mean`
    takes their mean.
    """

    def __init__(self, num_classes: int, *, momentum: float, quantile: float | str):
        self.momentum, self.quantile = momentum, quantile
        self.general = torch.tensor(1 / num_classes, dtype=torch.float64)  # g
        self.by_class = torch.full((num_classes,), 1 / num_classes, dtype=torch.float64)  # l [K]

    @classmethod
    def of(cls, inputs: SelectorInputs) -> SelfAdaptive:
        options = inputs.options
        return cls(len(inputs.observed_counts), momentum=options.momentum, quantile=options.quantile)

    def select(self, probe: Probe, epoch: int) -> Selection:
        p = softmax(probe.logits.astype(np.float64), axis=1)
        label_probability = of_labels(p, probe.observed_labels)
        sure = (
            label_probability.mean()
            if isinstance(self.quantile, str)
            else np.quantile(label_probability, self.quantile)
        )
        general = self.momentum * float(self.general) + (1 - self.momentum) * float(sure)
        self.general = torch.tensor(min(general, HIGHEST), dtype=torch.float64)
        self.by_class = self.momentum * self.by_class + (1 - self.momentum) * torch.from_numpy(p.mean(axis=0))
        thresholds = (self.general * self.by_class / self.by_class.max()).numpy()
        return Selection.by_rule(
            probe, label_probability >= thresholds[probe.observed_labels], label_probability, label_probability
        )

    def state(self) -> dict[str, Any]:
        return {"general": self.general, "by_class": self.by_class}

    def load_state(self, state: dict[str, Any]) -> None:
        self.general, self.by_class = state["general"], state["by_class"]
