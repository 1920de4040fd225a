"""A user's own images in folders (algorithms/data.md §2)."""

import shutil

import numpy as np
import pytest
from image_lists import load, names, touch

from sfa_bench.config.compose import compose
from sfa_bench.data import sources
from sfa_bench.data.images import Framing
from sfa_bench.errors import DataError


@pytest.fixture
def root(tmp_path):
    root = tmp_path / "mine"
    touch(root / "train", "cat/b.jpg", "zebra/z.png", "cat/a.JPG", "ant/deep/er/1.jpeg", "ant/x.gif")
    touch(root / "test", "zebra/q.jpg", "ant/p.jpg")
    return root


def test_the_sorted_folders_of_the_training_part_are_the_classes(root):
    source = load("folder", root)
    expected = ["ant/deep/er/1.jpeg", "ant/x.gif", "cat/a.JPG", "cat/b.jpg", "zebra/z.png"]
    assert names(source.train_images) == [f"train/{name}" for name in expected]
    assert source.train_labels.tolist() == [0, 0, 1, 1, 2]
    assert source.train_images.sizes.tolist() == [4, 5, 3, 1, 2]
    assert names(source.test_images) == ["test/ant/p.jpg", "test/zebra/q.jpg"]
    assert source.test_labels.tolist() == [0, 2]  # no cats to test on, which changes no number
    assert (source.num_classes, source.train_labels.dtype) == (3, np.int64)


def test_what_a_run_is_told_of_them(root):
    source = load("folder", root)
    assert (source.labels_are_clean, source.clean_labels, source.val_images, source.val_labels) == (False, *[None] * 3)
    assert (source.mean, source.std) == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    assert (source.padding, source.flip, source.by_rank, source.skipped) == (0, True, False, ())
    typed = ["dataset=folder", "dataset.name=mine", "dataset.crop=64", "dataset.resize=72", "dataset.flip=false"]
    config = compose([*typed, "dataset.random_crop=plain", f"data_dir={root}"])
    source = sources.load(config.dataset, config.data_dir)
    assert source.train_images.framing == source.test_images.framing == Framing(72, 64, "plain")
    assert not source.flip


def test_folders_that_are_numbers_are_sorted_as_numbers(tmp_path):
    touch(tmp_path, *(f"{part}/{c}/{c}.jpg" for part in ("train", "test") for c in (10, 9, 2, 100)))
    source = load("folder", tmp_path)
    assert names(source.train_images) == [f"train/{c}/{c}.jpg" for c in (2, 9, 10, 100)]
    assert source.test_labels.tolist() == [0, 1, 2, 3]
    touch(tmp_path, "train/cat/x.jpg")
    assert names(load("folder", tmp_path).train_images)[:2] == ["train/10/10.jpg", "train/100/100.jpg"]


def test_a_validation_part_is_taken_where_it_is(root):
    touch(root, "val/cat/v.jpg", "val/zebra/w.jpg", "val/cat/u.jpg")
    source = load("folder", root)
    assert names(source.val_images) == ["val/cat/u.jpg", "val/cat/v.jpg", "val/zebra/w.jpg"]
    assert source.val_labels.tolist() == [1, 1, 2]
    touch(root, "val/dog/v.jpg")
    with pytest.raises(DataError, match=r"val/dog is a class without training images"):
        load("folder", root)


def test_files_beside_the_images_and_hidden_ones_are_left_alone(root):
    before = names(load("folder", root).train_images)
    touch(root, "readme.md", "train/labels.txt", "train/.DS_Store", "train/cat/._a.jpg", "train/cat/thumbs.db")
    touch(root, ".sfa_bench/x.jpg", "train/.sfa_bench/y.jpg", "train/cat/.ipynb_checkpoints/b.jpg")
    assert names(load("folder", root).train_images) == before


