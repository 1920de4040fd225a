"""GPU slots for the jobs of a sweep: `jobs_per_gpu` slots a GPU, held by file locks that the kernel releases when a
process dies.
"""

from __future__ import annotations

import fcntl
import os
import stat
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from sfa_bench.errors import RunError

_held: list[IO[bytes]] = []  # open as long as this process lives


def take_slot(jobs_per_gpu: int) -> str | None:
    """Wait for a free slot and make its GPU the only one visible to this process; None where there is no GPU.

    Call it before CUDA is used in this process.
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
    """A device and its locked slot: unused devices first, a second job on a device only when all have one.

    Raises: RunError where the folder or a slot is a link or belongs to another user, who could otherwise block jobs.
    """
    with _opened(folder) as place:
        while True:
            for k in range(jobs_per_gpu):
                for name in names:
                    file = _slot(place, folder / f"{name.replace('/', '-')}.{k}")
                    try:
                        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    except BlockingIOError:
                        file.close()
                        continue
                    return name, file
            check()
            time.sleep(poll_seconds)


@contextmanager
def _opened(folder: Path) -> Iterator[int]:
    """A descriptor of the folder, after checking that only this user has access."""
    try:
        place = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        raise _refused(folder, f"it cannot be used ({error.strerror})") from error
    try:
        status = os.fstat(place)
        if status.st_uid != os.getuid() or status.st_mode & 0o077:
            raise _refused(folder, f"others may use it (owner {status.st_uid}, mode {status.st_mode & 0o777:o})")
        yield place
    finally:
        os.close(place)


def _slot(place: int, path: Path) -> IO[bytes]:
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        descriptor = os.open(path.name, flags, 0o600, dir_fd=place)
    except OSError as error:
        raise _refused(path, f"it cannot be used ({error.strerror})") from error
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode) or status.st_uid != os.getuid() or status.st_nlink != 1:
        os.close(descriptor)
        raise _refused(path, "it is not a file that only this user can access")
    return os.fdopen(descriptor, "r+b", buffering=0)


def _refused(path: Path, reason: str) -> RunError:
    return RunError(f"{path} tells which GPU is free, and {reason}: remove it, or choose another folder: TMPDIR=PATH")


def _folder() -> Path:
    """The folder of slots of this machine and user: devices belong to the machine, whatever runs folder a sweep has."""
    folder = Path(tempfile.gettempdir(), f"sfa_bench-slots-{os.getuid()}")
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise _refused(folder, f"it cannot be made ({error.strerror})") from error
    return folder
