"""Decoded and resized images on disk, memory-mapped and shared by all runs on them.

A folder holds chunks of CHUNK images in the order of the list: `0000.bin`, their pixels uint8 [h, w, 3] one after the
other, and, written when those are safe, `0000.npz` with where each lies. So an interrupted start goes on where it
was, and whoever finds a table finds its pixels.
"""

from __future__ import annotations

import os
import shutil
import time
import zipfile
import zlib
from collections.abc import Callable
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from sfa_bench.data.images import BadImage, ImageFiles, import_libraries
from sfa_bench.data.workers import in_workers
from sfa_bench.errors import ConfigError, DataError, RunError
from sfa_bench.store.atomic import replacing
from sfa_bench.store.claim import Holder
from sfa_bench.store.fingerprint import fingerprint
from sfa_bench.store.folder import RunFolder, ensure_writable

FOLDER = ".sfa_bench"
CHUNK = 512  # images a file
SAMPLE = 200  # images whose headers tell how much all will take
SAY_SECONDS = 10.0
REVISION = 1  # raised when decoding or resizing changes
OFFSET, HEIGHT, WIDTH, CHECK = range(4)  # columns of a table


@dataclass
class Cache:
    """N images at their place in `folder`. table int64 [N, 4]: offset in their chunk, height, width, CRC-32; height 0
    where the file is no picture.
    """

    folder: Path
    table: np.ndarray
    _chunks: dict[int, np.ndarray] = field(default_factory=dict)
    _verified: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        self._verified = np.zeros(len(self.table), dtype=bool)

    def read(self, place: int) -> Tensor:
        """The image uint8 [3, h, w]. Raises RunError where it is not what was written; each is looked at once."""
        offset, height, width, check = self.table[place].tolist()
        chunk = place // CHUNK
        if chunk not in self._chunks:
            # Copy-on-write, since Torch warns at arrays that it must not write to; nobody does.
            self._chunks[chunk] = np.memmap(_pixels(self.folder, chunk), np.uint8, mode="c")
        content = self._chunks[chunk][offset : offset + 3 * height * width]
        if not self._verified[place]:
            if zlib.crc32(content.data) != check:
                raise RunError(f"{_pixels(self.folder, chunk)} is damaged: delete {self.folder}, which is made again")
            self._verified[place] = True
        return torch.from_numpy(content.reshape(height, width, 3)).permute(2, 0, 1)


def key(images: ImageFiles) -> str:
    """Which pixels these are: 16 hex digits over files, their sizes and the scaling."""
    return fingerprint(*identity(images), np.array([images.framing.resize, REVISION]))


def identity(images: ImageFiles) -> tuple[np.ndarray, np.ndarray]:
    """What tells these files from others without reading them: names and sizes."""
    return np.frombuffer(b"\n".join(images.names.tolist()), dtype=np.uint8), images.sizes


