"""Small copies of layouts: what official readers and Pillow find in them, not what our own code says."""

import csv
import gzip
import pickle
import shlex

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from sklearn.linear_model import LogisticRegression

from sfa_bench.choices.code import load
from sfa_bench.config.compose import compose
from sfa_bench.data import build
from sfa_bench.data.sources import cifar, fashion_mnist, human
from sfa_bench.data.sources.mlbench import TABLES
from sfa_bench.data.tools.command import main
from sfa_bench.data.tools.fake import layouts, make_fake
from sfa_bench.errors import ConfigError

IMAGES = ("webvision", "clothing1m", "folder", "csv")


def small(name, folder, seed=0, size=3):
    if name in TABLES:
        pytest.importorskip("rdata", reason="the Python package rdata, which writes R's files, is not installed")
    side = 24 if load(layouts()[name]).side else None
    return make_fake(name, folder, size, seed, side)


def lines(path):
    return path.read_text().splitlines()


@pytest.mark.parametrize("name", layouts())
def test_equal_seeds_make_equal_files_and_other_seeds_others(tmp_path, contents, name):
    for place, seed in (("a", 1), ("b", 1), ("c", 2)):
        small(name, tmp_path / place, seed)
    first, again, other = (contents(tmp_path / place) for place in "abc")
    assert first == again
    assert first != other


@pytest.mark.parametrize("name", layouts())
def test_a_folder_that_holds_anything_is_refused_and_left_alone(tmp_path, contents, name):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(ConfigError, match="nothing is overwritten"):
        make_fake(name, tmp_path)
    assert contents(tmp_path) == {"mine.txt": b"mine"}


