"""PreAct ResNet-18 in its plainest form; names as in the suite, so that weights can be taken over."""

from __future__ import annotations

from torch import Tensor, nn


class Block(nn.Module):
    def __init__(self, before: int, after: int, stride: int):
        super().__init__()
        self.norm1 = nn.BatchNorm2d(before)
        self.conv1 = nn.Conv2d(before, after, 3, stride, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(after)
        self.conv2 = nn.Conv2d(after, after, 3, 1, 1, bias=False)
        self.shortcut = nn.Conv2d(before, after, 1, stride, bias=False) if before != after else None

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm1(x).relu()
        y = self.conv1(x)
        y = self.conv2(self.norm2(y).relu())
        return y + (x if self.shortcut is None else self.shortcut(x))


class Backbone(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU())
        sizes = [width * n for n in (1, 1, 1, 2, 2, 4, 4, 8, 8)]
        strides = (1, 1, 2, 1, 2, 1, 2, 1)
        self.blocks = nn.Sequential(*(Block(sizes[i], sizes[i + 1], strides[i]) for i in range(8)))

    def forward(self, images: Tensor) -> Tensor:
        return nn.functional.avg_pool2d(self.blocks(self.stem(images)), 4).flatten(1)


class PreActResNet(nn.Module):
    """Images [B, 3, 32, 32] to features [B, 8w], logits of the main head, and of the balanced head where it has one."""

    def __init__(self, width: int, num_classes: int, balanced: bool):
        super().__init__()
        self.backbone = Backbone(width)
        self.main = nn.Linear(8 * width, num_classes)
        self.abc = nn.Linear(8 * width, num_classes) if balanced else None

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        features = self.backbone(images)
        return features, self.main(features), None if self.abc is None else self.abc(features)
