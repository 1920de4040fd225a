import gc
import os
import subprocess
import sys
import weakref
from pathlib import Path

import pytest

import sfa_bench
from sfa_bench.store.folder import RunFolder
from sfa_bench.store.ledger import find_done, no_garbage, records, run_path
from sfa_bench.store.record import new_record


def make(runs_dir, hash, state="done", **names):
    names = {"dataset": "digits", "method": "dividemix", "plugin": "none"} | names
    folder = RunFolder(run_path(runs_dir, names, hash))
    with folder.claim():
        folder.write_record(new_record(hash=hash, config={}, names=names, command="run.py") | {"state": state})
    return folder.path


@pytest.mark.parametrize(
    ("names", "path"),
    [
        ({"plugin": "sfa"}, "digits/dividemix+sfa/abc"),
        ({"plugin": "none"}, "digits/dividemix/abc"),
        ({}, "digits/dividemix/abc"),
        ({"plugin": "none", "classifier": "crt"}, "digits/dividemix+crt/abc"),
        ({"plugin": "sfa", "classifier": "joint"}, "digits/dividemix+sfa/abc"),
        ({"plugin": "mine/sfa"}, "digits/dividemix+mine-sfa/abc"),
    ],
)
def test_a_run_lies_where_the_contract_says(names, path):
    assert run_path("runs", {"dataset": "digits", "method": "dividemix"} | names, "abc") == Path("runs") / path


def test_all_records_below_the_paths_are_found_once(tmp_path, caplog):
    first, second = make(tmp_path, "a1"), make(tmp_path, "b2", "failed", plugin="sfa", dataset="cifar10")
    (tmp_path / ".sweeps" / "x").mkdir(parents=True)
    (tmp_path / ".sweeps" / "x" / "run.json").write_text("{}")
    (first / "probes").mkdir()
    (first / "probes" / "run.json").write_text("{}")
    found = dict(records([tmp_path, first, tmp_path / "digits", tmp_path / "nowhere"]))
    assert {path: record["state"] for path, record in found.items()} == {second: "failed", first: "done"}
    assert [path for path, _ in records([first])] == [first]
    assert not caplog.text  # nothing was taken for a run that is none


def test_a_broken_record_is_said_and_the_others_are_found(tmp_path, caplog):
    broken, whole = make(tmp_path, "a1"), make(tmp_path, "b2")
    os.truncate(broken / "run.json", 40)
    assert [path for path, _ in records([tmp_path])] == [whole]
    assert f"{broken / 'run.json'} is left out" in caplog.text


def test_a_finished_run_counts_under_whatever_names_it_was_started(tmp_path):
    path = make(tmp_path, "a1", plugin="my_sfa")
    assert find_done(tmp_path, "a1") == path
    assert find_done(tmp_path, "a2") is None
    assert find_done(tmp_path / "nowhere", "a1") is None


@pytest.mark.parametrize("state", ["running", "interrupted", "failed"])
def test_only_done_is_done(tmp_path, state):
    make(tmp_path, "a1", state)
    assert find_done(tmp_path, "a1") is None


def test_a_folder_renamed_to_another_hash_is_not_taken_for_it(tmp_path):
    path = make(tmp_path, "a1")
    path.rename(path.with_name("a2"))
    assert find_done(tmp_path, "a2") is None


def test_reading_the_ledger_imports_no_torch():
    script = "import sys, sfa_bench.store.ledger, sfa_bench.store.folder; assert 'torch' not in sys.modules, 1"
    subprocess.run([sys.executable, "-c", script], cwd=Path(sfa_bench.__file__).parents[1], check=True)


def test_what_lives_while_no_garbage_is_collected_can_be_collected_later():
    class Owner:
        pass

    owner = Owner()
    owner.itself = owner
    gone = weakref.ref(owner)
    with no_garbage():
        assert not gc.isenabled()
    assert gc.isenabled()
    del owner
    gc.collect()
    assert gone() is None
