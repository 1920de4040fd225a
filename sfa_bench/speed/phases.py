"""The phases, built from the suite's own code; no training code of their own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sfa_bench import numerics
from sfa_bench.data.loader import Loader
from sfa_bench.engine.build import build_method
from sfa_bench.engine.machine import keep_freed_memory
from sfa_bench.models import Output
from sfa_bench.parts.mixtures import class_posteriors
from sfa_bench.selectors.base import Probe, Selection, Selector
from sfa_bench.speed import settings
from sfa_bench.speed.jobs import Job
from sfa_bench.speed.settings import Setting
from sfa_bench.speed.timing import Measure, Parts, Stopwatch, repeated

EPOCH = 40  # of 200: past the warm-up, before the rate drops


def prepare(setting: Setting, job: Job) -> Measure:
    """Prepare the job in this process, with the settings of a run by default."""
    keep_freed_memory()
    numerics.choose_kernels(torch.device(setting.device), tf32=False, deterministic=True)
    return PHASES[job.phase](setting, job)


class WatchedLoader(Loader):
    """A method's loader that reports each batch of a selection pass, which has no steps of its own."""

    def __init__(self, loader: Loader, watch: Stopwatch):
        super().__init__(loader.images, loader.transform, loader.images.device)
        self.watch = watch

    def test_views(self, batches: Iterable[Tensor]) -> Iterator[Tensor]:
        parts = list(batches)
        for views in super().test_views(parts):
            self.watch.step(len(parts))
            yield views


class GivenSelection(Selector):
    """A selector that returns a fixed selection."""

    def __init__(self, selection: Selection):
        self.selection = selection

    def select(self, probe: Probe, epoch: int) -> Selection:
        return self.selection


class RowLoader:
    """A stand-in for a loader that passes on the rows themselves, for `PreparedNetwork`."""

    def test_views(self, batches: Iterable[Tensor]) -> Iterator[Tensor]:
        return iter(batches)


class PreparedNetwork(nn.Module):
    """A stand-in for a network that returns prepared outputs for these rows."""

    def __init__(self, probe: Probe, device: torch.device):
        super().__init__()
        assert probe.abc_logits is not None
        answers = (probe.features, probe.logits, probe.abc_logits)
        self.answers = [torch.from_numpy(answer).to(device) for answer in answers]

    def forward(self, rows: Tensor) -> Output:
        first, last = int(rows[0]), int(rows[-1]) + 1
        return Output(*(answer[first:last] for answer in self.answers))


class TimedMethod:
    """A method ready to train, and the clock that its steps report to."""

    def __init__(self, setting: Setting, plugin: str, width: int | None, num_classes: int = 10):
        self.setting, self.device = setting, torch.device(setting.device)
        self.watch = Stopwatch(self.device)
        self.data = settings.made_data(setting, num_classes)
        self.method = build_method(
            settings.composed(setting, plugin, width, num_classes),
            self.data,
            [self.device],
            bfloat16=setting.bfloat16,
            on_step=lambda phase, network, step, steps: self.watch.step(steps),
        )
        self.given = [settings.given_selection(self.data)] * 2

    def passes(self, budget: float | None) -> Parts:
        """The selection: the forward passes over all images, and the selectors on probes of the same size."""
        passed = self.forward(budget)
        probe = settings.made_probe(self.setting, self.data.view.num_classes)
        selectors = repeated(
            lambda: [s.select(probe, EPOCH) for s in self.method.training.selectors], self.device, None
        )
        return {**passed, "selectors": selectors}

    def forward(self, budget: float | None) -> Parts:
        """The selection's forward passes over all images, by both networks."""
        method, loaders = self.method, self.method.loaders
        selectors = method.training.selectors
        loader = loaders[self.device]
        assert isinstance(loader, Loader)
        method.training.selectors = [GivenSelection(selection) for selection in self.given]
        method.loaders = {self.device: WatchedLoader(loader, self.watch)}
        try:
            passed = self.watch.time(lambda: method.select(EPOCH), budget)
        finally:
            method.training.selectors, method.loaders = selectors, loaders
        return {"selection forward": passed}

    def training(self, budget: float | None) -> Parts:
        """The rest of the epoch, with the selections given."""
        method: Any = self.method
        method.selections = self.given
        method.select = lambda e: None
        try:
            return {"training": self.watch.time(lambda: method.epoch(EPOCH), budget, passes=2)}
        finally:
            del method.select  # the class's own again

    def answer(self, probe: Probe) -> None:
        """Replace the networks' outputs by those of the probe, so that no image is read."""
        method: Any = self.method
        method.networks = [PreparedNetwork(probe, self.device) for _ in range(2)]
        method.loaders = {self.device: RowLoader()}


