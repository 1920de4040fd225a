"""Operations are counted as Torch counts them."""

from dataclasses import replace

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from sfa_bench import models
from sfa_bench.config.compose import compose
from sfa_bench.engine import flops


def torchs(network, images):
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(images)
    return counter.get_total_flops()


@pytest.mark.parametrize("cosine", [None, 30.0])
@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("convnet", (1, 8, 8)),
        ("convnet", (3, 33, 32)),
        ("convnet", (2,)),  # vectors: the perceptron
        ("preact_resnet18", (3, 32, 32)),
        ("resnet32", (3, 32, 32)),
        ("cnn9", (3, 32, 32)),
    ],
)
def test_the_suites_networks_have_the_operations_that_torch_counts(name, shape, cosine, monkeypatch):
    model = replace(compose([]).model, name=name)
    network = models.build(model, shape[0], shape[1:], 10, ("main", "abc"), 0, cosine=cosine).eval()
    images = torch.zeros(1, *shape)
    expected = torchs(network, images)
    monkeypatch.delattr("torch.utils.flop_counter.FlopCounterMode")  # it is not asked
    assert flops.count(network, images) == expected > 0


class Attention(torch.nn.Module):
    def forward(self, images):
        rows = images.flatten(2)
        return torch.bmm(torch.bmm(rows, rows.transpose(1, 2)).softmax(2), rows)


def test_of_other_operations_torch_is_asked():
    images = torch.zeros(1, 3, 8, 8)
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), Attention())
    convolution = 2 * 36 * 4 * 27
    assert flops.count(network, images) == torchs(network, images) == convolution + 2 * 2 * 4 * 4 * 36
