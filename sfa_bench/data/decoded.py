"""Decoded images on disk, as `data.cache` makes them."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from sfa_bench.errors import RunError

CHUNK = 512  # images a file
MAPPED = 256  # files that a process maps at a time: each takes a descriptor
OFFSET, HEIGHT, WIDTH, CHECK, SIZE, TIME, OTHERWISE = range(7)  # columns of a table


def pixels_file(folder: Path, chunk: int) -> Path:
    return folder / f"{chunk:04d}.bin"


@dataclass
class Cache:
    """N images at their place in `folder`. table int64 [N, 7]: offset in their chunk, height, width, CRC-32, size and
    time of the file that they were made of, and whether it is `read_otherwise`; height 0 where it is unreadable.
    """

    folder: Path
    table: np.ndarray
    _mapped: dict[int, np.ndarray] = field(default_factory=dict)
    _verified: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        self._verified = np.zeros(len(self.table), dtype=bool)

    def __getstate__(self) -> dict[str, object]:
        return {**vars(self), "_mapped": {}}  # workers that are not forked map the files themselves

    def read(self, place: int) -> Tensor:
        """The image uint8 [3, h, w]. Raises RunError where its checksum differs; each is checked once."""
        offset, height, width, check = self.table[place, :SIZE].tolist()
        chunk = place // CHUNK
        content = self._chunk(chunk)[offset : offset + 3 * height * width]
        if not self._verified[place]:
            if zlib.crc32(content.data) != check:
                raise RunError(
                    f"{pixels_file(self.folder, chunk)} is damaged: delete {self.folder}, which is made again"
                )
            self._verified[place] = True
        return torch.from_numpy(content.reshape(height, width, 3)).permute(2, 0, 1)

    def _chunk(self, chunk: int) -> np.ndarray:
        if chunk not in self._mapped:
            if len(self._mapped) >= MAPPED:
                del self._mapped[next(iter(self._mapped))]
            # Copy-on-write, because Torch warns about read-only arrays; nothing writes to them.
            self._mapped[chunk] = np.memmap(pixels_file(self.folder, chunk), np.uint8, mode="c")
        return self._mapped[chunk]
