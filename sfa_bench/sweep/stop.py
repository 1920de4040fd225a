"""How a sweep is stopped: one file, which every worker of it looks at, on whatever machine it is."""

from __future__ import annotations

import os
import secrets
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

    def clear(self) -> None:
        with suppress(OSError):  # it is not there, or the disk can no more be written
            self.path.unlink()
