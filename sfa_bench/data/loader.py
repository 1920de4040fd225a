"""Batches of views: uint8 images stay on the device, index tensors come in, normalised float32 images go out."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from sfa_bench.data.types import EvaluationSet, LearnerView, Transform


@lru_cache(maxsize=16)
def _constants(transform: Transform, device: torch.device) -> tuple[Tensor, Tensor]:
    def column(values: tuple[float, ...]) -> Tensor:
        return torch.tensor(values, dtype=torch.float32, device=device)[:, None, None]

    return column(transform.mean), column(transform.std)


def to_float(images: Tensor, transform: Transform) -> Tensor:
    """uint8 [B, C, H, W] to float32: scaled to [0, 1], then normalised per channel (spec/data.md §1). Vectors stay."""
    if images.is_floating_point():
        return images
    mean, std = _constants(transform, images.device)
    return (images.float() / 255 - mean) / std


def augment(images: Tensor, transform: Transform, generator: torch.Generator) -> Tensor:
    """Random crop of the zero-padded images, then a horizontal flip with probability 1/2, drawn for each sample.

    The law of torchvision's `RandomCrop(size, padding)` and `RandomHorizontalFlip` on single images; its batched
    transforms draw once a batch. The padding is black, not the mean: it comes before the normalisation. `generator`
    is a CPU generator, so that every device sees the same views.

    Args: images uint8 [B, C, H, W]. Returns: uint8 of the same shape. Vectors float32 [B, D] get Gaussian jitter.
    """
    if images.is_floating_point():
        noise = torch.randn(images.shape, generator=generator).to(images.device)
        return images + transform.jitter * noise
    count, _, height, width = images.shape
    padding = transform.padding
    if padding:
        offset = torch.randint(2 * padding + 1, (2, count), generator=generator).to(images.device)
        windows = F.pad(images, (padding,) * 4).unfold(2, height, 1).unfold(3, width, 1)
        images = windows[torch.arange(count, device=images.device), :, offset[0], offset[1]]
    if transform.flip:
        flipped = (torch.rand(count, generator=generator) < 0.5).to(images.device)
        images = torch.where(flipped[:, None, None, None], images.flip(-1), images)
    return images


class Loader:
    """Views of one set of images by index.

    Args: source: a learner's view, an evaluation set, or images uint8 [N, C, H, W]; device: where images live.
    """

    def __init__(
        self, source: LearnerView | EvaluationSet | Tensor, transform: Transform, device: torch.device | str = "cpu"
    ):
        images = source if isinstance(source, Tensor) else source.images
        self.images = images.to(device)
        self.transform = transform

    def __len__(self) -> int:
        return len(self.images)

    def test_view(self, index: Tensor) -> Tensor:
        """The images at `index`, unchanged but normalised: float32 [B, C, H, W]."""
        return to_float(self.images[index.to(self.images.device)], self.transform)

    def train_view(self, index: Tensor, generator: torch.Generator) -> Tensor:
        """One augmented view of the images at `index`: float32 [B, C, H, W]. Two calls are two independent views."""
        return to_float(augment(self.images[index.to(self.images.device)], self.transform, generator), self.transform)


def batches(order: Tensor, batch_size: int) -> Iterator[Tensor]:
    """Split `order` into batches; nothing is dropped (design.md §3, small sets).

    A last batch of one row is merged into the one before, because batch statistics need two rows; fewer rows than
    `batch_size` are one batch.
    """
    parts = list(order.split(batch_size)) if len(order) else []
    if len(parts) > 1 and len(parts[-1]) == 1:
        parts[-2:] = [torch.cat(parts[-2:])]
    yield from parts
