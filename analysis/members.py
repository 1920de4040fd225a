"""Read arrays of a foreign `.npz`, checking each header before unpacking: nothing executes, nothing is larger than
allowed, and other members are not unpacked.
"""

from __future__ import annotations

import lzma
import math
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sfa_bench.errors import ConfigError

READERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
# What zipfile, its decompressors and NumPy's reading of a header raise for bytes that are not arrays.
BROKEN = (
    *(OSError, EOFError, ValueError, TypeError, KeyError, SyntaxError, OverflowError, RecursionError, MemoryError),
    *(RuntimeError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error, tokenize.TokenError),
)


@dataclass(frozen=True)
class Wanted:
    """An array that may be in the file: its shape, allowed kinds of NumPy types, and a description."""

    shape: tuple[int, ...]
    kinds: str
    words: str


def read_members(path: Path, wanted: Mapping[str, Wanted]) -> dict[str, np.ndarray]:
    """The arrays of these names that the file has, as they are stored.

    Raises: ConfigError with a sentence when it is no `.npz`, or has an array of another shape or type than wanted.
    """
    if not path.is_file():  # also a pipe, which would be waited for
        raise ConfigError(f"there is no file {path}" if not path.exists() else f"{path} is not a regular file")
    try:
        with zipfile.ZipFile(path) as archive:
            inside: dict[str, list[zipfile.ZipInfo]] = {}
            for info in archive.infolist():
                inside.setdefault(info.filename.removesuffix(".npy"), []).append(info)
            there = {name: inside[name] for name in wanted if name in inside}
            if twice := [name for name, infos in there.items() if len(infos) > 1]:
                raise ConfigError(f"{path} has {twice[0]} {len(there[twice[0]])} times: which one is meant?")
            return {name: _read(path, archive, name, infos[0], wanted[name]) for name, infos in there.items()}
    except ConfigError:
        raise
    except BROKEN as error:
        with path.open("rb") as file:
            if file.read(len(np.lib.format.MAGIC_PREFIX)) == np.lib.format.MAGIC_PREFIX:
                raise ConfigError(f"{path} is one array; ingest takes an .npz with names (np.savez)") from error
        raise ConfigError(f"{path} is not an .npz of plain arrays ({type(error).__name__}: {_line(error)})") from error


def _read(path: Path, archive: zipfile.ZipFile, name: str, info: zipfile.ZipInfo, wanted: Wanted) -> np.ndarray:
    with archive.open(info) as member:
        version = np.lib.format.read_magic(member)
        if version not in READERS:
            raise ValueError(f"{name} has a header of version {version}")
        shape, fortran, dtype = READERS[version](member)
        if dtype.hasobject:
            raise ConfigError(f"{path} is not an .npz of plain arrays ({name} holds Python objects)")
        if shape != wanted.shape or dtype.kind not in wanted.kinds:
            count = (
                f" ({shape[0]} labels, ours {wanted.shape[0]})" if name.endswith("label") and len(shape) == 1 else ""
            )
            raise ConfigError(f"{name} must be {wanted.words}, not {dtype} {list(shape)}{count}")
        size = math.prod(shape) * dtype.itemsize
        content = member.read(size + 1)  # the end of the member, where its checksum is compared
        if len(content) != size:
            raise ConfigError(f"{path}: {name} has not the {size} bytes that its header says")
    flat = np.frombuffer(content, dtype)
    return flat.reshape(shape, order="F" if fortran else "C")


def _line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or ["no more is known"])[0][:200]
