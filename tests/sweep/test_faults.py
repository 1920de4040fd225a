"""What disks, clocks, other programs and the kernel do to a sweep: it is said clearly, and nothing is lost."""

import json
import logging
import os
import re
import shutil
import signal
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from disks import fill, make_read_only, small_disk
from processes import ROOT, SMALL, at_work, finished, records, rows_of, start, wait_until, worker_of

import analysis.status
import analysis.table
from sfa_bench.engine.log import log_file
from sfa_bench.sweep.stop import StopFile

SWEEP = ("epochs=40", "replicate=0,1,2,3", "checkpoint_seconds=0")
MORE = (*SWEEP[:1], "replicate=0,1,2,3,4", *SWEEP[2:])
JOBLIB = ("hydra/launcher=joblib", "hydra.launcher.n_jobs=2")
NEXT_STEP = "the disk is full. What was written before is intact: free some space and repeat the command"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The sweep's folder without any fault, and another: the folders of its replicates 0 and 1 as they lay on the disk
    in the middle of their training, which is what a machine that dies leaves.
    """
    runs, cut_off = tmp_path_factory.mktemp("undisturbed") / "runs", tmp_path_factory.mktemp("cut_off")
    process = start(*SWEEP, runs=runs)
    try:
        for replicate in (0, 1):
            worker = worker_of(runs, replicate)
            os.kill(worker, signal.SIGSTOP)
            folder, record = records(runs)[replicate]
            while not (folder / "last.pt").exists():  # stopped between the two renames of a checkpoint
                os.kill(worker, signal.SIGCONT)
                time.sleep(0.01)
                os.kill(worker, signal.SIGSTOP)
            assert record["state"] == "running"
            shutil.copytree(folder, cut_off / folder.relative_to(runs))
            os.kill(worker, signal.SIGCONT)
        _, errors = process.communicate(timeout=240)
    finally:
        process.kill()
    assert process.returncode == 0, errors
    return runs, cut_off


@pytest.fixture(scope="module")
def undisturbed(made):
    return made[0]


@pytest.fixture
def half_done(tmp_path, made):
    """A copy of the sweep's folder, replicates 0 and 1 cut off, 2 and 3 done; and the folders by replicate."""
    runs = tmp_path / "runs"
    shutil.copytree(made[0], runs)
    for folder, _ in records(made[1]).values():
        shutil.rmtree(runs / folder.relative_to(made[1]))
    shutil.copytree(made[1], runs, dirs_exist_ok=True)
    return runs, {replicate: folder for replicate, (folder, _) in records(runs).items()}


def results(runs):
    """Of every run, its state and its numbers, epoch by epoch."""
    return {k: (record["state"], record["metrics"], rows_of(folder)) for k, (folder, record) in records(runs).items()}


def files(folder):
    """The content of every file below a folder, with its time."""
    found = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {path.relative_to(folder): (path.stat().st_mtime_ns, path.read_bytes()) for path in found}


def log(folder):
    return (folder / "log.txt").read_text()


def cut(path, share=0.5):
    os.truncate(path, int(path.stat().st_size * share))


def analysed(runs, capsys, caplog):
    """What status and table print, and what they say of files that they leave out."""
    capsys.readouterr()
    caplog.clear()
    assert analysis.status.main([str(runs)]) == 0
    assert analysis.table.main([str(runs), "--rows", "method", "--cols", "plugin"]) == 0
    return capsys.readouterr().out, caplog.text


# ---- disks


