"""An index of runs in `RUNS_DIR/.index/` (explanation/runs.md §6): what is in the columns of records, so that a hundred
thousand records are not parsed for every table.

It is derived, and never believed against the files: a row counts only while the path, size and times of its `run.json`
are those that it was read with. It is a set of segments, each written once and never changed, so that many processes
on a shared disk need no lock: two that add the same runs, or put the same segments together, cost some bytes. Whatever
is missing, damaged or cannot be written costs time.
"""

from __future__ import annotations

import io
import json
import logging
import os
import secrets
import time
import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from sfa_bench.errors import ConfigError
from sfa_bench.store.atomic import TEMPORARY, write_bytes
from sfa_bench.store.columns import LISTED, Column, joined, smallest, used
from sfa_bench.store.digest import check_archive_file, seal_archive
from sfa_bench.store.places import Stamp
from sfa_bench.store.reading import Damaged, open_regular, parse

FOLDER = ".index"
VERSION = 1  # of what a segment holds; another one is left alone and not read
WORTH = 64  # runs from which an index is worth its reading, and new runs from which it is worth its writing
LARGE = 20_000  # runs of a segment that is written, and left alone when others are put together
SEVERAL = 8  # small segments from which they are put together
RECENT_NS = 2_000_000_000  # a file this young may change again within one tick of its clock
ABANDONED = 3600  # seconds after which a temporary file has no writer any more
MOST = 4_000_000_000  # bytes of a segment's arrays

log = logging.getLogger("sfa_bench.store")


class Segment:
    """Some runs of an index: their paths below the runs folder, their stamps [runs, 3], and columns."""

    def __init__(self, paths: Sequence[str], stamps: np.ndarray, columns: Mapping[str, Column]):
        self.paths, self.stamps, self._columns = paths, stamps, dict(columns)

    @property
    def keys(self) -> list[str]:
        """The keys that any of its runs has."""
        return [*self._columns]

    def column(self, key: str) -> Column | None:
        """The column of a key; None where no run of the segment has it."""
        return self._columns.get(key)

    def kept(self, rows: np.ndarray) -> Segment:
        """A segment of some of its runs."""
        columns = {}
        for key in self.keys:
            column = self.column(key)
            assert column is not None
            columns[key] = Column(column.codes[rows], column.values)
        return Segment([self.paths[row] for row in rows], self.stamps[rows], columns)


class StoredSegment(Segment):
    """A segment in a file, which stays open: its columns are read when they are asked for.

    Raises OSError where it cannot be read, Damaged where its content is not as it was written.
    """

    def __init__(self, path: Path):
        self.path = path
        file = open_regular(path)
        weakref.finalize(self, file.close)
        check_archive_file(file)
        try:
            self._arrays = np.load(file, allow_pickle=False)
            if sum(info.file_size for info in self._arrays.zip.infolist()) > MOST:
                raise Damaged(f"it holds more than {MOST:,} bytes")
            head = parse(self._arrays["head"].tobytes())
            if head["version"] != VERSION:
                raise Damaged(f"it is of version {head['version']}, this one reads {VERSION}")
            paths = parse(self._arrays["paths"].tobytes())
            super().__init__(paths, self._arrays["stamps"], {})
            self._places = {key: place for place, key in enumerate(head["keys"])}
            self._same = {key: Column(np.zeros(len(paths), np.int8), [value]) for key, value in head["same"].items()}
        except Damaged:
            raise
        except Exception as error:  # NumPy and zipfile raise a dozen kinds for bytes that are not arrays
            raise Damaged(f"it holds no index that can be read ({type(error).__name__})") from error
        if self.stamps.shape != (len(paths), 3) or self.stamps.dtype != np.int64:
            raise Damaged("its paths and stamps do not fit together")

    @property
    def keys(self) -> list[str]:
        return [*self._places, *self._same]

    def column(self, key: str) -> Column | None:
        if key in self._same:
            return self._same[key]
        place = self._places.get(key)
        if place is None:
            return None
        stored, codes = self._arrays[f"values{place}"], self._arrays[f"codes{place}"]
        values = stored.tolist() if stored.dtype == np.float64 else parse(stored.tobytes())
        fits = codes.shape == (len(self.paths),) and codes.min() >= LISTED and codes.max() < len(values)
        if not fits or (stored.dtype == np.float64 and not np.isfinite(stored).all()):
            raise ConfigError(f"{self.path} is no index of runs; delete it")  # its digest is right: nobody damaged it
        return Column(codes, values)


