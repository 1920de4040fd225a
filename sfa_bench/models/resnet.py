"""ResNet-32 for CIFAR, the backbone of LDAM, RoLT and BALMS (algorithms/models.md §2)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from sfa_bench.models.network import Backbone, Norm, ResidualBlock, batch_norms, conv3x3, global_average


class BasicBlock(ResidualBlock):
    """A block whose shortcut has no parameters."""

    def __init__(self, in_channels: int, out_channels: int, stride: int):
        super().__init__(in_channels, out_channels, stride)
        self.stride = stride
        self.padding = (out_channels - in_channels) // 2

    def shortcut(self, x: Tensor) -> Tensor:
        """Option A: every second row and column, and zero channels on both sides."""
        if self.stride == 1 and self.padding == 0:
            return x
        return F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.padding, self.padding))


class ResNet32(Backbone):
    """Stem and three stages of five basic blocks, of width w, 2w, 4w (w = 16); d = 4w. Kaiming-normal weights."""

    def __init__(self, in_channels: int, width: int = 16):
        super().__init__()
        self.feature_width = 4 * width
        self.stem = nn.Sequential(conv3x3(in_channels, width), nn.BatchNorm2d(width), nn.ReLU(inplace=True))
        blocks = []
        channels = width
        for out_channels, stride in ((width, 1), (2 * width, 2), (4 * width, 2)):
            for number in range(5):
                blocks.append(BasicBlock(channels, out_channels, stride if number == 0 else 1))
                channels = out_channels
        self.blocks = nn.Sequential(*blocks)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")

    def init_head(self, head: nn.Linear) -> None:
        """Kaiming-normal weights as in the convolutions; the bias keeps Torch's default."""
        nn.init.kaiming_normal_(head.weight, nonlinearity="relu")

    def block_norms(self) -> list[Norm]:
        return batch_norms(self.blocks)

    def forward(self, images: Tensor) -> Tensor:
        return global_average(self.blocks(self.stem(images)))