@pytest.mark.parametrize(("launcher", "victim", "room"), [((), 1, 0), (JOBLIB, 2, 24_000)], ids=["serial", "joblib"])
def test_a_disk_that_fills_during_a_checkpoint_costs_nothing_that_was_written(
    tmp_path, undisturbed, launcher, victim, room
):
    with small_disk(tmp_path / "disk", 2048) as disk:
        runs = disk / "runs"
        process = start(*SWEEP, *launcher, runs=runs)
        try:
            wait_until(lambda: at_work(runs, victim))
            while process.poll() is None:
                fill(disk, room)  # again and again: what a run frees is taken
                time.sleep(0.02)
            output, errors = process.communicate()
        finally:
            process.kill()
        assert process.returncode == 1, errors
        assert "Traceback" not in output + errors
        done = {k: folder for k, (folder, record) in records(runs).items() if record["state"] == "done"}
        assert 0 < len(done) < 4
        assert f"{len(done)} of 4 runs done" in output
        failed = [line for line in errors.splitlines() if line.startswith("failed: ")]
        assert len(failed) == 4 - len(done)
        assert all(f"{NEXT_STEP}; again: python run.py method=ce" in line for line in failed)
        # Whichever of the epoch's files came first after the disk was full.
        assert re.search(r"(last\.pt|metrics\.jsonl): the disk is full", log(records(runs)[victim][0]))
        assert not list(runs.rglob("*.tmp"))
        before = {k: files(folder) for k, folder in done.items()}
        reached = len(rows_of(records(runs)[victim][0]))
        (disk / "filler").unlink()
        status, output, errors = finished(*SWEEP, runs=runs)
        assert status == 0, errors
        assert f"{4 - len(done)} to run" in output
        assert {k: files(folder) for k, folder in done.items()} == before
        assert f"going on after epoch {reached - 1} of 40" in log(records(runs)[victim][0])
        assert results(runs) == results(undisturbed)


def test_a_disk_that_cannot_be_written_is_said_before_training_and_a_finished_sweep_still_shows_its_table(
    tmp_path, undisturbed
):
    with small_disk(tmp_path / "disk", 2048) as disk:
        runs = disk / "runs"
        fill(disk)
        status, _, errors = finished(*SWEEP, runs=runs)
        assert (status, errors) == (1, f"failed: could not write to {runs}/.sweeps: {NEXT_STEP}\n")
        (disk / "filler").unlink()
        make_read_only(disk)
        status, _, errors = finished(*SWEEP, runs=runs)
        reason = "(Read-only file system); choose another folder: runs_dir=PATH"
        assert (status, errors) == (2, f"refused: cannot write to {runs}/.sweeps {reason}\n")
        make_read_only(disk, "rw")
        shutil.copytree(undisturbed, runs, dirs_exist_ok=True)
        make_read_only(disk)
        before = files(runs)
        status, output, errors = finished(*SWEEP, runs=runs)
        assert status == 0
        assert "sweep of 4: 0 to run, 4 done" in output
        assert re.search(r"\| ce +\| none +\| [\d.]+ ± [\d.]+ \(4\) \|", output)
        assert errors == f"{runs} cannot be written: no run is missing, but this sweep's plan is not written there\n"
        # One more replicate: nothing can be added here.
        status, _, errors = finished(*MORE, runs=runs)
        assert (status, errors) == (2, f"refused: cannot write to {runs}/.sweeps {reason}\n")
        assert files(runs) == before


def test_a_disk_that_became_read_only_does_not_keep_a_sweep_from_ending(tmp_path):
    with small_disk(tmp_path / "disk", 64) as disk:
        stop = StopFile(disk / "a.stop")
        stop.ask("fail_fast")
        make_read_only(disk)
        stop.clear()  # its name is this sweep's alone: no later one finds it
        assert stop.reason() == "fail_fast"


@pytest.mark.parametrize("kind", ["full", "a folder"])
def test_a_log_that_cannot_be_written_stops_no_run_and_shows_no_traceback(tmp_path, capsys, caplog, kind):
    place = tmp_path / "log.txt"
    place.mkdir() if kind == "a folder" else place.symlink_to("/dev/full")
    with log_file(tmp_path):
        logging.getLogger("sfa_bench").info("epoch 1 of 2")
    assert capsys.readouterr().err == ""
    said = [f"{place} cannot be written: Is a directory; the run goes on without it"] if kind == "a folder" else []
    assert caplog.messages == said


