"""What a recipe is: backbone and schedule of one data set, or of one original."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Recipe:
    """Backbone and schedule. `nominal` = epochs that per-epoch constants refer to.

    method: the original's values of keys of `method` (`partner`, `selector.variant`), for those that are null.
    """

    model: str
    epochs: int
    warmup_epochs: int
    batch_size: int  # labelled; warm-up and single-network steps take twice as many
    lr: float = 0.02
    weight_decay: float = 5e-4
    momentum: float = 0.9
    milestone: float = 0.75  # the learning rate drops in epochs e > milestone * E
    nominal: int = 200
    own_batch: bool = False  # single-network steps take the batch itself, not twice as many
    drop_last: bool = False
    schedule: str = "step"
    adam: bool = False
    width: int | None = None  # of backbones that have several, instead of their own
    pretrained: bool = False  # it starts from weights that the user brings
    method: Mapping[str, Any] = field(default_factory=dict)
