"""The base class of all methods."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sfa_bench.data.loader import batches
from sfa_bench.errors import ConfigError
from sfa_bench.methods.aside import Aside
from sfa_bench.methods.evaluation import Evaluated
from sfa_bench.methods.networks import ImageCounts, RunningMean
from sfa_bench.methods.training import BalancedHead, Optimisation, Training
from sfa_bench.selectors.base import Probe, Selection, shown

AVERAGES = "averages"  # of the state, where the recipe keeps any

__all__ = ["BalancedHead", "Method", "Optimisation", "RunningMean", "Training"]  # names for modules of methods


class Method(Evaluated):
    """A learner. Subclasses set `networks_used` (before `__init__` where it is an option) and implement `epoch`."""

    kept_when_done: tuple[str, ...] = ("networks", "selectors", "selections")  # of the state, once a run is finished
    knows: tuple[str, ...] = ()  # what a class from outside the suite is told beyond the observed labels
    takes_targets = False  # it trains on the `targets` of `self.selections[k]`, where a selector gives them

    def __init__(self, training: Training):
        if not self.takes_targets and any(selector.gives_targets for selector in training.selectors):
            raise ConfigError(
                f"the selector gives heads labels of their own, which {type(self).__name__} does not train on: set "
                "another plugin; or train on self.selections[k].targets and have takes_targets = True in the class"
            )
        super().__init__(training)
        self.observed_counts = training.view.observed_counts
        self.selections: Sequence[Selection] = []
        self.probes: list[Probe] = []

    @property
    def t(self) -> Training:
        """`training`, as the first edition called it."""
        return self.training

    @property
    def kept(self) -> tuple[str, ...]:
        """The parts of the state that stay once a run is finished."""
        return (*self.kept_when_done, *([AVERAGES] if self.averages else []))

    # ---- to be written by a method

    def epoch(self, e: int) -> dict[str, float | None]:
        """Train epoch e (1-based). Returns figures to log, among them `loss` (None without a step)."""
        raise NotImplementedError

    def selects_in(self, e: int) -> bool:
        """Whether epoch e starts with a selection pass."""
        return bool(self.training.selectors) and e > self.training.warmup_epochs

    # ---- the samples of an epoch

    def rows(self, k: int, e: int) -> Tensor:
        """Positions of the samples that network k learns from in an epoch without selection: all, or a draw."""
        if not self.training.warmup_draw:
            return torch.arange(len(self.labels))
        return self._draw(self.training.warmup_draw, "warmup_draw", k, e)

    def epoch_order(self, k: int, e: int) -> Tensor:
        """The rows of an epoch without selection, shuffled."""
        rows = self.rows(k, e)
        return rows[torch.randperm(len(rows), generator=self.generator("shuffle", k, e))]

    def plain_batches(self, order: Tensor) -> list[Tensor]:
        """Batches of warm-up and single-network steps of the rows in `order`."""
        size = self.training.plain_batch
        if self.training.drop_last and len(order) > size:
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
            self.training.on_step(phase, k, b, len(parts))
            yield rows, next(stream)[0]  # not to the end of the stream: the next one ends it

    def counts_of(self, rows: Tensor, labels: Tensor | None = None) -> Tensor:
        """Samples of each class among `rows` by labels [N], the observed ones by default: int64 [K]."""
        return torch.bincount(
            (self.labels if labels is None else labels)[rows], minlength=self.training.view.num_classes
        )

    def counts_for_head(self, selection: Selection | None) -> Tensor:
        """nˢ of the selection in use, or ñ where there is none or `abc.counts=observed`: of the samples that it was
        made among, where that is a draw.
        """
        if selection is None:
            return self.observed_counts
        if self.training.head.counts == "observed":
            return self.observed_counts if selection.rows is None else self.counts_of(torch.from_numpy(selection.rows))
        return torch.from_numpy(selection.class_counts)

    def labels_of(self, selection: Selection | None) -> Tensor:
        """The labels to train on, int64 [N]: the observed ones, unless the selection in use brings others."""
        return self.labels if selection is None or selection.labels is None else torch.from_numpy(selection.labels)

    # ---- selection

    def select(self, e: int) -> None:
        """Let all networks select in their present state, before any of them trains."""
        self.training.on_phase("selection")
        all_networks, selectors = list(range(self.networks_used)), self.training.selectors
        alike = not self.training.selection_draw and self.training.selection_view == "test"
        together = alike or any(selector.all_networks for selector in selectors)
        groups = [all_networks] if together else [[k] for k in all_networks]
        self.probes = [probe for group in groups for probe in self._probes(group, e)]
        calls = [partial(self._answer, k, e, probe) for k, probe in enumerate(shown(selectors, self.probes))]
        self.selections = Aside(calls) if self.training.select_aside else [call() for call in calls]

    def select_alone(self, k: int, e: int) -> tuple[Probe, Selection]:
        """Let network k select in the present state of all networks; the probe that it goes by, and its selection."""
        self.training.on_phase("selection")
        selectors = self.training.selectors
        if selectors[k].all_networks:
            probe = shown(selectors, self._probes(list(range(self.networks_used)), e))[k]
        else:
            probe = self.probe(k, e)
        return probe, self._answer(k, e, probe)

    def _answer(self, k: int, e: int, probe: Probe) -> Selection:
        answer = self.training.selectors[k].answer(probe, e)
        return answer.among(len(self.labels), probe.rows if self.training.selection_draw else None)

    # ---- state

    def state(self) -> dict[str, Any]:
        """The state that later epochs depend on. Optimisers keep their momentum; generators are derived, not stored."""
        selections = [_pack(selection) for selection in self.selections]  # selectors are done with them, too
        averages = {AVERAGES: [average.state_dict() for average in self.averages]} if self.averages else {}
        return {
            **averages,
            "networks": [network.state_dict() for network in self.networks],
            "optimisers": [optimiser.state_dict() for optimiser in self.optimisers],
            "selectors": [selector.state() for selector in self.training.selectors],
            "selections": selections,
            "cost": self.cost.as_dict(),
        }

    def load_trained(self, state: dict[str, Any]) -> None:
        """Load what a finished run keeps: weights and last selections, without the state for further training."""
        for network, values in zip(self.networks, state["networks"], strict=True):
            network.load_state_dict(values)
        self._load_averages(state)
        for network, average in zip(
            self.networks, self.averages, strict=False
        ):  # what is done with the run is with them
            network.load_state_dict(average.module.state_dict())
        self.selections = [_unpack(selection) for selection in state["selections"]]

    def _load_averages(self, state: dict[str, Any]) -> None:
        for average, values in zip(self.averages, state[AVERAGES] if self.averages else [], strict=True):
            average.load_state_dict(values)

    def load_state(self, state: dict[str, Any]) -> None:
        for network, values in zip(self.networks, state["networks"], strict=True):
            network.load_state_dict(values)
        for optimiser, values in zip(self.optimisers, state["optimisers"], strict=True):
            optimiser.load_state_dict(values)
        self._load_averages(state)
        for selector, values in zip(self.training.selectors, state["selectors"], strict=True):
            selector.load_state(values)
        self.selections = [_unpack(selection) for selection in state["selections"]]
        self.cost = ImageCounts(**state["cost"])


def _pack(selection: Selection) -> dict[str, Any]:
    # Targets are for their own epoch alone; labels are there where a selector brings them.
    left_out = {"targets"} if selection.labels is not None else {"targets", "labels"}
    values = {name: v for name, v in vars(selection).items() if name not in left_out}
    return {name: torch.from_numpy(v) if isinstance(v, np.ndarray) else v for name, v in values.items()}


def _unpack(state: dict[str, Any]) -> Selection:
    plain: dict[str, Any] = {name: v.numpy() if isinstance(v, torch.Tensor) else v for name, v in state.items()}
    return Selection(**plain)
