"""Views of image files: held to torchvision's transforms on single images, and to Pillow's decoder."""

import io

import numpy as np
import pytest
import small_images
import torch
from PIL import Image
from scipy.stats import ks_2samp
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional

from sfa_bench.data.images import BadImage, Framing, box, decode, resized, train_view

SIZES = [(40, 40), (64, 32), (32, 64), (300, 20), (20, 300)]  # the last two often fit no ratio: then the middle


def opened(path):
    with Image.open(path) as image:
        return image.convert("RGB")


def whole(image):
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)


def test_a_test_view_is_torchvisions_resize_and_central_crop(tmp_path):
    images = small_images.write(tmp_path, 12)
    expected = v2.Compose([v2.Resize(20), v2.CenterCrop(16)])
    found = images.test_views(np.arange(12))
    assert found.dtype == torch.uint8
    for i in range(12):
        image = opened(images.path(i))
        assert found[i].equal(expected(whole(image)))
        apart = (found[i].int() - whole(expected(image)).int()).abs()  # on Pillow's images it rounds otherwise
        assert apart.max() <= 1
    assert images.test_views(np.array([7, 3])).equal(found[[7, 3]])


@pytest.mark.parametrize("flip", [False, True])
def test_a_training_view_is_torchvisions_resized_crop_and_flip_with_the_same_numbers(tmp_path, flip):
    images = small_images.write(tmp_path, 12)
    uniforms = np.random.default_rng(0).random((2, 12, images.framing.numbers))
    found = images.train_views(np.arange(12), uniforms, flip)
    flipped = 0
    for i in range(12):
        image = functional.resize(whole(opened(images.path(i))), [20])
        for copy in range(2):
            top, left, height, width = box(*image.shape[1:], images.framing, uniforms[copy, i])
            expected = functional.resized_crop(image, top, left, height, width, [16, 16])
            if flip and uniforms[copy, i, -1] < 0.5:
                expected, flipped = functional.horizontal_flip(expected), flipped + 1
            assert found[copy, i].equal(expected)
    assert flipped == (np.count_nonzero(uniforms[:, :, -1] < 0.5) if flip else 0)


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_resized_crops_have_the_law_of_torchvisions(height, width):
    framing, image = Framing(20, 16), torch.zeros(3, height, width)
    uniforms = np.random.default_rng(1).random((4000, framing.numbers))
    ours = np.array([box(height, width, framing, u) for u in uniforms])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        transform = v2.RandomResizedCrop(16)
        theirs = [transform.make_params([image]) for _ in range(4000)]
    theirs = np.array([[p["top"], p["left"], p["height"], p["width"]] for p in theirs])
    for column in range(4):
        assert ks_2samp(ours[:, column], theirs[:, column]).pvalue > 1e-3
    assert ks_2samp(ours[:, 2] * ours[:, 3], theirs[:, 2] * theirs[:, 3]).pvalue > 1e-3
    assert (ours[:, 0] + ours[:, 2]).max() <= height
    assert (ours[:, 1] + ours[:, 3]).max() <= width
    assert ours.min() >= 0


def test_a_plain_crop_is_uniform_over_all_places_and_scales_nothing():
    framing = Framing(20, 16, "plain")
    uniforms = np.random.default_rng(2).random((5000, framing.numbers))
    places = np.array([box(20, 22, framing, u) for u in uniforms])
    assert np.unique(places[:, 2:], axis=0).tolist() == [[16, 16]]
    counts = np.array([[np.count_nonzero((places[:, :2] == (i, j)).all(1)) for j in range(7)] for i in range(5)])
    assert counts.sum() == 5000
    assert np.abs(counts - 5000 / 35).max() < 5 * (5000 / 35) ** 0.5
    image = torch.randint(0, 256, (3, 20, 22), dtype=torch.uint8)
    top, left, *_ = places[0]
    assert train_view(image, framing, uniforms[0], flip=False).equal(image[:, top : top + 16, left : left + 16])


def saved(path, image, **options):
    image.save(path, **options)
    return path


HOLDS = {
    "jpg": ("RGB", "L", "CMYK"),
    "png": ("RGB", "L", "RGBA", "P", "LA", "I;16"),
    "bmp": ("RGB", "L", "RGBA", "P"),
    "gif": ("RGB", "L", "P"),
    "webp": ("RGB", "L", "RGBA", "P", "LA"),
}


@pytest.mark.parametrize(("ending", "mode"), [(ending, mode) for ending, modes in HOLDS.items() for mode in modes])
def test_every_kind_of_image_is_read_as_rgb(tmp_path, ending, mode):
    image = Image.fromarray(small_images.colours(0, 30, 20))
    if mode == "I;16":
        image = Image.fromarray(257 * np.asarray(image.convert("L")).astype(np.uint16))
    path = saved(tmp_path / f"a.{ending}", image if mode == "I;16" else image.convert(mode))
    found = decode(path)
    assert found.shape == (3, 20, 30)
    assert found.dtype == torch.uint8
    apart = np.abs(found.permute(1, 2, 0).numpy().astype(int) - small_images.colours(0, 30, 20)).mean()
    assert apart < (12 if mode in ("RGB", "RGBA", "CMYK") and ending != "gif" else 80)  # else grey, or a few colours


def test_what_a_file_says_of_its_orientation_does_not_turn_it(tmp_path):
    """As the releases' loaders, which pass it over."""
    image, exif = Image.fromarray(small_images.colours(0, 30, 20)), Image.Exif()
    exif[0x0112] = 6
    assert decode(saved(tmp_path / "a.jpg", image, exif=exif)).shape == (3, 20, 30)


BAD = {
    "empty": lambda jpeg: b"",
    "text": lambda jpeg: b"<html>404</html>",
    "torn": lambda jpeg: jpeg[: len(jpeg) // 2],
    "head alone": lambda jpeg: jpeg[:10],
    "torn png": lambda jpeg: png()[:-40],
}


def png():
    stream = io.BytesIO()
    Image.fromarray(small_images.colours(0, 30, 20)).save(stream, "png")
    return stream.getvalue()


@pytest.mark.parametrize("kind", BAD)
def test_a_broken_file_is_no_image(tmp_path, kind):
    path = small_images.write(tmp_path, 1).path(0)
    path.write_bytes(BAD[kind](path.read_bytes()))
    with pytest.raises(BadImage, match=r"\w"):
        decode(path)


def test_a_missing_file_and_an_image_like_a_thread_are_named(tmp_path):
    Image.new("RGB", (1000, 10)).save(tmp_path / "thread.png")
    images = small_images.files(tmp_path, ["thread.png"])
    with pytest.raises(BadImage, match=r"thread.png: an image of 1000×10 pixels"):
        images.test_views(np.array([0]))
    (tmp_path / "thread.png").unlink()
    with pytest.raises(BadImage, match=r"thread.png: there is no such file"):
        images.test_views(np.array([0]))


def test_the_shorter_side_is_scaled(tmp_path):
    for width, height in ((30, 60), (60, 30), (10, 15)):
        assert min(resized(torch.zeros(3, height, width, dtype=torch.uint8), 20).shape[1:]) == 20