# ---- files that a power cut left half written


def test_a_run_json_cut_in_half_or_empty_is_said_and_its_run_is_made_to_the_same_end(
    half_done, undisturbed, capsys, caplog
):
    runs, folders = half_done
    cut(folders[0] / "run.json")
    cut(folders[1] / "run.json", 0)
    cut(folders[2] / "run.json")
    reached = {k: len(rows_of(folders[k])) for k in (0, 1)}
    untouched = files(folders[3])
    shown, left_out = analysed(runs, capsys, caplog)
    assert shown.startswith("1 done, 3 missing; ")
    assert re.search(r"\| ce +\| [\d.]+ \(1\)", shown)
    status, output, errors = finished(*SWEEP, runs=runs)
    assert status == 0, errors
    assert "sweep of 4: 3 to run, 1 done" in output
    assert "Traceback" not in output + errors
    for k in range(3):
        sentence = f"{folders[k]}/run.json is left out: it is not complete JSON (cut while it was written?)"
        assert sentence in errors
        assert sentence in left_out
    for k, lines in reached.items():  # it may have died between an epoch's line and its checkpoint
        assert re.search(f"going on after epoch ({lines - 1}|{lines}) of 40", log(folders[k]))
    assert "last.pt is a finished run's, whose run.json is lost: starting from the first epoch" in log(folders[2])
    assert files(folders[3]) == untouched
    assert results(runs) == results(undisturbed)


def test_torn_checkpoints_and_lines_cost_their_own_run_some_epochs_and_others_nothing(
    half_done, undisturbed, capsys, caplog
):
    runs, folders = half_done
    cut(folders[0] / "last.pt")
    with open(folders[0] / "metrics.jsonl", "a") as file:
        file.write('{"epoch": 99, "lo')
    cut(folders[1] / "metrics.jsonl", share=0.1)  # less than a line: neither checkpoint has all of its epochs there
    cut(folders[2] / "last.pt")  # of a finished run: weights, which nobody needs to go on
    untouched = {k: files(folders[k]) for k in (2, 3)}
    shown, left_out = analysed(runs, capsys, caplog)
    assert shown.startswith("2 done, 2 stale; ")
    assert f"{folders[0]}/metrics.jsonl is incomplete after" in left_out
    status, output, errors = finished(*SWEEP, runs=runs)
    assert status == 0, errors
    assert "sweep of 4: 2 to run (2 resumable), 2 done" in output
    assert "Traceback" not in output + errors
    assert f"{folders[0]}/last.pt is damaged: going on from previous.pt" in output
    assert "metrics.jsonl is incomplete after" in log(folders[0])
    assert "metrics.jsonl lacks epochs before the checkpoint's" in output
    assert "starting again from the first" in log(folders[1])
    assert {k: files(folders[k]) for k in (2, 3)} == untouched
    assert results(runs) == results(undisturbed)


# ---- what others left


