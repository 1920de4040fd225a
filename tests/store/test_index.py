"""The index of runs: whatever its state, what is read is what the files say."""

import json
import multiprocessing
import os
import random
import shutil
import time
from pathlib import Path

import numpy as np
import pytest

from sfa_bench.store import index, ledger, run_table
from sfa_bench.store.columns import ABSENT, LISTED, leaves
from sfa_bench.store.digest import seal_json
from sfa_bench.store.record import dumps, new_record

RUNS = 3 * index.WORTH


@pytest.fixture(autouse=True)
def _nothing_is_young(monkeypatch):
    """A file counts as young for two seconds, for which no test can wait."""
    monkeypatch.setattr(run_table, "RECENT_NS", -(10**18))


@pytest.fixture
def reads(monkeypatch):
    """The records that are parsed."""
    read = []
    monkeypatch.setattr(ledger, "load", lambda path, load=ledger.load: read.append(path) or load(path))
    return read


def write(root, number, **changes):
    """One run, with odd values among its numbers."""
    draw = random.Random(number)
    values = [None, True, 1, 1.0, 0.1, -0.5, "1", "text", "ü", "", draw.random(), draw.randrange(10), 10**17]
    identity = f"{draw.randrange(16**12):012x}"
    names = {"dataset": draw.choice(["digits", "cifar10"]), "method": draw.choice(["ce", "elr"]), "plugin": "none"}
    config = {
        "epochs": 5,
        "seed": number,
        f"key{number % 7}": draw.choice(values),
        "nested": {"a": draw.choice(values)},
    }
    record = new_record(hash=identity, config=config | {"list": [1, number % 3]}, names=names, command=f"run {number}")
    record["metrics"] = {"test/acc/final": draw.choice([None, 50, 50.0, draw.random()]), "test/per_class": [1.0, 2.0]}
    record["selection"] = {"auc": draw.random(), "of": {"head": draw.random()}} if number % 3 else None
    record |= {"state": draw.choice(["done", "done", "failed"]), "knows": draw.choice([[], ["rate"]])} | changes
    if record["state"] == "failed":
        record["error"] = {"type": "RunError", "message": f"the loss of {number}"}
    folder = Path(root, names["dataset"], names["method"], identity)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "run.json").write_bytes(seal_json(dumps(record)))
    return folder


@pytest.fixture
def runs(tmp_path):
    """A runs folder, its runs, and some that are none."""
    root = tmp_path / "runs"
    folders = [write(root, number) for number in range(RUNS)]
    cut, foreign, pipe, link, folder = folders[:5]
    os.truncate(cut / "run.json", 60)
    (foreign / "run.json").write_text('{"schema": 2}')
    (pipe / "run.json").unlink()
    os.mkfifo(pipe / "run.json")
    (link / "run.json").unlink()
    (link / "run.json").symlink_to("nowhere")
    (folder / "run.json").unlink()
    (folder / "run.json").mkdir()
    (root / ".hidden" / "x").mkdir(parents=True)
    shutil.copy(folders[9] / "run.json", root / ".hidden" / "x")
    (root / "digits" / "notes.txt").write_text("not a folder")
    return root


def folder_of_a_folder(root):
    """The folder whose `run.json` is one, which makes it none of a run."""
    return next(path.parent for path in root.glob("[!.]*/*/*/run.json") if path.is_dir())


def plain(root):
    """Every run with its values, from the files alone."""
    return {str(folder): dict(leaves(record)) for folder, record in ledger.records([root])}


def seen(table):
    """The same, from columns."""
    keys = table.keys()
    columns = {key: table.column(key) for key in keys}
    runs = {}
    for row, folder in enumerate(table.folders):
        codes = {key: int(column.codes[row]) for key, column in columns.items()}
        there = {key: code for key, code in codes.items() if code != ABSENT}
        runs[folder] = {key: () if code == LISTED else columns[key].values[code] for key, code in there.items()}
    return runs


def same(one, other):
    return json.dumps(one) == json.dumps(other) and one == other  # 1, 1.0 and true differ in JSON


