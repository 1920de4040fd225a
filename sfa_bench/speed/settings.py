"""What is measured, and the data it is measured on: random pictures with CIFAR's shape, long tail and noise."""

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
    """How it is measured. Tests make it small; the commands' options set the rest.

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
    """Who is measured; the suite alone, or it and what it is compared with.

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
    """The data set that constants and pixels' statistics are taken from."""
    return "cifar10" if num_classes == 10 else "cifar100"


def composed(setting: Setting, plugin: str, width: int | None, num_classes: int = 10) -> RunConfig:
    """The configuration of the run that an epoch is taken from."""
    return compose(
        [
            *(f"dataset={like(num_classes)}", "method=dividemix"),
            *("noise_ratio=0.5", f"imb_factor={setting.imb_factor}"),
            *(f"plugin={plugin}", f"model={MODEL}", f"model.width={width}"),
            *(f"batch_size={setting.batch_size}", f"threads={setting.threads}"),
        ]
    )


def made_labels(setting: Setting, num_classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Clean and observed labels [N]: an exponential tail, half of the labels wrong (noise model `joint`)."""
    available = np.full(num_classes, setting.size // num_classes)
    counts = class_counts("exp", setting.imb_factor, setting.size, available)
    clean = np.repeat(np.arange(num_classes), counts)
    noise = compose(["dataset=cifar10", "noise=joint"]).noise
    law = noise_law(noise, 0.5, counts, numpy_generator(0, "noise_targets"))
    return clean, corrupt(clean, law, numpy_generator(0, "noise"))


def made_data(setting: Setting, num_classes: int = 10) -> Data:
    """What a run on CIFAR-10 or CIFAR-100, or on its like with more or fewer classes, would be given, with noise for
    pictures.
    """
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
    """What a network that has learned a little would show a selector: samples near the mean of their true class.

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
    """The larger the cleaner, of two kinds in each class: the logit of the observed label [N]."""
    return probe.logits[np.arange(len(probe.logits)), probe.observed_labels].astype(np.float64)


def given_selection(data: Data) -> Selection:
    """The samples with a right label: given, so that an epoch has the same steps whoever selects."""
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
    """Of one epoch of both networks: each picture of a step trains in two views; a labelled one costs two guesses more,
    an unlabelled one four.
    """
    rest, used = unlabelled, 0
    for _ in range(-(-labelled // batch_size)):
        batch = min(batch_size, rest)
        used, rest = used + batch, rest - batch or unlabelled
    return Passed(4 * (labelled + used), 4 * labelled + 8 * used, 2 * (labelled + unlabelled))


def amount(setting: Setting, job: Job) -> tuple[int, Passed | None]:
    """Images of the whole that a job measures, and what of them goes through a network."""
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
