"""Backbones of timm, by their names there (algorithms/models.md §4)."""

from __future__ import annotations

import difflib
from typing import Any

import torch
from torch import Tensor, nn

from sfa_bench.errors import ConfigError
from sfa_bench.models.network import Backbone
from sfa_bench.models.pretrained import load_into

Statistics = tuple[tuple[float, ...], tuple[float, ...]]  # mean and std of each channel, of pixels in [0, 1]
DROPOUT = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.FeatureAlphaDropout)
NEAR = 3  # names that a refusal proposes


def unknown(name: str) -> str:
    """A sentence on a name that timm does not have; empty for one that it has."""
    import timm

    try:
        if timm.get_pretrained_cfg(name) is not None and timm.is_model(name):
            return ""
    except RuntimeError:  # the name of an architecture with weights (after the dot) that it has not
        pass
    names = [*timm.list_models(), *timm.list_pretrained()]
    near = difflib.get_close_matches(name, names, NEAR, 0.5)
    hint = f"; did you mean {' or '.join(near)}?" if near else f"; its {timm.__version__} has {len(names):,} names"
    return f"model.name={name}: timm has no model of this name{hint}"


class TimmBackbone(Backbone):
    """One of timm's models without its classifier: images [B, C, H, W] to what its classifier would get.

    Without weights it is made for the data's channels and size. With a file of its weights the images must be of its
    own size and channels, and are normalised as its training images were. Dropout and dropped paths, which some models
    have by default, are off: they would draw from the global generator.

    Args: image_size (H, W) [pixels]; statistics: mean and std that the images come normalised with; name: in timm;
    pretrained: a file of its weights.
    Raises: ConfigError where its forward pass fails on such images, or the weights or the data do not fit.
    """

    own_scale: Tensor
    own_shift: Tensor

    def __init__(
        self,
        in_channels: int,
        image_size: tuple[int, ...],
        statistics: Statistics,
        *,
        name: str,
        pretrained: str | None = None,
    ):
        super().__init__()
        import timm

        own: Any = timm.get_pretrained_cfg(name)
        shape = (in_channels, *image_size)
        if pretrained is not None and shape != own.input_size:
            raise ConfigError(
                f"model.pretrained={pretrained}: the weights of model.name={name} take images of "
                f"{_times(own.input_size)}, and these have {_times(shape)}: set dataset.crop={own.input_size[-1]} "
                "where the images are files, or model.pretrained=false"
            )
        sized: dict[str, Any] = {"img_size": image_size} if own.fixed_input_size and pretrained is None else {}
        try:
            self.layers = timm.create_model(name, pretrained=False, num_classes=0, in_chans=in_channels, **sized)
            _without_draws(self.layers)
            self.layers.eval()
            with torch.no_grad():
                features = self.layers(torch.zeros(2, *shape))
            self.layers.train()
        except Exception as error:  # a model may fail in any way on a size that it is not made for
            reason = (str(error).splitlines() or [""])[0][:120]
            raise ConfigError(
                f"model.name={name} fails on images of {_times(shape)} ({type(error).__name__}: {reason}): set another "
                f"model.name, or use larger images (its own are {_times(own.input_size)})",
                invalid_combination=True,
            ) from error
        if not isinstance(features, Tensor) or features.ndim != 2:
            raise ConfigError(
                f"model.name={name} gives no features [B, d] that a classifier could take: set another one"
            )
        self.feature_width = features.shape[1]
        # From the data's normalisation to that of its training images; saved with the weights that it belongs to.
        (mean, std), to = statistics, (own.mean, own.std) if pretrained is not None else statistics
        scale = [given / wanted for given, wanted in zip(std, to[1], strict=True)]
        shift = [(given - wanted) / by for given, wanted, by in zip(mean, *to, strict=True)]
        for key, values in (("own_scale", scale), ("own_shift", shift)):
            self.register_buffer(key, torch.tensor(values, dtype=torch.float32)[:, None, None])
        if pretrained is not None:
            heads = own.classifier if isinstance(own.classifier, tuple | list) else (own.classifier,)
            load_into(self.layers, pretrained, f"timm's {name}", last=tuple(f"{head}." for head in heads))

    def forward(self, images: Tensor) -> Tensor:
        features: Tensor = self.layers(images * self.own_scale + self.own_shift)
        return features


def _times(shape: tuple[int, ...]) -> str:
    """`3x224x224`."""
    return "x".join(map(str, shape))


def _without_draws(model: nn.Module) -> None:
    for module in model.modules():
        if isinstance(module, DROPOUT):
            module.p = 0.0
        elif isinstance(getattr(module, "drop_prob", None), float):
            module.drop_prob = 0.0  # type: ignore[assignment]
