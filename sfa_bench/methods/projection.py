"""Networks with projectors for contrastive losses."""

from __future__ import annotations

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor, nn

from sfa_bench import streams
from sfa_bench.models import Network
from sfa_bench.models.build import seeded
from sfa_bench.models.network import Backbone

PROJECTED = 128  # width of a projection


class Projector(nn.Sequential):
    """[B, d] → [B, PROJECTED], rows of unit length: two linear layers with BatchNorm and ReLU between them."""

    def __init__(self, width: int):
        super().__init__(nn.Linear(width, width), nn.BatchNorm1d(width), nn.ReLU(), nn.Linear(width, PROJECTED))

    def forward(self, features: Tensor) -> Tensor:
        return F.normalize(super().forward(features), dim=1)


class Encoded(Backbone):
    """A backbone with one more linear layer d → d, whose answer the heads take."""

    def __init__(self, inner: Backbone):
        super().__init__()
        self.inner, self.feature_width = inner, inner.feature_width
        self.encoding = nn.Linear(self.feature_width, self.feature_width)

    def init_head(self, head: nn.Linear) -> None:
        self.inner.init_head(head)

    def forward(self, images: Tensor) -> Tensor:
        return self.encoding(self.inner(images))


def added(
    build_network: Callable[[int], Network], seed: int, add: Callable[[Network], None]
) -> Callable[[int], Network]:
    """Networks with more modules, which `add` makes; their weights are a function of the seed and the network."""

    def build(k: int) -> Network:
        network = build_network(k)
        with seeded(streams.derive(seed, "projectors", k)):
            add(network)
        return network

    return build
