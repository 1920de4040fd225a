"""The memory that this process can have, and the refusal of anything that needs more."""

from __future__ import annotations

import os
from pathlib import Path

from sfa_bench.errors import ConfigError

# Where a container finds its own limit, by the two versions of cgroups
LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))


def total() -> int:
    """Bytes: the machine's, or the container's where that has a limit."""
    limits = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    for path in LIMITS:
        if path.is_file() and (text := path.read_text().strip()).isdecimal():
            limits.append(int(text))
    return min(limits)


def require(needed: int, what: str, way_out: str) -> None:
    """Refuse anything that needs more bytes than there are, before they are allocated: a swapping machine does not
    respond.

    Raises: ConfigError.
    """
    if needed > (there := total()):
        raise ConfigError(
            f"{what} would take {amount(needed)} of memory, and this machine has {amount(there)}: {way_out}"
        )


def amount(size: float) -> str:
    """`47.0 MB`, `12.3 GB`."""
    return f"{size / 1e9:,.1f} GB" if size >= 1e8 else f"{size / 1e6:.1f} MB"
