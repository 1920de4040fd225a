"""From the configuration to a network with reproducible weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from sfa_bench.errors import ConfigError
from sfa_bench.models.cnn9 import Cnn9
from sfa_bench.models.convnet import ConvNet
from sfa_bench.models.inception_resnet import InceptionResNetV2
from sfa_bench.models.mlp import Mlp
from sfa_bench.models.network import Backbone, Network
from sfa_bench.models.preact_resnet import PreActResNet18
from sfa_bench.models.resnet import ResNet32
from sfa_bench.models.resnet34 import ResNet34
from sfa_bench.models.resnet50 import ResNet50

if TYPE_CHECKING:
    from sfa_bench.config.schema import ModelConfig

_MIN_SIDE = {
    "convnet": ConvNet.min_side,
    "preact_resnet18": PreActResNet18.min_side,
    "resnet32": ResNet32.min_side,
    "resnet34": ResNet34.min_side,
    "cnn9": Cnn9.min_side,
    "resnet50": ResNet50.min_side,
    "inception_resnet_v2": InceptionResNetV2.min_side,
}
_COLOUR_ONLY = ("resnet50", "inception_resnet_v2")


def build(
    model: ModelConfig,
    in_channels: int,
    image_size: tuple[int, ...],
    num_classes: int,
    heads: Sequence[str],
    seed: int,
    *,
    cosine: float | None = None,
    default_heads: bool = False,
) -> Network:
    """A network on the CPU, its weights a function of `seed` (int64, ≥ 0); the global generators are left as they were.

    Args: image_size (H, W) in pixels, or () for vectors of in_channels numbers; heads ("main",) or ("main", "abc");
    cosine: the scale of a cosine main head, None for a linear one; default_heads: linear heads start as Torch makes
    them, whatever the backbone's own start (RoLT's classifier, spec/models.md §2).
    Raises: ConfigError when the images are too small for the model or have not its channels, and when a file of
    pretrained weights does not fit (models.pretrained).
    """
    if not image_size and model.name != "convnet":
        raise ConfigError(
            f"model={model.name} takes images, and these are vectors: use model=convnet", invalid_combination=True
        )
    if image_size and min(image_size) < _MIN_SIDE[model.name]:
        raise ConfigError(
            f"model={model.name} cannot take images of {image_size[0]}×{image_size[1]} pixels: it needs "
            f"{_MIN_SIDE[model.name]}×{_MIN_SIDE[model.name]} or more. "
            + ("Use larger images." if model.name == "convnet" else "Use model=convnet (8×8 or more)."),
            invalid_combination=True,
        )
    if model.name in _COLOUR_ONLY and in_channels != 3:
        raise ConfigError(
            f"model={model.name} takes colour images of 3 channels, and these have {in_channels}: use model=convnet "
            "or preact_resnet18",
            invalid_combination=True,
        )
    with torch.random.fork_rng(devices=[]):
        # Not torch.manual_seed, which would seed the accelerators' generators as well and leave them so.
        torch.default_generator.manual_seed(seed)
        return Network(
            _backbone(model, in_channels, min(image_size, default=0)),
            num_classes,
            abc="abc" in heads,
            cosine=cosine,
            default_heads=default_heads,
        )


def _backbone(model: ModelConfig, in_channels: int, side: int) -> Backbone:
    width = {} if model.width is None else {"width": model.width}
    match model.name:
        case "convnet" if side == 0:
            return Mlp(in_channels, **width)
        case "convnet":
            return ConvNet(in_channels, side, **width)
        case "preact_resnet18":
            return PreActResNet18(in_channels, **width, variant=model.variant)
        case "resnet32":
            return ResNet32(in_channels, **width)
        case "resnet34":
            return ResNet34(in_channels)
        case "cnn9":
            return Cnn9(in_channels)
        case "resnet50":
            return ResNet50(model.pretrained or None)
        case "inception_resnet_v2":
            return InceptionResNetV2(model.pretrained or None)
    raise ValueError(f"no model {model.name!r}")
