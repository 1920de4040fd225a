import errno
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

import sfa_bench
from sfa_bench.errors import ConfigError, RunError
from sfa_bench.store import claim as module
from sfa_bench.store.claim import Claim, Claimed, process_start
from sfa_bench.store.folder import RunFolder

ROOT = Path(sfa_bench.__file__).parents[1]

# Each enters ROUNDS times; `inside` exists only while somebody is, so that a second one fails on creating it.
WORKER = """
import os, sys
from pathlib import Path
from sfa_bench.store.folder import RunFolder
folder, rounds, dies = RunFolder(sys.argv[1]), int(sys.argv[2]), sys.argv[3] == "dies"
for _ in range(rounds):
    with folder.claim(wait=lambda holder: None, poll_seconds=0.001):
        inside = Path(sys.argv[4]) / "inside"
        os.close(os.open(inside, os.O_CREAT | os.O_EXCL))
        with open(Path(sys.argv[4]) / "entered", "a") as file:
            file.write(f"{os.getpid()}\\n")
        inside.unlink()
        if dies:
            os._exit(0)  # without giving the folder back
"""


def start(script: str, *arguments: object) -> subprocess.Popen:
    return subprocess.Popen([sys.executable, "-c", script, *map(str, arguments)], cwd=ROOT)


@pytest.mark.parametrize(("rounds", "how"), [(20, "releases"), (1, "dies")])
def test_of_many_processes_one_at_a_time_holds_the_folder_and_each_gets_its_turn(tmp_path, rounds, how):
    workers = [start(WORKER, tmp_path / "run", rounds, how, tmp_path) for _ in range(5)]
    assert [worker.wait(timeout=60) for worker in workers] == [0] * 5
    entered = (tmp_path / "entered").read_text().split()
    assert sorted(entered) == sorted([str(worker.pid) for worker in workers] * rounds)


def test_a_live_claim_is_told_to_the_newcomer_who_gets_the_folder_when_it_is_released(tmp_path):
    first, second = Claim(tmp_path), Claim(tmp_path)
    assert first.acquire() is None
    holder = second.acquire()
    assert (holder.pid, holder.host) == (os.getpid(), socket.gethostname())
    with pytest.raises(Claimed, match=f"process {os.getpid()} on {socket.gethostname()}"), RunFolder(tmp_path).claim():
        pass
    told = []

    def release(holder):
        told.append(holder.pid)
        first.release()

    with RunFolder(tmp_path).claim(wait=release, poll_seconds=0):
        assert told == [os.getpid()]
        assert not first.held()


def test_who_waits_may_give_up(tmp_path):
    first = Claim(tmp_path)
    first.acquire()

    def give_up(holder):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), RunFolder(tmp_path).claim(wait=give_up):
        pass
    assert first.held()
    first.release()


def test_the_claim_of_a_killed_process_is_taken_over_at_once_even_while_it_is_a_zombie(tmp_path):
    script = "import sys; from sfa_bench.store.claim import Claim; from pathlib import Path\n"
    script += "assert Claim(Path(sys.argv[1])).acquire() is None; print('held', flush=True); sys.stdin.read()"
    child = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert child.stdout.readline() == b"held\n"
    newcomer = Claim(tmp_path)
    assert newcomer.acquire().pid == child.pid
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # dead, and not yet reaped
    assert process_start(child.pid) is None
    assert newcomer.acquire() is None
    newcomer.release()
    child.communicate()


def test_a_process_that_the_system_hides_is_alive_until_it_is_silent(tmp_path, monkeypatch):
    """As /proc with hidepid does for those of other users."""

    def forbidden(pid, number):
        raise PermissionError

    first = Claim(tmp_path)
    assert first.acquire() is None
    monkeypatch.setattr(module, "_status", lambda pid: [])
    monkeypatch.setattr(os, "kill", forbidden)
    assert process_start(os.getpid()) == ""
    holder = Claim(tmp_path).acquire()
    assert holder is not None
    assert holder.pid == os.getpid()
    assert first.held()
    os.utime(next(tmp_path.glob(".claim.*")), (10**9, 10**9))
    assert Claim(tmp_path).acquire() is None


