"""Stop a sweep and count its jobs through two files that all of its workers read, on any machine."""

from __future__ import annotations

import os
import secrets
import time
from contextlib import suppress
from pathlib import Path
from typing import ClassVar

from sfa_bench.store.plans import FOLDER

KEY = "SFA_BENCH_STOP"  # its path, in `hydra.job.env_set`, which every launcher passes to its jobs


class StopFile:
    """A file that is absent while the sweep goes on; its content is the reason for stopping."""

    # Stop files made by this process, the sweep's own. By path: on another machine its pid may be another process.
    made_here: ClassVar[set[Path]] = set()

    def __init__(self, path: Path):
        self.path = path

    @classmethod
    def new(cls, runs_dir: Path) -> StopFile:
        """A path that no other sweep on this folder has; writes nothing."""
        path = Path(runs_dir, FOLDER, f"{secrets.token_hex(6)}.stop").resolve()
        cls.made_here.add(path)
        return cls(path)

    def ask(self, reason: str) -> None:
        """Ask the sweep to stop. The first reason is kept; this works on a full disk, too."""
        try:
            descriptor = os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
        except FileExistsError:
            return
        with suppress(OSError), os.fdopen(descriptor, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.write(reason)

    def asked(self) -> bool:
        return self.path.exists()

    def reason(self) -> str:
        """The reason, or "" while the sweep was not asked to stop."""
        try:
            return self.path.read_text(encoding="utf-8")
        except OSError:
            return ""

    @property
    def runs(self) -> Path:
        """The file of the runs to launch, see `handover`."""
        return self.path.with_suffix(".runs")

    @property
    def counted(self) -> Path:
        """The file in which finished jobs are counted, see `Counted`."""
        return self.path.with_suffix(".ended")

    def clear(self) -> None:
        with suppress(OSError):  # it is missing, or the disk cannot be written
            self.path.unlink()


class Counted:
    """A counter of finished jobs in a file that grows by a byte for each, shared by all processes.

    Its first line has the number of jobs and the start time. On a full disk nothing is counted or reported, and jobs go
    on.
    """

    def __init__(self, path: Path):
        self.path = path

    def begin(self, jobs: int) -> None:
        with suppress(OSError):
            self.path.write_text(f"{jobs} {time.time():.0f}\n", encoding="utf-8")

    def one_more(self) -> tuple[int, int, float] | None:
        """Count one more; returns the finished jobs, all jobs, and the seconds since the start; None where they are
        unknown.
        """
        try:
            header = self.path.read_text(encoding="utf-8").partition("\n")[0]
            jobs, began = header.split()
            with os.fdopen(os.open(self.path, os.O_WRONLY | os.O_APPEND), "wb", buffering=0) as file:
                file.write(b".")
                ended = file.tell() - len(header) - 1
        except (OSError, ValueError):
            return None
        return min(ended, int(jobs)), int(jobs), time.time() - float(began)

    def end(self) -> None:
        with suppress(OSError):
            self.path.unlink()
