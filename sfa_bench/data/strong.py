"""What changes views beside crop and flip, as torchvision does it: AutoAugment's policy for CIFAR-10 (Cubuk et al.,
CVPR 2019), RandAugment (Cubuk et al., 2020) and TrivialAugment (Müller and Hutter, ICCV 2021, its wide space).

All take images uint8 [B, C, H, W], C = 1 or 3, and a generator on the CPU, so that every device draws the same; what
they uncover is black. Torchvision's own classes draw from the global generator, and once a batch.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor
from torchvision.transforms import AutoAugment, AutoAugmentPolicy
from torchvision.transforms.v2 import functional as ops

from sfa_bench.numerics import send

ALWAYS, NEVER = 0.0, 2.0  # as draws of a uniform number that an operation's probability is compared with


class _Policy(AutoAugment):
    """The policy with draws that are handed in: the library's own come from the global generator."""

    drawn: tuple[int, Tensor, Tensor]

    def get_params(self, transform_num: int) -> tuple[int, Tensor, Tensor]:  # type: ignore[override]
        return self.drawn


@cache
def _policy() -> _Policy:
    return _Policy(AutoAugmentPolicy.CIFAR10)


def autoaugment(images: Tensor, generator: torch.Generator) -> Tensor:
    """Two operations on each image, which one of 25 sub-policies chooses."""
    policy = _policy()
    probabilities = torch.tensor([[p for _, p, _ in pair] for pair in policy.policies])
    which = torch.randint(len(probabilities), (len(images),), generator=generator)
    acts = torch.rand(len(images), 2, generator=generator) <= probabilities[which]
    signs = torch.randint(2, (len(images), 2), generator=generator) * acts  # of what does not act, no matter
    views = images.clone()
    # Images that draw the same are transformed together: the operations take a batch.
    keys, groups = torch.cat([which[:, None], acts, signs], dim=1).unique(dim=0, return_inverse=True)
    for group, (number, *rest) in enumerate(keys.tolist()):
        acting, sign = torch.tensor(rest[:2], dtype=torch.bool), torch.tensor(rest[2:])
        policy.drawn = number, torch.where(acting, ALWAYS, NEVER), sign
        rows = send((groups == group).nonzero()[:, 0], images.device)
        views[rows] = policy(images[rows])
    return views


BINS = 31  # of magnitudes


@dataclass(frozen=True)
class Space:
    """The largest magnitude of each kind of operation; translations by the side of the images [pixels]."""

    shear: float
    translation: Callable[[int], float]
    degrees: float
    colour: float
    bits: int  # that posterising takes away at most

    def magnitudes(self, kind: str, side: int) -> Tensor:
        """Those of each bin, [BINS]."""
        if kind == "bits":
            return (8 - (torch.arange(BINS) / ((BINS - 1) / self.bits))).round()
        if kind == "threshold":
            return torch.linspace(1, 0, BINS)
        top = self.translation(side) if kind == "translation" else getattr(self, kind)
        return torch.linspace(0, top, BINS)


RANDAUGMENT = Space(0.3, lambda side: 150 / 331 * side, 30, 0.9, 4)
WIDE = Space(0.99, lambda side: 32, 135, 0.99, 6)


def _moved(images: Tensor, *, across: int = 0, down: int = 0) -> Tensor:
    return ops.affine(images, 0.0, [across, down], 1.0, [0.0, 0.0])


def _sheared(images: Tensor, across: float, down: float) -> Tensor:
    angles = [math.degrees(math.atan(across)), math.degrees(math.atan(down))]
    return ops.affine(images, 0.0, [0, 0], 1.0, angles, center=[0, 0])


# Each with the kind of its magnitude (None: it has none), and whether that has a sign.
OPERATIONS: tuple[tuple[Callable[[Tensor, float], Tensor], str | None, bool], ...] = (
    (lambda x, m: x, None, False),
    (lambda x, m: _sheared(x, m, 0), "shear", True),
    (lambda x, m: _sheared(x, 0, m), "shear", True),
    (lambda x, m: _moved(x, across=int(m)), "translation", True),
    (lambda x, m: _moved(x, down=int(m)), "translation", True),
    (ops.rotate, "degrees", True),
    (lambda x, m: ops.adjust_brightness(x, 1 + m), "colour", True),
    (lambda x, m: ops.adjust_saturation(x, 1 + m), "colour", True),
    (lambda x, m: ops.adjust_contrast(x, 1 + m), "colour", True),
    (lambda x, m: ops.adjust_sharpness(x, 1 + m), "colour", True),
    (lambda x, m: ops.posterize(x, int(m)), "bits", False),
    (lambda x, m: ops.solarize(x, 255 * m), "threshold", False),
    (lambda x, m: ops.autocontrast(x), None, False),
    (lambda x, m: ops.equalize(x), None, False),
)


def _operate(images: Tensor, space: Space, bins: Tensor, generator: torch.Generator) -> Tensor:
    """One operation on each image, each with the same probability, at the magnitude of its bin [B]."""
    count, (height, width) = len(images), images.shape[-2:]
    which = torch.randint(len(OPERATIONS), (count,), generator=generator)
    negative = torch.rand(count, generator=generator) <= 0.5
    signed, scaled = (torch.tensor(values)[which] for values in _columns())
    # Images that draw the same are transformed together.
    keys, groups = torch.stack([which, bins * scaled, negative & signed], dim=1).unique(dim=0, return_inverse=True)
    views = images.clone()
    for group, (number, position, minus) in enumerate(keys.tolist()):
        operation, kind, _ = OPERATIONS[number]
        side = height if number == DOWN else width
        magnitude = 0.0 if kind is None else float(space.magnitudes(kind, side)[position])
        rows = send((groups == group).nonzero()[:, 0], images.device)
        views[rows] = operation(images[rows], -magnitude if minus else magnitude)
    return views


DOWN = 4  # the operation whose magnitude goes by the height


def _columns() -> tuple[list[bool], list[bool]]:
    """Of each operation whether its magnitude has a sign, and whether it has any."""
    return [signed for *_, signed in OPERATIONS], [kind is not None for _, kind, _ in OPERATIONS]


def randaugment(images: Tensor, generator: torch.Generator) -> Tensor:
    """Two operations on each image, of magnitude 9 of 30."""
    bins = torch.full((len(images),), 9)
    return _operate(_operate(images, RANDAUGMENT, bins, generator), RANDAUGMENT, bins, generator)


def trivial(images: Tensor, generator: torch.Generator) -> Tensor:
    """One operation on each image, of a random magnitude."""
    return _operate(images, WIDE, torch.randint(BINS, (len(images),), generator=generator), generator)
