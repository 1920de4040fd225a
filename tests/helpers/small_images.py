"""Small files of images for tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from sfa_bench.data.images import Framing, ImageFiles

FRAMING = Framing(20, 16)


def colours(number: int, width: int, height: int) -> np.ndarray:
    """Smooth colours that differ everywhere and between numbers, uint8 [H, W, 3]."""
    rng = np.random.default_rng(number)
    coarse = Image.fromarray(rng.integers(0, 256, (4, 4, 3), dtype=np.uint8))
    return np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC))


def write(folder: Path, count: int, framing: Framing = FRAMING, ending: str = "jpg") -> ImageFiles:
    """`count` images of different sizes and shapes in the folder, as the files that they are."""
    folder.mkdir(parents=True, exist_ok=True)
    names = []
    for i in range(count):
        names.append(f"{i:03d}.{ending}")
        Image.fromarray(colours(i, 24 + i % 5, 40 - i % 7)).save(folder / names[-1])
    return files(folder, names, framing)


def files(folder: Path, names: list[str], framing: Framing = FRAMING) -> ImageFiles:
    """These files."""
    found = [(folder / name).stat() for name in names]
    sizes, times = (np.array([getattr(one, key) for one in found], np.int64) for key in ("st_size", "st_mtime_ns"))
    return ImageFiles(folder, np.array([name.encode() for name in names]), sizes, times, framing)
