"""How many cores this process may use."""

from __future__ import annotations

import os

from joblib import cpu_count


def cores() -> int:
    """What SLURM gave a task, which need not confine it, else what affinity and cgroups leave of the machine."""
    given = os.environ.get("SLURM_CPUS_PER_TASK", "")
    return max(1, int(given)) if given.isdecimal() else int(cpu_count())
