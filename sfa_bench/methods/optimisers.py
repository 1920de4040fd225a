"""Torch's optimisers without the wrappers that keep `torch.compile` away from them.

Those wrappers import the compiler, which takes as long as Torch itself. The suite compiles backbones, never optimisers.
"""

from __future__ import annotations

import inspect
from typing import TypeVar

import torch

Optimiser = TypeVar("Optimiser", bound=torch.optim.Optimizer)

WRAPPED = ("add_param_group", "zero_grad", "state_dict", "load_state_dict")


def eager(optimiser: type[Optimiser]) -> type[Optimiser]:
    """A subclass with the functions inside of Torch's wrappers. Its steps are the same to the bit."""
    inside = {name: inspect.unwrap(getattr(optimiser, name)) for name in WRAPPED}
    # The wrapper of a step also turns gradients off.
    step = torch.no_grad()(inspect.unwrap(optimiser.step))
    return type(optimiser.__name__, (optimiser,), {**inside, "step": step})


SGD = eager(torch.optim.SGD)
Adam = eager(torch.optim.Adam)
AdamW = eager(torch.optim.AdamW)
