"""ResNet-34 with CIFAR's stem, the backbone of ELR (algorithms/models.md §4)."""

from __future__ import annotations

from torch import Tensor, nn

from sfa_bench.models.network import Backbone, Norm, ResidualBlock, conv3x3, global_average


class ProjectedBlock(ResidualBlock):
    """A block with a 1×1 convolution with BatchNorm in its shortcut where the shape changes."""

    def __init__(self, in_channels: int, out_channels: int, stride: int):
        super().__init__(in_channels, out_channels, stride)
        self.shortcut = nn.Identity()
        if stride != 1 or in_channels != out_channels:
            projection = nn.Conv2d(in_channels, out_channels, 1, stride, bias=False)
            self.shortcut = nn.Sequential(projection, nn.BatchNorm2d(out_channels))


class ResNet34(Backbone):
    """3×3 stem without pooling, stages of 3, 4, 6, 3 basic blocks of width 64 to 512; d = 512."""

    def __init__(self, in_channels: int):
        super().__init__()
        self.feature_width = 512
        layers: list[nn.Module] = [conv3x3(in_channels, 64), nn.BatchNorm2d(64), nn.ReLU(inplace=True)]
        channels = 64
        for width, blocks in ((64, 3), (128, 4), (256, 6), (512, 3)):
            for number in range(blocks):
                layers.append(ProjectedBlock(channels, width, 2 if number == 0 and width > 64 else 1))
                channels = width
        self.layers = nn.Sequential(*layers)

    def block_norms(self) -> list[Norm]:
        blocks = [layer for layer in self.layers if isinstance(layer, ProjectedBlock)]
        return [norm for block in blocks for norm in (block.norm1, block.norm2)]

    def forward(self, images: Tensor) -> Tensor:
        return global_average(self.layers(images))
