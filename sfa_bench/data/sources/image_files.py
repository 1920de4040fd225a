"""Image files below a data folder: safe names, listings, and a check of each file (explanation/rules.md §5)."""

from __future__ import annotations

import functools
import os
import posixpath
import re
import stat
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from sfa_bench.choices.sources import IMAGENET, SOURCES
from sfa_bench.data.image_formats import endings
from sfa_bench.data.images import Framing, ImageFiles
from sfa_bench.data.types import Source
from sfa_bench.errors import DataError

if TYPE_CHECKING:
    from sfa_bench.choices.sources import DatasetConfig

# An array of names is as wide as its longest: one absurd line must not cost gigabytes.
MAX_NAME = 1000
MAX_ENDING, SHOWN = 20, 10  # bytes of an ending, and endings, that sentences name
_ODD = re.compile(rb"[\x00-\x1f\x7f\\]|(?:\A|/)\.{0,2}(?:/|\Z)")


class RefusedName(ValueError):
    """Why a name in a list is not accepted."""


class Found(NamedTuple):
    """The images that exist with their labels, the mask of these (bool [N]) among the requested ones, and the others as
    `part: name`.
    """

    images: ImageFiles
    labels: np.ndarray
    kept: np.ndarray
    skipped: tuple[str, ...]


def safe_name(name: bytes) -> bytes:
    """A path from a list, relative to the data folder and without `./` and `//`.

    Raises: RefusedName with the reason where it is absolute, has a `..` or a backslash, or is not a valid name.
    """
    if len(name) > MAX_NAME:
        raise RefusedName(f"the path has more than {MAX_NAME:,} bytes")
    try:
        text = name.decode()
    except UnicodeDecodeError:
        raise RefusedName("the path is not UTF-8") from None
    # The usual name in a third of the time that the pattern takes: there may be a million of them.
    usual = text.isprintable() and not ("/." in text or "//" in text or "\\" in text) and text[:1] not in "./"
    if (usual and text[-1] != "/") or _ODD.search(name) is None:
        return name
    if name.startswith(b"/"):
        raise RefusedName("the path is absolute, so it may leave the data folder")
    if b".." in name.split(b"/"):
        raise RefusedName("the path has a .., so it may leave the data folder")
    if b"\\" in name:
        raise RefusedName("the path has a backslash; folders are separated by /")
    if re.search(rb"[\x00-\x1f\x7f]", name):
        raise RefusedName("the path has a control character")
    name = posixpath.normpath(name)
    if name == b".":
        raise RefusedName("there is no path")
    return name


def require(root: Path, pieces: Iterable[str], needs: str) -> None:
    """Raises DataError, saying what the data set `needs`, where files or folders are not in `root`."""
    missing = [piece for piece in pieces if not (root / piece).exists()]
    if missing:
        raise DataError(f"{root} has no {' and no '.join(missing)}: {needs}")


def source(
    dataset: DatasetConfig,
    parts: Mapping[str, Found],
    num_classes: int,
    statistics: tuple[tuple[float, ...], tuple[float, ...]] = IMAGENET,
    **more: Any,
) -> Source:
    """The data set of these parts: `train`, `test`, `val` where there is one, and further test sets by their names.

    Labels count as noisy as they come. Args: statistics, mean and std of the channels; more, further fields of Source.
    """
    train, test, val = parts["train"], parts["test"], parts.get("val")
    others = parts.keys() - {"train", "test", "val"}
    return Source(
        train.images,
        train.labels,
        test.images,
        test.labels,
        num_classes,
        *statistics,
        padding=0,
        flip=dataset.flip,
        labels_are_clean=False,
        val_images=None if val is None else val.images,
        val_labels=None if val is None else val.labels,
        more_tests={name: (part.images, part.labels) for name, part in parts.items() if name in others},
        skipped=sum((part.skipped for part in parts.values()), ()),
        original=np.flatnonzero(train.kept),
        **more,
    )


def find(dataset: DatasetConfig, root: Path, names: np.ndarray, labels: np.ndarray, part: str, listed_in: str) -> Found:
    """Look for images by name (bytes [N]) with labels [N] below `root`; their order is kept, and a name may come more
    than once.

    part: `train`, `val` or `test`…; listed_in: what names them, for the sentences.
    Raises: DataError where any is missing (under `dataset.on_bad_image=skip`: where all are), or leaves `root`.
    """
    sizes, times = stat_images(root, names)
    kept = sizes >= 0
    missing = [name.decode() for name in names[~kept]]
    if len(missing) == len(names):
        raise DataError(
            f"none of the {len(names):,} images of {listed_in} exists (the first is not at "
            f"{root / missing[0]}): put the images there, or give the folder that has them as data_dir"
        )
    if missing and dataset.on_bad_image == "error":
        more = f" and {len(missing) - 3:,} more" if len(missing) > 3 else ""
        raise DataError(
            f"{len(missing):,} of the {len(names):,} images of {listed_in} are not in {root}: "
            f"{', '.join(missing[:3])}{more}; fetch them, or leave them out with dataset.on_bad_image=skip"
        )
    framing = Framing(dataset.resize, dataset.crop, dataset.random_crop)
    images = ImageFiles(root, names, sizes, times, framing, SOURCES[dataset.source].upright, dataset.max_pixels)
    skipped = tuple(f"{part}: {name}" for name in missing)
    return Found(images[kept] if missing else images, labels[kept], kept, skipped)


