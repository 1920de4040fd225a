"""A backbone with its heads: `main`, and the balanced head `abc` where a plug-in asks for it (spec/models.md §5)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn


class Output(NamedTuple):
    """What one forward gives: features [B, d], and logits [B, K] of each head (`abc` is None without that head)."""

    features: Tensor
    main: Tensor
    abc: Tensor | None


class Backbone(nn.Module):
    """Images float32 [B, C, H, W] to features [B, feature_width], the exact input of the heads."""

    #: d, the width of the features; set by the constructor
    feature_width: int
    #: shortest image side in pixels that leaves the last map large enough
    min_side: int

    def init_head(self, head: nn.Linear) -> None:
        """Initialise a head that will sit on this backbone; Torch's default is kept unless a backbone overrides it."""


class Network(nn.Module):
    """`backbone` with linear heads on the same features; the parts are made in the order backbone, main, abc.

    That order lets a network with and one without the second head share all other weights under the same seed.
    """

    def __init__(self, backbone: Backbone, num_classes: int, *, abc: bool):
        super().__init__()
        self.backbone = backbone
        self.main = self._head(num_classes)
        self.abc = self._head(num_classes) if abc else None

    def _head(self, num_classes: int) -> nn.Linear:
        head = nn.Linear(self.feature_width, num_classes)
        self.backbone.init_head(head)
        return head

    @property
    def feature_width(self) -> int:
        """d: 32 for convnet, 512 for preact_resnet18, 64 for resnet32 at their usual widths."""
        return self.backbone.feature_width

    def features(self, images: Tensor) -> Tensor:
        """Images float32 [B, C, H, W] to features [B, d]."""
        return self.backbone(images)

    def forward(self, images: Tensor) -> Output:
        features = self.features(images)
        return Output(features, self.main(features), None if self.abc is None else self.abc(features))


def conv3x3(in_channels: int, out_channels: int, stride: int = 1) -> nn.Conv2d:
    """A 3×3 convolution that keeps the size at stride 1; no bias, because a BatchNorm follows or precedes it."""
    return nn.Conv2d(in_channels, out_channels, kernel_size=3, stride=stride, padding=1, bias=False)


def global_average(maps: Tensor) -> Tensor:
    """[B, C, H, W] to [B, C]."""
    return torch.mean(maps, dim=(2, 3))
