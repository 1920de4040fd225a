"""Small data that look the same to every device, and learners on them built as a run builds them."""

from functools import cache

import numpy as np
import torch

from sfa_bench.config.compose import compose
from sfa_bench.config.overrides import choices
from sfa_bench.data.types import Data, EvaluationSet, LearnerView, Transform
from sfa_bench.engine.build import build_method
from sfa_bench.errors import ConfigError
from sfa_bench.selectors.base import Selection
from sfa_bench.selectors.quota import Quota

CLASSES, SIDE = 4, 8
SHORT = (
    "dataset=digits",
    "epochs=10",
    "warmup_epochs=1",
    "batch_size=16",
    "noise=symmetric",
    "imb_factor=0.3",
    "model=convnet",
)


@cache
def composed(*typed):
    """The configuration; None where the combination is refused."""
    try:
        return compose([*SHORT, *typed])
    except ConfigError as error:
        if not error.invalid_combination:
            raise
        return None


def combinations():
    """Every method with every plug-in that it goes with."""
    every = [(f"method={method}", f"plugin={plugin}") for method in choices("method") for plugin in choices("plugin")]
    return [typed for typed in every if composed(*typed) is not None]


def data(count=96):
    """Images of `CLASSES` classes that can be told from a bright column; a third of the labels is wrong."""
    generator = torch.Generator().manual_seed(0)
    clean = torch.arange(count) % CLASSES
    wrong = torch.rand(count, generator=generator) < 1 / 3
    observed = torch.where(wrong, (clean + 1) % CLASSES, clean)
    images = torch.randint(0, 120, (count, 1, SIDE, SIDE), generator=generator, dtype=torch.uint8)
    images[torch.arange(count), 0, :, clean] = 255
    view = LearnerView(images, observed, CLASSES, Transform((0.3,), (0.25,), padding=1))
    unused = dict.fromkeys(("index", "val", "noise_rate", "confusion", "clean_counts", "fingerprints", "groups"))
    counts = np.bincount(observed, minlength=CLASSES)
    test = EvaluationSet(images, clean)
    return Data(view=view, clean_labels=clean.numpy(), test=test, observed_counts=counts, **unused)


class Halves(Quota):
    """Selects every second sample, whatever it is shown: what a device rounds must not decide what is compared."""

    def slots(self, distance, num_classes, epoch):
        return (len(distance) + 1) // 2  # all are taken: UNICON's release has nothing to fill

    def select(self, probe, epoch):
        mask = np.arange(len(probe.observed_labels)) % 2 == 0
        probability = np.where(mask, 0.8, 0.1)
        counts = np.bincount(probe.observed_labels[mask], minlength=CLASSES)
        centroids = np.eye(CLASSES, probe.features.shape[1])
        return Selection(mask, probability, probability, counts, prototypes=centroids)


def learner(typed, device, scripted=True):
    """The method of this combination on the small data; `scripted` gives each network `Halves` for a selector."""
    method = build_method(composed(*typed), data(), [torch.device(device)])
    if scripted:
        method.training.selectors = [Halves() for _ in method.training.selectors]
    return method


def weights(method):
    """All parameters of all networks as one vector, float64 on the CPU."""
    every = [p.detach().cpu().double().flatten() for network in method.networks for p in network.parameters()]
    return torch.cat(every)
