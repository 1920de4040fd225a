"""The inputs that a run gives a method for training."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from sfa_bench.choices.heads import MEDIUM, Head
from sfa_bench.data.types import LearnerView
from sfa_bench.models import Network
from sfa_bench.parts import schedules
from sfa_bench.parts.losses import log_prior
from sfa_bench.selectors.base import Selector


@dataclass(frozen=True)
class Optimisation:
    """SGD with momentum, or Adam, on all parameters (algorithms/methods.md §1), unless a user changes the recipe.

    The matched schedule drops the rate once; an original's own comes by the name of its schedule, as does a user's.
    """

    lr: float
    momentum: float
    weight_decay: float
    drop_from: int  # first epoch that trains with lr · drop
    drop: float
    schedule: str = "step"  # or a key of `parts.schedules.NATIVE` or `CHOSEN`
    epochs: int = 200  # that the schedule's milestones are fractions of
    adam: bool = False
    adamw: bool = False  # in the place of SGD
    warmup: int = 0  # epochs in which the rate rises linearly
    nesterov: bool = False
    clip: float | None = None  # largest norm of a network's gradient
    ema: float | None = None  # decay of an average of weights and statistics, which predicts

    def rate(self, epoch: int) -> float:
        if epoch <= self.warmup:
            return self._scheduled(epoch) * epoch / self.warmup
        return self._scheduled(epoch)

    def _scheduled(self, epoch: int) -> float:
        if self.schedule == "step":
            return self.lr * self.drop if epoch >= self.drop_from else self.lr
        if self.schedule in schedules.CHOSEN:
            return self.lr * schedules.CHOSEN[self.schedule](epoch, self.epochs, self.warmup)
        return self.lr * schedules.NATIVE[self.schedule](epoch, self.epochs)

    def first_moment(self, epoch: int) -> float:
        """Adam's β₁, which Co-teaching lowers where its rate begins to fall (algorithms/methods.md §6)."""
        if self.schedule not in schedules.NATIVE:
            return 0.9
        return schedules.coteaching_first_moment(self.schedule, epoch, self.epochs)


@dataclass(frozen=True)
class BalancedHead:
    """Options of the heads beside the main one (algorithms/sfa.md §7); they do not act on a network without any."""

    counts: str = "selected"  # or "observed"; the warm-up, which selects nothing, always uses the observed ones
    count_floor: float = 1.0
    detach: bool = False
    medium_warmup: bool = True  # the medium head is trained in the warm-up, too (algorithms/ibc.md §2)

    def log_prior(self, class_counts: Tensor, device: torch.device) -> Tensor:
        """The shift of the logits of a head of strength 1 before the softmax, float32 [K] (algorithms/sfa.md §7)."""
        return log_prior(class_counts, self.count_floor).to(device)

    def trained_in_warmup(self, head: Head) -> bool:
        return self.medium_warmup or head != MEDIUM


@dataclass
class Training:
    """The inputs that a run gives a method: the data it may see, networks, selectors, streams, and a callback for
    steps.
    """

    view: LearnerView
    build_network: Callable[[int], Network]
    optimisation: Optimisation
    seed: int
    epochs: int
    warmup_epochs: int
    batch_size: int  # labelled batch B
    plain_batch: int  # of warm-up and single-network steps: 2B, or an original's own
    evaluation_batch: int
    devices: Sequence[torch.device]
    autocast: bool = False  # bfloat16 around the backbone
    compiled: bool = False  # full batches train through torch.compile
    selectors: list[Selector] = field(default_factory=list)
    selection_view: str = "test"
    watched: bool = False  # selectors see the logits of each batch that their network is trained on
    select_aside: bool = False  # selectors compute while the device trains, where the method's epoch permits it
    head: BalancedHead = field(default_factory=BalancedHead)  # its options, where the networks have one
    drop_last: bool = False  # plain batches: an incomplete last one is left out where there is another
    warmup_draw: int = 0  # samples of the class-balanced draw for an epoch without selection; 0 = all
    selection_draw: int = 0  # of the draw for each selection, which that epoch trains on; 0 = all
    class_errors: np.ndarray | None = None  # [K] in [0, 1], of the learner's estimate; None: there is none
    on_step: Callable[[str, int, int, int], None] = lambda phase, network, step, steps: None
    on_phase: Callable[[str], None] = lambda phase: None
