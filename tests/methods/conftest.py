"""Tiny learner's views, networks and scripted selectors: no file, no noise model, no configuration."""

import numpy as np
import pytest
import torch

from sfa_bench import models
from sfa_bench.choices.models import ModelConfig
from sfa_bench.data.types import LearnerView, Transform
from sfa_bench.methods.base import BalancedHead, Optimisation, Training
from sfa_bench.selectors.base import Selection, Selector


class Scripted(Selector):
    """Answers the same mask and clean probabilities every time; remembers the probes it was shown."""

    def __init__(self, mask, probability=None, num_classes=3):
        self.mask = np.asarray(mask, dtype=bool)
        self.probability = np.where(self.mask, 0.8, 0.1) if probability is None else np.asarray(probability)
        self.num_classes, self.probes = num_classes, []

    def select(self, probe, epoch):
        self.probes.append(probe)
        counts = np.bincount(probe.observed_labels[self.mask], minlength=self.num_classes)
        return Selection(self.mask, self.probability, self.probability, counts)


@pytest.fixture
def scripted():
    return Scripted


@pytest.fixture
def make_view():
    """labels → a view of random 8×8 images, by default without augmentation."""

    def make(labels, num_classes=3, padding=0, flip=False, side=8):
        labels = torch.as_tensor(labels)
        images = torch.randint(0, 256, (len(labels), 1, side, side), generator=torch.Generator().manual_seed(5))
        transform = Transform((0.4,), (0.3,), padding, flip)
        return LearnerView(images.to(torch.uint8), labels, num_classes, transform)

    return make


@pytest.fixture
def make_training():
    """A view → what a method is given; `head` of options adds the balanced head, or the `heads` of these names."""

    def make(view, *, head=None, selectors=(), warmup=0, lr=0.1, momentum=0.9, weight_decay=5e-4, drop_from=99, **rest):
        further = rest.pop("heads", ("abc",))
        heads = ("main",) if head is None else ("main", *further)
        rest.setdefault("plain_batch", 2 * rest.get("batch_size", 4))
        model = ModelConfig(name="convnet", width=4)
        return Training(
            view=view,
            build_network=lambda k: models.build(model, 1, (8, 8), view.num_classes, heads, seed=10 + k),
            optimisation=Optimisation(lr, momentum, weight_decay, drop_from, drop=0.1),
            **{"seed": 0, "epochs": 20, "batch_size": 4, "evaluation_batch": 7, **rest},
            warmup_epochs=warmup,
            devices=[torch.device("cpu")],
            selectors=list(selectors),
            head=head or BalancedHead(),
        )

    return make
