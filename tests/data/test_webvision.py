"""mini-WebVision's layout, made here in small, with all that its lists can hold (algorithms/data.md §2, Q68)."""

import shutil

import numpy as np
import pytest
from image_lists import load, names, touch, write

from sfa_bench.data.images import Framing
from sfa_bench.errors import DataError

# the order of the list is neither that of the names nor that of the classes
TRAIN = [
    "google/q0007/b.jpg 7",
    "google/q0002/z.jpg 2",
    "google/q0060/x.jpg 50",
    "google/q0002/a 1.jpg 49",
    "google/q0999/x.jpg 999",
    "google/q0002/z.jpg 2",
    "google/q0001/c.jpg 0",
    "google/q0002/z.jpg 3",
]
KEPT = ["google/q0007/b.jpg", "google/q0002/z.jpg", "google/q0002/a 1.jpg"]
KEPT += ["google/q0002/z.jpg", "google/q0001/c.jpg", "google/q0002/z.jpg"]
VAL = ["val000003.jpg 49", "val000001.jpg 598", "val000002.jpg 0", "val000010.jpg 50"]


@pytest.fixture
def root(tmp_path):
    """Images exist only for the classes 0…49, as for someone who fetched no more."""
    root = tmp_path / "web"
    write(root / "info/train_filelist_google.txt", *TRAIN)
    write(root / "info/val_filelist.txt", *VAL)
    touch(root, *dict.fromkeys(KEPT))
    touch(root / "val_images_256", "val000002.jpg", "val000003.jpg")
    for c in np.random.default_rng(0).permutation(50):  # a file system lists them in any order
        touch(
            root / "imagenet/val" / str(c), *(f"ILSVRC2012_val_{n:08d}.JPEG" for n in (c * 7 + 2, 9000 - c, c * 7 + 1))
        )
    return root


def test_the_lists_order_is_kept_other_classes_are_dropped_and_a_path_may_come_twice(root):
    source = load("webvision", root)
    assert names(source.train_images) == KEPT
    assert source.train_labels.tolist() == [7, 2, 49, 2, 0, 3]
    assert source.train_images.sizes.tolist() == [1, 2, 3, 2, 4, 2]
    assert source.train_images.path(2) == root / "google/q0002/a 1.jpg"
    assert (source.train_labels.dtype, source.num_classes, source.by_rank) == (np.int64, 50, True)


def test_both_test_sets_are_there_and_imagenets_is_sorted(root):
    source = load("webvision", root)
    assert names(source.test_images) == ["val_images_256/val000003.jpg", "val_images_256/val000002.jpg"]
    assert source.test_labels.tolist() == [49, 0]
    images, labels = source.more_tests["test_imagenet"]
    assert labels.tolist() == [c for c in range(50) for _ in range(3)]
    expected = [
        f"imagenet/val/{c}/ILSVRC2012_val_{n:08d}.JPEG" for c in range(50) for n in (c * 7 + 1, c * 7 + 2, 9000 - c)
    ]
    assert names(images) == expected
    assert images.sizes.tolist() == [3, 1, 2] * 50


def test_views_constants_and_what_is_known_are_the_specifications(root):
    source = load("webvision", root, flip=False)
    assert source.train_images.framing == source.test_images.framing == Framing(320, 299, "resized")
    assert (source.mean, source.std) == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    assert (source.padding, source.flip, source.labels_are_clean) == (0, False, False)
    assert source.clean_labels is source.val_images is source.val_labels is None
    assert source.skipped == ()
    assert load("webvision", root).flip


def test_data_dir_needs_no_slash_and_may_be_relative_or_a_link(root, monkeypatch):
    (root.parent / "link").symlink_to(root)
    monkeypatch.chdir(root.parent)
    for data_dir in ("web", "web/", "./web", f"{root}/", "link"):
        source = load("webvision", data_dir)
        assert names(source.train_images) == KEPT
        assert source.train_images.path(0).read_bytes() == b"x"
        assert source.test_images.path(1).read_bytes() == b"x"


@pytest.mark.parametrize(
    "line", ["google/../../secret.jpg 3", "/etc/passwd 3", "google/q1/x.jpg", "", "google/x.jpg -1"]
)
@pytest.mark.parametrize("name", ["train_filelist_google.txt", "val_filelist.txt"])
def test_a_bad_line_is_refused_by_number(root, name, line):
    write(root / "info" / name, *(TRAIN if name.startswith("train") else VAL)[:2], line)
    with pytest.raises(DataError, match=rf"line 3 of .*info/{name} is refused"):
        load("webvision", root)


