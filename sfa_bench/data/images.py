"""Images that stay in their files until they are asked for (spec/data.md §1): what they are, and how a view is framed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np


@dataclass(frozen=True)
class Framing:
    """From a decoded image to a square view.

    The shorter side is scaled to `resize` pixels (bilinear). A test view is the central square of `crop` pixels; a
    training view is torchvision's `RandomResizedCrop(crop)` with its usual scale and ratio, or where `random` is
    `plain` its `RandomCrop(crop)`.
    """

    resize: int
    crop: int
    random: Literal["resized", "plain"] = "resized"


@dataclass(frozen=True)
class ImageFiles:
    """N RGB images by their files, in the order of the list that names them.

    names: bytes [N] (NumPy `S`), paths below `root` with `/` between folders; sizes: of the files in bytes, int64 [N].
    """

    root: Path
    names: np.ndarray
    sizes: np.ndarray
    framing: Framing

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, rows: np.ndarray) -> ImageFiles:
        """Those at the positions, or under the mask, `rows`."""
        return replace(self, names=self.names[rows], sizes=self.sizes[rows])

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """[N, C, H, W] of their views."""
        return len(self.names), 3, self.framing.crop, self.framing.crop

    def path(self, position: int) -> Path:
        return self.root / self.names[position].decode()
