"""What each data set looks like on the disk, where it is to be had, and which of its files are there."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from sfa_bench.config.schema import RunConfig
from sfa_bench.data.sources import (
    cifar,
    clothing1m,
    csv_file,
    fashion_mnist,
    files,
    folder,
    human,
    image_files,
    lists,
    webvision,
)
from sfa_bench.errors import DataError

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
    """What is there, by name, whether or not it can be read.

    images: names below `root` of the files that a run would open; refused: sentences of the readers on lists and
    folders, whose images are not looked for.
    """

    root: Path
    items: list[Item] = field(default_factory=list)
    images: list[bytes] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)

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
    found = Contents(root)
    if source in NO_FILES:
        return found
    if source == "fashion_mnist":
        _fashion_mnist(root, found)
    elif source in cifar.LAYOUTS:
        layout = cifar.LAYOUTS[source]
        known = layout.train | layout.test
        place = files.first_folder((root, root / layout.folder), known) or root
        found.items += [_file(place / name, root, md5) for name, md5 in known.items()]
        if config.dataset.human:
            found.items.append(_file(root / human.FILES[source], root))
    elif source == "arrays":
        found.items.append(_file(root, root.parent))
    elif source == "csv":
        found.root = root.parent
        _csv(root, found)
    else:
        _OF_LISTS_OR_FOLDERS[source](found)
    return found


def _file(path: Path, root: Path, md5: str | None = None, most: int | None = None) -> Item:
    name = os.path.relpath(path, root) if path.is_relative_to(root) else str(path)
    if not path.is_file():
        return Item(name, found=False)
    checksum = None
    if md5 is not None:
        try:
            content = files.read(path) if most is None else fashion_mnist.unpacked(path, most)
            same = hashlib.md5(content, usedforsecurity=False).hexdigest() == md5
        except DataError:  # unreadable or torn: not the official file, and the reader says why
            same = False
        checksum = "matches" if same else "differs"
    return Item(name, True, path.stat().st_size, checksum)


def _fashion_mnist(root: Path, found: Contents) -> None:
    names = [name + ending for name in fashion_mnist.MD5 for ending in ("", ".gz")]
    folders = (root, root / "FashionMNIST" / "raw", fashion_mnist.DEBIAN_FOLDER)
    place = files.first_folder(folders, names) or root
    for name, md5 in fashion_mnist.MD5.items():
        packed = place / f"{name}.gz"
        plain = place / name
        zipped = not plain.is_file() and packed.is_file()
        most = fashion_mnist.BYTES[name] if zipped else None
        found.items.append(_file(packed if zipped else plain, root, md5, most))


def _listed(path: Path, read: Callable[[Path], np.ndarray], found: Contents) -> None:
    """A list with the images that its reader takes from it."""
    item = _file(path, found.root)
    if item.found:
        with _refusal(found):
            names = read(path)
            item = replace(item, entries=len(names), absent=_look(names, found))
    found.items.append(item)


def _in_folders(name: str, folders: Sequence[str], found: Contents) -> None:
    """Folders of images as one item `name`; each of them is read on its own, so that all refusals are told."""
    entries, absent = 0, []
    for place in folders:
        if (found.root / place).is_dir():
            with _refusal(found):
                names = np.array(image_files.images_below(found.root, place))
                entries += len(names)
                absent += _look(names, found)
    found.items.append(Item(name, entries > 0, entries=entries, absent=absent))


def _look(names: np.ndarray, found: Contents) -> list[str]:
    """Keep those images that a run would open; returns the names of the others. Raises: DataError."""
    sizes, _ = image_files.stat_images(found.root, names)
    found.images += names[sizes >= 0].tolist()
    return [name.decode() for name in names[sizes < 0].tolist()]


@contextmanager
def _refusal(found: Contents) -> Iterator[None]:
    try:
        yield
    except DataError as error:
        found.refused.append(str(error))


def _webvision(found: Contents) -> None:
    def in_folder(path: Path) -> np.ndarray:
        return np.char.add(f"{webvision.VAL_FOLDER}/".encode(), webvision.first_classes(path)[0])

    _listed(found.root / webvision.TRAIN_LIST, lambda path: webvision.first_classes(path)[0], found)
    _listed(found.root / webvision.VAL_LIST, in_folder, found)
    for label in range(webvision.NUM_CLASSES):
        place = f"{webvision.IMAGENET_FOLDER}/{label}"
        _in_folders(f"{place}/", [place], found)


def _clothing1m(found: Contents) -> None:
    root = found.root
    found.items += [_file(root / name, root) for name in clothing1m.LABELS.values()]
    for name in clothing1m.KEYS.values():
        _listed(root / name, lambda path: clothing1m.on_disk(root, lists.read_names(path)), found)


def _folder(found: Contents) -> None:
    for part in ("train", "test", "val"):
        classes: list[str] | None = []
        if (found.root / part).is_dir():
            classes = None
            with _refusal(found):
                classes = folder.class_folders(found.root, part)
        if classes is None:
            found.items.append(Item(f"{part}/", found=True))
        elif part != "val" or (found.root / part).exists():
            _in_folders(f"{part}/", [f"{part}/{name}" for name in classes], found)


def _csv(path: Path, found: Contents) -> None:
    _listed(path, lambda path: np.array([row.name for _, row in csv_file.read_rows(path)], dtype=bytes), found)


_OF_LISTS_OR_FOLDERS: dict[str, Callable[[Contents], None]] = {
    "webvision": _webvision,
    "clothing1m": _clothing1m,
    "folder": _folder,
}
