"""Settings of measurements and their data: random images with CIFAR's shape, long tail and noise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch

from sfa_bench.choices.sources import STATISTICS
from sfa_bench.config.compose import compose
from sfa_bench.config.schema import RunConfig
from sfa_bench.data.imbalance import class_counts
from sfa_bench.data.noise import corrupt, noise_law
from sfa_bench.data.types import Data, EvaluationSet, LearnerView, Transform
from sfa_bench.selectors.base import Probe, Selection
from sfa_bench.speed.jobs import Job
from sfa_bench.streams import numpy_generator, torch_generator

SIDE = 32
MODEL = "preact_resnet18"
FEATURES = 512  # d of the features that selectors are given without a forward, unless it is said


@dataclass(frozen=True)
class Setting:
    """How to measure. Tests make it small; the command's options set the rest.

    seconds: of one measurement, None for whole epochs; size: images before the long tail.
    """

    device: str = "cpu"
    threads: int = 1
    bfloat16: bool = False  # around the networks
    seconds: float | None = 3.0
    size: int = 50_000
    imb_factor: float = 0.01
    batch_size: int = 64  # labelled; plain batches have twice as many


class Side(NamedTuple):
    """One side of a measurement: the suite, or what it is compared with.

    module: its name; `prepare(setting, job)` in it gives the `Measure` of a job. It is imported in the process that
    measures, and only there: what is imported counts among its memory. bfloat16_selection: bfloat16 acts on selection
    passes, too.
    """

    module: str
    setting: Setting
    bfloat16_selection: bool = False

    @property
    def precision(self) -> str:
        return "bf16" if self.setting.bfloat16 else "fp32"


def like(num_classes: int) -> str:
    """The data set whose constants and pixel statistics are used."""
    return "cifar10" if num_classes == 10 else "cifar100"


def composed(setting: Setting, plugin: str, width: int | None, num_classes: int = 10) -> RunConfig:
    """The configuration of the run whose epoch is measured."""
    return compose(
        [
            *(f"dataset={like(num_classes)}", "method=dividemix"),
            *("noise_ratio=0.5", f"imb_factor={setting.imb_factor}"),
            *(f"plugin={plugin}", f"model={MODEL}", f"model.width={width}"),
            *(f"batch_size={setting.batch_size}", f"threads={setting.threads}"),
        ]
    )


def made_labels(setting: Setting, num_classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Clean and observed labels [N]: an exponential tail, half of the labels noisy (noise model `joint`)."""
    available = np.full(num_classes, setting.size // num_classes)
    counts = class_counts("exp", setting.imb_factor, setting.size, available)
    clean = np.repeat(np.arange(num_classes), counts)
    noise = compose(["dataset=cifar10", "noise=joint"]).noise
    law = noise_law(noise, 0.5, counts, numpy_generator(0, "noise_targets"))
    return clean, corrupt(clean, law, numpy_generator(0, "noise"))


def made_data(setting: Setting, num_classes: int = 10) -> Data:
    """The data of a run on CIFAR-10 or CIFAR-100, or the like with another number of classes, with random pixels."""
    clean, observed = made_labels(setting, num_classes)
    shape, generator = (len(clean), 3, SIDE, SIDE), torch_generator(0, "pixels")
    images = torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)
    transform = Transform(*STATISTICS[like(num_classes)], padding=4, flip=True)
    return Data(
        view=LearnerView(images, torch.from_numpy(observed), num_classes, transform),
        index=np.arange(len(clean)),
        clean_labels=clean,
        test=EvaluationSet(images[:0], torch.zeros(0, dtype=torch.int64)),
        val=None,
        noise_rate=float((clean != observed).mean()),
        confusion=None,
        clean_counts=None,
        observed_counts=np.bincount(observed, minlength=num_classes),
        fingerprints={},
        groups={},
    )


def made_probe(setting: Setting, num_classes: int, width: int = FEATURES) -> Probe:
    """A probe as of a network that has learned a little: features near the mean of their clean class.

    width: of the features.
    """
    clean, observed = made_labels(setting, num_classes)
    rng = numpy_generator(0, "probe")
    means = rng.standard_normal((num_classes, width))
    features = (means[clean] + 2 * rng.standard_normal((len(clean), width))).astype(np.float32)
    logits = rng.standard_normal((len(clean), num_classes)).astype(np.float32)
    logits[np.arange(len(clean)), clean] += 4
    return Probe(features, logits, logits.copy(), observed)


def made_scores(probe: Probe) -> np.ndarray:
    """Scores [N] with two modes in each class, the larger the cleaner: the logit of the observed label."""
    return probe.logits[np.arange(len(probe.logits)), probe.observed_labels].astype(np.float64)


def given_selection(data: Data) -> Selection:
    """A selection of the clean samples, fixed so that an epoch has the same steps whatever the selector."""
    labels = data.view.observed_labels.numpy()
    mask = data.clean_labels == labels
    probability = np.where(mask, 0.9, 0.1)
    return Selection(mask, probability, probability, np.bincount(labels[mask], minlength=data.view.num_classes))


class Passed(NamedTuple):
    """Images that went through a network."""

    trained: int = 0  # forward and backward
    guessed: int = 0  # forward alone, with the step's precision
    selected: int = 0  # forward in a selection pass, which is fp32

    @property
    def total(self) -> int:
        return sum(self)


def passed_by_dividemix(labelled: int, unlabelled: int, batch_size: int) -> Passed:
    """Images that pass through both networks in one epoch: each image of a step is trained in two views; a labelled one
    costs two more forwards for guesses, an unlabelled one four.
    """
    rest, used = unlabelled, 0
    for _ in range(-(-labelled // batch_size)):
        batch = min(batch_size, rest)
        used, rest = used + batch, rest - batch or unlabelled
    return Passed(4 * (labelled + used), 4 * labelled + 8 * used, 2 * (labelled + unlabelled))


def amount(setting: Setting, job: Job) -> tuple[int, Passed | None]:
    """The number of images that a job measures, and of those that pass through a network."""
    clean, observed = made_labels(setting, job.num_classes)
    count, labelled = len(clean), int((clean == observed).sum())
    passed = {
        "forward": Passed(guessed=job.batch or 0),
        "step": Passed(trained=job.batch or 0),
        "selection-pass": Passed(selected=2 * count),
        "warm-up": Passed(trained=2 * count),
        "dividemix": passed_by_dividemix(labelled, count - labelled, setting.batch_size),
    }
    passed["dividemix-sfa"] = passed["dividemix"]
    if job.phase in passed:
        return passed[job.phase].total, passed[job.phase]
    times = 2 if job.phase in ("loader-2", "selection-10", "selection-100") else 1  # views; networks
    return times * count, None