def test_a_reused_process_id_is_not_taken_for_the_holder(tmp_path, monkeypatch):
    old = Claim(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(module, "process_start", lambda pid: "1")
        old.acquire()
    assert Claim(tmp_path).acquire() is None  # our own pid, which started at another time


def test_where_the_system_tells_no_start_times_the_process_id_decides(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "PROC", tmp_path / "no proc")
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    assert (process_start(os.getpid()), process_start(child.pid)) == ("", None)
    assert module.this_machine.__wrapped__() == socket.gethostname()


def test_a_claim_that_cannot_be_written_leaves_nothing_and_is_one_sentence(tmp_path, monkeypatch):
    def full(*arguments):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(module.json, "dump", full)
    with pytest.raises(RunError, match="the disk is full"), RunFolder(tmp_path).claim():
        pass
    assert not list(tmp_path.iterdir())


def claim_from_elsewhere(folder: Path) -> Path:
    """A claim of a machine whose processes we cannot see."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "this_machine", lambda: "another boot")
        patch.setattr(module, "process_start", lambda pid: "1")
        assert Claim(folder).acquire() is None
    return folder / ".claim.1"


@pytest.mark.parametrize(("age", "stale"), [(110, False), (125, True)])
def test_a_claim_from_another_machine_is_stale_after_120_silent_seconds(tmp_path, age, stale):
    file = claim_from_elsewhere(tmp_path)
    (tmp_path / "clock").touch()
    now = (tmp_path / "clock").stat().st_mtime
    os.utime(file, (now - age, now - age))
    assert (Claim(tmp_path).acquire() is None) == stale


def test_silence_is_measured_by_the_clock_of_the_file_system_not_by_ours(tmp_path, monkeypatch):
    claim_from_elsewhere(tmp_path)
    monkeypatch.setattr(time, "time", lambda: 4e9)
    assert Claim(tmp_path).acquire() is not None


def test_a_clock_that_was_set_back_does_not_keep_a_dead_claim_young(tmp_path, monkeypatch):
    file = claim_from_elsewhere(tmp_path)
    future = file.stat().st_mtime + 1e6
    os.utime(file, (future, future))
    newcomer = Claim(tmp_path)
    assert newcomer.acquire() is not None
    watched = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: watched + 100)
    assert newcomer.acquire() is not None
    os.utime(file, (future + 15, future + 15))  # a heartbeat: it lives
    monkeypatch.setattr(time, "monotonic", lambda: watched + 140)
    assert newcomer.acquire() is not None
    monkeypatch.setattr(time, "monotonic", lambda: watched + 270)
    assert newcomer.acquire() is None


def test_the_heartbeat_keeps_the_file_young(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "BEAT_SECONDS", 0.0)
    claim = Claim(tmp_path)
    claim.acquire()
    file = tmp_path / ".claim.1"
    os.utime(file, (1, 1))
    deadline = time.monotonic() + 30
    while file.stat().st_mtime == 1 and time.monotonic() < deadline:
        os.sched_yield()
    assert file.stat().st_mtime > 1e9
    claim.release()


@pytest.mark.parametrize("seen", [1, 2])  # it would create number 2, which is gone, or 3, which is the holder's
def test_a_newcomer_that_slept_between_looking_and_creating_withdraws(tmp_path, monkeypatch, seen):
    for _ in range(2):
        earlier = Claim(tmp_path)
        earlier.acquire()
        earlier.release()
    holder = Claim(tmp_path)
    assert holder.acquire() is None  # number 3; 1 and 2 are swept
    sleeper = Claim(tmp_path)
    looked = [seen]
    real = sleeper._latest
    monkeypatch.setattr(sleeper, "_latest", lambda: looked.pop() if looked else real())
    assert sleeper.acquire().pid == os.getpid()
    assert not looked
    assert holder.held()
    assert [path.name for path in tmp_path.iterdir()] == [".claim.3"]
    holder.release()


def test_a_process_that_was_stopped_and_taken_over_writes_nothing_more_and_frees_nothing(tmp_path):
    folder = RunFolder(tmp_path)
    newcomer = Claim(tmp_path)
    with folder.claim():
        folder.append_metrics({"epoch": 1})
        os.utime(tmp_path / ".claim.1", (1, 1))  # silent for long, by the file system's clock
        assert newcomer.acquire() is None
        for write in (
            lambda: folder.append_metrics({"epoch": 2}),
            lambda: folder.save_checkpoint({"epoch": 2}),
            lambda: folder.reduce_checkpoint(None),
            lambda: folder.write_arrays("predictions.npz", {"index": [1]}),
        ):
            with pytest.raises(RunError, match="taken over by another process"):
                write()
    assert newcomer.held()
    assert Claim(tmp_path).acquire().pid == os.getpid()
    assert folder.read_metrics() == [{"epoch": 1}]
    newcomer.release()


def test_a_claim_file_that_its_owner_is_still_writing_counts_as_live_until_it_is_silent(tmp_path):
    (tmp_path / ".claim.7").write_text('{"host": "a"')
    assert "unknown" in str(Claim(tmp_path).acquire())
    os.utime(tmp_path / ".claim.7", (1, 1))
    claim = Claim(tmp_path)
    assert claim.acquire() is None
    claim.release()


@pytest.mark.parametrize("torn", [b"\xff\xfe\0", b"", b"[]", None])
def test_what_is_no_claim_but_has_the_name_of_one_is_waited_for_and_taken_over(tmp_path, torn):
    file = tmp_path / ".claim.7"
    file.mkdir() if torn is None else file.write_bytes(torn)
    assert "unknown" in str(Claim(tmp_path).acquire())
    os.utime(file, (1, 1))
    claim = Claim(tmp_path)
    assert claim.acquire() is None
    assert claim.held()
    claim.release()


def test_left_over_temporary_files_are_swept_and_foreign_files_stay(tmp_path):
    for name in (".run.json.12.ab.tmp", ".last.pt.12.ab.tmp", "notes.tmp", "notes.txt", ".hidden"):
        (tmp_path / name).write_text("half")
    with RunFolder(tmp_path).claim():
        names = {path.name for path in tmp_path.iterdir()}
    assert names == {"notes.tmp", "notes.txt", ".hidden", ".claim.1"}


def test_a_runs_folder_that_cannot_be_written_is_refused_before_training(tmp_path):
    (tmp_path / "runs").write_text("a file")
    with pytest.raises(ConfigError, match=r"cannot write to .*runs/x .*runs_dir=PATH"):
        RunFolder(tmp_path / "runs" / "x").claim().__enter__()


# ---- on this machine a process is seen, and its silence says nothing

HOLDER = """
import sys
from pathlib import Path
from sfa_bench.store import claim
claim.BEAT_SECONDS = 1e9  # as if it were suspended for as long as this test takes
assert claim.Claim(Path(sys.argv[1])).acquire() is None
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def silent_holder(tmp_path):
    """A live process whose claim is older than any that counts as alive."""
    child = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert child.stdout.readline() == b"held\n"
    hours_ago = time.time() - 8 * 3600
    os.utime(tmp_path / ".claim.1", (hours_ago, hours_ago))
    yield child
    child.kill()
    child.communicate()


def test_a_live_process_of_this_machine_is_never_taken_over_however_long_it_was_suspended(tmp_path, silent_holder):
    newcomer = Claim(tmp_path)
    assert newcomer.acquire().pid == silent_holder.pid
    assert newcomer.holder().pid == silent_holder.pid
    silent_holder.kill()
    silent_holder.wait()
    assert newcomer.acquire() is None
    newcomer.release()


def test_of_a_process_elsewhere_the_same_silence_decides(tmp_path, silent_holder, monkeypatch):
    monkeypatch.setattr(module, "this_machine", lambda: "another boot")
    newcomer = Claim(tmp_path)
    assert newcomer.acquire() is None
    newcomer.release()


def test_a_stopped_process_is_waited_for_and_the_sentence_says_what_to_do(tmp_path, silent_holder):
    assert "stopped" not in str(Claim(tmp_path).holder())
    silent_holder.send_signal(signal.SIGSTOP)
    os.waitid(os.P_PID, silent_holder.pid, os.WSTOPPED | os.WNOWAIT)
    holder = Claim(tmp_path).acquire()
    assert f"it is stopped: `kill -CONT {silent_holder.pid}` lets it go on" in str(holder)
    assert f"`kill -KILL {silent_holder.pid}` ends it" in str(holder)


@pytest.mark.parametrize("first_year", [0, 315532800])  # 1970; 1980, the first of FAT
def test_a_released_claim_of_a_process_that_lives_on_is_free(tmp_path, first_year):
    first = Claim(tmp_path)
    first.acquire()
    first.release()
    os.utime(tmp_path / ".claim.1", (first_year, first_year))
    second = Claim(tmp_path)
    assert second.holder() is None
    assert second.acquire() is None
    second.release()


@pytest.mark.parametrize(
    "changes",
    [{"pid": "1"}, {"pid": True}, {"pid": -1}, {"pid": 10**30}, {"host": None}, {"process": 5}, {"machine": ["a"]}],
)
def test_a_claim_with_odd_values_is_nobodys_that_is_known(tmp_path, changes):
    claim = Claim(tmp_path)
    claim.acquire()
    plain = json.loads((tmp_path / ".claim.1").read_text())
    (tmp_path / ".claim.1").write_text(json.dumps(plain | changes))
    holder = Claim(tmp_path).holder()
    assert holder is None or holder == module.UNKNOWN  # a process that cannot live, or no claim at all
    claim.release()


def test_a_folder_that_cannot_be_looked_into_has_no_holder_and_says_so(tmp_path, caplog):
    assert Claim(tmp_path / "gone").holder() is None
    assert "who holds" in caplog.text