@dataclass(frozen=True)
class Making:
    """How to make a cache, and who hears of it.

    keep: `on`, `off`, or `auto`, which is on where half of the free space is enough; workers: processes; say takes a
    sentence for the user; on_step is called now and then and may raise to stop; wait: see RunFolder.claim.
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
    """The same images, decoded on disk where `making.keep` says so; and position → reason of those that are none.

    Args: part is how a user knows them (train, test …); look_at_all: every file is decoded to know whether it is a
    picture, also where none is kept.
    Raises: DataError where the disk does not take what `keep=on` asks for, or is full.
    """
    keep, folder = making.keep != "off", making.folder / f"{part}-{key(images)}"
    if keep and not _complete(folder, len(images)):
        size = _estimate(images)
        obstacle = _obstacle(size, folder, making.keep)
        if obstacle is None:
            making.say(f"keeping the {len(images):,} {part} images decoded, {_amount(size)} in {folder}")
        elif making.keep == "on":
            raise DataError(f"dataset.cache=on: {obstacle}; give dataset.cache_dir=FOLDER with more, or leave it out")
        else:
            making.say(f"the {part} images are read from their files in every epoch: {obstacle}")
            keep = False
    if not keep and not look_at_all:
        return images, {}
    if not keep:
        folder = folder.with_name(f"{folder.name}-looked-at")
    _make(images, folder, part, keep, making)
    table, bad = _read_tables(folder, len(images))
    if keep:
        images = replace(images, cache=Cache(folder, table), places=np.arange(len(images)))
    return images, bad


def _make(images: ImageFiles, folder: Path, part: str, keep: bool, making: Making) -> None:
    if _complete(folder, len(images)):
        return
    import_libraries()
    with RunFolder(folder).claim(making.wait):
        todo = [chunk for chunk in range(_chunks(len(images))) if not _table(folder, chunk).is_file()]
        done, said = len(images) - sum(len(_members(chunk, len(images))) for chunk in todo), time.monotonic()
        for chunk, error in in_workers(_ChunkMaker(images, folder, keep), todo, making.workers):
            making.on_step()
            if error is not None:
                raise DataError(
                    f"the decoded {part} images cannot be kept in {folder} ({error}): free space there, give "
                    "dataset.cache_dir=FOLDER, or type dataset.cache=off"
                )
            done += len(_members(chunk, len(images)))
            if time.monotonic() - said > SAY_SECONDS:
                making.say(f"{done:,} of {len(images):,} {part} images are decoded")
                said = time.monotonic()


@dataclass(frozen=True)
class _ChunkMaker(Dataset[tuple[int, str | None]]):
    """Number of a chunk → that number, and why the disk did not take it."""

    images: ImageFiles
    folder: Path
    keep: bool

    def __getitem__(self, chunk: int) -> tuple[int, str | None]:
        try:
            _make_chunk(self.images, self.folder, chunk, self.keep)
        except OSError as error:
            return chunk, error.strerror or str(error)
        return chunk, None


def _make_chunk(images: ImageFiles, folder: Path, chunk: int, keep: bool) -> None:
    """Write one chunk and its table; without `keep` the table alone."""
    table, reasons = [], {}
    with replacing(_pixels(folder, chunk)) if keep else nullcontext() as file:
        offset = 0
        for position in _members(chunk, len(images)):
            try:
                image = images.read(position).permute(1, 2, 0).contiguous().numpy()
            except BadImage as error:
                reasons[position] = str(error)
                table.append((offset, 0, 0, 0))
                continue
            if file is None:
                table.append((0, *image.shape[:2], 0))
                continue
            file.write(image.data)
            table.append((offset, *image.shape[:2], zlib.crc32(image.data)))
            offset += image.size
    with replacing(_table(folder, chunk)) as file:
        np.savez(
            file,
            table=np.array(table, dtype=np.int64),
            bad=np.array(list(reasons), dtype=np.int64),
            reasons=np.array(list(reasons.values()), dtype=np.str_),
        )


def _read_tables(folder: Path, count: int) -> tuple[np.ndarray, dict[int, str]]:
    tables: list[np.ndarray] = []
    bad: dict[int, str] = {}
    for chunk in range(_chunks(count)):
        path = _table(folder, chunk)
        try:
            with np.load(path, allow_pickle=False) as content:
                table = content["table"]
                bad |= dict(zip(content["bad"].tolist(), content["reasons"].tolist(), strict=True))
            pixels = _pixels(folder, chunk)
            written = int(3 * (table[:, HEIGHT] * table[:, WIDTH]).sum())
            if table[:, CHECK].any() and pixels.stat().st_size != written:
                raise ValueError(f"{pixels.name} has another size than was written")
            if len(table) != len(_members(chunk, count)):
                raise ValueError("another number of images")
        except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
            raise DataError(f"{path} is damaged ({error}): delete {folder}, which is made again") from None
        tables.append(table)
    return np.concatenate(tables), bad


def _estimate(images: ImageFiles) -> int:
    """Bytes of all images decoded and resized, from the headers of some."""
    from PIL import Image

    side, areas = images.framing.resize, []
    for position in np.unique(np.linspace(0, len(images) - 1, SAMPLE).round().astype(int)):
        with suppress(Exception), Image.open(images.path(int(position))) as picture:  # a bad one is met again
            areas.append(side * side * max(picture.size) / min(picture.size))
    return int(3 * np.mean(areas or [side * side]) * len(images))


def _obstacle(size: int, folder: Path, keep: str) -> str | None:
    """Why the images should not be kept in this folder, or None."""
    try:
        ensure_writable(folder)
        usage = shutil.disk_usage(folder)
    except (ConfigError, OSError) as error:
        return str(error)
    there = sum(entry.stat().st_size for entry in os.scandir(folder) if entry.name.endswith(".bin"))
    needed, free = size - there, usage.free
    allowed = free / 2 if keep == "auto" else free * 0.95
    if needed <= allowed:
        return None
    half = ", more than half of" if keep == "auto" else ", and"
    return f"decoded they would take {_amount(needed)}{half} the {_amount(free)} that are free in {folder.parent}"


def _amount(size: float) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e8 else f"{size / 1e6:.1f} MB"


def _chunks(count: int) -> int:
    return -(-count // CHUNK)


def _members(chunk: int, count: int) -> range:
    return range(chunk * CHUNK, min((chunk + 1) * CHUNK, count))


def _pixels(folder: Path, chunk: int) -> Path:
    return folder / f"{chunk:04d}.bin"


def _table(folder: Path, chunk: int) -> Path:
    return folder / f"{chunk:04d}.npz"


def _complete(folder: Path, count: int) -> bool:
    return all(_table(folder, chunk).is_file() for chunk in range(_chunks(count)))
