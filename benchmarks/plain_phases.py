"""The phases as the plain baseline computes them: the same networks, batches and numbers of forward passes."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.plain_dividemix_sfa import (
    Augmentation,
    DivideMix,
    FeatureAverages,
    ImageDataset,
    batches,
    clean_by_class,
    clean_by_loss,
    keep,
    log_counts,
    preact_resnet,
    save,
)
from sfa_bench.data.types import Data, Images
from sfa_bench.selectors.base import Probe
from sfa_bench.speed import settings
from sfa_bench.speed.jobs import Job
from sfa_bench.speed.settings import Setting
from sfa_bench.speed.timing import Measure, Parts, Stopwatch, repeated

EPOCH, WARMUP_EPOCHS, EVALUATION_BATCH = 40, 30, 256


def prepare(setting: Setting, job: Job) -> Measure:
    """The job in this process, which is as Torch sets it."""
    return PHASES[job.phase](setting, job)


class TimedBaseline:
    """The baseline ready to train, its images on the disk, and the clock that its steps report to."""

    def __init__(self, setting: Setting, width: int | None, balanced: bool):
        assert width is not None
        self.setting, self.device = setting, torch.device(setting.device)
        self.watch = Stopwatch(self.device)
        self.data = settings.made_data(setting)
        self.given = settings.given_selection(self.data)
        num_classes = self.data.view.num_classes
        self.method = DivideMix(
            saved(self.data),
            augmentation(self.data),
            num_classes,
            [preact_resnet(width, num_classes, balanced) for _ in range(2)],
            self.device,
            setting.batch_size,
            EVALUATION_BATCH,
            on_step=self.watch.step,
            bfloat16=setting.bfloat16,
        )
        self.averages = feature_averages(self.data.observed_counts)

    def warm_up(self, budget: float | None) -> Parts:
        counts = log_counts(self.data.observed_counts).to(self.device)

        def run() -> None:
            for k in (0, 1):
                self.method.warm_up(k, counts)

        return {"training": self.watch.time(run, budget, passes=2)}

    def passes(self, budget: float | None) -> Parts:
        """The selection: the forward passes over all images, and the selectors on probes of the same size."""
        passed = self.watch.time(lambda: [self.method.evaluate(k) for k in (0, 1)], budget, passes=2)
        return {"selection forward": passed, "selectors": repeated(self._selectors(), self.device, None)}

    def _selectors(self) -> Callable[[], object]:
        probe = settings.made_probe(self.setting, self.data.view.num_classes)
        labels = probe.observed_labels
        if self.method.networks[0].abc is None:
            losses = F.cross_entropy(torch.from_numpy(probe.logits), torch.from_numpy(labels), reduction="none")
            return lambda: [clean_by_loss(losses) for _ in range(2)]
        features, confidence, rng = torch.from_numpy(probe.features), confidence_of(probe), np.random.default_rng(0)
        return lambda: [average.select(features, confidence, labels, EPOCH, rng) for average in self.averages]

    def training(self, budget: float | None) -> Parts:
        """The rest of the epoch, with the selections given."""
        mask, probability = self.given.mask, self.given.clean_probability
        counts = log_counts(self.given.class_counts).to(self.device)

        def run() -> None:
            for k in (0, 1):
                self.method.co_divide(k, mask, probability, counts, EPOCH - WARMUP_EPOCHS)

        return {"training": self.watch.time(run, budget, passes=2)}


def saved(data: Data) -> Path:
    """A file of the images and labels, for as long as this process lives."""
    folder = tempfile.mkdtemp()
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return save_arrays(Path(folder, "train.npz"), data.view.images, data.view.observed_labels)


def save_arrays(path: Path, images: Images, labels: Tensor) -> Path:
    """The suite's tensors (images [N, C, H, W]) as the baseline reads them."""
    assert isinstance(images, Tensor)
    return save(path, images.permute(0, 2, 3, 1).numpy(), labels.numpy())


def augmentation(data: Data) -> Augmentation:
    transform = data.view.transform
    return Augmentation(transform.mean, transform.std, transform.padding, transform.flip)