def dump(segment: Segment) -> memoryview:
    """The content of a segment's file: an `.npz` archive with its digest."""
    keys, same = list[str](), dict[str, Any]()
    arrays: dict[str, np.ndarray] = {"paths": _text(list(segment.paths)), "stamps": segment.stamps}
    for key in segment.keys:
        column = segment.column(key)
        assert column is not None
        column = used(column)
        if len(column.values) == 1 and (column.codes == 0).all():
            same[key] = column.values[0]
            continue
        arrays[f"codes{len(keys)}"] = column.codes.astype(smallest(len(column.values)))
        # Results are numbers of which hardly two are equal: as text they take ten times as long to read.
        floats = set(map(type, column.values)) == {float}
        arrays[f"values{len(keys)}"] = np.array(column.values, np.float64) if floats else _text(column.values)
        keys.append(key)
    arrays["head"] = _text({"version": VERSION, "keys": keys, "same": same})
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
    return seal_archive(buffer)


def _text(plain: Any) -> np.ndarray:
    return np.frombuffer(json.dumps(plain, allow_nan=False).encode(), dtype=np.uint8)


class Index:
    """The index of a runs folder, as far as it can be read."""

    def __init__(self, root: Path):
        self.root, self.folder = root, root / FOLDER
        self.segments = list(self._read())
        self._small = sum(len(segment.paths) < LARGE for segment in self.segments)
        self._rows: dict[str, tuple[int, int]] = {}
        self._stamps: dict[str, tuple[int, ...]] = {}
        for number, segment in enumerate(self.segments):
            self._rows.update((path, (number, row)) for row, path in enumerate(segment.paths))
            self._stamps.update(zip(segment.paths, map(tuple, segment.stamps.tolist()), strict=True))

    def _read(self) -> Iterator[StoredSegment]:
        try:
            names = sorted(name for name in os.listdir(self.folder) if name.endswith(".npz"))
        except OSError:
            return
        for name in names:
            try:
                yield StoredSegment(self.folder / name)
            except FileNotFoundError:  # put together with others meanwhile
                continue
            except (OSError, Damaged) as error:
                log.info("%s is not used: %s", self.folder / name, error)

    def find(self, path: str, stamp: Stamp) -> tuple[int, int] | None:
        """Segment and row of the run at `path`, below the runs folder; None where the file is not the one that was
        read.
        """
        return self._rows[path] if self._stamps.get(path) == stamp else None

    def add(self, new: Segment) -> Segment:
        """Store new runs, and put small segments together where there are several. What cannot be written is not.

        Returns: the segment as it is stored, whose columns are read when they are asked for, or `new`.
        """
        try:
            self.folder.mkdir(exist_ok=True)
            stored = StoredSegment(self._write(new))
            self._small += len(new.paths) < LARGE
            if self._small > SEVERAL:
                self._put_together()
            return stored
        except (OSError, Damaged) as error:
            log.info("no index in %s: %s", self.folder, error)
            return new

    def _write(self, segment: Segment) -> Path:
        path = self.folder / f"{secrets.token_hex(8)}.npz"
        write_bytes(path, dump(segment))
        return path

    def _put_together(self) -> None:
        """Replace segments that are small, or most of whose runs are gone or were read again, by larger ones."""
        for left_over in self.folder.glob(f".*{TEMPORARY}"):
            with suppress(FileNotFoundError):
                if time.time() - left_over.stat().st_mtime > ABANDONED:
                    left_over.unlink()
        everything = Index(self.root)
        replaced, parts = list[Path](), list[Segment]()
        for number, segment in enumerate(everything.segments):
            rows = [row for row, path in enumerate(segment.paths) if everything._agrees(path, number, row)]
            if len(rows) < LARGE or len(rows) < len(segment.paths) / 2:
                replaced.append(segment.path)
                parts.append(segment.kept(np.array(rows, dtype=np.intp)))
        while parts:
            together = list[Segment]()
            while parts and sum(len(part.paths) for part in together) < LARGE:
                together.append(parts.pop())
            self._write(combined(together))
        for path in replaced:
            path.unlink(missing_ok=True)

    def _agrees(self, path: str, number: int, row: int) -> bool:
        """Whether this row is the newest of its run, and its file is still the one that was read."""
        try:
            return self.find(path, Stamp.of(os.stat(self.root / path / "run.json"))) == (number, row)
        except OSError:
            return False


def combined(parts: Sequence[Segment]) -> Segment:
    """One segment of all runs of several."""
    ends = np.cumsum([len(part.paths) for part in parts])
    places = [np.arange(end - len(part.paths), end) for part, end in zip(parts, ends, strict=True)]
    columns = {}
    for key in dict.fromkeys(key for part in parts for key in part.keys):
        of_key = [(rows, column) for rows, part in zip(places, parts, strict=True) if (column := part.column(key))]
        columns[key] = joined(of_key, int(ends[-1]))
    stamps = np.concatenate([part.stamps for part in parts])
    return Segment([path for part in parts for path in part.paths], stamps, columns)
