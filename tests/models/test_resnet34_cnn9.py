"""ELR's and Co-teaching's networks and LDAM's cosine head against algorithms/models.md §2 and §4, and torchvision."""

import math

import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import nn

from sfa_bench.choices.models import ModelConfig
from sfa_bench.models import Network, build
from sfa_bench.models.cnn9 import ChannelDropout, Cnn9
from sfa_bench.models.network import CosineHead
from sfa_bench.models.resnet34 import ResNet34


def make(name, *, classes=10, channels=3, side=32, heads=("main",), seed=0, **options):
    model = ModelConfig(name=name, width=None, variant="dividemix")
    return build(model, channels, (side, side), classes, heads, seed, **options)


def parameters(module):
    return sum(p.numel() for p in module.parameters())


def images(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def scrambled(module):
    """Norms that are not the identity, so that a swapped or missing one shows."""
    generator = torch.Generator().manual_seed(9)
    for norm in module.modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.weight.data.uniform_(0.5, 1.5, generator=generator)
            norm.bias.data.uniform_(-0.5, 0.5, generator=generator)
            norm.running_mean.uniform_(-0.5, 0.5, generator=generator)
            norm.running_var.uniform_(0.5, 1.5, generator=generator)
    return module.eval()


# ---- ResNet-34


def test_resnet34_has_the_parameters_of_the_literature():
    assert parameters(make("resnet34")) == 21_282_122
    assert parameters(make("resnet34", classes=100)) == 21_282_122 + 90 * 513


def test_resnet34_is_torchvisions_with_a_stem_for_small_images():
    theirs = torchvision.models.resnet34(num_classes=10)
    theirs.conv1, theirs.maxpool, theirs.fc = nn.Conv2d(3, 64, 3, padding=1, bias=False), nn.Identity(), nn.Identity()
    ours = scrambled(ResNet34(3))
    values = list(ours.state_dict().values())
    # Both list stem, then each block's two convolutions with their norms, then its projection.
    assert [v.shape for v in values] == [v.shape for v in theirs.state_dict().values()]
    theirs.load_state_dict(dict(zip(theirs.state_dict(), values, strict=True)))
    x = images(2, 3, 32, 32)
    torch.testing.assert_close(ours(x), theirs.eval()(x))
    assert ours(x).shape == (2, ours.feature_width) == (2, 512)


# ---- the nine-layer CNN

WIDTHS = (128, 128, 128, 256, 256, 256, 512, 256, 128)


@pytest.mark.parametrize(("channels", "side"), [(3, 32), (1, 28)])
def test_cnn9_is_the_specified_stack_in_eval_mode(channels, side):
    network = scrambled(Cnn9(channels))
    convolutions = [m for m in network.modules() if isinstance(m, nn.Conv2d)]
    norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
    assert [c.out_channels for c in convolutions] == list(WIDTHS)
    x = maps = images(2, channels, side, side)
    for i, (conv, norm) in enumerate(zip(convolutions, norms, strict=True)):
        maps = F.conv2d(maps, conv.weight, conv.bias, padding=1 if i < 6 else 0)
        maps = F.batch_norm(maps, norm.running_mean, norm.running_var, norm.weight, norm.bias)
        maps = torch.where(maps > 0, maps, 0.01 * maps)
        if i in (2, 5):
            maps = F.max_pool2d(maps, 2)
    assert maps.shape == (2, 128, side // 4 - 6, side // 4 - 6)
    torch.testing.assert_close(network(x), maps.mean((2, 3)), rtol=1e-4, atol=1e-5)
    assert network.feature_width == 128


def test_cnn9_drops_a_quarter_of_the_maps_that_each_of_the_first_two_pools_leaves():
    network, seen = Cnn9(3), []
    for module in network.modules():
        if isinstance(module, ChannelDropout):
            module.register_forward_pre_hook(lambda layer, given: seen.append((layer.p, tuple(given[0].shape[1:]))))
    network.eval()(images(2, 3, 32, 32))
    assert seen == [(0.25, (128, 16, 16)), (0.25, (256, 8, 8))]


def test_cnn9s_parameters_are_those_of_its_widths():
    pairs = zip((3, *WIDTHS), WIDTHS, strict=False)
    expected = sum(9 * a * b + b + 2 * b for a, b in pairs)  # kernel and bias, and the norm's two
    assert parameters(make("cnn9")) == expected + 128 * 10 + 10


def dropout(p=0.25, seed=3):
    layer = ChannelDropout(p)
    layer.generator = torch.Generator().manual_seed(seed)
    return layer


def test_dropout_takes_whole_maps_away_and_makes_up_for_them():
    maps = 1 + torch.rand(50, 80, 3, 3, generator=torch.Generator().manual_seed(0))
    share = dropout()(maps) / maps
    kept = share[:, :, 0, 0] > 0
    torch.testing.assert_close(share, (kept / 0.75)[:, :, None, None].expand_as(share))
    assert float(kept.float().mean()) == pytest.approx(0.75, abs=5 * math.sqrt(0.75 * 0.25 / 4000))
    assert 0 < kept.float().mean(0).std() < 0.15, "drawn for each image, not for the batch"


def test_dropout_follows_the_mode_and_its_stream():
    maps = torch.ones(4, 30, 2, 2)
    assert torch.equal(dropout().eval()(maps), maps)
    first = dropout(seed=3)
    once = first(maps)
    assert torch.equal(dropout(seed=3)(maps), once)
    assert not torch.equal(first(maps), once), "the stream goes on"
    assert not torch.equal(dropout(seed=4)(maps), once)
    with pytest.raises(RuntimeError, match="without a stream"):
        ChannelDropout(0.25).train()(maps)


# ---- the cosine head, and RoLT's own


@pytest.mark.parametrize(("classes", "count"), [(10, 464_144), (100, 469_904)])
def test_resnet32_with_the_cosine_head_has_the_specified_parameters(classes, count):
    assert parameters(make("resnet32", classes=classes, cosine=30.0)) == count


def test_the_cosine_head_gives_thirty_times_the_cosine():
    head, features = CosineHead(5, 3, 30.0), images(4, 5)
    head.weight.data = 2.5 * images(5, 3, seed=1)  # training does not keep unit length
    answer = head(features).detach()
    for i in range(4):
        for k in range(3):
            a, b = features[i].tolist(), head.weight[:, k].tolist()
            dot = sum(x * y for x, y in zip(a, b, strict=True))
            assert float(answer[i, k]) == pytest.approx(30 * dot / (math.hypot(*a) * math.hypot(*b)), abs=1e-4)
    torch.testing.assert_close(head(7 * features), answer)
    assert (head(torch.zeros(1, 5)) == 0).all()


def test_class_vectors_start_as_uniform_draws_of_unit_length():
    weight = make("resnet32", classes=100, cosine=30.0).main.weight.detach()
    assert weight.shape == (64, 100)
    torch.testing.assert_close(weight.norm(dim=0), torch.ones(100))
    assert abs(float(weight.mean())) < 5 / 8 / math.sqrt(6400)
    # Uniform coordinates are at most √3 standard deviations; the scaling moves that by little.
    assert float(weight.abs().max() * 8) == pytest.approx(math.sqrt(3), rel=0.25)


def test_a_cosine_head_leaves_the_balanced_one_and_the_backbone_as_they_are():
    network = make("resnet32", cosine=30.0, heads=("main", "abc"))
    assert isinstance(network, Network)
    assert isinstance(network.abc, nn.Linear)
    linear = make("resnet32", heads=("main", "abc"))
    for a, b in zip(network.backbone.parameters(), linear.backbone.parameters(), strict=True):
        assert torch.equal(a, b)


def test_rolts_classifier_starts_as_torch_makes_it_on_a_kaiming_normal_backbone():
    own, theirs = make("resnet32", classes=100, default_heads=True), make("resnet32", classes=100)
    assert own.main.weight.abs().max() <= 1 / 8 < theirs.main.weight.abs().max()
    for a, b in zip(own.backbone.parameters(), theirs.backbone.parameters(), strict=True):
        assert torch.equal(a, b)
