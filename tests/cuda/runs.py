"""Whole runs as a user starts them, what they leave, and what is compared of it."""

import json
import signal
import subprocess
import sys

import numpy as np
from proof import ROOT, records

SMALL = ("epochs=14", "warmup_epochs=3", "checkpoint_seconds=0", "threads=1")
DIGITS = ("dataset=digits", "imb_factor=0.2", "batch_size=48")


def killed_in(epoch, *words, runs):
    """The run, killed as soon as it has said that this epoch is done."""
    command = [sys.executable, "-u", "run.py", *words, f"runs_dir={runs}"]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    for line in process.stdout:
        if line.startswith(f"epoch {epoch}/"):
            process.send_signal(signal.SIGKILL)
            break
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL, "it ended before it was killed"


def result(folder):
    """What a run says and keeps, but for the time it took."""
    record = json.loads((folder / "run.json").read_text())
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    for row in rows:
        del row["seconds"]
    with np.load(folder / "predictions.npz") as arrays:
        kept = {name: arrays[name].tobytes() for name in arrays.files}
    return {key: record[key] for key in ("state", "metrics", "selection")} | {"rows": rows, "arrays": kept}


def the_result(runs):
    """Of the only run below a folder."""
    ((folder, _),) = records(runs)
    return result(folder)
