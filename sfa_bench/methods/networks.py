"""The networks that a method trains, their optimisers, and a step of training."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils import clip_grad_norm_
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from sfa_bench import streams
from sfa_bench.errors import RunError
from sfa_bench.methods import optimisers
from sfa_bench.methods.training import Training
from sfa_bench.models import Network, Output
from sfa_bench.models.cnn9 import ChannelDropout

SMALLER_LR = "a smaller lr may help"


@dataclass
class ImageCounts:
    """The cost of training so far, in images that passed through a network."""

    steps: int = 0
    trained: int = 0  # forward and backward
    guessed: int = 0  # forward without gradient, inside a step
    selected: int = 0  # forward in selection passes

    def as_dict(self) -> dict[str, int]:
        return dict(vars(self))


class Networks:
    """One network or two with their optimisers; a subclass sets `networks_used`, where it is an option before
    `__init__`.
    """

    networks_used = 1

    def __init__(self, training: Training):
        self.training = training
        self.cost = ImageCounts()
        devices = list(training.devices)
        self.devices = [devices[k % len(devices)] for k in range(self.networks_used)]
        self.networks = [training.build_network(k).to(self.devices[k]) for k in range(self.networks_used)]
        self._compiled: list[Callable[[Tensor], Tensor]] = []  # once they are needed
        self.optimisers = [self._optimiser(network) for network in self.networks]
        ema = training.optimisation.ema
        self.averages = [] if ema is None else [averaged(network, ema) for network in self.networks]

    def _optimiser(self, network: Network) -> torch.optim.Optimizer:
        o = self.training.optimisation
        if o.adam:
            return optimisers.Adam(network.parameters(), lr=o.lr, betas=(0.9, 0.999), weight_decay=o.weight_decay)
        if o.adamw:
            return optimisers.AdamW(network.parameters(), lr=o.lr, betas=(0.9, 0.999), weight_decay=o.weight_decay)
        return optimisers.SGD(
            network.parameters(),
            lr=o.lr,
            momentum=o.momentum,
            weight_decay=o.weight_decay,
            nesterov=o.nesterov,
            fused=next(network.parameters()).is_cuda,  # one kernel for all weights; on a CPU it gains nothing
        )

    def forward(self, k: int, images: Tensor, copied: Network | None = None, watched: bool = True) -> Output:
        """Features and logits of network k, or of a copy; only the backbone may run in bfloat16 (explanation/rules.md
        §4). Selectors that watch the batches of training are shown the logits, once a step: not those of a further pass
        (watched=False).
        """
        network = self.networks[k] if copied is None else copied
        # Each number of images is compiled by itself: none for the last batches of an epoch, nor for guesses.
        full = len(images) in (self.training.plain_batch, 2 * self.training.batch_size, 4 * self.training.batch_size)
        if self.training.compiled and full and network.training and torch.is_grad_enabled():
            backbone = self._compile()[k]
        else:
            backbone = network.features
        with torch.autocast(images.device.type, dtype=torch.bfloat16, enabled=self.training.autocast):
            features = backbone(images)
        if self.training.autocast:
            features = features.float()
        # A detached head learns from the features without shaping them.
        out = network.classify(features, features.detach() if self.training.head.detach else features)
        if watched and self.training.watched and torch.is_grad_enabled():  # guesses have no gradient
            self.training.selectors[k].watch(out.main.detach())
        return out

    def _compile(self) -> list[Callable[[Tensor], Tensor]]:
        """Each network's backbone, compiled. Not the networks themselves: their weights keep their names, and copies of
        them are not compiled.
        """
        if not self._compiled:
            torch.compiler.reset()  # otherwise many runs in one process reach the limit of compilations
            self._compiled = [torch.compile(network.features, dynamic=False) for network in self.networks]
        return self._compiled

    def generator(self, stream: str, k: int, e: int) -> torch.Generator:
        return streams.torch_generator(self.training.seed, stream, k, e)

    def prepare(self, k: int, e: int) -> None:
        """Network k's learning rate and dropout stream for epoch e."""
        dropout = self.generator("dropout", k, e)  # one for all layers: each with its own would draw the same masks
        for module in self.networks[k].modules():
            if isinstance(module, ChannelDropout):
                module.generator = dropout
        for group in self.optimisers[k].param_groups:
            group["lr"] = self.training.optimisation.rate(e)
            if "betas" in group:
                group["betas"] = (self.training.optimisation.first_moment(e), group["betas"][1])

    def begin(self, k: int, e: int, phase: str) -> None:
        """Prepare network k for training in epoch e."""
        self.training.on_phase(phase)
        self.prepare(k, e)
        self.networks[k].train()

    def step(self, k: int, loss: Tensor) -> None:
        self.optimisers[k].zero_grad(set_to_none=True)
        loss.backward()
        if (clip := self.training.optimisation.clip) is not None:
            clip_grad_norm_(self.networks[k].parameters(), clip)
        self.optimisers[k].step()
        if self.averages:
            self.averages[k].update_parameters(self.networks[k])
        self.cost.steps += 1

    def descend(self, k: int, e: int, losses: Iterable[tuple[Tensor, int]]) -> float | None:
        """Train network k by one step for each (loss, images) that the iterator yields; returns their mean.

        The iterator resumes after the step. Returns None without a step; raises RunError where a loss is not finite.
        """
        mean = RunningMean()
        for loss, images in losses:
            self.step(k, loss)
            self.cost.trained += images
            mean.add(loss)
        return mean.value(k, e)

    def figures(self, e: int, losses: Sequence[float | None]) -> dict[str, float | None]:
        """The figures of an epoch from its networks' mean losses."""
        trained = [loss for loss in losses if loss is not None]
        return {"loss": sum(trained) / len(trained) if trained else None, "lr": self.training.optimisation.rate(e)}


def averaged(network: Network, decay: float) -> AveragedModel:
    """An exponential average of the network's weights and batch statistics, which begins with those after the first
    step.
    """
    average = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(decay), use_buffers=True)
    return average.requires_grad_(False).eval()


def set_mode(network: Network, *, training: bool) -> None:
    """Train or evaluation mode. Torch's own call walks through all modules also where nothing changes."""
    if network.training is not training:
        network.train(training)


class RunningMean:
    """Mean of per-step losses without waiting for the device in every step."""

    def __init__(self) -> None:
        self.total: Tensor | None = None
        self.steps = 0

    def add(self, loss: Tensor) -> None:
        loss = loss.detach()
        self.total = loss if self.total is None else self.total + loss
        self.steps += 1

    def value(self, k: int, e: int) -> float | None:
        """None without a step. Raises RunError where a loss was not finite: a sum keeps every NaN and infinity."""
        if self.total is None:
            return None
        mean = float(self.total) / self.steps
        if not np.isfinite(mean):
            raise RunError(
                f"the loss of network {k + 1} is not finite in epoch {e}; {SMALLER_LR}, and "
                "plugin.abc.count_floor=1 where it is 0"
            )
        return mean
