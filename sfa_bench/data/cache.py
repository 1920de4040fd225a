"""Decoded and resized images on disk, memory-mapped and shared by all runs on them.

A folder holds chunks of CHUNK images in the order of the list: `0000.bin`, their pixels uint8 [h, w, 3] one after the
other, and, written when those are safe, `0000.npz` with where each lies. So an interrupted start continues where it
was, and a table that exists has its pixels.
"""

from __future__ import annotations

import os
import shutil
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, nullcontext, suppress
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from torch.utils.data import Dataset

from sfa_bench import memory
from sfa_bench.data import decoded
from sfa_bench.data.decoded import CHECK, HEIGHT, OTHERWISE, SIZE, WIDTH, Cache, pixels_file
from sfa_bench.data.image_formats import read_otherwise, size
from sfa_bench.data.images import BadImage, ImageFiles, import_libraries
from sfa_bench.data.workers import in_workers
from sfa_bench.errors import ConfigError, DataError, RunError
from sfa_bench.store.archives import dump_arrays, load_arrays
from sfa_bench.store.atomic import replacing, write_bytes
from sfa_bench.store.claim import Holder
from sfa_bench.store.fingerprint import fingerprint
from sfa_bench.store.folder import RunFolder, ensure_writable

FOLDER = ".sfa_bench"
# Images whose headers estimate the size of all, and whose contents enter the data set's fingerprint.
SAMPLE = 200
SAY_SECONDS = 10.0
REVISION = 2  # raised when decoding or resizing changes


def folder_in(cache_dir: Path, data: Path) -> Path:
    """The subfolder of a cache folder for the data at `data`: other data may have files of the same names."""
    return cache_dir.expanduser() / fingerprint(np.frombuffer(os.fsencode(data.resolve()), dtype=np.uint8))


def key(images: ImageFiles) -> str:
    """The cache's identity: 16 hex digits over the files' names, the scaling, and the versions of what decodes and
    scales.
    """
    options = (images.framing.resize, images.upright, images.max_pixels)
    made_by = [*options, REVISION, *(version(name) for name in ("pillow", "torchvision"))]
    return fingerprint(_names(images), np.frombuffer(repr(made_by).encode(), dtype=np.uint8))


def identity(images: ImageFiles) -> Iterator[np.ndarray]:
    """The identity of these files without reading them all: names, sizes, and the contents of some. It includes which
    of them, if any, were read differently before orientations were applied, so that a run begun then is not continued.
    """
    yield _names(images)
    yield images.sizes
    for position in _sample(images):
        with suppress(OSError):  # reported where it is needed
            yield np.frombuffer(images.path(position).read_bytes(), dtype=np.uint8)
    if images.upright:
        if images.cache is not None:
            changed = images.cache.table[images.places, OTHERWISE]
        else:
            changed = np.array([read_otherwise(images.path(position)) for position in range(len(images))])
        if changed.any():
            yield np.flatnonzero(changed)


def _names(images: ImageFiles) -> np.ndarray:
    return np.frombuffer(b"\n".join(images.names.tolist()), dtype=np.uint8)


def _sample(images: ImageFiles) -> list[int]:
    """Up to SAMPLE positions, evenly spaced."""
    spaced = np.linspace(0, len(images) - 1, min(SAMPLE, len(images)))
    return np.unique(spaced.round().astype(int)).tolist()


@dataclass(frozen=True)
class Making:
    """How to make a cache, and where to report.

    keep: `on`, `off`, or `auto`, which is on where half of the free space is enough; workers: processes; say takes a
    message for the user; on_step is called from time to time and may raise to stop; wait: see RunFolder.claim.
    """

    folder: Path
    keep: str = "auto"
    workers: int = 1
    say: Callable[[str], None] = lambda sentence: None
    on_step: Callable[[], None] = lambda: None
    wait: Callable[[Holder], None] | None = None


