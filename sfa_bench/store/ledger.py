"""All runs below a folder: the disk is the ledger (explanation/runs.md §6)."""

from __future__ import annotations

import gc
import logging
import os
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sfa_bench.store.places import folders_in, place_of, places_below
from sfa_bench.store.reading import Damaged
from sfa_bench.store.record import load

if TYPE_CHECKING:
    from sfa_bench.store.run_table import RunTable

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
    return (Path(folder) for places in places_below(paths) for folder, _ in places)


def records(
    paths: Iterable[str | os.PathLike[str]], left_out: list[Path] | None = None
) -> Iterator[tuple[Path, dict[str, Any]]]:
    """(folder, record) of every run at or below the paths. A record that cannot be read is reported and left out; its
    folder is added to `left_out`.
    """
    for folder in run_folders(paths):
        if (record := read_record(folder / "run.json")) is not None:
            yield folder, record
        elif left_out is not None:
            left_out.append(folder)


def table(paths: Iterable[str | os.PathLike[str]], left_out: list[Path] | None = None) -> RunTable:
    """`records` as columns, from the index of each runs folder where it agrees with the files."""
    from sfa_bench.store.run_table import RunTable, read_table

    paths = list(paths)
    return RunTable.of([read_table(root, p, left_out) for root, p in zip(paths, places_below(paths), strict=True)])


def find_done(runs_dir: str | os.PathLike[str], hash: str) -> Path | None:
    """The folder of a finished run of this hash, whatever names it was started under."""
    for method in _methods(runs_dir):
        record = read_record(Path(method, hash, "run.json"))
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
    """State and folder of every run of these hashes, see `find_runs` and `states_of`."""
    return states_of(find_runs(runs_dir, hashes))


def find_runs(runs_dir: str | os.PathLike[str], hashes: Collection[str]) -> RunTable:
    """The runs in folders with these hashes, in one pass.

    Only looks three levels below `runs_dir`, where `run_path` puts runs.
    """
    from sfa_bench.store.run_table import read_table

    folders = (folder for method in _methods(runs_dir) for folder in folders_in(method))
    asked = (place_of(folder) for folder in folders if os.path.basename(folder) in hashes)
    return read_table(runs_dir, [place for place in asked if place is not None])


def rows_of(runs: RunTable) -> dict[str, int]:
    """The row of every run, by its hash; a `done` one where a hash has several folders."""
    rows: dict[str, int] = {}
    states = runs.values("state")
    for row, (folder, hash) in enumerate(zip(runs.folders, runs.values("hash"), strict=True)):
        if hash == os.path.basename(folder) and (hash not in rows or states[rows[hash]] != "done"):
            rows[hash] = row
    return rows


def states_of(runs: RunTable) -> dict[str, tuple[str, Path]]:
    """State and folder of every run, by its hash, see `rows_of`."""
    states = runs.values("state")
    return {hash: (states[row], Path(runs.folders[row])) for hash, row in rows_of(runs).items()}


@contextmanager
def no_garbage() -> Iterator[None]:
    """Disable garbage collection: while millions of values are created that all stay, it takes half of the time.

    They are not frozen afterwards, which would spare some later collections: in a notebook the caller's own cycles,
    with a model in them, would never be freed.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _methods(runs_dir: str | os.PathLike[str]) -> Iterator[str]:
    for dataset in folders_in(runs_dir):
        yield from folders_in(dataset)


def read_record(path: Path) -> dict[str, Any] | None:
    """A record; None where there is none, and, with a warning, where it cannot be read."""
    try:
        return load(path)
    except (FileNotFoundError, NotADirectoryError):  # not a run, or its record is just being replaced
        return None
    except OSError as error:
        log.warning("%s is left out: %s", path, error.strerror)
    except Damaged as error:
        log.warning("%s is left out: %s", path, error)
    return None
