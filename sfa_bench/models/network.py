"""A backbone with its heads: `main`, and those of `choices.heads` that a plug-in asks for (algorithms/models.md §5)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sfa_bench.choices.heads import HEADS, Head

Norm = nn.BatchNorm1d | nn.BatchNorm2d


class Output(NamedTuple):
    """What one forward gives: features [B, d], and logits [B, K] of each head (None without that head)."""

    features: Tensor
    main: Tensor
    abc: Tensor | None
    medium_head: Tensor | None = None

    def beside_main(self) -> Iterator[tuple[Head, Tensor]]:
        """The heads beside the main one that there are, with their logits [B, K]."""
        for head in HEADS:
            if (logits := getattr(self, head.name)) is not None:
                yield head, logits


class Backbone(nn.Module):
    """Images float32 [B, C, H, W] to features [B, feature_width], the exact input of the heads."""

    #: d, the width of the features; set by the constructor
    feature_width: int

    def block_norms(self) -> list[Norm]:
        """The BatchNorm layers of its blocks, without those of stem and shortcuts (algorithms/har.md §2)."""
        return []

    def init_head(self, head: nn.Linear) -> None:
        """Initialise a head that will sit on this backbone; Torch's default is kept unless a backbone overrides it."""


class CosineHead(nn.Module):
    """scale · cos of the angle between feature and class vector, [B, d] → [B, K] (algorithms/methods.md §3.2,
    algorithms/models.md §2).

    LDAM's classifier: no bias, class vectors drawn from uniform(−1, 1) and scaled to unit length. The scale makes its
    outputs logits, so that heads can be added up and softmaxes taken; the loss subtracts its margins from them.
    """

    def __init__(self, in_features: int, num_classes: int, scale: float):
        super().__init__()
        vectors = torch.empty(in_features, num_classes).uniform_(-1, 1)
        self.weight = nn.Parameter(F.normalize(vectors, dim=0))
        self.scale = scale

    def forward(self, features: Tensor) -> Tensor:
        return self.scale * F.normalize(features, dim=1, eps=1e-12) @ F.normalize(self.weight, dim=0, eps=1e-12)


class Network(nn.Module):
    """`backbone` with linear heads on the same features; the parts are made in the order backbone, main, abc,
    medium_head.

    That order lets a network with and one without a further head share all other weights under the same seed.
    `cosine` is the scale of a cosine main head; None makes it linear. `default_heads` keeps Torch's initial weights in
    linear heads. Convolutions keep their weights channels-last: on CPUs they train 1.1 to 1.8 times as fast in it, and
    it is the layout of tensor cores. Those of a network in which one would be computed wrongly there keep Torch's usual
    layout.
    """

    def __init__(
        self,
        backbone: Backbone,
        num_classes: int,
        *,
        abc: bool,
        medium_head: bool = False,
        cosine: float | None = None,
        default_heads: bool = False,
    ):
        super().__init__()
        self.backbone, self._default_heads = backbone, default_heads
        self.main: nn.Module = (
            self._head(num_classes) if cosine is None else CosineHead(self.feature_width, num_classes, cosine)
        )
        self.abc = self._head(num_classes) if abc else None
        self.medium_head = self._head(num_classes) if medium_head else None
        self.layout = torch.contiguous_format if any(map(_overruns, self.modules())) else torch.channels_last
        self.to(memory_format=self.layout)

    def _head(self, num_classes: int) -> nn.Linear:
        head = nn.Linear(self.feature_width, num_classes)
        if not self._default_heads:
            self.backbone.init_head(head)
        return head

    @property
    def feature_width(self) -> int:
        """d, e.g. 32 for convnet, 512 for preact_resnet18, 64 for resnet32 at their usual widths; 2048 for resnet50."""
        return self.backbone.feature_width

    def features(self, images: Tensor) -> Tensor:
        """Images float32 [B, C, H, W] to features [B, d]; in the layout of the weights, which is the faster one."""
        if images.ndim == 4:
            images = images.contiguous(memory_format=self.layout)
        return self.backbone(images)

    def forward(self, images: Tensor) -> Output:
        features = self.features(images)
        return self.classify(features, features)

    def classify(self, features: Tensor, beside_main: Tensor) -> Output:
        """What the heads say to features [B, d]; those beside the main one are given `beside_main`."""
        return Output(
            features,
            self.main(features),  # first: the order decides how gradients are added up
            None if self.abc is None else self.abc(beside_main),
            None if self.medium_head is None else self.medium_head(beside_main),
        )


def _overruns(module: nn.Module) -> bool:
    """Whether oneDNN 3.12, which Torch 2.14 has, may write past the end of memory for this layer's gradients on
    processors with AVX2 and no AVX-512, channels-last: shortcuts of very narrow networks.
    """
    if not isinstance(module, nn.Conv2d):
        return False
    return module.kernel_size == (1, 1) and module.stride != (1, 1) and module.in_channels % 8 != 0


def batch_norms(module: nn.Module) -> list[Norm]:
    """All BatchNorm layers inside, in the order of their making."""
    return [inner for inner in module.modules() if isinstance(inner, Norm)]


def conv3x3(in_channels: int, out_channels: int, stride: int = 1) -> nn.Conv2d:
    """A 3×3 convolution that keeps the size at stride 1; no bias, because a BatchNorm follows or precedes it."""
    return nn.Conv2d(in_channels, out_channels, kernel_size=3, stride=stride, padding=1, bias=False)


def global_average(maps: Tensor) -> Tensor:
    """[B, C, H, W] to [B, C]."""
    return torch.mean(maps, dim=(2, 3))


class ResidualBlock(nn.Module):
    """conv-BN-ReLU-conv-BN, add the shortcut, ReLU; [B, in, H, W] to [B, out, ⌈H/stride⌉, ⌈W/stride⌉]."""

    shortcut: Callable[[Tensor], Tensor]

    def __init__(self, in_channels: int, out_channels: int, stride: int):
        super().__init__()
        self.conv1 = conv3x3(in_channels, out_channels, stride)
        self.norm1 = nn.BatchNorm2d(out_channels)
        self.conv2 = conv3x3(out_channels, out_channels)
        self.norm2 = nn.BatchNorm2d(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu_(self.norm1(self.conv1(x)))
        return F.relu_(self.norm2(self.conv2(out)) + self.shortcut(x))