def feature_averages(observed_counts: np.ndarray) -> list[FeatureAverages]:
    """Of both networks."""
    return [FeatureAverages(len(observed_counts), int(0.06 * observed_counts.max())) for _ in range(2)]


def confidence_of(probe: Probe) -> Tensor:
    """In the observed labels [N]."""
    rows = torch.arange(len(probe.logits))
    return torch.softmax(torch.from_numpy(probe.logits), dim=1)[rows, torch.from_numpy(probe.observed_labels)]


def loader(setting: Setting, job: Job) -> Measure:
    data, watch = settings.made_data(setting), Stopwatch(torch.device(setting.device))
    path, views = saved(data), 2 if job.phase == "loader-2" else 1

    def epoch() -> None:
        loader = batches(ImageDataset(path, augmentation(data), views), 2 * setting.batch_size)
        for batch in loader:
            for images in batch[:views]:
                images.to(watch.device)
            watch.step(len(loader))

    return lambda budget: {"loading": watch.time(epoch, budget)}


def forward(setting: Setting, job: Job) -> Measure:
    timed, images, _ = _batch(setting, job)

    @torch.no_grad()
    def act() -> None:
        timed.method.forward(0, images)

    return lambda budget: {"forward": repeated(act, timed.device, budget)}


def step(setting: Setting, job: Job) -> Measure:
    timed, images, labels = _batch(setting, job)
    method, nothing = timed.method, torch.zeros(timed.data.view.num_classes, device=timed.device)

    def act() -> None:
        method.step(0, method.warm_up_loss(0, images, labels, nothing))

    return lambda budget: {"step": repeated(act, timed.device, budget)}


def _batch(setting: Setting, job: Job) -> tuple[TimedBaseline, Tensor, Tensor]:
    """A method in train mode, and a batch [B, 3, S, S] with its labels [B] on the device."""
    timed = TimedBaseline(setting, job.width, balanced=False)
    rows = np.arange(job.batch or 0) % len(timed.data.index)
    dataset = ImageDataset(timed.method.path, timed.method.augmentation, 0, rows)
    images = torch.stack([dataset[i][0] for i in range(len(rows))]).to(timed.device)
    timed.method.networks[0].train()
    return timed, images, timed.data.view.observed_labels[torch.from_numpy(rows)].to(timed.device)


def selection_pass(setting: Setting, job: Job) -> Measure:
    return TimedBaseline(setting, job.width, balanced=True).passes


def selection(setting: Setting, job: Job) -> Measure:
    """Of both networks: outputs copied one by one, then SFA's selector."""
    probe, device = settings.made_probe(setting, job.num_classes), torch.device(setting.device)
    averages, rng = feature_averages(np.bincount(probe.observed_labels)), np.random.default_rng(0)
    answers = [torch.from_numpy(a).to(device) for a in (probe.features, probe.logits, probe.abc_logits)]
    labels, count = torch.from_numpy(probe.observed_labels), len(probe.observed_labels)

    def act() -> None:
        for k in (0, 1):
            features, losses, confidence = torch.zeros(probe.features.shape), torch.zeros(count), torch.zeros(count)
            for rows in torch.arange(count).split(EVALUATION_BATCH):
                out = [answer[rows[0] : rows[-1] + 1] for answer in answers]
                keep(out, labels[rows].to(device), rows, features, losses, confidence)
            averages[k].select(features, confidence, probe.observed_labels, EPOCH, rng)

    return lambda budget: {"selection": repeated(act, device, budget)}


def mixtures(setting: Setting, job: Job) -> Measure:
    probe = settings.made_probe(setting, job.num_classes)
    scores = settings.made_scores(probe)

    def act() -> None:
        clean_by_class(scores, probe.observed_labels, job.num_classes)

    return lambda budget: {"mixtures": repeated(act, torch.device(setting.device), budget)}


def warm_up(setting: Setting, job: Job) -> Measure:
    return TimedBaseline(setting, job.width, balanced=False).warm_up


def dividemix(setting: Setting, job: Job) -> Measure:
    timed = TimedBaseline(setting, job.width, balanced=job.phase == "dividemix-sfa")
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
