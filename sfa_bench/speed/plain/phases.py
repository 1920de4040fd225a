"""The phases as the baseline computes them: the same networks, batches and numbers of forward passes."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from sfa_bench.data.types import Data
from sfa_bench.parts.losses import log_prior
from sfa_bench.selectors.base import Probe
from sfa_bench.speed import settings
from sfa_bench.speed.jobs import Job
from sfa_bench.speed.plain.network import preact_resnet
from sfa_bench.speed.plain.pictures import Pictures, pictures, written
from sfa_bench.speed.plain.selection import Averages, by_class, by_loss
from sfa_bench.speed.plain.training import Learner, copy_out
from sfa_bench.speed.settings import Setting
from sfa_bench.speed.timing import Measure, Parts, Watch, repeated

EPOCH, EVALUATION_BATCH = 40, 256


class Plain:
    """The baseline's learner, its pictures on the disk, and the clock that its steps report to."""

    def __init__(self, setting: Setting, width: int, balanced: bool):
        self.setting, self.device = setting, torch.device(setting.device)
        self.watch = Watch(self.device)
        self.data = settings.made_data(setting)
        self.given = settings.given_selection(self.data)
        self.learner = Learner(
            pictures_of(self.data),
            self.data.view.transform,
            self.data.view.num_classes,
            [preact_resnet(width, self.data.view.num_classes, balanced) for _ in range(2)],
            self.device,
            setting.batch_size,
            EVALUATION_BATCH,
            on_step=self.watch.step,
            bfloat16=setting.plain_bfloat16,
        )

    def warm_up(self, budget: float | None) -> Parts:
        counts = self._log_counts(self.data.view.observed_counts)
        run = [lambda k=k: self.learner.warm_up(k, counts) for k in (0, 1)]
        return {"training": self.watch.time(lambda: [act() for act in run], budget, passes=2)}

    def passes(self, budget: float | None) -> Parts:
        passed = self.watch.time(lambda: [self.learner.evaluate(k) for k in (0, 1)], budget, passes=2)
        return {"selection forward": passed, "selectors": repeated(self._selectors(), self.device, None)}

    def _selectors(self) -> Callable[[], object]:
        probe = settings.made_probe(self.setting, self.data.view.num_classes)
        if self.learner.networks[0].abc is None:
            losses = torch.nn.functional.cross_entropy(
                torch.from_numpy(probe.logits), torch.from_numpy(probe.observed_labels), reduction="none"
            )
            return lambda: [by_loss(losses) for _ in range(2)]
        features, confidence = torch.from_numpy(probe.features), _confidence(probe)
        averages = self.__dict__.setdefault("averages", [_averages(probe) for _ in range(2)])
        rng = np.random.default_rng(0)
        return lambda: [a.select(features, confidence, probe.observed_labels, EPOCH, rng) for a in averages]

    def training(self, budget: float | None) -> Parts:
        selection = self.given
        counts = self._log_counts(torch.from_numpy(selection.class_counts))

        def run() -> None:
            for k in (0, 1):
                self.learner.train(k, selection.mask, selection.clean_probability, counts, EPOCH - 30)

        return {"training": self.watch.time(run, budget, passes=2)}

    def _log_counts(self, counts: Tensor) -> Tensor:
        return log_prior(counts, 1.0).to(self.device)


def pictures_of(data: Data) -> Path:
    """A file with the pictures, in the folder that goes with the measurement."""
    return written(Path(tempfile.mkdtemp()) / "pictures.npz", data.view.images, data.view.observed_labels)


def _confidence(probe: Probe) -> Tensor:
    rows = torch.arange(len(probe.logits))
    return torch.softmax(torch.from_numpy(probe.logits), dim=1)[rows, torch.from_numpy(probe.observed_labels)]


def _averages(probe: Probe) -> Averages:
    largest = int(np.bincount(probe.observed_labels).max())
    return Averages(probe.num_classes, int(0.06 * largest))


