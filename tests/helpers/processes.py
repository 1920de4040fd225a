"""Sweeps as processes of their own, and what they leave on the disk, for the tests of this folder."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SMALL = ("method=ce", "plugin=none", "dataset=synthetic", "dataset.size=60", "batch_size=8", "threads=1")


def start(*words, runs, small=SMALL, **environment):
    command = [sys.executable, str(ROOT / "run.py"), "-m", *small, f"runs_dir={runs}", *words]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **environment}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, cwd=runs.parent, text=True, env=environment, start_new_session=True, **pipes)


def finished(*words, runs, **how):
    process = start(*words, runs=runs, **how)
    try:
        output, errors = process.communicate(timeout=240)
    finally:
        process.kill()  # where it took too long
    return process.returncode, output, errors


def records(runs):
    """Folder and record of each run, by its replicate."""
    found = {}
    for path in sorted(runs.glob("*/*/*/run.json")):
        record = json.loads(path.read_text())
        found[record["config"]["replicate"]] = (path.parent, record)
    return found


def rows_of(folder):
    """Its epochs' lines, without the time they took."""
    path = folder / "metrics.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    return [{key: value for key, value in row.items() if key != "seconds"} for row in rows]


def lines_of(folder):
    return [row["epoch"] for row in rows_of(folder)]


def wait_until(condition, seconds=120):
    end = time.monotonic() + seconds
    while not (answer := condition()):
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.05)
    return answer


def at_work(runs, replicate):
    """The process that trains this replicate and has some epochs behind it, or None."""
    folder, record = records(runs).get(replicate, (None, None))
    if folder is None or record["state"] != "running" or len(lines_of(folder)) < 3:
        return None
    claims = sorted(folder.glob(".claim.*"))
    return json.loads(claims[-1].read_text())["pid"] if claims else None


def worker_of(runs, replicate):
    """The same, waited for."""
    return wait_until(lambda: at_work(runs, replicate))


def parent_of(pid):
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def children_of(pid):
    found = [int(path.name) for path in Path("/proc").iterdir() if path.name.isdecimal()]
    return [child for child in found if alive(child) and parent_of(child) == pid]


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False
