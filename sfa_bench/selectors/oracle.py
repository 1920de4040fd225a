"""The upper bound: selects by the clean labels. For diagnosis only; the record says that it knew the clean labels."""

from __future__ import annotations

import numpy as np

from sfa_bench.errors import ConfigError
from sfa_bench.selectors.base import Probe, Selection, Selector, SelectorInputs


class Oracle(Selector):
    """The only selector to which the engine gives clean labels."""

    def __init__(self, clean_labels: np.ndarray):
        self.clean_labels = clean_labels

    @classmethod
    def of(cls, inputs: SelectorInputs) -> Oracle:
        """Raises: ConfigError where the data have no clean labels."""
        assert inputs.clean_labels is not None
        if (inputs.clean_labels < 0).any():
            raise ConfigError(
                "method.selector.name=oracle needs clean labels, which this data set does not have; use another"
            )
        return cls(inputs.clean_labels)

    def select(self, probe: Probe, epoch: int) -> Selection:
        labels = probe.observed_labels
        mask = labels == (self.clean_labels if probe.rows is None else self.clean_labels[probe.rows])
        truth = mask.astype(np.float64)
        return Selection(mask, truth, truth, np.bincount(labels[mask], minlength=probe.num_classes))
