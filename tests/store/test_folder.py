import errno
import json
import logging
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

import sfa_bench
from sfa_bench.errors import ConfigError, RunError
from sfa_bench.store import atomic
from sfa_bench.store.atomic import write_bytes
from sfa_bench.store.folder import RunFolder, ensure_writable
from sfa_bench.store.record import new_record


@pytest.fixture
def folder(tmp_path):
    folder = RunFolder(tmp_path / "run")
    with folder.claim():
        yield folder


def record(**changes):
    return new_record(hash="0123456789ab", config={"lr": 0.02}, names={"method": "ce"}, command="run.py") | changes


# ---- checkpoints


def test_the_last_two_checkpoints_are_kept(folder):
    assert folder.load_checkpoint() == (None, None)
    for epoch in (1, 2, 3):
        folder.save_checkpoint({"epoch": epoch, "weights": torch.full((2,), float(epoch))})
    state, note = folder.load_checkpoint()
    assert (state["epoch"], state["weights"].tolist(), note) == (3, [3.0, 3.0], None)
    assert torch.load(folder.path / "previous.pt", weights_only=True)["epoch"] == 2


@pytest.mark.parametrize("share", [0.0, 0.3, 0.5, 0.99])
def test_a_torn_checkpoint_falls_back_to_the_previous_one_and_says_so(folder, share):
    folder.save_checkpoint({"epoch": 1, "weights": torch.ones(1000)})
    folder.save_checkpoint({"epoch": 2, "weights": torch.ones(1000)})
    last = folder.path / "last.pt"
    os.truncate(last, int(last.stat().st_size * share))
    state, note = folder.load_checkpoint()
    assert state["epoch"] == 1
    assert note == f"{last} is damaged: going on from previous.pt"


def test_a_kill_between_the_two_renames_leaves_a_checkpoint_to_go_on_from(folder):
    folder.save_checkpoint({"epoch": 1})
    os.replace(folder.path / "last.pt", folder.path / "previous.pt")
    state, note = folder.load_checkpoint()
    assert state == {"epoch": 1}
    assert "last.pt is missing: going on from previous.pt" in note


def test_two_broken_checkpoints_are_said_and_the_run_starts_again(folder):
    for name in ("last.pt", "previous.pt"):
        (folder.path / name).write_bytes(b"PK\x03\x04 half a file")
    state, note = folder.load_checkpoint()
    assert state is None
    assert "last.pt is damaged" in note
    assert "previous.pt is damaged" in note
    assert note.endswith("starting again from the first epoch")


@pytest.mark.parametrize("number", [errno.EACCES, errno.EMFILE, errno.ENOMEM, errno.ESTALE, errno.EIO])
def test_what_cannot_be_opened_now_is_not_taken_for_damaged(folder, monkeypatch, number):
    """The run would start again, and replace it."""
    folder.append_metrics({"epoch": 1, "phase": None, "selection": None})
    folder.save_checkpoint({"epoch": 1})
    before = {path.name: path.read_bytes() for path in folder.path.iterdir()}

    def refused(path, *_):
        raise OSError(number, os.strerror(number), str(path))

    with monkeypatch.context() as patched:
        patched.setattr(os, "open", refused)
        for read in (folder.load_checkpoint, lambda: folder.truncate_metrics(1), lambda: folder.metrics_of(1)):
            with pytest.raises(RunError, match=rf"cannot read .*: {os.strerror(number)}\. Repeat the command once"):
                read()
        assert folder.read_metrics() == []  # which only shows them
    assert {path.name: path.read_bytes() for path in folder.path.iterdir()} == before


class Evil:
    def __init__(self, path: str):
        self.path = path

    def __reduce__(self):
        return open, (self.path, "w")


def test_a_checkpoint_cannot_run_code(folder, tmp_path):
    torch.save({"epoch": Evil(str(tmp_path / "proof"))}, folder.path / "last.pt")
    state, note = folder.load_checkpoint()
    assert state is None
    assert "last.pt is damaged" in note
    assert not (tmp_path / "proof").exists()


@pytest.mark.parametrize("value", [np.float64(1.0), np.ones(2), {1, 2}, Path("a")])
def test_what_could_not_be_loaded_again_is_refused_when_it_is_saved(folder, value):
    folder.save_checkpoint({"epoch": 1})
    with pytest.raises(TypeError, match=r"state\['deep'\]\[0\] is a"):
        folder.save_checkpoint({"deep": [value]})
    assert folder.load_checkpoint() == ({"epoch": 1}, None)


