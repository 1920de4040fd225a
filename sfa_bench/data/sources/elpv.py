"""ELPV: electroluminescence images of solar cells, from the Python package elpv-dataset (algorithms/data.md §1–2)."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from PIL import Image

from sfa_bench.cores import cores
from sfa_bench.data.sources import files, lists, packages
from sfa_bench.data.sources.contents import Contents, Files, file, refusal
from sfa_bench.data.sources.image_files import RefusedName, safe_name, stat_images
from sfa_bench.data.types import Source
from sfa_bench.errors import DataError

if TYPE_CHECKING:
    from sfa_bench.choices.sources import DatasetConfig

NAME = "labels.csv"
MD5 = "a1f3116e99fa0754608ad05be2bab78f"
MD5_IMAGES = "baa1edbc6d2ec0b35d3664b807b4304b"  # of all images as they are read
ORIGINAL, SIDE = 300, 60  # pixels: a pixel is the mean of 5×5
CLASSES = ("functional", "defective")
CERTAIN = (0, 3)  # thirds of which annotators were certain


class Labels(NamedTuple):
    """Names bytes [n] of the images; thirds int64 [n], 3 times the probability of a defect."""

    names: np.ndarray
    thirds: np.ndarray


def load(dataset: DatasetConfig, data_dir: Path, seed: int) -> Source:
    """2,180 training and 444 test images [60, 60, 1]. A label is what annotators thought more probable; the test set is
    every fifth image of each class among those of which they were certain.
    """
    path = packages.find(dataset.source, data_dir, NAME, _folder())
    if dataset.checksum:
        files.verify(files.read(path), MD5, path)
    annotated = read_labels(path)
    images = _images(path.parent, annotated.names)
    if dataset.checksum:
        files.verify(images.tobytes(), MD5_IMAGES, path.parent / "images")
    labels = files.check_labels((annotated.thirds > 1).astype(np.int64), len(images), 2, str(path))
    certain = np.isin(annotated.thirds, CERTAIN)
    test = np.zeros(len(labels), dtype=bool)
    test[certain] = files.every_fifth(labels[certain])
    mean, std = files.pixel_statistics(images[~test])
    return Source(
        images[~test],
        labels[~test],
        images[test],
        labels[test],
        num_classes=2,
        mean=mean,
        std=std,
        padding=4,
        flip=True,
        labels_are_clean=False,
        by_rank=True,
        class_names=CLASSES,
        notes=(f"annotators were not certain of {np.count_nonzero(~certain):,} of {np.count_nonzero(~test):,} labels",),
    )


def read_labels(path: Path) -> Labels:
    """What the table says of each image: `images/NAME.png PROBABILITY TYPE` a line. Raises: DataError."""
    thirds: list[int] = []

    def take(line: bytes) -> bytes:
        name, *rest = line.split()
        try:
            third = 3 * float(rest[0])
        except (IndexError, ValueError):
            raise RefusedName("the probability of a defect does not follow the path") from None
        if not -1e-6 < third < 3 + 1e-6 or abs(third - round(third)) > 1e-6:
            raise RefusedName("the probability of a defect is not 0, 1/3, 2/3 or 1")
        thirds.append(round(third))
        return safe_name(name)

    names = lists.read_lines(path, take, "<relative path> <probability of a defect> <type>")
    return Labels(names, np.array(thirds, dtype=np.int64))


def _images(root: Path, names: np.ndarray) -> np.ndarray:
    """uint8 [n, 60, 60, 1]. Raises: DataError for a missing file, and one that is not a grey PNG of 300×300 pixels."""
    sizes, _ = stat_images(root, names)
    if (absent := names[sizes < 0]).size:
        raise DataError(f"{root} lacks {len(absent):,} images of {NAME}, the first is {absent[0].decode()}")
    images = np.empty((len(names), SIDE, SIDE, 1), dtype=np.uint8)
    with ThreadPoolExecutor(cores()) as pool:  # decoding runs outside of Python's lock
        paths = (root / os.fsdecode(name) for name in names)
        for image, pixels in zip(images, pool.map(_pixels, paths), strict=True):
            image[..., 0] = shrunk(pixels)
    return images


def _pixels(path: Path) -> np.ndarray:
    """uint8 [300, 300]. Raises: DataError."""
    try:
        with Image.open(path, formats=("PNG",)) as opened:
            if (opened.size, opened.mode) != ((ORIGINAL, ORIGINAL), "L"):
                raise DataError(f"{path} is not a grey image of {ORIGINAL}×{ORIGINAL} pixels")
            return np.asarray(opened)
    except (OSError, SyntaxError) as error:  # all that Pillow raises for broken files
        raise DataError(f"{path} is not a readable PNG image ({error})") from None


def shrunk(pixels: np.ndarray) -> np.ndarray:
    """Means of 5×5 pixels, rounded (there are no ties): uint8 [300, 300] to [60, 60]."""
    by = ORIGINAL // SIDE
    sums = pixels.reshape(SIDE, by, SIDE, by).sum(axis=(1, 3), dtype=np.int64)
    return ((sums + by**2 // 2) // by**2).astype(np.uint8)


def _folder() -> Path | None:
    package = packages.of_python("elpv_dataset")
    return None if package is None else package / "data"


def _look(dataset: DatasetConfig, contents: Contents) -> None:
    path = packages.locate(contents.root, NAME, _folder()) or contents.root / NAME
    item = file(path, contents.root, MD5)
    if item.found:
        with refusal(contents):
            names = read_labels(path).names
            sizes, _ = stat_images(path.parent, names)
            item = replace(item, entries=len(names), absent=[name.decode() for name in names[sizes < 0].tolist()])
    contents.items.append(item)


FILES = Files(
    tree=f"""\
DATA_DIR/                        or the installed package
├── {NAME}                   images/NAME.png PROBABILITY TYPE
└── images/NAME.png              grey, 300×300 pixels""",
    where="the Python package elpv-dataset (`pip install elpv-dataset`), CC BY-NC-SA 4.0: not for commercial use",
    look=_look,
)