def test_foreign_files_are_left_alone_and_a_foreign_run_json_is_refused_by_name(tmp_path, undisturbed, capsys, caplog):
    runs = tmp_path / "runs"
    shutil.copytree(undisturbed, runs)
    folders = {k: folder for k, (folder, _) in records(runs).items()}
    shutil.rmtree(folders[3])
    foreign = {
        folders[0] / "run.json": b'{"program": "another"}',
        folders[1] / "run.json": (folders[1] / "run.json").read_bytes().replace(b'"schema": 1', b'"schema": 99'),
        runs / "elsewhere/run.json": b"[1, 2]",
        runs / "synthetic/ce/mine/run.json": b"\xff\xfe",
        folders[2] / "probes/run.json": b"{}",
        folders[2] / ".claim.x": b"mine",
        **{place / "notes.txt": b"mine" for place in (runs, runs / "synthetic", runs / "synthetic/ce", folders[2])},
        **{runs / ".sweeps" / name: content for name, content in {"a.json": b"\0\xff", "b.json": b"[1]"}.items()},
    }
    for path, content in foreign.items():
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
    (runs / ".sweeps/c.json").mkdir()
    (runs / "synthetic/ce/empty").mkdir()
    before = {k: files(folders[k]) for k in range(3)}
    shown, left_out = analysed(runs, capsys, caplog)
    assert shown.startswith("1 done, 3 missing; ")
    for path in (folders[0] / "run.json", folders[1] / "run.json", runs / "elsewhere/run.json"):
        assert f"{path} is left out: it " in left_out
    assert left_out.count(".json is left out: it is not a plan of a sweep") == 2
    assert "c.json is left out: Is a directory" in left_out
    status, output, errors = finished(*SWEEP, runs=runs)
    assert status == 1
    assert "sweep of 4: 3 to run, 1 done" in output
    assert "2 of 4 runs done" in output
    assert "Traceback" not in output + errors
    for k, reason in ((0, "it is not the record of a run"), (1, "it has schema 99, this version reads 1")):
        whose = f"refused: {folders[k]}/run.json was written by another version or another program: {reason}"
        assert f"{whose}; move it away, or use another runs_dir; again: python run.py method=ce" in errors
    assert all(path.read_bytes() == content for path, content in foreign.items())
    assert files(folders[2]) == before[2]
    for k in (0, 1):  # but for the claim, which is new and given back
        assert all(files(folders[k])[name] == kept for name, kept in before[k].items() if ".claim" not in name.name)
        (folders[k] / "run.json").unlink()
    (runs / "synthetic/ce/mine/run.json").unlink()  # `results` would read it
    status, _, errors = finished(*SWEEP, runs=runs)
    assert status == 0, errors
    assert results(runs) == results(undisturbed)


# ---- clocks


def test_claims_that_are_dead_and_from_the_future_are_taken_over_after_a_clock_was_set_back(
    tmp_path, half_done, undisturbed, capsys, caplog
):
    runs, folders = half_done
    (elsewhere,) = folders[0].glob(".claim.*")
    holder = json.loads(elsewhere.read_text()) | {"machine": "another", "host": "elsewhere"}
    elsewhere.write_text(json.dumps(holder))
    future = time.time() + 1e6
    for k in (0, 1):  # 1 is a dead process's on this machine
        (claim,) = folders[k].glob(".claim.*")
        os.utime(claim, (future, future))
    shown, _ = analysed(runs, capsys, caplog)
    assert shown.startswith("2 done, 1 running, 1 stale; ")
    # Python imports it first of all: it waits for a claim of another machine 1 second, not 120.
    hasty = "import sfa_bench.store.claim as claim\nclaim.SILENT_SECONDS = 1.0\n"
    (tmp_path / "sitecustomize.py").write_text(hasty)
    path = os.pathsep.join(filter(None, [str(tmp_path), str(ROOT), os.environ.get("PYTHONPATH")]))
    status, output, errors = finished(*SWEEP, runs=runs, PYTHONPATH=path)
    assert status == 0, errors
    assert "sweep of 4: 2 to run (1 resumable, 1 running elsewhere), 2 done" in output
    (waited,) = [line for line in output.splitlines() if line.startswith("waiting: ")]
    assert waited.startswith(f"waiting: process {holder['pid']} on elsewhere (since ")
    assert all("going on after epoch" in log(folders[k]) for k in (0, 1))
    assert results(runs) == results(undisturbed)


# ---- memory

