"""Floating-point operations of a forward pass: convolutions and matrix products, two for each multiplication."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from sfa_bench.models import Network

# Operations that are neither. Attributes of a tensor, such as its shape, are none at all.
FREE = {
    *(torch.cat, torch.flatten, torch.maximum, torch.mean, torch.relu, torch.relu_),
    *(F.adaptive_avg_pool2d, F.avg_pool2d, F.batch_norm, F.dropout, F.leaky_relu, F.max_pool2d, F.normalize, F.pad),
    *(F.relu, F.relu_, Tensor.__add__, Tensor.__getitem__, Tensor.add, Tensor.add_, Tensor.contiguous, Tensor.dim),
    *(Tensor.flatten, Tensor.mean, Tensor.mul, Tensor.reshape, Tensor.size, Tensor.view),
}


class _Counter(TorchFunctionMode):
    """Counts the operations of the suite's own networks, and notes whether there was another one."""

    def __init__(self) -> None:
        super().__init__()
        self.total, self.complete = 0, True

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        weight = args[1] if len(args) > 1 and isinstance(args[1], Tensor) else None
        if func is F.conv2d and weight is not None:
            self.total += 2 * out.numel() * weight[0].numel()
        elif func is F.linear and weight is not None:
            self.total += 2 * out.numel() * weight.shape[1]
        elif func is Tensor.matmul and weight is not None and weight.ndim == args[0].ndim == 2:
            self.total += 2 * out.numel() * weight.shape[0]
        else:
            self.complete &= func in FREE or getattr(func, "__name__", "") == "__get__"
        return out


def count(network: Network, images: Tensor) -> int:
    """Floating-point operations of these images through a network in evaluation mode.

    Torch's own counter is asked where an operation is unknown here. It imports Torch's compiler, which takes as long as
    Torch itself.
    """
    with torch.no_grad(), _Counter() as counter:
        network(images)
    if counter.complete:
        return counter.total

    from torch.utils.flop_counter import FlopCounterMode

    with torch.no_grad(), FlopCounterMode(display=False) as torchs:
        network(images)
    return torchs.get_total_flops()
