"""The networks against algorithms/models.md: counts, shapes, initial weights, and what the seed decides."""

import copy
import math
import random

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from sfa_bench.choices.heads import ALL
from sfa_bench.choices.models import ModelConfig
from sfa_bench.errors import ConfigError
from sfa_bench.models import build

BOTH = ("main", "abc")


def make(name, *, width=None, variant="dividemix", channels=3, size=(32, 32), classes=10, heads=("main",), seed=0):
    return build(ModelConfig(name=name, width=width, variant=variant), channels, size, classes, heads, seed)


def parameters(module):
    return sum(p.numel() for p in module.parameters())


def layers(network, kind):
    return [module for module in network.modules() if isinstance(module, kind)]


@pytest.mark.parametrize(
    ("classes", "heads", "count"),
    [(10, ("main",), 11_171_274), (10, BOTH, 11_176_404), (100, ("main",), 11_217_444), (100, BOTH, 11_268_744)],
)
def test_preact_resnet18_has_the_parameters_of_the_released_network(classes, heads, count):
    assert parameters(make("preact_resnet18", classes=classes, heads=heads)) == count


def test_the_canonical_preact_resnet18_has_the_usual_count_and_no_norm_in_the_stem():
    network = make("preact_resnet18", variant="canonical")
    assert parameters(network) == 11_171_146
    assert len(layers(network, nn.BatchNorm2d)) == 16


@pytest.mark.parametrize(
    ("classes", "heads", "count"),
    [
        (10, ("main",), 464_154),
        (100, ("main",), 470_004),
        (10, BOTH, 464_154 + 64 * 10 + 10),
        (100, BOTH, 470_004 + 64 * 100 + 100),
    ],
)
def test_resnet32_has_the_parameters_of_the_literature(classes, heads, count):
    network = make("resnet32", classes=classes, heads=heads)
    assert parameters(network) == count
    assert parameters(network.backbone) == 463_504


def test_convnet_stays_below_fifty_thousand_parameters():
    assert parameters(make("convnet", channels=1, size=(8, 8), heads=BOTH)) <= 50_000


@pytest.mark.parametrize(("name", "norms"), [("preact_resnet18", 17), ("resnet32", 31), ("convnet", 3)])
def test_batch_norms_have_torch_defaults(name, norms):
    found = layers(make(name), nn.BatchNorm2d)
    assert len(found) == norms
    assert {(m.eps, m.momentum, m.affine, m.track_running_stats) for m in found} == {(1e-5, 0.1, True, True)}
    assert all((m.weight == 1).all() and (m.bias == 0).all() for m in found)


@pytest.mark.parametrize(
    ("name", "width", "channels", "size", "features"),
    [
        ("preact_resnet18", None, 3, (32, 32), 512),
        ("preact_resnet18", 16, 1, (28, 28), 128),
        ("preact_resnet18", 8, 3, (25, 40), 64),
        ("resnet32", None, 3, (32, 32), 64),
        ("resnet32", 4, 1, (28, 28), 16),
        ("resnet32", 4, 2, (13, 15), 16),
        ("convnet", None, 1, (8, 8), 32),
    ],
)
def test_outputs_have_the_promised_shapes(name, width, channels, size, features):
    network = make(name, width=width, channels=channels, size=size, classes=7, heads=BOTH)
    output = network(torch.zeros(2, channels, *size))
    assert network.feature_width == features
    assert output.features.shape == (2, features)
    assert output.main.shape == output.abc.shape == (2, 7)


@settings(max_examples=15, deadline=None)
@given(height=st.integers(8, 40), width=st.integers(8, 40), channels=st.integers(1, 5), classes=st.integers(2, 30))
def test_convnet_takes_any_size_from_eight_and_any_channels(height, width, channels, classes):
    network = make("convnet", channels=channels, size=(height, width), classes=classes)
    output = network(torch.ones(2, channels, height, width))
    assert output.main.shape == (2, classes)
    assert output.abc is None


def test_heads_are_independent_linear_layers_on_the_same_features():
    network = make("convnet", channels=1, size=(8, 8), heads=BOTH).eval()
    images = torch.rand(3, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    output = network(images)
    assert torch.equal(output.features, network.features(images))
    for head, logits in ((network.main, output.main), (network.abc, output.abc)):
        torch.testing.assert_close(logits, output.features @ head.weight.T + head.bias)
    assert not torch.equal(network.main.weight, network.abc.weight)


def test_a_network_with_further_heads_shares_all_other_weights_and_their_names():
    one, two, three = (make("convnet", channels=1, size=(8, 8), heads=ALL[:n]).state_dict() for n in (1, 2, 3))
    assert three.keys() - two.keys() == {"medium_head.weight", "medium_head.bias"}
    assert two.keys() - one.keys() == {"abc.weight", "abc.bias"}
    for fewer in (one, two):
        assert all(torch.equal(three[name], value) for name, value in fewer.items())


@pytest.mark.parametrize("name", ["preact_resnet18", "resnet32", "convnet"])
def test_every_parameter_learns_from_the_two_heads(name):
    network = make(name, width=4, size=(32, 32), heads=BOTH)
    output = network(torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0)))
    (output.main.square().sum() + output.abc.square().sum()).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in network.parameters())


# ---- initial weights