def agrees(root):
    """Whether columns and files say the same, run for run and in the same order."""
    files, columns = plain(root), seen(ledger.table([root]))
    assert [*files] == [*columns]
    for folder, values in files.items():
        assert same(dict(sorted(values.items())), dict(sorted(columns[folder].items()))), folder
    return True


def segments(root):
    return sorted((root / ".index").glob("*.npz"))


def test_columns_are_what_the_files_say_without_and_with_an_index(runs, reads):
    assert not segments(runs)
    assert agrees(runs)
    assert segments(runs)
    reads.clear()
    table = ledger.table([runs])
    assert len(table) == RUNS - 5
    unreadable = {path.parent for path in reads}
    assert unreadable == {f for f in runs.glob("[!.]*/*/*") if str(f) not in table.folders} - {folder_of_a_folder(runs)}
    assert agrees(runs)


def test_a_record_that_changes_is_read_again_even_if_size_and_time_stay(runs, reads):
    ledger.table([runs])
    folder = next(Path(f) for f, values in seen(ledger.table([runs])).items() if values["state"] == "done")
    path, before = folder / "run.json", os.stat(folder / "run.json")
    text = path.read_text()
    record = json.loads(text)
    record.pop("digest")
    changed = dumps(record | {"command": record["command"].replace("run", "nur")})
    path.write_bytes(seal_json(changed))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert os.stat(path).st_size == before.st_size
    reads.clear()
    assert seen(ledger.table([runs]))[str(folder)]["command"].startswith("nur")
    assert path in reads
    assert agrees(runs)


def test_a_young_file_is_not_kept_since_it_may_change_within_a_tick_of_its_clock(runs, monkeypatch):
    monkeypatch.setattr(run_table, "RECENT_NS", 2_000_000_000)
    assert len(ledger.table([runs])) == RUNS - 5
    assert not segments(runs)
    assert agrees(runs)


def test_gone_and_new_runs_and_another_place_need_nothing(runs, reads, tmp_path):
    ledger.table([runs])
    shutil.rmtree(next(runs.glob("[!.]*/*/*")))
    write(runs, 1000)
    assert agrees(runs)
    moved = tmp_path / "elsewhere"
    runs.rename(moved)
    reads.clear()
    ledger.table([moved])
    assert len(reads) <= 5  # the new one, and those that cannot be read
    assert agrees(moved)


def test_part_of_a_runs_folder_uses_its_index(runs, reads):
    ledger.table([runs])
    reads.clear()
    part = ledger.table([runs / "digits"])
    assert len(part) > index.WORTH
    assert len(reads) <= 5
    assert not (runs / "digits" / ".index").exists()
    assert agrees(runs / "digits")


def test_the_same_runs_by_two_paths_are_counted_once(runs):
    link = runs.parent / "link"
    link.symlink_to(runs)
    assert ledger.table([runs, link, runs / "digits"]).folders == ledger.table([runs]).folders


@pytest.mark.parametrize("relative", [".", "runs", "./runs/", "../" + "x"])
def test_paths_are_taken_as_they_are_typed(runs, monkeypatch, reads, relative):
    monkeypatch.chdir(runs if relative == "." else runs.parent)
    place = os.path.join("..", runs.parent.name, "runs") if relative.startswith("../") else relative
    ledger.table([place])
    reads.clear()
    table = ledger.table([place])
    assert table.folders == [str(folder) for folder, _ in ledger.records([place])]
    assert len(table) == RUNS - 5
    assert sum("digits" in str(path) or "cifar10" in str(path) for path in reads) - (RUNS - 5) <= 10
    assert table.record(3) == dict(ledger.records([place]))[Path(table.folders[3])]


