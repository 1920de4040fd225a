"""What each data set looks like on the disk, where it is to be had, and which of its files are there."""

from __future__ import annotations

import csv
import gzip
import hashlib
import os
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from sfa_bench.config.schema import RunConfig
from sfa_bench.data.sources import cifar, fashion_mnist, files, human
from sfa_bench.data.tools.fake import WEBVISION_CLASSES

HUMAN = "CIFAR-N's labels: data/ of https://github.com/UCSC-REAL/cifar-10-100n"
CIFAR = "https://www.cs.toronto.edu/~kriz/cifar.html (Python version); without data_dir, run.py downloads it into data/"
# How the files lie, and who gives them away.
TREES = {
    "fashion_mnist": """\
DATA_DIR/                        or DATA_DIR/FashionMNIST/raw/, or Debian's package
├── train-images-idx3-ubyte      each of them also as .gz
├── train-labels-idx1-ubyte
├── t10k-images-idx3-ubyte
└── t10k-labels-idx1-ubyte""",
    "cifar10": """\
DATA_DIR/                        or DATA_DIR/cifar-10-batches-py/
├── data_batch_1 … data_batch_5
└── test_batch""",
    "cifar100": """\
DATA_DIR/                        or DATA_DIR/cifar-100-python/
├── train
└── test""",
    "webvision": """\
DATA_DIR/
├── info/
│   ├── train_filelist_google.txt   lines "google/q0001/abc.jpg 0"
│   └── val_filelist.txt            lines "val000001.jpg 0"
├── google/q0001/abc.jpg …          as the first list says, classes 0–49
├── val_images_256/val000001.jpg …
└── imagenet/val/
    ├── 0/*                         ImageNet's validation images of WebVision's class 0
    └── … 49/*""",
    "clothing1m": """\
DATA_DIR/
├── noisy_label_kv.txt          lines "images/0/00/abc.jpg 3"
├── clean_label_kv.txt
├── noisy_train_key_list.txt    lines "images/0/00/abc.jpg"
├── clean_val_key_list.txt
├── clean_test_key_list.txt
└── images/0/00/abc.jpg …       or 0/00/abc.jpg …, where DATA_DIR is the folder images itself""",
    "arrays": """\
data_dir=FILE.npz
├── x_train         uint8 [N, H, W] or [N, H, W, C]
├── y_train         integers 0…K-1, as they are (perhaps wrong)
├── y_train_clean   the true ones, where known (optional)
├── x_test
└── y_test""",
    "folder": """\
DATA_DIR/
├── train/
│   ├── first_class/*.jpg …    a folder for each class
│   └── second_class/*.jpg …
├── test/                      the same folders
└── val/                       the same (optional)""",
    "csv": """\
FOLDER/
├── FILE.csv                   data_dir=FOLDER/FILE.csv
│                              path,label,split[,clean_label]
│                              images/a.jpg,0,train,0
└── images/a.jpg …             paths are relative to the .csv""",
}
ALONGSIDE = {  # of CIFAR-N, below the tree of its images
    source: f"and, for the labels that people gave,\nDATA_DIR/{name}" for source, name in human.FILES.items()
}
WHERE = {
    "fashion_mnist": "Debian's package dataset-fashion-mnist, or https://github.com/zalandoresearch/fashion-mnist; "
    "without data_dir, run.py downloads it into data/",
    "cifar10": CIFAR,
    "cifar100": CIFAR,
    "webvision": "https://data.vision.ee.ethz.ch/cvl/webvision/dataset2017.html (version 1.0: Google's images, "
    "validation images, info), https://image-net.org (ILSVRC-2012 validation images)",
    "clothing1m": "its authors give it away on request: https://github.com/Cysu/noisy_label",
    "arrays": "yours: numpy.savez(FILE, x_train=…, y_train=…, x_test=…, y_test=…)",
    "folder": "yours",
    "csv": "yours",
}
OF_FILES = ("webvision", "clothing1m", "folder", "csv")  # whose images are files of their own
ENDINGS = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".gif")
NO_FILES = ("digits", "synthetic")


@dataclass(frozen=True)
class Item:
    """A file or folder that the data set needs.

    checksum: `matches` or `differs` from the official one, None where there is none or nothing to compare;
    entries: images that a list names or a folder holds; absent: those of them that are not there.
    """

    path: str
    found: bool
    size: int | None = None
    checksum: str | None = None
    entries: int | None = None
    absent: list[str] = field(default_factory=list)


@dataclass
class Contents:
    """What is there, by name, whether or not it can be read."""

    items: list[Item] = field(default_factory=list)
    images: list[str] = field(default_factory=list)  # paths of those that are there

    @property
    def missing(self) -> list[str]:
        """Names of what is not there, files of lists included."""
        return [item.path for item in self.items if not item.found] + [a for item in self.items for a in item.absent]


def tree(config: RunConfig) -> str:
    """The expected layout as a drawing."""
    source = config.dataset.source
    return TREES[source] + (f"\n{ALONGSIDE[source]}" if config.dataset.human else "")


def where(config: RunConfig) -> str:
    """Where the files come from."""
    source = config.dataset.source
    return WHERE[source] + (f"; {HUMAN}" if config.dataset.human else "")


def contents(config: RunConfig) -> Contents:
    """Look for every file of the data set. Nothing is decoded; checksums are compared where official ones exist."""
    source, root = config.dataset.source, Path(config.data_dir).expanduser()
    found = Contents()
    if source in NO_FILES:
        return found
    if source == "fashion_mnist":
        _fashion_mnist(root, found)
    elif source in cifar.LAYOUTS:
        layout = cifar.LAYOUTS[source]
        known = layout.train | layout.test
        folder = files.first_folder((root, root / layout.folder), known) or root
        found.items += [_file(folder / name, root, md5) for name, md5 in known.items()]
        if config.dataset.human:
            found.items.append(_file(root / human.FILES[source], root))
    elif source == "arrays":
        found.items.append(_file(root, root.parent))
    else:
        _WITH_IMAGES[source](root, found)
    return found


