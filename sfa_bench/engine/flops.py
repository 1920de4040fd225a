"""Floating-point operations of a forward pass: convolutions and matrix products, two for each multiplication."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode, resolve_name

from sfa_bench.models import Network

FUNCTIONAL, TENSOR = "torch.nn.functional.", "torch.Tensor."
# Operations that are neither. Attributes of a tensor (`torch.Tensor.shape.__get__`) are none at all.
FREE = {
    *(f"torch.{name}" for name in ("cat", "flatten", "maximum", "mean", "relu", "relu_")),
    *(FUNCTIONAL + name for name in ("adaptive_avg_pool2d", "avg_pool2d", "batch_norm", "dropout", "leaky_relu")),
    *(FUNCTIONAL + name for name in ("max_pool2d", "normalize", "pad", "relu", "relu_")),
    *(TENSOR + name for name in ("__add__", "__getitem__", "add", "add_", "contiguous", "dim", "flatten")),
    *(TENSOR + name for name in ("mean", "mul", "reshape", "size", "view")),
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
        name = resolve_name(func) or ""
        weight = args[1] if len(args) > 1 and isinstance(args[1], Tensor) else None
        if name == FUNCTIONAL + "conv2d" and weight is not None:
            self.total += 2 * out.numel() * weight[0].numel()
        elif name == FUNCTIONAL + "linear" and weight is not None:
            self.total += 2 * out.numel() * weight.shape[1]
        elif name == TENSOR + "matmul" and weight is not None and weight.ndim == args[0].ndim == 2:
            self.total += 2 * out.numel() * weight.shape[0]
        else:
            self.complete &= name in FREE or name.endswith(".__get__")
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
