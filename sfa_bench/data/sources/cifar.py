"""CIFAR-10 and CIFAR-100, Python version (algorithms/data.md §1–2)."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from sfa_bench.choices.sources import SOURCES, STATISTICS
from sfa_bench.data.safe_pickle import RefusedPickle, load_arrays
from sfa_bench.data.sources import files
from sfa_bench.data.sources.contents import Contents, Files, file
from sfa_bench.data.types import Source
from sfa_bench.errors import DataError

if TYPE_CHECKING:
    from sfa_bench.choices.sources import DatasetConfig

LARGEST_META = 1_000_000  # bytes of a file of names


class CifarLayout(NamedTuple):
    """The layout of CIFAR-10 or CIFAR-100; files map to their official MD5."""

    title: str
    folder: str
    train: dict[str, str]
    test: dict[str, str]
    meta: str
    names_key: str
    label_key: str
    num_classes: int


LAYOUTS = {
    "cifar10": CifarLayout(
        "CIFAR-10",
        "cifar-10-batches-py",
        {  # this order is the original index
            "data_batch_1": "c99cafc152244af753f735de768cd75f",
            "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
            "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
            "data_batch_4": "634d18415352ddfa80567beed471001a",
            "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
        },
        {"test_batch": "40351d587109b95175f43aff81a1287e"},
        "batches.meta",
        "label_names",
        "labels",
        10,
    ),
    "cifar100": CifarLayout(
        "CIFAR-100",
        "cifar-100-python",
        {"train": "16019d7e3df5f24257cddd939b257f8d"},
        {"test": "f0ef6b0ae62326f3e7ffdfab6717acfc"},
        "meta",
        "fine_label_names",
        "fine_labels",
        100,
    ),
}


# CIFAR-100's fine classes by superclass, in the order of the coarse ids 0…19 (algorithms/data.md §4.2)
_SUPERCLASS_IDS = """
    4 30 55 72 95   1 32 67 73 91   54 62 70 82 92  9 10 16 28 61   0 51 53 57 83
    22 39 40 86 87  5 20 25 84 94   6 7 14 18 24    3 42 43 88 97   12 17 37 68 76
    23 33 49 60 71  15 19 21 31 38  34 63 64 66 75  26 45 77 79 99  2 11 35 46 98
    27 29 44 78 93  36 50 65 74 80  47 52 56 59 96  8 13 48 58 90   41 69 81 85 89