def test_a_done_run_keeps_one_reduced_checkpoint_or_none(folder):
    folder.save_checkpoint({"epoch": 1})
    folder.save_checkpoint({"epoch": 2})
    folder.reduce_checkpoint({"weights": torch.ones(1)})
    assert [path.name for path in folder.path.glob("*.pt")] == ["last.pt"]
    assert set(folder.load_checkpoint()[0]) == {"weights"}
    folder.reduce_checkpoint(None)
    assert not list(folder.path.glob("*.pt"))


# ---- a disk that refuses


def run_until_full(folder: RunFolder) -> None:
    for epoch in range(1, 50):
        folder.append_metrics({"epoch": epoch, "per_class": [0.5] * 100})
        folder.save_checkpoint({"epoch": epoch, "weights": torch.ones(1000 * epoch)})


def test_a_full_disk_is_one_sentence_and_what_was_written_stays(small_disk):
    folder = RunFolder(small_disk / "run")
    with folder.claim():
        folder.write_record(record())
        with pytest.raises(RunError, match=r"could not write .*: the disk is full\..*repeat the command"):
            run_until_full(folder)
        for _ in range(200):  # fill it to the last byte, on which the metrics fail too
            try:
                folder.append_metrics({"epoch": 99, "text": "x" * 3000})
            except RunError:
                break
        with pytest.raises(RunError, match=r"run\.json: the disk is full"):
            folder.write_record(record(command="x" * 10_000))
    lines = (folder.path / "metrics.jsonl").read_text()
    assert lines.endswith("\n")
    assert all(json.loads(line) for line in lines.splitlines())
    state, note = folder.load_checkpoint()
    assert note is None
    assert torch.load(folder.path / "previous.pt", weights_only=True)["epoch"] == state["epoch"] - 1
    assert folder.read_record() == record()
    assert not list(folder.path.glob(".*.tmp"))
    with pytest.raises(RunError, match="disk is full"), RunFolder(small_disk / "other").claim():
        pass
    for path in folder.path.glob("*.pt"):
        path.unlink()
    with folder.claim():  # the claim was given back on the full disk
        pass


def test_a_write_that_fails_leaves_the_old_files_as_they_were(folder, monkeypatch):
    folder.write_record(record())
    folder.append_metrics({"epoch": 1})
    folder.save_checkpoint({"epoch": 1})
    before = {path.name: path.read_bytes() for path in folder.path.iterdir()}

    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    for write in (
        lambda: folder.write_record(record(state="done")),
        lambda: folder.append_metrics({"epoch": 2}),
        lambda: folder.save_checkpoint({"epoch": 2}),
        lambda: folder.reduce_checkpoint({"epoch": 2}),
        lambda: folder.write_arrays("predictions.npz", {"index": [1]}),
        lambda: folder.truncate_metrics(0),
    ):
        with pytest.raises(RunError, match="the disk is full"):
            write()
    assert {path.name: path.read_bytes() for path in folder.path.iterdir()} == before