HUNGRY = """
from pathlib import Path
from bootstrapping import Bootstrapping
from sfa_bench.methods.base import Training


class Hungry(Bootstrapping):
    def __init__(self, training: Training, *, megabytes: int = 0):
        super().__init__(training)
        self.megabytes = megabytes

    def epoch(self, e):
        if e == 5 and self.training.seed == 1:
            # In a group so small its parent may be the bigger one: the kernel shall take this process.
            Path("/proc/self/oom_score_adj").write_text("1000")
            _ = [bytes([1]) * 2**20 for _ in range(self.megabytes)]
        return super().epoch(e)
"""


def group_of_at_most(mib):
    """A group of processes that the kernel gives so much memory and no more; None where it cannot be made."""
    # Version 1 of the kernel's interface, and version 2: where, the limit, and what keeps swap from stretching it.
    kinds = [
        ("memory", "memory.limit_in_bytes", "memory.memsw.limit_in_bytes", str(mib << 20)),
        ("", "memory.max", "memory.swap.max", "0"),
    ]
    for place, limit, swap, swapped in kinds:
        group = Path("/sys/fs/cgroup", place, f"sfa_bench-{os.getpid()}")
        with suppress(OSError):
            group.mkdir()
        with suppress(OSError):
            if (group / limit).exists():
                (group / limit).write_text(str(mib << 20))
                with suppress(OSError):  # where the kernel counts no swap
                    (group / swap).write_text(swapped)
                return group
        with suppress(OSError):
            group.rmdir()
    return None


@contextmanager
def at_most(mib):
    """The same, for a while; the test is skipped where there is none."""
    if (group := group_of_at_most(mib)) is None:
        pytest.skip("no group of processes with a limit on its memory can be made here")
    try:
        yield group
    finally:
        wait_until(lambda: not (group / "cgroup.procs").read_text())
        group.rmdir()


def killed_in(group):
    """How many processes of the group the kernel has killed because memory ran out."""
    told = next(path for name in ("memory.events", "memory.oom_control") if (path := group / name).exists())
    return int(re.search(r"^oom_kill (\d+)$", told.read_text(), re.MULTILINE)[1])


def test_a_run_that_the_kernel_kills_for_memory_fails_alone_and_is_made_where_there_is_enough(tmp_path):
    runs = tmp_path / "runs"
    shutil.copy(ROOT / "docs/examples/bootstrapping.py", tmp_path)
    (tmp_path / "hungry.py").write_text(HUNGRY)
    (tmp_path / "conf/method").mkdir(parents=True)
    (tmp_path / "conf/method/hungry.yaml").write_text("_target_: hungry.Hungry\nmegabytes: 0\nrevision: 1\n")
    sweep = ("--config-dir", "conf", "method.megabytes=1500", "replicate=1,2", "epochs=8", "checkpoint_seconds=0")
    small = ("method=hungry", *SMALL[1:])
    with at_most(1200) as group:
        process = start(*sweep, runs=runs, small=small)
        try:
            (group / "cgroup.procs").write_text(str(process.pid))  # and all that it starts
            output, errors = process.communicate(timeout=240)
            assert killed_in(group) == 1
        finally:
            process.kill()
    assert process.returncode == 1, errors
    assert "1 of 2 runs done" in output
    assert "Traceback" not in output + errors
    (line,) = [line for line in errors.splitlines() if line.startswith("failed: ")]
    folder, record = records(runs)[1]
    reason = "the job's process was killed by SIGKILL (by the kernel because memory ran out, or by a user)"
    assert line.startswith(f"failed: {folder}: {reason}; again: python run.py --config-dir ")
    assert (record["state"], record["error"]["message"]) == ("failed", reason)
    assert reason in log(folder)
    done = {k: files(folder) for k, (folder, record) in records(runs).items() if record["state"] == "done"}
    assert set(done) == {2}
    status, output, errors = finished(*sweep, runs=runs, small=small)
    assert status == 0, errors
    assert "sweep of 2: 1 to run (1 failed before), 1 done" in output
    assert "going on after epoch 4 of 8" in log(folder)
    assert all(files(records(runs)[k][0]) == kept for k, kept in done.items())
