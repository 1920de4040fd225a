"""The nine-layer CNN of Co-teaching (algorithms/models.md §4)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sfa_bench.models.network import Backbone, Norm, batch_norms, global_average
from sfa_bench.numerics import send


class ChannelDropout(nn.Module):
    """Zeroes whole maps with probability p in train mode, drawing from a stream that the method hands over."""

    def __init__(self, p: float):
        super().__init__()
        self.p = p
        self.generator: torch.Generator | None = None  # on the CPU; set for every epoch, so that no state is kept

    def forward(self, maps: Tensor) -> Tensor:
        if not self.training:
            return maps
        if self.generator is None:
            raise RuntimeError("train mode without a stream: Method.prepare sets it")
        kept = torch.rand(maps.shape[:2], generator=self.generator) >= self.p
        return maps * (send(kept.to(maps.dtype), maps.device) / (1 - self.p))[:, :, None, None]


class Cnn9(Backbone):
    """Three 3×3 convolutions of 128, three of 256, each triple with max-pool and channel dropout 0.25, then unpadded
    ones of 512, 256 and 128 and a global average; BatchNorm and leaky ReLU 0.01 after each. d = 128.
    """

    def __init__(self, in_channels: int):
        super().__init__()
        self.feature_width = 128
        layers: list[nn.Module] = []
        channels = in_channels
        for width in (128, 256):
            for _ in range(3):
                layers += self._unit(channels, width, padding=1)
                channels = width
            layers += [nn.MaxPool2d(2), ChannelDropout(0.25)]
        for width in (512, 256, 128):
            layers += self._unit(channels, width, padding=0)
            channels = width
        self.layers = nn.Sequential(*layers)

    @staticmethod
    def _unit(in_channels: int, out_channels: int, padding: int) -> list[nn.Module]:
        convolution = nn.Conv2d(in_channels, out_channels, 3, padding=padding)
        return [convolution, nn.BatchNorm2d(out_channels), nn.LeakyReLU(0.01, inplace=True)]

    def block_norms(self) -> list[Norm]:
        return batch_norms(self.layers)[1:]  # there are no blocks: the first unit stands for the stem

    def forward(self, images: Tensor) -> Tensor:
        return global_average(self.layers(images))
