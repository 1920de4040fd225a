"""What every method is, and the tools the engine hands it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sfa_bench import streams
from sfa_bench.data.draws import class_balanced
from sfa_bench.data.loader import AnyLoader, batches, loader_for
from sfa_bench.data.types import Images, LearnerView
from sfa_bench.errors import RunError
from sfa_bench.methods.aside import Aside
from sfa_bench.models import Network, Output
from sfa_bench.models.cnn9 import ChannelDropout
from sfa_bench.numerics import full_precision
from sfa_bench.parts import schedules
from sfa_bench.parts.losses import log_prior
from sfa_bench.selectors.base import Probe, Selection, Selector

PIECE = 64 * 32 * 32  # pixels, see `pieces`
DRAWN_TOGETHER = 256  # views of a selection pass: a stream's numbers depend on how many are drawn in a call
SMALLER_LR = "a smaller lr may help"


@dataclass(frozen=True)
class Optimisation:
    """SGD with momentum, or Adam, on all parameters (algorithms/methods.md §1).

    The matched schedule drops the rate once; an original's own comes by the name of its schedule.
    """

    lr: float
    momentum: float
    weight_decay: float
    drop_from: int  # first epoch that trains with lr · drop
    drop: float
    schedule: str = "step"  # or a key of `parts.schedules.NATIVE`
    epochs: int = 200  # that the schedule's milestones are fractions of
    adam: bool = False

    def rate(self, epoch: int) -> float:
        if self.schedule == "step":
            return self.lr * self.drop if epoch >= self.drop_from else self.lr
        return self.lr * schedules.NATIVE[self.schedule](epoch, self.epochs)

    def first_moment(self, epoch: int) -> float:
        """Adam's β₁, which Co-teaching lowers where its rate begins to fall (algorithms/methods.md §6)."""
        return schedules.coteaching_first_moment(self.schedule, epoch, self.epochs)


@dataclass(frozen=True)
class BalancedHead:
    """The auxiliary balanced classifier's options (algorithms/sfa.md §7); a network without the head has none."""

    counts: str = "selected"  # or "observed"; the warm-up, which selects nothing, always uses the observed ones
    count_floor: float = 1.0
    detach: bool = False

    def log_prior(self, class_counts: Tensor, device: torch.device) -> Tensor:
        """What shifts its logits before the softmax, float32 [K] (algorithms/sfa.md §7)."""
        return log_prior(class_counts, self.count_floor).to(device)


@dataclass
class Ledger:
    """What training has cost so far, in images that went through a network."""

    steps: int = 0
    trained: int = 0  # forward and backward
    guessed: int = 0  # forward without gradient, inside a step
    selected: int = 0  # forward in selection passes

    def as_dict(self) -> dict[str, int]:
        return dict(vars(self))


@dataclass
class Training:
    """What a run gives a method: the data it may see, networks, selectors, streams, and the way to report a step."""

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
    select_aside: bool = False  # selectors compute while the device trains, as far as its epoch lets them
    head: BalancedHead = field(default_factory=BalancedHead)  # its options, where the networks have one
    drop_last: bool = False  # plain batches: an incomplete last one is left out where there is another
    warmup_draw: int = 0  # samples of the class-balanced draw for an epoch without selection; 0 = all
    selection_draw: int = 0  # of the draw for each selection, which that epoch trains on; 0 = all
    on_step: Callable[[str, int, int, int], None] = lambda phase, network, step, steps: None
    on_phase: Callable[[str], None] = lambda phase: None


