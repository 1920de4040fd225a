"""Sweeps whose parents are killed, and sweeps that start at the same moment: every run is made, and made once."""

import json
import os
import random
import signal
import time

import processes
import pytest
from processes import rows_of

# SFA_BENCH_FULL=1: 24 runs, 10 kills, 8 parents
FULL = os.environ.get("SFA_BENCH_FULL") == "1"
RUNS, KILLS, PARENTS = (24, 10, 8) if FULL else (6, 3, 3)
# Each two runs begin with the same epochs.
SWEEP = ("method=ce", "dataset=digits", "epochs=12", "warmup_epochs=4", "plugin=sfa,sfa_release", "threads=1")


def start(runs, *words):
    replicates = ",".join(map(str, range(RUNS // 2)))
    return processes.start(f"replicate={replicates}", *words, runs=runs, small=SWEEP)


def results(runs):
    """Of every run: its state and its numbers, epoch by epoch."""
    found = {}
    for path in sorted(runs.glob("*/*/*/run.json")):
        record = json.loads(path.read_text())
        found[path.parent.name] = (record["state"], record["metrics"], rows_of(path.parent))
    return found


def logs(runs):
    return {path.parent.name: path.read_text() for path in runs.glob("*/*/*/log.txt")}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    runs = tmp_path_factory.mktemp("undisturbed") / "runs"
    process = start(runs, "share_warmup=false")
    output, _ = process.communicate(timeout=600)
    assert process.returncode == 0, output
    assert not (runs / ".warmup").exists()
    return results(runs)


def test_a_sweep_killed_again_and_again_ends_with_the_same_bits(tmp_path, undisturbed):
    runs, moments, finished = tmp_path / "runs", random.Random(7), {}
    for _ in range(KILLS):
        process = start(runs)
        time.sleep(moments.uniform(4, 12))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        for name, (state, metrics, rows) in results(runs).items():  # what was ever done stays as it was
            if state == "done":
                assert finished.setdefault(name, (metrics, rows)) == (metrics, rows)
    process = start(runs)
    output, _ = process.communicate(timeout=600)
    assert process.returncode == 0, output
    assert f"{RUNS} of {RUNS} runs done" in output or f"0 to run, {RUNS} done" in output
    assert results(runs) == undisturbed
    assert all(log.count("done: ") == 1 for log in logs(runs).values())


def test_parents_that_start_together_make_every_run_once(tmp_path, undisturbed):
    runs = tmp_path / "runs"
    runs.parent.mkdir(exist_ok=True)
    parents = [start(runs) for _ in range(PARENTS)]
    outputs = [process.communicate(timeout=900)[0] for process in parents]
    assert [process.returncode for process in parents] == [0] * PARENTS, outputs
    assert results(runs) == undisturbed
    for log in logs(runs).values():
        assert log.count("training samples in") == 1
        assert "going on" not in log
    assert sum("epochs 1 to 4 are those of run" in log for log in logs(runs).values()) == RUNS // 2
