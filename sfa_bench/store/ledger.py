"""All runs below a folder: the disk is the ledger (explanation/runs.md §6)."""

from __future__ import annotations

import logging
import os
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import Any

from sfa_bench.store.reading import Damaged
from sfa_bench.store.record import load

DEFAULTS = {"plugin": "none", "classifier": "joint"}

log = logging.getLogger("sfa_bench.store")


def run_path(runs_dir: str | os.PathLike[str], names: dict[str, str], hash: str) -> Path:
    """`RUNS_DIR/<dataset>/<method>[+<plugin>][+<classifier>]/<hash>`; plugin none and classifier joint are omitted."""
    parts = [names["method"]]
    parts += [names[group] for group, silent in DEFAULTS.items() if names.get(group, silent) != silent]
    levels = (names["dataset"], "+".join(parts), hash)
    return Path(runs_dir, *(level.replace("/", "-") for level in levels))


def run_folders(paths: Iterable[str | os.PathLike[str]]) -> Iterator[Path]:
    """Every folder with a `run.json` at or below the paths, each once, in sorted order; hidden folders are left out."""
    seen: set[tuple[int, int]] = set()
    for root in paths:
        for folder, subfolders, files in os.walk(root, onerror=_unreadable):
            if "run.json" in files:
                subfolders.clear()
                try:
                    status = os.stat(folder)  # the same folder by another path or a link is the same run
                except OSError:  # it has disappeared meanwhile
                    continue
                if (place := (status.st_dev, status.st_ino)) not in seen:
                    seen.add(place)
                    yield Path(folder)
            subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))


def records(
    paths: Iterable[str | os.PathLike[str]], left_out: list[Path] | None = None
) -> Iterator[tuple[Path, dict[str, Any]]]:
    """(folder, record) of every run at or below the paths. A record that cannot be read is reported and left out; its
    folder is added to `left_out`.
    """
    for folder in run_folders(paths):
        if (record := _read(folder / "run.json")) is not None:
            yield folder, record
        elif left_out is not None:
            left_out.append(folder)


def find_done(runs_dir: str | os.PathLike[str], hash: str) -> Path | None:
    """The folder of a finished run of this hash, whatever names it was started under."""
    for method in _methods(runs_dir):
        record = _read(Path(method, hash, "run.json"))
        if record is not None and record["state"] == "done" and record["hash"] == hash:
            return Path(method, hash)
    return None


def run_place(runs_dir: str | os.PathLike[str], names: dict[str, str], hash: str) -> Path:
    """The folder of a run of this hash, whatever names it was started under: a finished one, else one begun, else a new
    one.
    """
    usual = run_path(runs_dir, names, hash)
    if (done := find_done(runs_dir, hash)) is not None:
        return done
    begun = sorted(path for path in Path(runs_dir).glob(f"[!.]*/*/{hash}") if path.is_dir())
    places = [usual, *begun]
    return next((path for path in places if (path / "run.json").is_file()), usual if usual.is_dir() else places[-1])


def find_states(runs_dir: str | os.PathLike[str], hashes: Collection[str]) -> dict[str, tuple[str, Path]]:
    """State and folder of every run of these hashes, in one pass; `done` wins where a hash has several folders.

    Only looks three levels below `runs_dir`, where `run_path` puts runs.
    """
    states: dict[str, tuple[str, Path]] = {}
    for method in _methods(runs_dir):
        for folder in _folders(method):
            name = os.path.basename(folder)
            if name not in hashes or states.get(name, ("",))[0] == "done":
                continue
            record = _read(Path(folder, "run.json"))
            if record is not None and record["hash"] == name:
                states[name] = record["state"], Path(folder)
    return states


def _methods(runs_dir: str | os.PathLike[str]) -> Iterator[str]:
    for dataset in _folders(runs_dir):
        yield from _folders(dataset)


def _folders(parent: str | os.PathLike[str]) -> list[str]:
    """The folders in `parent` in sorted order, hidden ones left out; none where there is no such folder."""
    try:
        with os.scandir(parent) as entries:
            return sorted(entry.path for entry in entries if not entry.name.startswith(".") and _is_folder(entry))
    except OSError as error:
        _unreadable(error)
        return []


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _unreadable(error: OSError) -> None:
    if not isinstance(error, (FileNotFoundError, NotADirectoryError)):
        log.warning("%s is left out: %s", error.filename, error.strerror)


def _read(path: Path) -> dict[str, Any] | None:
    try:
        return load(path)
    except (FileNotFoundError, NotADirectoryError):  # not a run, or its record is just being replaced
        return None
    except OSError as error:
        log.warning("%s is left out: %s", path, error.strerror)
    except Damaged as error:
        log.warning("%s is left out: %s", path, error)
    return None
