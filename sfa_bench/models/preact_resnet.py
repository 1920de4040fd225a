"""PreAct ResNet-18 as DivideMix, RoLT+ and SFA train it, and the usual CIFAR version (algorithms/models.md §1)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from sfa_bench.models.network import Backbone, Norm, batch_norms, conv3x3, global_average


class PreActBlock(nn.Module):
    """Two pre-activated 3×3 convolutions; [B, in, H, W] to [B, out, ⌈H/stride⌉, ⌈W/stride⌉].

    A block that changes the shape has a bare 1×1 convolution of the activated input as its shortcut. One that does not
    adds the *activated* input (`activated_identity`, the releases' network) or the input itself (the usual one).
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int, *, activated_identity: bool):
        super().__init__()
        self.norm1 = nn.BatchNorm2d(in_channels)
        self.conv1 = conv3x3(in_channels, out_channels, stride)
        self.norm2 = nn.BatchNorm2d(out_channels)
        self.conv2 = conv3x3(out_channels, out_channels)
        self.activated_identity = activated_identity
        self.shortcut: nn.Conv2d | None = None
        if stride != 1 or in_channels != out_channels:
            self.shortcut = nn.Conv2d(in_channels, out_channels, kernel_size=1, stride=stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        activated = F.relu_(self.norm1(x))
        if self.shortcut is not None:
            residual = self.shortcut(activated)
        else:
            residual = activated if self.activated_identity else x
        out = self.conv1(activated)
        out = self.conv2(F.relu_(self.norm2(out)))
        return out.add_(residual)


class PreActResNet18(Backbone):
    """Stem and four stages of two blocks, of width w, 2w, 4w, 8w (w = 64); d = 8w.

    `dividemix` normalises and rectifies in the stem already and adds activated inputs; `canonical` does neither. Both
    pool without a last BatchNorm or ReLU, so features have negative values.
    """

    def __init__(self, in_channels: int, width: int = 64, variant: str = "dividemix"):
        super().__init__()
        released = variant == "dividemix"
        self.feature_width = 8 * width
        self.stem = nn.Sequential(conv3x3(in_channels, width))
        if released:
            self.stem.extend([nn.BatchNorm2d(width), nn.ReLU(inplace=True)])
        blocks = []
        channels = width
        for out_channels, stride in ((width, 1), (2 * width, 2), (4 * width, 2), (8 * width, 2)):
            blocks.append(PreActBlock(channels, out_channels, stride, activated_identity=released))
            blocks.append(PreActBlock(out_channels, out_channels, 1, activated_identity=released))
            channels = out_channels
        self.blocks = nn.Sequential(*blocks)

    def block_norms(self) -> list[Norm]:
        return batch_norms(self.blocks)

    def forward(self, images: Tensor) -> Tensor:
        # On images of 25 to 32 pixels this is the releases' 4×4 average pooling; larger ones are averaged whole.
        return global_average(self.blocks(self.stem(images)))
