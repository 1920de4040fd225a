"""Files of data sets that packages install: found where the package puts them, without running any of its code."""

from __future__ import annotations

import bz2
import gzip
import importlib.util
import io
import lzma
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from sfa_bench.choices.sources import SOURCES
from sfa_bench.data.sources import DEFAULT_DATA_DIR, files
from sfa_bench.data.sources.contents import Contents, file
from sfa_bench.errors import DataError

OPENED: dict[bytes, Callable[..., Any]] = {
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ": lzma.open,
}


def of_python(package: str) -> Path | None:
    """The folder of an installed Python package, which is not imported; None where it is not installed."""
    spec = importlib.util.find_spec(package)
    places = None if spec is None else spec.submodule_search_locations
    return Path(places[0]) if places else None


def is_default(data_dir: Path) -> bool:
    """Whether `data_dir` is left at its default, so that the files of packages are looked for."""
    return str(data_dir) == DEFAULT_DATA_DIR


def places(data_dir: Path, installed: Iterable[Path | None]) -> list[Path]:
    """The folders where a data set's files may lie: `data_dir`, or where that is the default the package's, too."""
    return [data_dir, *(place for place in installed if is_default(data_dir) and place is not None)]


def locate(data_dir: Path, name: str, *installed: Path | None) -> Path | None:
    """The file `name`: `data_dir` itself where that is a file, else in one of the `places`; None if it is in none."""
    if data_dir.is_file():
        return data_dir
    return next((place / name for place in places(data_dir, installed) if (place / name).is_file()), None)


def find(choice: str, data_dir: Path, name: str, *installed: Path | None) -> Path:
    """As `locate`. Raises: DataError with the command that installs the data set `choice`."""
    if (path := locate(data_dir, name, *installed)) is None:
        raise missing(choice, data_dir, name)
    return path


def missing(choice: str, data_dir: Path, name: str) -> DataError:
    """That a file is not there, and where to get it."""
    install = SOURCES[choice].install
    if is_default(data_dir):
        return DataError(
            f"dataset={choice} needs {name}, which is not installed: run `{install}`, or give the folder that has it "
            "as data_dir"
        )
    return DataError(
        f"data_dir={data_dir} has no {name}: give the folder that has it, or leave data_dir out after `{install}`"
    )


def look(contents: Contents, md5: str, read: Callable[[Path], bytes], name: str, *installed: Path | None) -> None:
    """Look for the one file of a data set, as `find` does."""
    path = locate(contents.root, name, *installed) or contents.root / name
    contents.items.append(file(path, path.parent if contents.root.is_file() else contents.root, md5, read))


def unpacked(path: Path, most: int) -> bytes:
    """The content of a file that may be packed by gzip, bzip2 or xz. Raises: DataError, also beyond `most` bytes."""
    packed = files.read(path)
    opened = next((opened for start, opened in OPENED.items() if packed.startswith(start)), None)
    if opened is None:
        return packed
    try:
        with opened(io.BytesIO(packed)) as unpacking:
            content = unpacking.read(most + 1)
    except (EOFError, OSError, lzma.LZMAError, ValueError) as error:
        raise DataError(f"{path} is truncated or damaged ({error})") from None
    if len(content) > most:
        raise DataError(f"{path} is refused: it unpacks to more than {most:,} bytes")
    return content