def _file(path: Path, root: Path, md5: str | None = None, unpack: bool = False) -> Item:
    name = os.path.relpath(path, root) if path.is_relative_to(root) else str(path)
    if not path.is_file():
        return Item(name, found=False)
    checksum = None
    if md5 is not None:
        try:
            content = path.read_bytes()
            content = gzip.decompress(content) if unpack else content
            same = hashlib.md5(content, usedforsecurity=False).hexdigest() == md5
        except (OSError, EOFError, zlib.error):  # unreadable or torn: not the official file, and the reader says why
            same = False
        checksum = "matches" if same else "differs"
    return Item(name, True, path.stat().st_size, checksum)


def _fashion_mnist(root: Path, found: Contents) -> None:
    names = [name + ending for name in fashion_mnist.MD5 for ending in ("", ".gz")]
    folders = (root, root / "FashionMNIST" / "raw", fashion_mnist.DEBIAN_FOLDER)
    folder = files.first_folder(folders, names) or root
    for name, md5 in fashion_mnist.MD5.items():
        packed = folder / f"{name}.gz"
        plain = folder / name
        zipped = not plain.is_file() and packed.is_file()
        found.items.append(_file(packed if zipped else plain, root, md5, unpack=zipped))


class _Present:
    """Which files are there: each folder is read once, which on network disks is faster than asking for each file.

    Paths are texts: a list may name a million.
    """

    def __init__(self) -> None:
        self.folders: dict[str, frozenset[str]] = {}

    def __call__(self, path: str) -> bool:
        folder, _, name = path.rpartition("/")
        if folder not in self.folders:
            self.folders[folder] = frozenset(_names(folder))
        return name in self.folders[folder]


def _names(folder: Path | str) -> list[str]:
    """Names in a folder, sorted, without hidden ones; none where there is no such folder."""
    try:
        return sorted(name for name in os.listdir(folder) if not name.startswith("."))
    except OSError:
        return []


def _images_below(folder: str) -> list[str]:
    """Paths of the images in a folder and in its folders, sorted."""
    found = []
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        usual = (name for name in names if name.lower().endswith(ENDINGS) and not name.startswith("."))
        found += [f"{place}/{name}" for name in sorted(usual)]
    return found


def _words(path: Path) -> Iterator[list[str]]:
    """The lines of a list, each split at its last blank. Lines that mean nothing are the reader's to refuse."""
    try:
        with path.open(encoding="utf-8", errors="replace") as lines:
            for line in lines:
                if words := line.rsplit(maxsplit=1):
                    yield words
    except OSError:
        return


def _list(path: Path, root: Path, entries: Iterable[str], found: Contents, present: _Present) -> None:
    """A list file with the images that it names, relative to `root`. Those outside are the reader's to refuse."""
    item = _file(path, root)
    if not item.found:
        found.items.append(item)
        return
    absent, count = [], 0
    for name in entries:
        if name.startswith("/") or ".." in name.split("/"):
            continue
        count += 1
        if present(f"{root}/{name}"):
            found.images.append(f"{root}/{name}")
        else:
            absent.append(name)
    found.items.append(replace(item, entries=count, absent=absent))


def _webvision(root: Path, found: Contents) -> None:
    present = _Present()
    for name, below in (("train_filelist_google.txt", ""), ("val_filelist.txt", "val_images_256/")):
        path = root / "info" / name
        kept = (
            below + words[0]
            for words in _words(path)
            if len(words) == 2 and words[1].isdecimal() and int(words[1]) < WEBVISION_CLASSES
        )
        _list(path, root, kept, found, present)
    for label in range(WEBVISION_CLASSES):
        images = _images_below(f"{root}/imagenet/val/{label}")
        found.images += images
        found.items.append(Item(f"imagenet/val/{label}/", bool(images), entries=len(images)))


def _clothing1m(root: Path, found: Contents) -> None:
    found.items += [_file(root / f"{kind}_label_kv.txt", root) for kind in ("noisy", "clean")]
    prefix = "" if (root / "images").is_dir() else "images/"  # some move the lists into the folder of images
    present = _Present()
    for part in ("noisy_train", "clean_val", "clean_test"):
        path = root / f"{part}_key_list.txt"
        keys = (" ".join(words).removeprefix(prefix) for words in _words(path))
        _list(path, root, keys, found, present)


def _folder(root: Path, found: Contents) -> None:
    for part in ("train", "test", "val"):
        classes = [name for name in _names(root / part) if (root / part / name).is_dir()]
        images = [image for label in classes for image in _images_below(f"{root}/{part}/{label}")]
        found.images += images
        if classes or part != "val":
            found.items.append(Item(f"{part}/", bool(images), entries=len(images)))


def _csv(path: Path, found: Contents) -> None:
    _list(path, path.parent, _csv_images(path), found, _Present())


def _csv_images(path: Path) -> Iterator[str]:
    try:
        with path.open(newline="", encoding="utf-8-sig", errors="replace") as file:
            for row in csv.DictReader(file):
                if row.get("path"):
                    yield row["path"]
    except (OSError, csv.Error):  # the reader says what is wrong
        return


_WITH_IMAGES: dict[str, Callable[[Path, Contents], None]] = {
    "webvision": _webvision,
    "clothing1m": _clothing1m,
    "folder": _folder,
    "csv": _csv,
}
