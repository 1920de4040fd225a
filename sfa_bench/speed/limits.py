"""The machine's peak rates, and the operations of a step."""

from __future__ import annotations

from collections import Counter
from typing import Any

import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode

from sfa_bench.engine.machine import has_bfloat16
from sfa_bench.models import Network
from sfa_bench.speed.settings import SIDE, Passed, Side
from sfa_bench.speed.timing import repeated

ROUNDS = 5


def limits(device: torch.device, seconds: float, side: int = 0, copied: int = 1 << 28) -> dict[str, Any]:
    """Fastest of five square matrix products in each precision [FLOP/s], and of copies [bytes/s, read and written].

    side: rows of the matrices, 0 for what suits the device; copied: bytes. Where bf16 has no unit of its own,
    `matmul_bf16` is None and `reason` says so.
    """
    side = side or (8192 if device.type == "cuda" else 2048)
    rates: dict[str, Any] = {"side": side, "matmul_fp32": _product(torch.float32, device, seconds, side)}
    if has_bfloat16(device):
        rates |= {"matmul_bf16": _product(torch.bfloat16, device, seconds, side), "reason": None}
    else:
        rates |= {"matmul_bf16": None, "reason": f"this {device.type} has no unit for bfloat16"}
    source = torch.ones(copied // 4, device=device)
    target = torch.empty_like(source)
    rates["copy"] = 2 * 4 * source.numel() / _fastest(lambda: target.copy_(source), device, seconds)
    return rates


def _product(dtype: torch.dtype, device: torch.device, seconds: float, side: int) -> float:
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randn(side, side, generator=generator).to(device, dtype) for _ in range(2))
    return 2 * side**3 / _fastest(lambda: a @ b, device, seconds)


def _fastest(act: Any, device: torch.device, seconds: float) -> float:
    for _ in range(2):  # warm-up
        act()
    return min(repeated(act, device, seconds / ROUNDS).seconds for _ in range(ROUNDS))


def flops_of_image(network: Network, device: torch.device) -> tuple[int, int]:
    """Floating-point operations of one image forward, and forward and backward (convolutions, matrix products)."""
    images, labels = torch.zeros(2, 3, SIDE, SIDE, device=device), torch.zeros(2, dtype=torch.int64, device=device)
    with torch.no_grad(), FlopCounterMode(display=False) as forward:
        network(images)
    with FlopCounterMode(display=False) as both:
        out = network(images)
        loss = F.cross_entropy(out.main, labels)
        if out.abc is not None:
            loss = loss + F.cross_entropy(out.abc, labels)
        loss.backward()
    network.zero_grad(set_to_none=True)
    return forward.get_total_flops() // 2, both.get_total_flops() // 2


def operations(passed: Passed, flops: tuple[int, int], side: Side) -> dict[str, int]:
    """Operations by precision."""
    forward, both = flops
    counts = Counter({side.precision: passed.trained * both + passed.guessed * forward})
    counts[side.precision if side.bfloat16_selection else "fp32"] += passed.selected * forward
    return {precision: count for precision, count in counts.items() if count}