@pytest.mark.parametrize("name", ["preact_resnet18", "convnet"])
def test_weights_start_as_torch_makes_them(name):
    network = make(name, heads=BOTH)
    for layer in layers(network, (nn.Conv2d, nn.Linear)):
        bound = 1 / math.sqrt(layer.weight[0].numel())
        assert bound * 0.9 < layer.weight.abs().max() <= bound
        if layer.weight.numel() > 4000:
            assert float(layer.weight.detach().std()) == pytest.approx(bound / math.sqrt(3), rel=0.05)


def test_resnet32_starts_kaiming_normal_in_fan_in_mode_with_default_biases():
    network = make("resnet32", classes=100, heads=BOTH)
    for layer in layers(network, (nn.Conv2d, nn.Linear)):
        fan_in = layer.weight[0].numel()
        scale = math.sqrt(2 / fan_in)
        assert float(layer.weight.detach().std()) == pytest.approx(scale, rel=5 / math.sqrt(2 * layer.weight.numel()))
        # Three standard deviations are passed by a normal law and by no uniform one of the same spread (√3).
        assert layer.weight.abs().max() > 2.2 * scale
        if layer.bias is not None:
            assert 0 < layer.bias.abs().max() <= 1 / math.sqrt(fan_in)


def test_convolutions_have_no_bias_and_heads_have_one():
    for name in ("preact_resnet18", "resnet32", "convnet"):
        network = make(name, width=4, heads=BOTH)
        assert all(conv.bias is None for conv in layers(network, nn.Conv2d))
        assert network.main.bias is not None
        assert network.abc.bias is not None


# ---- the seed


@pytest.mark.parametrize("name", ["preact_resnet18", "resnet32", "convnet"])
def test_weights_are_a_function_of_the_seed_alone(name):
    first, second, other = (make(name, width=4, seed=seed).state_dict() for seed in (5, 5, 6))
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert not torch.equal(first["main.weight"], other["main.weight"])


@pytest.mark.parametrize("name", ["preact_resnet18", "resnet32", "convnet"])
def test_a_network_with_the_balanced_head_starts_from_the_same_weights_as_one_without(name):
    without, with_head = (make(name, width=4, heads=heads, seed=3).state_dict() for heads in (("main",), BOTH))
    assert set(with_head) - set(without) == {"abc.weight", "abc.bias"}
    assert all(torch.equal(without[key], with_head[key]) for key in without)


def test_building_leaves_the_global_generators_alone():
    before = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()
    make("resnet32", width=4, seed=2**63 - 1)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert (np.random.get_state()[1] == before[1]).all()
    assert random.getstate() == before[2]


# ---- refusals


@pytest.mark.parametrize(
    ("name", "size"),
    [("preact_resnet18", (8, 8)), ("preact_resnet18", (24, 32)), ("resnet32", (32, 12)), ("convnet", (7, 8))],
)
def test_images_that_are_too_small_are_refused_by_name_and_size(name, size):
    with pytest.raises(ConfigError, match=f"model={name} cannot take images of {size[0]}×{size[1]}") as error:
        make(name, size=size)
    assert error.value.invalid_combination


@pytest.mark.parametrize(("side", "first", "last"), [(8, 8, 2), (15, 15, 3), (16, 8, 2), (28, 14, 3), (32, 16, 4)])
def test_convnet_halves_images_of_sixteen_pixels_and_more_at_once(side, first, last):
    network = make("convnet", channels=1, size=(side, side))
    sizes = []
    for layer in network.backbone.layers:
        if isinstance(layer, torch.nn.Conv2d):
            layer.register_forward_hook(lambda module, given, maps: sizes.append(maps.shape[-1]))
    network(torch.zeros(2, 1, side, side))
    assert (sizes[0], sizes[-1]) == (first, last)


@pytest.mark.parametrize(
    ("name", "width", "layout"),
    [
        ("preact_resnet18", 4, torch.contiguous_format),
        ("preact_resnet18", 12, torch.contiguous_format),
        ("preact_resnet18", 8, torch.channels_last),
        ("convnet", 4, torch.channels_last),
        ("resnet32", 4, torch.channels_last),
    ],
)
def test_narrow_strided_shortcuts_keep_the_usual_layout(name, width, layout):
    """Channels-last, gradients of these are computed past the end of memory by a library on some processors."""
    network = make(name, width=width)
    weights = [module.weight for module in layers(network, nn.Conv2d)]
    assert network.layout is layout
    assert all(weight.is_contiguous(memory_format=layout) for weight in weights)
    given = []
    network.backbone.register_forward_pre_hook(lambda module, images: given.append(images[0]))
    network(torch.rand(2, 3, 32, 32).contiguous(memory_format=torch.channels_last))
    assert given[0].is_contiguous(memory_format=layout)


@pytest.mark.parametrize("name", ["convnet", "preact_resnet18", "resnet32", "resnet34"])
def test_the_layout_of_the_weights_changes_rounding_alone(name):
    """Features and gradients are those of a copy in Torch's own layout; in double precision, where no ReLU flips."""
    network = make(name).double()
    plain = copy.deepcopy(network.backbone).to(memory_format=torch.contiguous_format)
    assert any(
        weight.is_contiguous(memory_format=torch.channels_last) and not weight.is_contiguous()
        for weight in network.parameters()
        if weight.ndim == 4
    )
    images = torch.rand(8, 3, 32, 32, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    answers = network.features(images), plain(images)
    torch.testing.assert_close(*answers, rtol=1e-9, atol=1e-12)
    for features in answers:
        features.square().sum().backward()
    for ours, theirs in zip(network.backbone.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-6, atol=1e-9 * float(theirs.grad.abs().max()))