def prepare(
    images: ImageFiles, part: str, making: Making, *, look_at_all: bool = False
) -> tuple[ImageFiles, dict[int, str]]:
    """The same images, decoded on disk where `making.keep` says so; and position → reason of the unreadable ones.

    Args: part is how a user knows them (train, test …); look_at_all: every file is decoded to know whether it is a
    image, also where none is kept.
    Raises: DataError where the disk does not take what `keep=on` asks for, or is full.
    """
    folder = making.folder / f"{part}-{key(images)}"
    keep, todo = making.keep != "off", _to_make(images, folder)
    if keep and todo:
        size = _estimate(images) * len(todo) // _chunks(len(images))
        obstacle = _obstacle(size, making)
        if obstacle is None:
            making.say(f"keeping the {len(images):,} {part} images decoded, {memory.amount(size)} in {folder}")
        elif making.keep == "on":
            raise DataError(f"dataset.cache=on: {obstacle}; give dataset.cache_dir=FOLDER with more, or leave it out")
        else:
            making.say(f"the {part} images are read from their files in every epoch: {obstacle}")
            keep = False
    if not keep and not look_at_all:
        return images, {}
    with ExitStack() as stack:
        if not keep:
            folder = folder.with_name(f"{folder.name}-looked-at")
            if not _writable(making.folder):
                folder = Path(stack.enter_context(TemporaryDirectory()))
        if _to_make(images, folder):
            _make(images, folder, part, keep, making)
        table, bad = _read_tables(folder, len(images))
    if keep:
        images = replace(images, cache=Cache(folder, table), places=np.arange(len(images)))
    return images, bad


def _make(images: ImageFiles, folder: Path, part: str, keep: bool, making: Making) -> None:
    import_libraries()
    with RunFolder(folder).claim(making.wait):
        todo = _to_make(images, folder)  # the previous holder may have made some
        done, last_report = len(images) - sum(len(_members(chunk, len(images))) for chunk in todo), time.monotonic()
        for chunk, error in in_workers(_ChunkMaker(images, folder, keep), todo, making.workers):
            making.on_step()
            if error is not None:
                raise DataError(
                    f"the {part} images cannot be decoded into {folder} ({error}): see to it, give "
                    "dataset.cache_dir=FOLDER, or set dataset.cache=off"
                )
            done += len(_members(chunk, len(images)))
            if time.monotonic() - last_report > SAY_SECONDS:
                making.say(f"{done:,} of {len(images):,} {part} images are decoded")
                last_report = time.monotonic()


@dataclass(frozen=True)
class _ChunkMaker(Dataset[tuple[int, str | None]]):
    """Make the chunk of this number; returns the number, and the reason where it could not be written."""

    images: ImageFiles
    folder: Path
    keep: bool

    def __getitem__(self, chunk: int) -> tuple[int, str | None]:
        try:
            _make_chunk(self.images, self.folder, chunk, self.keep)
        except OSError as error:
            where = f"{error.filename}: " if error.filename else ""
            return chunk, f"{where}{error.strerror or error}"
        return chunk, None


def _make_chunk(images: ImageFiles, folder: Path, chunk: int, keep: bool) -> None:
    """Write one chunk and its table; without `keep` the table alone."""
    table, reasons = [], {}

    def of_file(position: int) -> tuple[int, int, int]:
        otherwise = images.upright and read_otherwise(images.path(position))
        return int(images.sizes[position]), int(images.times[position]), int(otherwise)

    with replacing(pixels_file(folder, chunk)) if keep else nullcontext() as file:
        offset = 0
        for position in _members(chunk, len(images)):
            try:
                image = images.read(position).permute(1, 2, 0).contiguous().numpy()
            except BadImage as error:
                reasons[position] = str(error)
                table.append((offset, 0, 0, 0, *of_file(position)))
                continue
            check = 0
            if file is not None:
                file.write(image.data)
                check = zlib.crc32(image.data)
            table.append((offset, *image.shape[:2], check, *of_file(position)))
            offset += image.size
    arrays = {
        "table": np.array(table, dtype=np.int64),
        "bad": np.array(list(reasons), dtype=np.int64),
        "reasons": np.array(list(reasons.values()), dtype=np.str_),
    }
    write_bytes(_table(folder, chunk), dump_arrays("table", arrays))


