"""One thread, so that parallel test processes do not fight for the cores; how many of these, and the order of files."""

import os

os.environ["OMP_NUM_THREADS"] = "1"
# Runs, too, here and in processes that tests start: each takes as many as the suite counts cores, and two threads that
# wait for each other on cores with other work take several times as long.
os.environ["SLURM_CPUS_PER_TASK"] = "1"

import torch
from joblib import cpu_count

torch.set_num_threads(1)

# Their files take minutes each: begun last, one process would be at work long after the others have ended.
LONG = ("sweep", "end_to_end", "config")


def pytest_xdist_auto_num_workers():
    """Two more than cores: tests of sweeps, kills and clusters wait for other processes."""
    if "PYTEST_XDIST_AUTO_NUM_WORKERS" in os.environ:
        return None  # which xdist reads itself
    return cpu_count() + 2


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: LONG.index(item.path.parent.name) if item.path.parent.name in LONG else len(LONG))
