"""The small network for vectors, which `convnet` stands for on data without images."""

from __future__ import annotations

from torch import Tensor, nn

from sfa_bench.models.network import Backbone, Norm, batch_norms


class Mlp(Backbone):
    """Two linear layers of width 4w and 2w with BatchNorm and ReLU; [B, D] to [B, 2w]."""

    def __init__(self, in_features: int, width: int = 16):
        super().__init__()
        self.feature_width = 2 * width
        self.layers = nn.Sequential(
            *(nn.Linear(in_features, 4 * width, bias=False), nn.BatchNorm1d(4 * width), nn.ReLU(inplace=True)),
            *(nn.Linear(4 * width, 2 * width, bias=False), nn.BatchNorm1d(2 * width), nn.ReLU(inplace=True)),
        )

    def block_norms(self) -> list[Norm]:
        return batch_norms(self.layers)[1:]  # there are no blocks: the first unit stands for the stem

    def forward(self, vectors: Tensor) -> Tensor:
        return self.layers(vectors)