def _to_make(images: ImageFiles, folder: Path) -> list[int]:
    """Chunks that are missing, or were made from files that have changed since."""
    todo = []
    for chunk in range(_chunks(len(images))):
        path, members = _table(folder, chunk), slice(chunk * decoded.CHUNK, (chunk + 1) * decoded.CHUNK)
        table = _load(path)[0] if path.is_file() else np.zeros((0, OTHERWISE + 1), dtype=np.int64)
        made_of = np.stack([images.sizes[members], images.times[members]], axis=1)
        if not np.array_equal(table[:, SIZE:OTHERWISE], made_of):
            todo.append(chunk)
    return todo


def _load(path: Path) -> tuple[np.ndarray, dict[int, str]]:
    """The table of a chunk, and position → reason of unreadable files."""
    try:
        content = load_arrays(path)
        return content["table"], dict(zip(content["bad"].tolist(), content["reasons"].tolist(), strict=True))
    except (OSError, MemoryError) as error:
        reason = error.strerror if isinstance(error, OSError) else f"there is not enough memory ({error})"
        raise DataError(f"{path} cannot be read: {reason}. Repeat the command once it can") from None
    except (ValueError, KeyError) as error:
        raise DataError(f"{path} is damaged ({error}): delete {path.parent}, which is made again") from None


def _read_tables(folder: Path, count: int) -> tuple[np.ndarray, dict[int, str]]:
    tables: list[np.ndarray] = []
    bad: dict[int, str] = {}
    for chunk in range(_chunks(count)):
        table, reasons = _load(_table(folder, chunk))
        pixels, written = pixels_file(folder, chunk), int(3 * (table[:, HEIGHT] * table[:, WIDTH]).sum())
        if table[:, CHECK].any() and (not pixels.is_file() or pixels.stat().st_size != written):
            raise DataError(f"{pixels} has not the size that was written: delete {folder}, which is made again")
        tables.append(table)
        bad |= reasons
    return np.concatenate(tables), bad


def _estimate(images: ImageFiles) -> int:
    """Bytes of all images decoded and resized, from the headers of some."""
    side, areas = images.framing.resize, []
    for position in _sample(images):
        if dimensions := size(images.path(position)):  # a broken one is reported later
            areas.append(side * side * max(dimensions) / min(dimensions))
    return int(3 * np.mean(areas or [side * side]) * len(images))


def _obstacle(size: int, making: Making) -> str | None:
    """The reason why so many bytes should not be kept in the folder, or None. Does not write anything there before."""
    there = next(folder for folder in (making.folder, *making.folder.absolute().parents) if folder.exists())
    free = shutil.disk_usage(there).free
    if size > (free / 2 if making.keep == "auto" else free * 0.95):
        half = ", more than half of" if making.keep == "auto" else ", and"
        needs, has = memory.amount(size), memory.amount(free)
        return f"decoded they would take {needs}{half} the {has} that are free in {making.folder}"
    return None if _writable(making.folder) else f"{making.folder} cannot be written"


def _writable(folder: Path) -> bool:
    try:
        ensure_writable(folder)
    except (ConfigError, RunError):
        return False
    return True


def _chunks(count: int) -> int:
    return -(-count // decoded.CHUNK)


def _members(chunk: int, count: int) -> range:
    return range(chunk * decoded.CHUNK, min((chunk + 1) * decoded.CHUNK, count))


def _table(folder: Path, chunk: int) -> Path:
    return folder / f"{chunk:04d}.npz"