def test_a_read_only_disk_is_refused_before_training(small_disk):
    folder = RunFolder(small_disk / "run")
    with folder.claim():
        pass
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with pytest.raises(ConfigError, match=r"Read-only file system.*runs_dir=PATH"), folder.claim():
        pass
    with pytest.raises(ConfigError, match="Read-only"):
        ensure_writable(small_disk / "new")


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is forbidden to root")
def test_a_folder_without_permission_is_refused(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(ConfigError, match="Permission denied"):
        ensure_writable(tmp_path)


def test_a_log_that_cannot_be_written_stops_nothing(folder, caplog):
    folder.log("epoch 1: all is well")
    assert (folder.path / "log.txt").read_text().endswith(" epoch 1: all is well\n")
    (folder.path / "log.txt").unlink()
    (folder.path / "log.txt").mkdir()
    folder.log("epoch 2: lost?")
    assert "epoch 2: lost?" in caplog.text


def test_a_killed_writer_leaves_the_old_file_whole(tmp_path):
    write_bytes(tmp_path / "run.json", b"old")
    script = "import os, sys; from pathlib import Path; from sfa_bench.store.atomic import replacing\n"
    script += "with replacing(Path(sys.argv[1])) as file:\n    file.write(b'new'); file.flush(); os._exit(9)"
    root = Path(sfa_bench.__file__).parents[1]
    assert subprocess.run([sys.executable, "-c", script, str(tmp_path / "run.json")], cwd=root).returncode == 9
    assert (tmp_path / "run.json").read_bytes() == b"old"
    assert len(atomic.sweep_temporary(tmp_path)) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["run.json"]


# ---- metrics.jsonl


def test_metrics_come_back_and_are_cut_to_the_checkpoint(folder):
    assert folder.read_metrics() == []
    for epoch in range(1, 6):
        folder.append_metrics({"epoch": epoch, "loss": 1 / epoch})
    assert folder.truncate_metrics(3) == [{"epoch": e, "loss": 1 / e} for e in (1, 2, 3)]
    folder.append_metrics({"epoch": 4, "loss": 7.0})
    assert [row["loss"] for row in folder.read_metrics()] == [1, 1 / 2, 1 / 3, 7]


@pytest.mark.parametrize("torn", ['{"epoch": 3, "lo', '{"epoch": 3}', "\x00\x00\x00", "3\n", '{"loss": 1}\n'])
def test_a_torn_last_line_is_dropped_and_said(folder, caplog, torn):
    for epoch in (1, 2):
        folder.append_metrics({"epoch": epoch})
    with open(folder.path / "metrics.jsonl", "a") as file:
        file.write(torn)
    assert folder.truncate_metrics(9) == [{"epoch": 1}, {"epoch": 2}]
    assert "metrics.jsonl is incomplete after 2 lines" in caplog.text
    folder.append_metrics({"epoch": 3})
    assert [row["epoch"] for row in folder.read_metrics()] == [1, 2, 3]


def test_nan_is_never_written(folder):
    row = {"epoch": 1, "loss": float("nan"), "deep": [np.float32("inf"), np.array([1.0, np.nan]), torch.tensor(2)]}
    folder.append_metrics(row)
    folder.write_record(record(metrics={"test/acc/final": np.nan}))
    text = (folder.path / "metrics.jsonl").read_text() + (folder.path / "run.json").read_text()
    assert "nan" not in text.lower()
    assert "inf" not in text.lower()
    assert folder.read_metrics() == [{"epoch": 1, "loss": None, "deep": [None, [1.0, None], 2]}]
    assert folder.read_record()["metrics"] == {"test/acc/final": None}


# ---- the record


def test_the_record_comes_back(folder):
    assert folder.read_record() is None
    written = record(state="done", cost={"seconds": np.float64(0.1)}, data={"observed_counts": np.array([3, 1])})
    folder.write_record(written)
    assert folder.read_record() == written | {"cost": {"seconds": 0.1}, "data": {"observed_counts": [3, 1]}}


@pytest.mark.parametrize("share", [0, 0.5, 0.95])
def test_a_run_json_cut_in_half_is_said_and_taken_as_missing(folder, caplog, share):
    folder.write_record(record(state="done"))
    path = folder.path / "run.json"
    os.truncate(path, int(path.stat().st_size * share))
    assert folder.read_record() is None
    assert f"{path} is ignored: it is not complete JSON" in caplog.text


@pytest.mark.parametrize("content", [b"", b"\0" * 4096, b"\xff\xfe"])
def test_a_run_json_that_a_power_cut_spoilt_is_said_and_taken_as_missing(folder, caplog, content):
    (folder.path / "run.json").write_bytes(content)
    with caplog.at_level(logging.WARNING):
        assert folder.read_record() is None
    assert "is ignored" in caplog.text


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("[]", "it is not the record of a run"),
        ('{"state": "done"}', "it is not the record of a run"),
        ('{"schema": 1}', "it lacks command, config"),
        (json.dumps(record(state="finished")), "its state 'finished' is none of"),
        (json.dumps(record(schema=99)), "it has schema 99, this version reads 1"),
    ],
)
def test_a_run_json_of_another_version_or_program_is_refused_not_overwritten(folder, content, reason):
    (folder.path / "run.json").write_text(content)
    with pytest.raises(ConfigError, match=f"{reason}.*; move it away, or use another runs_dir"):
        folder.read_record()


def test_the_configuration_is_readable_yaml(folder):
    folder.write_config({"lr": 0.02, "noise": {"file": None}, "device": ["cuda:0", "cuda:1"]})
    text = (folder.path / "config.yaml").read_text()
    assert yaml.safe_load(text) == {"lr": 0.02, "noise": {"file": None}, "device": ["cuda:0", "cuda:1"]}


# ---- arrays


def test_equal_arrays_give_equal_bytes_whatever_the_order_and_the_hour(folder):
    arrays = {"index": np.arange(5), "selected": torch.tensor([True, False])}
    folder.write_arrays("predictions.npz", arrays)
    folder.write_arrays("again.npz", dict(reversed(arrays.items())))
    assert (folder.path / "predictions.npz").read_bytes() == (folder.path / "again.npz").read_bytes()
    with zipfile.ZipFile(folder.path / "again.npz") as file:
        assert {entry.date_time for entry in file.infolist()} == {(1980, 1, 1, 0, 0, 0)}
    back = folder.read_arrays("again.npz")
    assert back["selected"].tolist() == [True, False]
    assert back["index"].dtype == np.int64


def test_arrays_that_need_pickle_are_refused(folder):
    with pytest.raises(TypeError, match="names would need pickle"):
        folder.write_arrays("x.npz", {"names": np.array([{}], dtype=object)})
