"""Each job of a sweep in a process of its own: what kills one run kills nothing else (explanation/runs.md §6)."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from processes import (
    ROOT,
    SMALL,
    alive,
    children_of,
    finished,
    lines_of,
    parent_of,
    records,
    rows_of,
    start,
    wait_until,
    worker_of,
)

from sfa_bench.sweep.handover import write_runs
from sfa_bench.sweep.isolation import ForkServer
from sfa_bench.sweep.plan import plan
from sfa_bench.sweep.slots import wait_for_slot

JOBLIB = ("hydra/launcher=joblib", "hydra.launcher.n_jobs=2")


@pytest.mark.parametrize("launcher", [(), JOBLIB], ids=["serial", "joblib"])
def test_a_run_that_the_kernel_kills_fails_alone_and_goes_on_next_time(tmp_path, launcher):
    runs = tmp_path / "runs"
    sweep = ("epochs=60", "replicate=0,1,2", "checkpoint_seconds=0", *launcher)
    process = start(*sweep, runs=runs)
    os.kill(worker_of(runs, 0), signal.SIGKILL)
    output, errors = process.communicate(timeout=240)
    assert process.returncode == 1, errors
    assert "2 of 3 runs done" in output
    assert output.count("a run has failed: the job's process was killed by SIGKILL") == 1
    folder, record = records(runs)[0]
    assert record["state"] == "failed"
    assert record["error"]["type"] == "Killed"
    assert "SIGKILL" in record["error"]["message"]
    assert "SIGKILL" in (folder / "log.txt").read_text()
    (line,) = [line for line in errors.splitlines() if line.startswith("failed: ")]
    assert str(folder) in line
    assert "again: python run.py method=ce" in line
    assert {records(runs)[k][1]["state"] for k in (1, 2)} == {"done"}
    reached = len(lines_of(folder))
    status, output, _ = finished(*sweep, runs=runs)
    assert status == 0
    assert "1 to run (1 failed before), 2 done" in output
    went_on = int(re.search(r"going on after epoch (\d+)", (folder / "log.txt").read_text())[1])
    assert reached - 1 <= went_on <= reached  # it may have died between an epoch's line and its checkpoint
    assert lines_of(folder) == list(range(1, 61))


@pytest.mark.parametrize("isolate", ["true", "false"])
def test_no_worker_of_joblib_outlives_a_sweep_that_is_killed(tmp_path, isolate):
    """Neither one that trains nor one that has ended its run and waits for another."""
    runs = tmp_path / "runs"
    sweep = ("epochs=400", "replicate=0,1", f"isolate={isolate}", *JOBLIB, "checkpoint_seconds=600")
    process = start(*sweep, runs=runs)
    try:
        training = [worker_of(runs, replicate) for replicate in (0, 1)]
        workers = children_of(process.pid)
    finally:
        process.kill()
        process.wait()  # not for the end of what it said, which a worker that stays would hold open
    assert len(workers) >= 2
    wait_until(lambda: not any(map(alive, (*training, *workers))), 30)
    for folder, record in records(runs).values():
        assert record["state"] == "interrupted"
        assert 0 < len(lines_of(folder)) < 400


@pytest.mark.parametrize("launcher", [(), JOBLIB], ids=["serial", "joblib"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_sweep_that_is_stopped_or_killed_leaves_nothing_at_work_and_loses_no_epoch(tmp_path, launcher, number):
    runs = tmp_path / "runs"
    sweep = ("epochs=60", "replicate=0,1", *launcher)
    process = start(*sweep, runs=runs)
    worker = worker_of(runs, 0)
    process.send_signal(number)
    process.communicate(timeout=60)
    assert process.returncode == (143 if number == signal.SIGTERM else -9)
    wait_until(lambda: not alive(worker), 30)
    folder, record = records(runs)[0]
    assert record["state"] == "interrupted"
    reached = len(lines_of(folder))
    assert 0 < reached < 60
    status, _, errors = finished(*sweep, runs=runs)
    assert status == 0, errors
    assert f"going on after epoch {reached}" in (folder / "log.txt").read_text()
    assert all(lines_of(folder) == list(range(1, 61)) for folder, _ in records(runs).values())


@pytest.mark.parametrize("launcher", [(), JOBLIB], ids=["serial", "joblib"])
def test_a_signal_to_all_processes_interrupts_runs_and_fails_none(tmp_path, launcher):
    runs = tmp_path / "runs"
    sweep = ("epochs=60", "replicate=0,1", *launcher)
    process = start(*sweep, runs=runs)
    worker_of(runs, 0)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal's Ctrl-C
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in errors
    assert records(runs)[0][1]["state"] == "interrupted"
    assert "failed" not in {record["state"] for _, record in records(runs).values()}
    status, output, errors = finished(*sweep, runs=runs)
    assert status == 0, errors
    assert "failed before" not in output


def request(folder, *words):
    """What asks a fork server for a run."""
    ((identity, config),) = plan([*words, f"runs_dir={folder}"]).configs.items()
    runs = folder / "a.runs"
    reference = write_runs(runs, [(identity, "", config)])[identity]
    return {"runs": str(runs), "run": reference, "config_dir": None, "threads": 1, "quiet": True, "slot": False}


def test_a_server_imports_what_a_job_had_to_and_nothing_before(tmp_path):
    """Importing it takes as long as Torch: no sweep waits for what it does not need, and no second job for the rest."""
    server = ForkServer()

    def has_sklearn():
        return "/sklearn/" in Path(f"/proc/{server._process.pid}/maps").read_text()

    assert server.run(request(tmp_path, *SMALL, "epochs=1"), lambda: False)["state"] == "done"
    time.sleep(1)
    assert not has_sklearn()
    fine = request(tmp_path, *SMALL, "method.selector.name=fine", "method.selector.split=kmeans", "epochs=2")
    assert server.run(fine, lambda: False)["state"] == "done"
    wait_until(has_sklearn)
    assert server.run(request(tmp_path, *SMALL, "epochs=3"), lambda: False)["state"] == "done"


def test_modules_of_the_suite_that_a_job_imported_are_there_for_the_next_and_others_are_not():
    code = """
