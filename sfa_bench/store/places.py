"""Where runs are: the folders with a `run.json` below some folders, and when that file was written."""

from __future__ import annotations

import logging
import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

log = logging.getLogger("sfa_bench.store")


class Stamp(NamedTuple):
    """What tells one `run.json` from another at the same place: its bytes, and the times of its content and entry."""

    size: int
    modified_ns: int
    changed_ns: int

    @classmethod
    def of(cls, status: os.stat_result) -> Stamp:
        return cls(status.st_size, status.st_mtime_ns, status.st_ctime_ns)


class Place(NamedTuple):
    """A folder with a `run.json`, and the stamp of that; None where it cannot be looked at."""

    folder: str
    stamp: Stamp | None


def places_below(paths: Iterable[str | os.PathLike[str]]) -> Iterator[list[Place]]:
    """Of each path the run folders at or below it, in sorted order, each once; hidden folders are left out."""
    several = list(paths)
    seen: set[tuple[int, int]] = set()
    for path in several:
        places = list(_below(str(Path(path))))
        if len(several) > 1:  # the same folder by another path or a link is the same run
            places = [place for place in places if _is_new(place.folder, seen)]
        yield places


def _is_new(folder: str, seen: set[tuple[int, int]]) -> bool:
    try:
        status = os.stat(folder)
    except OSError:  # it has disappeared meanwhile
        return False
    before = len(seen)
    seen.add((status.st_dev, status.st_ino))
    return len(seen) > before


def _below(root: str) -> Iterator[Place]:
    left = [root]
    while left:
        folder = left.pop()
        if (place := place_of(folder)) is not None:
            yield place
            continue
        left += reversed(folders_in(folder, follow_links=False))


def place_of(folder: str) -> Place | None:
    """The folder with the stamp of its `run.json`; None where there is none."""
    path = f"{folder}/run.json"
    try:
        status = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return Place(folder, None) if os.path.islink(path) else None
    except OSError:
        return Place(folder, None)
    return None if stat.S_ISDIR(status.st_mode) else Place(folder, Stamp.of(status))


def folders_in(parent: str | os.PathLike[str], follow_links: bool = True) -> list[str]:
    """The folders in `parent` in sorted order, hidden ones left out; none where there is no such folder."""
    try:
        with os.scandir(parent) as entries:
            names = sorted(e.name for e in entries if not e.name.startswith(".") and _is_folder(e, follow_links))
    except OSError as error:
        if not isinstance(error, (FileNotFoundError, NotADirectoryError)):
            log.warning("%s is left out: %s", error.filename, error.strerror)
        return []
    before = "" if parent in (".", "") else os.path.join(parent, "")
    return [before + name for name in names]


def _is_folder(entry: os.DirEntry[str], follow_links: bool) -> bool:
    try:
        return entry.is_dir(follow_symlinks=follow_links)
    except OSError:  # a link to itself
        return False
