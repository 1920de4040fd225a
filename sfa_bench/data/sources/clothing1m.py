"""Clothing1M: a million images of online shops with labels of 14 classes from their surrounding texts
(algorithms/data.md §1–2).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sfa_bench.choices.sources import STATISTICS
from sfa_bench.data.sources import image_files, lists
from sfa_bench.data.sources.contents import Contents, Files, file, listed
from sfa_bench.data.sources.names import listed_names
from sfa_bench.data.types import Source
from sfa_bench.errors import DataError

if TYPE_CHECKING:
    from sfa_bench.choices.sources import DatasetConfig

NUM_CLASSES = 14
LABELS = {"noisy": "noisy_label_kv.txt", "clean": "clean_label_kv.txt"}
KEYS = {"train": "noisy_train_key_list.txt", "val": "clean_val_key_list.txt", "test": "clean_test_key_list.txt"}
NAMES = "category_names_eng.txt"  # a line a class
PREFIX = "images/"
NEEDS = (
    "dataset=clothing1m needs in data_dir its five lists and the images, under images/ or without that folder as "
    "DivideMix keeps them; the authors of Clothing1M give them on request"
)


def load(dataset: DatasetConfig, data_dir: Path, seed: int) -> Source:
    """Training images with noisy labels, in the order of their list, and the clean validation and test set.

    Raises: DataError with a sentence for everything that is missing or broken.
    """
    image_files.require(data_dir, [*LABELS.values(), *KEYS.values()], NEEDS)
    noisy, clean = (_labels(data_dir / name) for name in LABELS.values())
    parts = {"train": _part(dataset, data_dir, "train", noisy, LABELS["noisy"])}
    del noisy  # a million entries
    parts |= {part: _part(dataset, data_dir, part, clean, LABELS["clean"]) for part in ("val", "test")}
    names = listed_names(data_dir / NAMES, NUM_CLASSES)
    return image_files.source(dataset, parts, NUM_CLASSES, STATISTICS["clothing1m"], class_names=names)


def _labels(path: Path) -> dict[bytes, int]:
    """The class of every key; a key may stand on two lines if they agree."""
    names, classes = lists.read_labelled(path, NUM_CLASSES)
    labels: dict[bytes, int] = {}
    for name, label in zip(names.tolist(), classes.tolist(), strict=True):
        if labels.setdefault(name, label) != label:
            raise DataError(f"{path} gives {name.decode()} two classes, {labels[name]} and {label}; remove one line")
    return labels


def _part(
    dataset: DatasetConfig, data_dir: Path, part: str, labels: dict[bytes, int], labels_file: str
) -> image_files.Found:
    """The images of a key list that are there, with their labels."""
    keys = lists.read_names(data_dir / KEYS[part])
    of_keys = np.array([labels.get(key, -1) for key in keys.tolist()], dtype=np.int64)
    unknown = np.flatnonzero(of_keys < 0)
    if unknown.size:
        raise DataError(
            f"{unknown.size:,} images of {data_dir / KEYS[part]} have no class in {labels_file}, the first is "
            f"{keys[unknown[0]].decode()} (line {unknown[0] + 1:,}): take the lists that belong together"
        )
    return image_files.find(dataset, data_dir, on_disk(data_dir, keys), of_keys, part, KEYS[part])


def on_disk(data_dir: Path, keys: np.ndarray) -> np.ndarray:
    """Keys as they are where the folder `images` exists, else without that prefix."""
    if (data_dir / PREFIX).is_dir():
        return keys
    prefixed = np.char.startswith(keys, PREFIX.encode())
    return np.where(prefixed, np.char.replace(keys, PREFIX.encode(), b"", 1), keys)


def _look(dataset: DatasetConfig, contents: Contents) -> None:
    root = contents.root
    contents.items += [file(root / name, root) for name in LABELS.values()]
    for name in KEYS.values():
        listed(root / name, lambda path: on_disk(root, lists.read_names(path)), contents)


FILES = Files(
    tree="""\
DATA_DIR/
├── noisy_label_kv.txt          lines "images/0/00/abc.jpg 3"
├── clean_label_kv.txt
├── noisy_train_key_list.txt    lines "images/0/00/abc.jpg"
├── clean_val_key_list.txt
├── clean_test_key_list.txt
└── images/0/00/abc.jpg …       or 0/00/abc.jpg …, where DATA_DIR is the folder images itself""",
    where="its authors give it away on request: https://github.com/Cysu/noisy_label",
    look=_look,
)
