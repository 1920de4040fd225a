"""What the residual blocks compute, by hand and against torchvision."""

import pytest
import torch
import torch.nn.functional as F
import torchvision
from hypothesis import given
from hypothesis import strategies as st

from sfa_bench.models.convnet import MaxPool
from sfa_bench.models.preact_resnet import PreActBlock, PreActResNet18
from sfa_bench.models.resnet import BasicBlock, ResNet32


def images(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def scramble(module):
    """Norms that are not the identity, so that a swapped or missing one shows."""
    generator = torch.Generator().manual_seed(9)
    for norm in module.modules():
        if isinstance(norm, torch.nn.BatchNorm2d):
            norm.weight.data.uniform_(0.5, 1.5, generator=generator)
            norm.bias.data.uniform_(-0.5, 0.5, generator=generator)
            norm.running_mean.uniform_(-0.5, 0.5, generator=generator)
            norm.running_var.uniform_(0.5, 1.5, generator=generator)
    return module.eval()


def norm(layer, x):
    scale = layer.weight / torch.sqrt(layer.running_var + 1e-5)
    return x * scale[:, None, None] + (layer.bias - layer.running_mean * scale)[:, None, None]


def non_resizing(network):
    return [block for block in network.blocks if block.shortcut is None]


def test_the_releases_identity_shortcut_carries_the_activated_input():
    network = scramble(PreActResNet18(3, width=4))
    assert len(non_resizing(network)) == 5
    for block in non_resizing(network):
        block.conv2.weight.data.zero_()
        x = images(2, block.norm1.num_features, 6, 6)
        torch.testing.assert_close(block(x), F.relu(norm(block.norm1, x)))


def test_the_canonical_identity_shortcut_carries_the_input_itself():
    network = scramble(PreActResNet18(3, width=4, variant="canonical"))
    assert len(non_resizing(network)) == 5
    for block in non_resizing(network):
        block.conv2.weight.data.zero_()
        x = images(2, block.norm1.num_features, 6, 6)
        torch.testing.assert_close(block(x), x)


@pytest.mark.parametrize("activated", [True, False])
def test_a_resizing_preact_block_projects_the_activated_input(activated):
    block = scramble(PreActBlock(4, 8, 2, activated_identity=activated))
    x = images(2, 4, 7, 7)
    a = F.relu(norm(block.norm1, x))
    u = F.conv2d(a, block.conv1.weight, stride=2, padding=1)
    u = F.conv2d(F.relu(norm(block.norm2, u)), block.conv2.weight, padding=1)
    expected = u + F.conv2d(a, block.shortcut.weight, stride=2)
    assert expected.shape == (2, 8, 4, 4)
    torch.testing.assert_close(block(x), expected)


@pytest.mark.parametrize(("side", "maps"), [(32, [32, 16, 8, 4]), (28, [28, 14, 7, 4])])
def test_preact_stages_have_the_specified_sizes_and_end_in_a_4x4_average_pooling(side, maps):
    network = scramble(PreActResNet18(1, width=4))
    x = network.stem(images(2, 1, side, side))
    seen = []
    expected = x
    for block in network.blocks:
        expected = block(expected)
        seen.append((expected.shape[1], expected.shape[2]))
    assert seen == [(w, s) for w, s in zip((4, 8, 16, 32), maps, strict=True) for _ in range(2)]
    features = network(images(2, 1, side, side))
    torch.testing.assert_close(features, F.avg_pool2d(expected, 4).flatten(1))
    assert (features < 0).any(), "nothing rectifies after the last block"


def test_the_releases_stem_is_normalised_and_rectified_and_the_canonical_one_is_bare():
    x = images(2, 3, 8, 8)
    released = scramble(PreActResNet18(3, width=4))
    convolved = F.conv2d(x, released.stem[0].weight, padding=1)
    torch.testing.assert_close(released.stem(x), F.relu(norm(released.stem[1], convolved)))
    canonical = PreActResNet18(3, width=4, variant="canonical")
    torch.testing.assert_close(canonical.stem(x), F.conv2d(x, canonical.stem[0].weight, padding=1))


def test_option_a_takes_every_second_pixel_and_pads_channels_on_both_sides():
    block = scramble(BasicBlock(4, 8, 2))
    block.norm2.weight.data.zero_()
    block.norm2.bias.data.zero_()
    x = images(1, 4, 5, 6).abs()
    expected = torch.zeros(1, 8, 3, 3)
    for channel in range(4):
        for row in range(3):
            for column in range(3):
                expected[0, 2 + channel, row, column] = x[0, channel, 2 * row, 2 * column]
    torch.testing.assert_close(block(x), expected)
    assert block.padding == 8 // 4


@pytest.mark.parametrize("train", [True, False])
def test_a_basic_block_that_keeps_the_shape_is_torchvisions(train):
    ours, theirs = scramble(BasicBlock(6, 6, 1)), torchvision.models.resnet.BasicBlock(6, 6)
    theirs.load_state_dict({key.replace("norm", "bn"): value for key, value in ours.state_dict().items()})
    x = images(3, 6, 5, 5)
    torch.testing.assert_close(ours.train(train)(x), theirs.train(train)(x))


def test_resnet32_has_three_stages_of_five_blocks():
    network = ResNet32(3)
    x = network.stem(images(2, 3, 32, 32))
    seen = []
    for block in network.blocks:
        x = block(x)
        seen.append(tuple(x.shape[1:]))
    assert seen == [(16, 32, 32)] * 5 + [(32, 16, 16)] * 5 + [(64, 8, 8)] * 5


@given(height=st.integers(2, 9), width=st.integers(2, 9), seed=st.integers(0, 99))
def test_the_pool_without_gradient_gives_the_bits_of_torchs(height, width, seed):
    maps = torch.randn(2, 3, height, width, generator=torch.Generator().manual_seed(seed))
    expected = torch.nn.functional.max_pool2d(maps, 2)
    assert torch.equal(MaxPool()(maps), expected)
    with torch.no_grad():
        assert torch.equal(MaxPool()(maps), expected)
