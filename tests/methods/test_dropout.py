"""Dropout in training: one stream for each network and epoch, nothing global, nothing to store (explanation/rules.md
§1).
"""

import copy
import random

import numpy as np
import pytest
import torch
from torch import nn

from sfa_bench import streams
from sfa_bench.methods.base import BalancedHead
from sfa_bench.methods.coteaching import CoTeaching
from sfa_bench.methods.dividemix import DivideMix
from sfa_bench.methods.elr import Elr
from sfa_bench.methods.rolt import Rolt
from sfa_bench.methods.single import Single
from sfa_bench.models.cnn9 import ChannelDropout
from sfa_bench.models.network import Backbone, Network, conv3x3, global_average
from sfa_bench.parts.losses import make_loss

LABELS = [0, 0, 0, 1, 1, 2]
MASK = [1, 1, 0, 1, 0, 1]
RAMP = {"lambda_u": 25, "alpha": 4, "temperature": 0.5, "penalty": "uniform", "ramp_epochs": 16}
LEARNERS = {
    "single, mixup, head": lambda t: Single(t, loss=make_loss("ce"), loss_name="ce", mixup=True),
    "elr, mixup": lambda t: Elr(t, beta=0.7, weight=3.0, mixup=True),
    "elr+": lambda t: Elr(t, beta=0.7, weight=3.0, plus=True),
    "rolt": lambda t: Rolt(t, loss=make_loss("ce")),
    "coteaching": lambda t: CoTeaching(t, forget_rate=0.4),
    "dividemix": lambda t: DivideMix(t, guess_mode="train", ramp_origin="one_based", **RAMP),
}


class Dropping(Backbone):
    """Two convolutions, each with dropout, as in the nine-layer CNN."""

    def __init__(self):
        super().__init__()
        self.feature_width = 8
        self.layers = nn.Sequential(
            *(conv3x3(1, 8), nn.BatchNorm2d(8), nn.ReLU(), ChannelDropout(0.25)),
            *(conv3x3(8, 8), nn.BatchNorm2d(8), nn.ReLU(), ChannelDropout(0.25)),
        )

    def forward(self, images):
        return global_average(self.layers(images))


@pytest.fixture
def learner(make_view, make_training, scripted):
    def make_learner(name):
        head = BalancedHead() if "head" in name else None
        selectors = [scripted(MASK) for _ in range({"rolt": 1, "dividemix": 2}.get(name, 0))]
        training = make_training(make_view(LABELS), head=head, selectors=selectors, lr=0.01)

        def build_network(k):
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(k)
                return Network(Dropping(), 3, abc=head is not None)

        training.build_network = build_network
        return LEARNERS[name](training)

    return make_learner


def global_state():
    return torch.get_rng_state().tolist(), np.random.get_state()[1].tolist(), random.getstate()


@pytest.mark.parametrize("name", LEARNERS)
def test_training_with_dropout_can_stop_between_epochs_and_leaves_the_global_generators_alone(learner, name):
    torch.manual_seed(1)
    before = global_state()
    whole, second = learner(name), learner(name)
    whole.epoch(1)
    second.load_state(copy.deepcopy(whole.state()))
    figures = whole.epoch(2)
    assert global_state() == before
    torch.manual_seed(2)
    assert second.epoch(2) == figures
    for a, b in zip(whole.networks, second.networks, strict=True):
        assert all(torch.equal(x, y) for x, y in zip(a.parameters(), b.parameters(), strict=True))
    answers = [method.predict(method.training.view.images) for method in (whole, whole)]
    assert np.array_equal(answers[0][0]["main"], answers[1][0]["main"]), "nothing is dropped in predictions"


def test_layers_networks_and_epochs_drop_different_maps(learner):
    method, maps = learner("coteaching"), torch.ones(5, 40, 1, 1)
    seen = []
    for k, e in ((0, 1), (1, 1), (0, 2)):
        method.prepare(k, e)
        layers = [m for m in method.networks[k].modules() if isinstance(m, ChannelDropout)]
        assert len(layers) == 2
        seen += [layer.train()(maps) for layer in layers]
    assert not any(torch.equal(a, b) for i, a in enumerate(seen) for b in seen[:i])
    expected = torch.rand(2, 5, 40, generator=streams.torch_generator(0, "dropout", 0, 2)) >= 0.25
    torch.testing.assert_close(torch.stack(seen[4:])[..., 0, 0], expected / 0.75)