@pytest.mark.parametrize("link", ["google/q0001", "google/q0001/c.jpg", "val_images_256", "imagenet/val/7", "imagenet"])
def test_links_out_of_the_folder_are_refused_wherever_they_are(root, link):
    outside = root.parent / "outside"
    shutil.move(root / link, outside)
    (root / link).symlink_to(outside)
    with pytest.raises(DataError, match=rf"{link}.* leads out of .*web, to .*outside.* by a symbolic link"):
        load("webvision", root)
    shutil.move(outside, root / "moved")
    (root / link).unlink()
    (root / link).symlink_to(root / "moved")
    assert names(load("webvision", root).train_images) == KEPT


def test_missing_images_are_counted_or_left_out_and_listed(root):
    (root / "google/q0002/z.jpg").unlink()
    (root / "val_images_256/val000002.jpg").unlink()
    message = r"3 of the 6 images of info/train_filelist_google\.txt are not in .*web: google/q0002/z\.jpg, .*=skip"
    with pytest.raises(DataError, match=message):
        load("webvision", root)
    source = load("webvision", root, on_bad_image="skip")
    assert names(source.train_images) == [KEPT[0], KEPT[2], KEPT[4]]
    assert source.train_labels.tolist() == [7, 49, 0]
    assert source.test_labels.tolist() == [49]
    assert source.skipped == (*["train: google/q0002/z.jpg"] * 3, "test: val_images_256/val000002.jpg")


def test_a_missing_image_of_imagenets_is_listed_too(root):
    (root / "imagenet/val/0/gone.JPEG").symlink_to("nowhere.JPEG")
    source = load("webvision", root, on_bad_image="skip")
    assert source.skipped == ("test_imagenet: imagenet/val/0/gone.JPEG",)
    assert len(source.more_tests["test_imagenet"][0]) == len(source.more_tests["test_imagenet"][1]) == 150


def test_lists_alone_are_refused_in_both_modes(root):
    shutil.rmtree(root / "google")
    for mode in ("error", "skip"):
        with pytest.raises(DataError, match=r"none of the 6 images of info/train.* put the images there"):
            load("webvision", root, on_bad_image=mode)


def test_what_is_missing_is_named_with_where_it_comes_from(root, tmp_path, monkeypatch):
    shutil.rmtree(root / "imagenet/val/17")
    with pytest.raises(
        DataError, match=r"web has no imagenet/val/17: .*imagenet/val/0 … imagenet/val/49, by WebVision's"
    ):
        load("webvision", root)
    shutil.rmtree(root / "imagenet")
    touch(root, "imagenet/val/n01440764/x.JPEG")
    with pytest.raises(DataError, match=r"web has no imagenet/val/0: .*ILSVRC-2012 validation images"):
        load("webvision", root)
    shutil.rmtree(root / "imagenet")
    (root / "info/val_filelist.txt").unlink()
    with pytest.raises(DataError, match=r"web has no info/val_filelist\.txt and no imagenet/val: .*WebVision 1\.0"):
        load("webvision", root)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=r"data has no info/train_filelist_google\.txt and no .* the site of WebVision"):
        load("webvision", "data")
    with pytest.raises(DataError, match=r"data_dir=nowhere does not exist"):
        load("webvision", "nowhere")


def test_folders_of_further_classes_are_not_read_and_an_empty_one_is_refused(root):
    touch(root, "imagenet/val/50/x.JPEG", "imagenet/val/n01440764/x.JPEG", "imagenet/val/3/readme.txt")
    assert len(load("webvision", root).more_tests["test_imagenet"][0]) == 150
    shutil.rmtree(root / "imagenet/val/3")
    touch(root, "imagenet/val/3/readme.txt")
    with pytest.raises(DataError, match=r"imagenet/val/3 holds no image \(other files: 1\)"):
        load("webvision", root)


def test_a_list_of_other_classes_only_is_refused(root):
    write(root / "info/val_filelist.txt", "val000001.jpg 598", "val000002.jpg 50")
    with pytest.raises(DataError, match=r"val_filelist\.txt names no image of the classes 0…49"):
        load("webvision", root)


def test_names_of_classes_are_those_of_its_list(root):
    assert load("webvision", root).class_names is None
    lines = [f"n{k:08d} thing {k}" for k in range(1000)]
    write(root / "info/synsets.txt", *lines)
    assert load("webvision", root).class_names == tuple(lines[:50])
    write(root / "info/synsets.txt", *lines[:49])
    assert load("webvision", root).class_names is None
