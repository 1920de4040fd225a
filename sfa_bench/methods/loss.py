"""The loss of a configuration, of the suite or of the user."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from sfa_bench.choices.losses import CONSTANTS, LossConfig
from sfa_bench.config import external
from sfa_bench.errors import RunError
from sfa_bench.parts.losses import Loss, make_loss


def loss_of(described: LossConfig) -> Loss:
    """The loss of a resolved configuration."""
    if described.target is not None:
        return own_loss(described.target, described.arguments)
    return make_loss(described.name, **{name: getattr(described, name) for name in CONSTANTS})


def own_loss(target: str, arguments: Mapping[str, Any]) -> Loss:
    """A user's own loss. When called, it raises RunError where it does not return one value for each row."""
    function = external.load("loss", target)

    def checked(logits: Tensor, labels: Tensor, counts: Tensor) -> Tensor:
        # integers, also where a selector weights samples
        values = function(logits, labels, counts.round().to(torch.int64), **arguments)
        if not isinstance(values, Tensor) or values.shape != labels.shape:
            actual = list(values.shape) if isinstance(values, Tensor) else type(values).__name__
            raise RunError(f"the loss {target} gave {actual} for {len(labels)} rows: it must give one value for each")
        return values

    return checked
