"""HAR: cross-entropy with a penalty on its gradients that is stronger for uncertain and rare classes (Cao et al., ICLR
2021; algorithms/har.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge, get_gradient_edge

from sfa_bench.methods.base import RunningMean, Training
from sfa_bench.methods.loss import loss_of
from sfa_bench.methods.single import Single, SingleInputs
from sfa_bench.models import Network, Output
from sfa_bench.models.network import Norm

if TYPE_CHECKING:
    from sfa_bench.config.schema import RunConfig


def strengths(errors: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """λ_k = e_k^0.6 / n_k^0.4 by the largest of them (algorithms/har.md §1).

    Args: errors [K] in [0, 1]; counts [K], observed. Returns: float64 [K]; 0 for a class without samples, and for all
    where there are no errors.
    """
    raw = np.where(counts > 0, errors**0.6 / np.maximum(counts, 1) ** 0.4, 0.0)
    return raw / raw.max() if raw.max() > 0 else raw


def gradient_norms(loss: Tensor, layers: Sequence[tuple[Tensor, GradientEdge]]) -> Tensor:
    """Σ_b ‖∂loss/∂o_b,i‖ over BatchNorm layers b for each sample i of the batch [B], differentiable.

    o_b is what a layer gives before its weight w_b [C] and bias, so that its gradient is w_b times that of the output.

    Args: layers: of each its weight, and its output's place in the graph of the loss.
    """
    gradients = torch.autograd.grad(loss, [edge for _, edge in layers], create_graph=True)
    norms = loss.new_zeros(())
    for (weight, _), gradient in zip(layers, gradients, strict=True):
        before = gradient.to(loss.dtype) * weight.reshape(1, -1, *[1] * (gradient.ndim - 2))
        norms = norms + torch.linalg.vector_norm(before.flatten(1), dim=1)
    return norms


class Har(Single):
    """Adds γ · mean_i λ_{ỹ_i} Σ_b ‖∂L/∂o_b,i‖ to the main head's loss L of a batch; γ = 0 is the loss alone.

    Args: gamma [γ]; the others are those of `Single`. λ follows `training.class_errors`.
    """

    def __init__(self, training: Training, *, gamma: float, **options: Any):
        super().__init__(training, **options)
        errors = np.ones(training.view.num_classes) if training.class_errors is None else training.class_errors
        self.gamma = gamma
        self.strengths = torch.from_numpy(strengths(errors, self.observed_counts.numpy())).float()  # λ [K]
        self.norms = [network.backbone.block_norms() for network in self.networks]
        self.penalty = RunningMean()
        self._layers: list[tuple[Tensor, GradientEdge]] = []  # of the last forward pass

    @classmethod
    def of(cls, training: Training, config: RunConfig) -> Har:
        """From a resolved configuration."""
        method = config.method
        return cls(
            training,
            gamma=method.gamma,
            loss=loss_of(method.loss),
            loss_name=method.loss.name,
            networks=method.networks,
            schedule=method.schedule,
            class_beta=method.class_beta,
            count_floor=method.count_floor,
        )

    def epoch(self, e: int) -> dict[str, float | None]:
        self.penalty = RunningMean()
        return {**super().epoch(e), "penalty": self.penalty.value(0, e)}

    def forward(self, k: int, images: Tensor, copied: Network | None = None, watched: bool = True) -> Output:
        self._layers = []
        if self.gamma == 0:
            return super().forward(k, images, copied, watched)
        handles = [norm.register_forward_hook(self._record) for norm in self.norms[k]]
        try:
            return super().forward(k, images, copied, watched)
        finally:
            for handle in handles:
                handle.remove()

    def _record(self, norm: Norm, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        # The place in the graph, not the tensor, which the rectifier that follows may overwrite.
        self._layers.append((norm.weight, get_gradient_edge(output)))

    def _main(self, values: Tensor, labels: Tensor, given: SingleInputs, keep: Tensor | None) -> Tensor:
        loss = super()._main(values, labels, given, keep)
        if self.gamma == 0:
            return loss
        penalty = (self.strengths.to(labels.device)[labels] * gradient_norms(loss, self._layers)).mean()
        self.penalty.add(penalty)
        return loss + self.gamma * penalty

    def state(self) -> dict[str, Any]:
        return {**super().state(), "strengths": self.strengths}

    def load_state(self, state: dict[str, Any]) -> None:
        super().load_state(state)
        self.strengths = state["strengths"]
