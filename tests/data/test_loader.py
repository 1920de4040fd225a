import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chi2_contingency
from torchvision import transforms
from torchvision.transforms import functional

from sfa_bench.data import EvaluationSet, Loader, Transform, augment, batches, to_float
from sfa_bench.data.loader import windows


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


# every pixel differs, so that each of the 5·5 crops and 2 flips of padding 2 gives a result of its own
IMAGE = torch.arange(1, 2 * 6 * 5 + 1, dtype=torch.uint8).reshape(2, 6, 5)
CROP_AND_FLIP = Transform((0.4, 0.5), (0.2, 0.25), padding=2, flip=True)


def outcomes(images):
    return [image.numpy().tobytes() for image in images]


def test_views_have_the_law_of_torchvisions_crop_and_flip():
    ours = outcomes(augment(IMAGE.expand(12_000, -1, -1, -1), CROP_AND_FLIP, generator()))
    theirs_transform = transforms.Compose([transforms.RandomCrop((6, 5), padding=2), transforms.RandomHorizontalFlip()])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        theirs = outcomes(theirs_transform(IMAGE) for _ in range(4000))
    assert set(ours) == set(theirs)
    assert len(set(ours)) == 50
    table = [[drawn.count(outcome) for outcome in sorted(set(ours))] for drawn in (ours, theirs)]
    assert chi2_contingency(table).pvalue > 1e-3


def test_crop_and_flip_are_drawn_independently_of_each_other():
    views = augment(IMAGE.expand(8000, -1, -1, -1), CROP_AND_FLIP, generator(1))
    middle = views[:, 0, 3, 2].long()  # the value at the centre tells offset and, through its neighbour, the flip
    flipped = views[:, 0, 3, 3].long() < middle
    interior = (views[:, 0, 3, 3] > 0) & (views[:, 0, 3, 1] > 0)
    offsets = middle[interior].unique().tolist()
    table = [[((middle == o) & interior & (flipped == f)).sum().item() for o in offsets] for f in (False, True)]
    assert len(offsets) == 15
    assert chi2_contingency(table).pvalue > 1e-3


def test_half_of_the_views_are_flipped():
    views = augment(IMAGE.expand(20_000, -1, -1, -1), Transform((0.4,), (0.2,), padding=0, flip=True), generator(2))
    flipped = (views == IMAGE.flip(-1)).flatten(1).all(dim=1)
    assert (flipped | (views == IMAGE).flatten(1).all(dim=1)).all()
    assert flipped.float().mean().item() == pytest.approx(0.5, abs=4 * 0.5 / 20_000**0.5)


def test_padding_is_black_before_normalisation():
    white = torch.full((200, 2, 6, 5), 255, dtype=torch.uint8)
    views = Loader(white, CROP_AND_FLIP).train_view(torch.arange(200), generator())
    for channel, (mean, std) in enumerate(zip((0.4, 0.5), (0.2, 0.25), strict=True)):
        assert views[:, channel].unique().tolist() == pytest.approx([-mean / std, (1 - mean) / std])


DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU"))]


@pytest.mark.parametrize("device", DEVICES)
@given(st.data())
def test_windows_are_slices(device, data):
    count, channels, rows, columns = data.draw(st.tuples(st.integers(0, 5), *[st.integers(1, 5)] * 3), label="shape")
    height, width = data.draw(st.integers(1, rows)), data.draw(st.integers(1, columns))
    images = torch.randint(256, (count, channels, rows, columns), dtype=torch.uint8, generator=generator())
    images = images.transpose(2, 3).contiguous().transpose(2, 3)  # neighbours in memory need not be in the image
    top, left = (
        torch.tensor(data.draw(st.lists(st.integers(0, room), min_size=count, max_size=count)), dtype=torch.int64)
        for room in (rows - height, columns - width)
    )
    found = windows(images.to(device), top, left, height, width).cpu()
    assert found.shape == (count, channels, height, width)
    for window, image, y, x in zip(found, images, top, left, strict=True):
        assert window.equal(image[:, y : y + height, x : x + width])


def test_normalisation_is_torchvisions():
    images = torch.randint(256, (3, 2, 4, 4), dtype=torch.uint8, generator=generator())
    theirs = functional.normalize(functional.convert_image_dtype(images), [0.4, 0.5], [0.2, 0.25])
    torch.testing.assert_close(to_float(images, CROP_AND_FLIP), theirs)


def test_a_test_view_is_the_image_and_a_train_view_without_augmentation_too():
    images = torch.randint(256, (5, 2, 4, 4), dtype=torch.uint8, generator=generator())
    index = torch.tensor([3, 0, 3])
    plain = Transform((0.4, 0.5), (0.2, 0.25))
    expected = to_float(images[[3, 0, 3]], plain)
    assert Loader(images, CROP_AND_FLIP).test_view(index).equal(expected)
    assert Loader(images, plain).train_view(index, generator()).equal(expected)
    assert Loader(EvaluationSet(images, torch.zeros(5)), plain).test_view(index).equal(expected)


def test_two_views_of_one_generator_differ_and_a_new_generator_repeats_them():
    loader = Loader(IMAGE.expand(64, -1, -1, -1), CROP_AND_FLIP)
    source = generator(5)
    first, second = (loader.train_view(torch.arange(64), source) for _ in range(2))
    assert not first.equal(second)
    assert loader.train_view(torch.arange(64), generator(5)).equal(first)
    assert first.dtype == torch.float32
    assert len(loader) == 64


def test_an_empty_batch_has_empty_views():
    """The unlabelled batch, where everything is selected."""
    loader = Loader(IMAGE.expand(4, -1, -1, -1), CROP_AND_FLIP)
    (views,) = loader.train_views([torch.empty(0, dtype=torch.int64)], generator(), copies=2)
    assert [view.shape for view in views] == [(0, 2, 6, 5)] * 2


@given(st.integers(0, 60), st.integers(1, 20))
def test_batches_drop_nothing_and_leave_no_row_alone(count, batch_size):
    order = torch.randperm(count, generator=generator(count))
    parts = list(batches(order, batch_size))
    assert torch.cat([*parts, torch.empty(0, dtype=torch.long)]).tolist() == order.tolist()
    assert all(len(part) == batch_size for part in parts[:-1])
    if count > 1 and batch_size > 1:
        assert all(len(part) > 1 for part in parts)


@pytest.mark.parametrize(("count", "sizes"), [(9, [4, 5]), (10, [4, 4, 2]), (3, [3]), (1, [1]), (0, [])])
def test_batch_sizes(count, sizes):
    assert [len(part) for part in batches(torch.arange(count), 4)] == sizes