class Method:
    """A learner. Subclasses set `networks_used` (before `__init__` where it is an option) and implement `epoch`."""

    networks_used = 1
    kept_when_done: tuple[str, ...] = ("networks", "selectors", "selections")  # of the state, once a run is finished
    knows: tuple[str, ...] = ()  # what a class from outside the suite is told beyond the observed labels

    def __init__(self, training: Training):
        self.t = training
        self.cost = Ledger()
        devices = list(training.devices)
        self.devices = [devices[k % len(devices)] for k in range(self.networks_used)]
        self.networks = [training.build_network(k).to(self.devices[k]) for k in range(self.networks_used)]
        self._compiled: list[Callable[[Tensor], Tensor]] = []  # once they are needed
        self.optimisers = [self._optimiser(network) for network in self.networks]
        view = training.view
        self.loaders: dict[torch.device, AnyLoader] = {
            device: loader_for(view.images, view.transform, device) for device in self.devices
        }
        self._evaluated: dict[int, tuple[Images, AnyLoader]] = {}  # by the identity of the images
        self.labels = view.observed_labels
        self.observed_counts = view.observed_counts
        self.selections: Sequence[Selection] = []
        self.probes: list[Probe] = []

    # ---- to be written by a method

    def epoch(self, e: int) -> dict[str, float | None]:
        """Train epoch e (1-based). Returns figures to log, among them `loss` (None without a step)."""
        raise NotImplementedError

    def selects_in(self, e: int) -> bool:
        """Whether epoch e starts with a selection pass."""
        return bool(self.t.selectors) and e > self.t.warmup_epochs

    # ---- shared by all

    def forward(self, k: int, images: Tensor, copied: Network | None = None) -> Output:
        """Features and logits of network k, or of a copy; only the backbone may run in bfloat16 (explanation/rules.md
        §4).
        """
        network = self.networks[k] if copied is None else copied
        # Each number of images is compiled by itself: none for the last batches of an epoch, nor for guesses.
        full = len(images) in (self.t.plain_batch, 2 * self.t.batch_size, 4 * self.t.batch_size)
        if self.t.compiled and full and network.training and torch.is_grad_enabled():
            backbone = self._compile()[k]
        else:
            backbone = network.features
        with torch.autocast(images.device.type, dtype=torch.bfloat16, enabled=self.t.autocast):
            features = backbone(images)
        if self.t.autocast:
            features = features.float()
        # A detached head learns from the features without shaping them.
        for_abc = features.detach() if self.t.head.detach else features
        return Output(features, network.main(features), None if network.abc is None else network.abc(for_abc))

    def _compile(self) -> list[Callable[[Tensor], Tensor]]:
        """Each network's backbone, compiled. Not the networks themselves: their weights keep their names, and copies of
        them are not compiled.
        """
        if not self._compiled:
            torch.compiler.reset()  # a process that made other runs before would come to where Torch compiles no more
            self._compiled = [torch.compile(network.features, dynamic=False) for network in self.networks]
        return self._compiled

    def generator(self, stream: str, k: int, e: int) -> torch.Generator:
        return streams.torch_generator(self.t.seed, stream, k, e)

    def _optimiser(self, network: Network) -> torch.optim.Optimizer:
        o = self.t.optimisation
        if o.adam:
            return torch.optim.Adam(network.parameters(), lr=o.lr, betas=(0.9, 0.999), weight_decay=o.weight_decay)
        return torch.optim.SGD(
            network.parameters(),
            lr=o.lr,
            momentum=o.momentum,
            weight_decay=o.weight_decay,
            fused=next(network.parameters()).is_cuda,  # one kernel for all weights; on a CPU it gains nothing
        )

    def prepare(self, k: int, e: int) -> None:
        """Network k's learning rate and dropout stream for epoch e."""
        dropout = self.generator("dropout", k, e)  # one for all layers: each with its own would draw the same masks
        for module in self.networks[k].modules():
            if isinstance(module, ChannelDropout):
                module.generator = dropout
        for group in self.optimisers[k].param_groups:
            group["lr"] = self.t.optimisation.rate(e)
            if "betas" in group:
                group["betas"] = (self.t.optimisation.first_moment(e), group["betas"][1])

    def step(self, k: int, loss: Tensor) -> None:
        self.optimisers[k].zero_grad(set_to_none=True)
        loss.backward()
        self.optimisers[k].step()
        self.cost.steps += 1

    def begin(self, k: int, e: int, phase: str) -> None:
        """Network k is about to train in epoch e."""
        self.t.on_phase(phase)
        self.prepare(k, e)
        self.networks[k].train()

    def descend(self, k: int, e: int, losses: Iterable[tuple[Tensor, int]]) -> float | None:
        """A step of network k on each loss as it comes, with the images that it was forwarded for; their mean.

        Whoever gives the losses goes on after the step. Returns None without a step; raises RunError where a loss is
        not finite.
        """
        mean = RunningMean()
        for loss, images in losses:
            self.step(k, loss)
            self.cost.trained += images
            mean.add(loss)
        return mean.value(k, e)

    def figures(self, e: int, losses: Sequence[float | None]) -> dict[str, float | None]:
        """What an epoch reports of its networks' mean losses."""
        trained = [loss for loss in losses if loss is not None]
        return {"loss": sum(trained) / len(trained) if trained else None, "lr": self.t.optimisation.rate(e)}

    def rows(self, k: int, e: int) -> Tensor:
        """Positions of the samples that network k learns from in an epoch without selection: all, or a draw."""
        if not self.t.warmup_draw:
            return torch.arange(len(self.labels))
        return self._draw(self.t.warmup_draw, "warmup_draw", k, e)

    def _draw(self, size: int, stream: str, k: int, e: int) -> Tensor:
        return class_balanced(self.labels, size, self.t.view.num_classes, self.generator(stream, k, e))

    def epoch_order(self, k: int, e: int) -> Tensor:
        """The rows of an epoch without selection, shuffled."""
        rows = self.rows(k, e)
        return rows[torch.randperm(len(rows), generator=self.generator("shuffle", k, e))]

    def plain_batches(self, order: Tensor) -> list[Tensor]:
        """Batches of warm-up and single-network steps of the rows in `order`."""
        size = self.t.plain_batch
        if self.t.drop_last and len(order) > size:
            order = order[: len(order) // size * size]
        return list(batches(order, size))

    def views(
        self, k: int, parts: Sequence[Tensor], generator: torch.Generator, phase: str
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Each of `parts`, rows of a batch, with one augmented view of them on network k's device; reported as it is
        taken up. Only this may draw from `generator`.
        """
        stream = self.loaders[self.devices[k]].train_views(parts, generator)
        for b, rows in enumerate(parts):
            self.t.on_step(phase, k, b, len(parts))
            yield rows, next(stream)[0]  # not to the end of the stream: the next one ends it

    def counts_of(self, rows: Tensor) -> Tensor:
        """Samples of each observed class among `rows`, int64 [K]."""
        return torch.bincount(self.labels[rows], minlength=self.t.view.num_classes)

    def counts_for_head(self, selection: Selection | None) -> Tensor:
        """nˢ of the selection in use, or ñ where there is none or `abc.counts=observed`: of the samples that it was
        made among, where that is a draw.
        """
        if selection is None:
            return self.observed_counts
        if self.t.head.counts == "observed":
            return self.observed_counts if selection.rows is None else self.counts_of(torch.from_numpy(selection.rows))
        return torch.from_numpy(selection.class_counts)

    def probe(self, k: int, e: int) -> Probe:
        """Evaluation-mode pass of network k over what it selects from in epoch e, in fp32 (explanation/rules.md §4)."""
        return self._probes([k], e)[0]

    def _probes(self, networks: Sequence[int], e: int) -> list[Probe]:
        """The passes of several networks over the same rows."""
        first = networks[0]
        rows = torch.arange(len(self.labels))
        if self.t.selection_draw:
            rows = self._draw(self.t.selection_draw, "selection_draw", first, e)
        loader = self.loaders[self.devices[first]]
        if self.t.selection_view == "train":
            augmented = loader.train_views(rows.split(DRAWN_TOGETHER), self.generator("selection_view", first, e))
            stream: Iterator[Tensor] = (views[0] for views in augmented)
        else:
            stream = loader.test_views(rows.split(self.t.evaluation_batch))
        outputs = self._evaluate([self.networks[k] for k in networks], [self.devices[k] for k in networks], stream)
        self.cost.selected += len(rows) * len(networks)
        return [self._as_probe(k, e, out, rows.numpy()) for k, out in zip(networks, outputs, strict=True)]

    def _as_probe(self, k: int, e: int, out: Output, rows: np.ndarray) -> Probe:
        features, main = out.features.numpy(), out.main.numpy()
        for what, values in (("features", features), ("logits", main)):
            if not np.isfinite(values).all():
                raise RunError(
                    f"the {what} of network {k + 1} are not finite in the selection pass of epoch {e}; {SMALLER_LR}"
                )
        # Half precision is what `record.probes` keeps: so a selector sees in training what it sees in a replay. Rounded
        # in place, in parts that stay in the processor's cache.
        for part in out.features.split(256):
            part.copy_(part.clamp(-65504, 65504).half())
        abc = None if out.abc is None else out.abc.numpy()
        return Probe(features, main, abc, self.labels.numpy()[rows], rows)

    @staticmethod
    def _evaluate(
        networks: Sequence[Network], devices: Sequence[torch.device], stream: Iterable[Tensor]
    ) -> list[Output]:
        """Evaluation-mode outputs of each network for all images of a stream of batches, on the CPU; an image is read
        and framed once for all networks.
        """
        parts: list[list[Output]] = [[] for _ in networks]
        for network in networks:
            network.eval()
        with torch.no_grad(), full_precision():
            for images in stream:
                for outputs, network, device in zip(parts, networks, devices, strict=True):
                    outputs += [network(piece) for piece in pieces(images.to(device))]
        return [
            Output(
                torch.cat([out.features for out in outputs]).cpu(),
                torch.cat([out.main for out in outputs]).cpu(),
                None if network.abc is None else torch.cat([out.abc for out in outputs if out.abc is not None]).cpu(),
            )
            for outputs, network in zip(parts, networks, strict=True)
        ]

    def select(self, e: int) -> None:
        """All networks select as they stand, before any of them trains."""
        self.t.on_phase("selection")
        all_networks = list(range(self.networks_used))
        alike = not self.t.selection_draw and self.t.selection_view == "test"
        groups = [all_networks] if alike else [[k] for k in all_networks]
        self.probes = [probe for group in groups for probe in self._probes(group, e)]
        calls = [partial(self._answer, k, e) for k in all_networks]
        self.selections = Aside(calls) if self.t.select_aside else [call() for call in calls]

    def _answer(self, k: int, e: int) -> Selection:
        probe = self.probes[k]
        answer = self.t.selectors[k].answer(probe, e)
        return answer.among(len(self.labels), probe.rows if self.t.selection_draw else None)

    def loader_of(self, images: Images) -> AnyLoader:
        """The loader of images to predict, on the first device; the same one each time."""
        if id(images) not in self._evaluated:
            self._evaluated[id(images)] = images, loader_for(images, self.t.view.transform, self.devices[0])
        return self._evaluated[id(images)][1]

    def close(self) -> None:
        """End the processes that read images."""
        for loader in (*self.loaders.values(), *(loader for _, loader in self._evaluated.values())):
            loader.close()

    def predictors(self) -> list[Network]:
        """The networks that predict: those that train, unless a method keeps averages of them."""
        return self.networks

    def predict(self, images: Images) -> list[dict[str, np.ndarray]]:
        """Test-view logits of M images: for each network, head → [M, K] float32."""
        loader = self.loader_of(images)
        parts = torch.arange(len(images)).split(self.t.evaluation_batch)
        outputs = self._evaluate(self.predictors(), self.devices, loader.test_views(parts))
        answers = []
        for k, out in enumerate(outputs):
            heads = {"main": out.main.numpy()}
            if out.abc is not None:
                heads["abc"] = out.abc.numpy()
            answers.append(heads | self.extra_heads(k, out.features.numpy()))
        return answers

    def extra_heads(self, k: int, features: np.ndarray) -> dict[str, np.ndarray]:
        """Further answers of network k for features [M, d], reported beside the ensemble and never part of it."""
        return {}

    # ---- state

    def state(self) -> dict[str, Any]:
        """All that later epochs depend on. Optimisers keep their momentum; generators are derived, not stored."""
        selections = [_pack(selection) for selection in self.selections]  # selectors are done with them, too
        return {
            "networks": [network.state_dict() for network in self.networks],
            "optimisers": [optimiser.state_dict() for optimiser in self.optimisers],
            "selectors": [selector.state() for selector in self.t.selectors],
            "selections": selections,
            "cost": self.cost.as_dict(),
        }

    def load_trained(self, state: dict[str, Any]) -> None:
        """Take up what a finished run keeps: weights and last selections, nothing to go on training with."""
        for network, values in zip(self.networks, state["networks"], strict=True):
            network.load_state_dict(values)
        self.selections = [_unpack(selection) for selection in state["selections"]]

    def load_state(self, state: dict[str, Any]) -> None:
        for network, values in zip(self.networks, state["networks"], strict=True):
            network.load_state_dict(values)
        for optimiser, values in zip(self.optimisers, state["optimisers"], strict=True):
            optimiser.load_state_dict(values)
        for selector, values in zip(self.t.selectors, state["selectors"], strict=True):
            selector.load_state(values)
        self.selections = [_unpack(selection) for selection in state["selections"]]
        self.cost = Ledger(**state["cost"])


def _pack(selection: Selection) -> dict[str, Any]:
    values = vars(selection)
    return {name: torch.from_numpy(v) if isinstance(v, np.ndarray) else v for name, v in values.items()}


def _unpack(state: dict[str, Any]) -> Selection:
    plain: dict[str, Any] = {name: v.numpy() if isinstance(v, torch.Tensor) else v for name, v in state.items()}
    return Selection(**plain)


def pieces(images: Tensor) -> Sequence[Tensor]:
    """What goes through a network at once without gradient, where the answers do not depend on it: on a CPU as much as
    its caches hold (twice as fast at full width), elsewhere all.
    """
    if images.device.type != "cpu" or images.ndim < 4:
        return (images,)
    return images.split(max(8, PIECE // (images.shape[-2] * images.shape[-1])))


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
