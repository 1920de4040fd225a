"""Random streams: every draw of the suite comes from a generator derived here (explanation/rules.md §1).

A generator is a function of (seed, stream name, network, epoch) and of nothing else. No random state is stored in a
checkpoint: resuming at an epoch boundary re-derives the same draws, and adding a consumer does not shift the draws of
another one.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch


def derive(seed: int, stream: str, network: int = 0, epoch: int = 0) -> int:
    """A 63-bit seed for one stream of one network in one epoch."""
    digest = hashlib.sha256(f"{seed}/{stream}/{network}/{epoch}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def numpy_generator(seed: int, stream: str, network: int = 0, epoch: int = 0) -> np.random.Generator:
    """The stream as a NumPy generator."""
    return np.random.default_rng(derive(seed, stream, network, epoch))


def torch_generator(seed: int, stream: str, network: int = 0, epoch: int = 0) -> torch.Generator:
    """The stream as a Torch generator on the CPU: devices differ in their draws, so none is made on another one."""
    import torch

    return torch.Generator().manual_seed(derive(seed, stream, network, epoch))
