"""The backbones of WebVision and Clothing1M against algorithms/models.md §3–4; whose layers they are is not tested
again.
"""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from sfa_bench.choices.models import ModelConfig
from sfa_bench.errors import ConfigError
from sfa_bench.models import build

BOTH = ("main", "abc")


def make(name, *, side, classes=50, channels=3, heads=BOTH, seed=0):
    return build(ModelConfig(name=name, pretrained=False), channels, (side, side), classes, heads, seed)


def images(count, side, seed=0):
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(seed))


def parameters(module):
    return sum(p.numel() for p in module.parameters())


@pytest.fixture(scope="module")
def inception():
    return make("inception_resnet_v2", side=299)


@pytest.fixture(scope="module")
def resnet50():
    return make("resnet50", side=224, classes=14)


def test_inception_resnet_v2_has_the_parameters_of_the_released_network(inception):
    assert parameters(inception) == 54_460_164
    assert parameters(inception.backbone) + parameters(inception.main) == 54_383_314


def test_resnet50_has_the_parameters_of_the_literature(resnet50):
    assert parameters(resnet50.backbone) == 25_557_032 - 1000 * 2049
    assert parameters(resnet50) == 25_557_032 - 1000 * 2049 + 2 * 14 * 2049


def test_inception_resnet_v2_starts_as_torchs_layers_do(inception):
    norms = [m for m in inception.modules() if isinstance(m, nn.BatchNorm2d)]
    assert {(m.eps, m.momentum) for m in norms} == {(1e-3, 0.1)}
    assert all((m.weight == 1).all() and (m.bias == 0).all() for m in norms)
    for layer in (m for m in inception.modules() if isinstance(m, (nn.Conv2d, nn.Linear))):
        bound = 1 / math.sqrt(layer.weight[0].numel())
        assert bound * 0.9 < layer.weight.abs().max() <= bound
        if layer.weight.numel() > 4000:
            assert float(layer.weight.detach().std()) == pytest.approx(bound / math.sqrt(3), rel=0.05)
    # The residual branches' last convolutions have a bias, and no norm has one before it.
    assert sum(m.bias is not None for m in inception.modules() if isinstance(m, nn.Conv2d)) == 10 + 20 + 9 + 1


def test_at_299_pixels_inception_averages_a_map_of_eight_by_eight(inception):
    maps, shapes = [], []
    inception.backbone.layers.conv2d_7b.register_forward_hook(lambda module, given, out: maps.append(out))
    inception.backbone.layers.conv2d_1a.register_forward_hook(lambda module, given, out: shapes.append(out.shape[2:]))
    with torch.no_grad():
        features = inception.eval()(images(1, 299)).features
    inception.train()
    assert (tuple(shapes[0]), tuple(maps[0].shape)) == ((149, 149), (1, 1536, 8, 8))
    torch.testing.assert_close(features, F.avg_pool2d(maps[0], 8).flatten(1))


@pytest.mark.parametrize(
    ("name", "side", "width"),
    [("inception_resnet_v2", 107, 1536), ("inception_resnet_v2", 120, 1536), ("resnet50", 33, 2048)],
)
def test_outputs_have_the_promised_shapes_and_features_are_not_negative(name, side, width, inception, resnet50):
    network = {"inception_resnet_v2": inception, "resnet50": resnet50}[name]
    with torch.no_grad():
        output = network(images(2, side))
    assert network.feature_width == width
    assert output.features.shape == (2, width)
    assert output.features.min() >= 0
    assert output.features.max() > 0
    assert output.main.shape == output.abc.shape == (2, network.main.out_features)


@pytest.mark.parametrize(("name", "side"), [("inception_resnet_v2", 299), ("resnet50", 224)])
def test_one_step_at_its_own_size_reaches_every_parameter(name, side, inception, resnet50):
    network = {"inception_resnet_v2": inception, "resnet50": resnet50}[name].train()
    optimiser = torch.optim.SGD(network.parameters(), 0.01, momentum=0.9)
    output = network(images(2, side))
    labels = torch.tensor([3, 7])
    loss = F.cross_entropy(output.main, labels) + F.cross_entropy(output.abc, labels)
    loss.backward()
    assert torch.isfinite(loss)
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in network.parameters())
    before = network.main.weight.clone()
    optimiser.step()
    assert not torch.equal(before, network.main.weight)


@pytest.mark.parametrize("name", ["inception_resnet_v2", "resnet50"])
def test_weights_are_a_function_of_the_seed_alone_and_the_balanced_head_changes_no_other(name):
    state = torch.get_rng_state()
    variants = ((BOTH, 5), (("main",), 5), (BOTH, 6))
    first, same, other = (make(name, side=224, heads=h, seed=s).state_dict() for h, s in variants)
    assert torch.equal(state, torch.get_rng_state())
    assert set(first) - set(same) == {"abc.weight", "abc.bias"}
    assert all(torch.equal(first[key], same[key]) for key in same)
    assert not torch.equal(first["main.weight"], other["main.weight"])


def test_resnet50_works_on_a_single_image_of_the_smallest_size_in_train_mode(resnet50):
    assert resnet50.train()(images(1, 33)).features.shape == (1, 2048)


def test_floating_point_operations_are_counted():
    """4.1 and 13.2 billion multiplications and additions an image are the literature's."""
    for name, side, macs in (("resnet50", 224, 4.09e9), ("inception_resnet_v2", 299, 13.2e9)):
        network = make(name, side=side, heads=("main",)).eval()
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            network(images(1, side))
        assert counter.get_total_flops() == pytest.approx(2 * macs, rel=0.02)


# ---- refusals


@pytest.mark.parametrize(("name", "side"), [("inception_resnet_v2", 32), ("inception_resnet_v2", 74), ("resnet50", 32)])
def test_images_that_are_too_small_are_refused_by_name_and_size(name, side):
    with pytest.raises(ConfigError, match=f"model={name} cannot take images of {side}×{side} pixels") as error:
        make(name, side=side)
    assert error.value.invalid_combination


@pytest.mark.parametrize("name", ["inception_resnet_v2", "resnet50"])
@pytest.mark.parametrize("channels", [1, 4])
def test_images_without_three_channels_are_refused(name, channels):
    with pytest.raises(ConfigError, match=f"model={name} takes colour images .* have {channels}: use model=") as error:
        make(name, side=299, channels=channels)
    assert error.value.invalid_combination