def _cut(path):
    os.truncate(path, path.stat().st_size // 2)


def _flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def _of_another_version(path):
    segment = index.StoredSegment(path)
    later = index.VERSION
    index.VERSION = later + 1
    try:
        path.write_bytes(index.dump(segment))
    finally:
        index.VERSION = later


def _a_folder(path):
    path.unlink()
    path.mkdir()


def _a_pipe(path):
    path.unlink()
    os.mkfifo(path)


DAMAGE = {
    "cut": _cut,
    "flipped": _flip,
    "empty": lambda path: path.write_bytes(b""),
    "text": lambda path: path.write_text("no archive"),
    "another version": _of_another_version,
    "folder": _a_folder,
    "pipe": _a_pipe,
    "link to nowhere": lambda path: (path.unlink(), path.symlink_to("nowhere")),
    "arrays of something else": lambda path: np.savez(path, x=np.arange(3)),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_index_costs_only_time(runs, damage):
    ledger.table([runs])
    for path in segments(runs):
        DAMAGE[damage](path)
    assert agrees(runs)
    assert agrees(runs)


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), PermissionError(13, "Permission denied")])
def test_an_index_that_cannot_be_written_costs_only_time(runs, monkeypatch, error):
    def fails(path, content):
        raise error

    monkeypatch.setattr(index, "write_bytes", fails)
    assert agrees(runs)
    assert not segments(runs)


def test_a_file_in_the_place_of_the_folder_costs_only_time(runs):
    (runs / ".index").write_text("")
    assert agrees(runs)


def test_rows_of_another_run_are_not_taken_for_this_one(runs):
    """Two index files that were exchanged between two runs folders."""
    other = runs.parent / "other"
    shutil.copytree(runs, other, ignore=shutil.ignore_patterns("run.json"))
    for number in range(RUNS):
        write(other, number, command="another")
    ledger.table([runs])
    shutil.copytree(runs / ".index", other / ".index")
    assert agrees(other)


def test_small_segments_are_put_together_and_what_is_gone_goes(runs, monkeypatch):
    monkeypatch.setattr(run_table, "WORTH", 8)
    first = RUNS
    for _ in range(index.SEVERAL + 2):
        for number in range(first, first + 8):
            write(runs, number)
        first += 8
        ledger.table([runs])
        assert len(segments(runs)) <= index.SEVERAL + 1
    shutil.rmtree(runs / "digits")
    write(runs, first)
    index.Index(runs)._put_together()
    assert len(segments(runs)) == 1
    rows = index.StoredSegment(segments(runs)[0]).paths
    assert not [path for path in rows if path.startswith("digits/")]
    assert agrees(runs)


def test_small_ledgers_have_no_index(tmp_path):
    for number in range(index.WORTH - 1):
        write(tmp_path, number)
    assert agrees(tmp_path)
    assert not (tmp_path / ".index").exists()


def test_states_are_found_by_the_index_as_without(runs, reads):
    hashes = {folder.name for folder in runs.glob("[!.]*/*/*")}
    without = ledger.find_states(runs, hashes)
    reads.clear()
    assert ledger.find_states(runs, hashes) == without
    assert len(reads) <= 5
    states = {Path(folder).name: (values["state"], Path(folder)) for folder, values in plain(runs).items()}
    assert without == states


def test_a_part_of_a_table_has_the_same_values(runs):
    table = ledger.table([runs])
    rows = np.flatnonzero(np.arange(len(table)) % 5 == 2)
    part, whole = seen(table.take(rows)), seen(table)
    assert part == {table.folders[row]: whole[table.folders[row]] for row in rows}
    assert table.take(rows).values("hash") == [table.values("hash")[row] for row in rows]


def _write_and_read(root, first):
    run_table.RECENT_NS, run_table.WORTH = -(10**18), 16
    for number in range(first, first + 10_000, 16):
        for one in range(number, number + 16):
            write(root, one)
        ledger.table([root])


def test_killed_writers_lose_nothing(tmp_path):
    """Three processes add runs to one folder, and to its index, and are killed at fifty random moments."""
    root, draw = tmp_path / "runs", random.Random(0)
    spawn = multiprocessing.get_context("fork")
    for kill in range(17):
        writers = [
            spawn.Process(target=_write_and_read, args=(root, 100_000 * (3 * kill + k)), daemon=True) for k in range(3)
        ]
        for writer in writers:
            writer.start()
        for writer in writers:
            time.sleep(draw.random() * 0.4)
            os.kill(writer.pid, 9)
            writer.join()
    files = {str(folder): record for folder, record in ledger.records([root])}
    table = ledger.table([root])
    assert table.folders == [*files]
    assert len(table) > index.WORTH
    assert segments(root)
    assert table.values("command") == [record["command"] for record in files.values()]
    assert agrees(root)
