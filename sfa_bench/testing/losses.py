"""The contract of a loss."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from sfa_bench.testing.common import CLASSES, demand, named, untouched


def check_loss(function: Callable[..., Tensor], **options: Any) -> None:
    """Check a loss `(logits [B, K], labels [B], class_counts [K]) -> [B]` with these keyword arguments.

    It must give a finite value for each row, also for logits far from 0 and where a class has no sample, whose gradient
    is finite and not zero; not depend on the order of the rows; and leave its arguments and global generators alone.
    """
    name = getattr(function, "__name__", type(function).__name__)
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(12) % (CLASSES - 1)  # the last class has no sample
    counts = torch.tensor([40, 8, 3, 0])
    for scale in (1.0, 50.0):
        logits = (scale * torch.randn(12, CLASSES, generator=generator)).requires_grad_()
        kept = logits.detach().clone(), labels.clone(), counts.clone()
        with untouched(name), named(f"{name} fails for logits [12, {CLASSES}]"):
            values = function(logits, labels, counts, **options)
        if not isinstance(values, Tensor) or values.shape != labels.shape:
            actual = list(values.shape) if isinstance(values, Tensor) else type(values).__name__
            raise AssertionError(
                f"{name} gives {actual} for 12 rows: it must give one value for each row, as with reduction='none'"
            )
        demand(
            torch.isfinite(values).all(),
            f"{name}: not every value is finite, with logits up to {scale:g} and a class without samples: use "
            "log_softmax, and clamp counts to 1",
        )
        for before, now in zip(kept, (logits.detach(), labels, counts), strict=True):
            demand(torch.equal(before, now), f"{name} changes its arguments in place: work on copies")
        demand(values.requires_grad, f"{name}: its values have no gradient: keep the logits in the graph")
        (gradient,) = torch.autograd.grad(values.sum(), logits)
        demand(torch.isfinite(gradient).all(), f"{name}: its gradient is not finite, with logits up to {scale:g}")
        if scale == 1:
            demand(gradient.abs().sum() > 0, f"{name}: its gradient is zero: nothing is learned")
        order = torch.randperm(12, generator=generator)
        with torch.no_grad():
            moved = function(logits[order], labels[order], counts, **options)
        demand(
            torch.allclose(moved, values[order], atol=1e-5, rtol=1e-4),
            f"{name}: a row's value depends on the order of the rows",
        )
