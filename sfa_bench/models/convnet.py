"""The small network for digits, for users' arrays and for tests (algorithms/models.md §4, "small CNN")."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from sfa_bench.models.network import Backbone, Norm, batch_norms, conv3x3, global_average


class MaxPool(nn.Module):
    """2×2 maximum, stride 2; an odd last row or column is dropped."""

    def forward(self, maps: Tensor) -> Tensor:
        if torch.is_grad_enabled():
            return functional.max_pool2d(maps, 2)
        # The same bits, seven times as fast on a CPU; only its backward pass would be slow.
        height, width = (side // 2 * 2 for side in maps.shape[2:])
        rows = torch.maximum(maps[:, :, 0:height:2], maps[:, :, 1:height:2])
        return torch.maximum(rows[..., 0:width:2], rows[..., 1:width:2])


class ConvNet(Backbone):
    """Three 3×3 convolutions of width w, 2w, 2w with BatchNorm and ReLU, two 2×2 max-pools; d = 2w.

    Pools globally at the end, so it takes any size from 8×8 and any number of channels. From 16 pixels on the first
    convolution halves the image, which keeps the network small in time too: its largest maps cost most of it.
    """

    def __init__(self, in_channels: int, side: int, width: int = 16):
        super().__init__()
        self.feature_width = 2 * width
        self.layers = nn.Sequential(
            *self._unit(in_channels, width, stride=2 if side >= 16 else 1),
            MaxPool(),
            *self._unit(width, 2 * width),
            MaxPool(),
            *self._unit(2 * width, 2 * width),
        )

    @staticmethod
    def _unit(in_channels: int, out_channels: int, stride: int = 1) -> tuple[nn.Module, ...]:
        return conv3x3(in_channels, out_channels, stride), nn.BatchNorm2d(out_channels), nn.ReLU(inplace=True)

    def block_norms(self) -> list[Norm]:
        return batch_norms(self.layers)[1:]  # there are no blocks: the first unit stands for the stem

    def forward(self, images: Tensor) -> Tensor:
        return global_average(self.layers(images))