"""
SUPERCLASSES = np.array([int(fine) for fine in _SUPERCLASS_IDS.split()]).reshape(20, 5)


def _cycle(blocks: np.ndarray) -> dict[int, int]:
    return dict(zip(blocks.ravel().tolist(), np.roll(blocks, -1, axis=1).ravel().tolist(), strict=True))


# Of asymmetric noise, by data set and name of the map.
CLASS_MAPS: dict[str, dict[str, dict[int, int]]] = {
    "cifar10": {"default": {9: 1, 2: 0, 3: 5, 5: 3, 4: 7}},
    "cifar100": {"default": _cycle(SUPERCLASSES), "block5": _cycle(np.arange(100).reshape(20, 5))},
}


def load(dataset: DatasetConfig, data_dir: Path, seed: int) -> Source:
    return read(dataset.source, data_dir, dataset.checksum)


def read(name: str, data_dir: Path, checksum: bool) -> Source:
    """50,000 training and 10,000 test images [32, 32, 3], from either layout of the folder, else by download."""
    layout = LAYOUTS[name]
    folders = (data_dir, data_dir / layout.folder)
    folder = files.first_folder(folders, layout.train | layout.test)
    if folder is None:
        files.fetch(lambda: _download(name, data_dir), layout.title, data_dir)
        folder = data_dir / layout.folder
    names, notes = _class_names(folder / layout.meta, layout)
    train_images, train_labels = _read(folder, layout.train, layout, checksum)
    test_images, test_labels = _read(folder, layout.test, layout, checksum)
    return Source(
        train_images,
        train_labels,
        test_images,
        test_labels,
        layout.num_classes,
        *STATISTICS[name],
        padding=4,
        flip=True,
        class_maps=CLASS_MAPS[name],
        class_names=names,
        notes=notes,
    )


def _class_names(path: Path, layout: CifarLayout) -> tuple[tuple[str, ...] | None, tuple[str, ...]]:
    """Names of the classes, from the file beside the images, and notes about them. None where there is no such file or
    it cannot be read, since training does not need them.
    """
    if not path.is_file():
        return None, ()
    names: Any = None
    if path.stat().st_size <= LARGEST_META:
        with suppress(Exception):  # a broken pickle may raise anything
            names = load_arrays(path.read_bytes())[layout.names_key]
    if isinstance(names, list) and len(names) == layout.num_classes and all(isinstance(name, str) for name in names):
        return tuple(names), ()
    return None, (f"{path} holds no names of {layout.num_classes} classes: they are shown by their numbers",)


def _download(name: str, data_dir: Path) -> None:
    from torchvision import datasets

    {"cifar10": datasets.CIFAR10, "cifar100": datasets.CIFAR100}[name](data_dir, download=True)


def _read(folder: Path, batches: dict[str, str], layout: CifarLayout, checksum: bool) -> tuple[np.ndarray, np.ndarray]:
    parts = [_read_batch(folder / name, layout, md5 if checksum else None) for name, md5 in batches.items()]
    images, labels = (np.concatenate(part) for part in zip(*parts, strict=True))
    return images, labels


def _read_batch(path: Path, layout: CifarLayout, md5: str | None) -> tuple[np.ndarray, np.ndarray]:
    content = files.read(path)
    if md5 is not None:
        files.verify(content, md5, path)
    try:
        batch = load_arrays(content)
    except RefusedPickle as refusal:
        raise DataError(f"{path} is refused: {refusal}, which a CIFAR file never does; nothing of it was run") from None
    except Exception as error:  # a broken pickle may raise anything
        raise DataError(f"{path} is truncated or not a CIFAR file ({type(error).__name__}: {error})") from error
    if not isinstance(batch, dict) or not {"data", layout.label_key} <= batch.keys():
        raise DataError(f"{path} is not a {layout.title} file: it must hold a dict with data and {layout.label_key}")
    pixels = batch["data"]
    if not isinstance(pixels, np.ndarray) or pixels.dtype != np.uint8 or pixels.shape[1:] != (3072,):
        actual = f"{pixels.dtype} {list(pixels.shape)}" if isinstance(pixels, np.ndarray) else type(pixels).__name__
        raise DataError(
            f"data of {path} must be uint8 [n, 3072] (32×32 pixels in red, green, blue planes), not {actual}"
        )
    try:
        labels = np.asarray(batch[layout.label_key])
    except ValueError:
        raise DataError(f"{layout.label_key} of {path} is not a list of integers") from None
    labels = files.check_labels(labels, len(pixels), layout.num_classes, str(path))
    return pixels.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1), labels


def _look(dataset: DatasetConfig, contents: Contents) -> None:
    layout, root = LAYOUTS[dataset.source], contents.root
    known = layout.train | layout.test
    place = files.first_folder((root, root / layout.folder), known) or root
    contents.items += [file(place / name, root, md5) for name, md5 in known.items()]
    human = SOURCES[dataset.source].human
    if dataset.human and human is not None:
        contents.items.append(file(root / human.file, root))


_WHERE = "https://www.cs.toronto.edu/~kriz/cifar.html (Python version); without data_dir, it is downloaded into data/"
FILES_10 = Files(
    tree="""\
DATA_DIR/                        or DATA_DIR/cifar-10-batches-py/
├── data_batch_1 … data_batch_5
└── test_batch""",
    where=_WHERE,
    look=_look,
)
FILES_100 = Files(
    tree="""\
DATA_DIR/                        or DATA_DIR/cifar-100-python/
├── train
└── test""",
    where=_WHERE,
    look=_look,
)
