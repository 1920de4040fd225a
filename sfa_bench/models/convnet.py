"""The small network for digits, for users' arrays and for tests (spec/models.md §4, "small CNN")."""

from __future__ import annotations

from torch import Tensor, nn

from sfa_bench.models.network import Backbone, conv3x3, global_average


class ConvNet(Backbone):
    """Three 3×3 convolutions of width w, 2w, 2w with BatchNorm and ReLU, two 2×2 max-pools; d = 2w.

    Pools globally at the end, so it takes any size from 8×8 and any number of channels.
    """

    min_side = 8

    def __init__(self, in_channels: int, width: int = 16):
        super().__init__()
        self.feature_width = 2 * width
        self.layers = nn.Sequential(
            *self._unit(in_channels, width),
            nn.MaxPool2d(2),
            *self._unit(width, 2 * width),
            nn.MaxPool2d(2),
            *self._unit(2 * width, 2 * width),
        )

    @staticmethod
    def _unit(in_channels: int, out_channels: int) -> tuple[nn.Module, ...]:
        return conv3x3(in_channels, out_channels), nn.BatchNorm2d(out_channels), nn.ReLU()

    def forward(self, images: Tensor) -> Tensor:
        return global_average(self.layers(images))
