"""A user's own images in folders: train/<class>/…, test/<class>/… and perhaps val/<class>/… (algorithms/data.md §2)."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sfa_bench.data.sources import image_files
from sfa_bench.data.sources.contents import Contents, Files, Item, in_folders, refusal
from sfa_bench.data.sources.names import one_name
from sfa_bench.data.types import Source
from sfa_bench.errors import DataError

if TYPE_CHECKING:
    from sfa_bench.choices.sources import DatasetConfig

NEEDS = "dataset=folder reads data_dir/train/<class>/… and data_dir/test/<class>/…, perhaps val/<class>/…"


def load(dataset: DatasetConfig, data_dir: Path, seed: int) -> Source:
    """The folders of train/, sorted by name (by number where all are numbers), are the classes 0…K-1.

    Two folders whose names are equal in Unicode's NFC are one class. Labels count as noisy.
    Raises: DataError with a sentence for everything that is missing or broken.
    """
    image_files.require(data_dir, ("train", "test"), NEEDS)
    left_out: Counter[str] = Counter()
    folders = class_folders(data_dir, "train")
    classes = {name: c for c, name in enumerate(dict.fromkeys(map(one_name, folders)))}
    if len(classes) < 2:
        raise DataError(f"{data_dir / 'train'} has {len(classes)} class folder(s); at least two are needed")
    names = ["train", "test", *(["val"] if (data_dir / "val").exists() else [])]
    parts = {part: _part(dataset, data_dir, part, classes, left_out) for part in names}
    notes = [*image_files.say_left_out(left_out)]
    if merged := len(folders) - len(classes):
        notes.append(f"{merged} folder(s) of train have the name of another one in another form of Unicode: one class")
    return image_files.source(
        dataset,
        parts,
        len(classes),
        left_out=image_files.commonest(left_out),
        class_names=tuple(classes),
        notes=tuple(notes),
    )


def class_folders(data_dir: Path, part: str, left_out: Counter[str] | None = None) -> list[str]:
    """The folders of a part in the order of their classes; left_out: see `image_files.images_below`.

    Raises: DataError for an image beside them.
    """
    names = []
    for entry in image_files.visible(os.fsencode(data_dir / part)):
        name = os.fsdecode(entry.name)
        if entry.is_dir():
            names.append(name)
        elif image_files.is_image(entry.name):
            raise DataError(f"{data_dir / part / name} lies in no class folder; {NEEDS}")
        elif left_out is not None:
            left_out[image_files.ending(entry.name)] += 1
    numbers = all(name.isascii() and name.isdigit() for name in names)
    return sorted(names, key=lambda name: (int(name) if numbers else 0, name))


def _part(
    dataset: DatasetConfig, data_dir: Path, part: str, classes: Mapping[str, int], left_out: Counter[str]
) -> image_files.Found:
    """The images of a part with their labels, by class and name; a part need not have every class."""
    present = class_folders(data_dir, part, left_out)
    if strange := [name for name in present if one_name(name) not in classes]:
        raise DataError(
            f"{data_dir / part / strange[0]} is a class without training images: {data_dir / 'train'} has no folder "
            "of this name; remove it, or give the class images to train on"
        )
    if not present:
        raise DataError(f"{data_dir / part} has no class folder; {NEEDS}")
    by_class = [image_files.images_below(data_dir, f"{part}/{name}", left_out) for name in present]
    names = np.array([name for names in by_class for name in names])
    labels = np.repeat([classes[one_name(name)] for name in present], [len(names) for names in by_class])
    return image_files.find(dataset, data_dir, names, labels, part, part)


def _look(dataset: DatasetConfig, contents: Contents) -> None:
    for part in ("train", "test", "val"):
        classes: list[str] | None = []
        if (contents.root / part).is_dir():
            classes = None
            with refusal(contents):
                classes = class_folders(contents.root, part)
        if classes is None:
            contents.items.append(Item(f"{part}/", found=True))
        elif part != "val" or (contents.root / part).exists():
            in_folders(f"{part}/", [f"{part}/{name}" for name in classes], contents)


FILES = Files(
    tree="""\
DATA_DIR/
├── train/
│   ├── first_class/*.jpg …    a folder for each class
│   └── second_class/*.jpg …
├── test/                      the same folders
└── val/                       the same (optional)""",
    where="yours",
    look=_look,
)
