"""A user's own backbone: `_target_` of a YAML in the user's conf/model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from sfa_bench.config import external
from sfa_bench.errors import ConfigError
from sfa_bench.models.network import Backbone


class OwnBackbone(Backbone):
    """An `nn.Module` made of (channels, (height, width)) and its options, which gives [B, num_features].

    Of vectors the channels are their dimension and the size is (). Raises: ConfigError where it cannot be made, has no
    `num_features`, or gives something else.
    """

    def __init__(self, target: str, in_channels: int, image_size: tuple[int, ...], options: Mapping[str, Any]):
        super().__init__()
        self.own: torch.nn.Module = external.make("model", target, in_channels, image_size, **options)
        width = getattr(self.own, "num_features", None)
        if not isinstance(width, int) or isinstance(width, bool) or width < 1:
            raise ConfigError(f"{target} needs the attribute num_features, the width of the features that it gives")
        self.feature_width = width
        parameters = next(self.own.parameters(), torch.empty(0))
        images = torch.zeros(2, in_channels, *image_size, device=parameters.device)
        self.own.eval()
        try:
            with torch.no_grad():
                features = self.own(images)
        except Exception as error:  # a user's own code may fail in any way
            raise ConfigError(
                f"{target} fails on images of shape {list(images.shape)}: {external.describe_error(error)}"
            ) from error
        self.own.train()
        if not isinstance(features, Tensor) or features.shape != (2, width):
            actual = list(features.shape) if isinstance(features, Tensor) else type(features).__name__
            raise ConfigError(f"{target} gives {actual} for 2 images: it must give [2, num_features] = [2, {width}]")

    def forward(self, images: Tensor) -> Tensor:
        features: Tensor = self.own(images)
        return features
