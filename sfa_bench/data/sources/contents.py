"""The files of a data set that exist in `data_dir`, before anything is read."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sfa_bench.choices.code import load
from sfa_bench.choices.sources import SOURCES
from sfa_bench.data.sources import files, image_files
from sfa_bench.errors import DataError

if TYPE_CHECKING:
    from sfa_bench.choices.sources import DatasetConfig


@dataclass(frozen=True)
class Item:
    """A file or folder that the data set needs.

    checksum: `matches` or `differs` from the official one, None where there is none or nothing to compare;
    entries: images that a list names or a folder holds; absent: those of them that are missing.
    """

    path: str
    found: bool
    size: int | None = None
    checksum: str | None = None
    entries: int | None = None
    absent: list[str] = field(default_factory=list)


@dataclass
class Contents:
    """The files that exist, by name, whether or not they can be read.

    images: names below `root` of the files that a run would open; refused: the readers' messages on lists and folders
    that they refuse, whose images are not looked for.
    """

    root: Path
    items: list[Item] = field(default_factory=list)
    images: list[bytes] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)

    @property
    def missing(self) -> list[str]:
        """Names of missing files, including the images of lists."""
        return [item.path for item in self.items if not item.found] + [a for item in self.items for a in item.absent]


@dataclass(frozen=True)
class Files:
    """How a data set's files lie, as a drawing; who gives them away; and a look at each, which adds it to `Contents`.

    Nothing is decoded by the look; checksums are compared where official ones exist.
    """

    tree: str
    where: str
    look: Callable[[DatasetConfig, Contents], None]


def files_of(dataset: DatasetConfig) -> Files | None:
    """The layout of its files, including human annotations; None where it needs no files."""
    source = SOURCES[dataset.source]
    if source.files is None:
        return None
    described: Files = load(source.files)
    if not dataset.human or (human := source.human) is None:
        return described
    return replace(
        described,
        tree=f"{described.tree}\nand, for human annotations,\nDATA_DIR/{human.file}",
        where=f"{described.where}; CIFAR-N's labels: {human.where}",
    )


def look(dataset: DatasetConfig, data_dir: str) -> Contents:
    """Look for every file of the data set."""
    contents = Contents(Path(data_dir).expanduser())
    if (described := files_of(dataset)) is not None:
        described.look(dataset, contents)
    return contents


def file(path: Path, root: Path, md5: str | None = None, read: Callable[[Path], bytes] = files.read) -> Item:
    """A file, and whether what `read` takes from it has the official checksum `md5`."""
    name = os.path.relpath(path, root) if path.is_relative_to(root) else str(path)
    if not path.is_file():
        return Item(name, found=False)
    checksum = None
    if md5 is not None:
        try:
            same = hashlib.md5(read(path), usedforsecurity=False).hexdigest() == md5
        except DataError:  # unreadable or truncated: not the official file; the reader says why
            same = False
        checksum = "matches" if same else "differs"
    return Item(name, True, path.stat().st_size, checksum)


def listed(path: Path, read: Callable[[Path], np.ndarray], contents: Contents) -> None:
    """A list with the images that its reader takes from it."""
    item = file(path, contents.root)
    if item.found:
        with refusal(contents):
            names = read(path)
            item = replace(item, entries=len(names), absent=_look(names, contents))
    contents.items.append(item)


def in_folders(name: str, folders: Sequence[str], contents: Contents) -> None:
    """Folders of images as one item `name`; each of them is read on its own, so that all refusals are told."""
    entries, absent = 0, []
    for place in folders:
        if (contents.root / place).is_dir():
            with refusal(contents):
                names = np.array(image_files.images_below(contents.root, place))
                entries += len(names)
                absent += _look(names, contents)
    contents.items.append(Item(name, entries > 0, entries=entries, absent=absent))


def _look(names: np.ndarray, contents: Contents) -> list[str]:
    """Keep those images that a run would open; returns the names of the others. Raises: DataError."""
    sizes, _ = image_files.stat_images(contents.root, names)
    contents.images += names[sizes >= 0].tolist()
    return [name.decode() for name in names[sizes < 0].tolist()]


@contextmanager
def refusal(contents: Contents) -> Iterator[None]:
    try:
        yield
    except DataError as error:
        contents.refused.append(str(error))
