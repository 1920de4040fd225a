"""The networks in their plainest form; names as in the suite, so that weights can be taken over."""

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


class PreActResNet(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU())
        sizes = [width * n for n in (1, 1, 1, 2, 2, 4, 4, 8, 8)]
        strides = (1, 1, 2, 1, 2, 1, 2, 1)
        self.blocks = nn.Sequential(*(Block(sizes[i], sizes[i + 1], strides[i]) for i in range(8)))

    def forward(self, images: Tensor) -> Tensor:
        return nn.functional.avg_pool2d(self.blocks(self.stem(images)), 4).flatten(1)


class Small(nn.Module):
    """For pictures below 16 pixels."""

    def __init__(self, channels: int, width: int):
        super().__init__()
        units = [self._unit(before, after) for before, after in ((channels, width), (width, 2 * width))]
        self.layers = nn.Sequential(
            *(layer for unit in units for layer in (*unit, nn.MaxPool2d(2))), *self._unit(2 * width, 2 * width)
        )

    @staticmethod
    def _unit(before: int, after: int) -> tuple[nn.Module, ...]:
        return nn.Conv2d(before, after, 3, 1, 1, bias=False), nn.BatchNorm2d(after), nn.ReLU()

    def forward(self, images: Tensor) -> Tensor:
        return nn.functional.adaptive_avg_pool2d(self.layers(images), 1).flatten(1)


class Network(nn.Module):
    """Images [B, C, H, W] to features [B, d], logits of the main head, and of the balanced head where it has one."""

    def __init__(self, backbone: nn.Module, features: int, num_classes: int, balanced: bool):
        super().__init__()
        self.backbone = backbone
        self.main = nn.Linear(features, num_classes)
        self.abc = nn.Linear(features, num_classes) if balanced else None

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        features = self.backbone(images)
        return features, self.main(features), None if self.abc is None else self.abc(features)


def preact_resnet(width: int, num_classes: int, balanced: bool) -> Network:
    return Network(PreActResNet(width), 8 * width, num_classes, balanced)


def convnet(channels: int, width: int, num_classes: int, balanced: bool) -> Network:
    return Network(Small(channels, width), 2 * width, num_classes, balanced)
