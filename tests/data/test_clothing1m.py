"""Clothing1M's layout, made here in small (algorithms/data.md §2)."""

import numpy as np
import pytest
from image_lists import load, names, touch, write

from sfa_bench.data.images import Framing
from sfa_bench.errors import DataError

NOISY = {"images/4/1/b,1.jpg": 13, "images/0/9/a.jpg": 0, "images/2/2/c.jpg": 5, "images/7/7/unused.jpg": 1}
CLEAN = {"images/4/1/v.jpg": 3, "images/0/9/a.jpg": 12, "images/5/5/t.jpg": 4, "images/5/5/s.jpg": 13}
TRAIN = ["images/2/2/c.jpg", "images/4/1/b,1.jpg", "images/0/9/a.jpg", "images/4/1/b,1.jpg"]
VAL = ["images/4/1/v.jpg", "images/0/9/a.jpg"]
TEST = ["images/5/5/t.jpg", "images/5/5/s.jpg"]
ALL = [*dict.fromkeys(TRAIN + VAL + TEST)]


def pairs(labels):
    return [f"{key} {label}" for key, label in labels.items()]


@pytest.fixture
def lists(tmp_path):
    root = tmp_path / "c1m"
    write(root / "noisy_label_kv.txt", *pairs(NOISY))
    write(root / "clean_label_kv.txt", *pairs(CLEAN))
    write(root / "noisy_train_key_list.txt", *TRAIN)
    write(root / "clean_val_key_list.txt", *VAL)
    write(root / "clean_test_key_list.txt", *TEST)
    return root


@pytest.fixture
def root(lists):
    touch(lists, *ALL)
    return lists


def test_keys_find_their_classes_and_keep_their_order(root):
    source = load("clothing1m", root)
    assert names(source.train_images) == TRAIN
    assert source.train_labels.tolist() == [5, 13, 0, 13]
    assert (names(source.val_images), source.val_labels.tolist()) == (VAL, [3, 12])  # a.jpg: its clean label
    assert (names(source.test_images), source.test_labels.tolist()) == (TEST, [4, 13])
    assert source.train_images.sizes.tolist() == [1, 2, 3, 2]
    assert source.train_labels.dtype == source.val_labels.dtype == source.test_labels.dtype == np.int64


def test_views_constants_and_what_is_known_are_the_specifications(root):
    source = load("clothing1m", root)
    assert source.train_images.framing == source.val_images.framing == Framing(256, 224, "plain")
    assert (source.mean, source.std) == ((0.6959, 0.6537, 0.6371), (0.3113, 0.3192, 0.3214))
    assert (source.num_classes, source.padding, source.flip, source.by_rank) == (14, 0, True, False)
    assert (source.labels_are_clean, source.clean_labels, source.skipped) == (False, None, ())
    assert not source.more_tests


def test_images_may_lie_without_the_folder_images_as_dividemix_has_them(lists):
    touch(lists, *(name.removeprefix("images/") for name in ALL))
    source = load("clothing1m", lists)
    assert names(source.train_images) == ["2/2/c.jpg", "4/1/b,1.jpg", "0/9/a.jpg", "4/1/b,1.jpg"]
    assert source.train_labels.tolist() == [5, 13, 0, 13]
    assert source.train_images.sizes.tolist() == [1, 2, 3, 2]
    assert source.test_images.path(1).read_bytes() == b"x" * 6


def test_windows_line_ends_and_other_ways_to_write_a_path_are_the_same_keys(root):
    for path in root.glob("*.txt"):
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    write(root / "noisy_train_key_list.txt", *(f"./{name}" for name in TRAIN))
    source = load("clothing1m", root)
    assert names(source.train_images) == TRAIN
    assert source.train_labels.tolist() == [5, 13, 0, 13]


