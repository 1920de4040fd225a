"""Read foreign arrays and archives, checking what their headers claim before anything is unpacked."""

from __future__ import annotations

import math
import zipfile
from pathlib import Path
from typing import IO

import numpy as np
from numpy.lib import format as npy

from sfa_bench import memory
from sfa_bench.errors import DataError


def members(path: Path) -> list[str]:
    """Names of the arrays of an `.npz`."""
    with zipfile.ZipFile(path) as archive:
        return [name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")]


def read_arrays(path: Path, names: list[str]) -> dict[str, np.ndarray]:
    """These arrays of an `.npz`; no other member is unpacked.

    Raises: DataError where a header claims more than the member holds, or all arrays need more than the memory; and the
    errors of `zipfile` and NumPy on a broken file.
    """
    with zipfile.ZipFile(path) as archive:
        sizes = {}
        for name in names:
            member = archive.getinfo(f"{name}.npy")
            with archive.open(member) as file:
                shape, dtype = header(file)
                start = file.tell()
            sizes[name] = claimed = math.prod(shape) * dtype.itemsize
            if member.file_size - start != claimed:
                raise DataError(
                    f"{name} of {path} is truncated or damaged: its header claims {claimed:,} bytes, and "
                    f"{member.file_size - start:,} follow"
                )
        memory.require(sum(sizes.values()), f"the arrays of {path}", "give a smaller file")
    with np.load(path, allow_pickle=False) as arrays:
        return {name: arrays[name] for name in names}


def header(file: IO[bytes]) -> tuple[tuple[int, ...], np.dtype]:
    """Shape and type that the header of an array claims; no more is read.

    Raises: ValueError for anything but an array as NumPy writes it, and for one of Python objects, which only pickle
    could read.
    """
    version = npy.read_magic(file)
    read = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}.get(version)
    if read is None:
        raise ValueError(f"version {version} of the array format")
    shape, _, dtype = read(file)
    if dtype.hasobject:
        raise ValueError("it holds Python objects, not plain numbers")
    return shape, dtype


def refuse_compressed(file: IO[bytes], path: Path) -> None:
    """Raises DataError for a Torch file (opened, at `path`) with compressed members, which `torch.save` never writes: a
    small one could unpack to any size. What is not a ZIP archive is left to the loader.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            packed = [member.filename for member in archive.infolist() if member.compress_type != zipfile.ZIP_STORED]
    except zipfile.BadZipFile:
        packed = []
    file.seek(0)
    if packed:
        raise DataError(f"{path} is refused: its member {packed[0]!r} is compressed, which no Torch file's is")