def loader(setting: Setting, job: Job) -> Measure:
    data, watch = settings.made_data(setting), Stopwatch(torch.device(setting.device))
    images = Loader(data.view, data.view.transform, setting.device)
    generator, copies = torch.Generator().manual_seed(0), 2 if job.phase == "loader-2" else 1

    def epoch() -> None:
        parts = torch.randperm(len(images), generator=generator).split(2 * setting.batch_size)
        for _ in images.train_views(parts, generator, copies):
            watch.step(len(parts))

    return lambda budget: {"loading": watch.time(epoch, budget)}


def forward(setting: Setting, job: Job) -> Measure:
    timed, images, _ = _batch(setting, job)

    @torch.no_grad()
    def act() -> None:
        timed.method.forward(0, images)

    return lambda budget: {"forward": repeated(act, timed.device, budget)}


def step(setting: Setting, job: Job) -> Measure:
    timed, images, labels = _batch(setting, job)
    timed.method.prepare(0, 1)

    def act() -> None:
        timed.method.step(0, F.cross_entropy(timed.method.forward(0, images).main, labels))

    return lambda budget: {"step": repeated(act, timed.device, budget)}


def _batch(setting: Setting, job: Job) -> tuple[TimedMethod, Tensor, Tensor]:
    """A method in train mode, and a batch [B, 3, S, S] with its labels [B] on the device."""
    timed = TimedMethod(setting, "none", job.width)
    rows = torch.arange(job.batch or 0) % len(timed.data.index)
    images = timed.method.loaders[timed.device].test_view(rows)
    timed.method.networks[0].train()
    return timed, images, timed.method.labels[rows].to(timed.device)


def selection_pass(setting: Setting, job: Job) -> Measure:
    return TimedMethod(setting, "sfa", job.width).passes


def selection(setting: Setting, job: Job) -> Measure:
    """The selection of both networks without their forward passes and without reading images."""
    timed = TimedMethod(setting, "sfa", 4, job.num_classes)
    timed.answer(settings.made_probe(setting, job.num_classes))
    return lambda budget: {"selection": repeated(lambda: timed.method.select(EPOCH), timed.device, budget)}


def mixtures(setting: Setting, job: Job) -> Measure:
    probe = settings.made_probe(setting, job.num_classes)
    scores, fit = settings.made_scores(probe), "batched" if job.phase.startswith("batched") else "sklearn"

    def act() -> None:
        class_posteriors(scores, probe.observed_labels, job.num_classes, larger=True, rescale=True, fit=fit)

    return lambda budget: {"mixtures": repeated(act, torch.device(setting.device), budget)}


def warm_up(setting: Setting, job: Job) -> Measure:
    timed = TimedMethod(setting, "none", job.width)
    return lambda budget: {"training": timed.watch.time(lambda: timed.method.epoch(1), budget, passes=2)}


def dividemix(setting: Setting, job: Job) -> Measure:
    timed = TimedMethod(setting, "sfa" if job.phase == "dividemix-sfa" else "none", job.width)
    return lambda budget: {**timed.passes(budget), **timed.training(budget)}


PHASES: dict[str, Callable[[Setting, Job], Measure]] = {
    "loader": loader,
    "loader-2": loader,
    "forward": forward,
    "step": step,
    "selection-pass": selection_pass,
    "selection-10": selection,
    "selection-100": selection,
    "mixtures-10": mixtures,
    "mixtures-100": mixtures,
    "batched-100": mixtures,
    "warm-up": warm_up,
    "dividemix": dividemix,
    "dividemix-sfa": dividemix,
}