@pytest.mark.parametrize(
    ("name", "labels"),
    [("noisy_train_key_list.txt", "noisy_label_kv.txt"), ("clean_test_key_list.txt", "clean_label_kv.txt")],
)
def test_keys_without_a_class_are_named(root, name, labels):
    good = TRAIN if "train" in name else TEST
    write(root / name, good[0], "images/0/0/new.jpg", good[1], "images/7/0/newer.jpg")
    message = (
        rf"2 images of .*{name} have no class in {labels}, the first is images/0/0/new\.jpg \(line 2\): take the lists"
    )
    with pytest.raises(DataError, match=message):
        load("clothing1m", root)


def test_a_key_with_two_classes_is_refused_and_one_that_is_said_twice_is_not(root):
    write(root / "noisy_label_kv.txt", *pairs(NOISY), "images/0/9/a.jpg 0")
    assert load("clothing1m", root).train_labels.tolist() == [5, 13, 0, 13]
    write(root / "noisy_label_kv.txt", *pairs(NOISY), "images/0/9/a.jpg 1")
    with pytest.raises(DataError, match=r"noisy_label_kv\.txt gives images/0/9/a\.jpg two classes, 0 and 1"):
        load("clothing1m", root)


@pytest.mark.parametrize(
    ("name", "line", "reason"),
    [
        ("noisy_label_kv.txt", "images/x.jpg 14", "out of range, which are 0…13"),
        ("clean_label_kv.txt", "images/x.jpg", "there is no class"),
        ("noisy_train_key_list.txt", "", "blank"),
        ("noisy_train_key_list.txt", "images/../../x.jpg", r"\.\."),
        ("clean_val_key_list.txt", "/etc/passwd", "absolute"),
    ],
)
def test_a_bad_line_is_refused_by_number(root, name, line, reason):
    before = (root / name).read_text()
    (root / name).write_text(f"{before}{line}\n")
    with pytest.raises(DataError, match=rf"line {before.count(chr(10)) + 1} of .*{name} is refused: .*{reason}"):
        load("clothing1m", root)


def test_missing_images_are_counted_or_left_out_and_listed(root):
    for name in ("images/4/1/b,1.jpg", "images/4/1/v.jpg", "images/5/5/s.jpg"):
        (root / name).unlink()
    with pytest.raises(
        DataError, match=r"2 of the 4 images of noisy_train_key_list\.txt are not in .*on_bad_image=skip"
    ):
        load("clothing1m", root)
    source = load("clothing1m", root, on_bad_image="skip")
    assert source.train_labels.tolist() == [5, 0]
    assert (names(source.val_images), source.val_labels.tolist()) == (["images/0/9/a.jpg"], [12])
    assert (names(source.test_images), source.test_labels.tolist()) == (["images/5/5/t.jpg"], [4])
    assert source.skipped == (
        "train: images/4/1/b,1.jpg",
        "train: images/4/1/b,1.jpg",
        "val: images/4/1/v.jpg",
        "test: images/5/5/s.jpg",
    )


def test_what_is_missing_is_named_with_where_it_comes_from(lists, tmp_path, monkeypatch):
    with pytest.raises(DataError, match=r"none of the 4 images of noisy_train_key_list\.txt exists"):
        load("clothing1m", lists)
    (lists / "clean_label_kv.txt").unlink()
    with pytest.raises(
        DataError, match=r"c1m has no clean_label_kv\.txt: .* five lists .* authors of Clothing1M .* request"
    ):
        load("clothing1m", lists)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=r"data has no noisy_label_kv\.txt and no clean_label_kv\.txt and no "):
        load("clothing1m", "data")


def test_a_link_out_of_the_folder_is_refused(root):
    touch(root.parent / "elsewhere", "c.jpg")
    (root / "images/2/2/c.jpg").unlink()
    (root / "images/2/2/c.jpg").symlink_to(root.parent / "elsewhere/c.jpg")
    with pytest.raises(DataError, match=r"images/2/2/c\.jpg leads out of .*c1m"):
        load("clothing1m", root)