def loader(setting: Setting, job: Job) -> Measure:
    data, watch = settings.made_data(setting), Watch(torch.device(setting.device))
    path, views = pictures_of(data), 2 if job.phase == "loader-2" else 1

    def epoch() -> None:
        batches = pictures(Pictures(path, data.view.transform, views), 2 * setting.batch_size)
        for seen in batches:
            for images in seen[:views]:
                images.to(watch.device)
            watch.step(len(batches))

    return lambda budget: {"loading": watch.time(epoch, budget)}


def forward(setting: Setting, job: Job) -> Measure:
    plain, images, _ = _batch(setting, job)

    @torch.no_grad()
    def act() -> None:
        plain.learner.answers(0, images)

    return lambda budget: {"forward": repeated(act, plain.device, budget)}


def step(setting: Setting, job: Job) -> Measure:
    plain, images, labels = _batch(setting, job)
    learner = plain.learner
    nothing = torch.zeros(plain.data.view.num_classes, device=plain.device)

    def act() -> None:
        learner._step(0, learner.plain_loss(0, images, labels, nothing))

    return lambda budget: {"step": repeated(act, plain.device, budget)}


def _batch(setting: Setting, job: Job) -> tuple[Plain, Tensor, Tensor]:
    """A learner in train mode, and a batch [B, 3, S, S] with its labels [B] on the device."""
    assert job.width is not None
    assert job.batch is not None
    plain = Plain(setting, job.width, balanced=False)
    rows = np.arange(job.batch) % len(plain.data.index)
    dataset = Pictures(plain.learner.path, plain.learner.transform, 0, rows)
    images = torch.stack([dataset[i][0] for i in range(job.batch)]).to(plain.device)
    plain.learner.networks[0].train()
    return plain, images, plain.data.view.observed_labels[torch.from_numpy(rows)].to(plain.device)


def selection_pass(setting: Setting, job: Job) -> Measure:
    assert job.width is not None
    return Plain(setting, job.width, balanced=True).passes


def selection(setting: Setting, job: Job) -> Measure:
    """Of both networks: outputs copied one by one, then SFA's selector."""
    probe, device = settings.made_probe(setting, _classes(job)), torch.device(setting.device)
    averages, rng = [_averages(probe) for _ in range(2)], np.random.default_rng(0)
    answers = [torch.from_numpy(a).to(device) for a in (probe.features, probe.logits, probe.abc_logits)]
    labels, count = torch.from_numpy(probe.observed_labels), len(probe.observed_labels)

    def act() -> None:
        for k in (0, 1):
            features, losses, confidence = torch.zeros(probe.features.shape), torch.zeros(count), torch.zeros(count)
            for rows in torch.arange(count).split(EVALUATION_BATCH):
                out = [answer[rows[0] : rows[-1] + 1] for answer in answers]
                copy_out(out, labels[rows].to(device), rows, features, losses, confidence)
            averages[k].select(features, confidence, probe.observed_labels, EPOCH, rng)

    return lambda budget: {"selection": repeated(act, device, budget)}


def mixtures(setting: Setting, job: Job) -> Measure:
    probe, classes = settings.made_probe(setting, _classes(job)), _classes(job)
    scores = settings.made_scores(probe)

    def act() -> None:
        by_class(scores, probe.observed_labels, classes)

    return lambda budget: {"mixtures": repeated(act, torch.device(setting.device), budget)}


def _classes(job: Job) -> int:
    return int(job.phase.rpartition("-")[2])


def warm_up(setting: Setting, job: Job) -> Measure:
    assert job.width is not None
    return Plain(setting, job.width, balanced=False).warm_up


def dividemix(setting: Setting, job: Job) -> Measure:
    assert job.width is not None
    plain = Plain(setting, job.width, balanced=job.phase == "dividemix-sfa")
    return lambda budget: {**plain.passes(budget), **plain.training(budget)}


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