@pytest.mark.parametrize("name", IMAGES)
def test_pillow_opens_every_image_and_they_differ_in_size(tmp_path, name):
    small(name, tmp_path)
    sizes, modes = set(), set()
    files = [path for path in tmp_path.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg")]
    for path in files:
        with Image.open(path) as image:
            image.load()
            sizes.add(image.size)
            modes.add(image.mode)
            assert image.format == "JPEG"
    assert len(sizes) > len(files) / 3
    assert modes == {"RGB", "L"} or len(files) < 30


def test_webvision_has_its_lists_and_classes_beyond_the_first_fifty(tmp_path):
    small("webvision", tmp_path, size=4)
    train = [line.rsplit(" ", 1) for line in lines(tmp_path / "info/train_filelist_google.txt")]
    labels = np.array([int(label) for _, label in train])
    assert np.bincount(labels)[:50].tolist() == [4] * 50
    assert (labels >= 50).sum() == 3
    assert all((tmp_path / name).is_file() and name.startswith("google/q") for name, _ in train)
    val = [line.split(" ") for line in lines(tmp_path / "info/val_filelist.txt")]
    assert sorted(int(label) for _, label in val if int(label) < 50) == list(range(50))
    assert len(val) == 53
    assert all((tmp_path / "val_images_256" / name).is_file() for name, _ in val)
    assert sorted(int(p.name) for p in (tmp_path / "imagenet/val").iterdir()) == list(range(50))
    assert all(len(list(p.iterdir())) == 1 for p in (tmp_path / "imagenet/val").iterdir())


def test_clothing1m_has_its_five_lists_with_labels_for_every_key(tmp_path):
    small("clothing1m", tmp_path, size=8)
    keys = {part: lines(tmp_path / f"{part}_key_list.txt") for part in ("noisy_train", "clean_val", "clean_test")}
    assert [len(k) for k in keys.values()] == [14 * 8, 14 * 2, 14 * 2]
    every = [key for part in keys.values() for key in part]
    assert len(set(every)) == len(every)
    assert all(key.startswith("images/") and (tmp_path / key).is_file() for key in every)
    labels = {
        kind: dict(line.rsplit(" ", 1) for line in lines(tmp_path / f"{kind}_label_kv.txt"))
        for kind in ("noisy", "clean")
    }
    assert set(keys["noisy_train"]) <= labels["noisy"].keys()
    assert labels["clean"].keys() == {*keys["clean_val"], *keys["clean_test"]}
    assert sorted(map(int, labels["clean"].values())) == sorted([*range(14)] * 4)
    both = labels["clean"].keys() & labels["noisy"].keys()
    assert any(labels["clean"][key] != labels["noisy"][key] for key in both)


def test_a_csv_tells_true_labels_from_given_ones_and_a_folder_has_the_same_classes_twice(tmp_path):
    small("csv", tmp_path / "c", size=20)
    with open(tmp_path / "c/data.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["split"] for row in rows} == {"train", "test"}
    assert all((tmp_path / "c" / row["path"]).is_file() for row in rows)
    wrong = [row["split"] for row in rows if row["label"] != row["clean_label"]]
    assert set(wrong) == {"train"}
    assert 15 <= len(wrong) <= 45  # 30 of 100 are expected
    small("folder", tmp_path / "f")
    train, test = (sorted(p.name for p in (tmp_path / "f" / part).iterdir()) for part in ("train", "test"))
    assert train == test
    assert len(train) == 5


def test_cifars_batches_are_what_torchvision_reads(tmp_path):
    small("cifar10", tmp_path, size=7)
    batches = [pickle.loads((tmp_path / f"data_batch_{n}").read_bytes(), encoding="latin1") for n in range(1, 6)]
    assert [len(b["labels"]) for b in batches] == [14] * 5
    assert all(b["data"].dtype == np.uint8 and b["data"].shape == (14, 3072) for b in batches)
    assert (tmp_path / "data_batch_1").read_bytes()[:2] == b"\x80\x02"  # pickle's protocol 2, which Python 2 reads
    source = cifar.read("cifar10", tmp_path, checksum=False)
    assert source.train_labels.tolist() == [label for b in batches for label in b["labels"]]
    assert np.bincount(source.train_labels).tolist() == [7] * 10
    pixels = np.concatenate([b["data"] for b in batches]).reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    assert np.array_equal(source.train_images, pixels)


def test_cifar100_has_fine_and_coarse_labels(tmp_path):
    small("cifar100", tmp_path, size=2)
    train = pickle.loads((tmp_path / "train").read_bytes(), encoding="latin1")
    assert np.bincount(train["fine_labels"]).tolist() == [2] * 100
    assert np.bincount(train["coarse_labels"]).tolist() == [10] * 20
    # algorithms/data.md §4.2: trees are 47 52 56 59 96, coarse class 17
    trees = {f for f, c in zip(train["fine_labels"], train["coarse_labels"], strict=True) if c == 17}
    assert trees == {47, 52, 56, 59, 96}
    assert len(cifar.read("cifar100", tmp_path, checksum=False).test_labels) == 100


def test_torchvision_reads_the_files_of_fashion_mnist(tmp_path):
    small("fashion_mnist", tmp_path / "FashionMNIST/raw", size=4)
    for path in (tmp_path / "FashionMNIST/raw").iterdir():
        path.with_suffix("").write_bytes(gzip.decompress(path.read_bytes()))
    theirs = torchvision.datasets.FashionMNIST(tmp_path, train=True)
    ours = fashion_mnist.read(tmp_path, checksum=False)
    assert np.array_equal(theirs.data.numpy(), ours.train_images[..., 0])
    assert theirs.targets.tolist() == ours.train_labels.tolist()
    assert torch.bincount(theirs.targets).tolist() == [4] * 10


def test_labels_of_people_are_as_the_release_says_of_its_own(tmp_path):
    small("cifar10n", tmp_path / "ten", size=60)
    path = tmp_path / "ten/CIFAR-10_human.pt"
    with torch.serialization.safe_globals(human.ADMITTED):
        content = torch.load(path, weights_only=True)
    clean = cifar.read("cifar10", tmp_path / "ten", checksum=False).train_labels
    assert content["clean_label"].tolist() == clean.tolist()
    assert all(isinstance(v, np.ndarray) and v.dtype == np.int64 for v in content.values())
    people = np.stack([content[f"random_label{n}"] for n in (1, 2, 3)])
    # algorithms/data.md §5: wrong in the worst labels exactly where at least one of the three is wrong
    assert np.array_equal(content["worse_label"] != clean, (people != clean).any(axis=0))
    assert (content["worse_label"] == people).any(axis=0).all()
    for column, chosen in zip(people.T, content["aggre_label"], strict=True):
        values, counts = np.unique(column, return_counts=True)
        assert chosen in (values[counts.argmax()],) if counts.max() > 1 else chosen in column
    assert (content["aggre_label"] != clean).mean() < (content["worse_label"] != clean).mean()
    small("cifar100n", tmp_path / "hundred", size=3)
    labels = cifar.read("cifar100", tmp_path / "hundred", checksum=False).train_labels
    noisy = human.load(tmp_path / "hundred/CIFAR-100_human.pt", "noisy", labels, 100)
    assert 0.3 < (noisy != labels).mean() < 0.5


@pytest.mark.parametrize("name", layouts())
def test_what_is_printed_trains_on_what_was_made(tmp_path, capsys, name):
    if name in TABLES:
        pytest.importorskip("rdata", reason="the Python package rdata, which writes R's files, is not installed")
    assert main(["make-fake", name, str(tmp_path / "d"), "--size", "4"]) == 0
    shown = capsys.readouterr().out.splitlines()[-1]
    words = shlex.split(shown)
    assert words[:2] == ["python", "run.py"]
    data = build(compose(words[2:]))
    assert len(data.index) > 0
    if name == "arrays":
        assert data.noise_rate > 0


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["digits", "x"], "digits comes with scikit-learn and has no files: set dataset=digits"),
        (["synthetic", "x"], "drawn from data_seed and has no files"),
        (["imagenet", "x"], "make-fake knows no layout imagenet: it makes fashion_mnist, cifar10"),
        (["cifar10", "x", "--side", "64"], "--side 64 has no effect on cifar10"),
        (["csv", "x", "--side", "4"], "16 to 1,024"),
        (["csv", "x", "--size", "0"], "--size 0: training images a class, 1 to"),
        (["csv", "x", "--seed", "-1"], "a whole number from 0 on"),
    ],
)
def test_what_cannot_be_made_is_refused_in_a_sentence(tmp_path, monkeypatch, capsys, arguments, sentence):
    monkeypatch.chdir(tmp_path)
    assert main(["make-fake", *arguments]) == 2
    assert sentence in capsys.readouterr().err
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("name", ["fashion_mnist", "cifar10"])
def test_classes_can_be_told_apart(tmp_path, name):
    small(name, tmp_path, size=40)
    read = fashion_mnist.read(tmp_path, False) if name == "fashion_mnist" else cifar.read(name, tmp_path, False)
    train, test = (x.reshape(len(x), -1) / 255 for x in (read.train_images, read.test_images))
    model = LogisticRegression(max_iter=200).fit(train, read.train_labels)
    assert model.score(test, read.test_labels) > 0.8
