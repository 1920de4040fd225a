"""The phases as the suite computes them, by its own building blocks: nothing of the training is written here."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sfa_bench.data.loader import Loader
from sfa_bench.engine.build import build_method
from sfa_bench.models import Output
from sfa_bench.parts.mixtures import class_posteriors
from sfa_bench.selectors.base import Probe, Selection, Selector
from sfa_bench.speed import settings
from sfa_bench.speed.jobs import Job
from sfa_bench.speed.settings import Setting
from sfa_bench.speed.timing import Measure, Parts, Watch, repeated

EPOCH = 40  # of 200: past the warm-up, before the rate drops


class Watched(Loader):
    """A method's loader that tells of each batch of a selection pass, which has no steps of its own."""

    def __init__(self, loader: Loader, watch: Watch):
        super().__init__(loader.images, loader.transform, loader.images.device)
        self.watch = watch

    def test_views(self, batches: Iterable[Tensor]) -> Iterator[Tensor]:
        parts = list(batches)
        for views in super().test_views(parts):
            self.watch.step(len(parts))
            yield views


class Given(Selector):
    """Answers what it was given."""

    def __init__(self, selection: Selection):
        self.selection = selection

    def select(self, probe: Probe, epoch: int) -> Selection:
        return self.selection


class Suite:
    """A method ready to train, and the clock that its steps report to."""

    def __init__(self, setting: Setting, plugin: str, width: int, num_classes: int = 10):
        self.setting, self.device = setting, torch.device(setting.device)
        self.watch = Watch(self.device)
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
        return {**passed, "selectors": repeated(self._selectors(), self.device, None)}

    def forward(self, budget: float | None) -> Parts:
        """The selection's forward passes over all images, by both networks."""
        method, loaders = self.method, self.method.loaders
        selectors = method.t.selectors
        plain = loaders[self.device]
        assert isinstance(plain, Loader)
        method.t.selectors = [Given(selection) for selection in self.given]
        method.loaders = {self.device: Watched(plain, self.watch)}
        try:
            passed = self.watch.time(lambda: method.select(EPOCH), budget)
        finally:
            method.t.selectors, method.loaders = selectors, loaders
        return {"selection forward": passed}

    def _selectors(self) -> Callable[[], object]:
        probe = settings.made_probe(self.setting, self.data.view.num_classes)
        return lambda: [selector.select(probe, EPOCH) for selector in self.method.t.selectors]

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
        """From now on the networks answer what the probe says, and no picture is read."""
        method: Any = self.method
        method.networks = [Prepared(probe, self.device) for _ in range(2)]
        method.loaders = {self.device: Rows()}


def loader(setting: Setting, job: Job) -> Measure:
    data, watch = settings.made_data(setting), Watch(torch.device(setting.device))
    images = Loader(data.view, data.view.transform, setting.device)
    generator, copies = torch.Generator().manual_seed(0), 2 if job.phase == "loader-2" else 1

    def epoch() -> None:
        parts = torch.randperm(len(images), generator=generator).split(2 * setting.batch_size)
        for _ in images.train_views(parts, generator, copies):
            watch.step(len(parts))

    return lambda budget: {"loading": watch.time(epoch, budget)}


def forward(setting: Setting, job: Job) -> Measure:
    suite, images, _ = _batch(setting, job)

    @torch.no_grad()
    def act() -> None:
        suite.method.forward(0, images)

    return lambda budget: {"forward": repeated(act, suite.device, budget)}


def step(setting: Setting, job: Job) -> Measure:
    suite, images, labels = _batch(setting, job)
    suite.method.prepare(0, 1)

    def act() -> None:
        suite.method.step(0, F.cross_entropy(suite.method.forward(0, images).main, labels))

    return lambda budget: {"step": repeated(act, suite.device, budget)}


def _batch(setting: Setting, job: Job) -> tuple[Suite, Tensor, Tensor]:
    """A method in train mode, and a batch [B, 3, S, S] with its labels [B] on the device."""
    assert job.width is not None
    assert job.batch is not None
    suite = Suite(setting, "none", job.width)
    rows = torch.arange(job.batch) % len(suite.data.index)
    images = suite.method.loaders[suite.device].test_view(rows)
    suite.method.networks[0].train()
    return suite, images, suite.method.labels[rows].to(suite.device)


def selection_pass(setting: Setting, job: Job) -> Measure:
    assert job.width is not None
    return Suite(setting, "sfa", job.width).passes


class Rows:
    """In the place of a loader: the rows themselves, as a network's stand-in takes them."""

    def test_views(self, batches: Iterable[Tensor]) -> Iterator[Tensor]:
        return iter(batches)


class Prepared(nn.Module):
    """In the place of a network: what it would answer for these rows."""

    def __init__(self, probe: Probe, device: torch.device):
        super().__init__()
        assert probe.abc_logits is not None
        answers = (probe.features, probe.logits, probe.abc_logits)
        self.answers = [torch.from_numpy(answer).to(device) for answer in answers]
        self.abc = True

    def forward(self, rows: Tensor) -> Output:
        first, last = int(rows[0]), int(rows[-1]) + 1
        return Output(*(answer[first:last] for answer in self.answers))


def selection(setting: Setting, job: Job) -> Measure:
    """The selection of both networks but for their forward passes and the pictures."""
    suite = Suite(setting, "sfa", 4, _classes(job))
    suite.answer(settings.made_probe(setting, _classes(job)))
    return lambda budget: {"selection": repeated(lambda: suite.method.select(EPOCH), suite.device, budget)}


def mixtures(setting: Setting, job: Job) -> Measure:
    probe, classes = settings.made_probe(setting, _classes(job)), _classes(job)
    scores, fit = settings.made_scores(probe), "batched" if job.phase.startswith("batched") else "sklearn"

    def act() -> None:
        class_posteriors(scores, probe.observed_labels, classes, larger=True, rescale=True, fit=fit)

    return lambda budget: {"mixtures": repeated(act, torch.device(setting.device), budget)}


def _classes(job: Job) -> int:
    return int(job.phase.rpartition("-")[2])


def warm_up(setting: Setting, job: Job) -> Measure:
    assert job.width is not None
    suite = Suite(setting, "none", job.width)
    return lambda budget: {"training": suite.watch.time(lambda: suite.method.epoch(1), budget, passes=2)}


def dividemix(setting: Setting, job: Job) -> Measure:
    assert job.width is not None
    suite = Suite(setting, "sfa" if job.phase == "dividemix-sfa" else "none", job.width)
    return lambda budget: {**suite.passes(budget), **suite.training(budget)}


SIDES: dict[str, Callable[[Setting, Job], Measure]] = {
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
