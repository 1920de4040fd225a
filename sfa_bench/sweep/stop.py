"""How a sweep is stopped, and counted: a file each, which every worker of it looks at, on whatever machine it is."""

from __future__ import annotations

import os
import secrets
import time
from contextlib import suppress
from pathlib import Path
from typing import ClassVar

from sfa_bench.store.plans import FOLDER

KEY = "SFA_BENCH_STOP"  # its path, in `hydra.job.env_set`: the only thing of ours that every launcher hands to its jobs


class StopFile:
    """Absent while the sweep goes on; its content says why it does not."""

    # By this very process, the sweep's own; its process id may be another one's on another machine.
    made_here: ClassVar[set[Path]] = set()

    def __init__(self, path: Path):
        self.path = path

    @classmethod
    def new(cls, runs_dir: Path) -> StopFile:
        """A path that no other sweep on this folder has; nothing is written."""
        path = Path(runs_dir, FOLDER, f"{secrets.token_hex(6)}.stop").resolve()
        cls.made_here.add(path)
        return cls(path)

    def ask(self, reason: str) -> None:
        """Stop the sweep. The first reason stays; a full disk cannot keep it from being asked."""
        try:
            descriptor = os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
        except FileExistsError:
            return
        with suppress(OSError), os.fdopen(descriptor, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.write(reason)

    def asked(self) -> bool:
        return self.path.exists()

    def reason(self) -> str:
        """Why, or "" while nobody asked."""
        try:
            return self.path.read_text(encoding="utf-8")
        except OSError:
            return ""

    @property
    def runs(self) -> Path:
        """Where the sweep writes what its jobs are to run, see `handover`."""
        return self.path.with_suffix(".runs")

    @property
    def counted(self) -> Path:
        """Where the jobs that end are counted, see `Counted`."""
        return self.path.with_suffix(".ended")

    def clear(self) -> None:
        with suppress(OSError):  # it is not there, or the disk can no more be written
            self.path.unlink()


class Counted:
    """How many jobs of a sweep have ended, in whatever process: a file that grows by a byte for each.

    Its first line says how many there are and when they were begun. A disk that takes no more keeps nobody from work:
    then there is no word of it.
    """

    def __init__(self, path: Path):
        self.path = path

    def begin(self, jobs: int) -> None:
        with suppress(OSError):
            self.path.write_text(f"{jobs} {time.time():.0f}\n", encoding="utf-8")

    def one_more(self) -> tuple[int, int, float] | None:
        """Jobs that have ended with this one, jobs in all, and the seconds since they began; None: nobody knows."""
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
