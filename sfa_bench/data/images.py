"""Images in files: decoding them, and cropping views of them (algorithms/data.md
§1).
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from sfa_bench.choices.options import MAX_PIXELS
from sfa_bench.data.decoded import Cache
from sfa_bench.data.image_formats import BadImage, decode, import_pillow

__all__ = ["BadImage", "Framing", "ImageFiles", "box", "decode", "import_libraries", "resized", "train_view"]

# RandomResizedCrop's default share of the area and aspect ratio (as in torchvision), and its number of tries
SCALE, RATIO, TRIES = (0.08, 1.0), (3 / 4, 4 / 3), 10
# Largest aspect ratio: a more extreme image would fill the memory once its shorter side is scaled.
LONGEST = 50


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

    @property
    def numbers(self) -> int:
        """The number of uniform numbers that `box` and a flip take."""
        return 2 * TRIES + 3 if self.random == "resized" else 3


@dataclass(frozen=True)
class ImageFiles:
    """N RGB images by their files, in the order of the list that names them.

    names: bytes [N] (NumPy `S`), paths below `root` with `/` between folders; sizes: of the files in bytes, int64 [N];
    times: of their last change in nanoseconds, int64 [N].
    upright: apply their EXIF orientation; max_pixels: limit for one image, see `decode`. cache: where they are kept
    decoded and resized, and `places` int64 [N], the position of each in it. workers: processes that read them, None for
    as many as threads.
    """

    root: Path
    names: np.ndarray
    sizes: np.ndarray
    times: np.ndarray
    framing: Framing
    upright: bool = False
    max_pixels: int = MAX_PIXELS
    cache: Cache | None = None
    places: np.ndarray | None = None
    workers: int | None = None

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, rows: np.ndarray) -> ImageFiles:
        """The images at the positions, or under the mask, `rows`."""
        places = None if self.places is None else self.places[rows]
        names, sizes, times = self.names[rows], self.sizes[rows], self.times[rows]
        return replace(self, names=names, sizes=sizes, times=times, places=places)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """[N, C, H, W] of their views."""
        return len(self.names), 3, self.framing.crop, self.framing.crop

    @property
    def ndim(self) -> int:
        return len(self.shape)

    def path(self, position: int) -> Path:
        return self.root / os.fsdecode(self.names[position])

    def read(self, position: int) -> Tensor:
        """The image uint8 [3, h, w], its shorter side `framing.resize`. Raises BadImage."""
        if self.cache is not None and self.places is not None:
            return self.cache.read(int(self.places[position]))
        try:
            return resized(self.decoded(position), self.framing.resize)
        except BadImage as error:
            raise BadImage(f"{self.path(position)}: {error}") from None

    def decoded(self, position: int) -> Tensor:
        """The image uint8 [3, H, W] at its full size. Raises BadImage."""
        return decode(self.path(position), upright=self.upright, max_pixels=self.max_pixels)

    def test_views(self, rows: np.ndarray, out: Tensor | None = None) -> Tensor:
        """Central squares uint8 [n, 3, crop, crop], written into `out` where it is given. Raises BadImage."""
        views = torch.empty((len(rows), *self.shape[1:]), dtype=torch.uint8) if out is None else out
        for view, position in zip(views, rows, strict=True):
            view.copy_(test_view(self.read(position), self.framing))
        return views

    def train_views(self, rows: np.ndarray, uniforms: np.ndarray, flip: bool, out: Tensor | None = None) -> Tensor:
        """Random squares uint8 [copies, n, 3, crop, crop] from uniform numbers [copies, n, framing.numbers], written
        into `out` where it is given; an image is read once for all its copies. Raises BadImage.
        """
        shape = (len(uniforms), len(rows), *self.shape[1:])
        views = torch.empty(shape, dtype=torch.uint8) if out is None else out
        for i, position in enumerate(rows):
            image = self.read(position)
            for view, numbers in zip(views[:, i], uniforms[:, i], strict=True):
                view.copy_(train_view(image, self.framing, numbers, flip))
        return views


def import_libraries() -> None:
    """Import what decoding and cropping need before worker processes are forked: in each of them it would take two
    seconds. Not needed for data in memory.
    """
    import torchvision.transforms.v2.functional  # noqa: F401

    import_pillow()


def resized(image: Tensor, side: int) -> Tensor:
    """The image [3, H, W] with its shorter side scaled to `side` pixels, bilinear with antialiasing."""
    from torchvision.transforms.v2 import functional

    height, width = image.shape[1:]
    if max(height, width) > LONGEST * min(height, width):
        raise BadImage(f"an image of {width}×{height} pixels: its sides differ by a factor of more than {LONGEST}")
    return functional.resize(image, [side])


def test_view(image: Tensor, framing: Framing) -> Tensor:
    """The central square [3, crop, crop]."""
    from torchvision.transforms.v2 import functional

    return functional.center_crop(image, [framing.crop, framing.crop])


def train_view(image: Tensor, framing: Framing, numbers: np.ndarray, flip: bool) -> Tensor:
    """The square [3, crop, crop] that the uniform numbers [framing.numbers] choose; the last one flips it if `flip`."""
    from torchvision.transforms.v2 import functional

    height, width = image.shape[1:]
    top, left, h, w = box(height, width, framing, numbers)
    view = image[:, top : top + h, left : left + w]
    if framing.random == "resized":
        view = functional.resize(view, [framing.crop, framing.crop])
    return functional.horizontal_flip(view) if flip and numbers[-1] < 0.5 else view


def box(height: int, width: int, framing: Framing, numbers: np.ndarray) -> tuple[int, int, int, int]:
    """Top, left, height and width of a training view's crop, distributed as in torchvision's two crops.

    Takes uniform numbers instead of a generator, so that the process that reads an image can crop it although its size
    was unknown when the numbers were drawn, and results do not depend on the number of workers.
    """
    u = numbers.tolist()
    down, right = u[-3], u[-2]
    if framing.random == "plain":
        h = w = framing.crop
        return int(down * (height - h + 1)), int(right * (width - w + 1)), h, w
    low, high = math.log(RATIO[0]), math.log(RATIO[1])
    for i in range(TRIES):
        area = height * width * (SCALE[0] + (SCALE[1] - SCALE[0]) * u[2 * i])
        ratio = math.exp(low + (high - low) * u[2 * i + 1])
        w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < w <= width and 0 < h <= height:
            return int(down * (height - h + 1)), int(right * (width - w + 1)), h, w
    # As torchvision: the largest central crop with an allowed ratio.
    w, h = width, height
    if width / height < RATIO[0]:
        h = round(width / RATIO[0])
    elif width / height > RATIO[1]:
        w = round(height * RATIO[1])
    return (height - h) // 2, (width - w) // 2, h, w