def stat_images(root: Path, names: np.ndarray) -> np.ndarray:
    """Sizes in bytes and times of the last change in ns, int64 [2, N], of the files below `root` with the names bytes
    [N]; -1 where there is no file.

    Symbolic links to other places below `root` are followed, and `root` itself may be one.
    Raises: DataError for a link that leaves `root`, whether a file or a folder on the way, and what cannot be read.
    """
    base, links = os.fsencode(root), Links(root)

    def look(name: bytes) -> tuple[int, int]:
        path = base + b"/" + name
        links.check_folder(path.rpartition(b"/")[0])
        try:
            status = os.lstat(path)
            if stat.S_ISLNK(status.st_mode):
                links.check_file(path)
                status = os.stat(path)
        except (FileNotFoundError, NotADirectoryError):
            return -1, -1
        except OSError as error:
            raise DataError(f"{os.fsdecode(path)} cannot be read: {error.strerror}") from None
        if not stat.S_ISREG(status.st_mode):  # reading a pipe would never end
            return -1, -1
        return status.st_size, status.st_mtime_ns

    numbers = np.fromiter((number for name in names.tolist() for number in look(name)), np.int64, 2 * len(names))
    return numbers.reshape(-1, 2).T


def images_below(root: Path, folder: str, left_out: Counter[str] | None = None) -> list[bytes]:
    """The images in a folder below `root` and in its folders, as names below `root`, sorted by their bytes.

    Images are told by their ending, upper or lower case; names that begin with a dot are left out. left_out counts
    the other files by their ending, where it is given.
    Raises: DataError where there is none, where a link leaves `root` or leads in a circle, and for a name not in UTF-8.
    """
    base, links = os.fsencode(root), Links(root)
    images: list[bytes] = []
    others: Counter[str] = Counter()

    def walk(below: bytes, on_the_way: frozenset[bytes]) -> None:
        real = links.check_folder(base + b"/" + below)
        if real in on_the_way:
            raise DataError(f"{root / os.fsdecode(below)} is a link to a folder that it lies in; remove it")
        for entry in visible(base + b"/" + below):
            name = below + b"/" + entry.name
            if entry.is_dir():
                walk(name, on_the_way | {real})
            elif is_image(name):
                images.append(name)
            else:
                others[ending(name)] += 1

    walk(os.fsencode(folder), frozenset())
    if not images:
        beside = f" (other files: {others.total():,})" if others else ""
        raise DataError(
            f"{root / folder} holds no image{beside}; images end in .jpg .jpeg .png .tif or another that Pillow reads"
        )
    for name in images:
        try:
            name.decode()
        except UnicodeDecodeError:
            shown = name.decode(errors="backslashreplace")
            raise DataError(f"{root}/{shown} has a name that is not UTF-8; rename it") from None
    if left_out is not None:
        left_out.update(others)
    return sorted(images)


def is_image(name: bytes) -> bool:
    """Whether the name has the ending of an image format."""
    return name.lower().endswith(endings())


def ending(name: bytes) -> str:
    """The ending in lower case, `.txt` for `a.TXT`; empty where a name has none."""
    return os.path.splitext(name)[1].lower()[:MAX_ENDING].decode(errors="backslashreplace")


def commonest(files: Mapping[str, int]) -> dict[str, int]:
    """The counts of the commonest endings; all further ones together under `others`."""
    common = sorted(files.items(), key=lambda item: (-item[1], item[0]))
    rest = sum(count for _, count in common[SHOWN:])
    return dict(common[:SHOWN]) | ({"others": rest} if rest else {})


def say_left_out(files: Mapping[str, int]) -> tuple[str, ...]:
    """The sentence about files that are not images, where there are any."""
    if not (count := sum(files.values())):
        return ()
    kind = "1 file that is not an image" if count == 1 else f"{count:,} files that are not images"
    return (f"left out {kind}: {by_ending(files)}",)


def by_ending(files: Mapping[str, int]) -> str:
    """`2 .txt, 1 .json`, the commonest first."""
    return ", ".join(f"{count:,} {name or 'without an ending'}" for name, count in commonest(files).items())


def visible(folder: bytes) -> list[os.DirEntry[bytes]]:
    """The entries of a folder, without names that begin with a dot (system files and caches). Raises DataError."""
    try:
        with os.scandir(folder) as entries:
            return [entry for entry in entries if not entry.name.startswith(b".")]
    except OSError as error:
        raise DataError(f"{os.fsdecode(folder)} cannot be read: {error.strerror}") from None


class Links:
    """Refuses symbolic links that leave a data folder; remembers the folders that were resolved."""

    def __init__(self, root: Path):
        self.root = root
        self.home = os.path.realpath(os.fsencode(root))
        self.real = functools.cache(os.path.realpath)

    def check_folder(self, path: bytes) -> bytes:
        """The resolved path of a folder. Raises DataError where it is not below the data folder."""
        return self._inside(self.real(path), path)

    def check_file(self, path: bytes) -> None:
        """Raises DataError where a link to a file leads out of the data folder, in any number of steps."""
        folder, _, name = os.path.join(os.path.dirname(path), os.readlink(path)).rpartition(b"/")
        target = self.real(folder or b"/") + b"/" + name
        if name in (b"", b".", b"..") or os.path.islink(target):
            target = os.path.realpath(path)  # slow, but sees through chains
        self._inside(target, path)

    def _inside(self, real: bytes, path: bytes) -> bytes:
        if real != self.home and not real.startswith(self.home.rstrip(b"/") + b"/"):
            raise DataError(
                f"{os.fsdecode(path)} leads out of {self.root}, to {os.fsdecode(real)}, by a symbolic link: put the "
                "files themselves (or hard links: cp -rl) there"
            )
        return real
