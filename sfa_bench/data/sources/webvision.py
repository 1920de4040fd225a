"""mini-WebVision: classes 0–49 of WebVision 1.0's Google images, and two test sets (algorithms/data.md §1–2)."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sfa_bench.data.sources import image_files, lists
from sfa_bench.data.sources.contents import Contents, Files, in_folders, listed
from sfa_bench.data.sources.names import listed_names
from sfa_bench.data.types import Source
from sfa_bench.errors import DataError

if TYPE_CHECKING:
    from sfa_bench.choices.sources import DatasetConfig

NUM_CLASSES = 50
TRAIN_LIST, VAL_LIST = "info/train_filelist_google.txt", "info/val_filelist.txt"
NAMES = "info/synsets.txt"  # a line a class
VAL_FOLDER, IMAGENET_FOLDER = "val_images_256", "imagenet/val"
NEEDS = (
    "dataset=webvision needs in data_dir what the site of WebVision 1.0 offers (info/ with its lists, the Google "
    "images under google/, the validation images in val_images_256/) and ImageNet's ILSVRC-2012 validation images in "
    f"{IMAGENET_FOLDER}/0 … {IMAGENET_FOLDER}/{NUM_CLASSES - 1}, by WebVision's class numbers"
)


def load(dataset: DatasetConfig, data_dir: Path, seed: int) -> Source:
    """Training images in the order of their list; the test set is WebVision's validation set of the same classes, and
    ImageNet's is `more_tests["test_imagenet"]`.

    Raises: DataError with a sentence for everything that is missing or broken.
    """
    image_files.require(data_dir, (TRAIN_LIST, VAL_LIST, VAL_FOLDER, IMAGENET_FOLDER), NEEDS)
    left_out: Counter[str] = Counter()
    imagenet_names, imagenet_labels = _imagenet(data_dir, left_out)
    train_names, train_labels = first_classes(data_dir / TRAIN_LIST)
    test_names, test_labels = first_classes(data_dir / VAL_LIST)
    test_names = np.char.add(f"{VAL_FOLDER}/".encode(), test_names)

    listed_parts = (
        ("train", train_names, train_labels, TRAIN_LIST),
        ("test", test_names, test_labels, VAL_LIST),
        ("test_imagenet", imagenet_names, imagenet_labels, IMAGENET_FOLDER),
    )
    return image_files.source(
        dataset,
        {
            part: image_files.find(dataset, data_dir, names, labels, part, place)
            for part, names, labels, place in listed_parts
        },
        NUM_CLASSES,
        by_rank=True,
        left_out=image_files.commonest(left_out),
        class_names=listed_names(data_dir / NAMES, NUM_CLASSES),
        notes=image_files.say_left_out(left_out),
    )


def first_classes(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Names and labels of the first 50 classes; the lists hold all 1,000."""
    names, labels = lists.read_labelled(path)
    ours = labels < NUM_CLASSES
    if not ours.any():
        raise DataError(f"{path} names no image of the classes 0…{NUM_CLASSES - 1}; take the file of WebVision 1.0")
    return names[ours], labels[ours]


def _imagenet(data_dir: Path, left_out: Counter[str]) -> tuple[np.ndarray, np.ndarray]:
    """Names and labels, sorted by class and name, independent of the file system's order."""
    folders = [f"{IMAGENET_FOLDER}/{c}" for c in range(NUM_CLASSES)]
    image_files.require(data_dir, folders[:1], NEEDS)  # folders by WordNet id: one missing folder says enough
    image_files.require(data_dir, folders, NEEDS)
    by_class = [image_files.images_below(data_dir, folder, left_out) for folder in folders]
    labels = np.repeat(np.arange(NUM_CLASSES), [len(names) for names in by_class])
    return np.array([name for names in by_class for name in names]), labels


def _look(dataset: DatasetConfig, contents: Contents) -> None:
    def in_folder(path: Path) -> np.ndarray:
        return np.char.add(f"{VAL_FOLDER}/".encode(), first_classes(path)[0])

    listed(contents.root / TRAIN_LIST, lambda path: first_classes(path)[0], contents)
    listed(contents.root / VAL_LIST, in_folder, contents)
    for label in range(NUM_CLASSES):
        place = f"{IMAGENET_FOLDER}/{label}"
        in_folders(f"{place}/", [place], contents)


FILES = Files(
    tree="""\
DATA_DIR/
├── info/
│   ├── train_filelist_google.txt   lines "google/q0001/abc.jpg 0"
│   └── val_filelist.txt            lines "val000001.jpg 0"
├── google/q0001/abc.jpg …          as the first list says, classes 0–49
├── val_images_256/val000001.jpg …
└── imagenet/val/
    ├── 0/*                         ImageNet's validation images of WebVision's class 0
    └── … 49/*""",
    where="https://data.vision.ee.ethz.ch/cvl/webvision/dataset2017.html (version 1.0: Google's images, "
    "validation images, info), https://image-net.org (ILSVRC-2012 validation images)",
    look=_look,
)
