"""The views of a loader are the same bits on every device, for the same streams."""

import pytest
import torch

from sfa_bench.data.loader import Loader
from sfa_bench.data.types import Transform

SHAPES = {"colour": (257, 3, 32, 32), "grey": (257, 1, 28, 28), "digits": (257, 1, 8, 8)}
CIFAR = ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010))


def loaders(kind, device):
    """The same images behind a loader on the CPU and one on the device."""
    generator = torch.Generator().manual_seed(3)
    if kind == "vectors":
        images, transform = torch.randn(257, 32, generator=generator), Transform((), (), jitter=0.05)
    else:
        images = torch.randint(0, 256, SHAPES[kind], generator=generator, dtype=torch.uint8)
        mean, std = CIFAR if kind == "colour" else ((0.2860,), (0.3530,))
        transform = Transform(mean, std, padding=images.shape[-1] // 8, flip=True)
    return Loader(images, transform, "cpu"), Loader(images, transform, device)


@pytest.mark.parametrize("kind", [*SHAPES, "vectors"])
def test_views_are_equal_to_the_bit(kind, device):
    here, there = loaders(kind, device)
    parts = list(torch.randperm(257, generator=torch.Generator().manual_seed(1)).split(64))
    generators = [torch.Generator().manual_seed(2) for _ in range(2)]
    streams = [loader.train_views(parts, g, copies=2) for loader, g in zip((here, there), generators, strict=True)]
    for ours, theirs in zip(*streams, strict=True):
        for one, other in zip(ours, theirs, strict=True):
            assert torch.equal(one, other.cpu())
    for one, other in zip(here.test_views(parts), there.test_views(parts), strict=True):
        assert torch.equal(one, other.cpu())


def test_every_pixel_value_becomes_the_same_number(device):
    """All 256: a device that multiplies with 1/255 instead of dividing is off by a bit in some of them."""
    values = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16)
    for mean, std in ((0.4914, 0.2023), (0.2860, 0.3530), (0.0, 1.0)):
        loader = Loader(values, Transform((mean,), (std,)), device)
        expected = (values.float() / 255 - mean) / torch.tensor(std)
        assert torch.equal(loader.test_view(torch.arange(1)).cpu(), expected)
