"""ResNet-50, the backbone of Clothing1M (algorithms/models.md §4): torchvision's."""

from __future__ import annotations

from torch import Tensor, nn

from sfa_bench.models.network import Backbone, Norm
from sfa_bench.models.pretrained import load_into


class ResNet50(Backbone):
    """Colour images of 33×33 pixels or more (224×224 usually) to non-negative features; d = 2048.

    Weights start as torchvision makes them, or from `pretrained`, a file of torchvision's weights.

    Raises: ConfigError where `pretrained` is no such file.
    """

    def __init__(self, pretrained: str | None = None):
        super().__init__()
        from torchvision.models import resnet50

        self.feature_width = 2048
        self.layers = resnet50(weights=None)
        self.layers.fc = nn.Identity()
        if pretrained is not None:
            load_into(self.layers, pretrained, "torchvision's resnet50", last="fc.")

    def block_norms(self) -> list[Norm]:
        norms = ((name, norm) for name, norm in self.layers.named_modules() if isinstance(norm, nn.BatchNorm2d))
        return [norm for name, norm in norms if name.startswith("layer") and "downsample" not in name]

    def forward(self, images: Tensor) -> Tensor:
        return self.layers(images)
