"""The result of a user's own function for `conf/dataset`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class Arrays:
    """Training and test set: images uint8 [N, H, W] or [N, H, W, C], or features float [N, D]; labels int [N], 0…K-1.

    y_train_clean: the clean training labels, where they are known; class_names [K].
    """

    x_train: np.ndarray
    y_train: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray
    y_train_clean: np.ndarray | None = None
    class_names: Sequence[str] | None = None
