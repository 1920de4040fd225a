"""Inception-ResNet-v2, the backbone of mini-WebVision (algorithms/models.md §3): timm's."""

from __future__ import annotations

from torch import Tensor

from sfa_bench.models.network import Backbone, global_average
from sfa_bench.models.pretrained import load_into


class InceptionResNetV2(Backbone):
    """Colour images of 299×299 pixels (107×107 at least) to non-negative features; d = 1536.

    Weights start as Torch's layers make them, or from `pretrained`, a file of timm's weights. The average over the last
    map is the original's 8×8 pooling at 299 pixels.

    Raises: ConfigError where `pretrained` is no such file.
    """

    def __init__(self, pretrained: str | None = None):
        super().__init__()
        from timm.models.inception_resnet_v2 import InceptionResnetV2  # takes 3 s to import

        self.feature_width = 1536
        self.layers = InceptionResnetV2(num_classes=0)
        if pretrained is not None:
            load_into(self.layers, pretrained, "timm's inception_resnet_v2", last="classif.")

    def forward(self, images: Tensor) -> Tensor:
        return global_average(self.layers.forward_features(images))
