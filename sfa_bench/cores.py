"""The number of cores that this process may use."""

from __future__ import annotations

import os

from joblib import cpu_count


def cores() -> int:
    """The cores that SLURM assigned to this task, which need not confine it, else those allowed by affinity and
    cgroups.
    """
    for name in ("SLURM_CPUS_PER_TASK", "SLURM_CPUS_ON_NODE"):  # the first is set only where it was asked for
        if (given := os.environ.get(name, "")).isdecimal():
            return max(1, int(given))
    return int(cpu_count())
