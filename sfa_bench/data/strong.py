"""Strong views: AutoAugment's policy for CIFAR-10 (Cubuk et al., CVPR 2019), as torchvision applies it."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor
from torchvision.transforms import AutoAugment, AutoAugmentPolicy

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
    """Two operations on each image, which one of 25 sub-policies chooses; what they uncover is black.

    Args: images uint8 [B, C, H, W], C = 1 or 3; generator: on the CPU, so that every device draws the same. Returns:
    uint8 of the same shape.
    """
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