def remove(*folders):
    return lambda root: [shutil.rmtree(root / folder) for folder in folders]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (remove("train"), r"mine has no train: dataset=folder reads data_dir/train/<class>/…"),
        (remove("train", "test"), r"mine has no train and no test: dataset=folder reads"),
        (remove("train/cat", "train/ant"), r"mine/train has 1 class folder\(s\); at least two are needed"),
        (remove("test/ant", "test/zebra"), r"mine/test has no class folder; dataset=folder reads"),
        (
            lambda root: touch(root, "test/dog/d.jpg"),
            r"test/dog is a class without training images: .*/train has no fol",
        ),
        (lambda root: (root / "train/dog").mkdir(), r"train/dog holds no image; images end in \.jpg"),
        (
            lambda root: touch(root, "train/dog/d.tar", "train/dog/d.csv"),
            r"train/dog holds no image \(other files: 2\)",
        ),
        (lambda root: (root / "test/cat").mkdir(), r"test/cat holds no image"),
        (lambda root: touch(root, "train/lost.jpg"), r"train/lost\.jpg lies in no class folder; dataset=folder reads"),
    ],
)
def test_a_folder_in_another_order_is_refused(root, change, message):
    change(root)
    with pytest.raises(DataError, match=message) as refused:
        load("folder", root)
    assert "\n" not in str(refused.value)


def test_a_file_as_data_dir_is_refused(root):
    with pytest.raises(DataError, match=r"zebra/z\.png has no train and no test"):
        load("folder", root / "train/zebra/z.png")


@pytest.mark.parametrize("link", ["train", "train/cat", "train/ant/deep", "train/cat/b.jpg", "test/zebra"])
def test_links_out_of_the_folder_are_refused_and_links_inside_are_followed(root, link):
    labels = load("folder", root).train_labels.tolist()
    outside = root.parent / "outside"
    shutil.move(root / link, outside)
    (root / link).symlink_to(outside)
    with pytest.raises(DataError, match=rf"{link}.* leads out of .*mine, to .*outside"):
        load("folder", root)
    shutil.move(outside, root / "pool")
    (root / link).unlink()
    (root / link).symlink_to(root / "pool")
    assert load("folder", root).train_labels.tolist() == labels


def test_dangling_links_are_missing_images(root):
    (root / "train/cat/c.jpg").symlink_to("none.jpg")
    with pytest.raises(DataError, match=r"1 of the 6 images of train are not in .*mine: train/cat/c\.jpg; fetch them"):
        load("folder", root)
    source = load("folder", root, on_bad_image="skip")
    assert source.train_labels.tolist() == [0, 0, 1, 1, 2]
    assert source.skipped == ("train: train/cat/c.jpg",)


def test_files_that_pillow_reads_are_images_whatever_they_are_called(tmp_path):
    endings = "jpg jpeg jfif png tif tiff ppm pgm pbm bmp gif webp jp2 tga TIF Pgm"
    for part in ("train", "test"):
        touch(tmp_path, *(f"{part}/{c}/{i}.{ending}" for c in "ab" for i, ending in enumerate(endings.split())))
    assert load("folder", tmp_path).train_labels.tolist() == [0] * 16 + [1] * 16


def test_other_files_are_counted_and_named_by_their_ending(root):
    touch(root, "train/labels.txt", "train/cat/a.TXT", "train/cat/thumbs.db", "test/zebra/README", "train/.hidden")
    source = load("folder", root)
    assert source.left_out == {".txt": 2, "": 1, ".db": 1}
    assert source.notes == ("left out 4 files that are not images: 2 .txt, 1 without an ending, 1 .db",)
    touch(root, *(f"train/cat/x.e{i:02d}" for i in range(30)))
    assert load("folder", root).left_out == {".txt": 2, "": 1, ".db": 1} | {f".e{i:02d}": 1 for i in range(7)} | {
        "others": 23
    }


def test_classes_are_called_as_their_folders(root):
    assert load("folder", root).class_names == ("ant", "cat", "zebra")


def test_folders_whose_names_are_one_to_unicode_are_one_class(tmp_path):
    composed, apart = "caf\u00e9", "cafe\u0301"
    touch(tmp_path, f"train/{composed}/1.jpg", f"train/{apart}/2.jpg", "train/x/3.jpg", f"test/{apart}/4.jpg")
    source = load("folder", tmp_path)
    assert source.class_names == (composed, "x")
    assert (source.train_labels.tolist(), source.test_labels.tolist()) == ([0, 0, 1], [0])
    assert source.notes[0].startswith("1 folder(s) of train have the name of another one in another form of Unicode")
    shutil.rmtree(tmp_path / "train" / composed)
    assert load("folder", tmp_path).notes == ()
