"""Solar cells: labels of annotators, who are certain or not, and images of 300×300 pixels in small."""

import numpy as np
import pytest
from PIL import Image

from sfa_bench.choices.noises import known_rate
from sfa_bench.config.compose import compose
from sfa_bench.data import build, sources
from sfa_bench.data.sources import elpv, packages
from sfa_bench.data.tools.command import main
from sfa_bench.errors import DataError

THIRDS = [0, 3, 1, 0, 0, 2, 3, 0, 3, 0, 3, 1, 3, 0, 0, 2]


def write(folder, thirds=THIRDS, names=None):
    rng = np.random.default_rng(0)
    (folder / "images").mkdir(parents=True)
    names = names or [f"images/{number}.png" for number in range(len(thirds))]
    lines, pixels = [], []
    for name, third in zip(names, thirds, strict=True):
        image = rng.integers(0, 256, (300, 300), dtype=np.uint8)
        Image.fromarray(image).save(folder / name)
        pixels.append(image)
        lines.append(f"{name}  {third / 3}   mono\n")
    (folder / "labels.csv").write_text("".join(lines))
    return np.stack(pixels)


def config(folder, *typed):
    return compose(["dataset=elpv", f"data_dir={folder}", "dataset.checksum=false", *typed])


def load(folder):
    run = config(folder)
    return sources.load(run.dataset, run.data_dir)


def test_pixels_are_means_of_25_rounded(tmp_path):
    pixels = write(tmp_path)
    expected = [
        [[round(image[5 * r : 5 * r + 5, 5 * c : 5 * c + 5].mean()) for c in range(60)] for r in range(60)]
        for image in pixels[:2].astype(float)
    ]
    source = load(tmp_path)
    assert source.train_images[:2, ..., 0].tolist() == expected
    assert source.train_images.shape[1:] == (60, 60, 1)


def test_every_fifth_certain_image_of_a_class_is_tested_on_and_uncertain_ones_are_trained_on(tmp_path):
    write(tmp_path)
    source = load(tmp_path)
    # Certain ones of class 0 stand at 0 3 4 7 9 13 14, of class 1 at 1 6 8 10 12: the fifths are 9 and 12.
    assert source.test_labels.tolist() == [0, 1]
    kept = [third for at, third in enumerate(THIRDS) if at not in (9, 12)]
    assert source.train_labels.tolist() == [int(third >= 2) for third in kept]
    assert source.notes == ("annotators were not certain of 4 of 14 labels",)
    assert source.class_names == ("functional", "defective")


def test_which_labels_are_noisy_is_unknown(tmp_path):
    write(tmp_path)
    data = build(config(tmp_path))
    assert (data.noise_rate, data.clean_counts) == (None, None)
    assert set(data.clean_labels.tolist()) == {-1}
    assert known_rate(config(tmp_path)) is None
    assert known_rate(config(tmp_path, "noise=symmetric", "noise_ratio=0.2")) == 0.2


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("images/0.png 0.5 mono", "line 17 .*: the probability of a defect is not 0, 1/3, 2/3 or 1"),
        ("images/0.png -1 mono", "is not 0, 1/3, 2/3 or 1"),
        ("images/0.png nan mono", "is not 0, 1/3, 2/3 or 1"),
        ("images/0.png", "does not follow the path"),
        ("images/0.png mono 1.0", "does not follow the path"),
        ("../0.png 1.0 mono", r"has a \.\., so it may leave the data folder"),
        ("/etc/passwd 1.0 mono", "the path is absolute"),
        ("", "the line is blank"),
    ],
)
def test_a_line_that_says_something_else_is_named(tmp_path, line, message):
    write(tmp_path)
    path = tmp_path / "labels.csv"
    path.write_text(path.read_text() + line + "\n")
    with pytest.raises(DataError, match=message):
        load(tmp_path)


def test_an_image_that_is_missing_or_another_one_is_named(tmp_path, capsys):
    write(tmp_path)
    image = tmp_path / "images/3.png"
    Image.new("L", (300, 299)).save(image)
    with pytest.raises(DataError, match=r"3\.png is not a grey image of 300×300 pixels"):
        load(tmp_path)
    Image.new("RGB", (300, 300)).save(image)
    with pytest.raises(DataError, match="is not a grey image"):
        load(tmp_path)
    image.write_bytes(b"no image")
    with pytest.raises(DataError, match="is not a readable PNG image"):
        load(tmp_path)
    image.unlink()
    with pytest.raises(DataError, match=r"lacks 1 images of labels.csv, the first is images/3.png"):
        load(tmp_path)
    assert main(["check", "elpv", f"data_dir={tmp_path}", "dataset.checksum=false"]) == 2
    assert "images/3.png" in capsys.readouterr().out
    image.symlink_to("/etc/passwd")
    with pytest.raises(DataError, match=r"leads out of|leaves"):
        load(tmp_path)


@pytest.mark.skipif(
    packages.of_python("elpv_dataset") is None, reason="the Python package elpv-dataset is not installed"
)
def test_the_packages_labels_are_the_published_ones():
    data = build(compose(["dataset=elpv"]))  # with its checksums
    # 1,508 and 715 certain, 295 and 106 uncertain ones (the table of the data set's page)
    assert data.observed_counts.tolist() == [1508 - 301 + 295, 715 - 143 + 106]
    assert np.bincount(data.test.labels.numpy()).tolist() == [301, 143]
    assert data.notes == ("annotators were not certain of 401 of 2,180 labels",)
    assert elpv._folder() is not None
