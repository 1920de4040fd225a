"""A run that is killed or stopped and started again ends with the same bits (explanation/rules.md §1, §9)."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
SMALL = ["epochs=7", "warmup_epochs=2", "imb_factor=0.2", "threads=1", "checkpoint_seconds=0", "batch_size=48"]


def start(runs, *more):
    return subprocess.Popen(
        [sys.executable, "-u", "run.py", *SMALL, f"runs_dir={runs}", *more],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )


def read_until(process, beginning):
    """Read lines until one begins so; returns all lines read."""
    lines = []
    for line in process.stdout:
        lines.append(line)
        if line.startswith(beginning):
            return lines
    raise AssertionError(f"no line {beginning!r} in: {''.join(lines)}")


def finish(runs, *more):
    process = start(runs, *more)
    output, _ = process.communicate()
    assert process.returncode == 0, output
    return output


def result(runs):
    (record,) = Path(runs).glob("*/*/*/run.json")
    run = json.loads(record.read_text())
    rows = [json.loads(line) for line in (record.parent / "metrics.jsonl").read_text().splitlines()]
    for row in rows:
        del row["seconds"]
    with np.load(record.parent / "predictions.npz") as arrays:
        return run, rows, {name: arrays[name] for name in arrays.files}


def assert_same(one, other):
    assert one[0]["metrics"] == other[0]["metrics"]
    assert one[0]["selection"] == other[0]["selection"]
    assert one[1] == other[1]
    assert one[2].keys() == other[2].keys()
    for name, values in one[2].items():
        assert values.tobytes() == other[2][name].tobytes(), name


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    runs = tmp_path_factory.mktemp("straight")
    finish(runs)
    return result(runs)


def test_three_kills_change_no_bit(uninterrupted, tmp_path):
    for epoch in (1, 3, 5):  # in the warm-up, at the first selections, near the end
        process = start(tmp_path)
        read_until(process, f"epoch {epoch}/7")
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert process.returncode == -signal.SIGKILL
    output = finish(tmp_path)
    assert "going on after epoch" in output
    run, rows, _ = result(tmp_path)
    assert run["state"] == "done"
    assert [row["epoch"] for row in rows] == list(range(1, 8))
    assert_same(result(tmp_path), uninterrupted)


def test_sigterm_saves_the_last_whole_epoch_and_the_same_command_goes_on(uninterrupted, tmp_path):
    # An hour between checkpoints: what is saved is the state kept in memory.
    process = start(tmp_path, "checkpoint_seconds=3600")
    read_until(process, "epoch 4/7")
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate()
    assert process.returncode == 128 + signal.SIGTERM
    assert "interrupted by SIGTERM" in output
    (record,) = tmp_path.glob("*/*/*/run.json")
    assert json.loads(record.read_text())["state"] == "interrupted"
    resumed = finish(tmp_path, "checkpoint_seconds=3600")
    after = int(resumed.split("going on after epoch ")[1].split()[0])
    assert after >= 4
    assert_same(result(tmp_path), uninterrupted)
