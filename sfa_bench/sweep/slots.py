"""Which GPU a job of a sweep uses: `jobs_per_gpu` slots each, held by file locks that the kernel drops at any death."""

from __future__ import annotations

import fcntl
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO

_held: list[IO[bytes]] = []  # open as long as this process lives


def take_slot(jobs_per_gpu: int) -> str | None:
    """Wait for a free slot and make its GPU the only one that this process sees; None where there is no GPU.

    Before CUDA is used in this process: afterwards the choice would come too late.
    """
    import torch

    from sfa_bench.engine.signals import StopAtStep

    count = torch.cuda.device_count()
    if count == 0:
        return None
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = [str(k) for k in range(count)] if visible is None else visible.split(",")[:count]
    with StopAtStep() as stop:
        name, lock = wait_for_slot(_folder(), names, jobs_per_gpu, stop.check)
    _held.append(lock)
    os.environ["CUDA_VISIBLE_DEVICES"] = name
    return name


def wait_for_slot(
    folder: Path, names: Sequence[str], jobs_per_gpu: int, check: Callable[[], None], poll_seconds: float = 0.5
) -> tuple[str, IO[bytes]]:
    """A device and its locked slot: an unused device first, a second job on one only when all have the first."""
    while True:
        for k in range(jobs_per_gpu):
            for name in names:
                file = open(folder / f"{name.replace('/', '-')}.{k}", "ab")  # noqa: SIM115  returned open
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    file.close()
                    continue
                return name, file
        check()
        time.sleep(poll_seconds)


def _folder() -> Path:
    """Of this machine and user: devices are the machine's, whatever runs folder a sweep has."""
    folder = Path(tempfile.gettempdir(), f"sfa_bench-slots-{os.getuid()}")
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder
