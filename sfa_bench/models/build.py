"""From the configuration to a network with reproducible weights."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch

from sfa_bench.choices.code import load
from sfa_bench.choices.heads import ALL
from sfa_bench.choices.models import MODELS, NAMES, names_of
from sfa_bench.errors import ConfigError
from sfa_bench.models.external import OwnBackbone
from sfa_bench.models.network import Backbone, Network

if TYPE_CHECKING:
    from sfa_bench.choices.models import ModelConfig


def build(
    model: ModelConfig,
    in_channels: int,
    image_size: tuple[int, ...],
    num_classes: int,
    heads: Sequence[str],
    seed: int,
    *,
    statistics: tuple[tuple[float, ...], tuple[float, ...]] = ((), ()),
    cosine: float | None = None,
    default_heads: bool = False,
) -> Network:
    """A network on the CPU, its weights a function of `seed` (int64, ≥ 0); the global generators are left as they were.

    Args: image_size (H, W) in pixels, or () for vectors of in_channels numbers; heads: names of `choices.heads.ALL`;
    statistics: mean and std that images come normalised with; cosine: the scale of a cosine main head, None for a
    linear one; default_heads: linear heads start as Torch makes them, whatever the backbone's own start (RoLT's
    classifier, algorithms/models.md §2).
    Raises: ConfigError when the images are too small for the model or have not its channels, and when a file of
    pretrained weights does not fit (models.pretrained).
    """
    described = model.described
    further = {name: name in heads for name in ALL if name != "main"}
    if model.target is not None:
        with seeded(seed):
            backbone = OwnBackbone(model.target, in_channels, image_size, model.arguments)
            return Network(backbone, num_classes, **further, cosine=cosine, default_heads=default_heads)
    if not image_size and described.vectors is None:
        raise ConfigError(
            f"{model.chosen} takes images, and these are vectors: use model={names_of('vectors')}",
            invalid_combination=True,
        )
    if image_size and min(image_size) < described.smallest:
        smallest = min((name for name in NAMES if MODELS[name].smallest), key=lambda name: MODELS[name].smallest)
        side = MODELS[smallest].smallest
        raise ConfigError(
            f"{model.chosen} cannot take images of {image_size[0]}×{image_size[1]} pixels: it needs "
            f"{described.smallest}×{described.smallest} or more. "
            + ("Use larger images." if model.name == smallest else f"Use model={smallest} ({side}×{side} or more)."),
            invalid_combination=True,
        )
    if not described.takes_channels and in_channels != 3:
        raise ConfigError(
            f"{model.chosen} takes colour images of 3 channels, and these have {in_channels}: use model="
            f"{names_of('takes_channels')}",
            invalid_combination=True,
        )
    with seeded(seed):
        return Network(
            _backbone(model, in_channels, image_size, statistics),
            num_classes,
            **further,
            cosine=cosine,
            default_heads=default_heads,
        )


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed Torch's global generator inside the block, and restore it afterwards."""
    with torch.random.fork_rng(devices=[]):
        # Not torch.manual_seed, which would also seed the accelerators' generators.
        torch.default_generator.manual_seed(seed)
        yield


def _backbone(model: ModelConfig, in_channels: int, image_size: tuple[int, ...], statistics: Any) -> Backbone:
    described = model.described
    chosen: dict[str, Any] = {name: getattr(model, name) for name in described.options}
    if model.width is not None and described.width is not None:
        chosen["width"] = model.width
    if "pretrained" in chosen:
        chosen["pretrained"] = chosen["pretrained"] or None
    if not image_size:
        assert described.vectors is not None
        return load(described.vectors)(in_channels, **chosen)
    assert described.code is not None
    given: list[Any] = [in_channels] * described.takes_channels + [min(image_size)] * described.takes_side
    given += [image_size, statistics] * described.takes_view
    return load(described.code)(*given, **chosen)