import sys
from sfa_bench.sweep import forkserver

def work(request):
    there = [name in sys.modules for name in ("numpy.ma", "sfa_bench.methods.single", "tabnanny")]
    import tabnanny, sfa_bench.methods.single
    return {"there": there}

forkserver._work = work
forkserver.serve(1)
"""
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as server:
        answers = []
        for _ in range(2):
            server.stdin.write(b"{}\n")
            server.stdin.flush()
            answers.append(json.loads(server.stdout.readline())["there"])
        server.stdin.close()
    assert answers == [[True, False, False], [True, True, False]]


def test_a_job_that_is_told_to_stop_before_it_can_listen_is_interrupted(tmp_path):
    server = ForkServer()
    server._send(request(tmp_path, *SMALL, "epochs=500"))
    server.signal(signal.SIGTERM)  # while the server imports Torch
    assert server._answer() == {"state": "interrupted", "signal": signal.SIGTERM}


def test_the_same_stop_by_two_ways_is_one_and_a_later_one_ends_at_once():
    code = (
        "import os, signal, time\n"
        "from sfa_bench.engine.signals import StopAtStep\nfrom sfa_bench.errors import Interrupted\n"
        "StopAtStep.echo_seconds = 1.0\n"
        "with StopAtStep() as stop:\n"
        "    os.kill(os.getpid(), signal.SIGINT); os.kill(os.getpid(), signal.SIGTERM)\n"
        "    try: stop.check()\n"
        "    except Interrupted as interrupted: print(interrupted, flush=True)\n"
        "    stop._since -= 2\n"
        "    os.kill(os.getpid(), signal.SIGTERM); time.sleep(60)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.returncode) == ("SIGINT\n", -signal.SIGTERM)


def test_a_worker_that_is_killed_costs_no_run(tmp_path):
    runs = tmp_path / "runs"
    process = start("epochs=60", "replicate=0,1,2,3", *JOBLIB, runs=runs)
    server = parent_of(worker_of(runs, 0))
    os.kill(parent_of(server), signal.SIGKILL)  # joblib ends all when it loses one
    output, errors = process.communicate(timeout=240)
    assert process.returncode == 0, errors
    assert "the launcher failed: " in errors
    assert "4 of 4 runs done" in output
    for folder, record in records(runs).values():
        assert record["state"] == "done"
        assert (folder / "log.txt").read_text().count("done: ") == 1
        assert lines_of(folder) == list(range(1, 61))


def test_isolation_and_launchers_change_no_digit(tmp_path):
    kept = []
    launchers = {"serial": (), "joblib": JOBLIB, "submitit": ("hydra/launcher=submitit_local",)}
    for name, words in {**launchers, "here": ("isolate=false",)}.items():
        status, _, errors = finished("epochs=3", "replicate=0,1", *words, runs=tmp_path / name)
        assert status == 0, errors
        found = records(tmp_path / name).values()
        kept.append([(record["metrics"], rows_of(folder)) for folder, record in found])
    assert kept[0] == kept[1] == kept[2] == kept[3]


def test_fail_fast_starts_nothing_more_and_retry_failed_leaves_what_failed(tmp_path):
    runs = tmp_path / "runs"
    sweep = ("epochs=2", "lr=1e30,0.02", "replicate=0,1")
    status, _, errors = finished(*sweep, "fail_fast=true", runs=runs)
    assert status == 1
    assert "stopped by fail_fast: the loss of network 1 is not finite" in errors
    assert errors.count("not begun; again: ") == 3
    status, output, errors = finished(*sweep, "retry_failed=false", runs=runs)
    assert status == 1
    assert "4: 3 to run, 0 done, 1 failed before and left (retry_failed=false)" in output
    assert errors.count("failed: ") == 2  # the one that was left, and its sister that fails anew
    failed = [folder for folder in runs.glob("*/*/*") if '"failed"' in (folder / "run.json").read_text()]
    assert len(failed) == 2
    assert not list((runs / ".sweeps").glob("*.stop"))


def test_a_slot_binds_a_device_and_is_free_again_after_any_death(tmp_path):
    held = [wait_for_slot(tmp_path, ["0", "1"], 2, lambda: None) for _ in range(4)]
    assert [name for name, _ in held] == ["0", "1", "0", "1"]  # every device once before any twice

    class Full(Exception):
        pass

    def give_up():
        raise Full

    with pytest.raises(Full):
        wait_for_slot(tmp_path, ["0", "1"], 2, give_up)
    held[1][1].close()
    code = (
        "import sys, time; from pathlib import Path; from sfa_bench.sweep.slots import wait_for_slot\n"
        "held = wait_for_slot(Path(sys.argv[1]), ['0', '1'], 2, lambda: None)\n"
        "print(held[0], flush=True); time.sleep(99)"
    )
    holder = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert holder.stdout.readline() == "1\n"
    with pytest.raises(Full):
        wait_for_slot(tmp_path, ["0", "1"], 2, give_up)
    holder.kill()
    holder.communicate()
    name, _ = wait_for_slot(tmp_path, ["0", "1"], 2, give_up)
    assert name == "1"
