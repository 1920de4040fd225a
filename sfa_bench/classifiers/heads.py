"""Classifiers on frozen features [B, d] that give logits [B, K] (algorithms/methods.md §10)."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy

import torch
from torch import Tensor, nn

from sfa_bench.parts.losses import log_prior


class ScaledWeights(nn.Module):
    """LWS: s_k·(W_k·f + b_k) with W and b fixed and s learned from 1; the bias is scaled too."""

    weight: Tensor
    bias: Tensor

    def __init__(self, linear: nn.Linear):
        super().__init__()
        self.register_buffer("weight", linear.weight.detach().clone())
        self.register_buffer("bias", linear.bias.detach().clone())
        self.scales = nn.Parameter(torch.ones(len(linear.weight), device=linear.weight.device))

    def forward(self, features: Tensor) -> Tensor:
        return self.scales * (features @ self.weight.T + self.bias)


class TauNormalised(nn.Module):
    """W_k/‖W_k‖^τ without the bias."""

    weight: Tensor

    def __init__(self, linear: nn.Linear, tau: float):
        super().__init__()
        weight = linear.weight.detach()
        self.register_buffer("weight", weight / weight.norm(dim=1, keepdim=True).clamp(min=1e-12) ** tau)

    def forward(self, features: Tensor) -> Tensor:
        return features @ self.weight.T


class NearestClassMean(nn.Module):
    """−‖g − c_k‖² of the centred unit feature g; a class without prototype is out of reach."""

    prototypes: Tensor
    center: Tensor
    absent: Tensor

    def __init__(self, prototypes: Tensor, center: Tensor):
        super().__init__()
        self.register_buffer("prototypes", prototypes.float())
        self.register_buffer("center", center.float())
        self.register_buffer("absent", prototypes.abs().sum(dim=1) == 0)

    def forward(self, features: Tensor) -> Tensor:
        centred = features - self.center
        unit = centred / centred.norm(dim=1, keepdim=True).clamp(min=1e-12)
        scores = -(torch.cdist(unit, self.prototypes, compute_mode="donot_use_mm_for_euclid_dist") ** 2)
        return scores.masked_fill(self.absent, -1e6)


class PriorSubtracted(nn.Module):
    """The trained head's z − τ·log π (Menon et al. 2021, post hoc)."""

    shift: Tensor

    def __init__(self, head: nn.Module, class_counts: Tensor, tau: float):
        super().__init__()
        self.head = head
        self.register_buffer("shift", tau * log_prior(class_counts))

    def forward(self, features: Tensor) -> Tensor:
        return self.head(features) - self.shift


def restored(state: Mapping[str, Tensor], main: nn.Module) -> nn.Module:
    """The classifier with this state, beside the main head of its network. Raises: RuntimeError where it is none of
    these.
    """
    head: nn.Module
    if "prototypes" in state:
        head = NearestClassMean(torch.zeros_like(state["prototypes"]), torch.zeros_like(state["center"]))
    elif "shift" in state:
        head = PriorSubtracted(deepcopy(main), torch.ones_like(state["shift"]), tau=0.0)
    else:
        classes, width = state["weight"].shape
        linear = nn.Linear(width, classes)
        head = ScaledWeights(linear) if "scales" in state else linear
        if "bias" not in state:
            head = TauNormalised(linear, tau=0.0)
    head.load_state_dict(dict(state))
    return head.to(next(main.parameters()).device)
