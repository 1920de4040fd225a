"""How an accelerator computes: TF32 or fp32, deterministic kernels or the fastest.

Nothing here has an effect on a CPU.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

# Torch's message about a kernel without a deterministic implementation (`torch.use_deterministic_algorithms`).
NOT_DETERMINISTIC = "does not have a deterministic implementation"
WORKSPACE = "CUBLAS_WORKSPACE_CONFIG"
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
WAY_OUT = "; deterministic=false admits such kernels, and a run no longer ends with the same bits twice"


def choose_kernels(device: torch.device, *, tf32: bool, deterministic: bool) -> None:
    """Choose CUDA's kernels for this process: with TF32 in fp32 products and convolutions, or without; only
    deterministic ones, or the fastest.

    Torch's own default lets cuDNN take TF32 in convolutions, so that `fp32` would have ten bits of mantissa there.
    """
    if device.type != "cuda":
        return
    _allow_tf32(tf32)
    # cuBLAS reads it when it is first used: without a workspace of its own a stream's products differ from run to run.
    os.environ.setdefault(WORKSPACE, ":4096:8")
    torch.use_deterministic_algorithms(deterministic)
    # The suite reads no memory that it has not written.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.backends.cudnn.benchmark = not deterministic  # which kernel wins a race differs from run to run


@contextmanager
def full_precision() -> Iterator[None]:
    """Inside the block products and convolutions are in fp32, whatever the precision of training (explanation/rules.md
    §4).
    """
    allowed = torch.backends.cudnn.allow_tf32
    if allowed:
        _allow_tf32(False)
    try:
        yield
    finally:
        if allowed:
            _allow_tf32(True)


@contextmanager
def kept() -> Iterator[None]:
    """Restore afterwards what a run sets for its process: Torch's threads, and the choice of kernels."""
    threads, tf32, benchmark = torch.get_num_threads(), _tf32(), torch.backends.cudnn.benchmark
    deterministic = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    filled = torch.utils.deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]
    environment = {name: os.environ.get(name) for name in (WORKSPACE, *THREADS)}
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = tf32
        torch.backends.cudnn.benchmark = benchmark
        torch.use_deterministic_algorithms(deterministic, warn_only=warn_only)
        torch.utils.deterministic.fill_uninitialized_memory = filled  # type: ignore[attr-defined]
        for name, value in environment.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _tf32() -> tuple[bool, bool]:
    return torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32


def _allow_tf32(allowed: bool) -> None:
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = allowed


def evaluation_batch(batch_size: int, device: torch.device, pixels: int) -> int:
    """Images of so many pixels that go through a network at once without gradient. A GPU waits for the host where they
    are few: it takes 8 times `batch_size` of images up to 32×32, and of larger ones as many as have those pixels.
    """
    return batch_size if device.type == "cpu" else batch_size * max(1, 8 * 32 * 32 // max(32 * 32, pixels))


def send(tensor: Tensor, device: torch.device) -> Tensor:
    """Copy a CPU tensor to `device` without making the host wait for the device's queue.

    A plain copy of pageable memory waits; from pinned memory it is one more entry in the device's queue. The allocator
    of pinned memory keeps a block until its copy is done.
    """
    if device.type == "cuda" and tensor.device.type == "cpu":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)
