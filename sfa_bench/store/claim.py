"""One process per run folder, on one machine or on a shared file system (explanation/runs.md §6).

A claim is a file `.claim.N`; the highest N counts. Taking over a stale claim N is the exclusive creation of claim N+1,
which only one of many newcomers can do, and N never falls, so that a newcomer that slept between looking and creating
finds a higher number and withdraws. A claim is stale when its process on this machine is dead, or a process on another
machine has been silent for long. Releasing sets the file's time to 1970, which a full disk takes too.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import tempfile
import threading
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from functools import cache
from pathlib import Path

from sfa_bench.errors import RunError
from sfa_bench.store.reading import Damaged, parse, read_bytes

SILENT_SECONDS = 120.0
BEAT_SECONDS = 15.0
RELEASED_BEFORE = 1e9  # seconds since 1970: 2001; a file system that knows no 1970 sets its own first year
PREFIX = ".claim."
MOST = 100_000  # bytes of a claim
PROC = Path("/proc")

log = logging.getLogger("sfa_bench.store")


@dataclass(frozen=True)
class Holder:
    """The holder of a claim. `process` (the start time of the pid) and `machine` distinguish it from a reused pid,
    another container or a machine of the same name.
    """

    host: str
    pid: int
    process: str
    machine: str
    start: str

    @classmethod
    def this_process(cls) -> Holder:
        start = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        return cls(socket.gethostname(), os.getpid(), process_start(os.getpid()) or "", this_machine(), start)

    @property
    def here(self) -> bool:
        """Whether it runs in this boot of this machine and this pid namespace, so that its process can be inspected."""
        return self.machine == this_machine()

    def __str__(self) -> str:
        stopped = ""
        if self.here and process_state(self.pid) in ("T", "t"):
            stopped = f"; it is stopped: `kill -CONT {self.pid}` lets it go on, `kill -KILL {self.pid}` ends it"
        return f"process {self.pid} on {self.host} (since {self.start}{stopped})"


class Claimed(RunError):
    """The folder is held by a live process."""

    def __init__(self, folder: Path, holder: Holder):
        super().__init__(f"{folder} is being worked on by {holder}")
        self.holder = holder


UNKNOWN = Holder("an unknown host", 0, "", "", "just now")


@cache
def this_machine() -> str:
    """This boot of this machine and its pid namespace; the host name where the kernel does not tell."""
    try:
        return f"{(PROC / 'sys/kernel/random/boot_id').read_text().strip()}/{os.readlink(PROC / 'self/ns/pid')}"
    except OSError:
        return socket.gethostname()


def process_start(pid: int) -> str | None:
    """The start time of the process, "" where the system does not tell, None when it is dead (or a zombie)."""
    if status := _status(pid):
        return None if status[0] in "ZX" else status[19]
    if pid <= 0:  # which `kill` takes for a group
        return None
    try:  # dead, or hidden: a system may show a user only their own processes
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return None
    except PermissionError:  # alive, of another user
        return ""
    return ""


def process_state(pid: int) -> str:
    """The kernel's state letter of the process, T where it is stopped; "" where the system does not tell."""
    return status[0] if (status := _status(pid)) else ""


def _status(pid: int) -> list[str]:
    try:
        return (PROC / str(pid) / "stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return []


def _parsed(content: bytes) -> Holder:
    try:
        plain = parse(content)
    except Damaged:  # being written, or its owner died while writing
        return UNKNOWN
    kinds = {field.name: int if field.name == "pid" else str for field in fields(Holder)}
    if not isinstance(plain, dict) or any(type(plain.get(name)) is not kind for name, kind in kinds.items()):
        return UNKNOWN
    return Holder(**{name: plain[name] for name in kinds})


class Claim:
    """This process's claim on one folder, or its attempt at one."""

    def __init__(self, folder: Path):
        self.folder = folder
        self._number: int | None = None
        self._seen: tuple[int, float, float] = (0, 0.0, 0.0)
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def acquire(self) -> Holder | None:
        """Try once. Returns None when this process now holds the folder, else the live holder."""
        while True:
            number = self._latest()
            if number and (holder := self._live_holder(number)):
                return holder
            mine = number + 1
            try:
                descriptor = os.open(self._file(mine), os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
            except FileExistsError:
                continue
            try:
                with os.fdopen(descriptor, "w") as file:
                    json.dump(asdict(Holder.this_process()), file)
            except OSError:
                self._file(mine).unlink(missing_ok=True)
                raise
            if self._latest() != mine:  # other claims came and went meanwhile
                self._file(mine).unlink(missing_ok=True)
                continue
            self._number = mine
            for lower in self._numbers():
                if lower < mine:
                    with suppress(OSError):  # a lower number harms nothing
                        self._file(lower).unlink()
            self._thread = threading.Thread(target=self._beat, name="claim heartbeat", daemon=True)
            self._thread.start()
            return None

    def holder(self) -> Holder | None:
        """The live process that holds the folder, for readers; None where there is none or it cannot be determined."""
        try:
            number = self._latest()
            return self._live_holder(number) if number else None
        except OSError as error:
            log.warning("cannot determine who holds %s: %s", self.folder, error.strerror)
            return None

    def held(self) -> bool:
        """Whether this process still holds the claim; it may have been taken over while the process was stopped."""
        return self._number is not None and self._latest() == self._number

    def release(self) -> None:
        """Release the folder."""
        if self._number is None:
            return
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        with suppress(FileNotFoundError):  # taken over
            os.utime(self._file(self._number), (0, 0))
        self._number = None

    def _beat(self) -> None:
        while not self._stop.wait(BEAT_SECONDS):
            try:
                os.utime(self._file(self._number or 0))
            except FileNotFoundError:
                return
            except OSError as error:
                log.warning("the heartbeat of %s failed: %s", self.folder, error.strerror)

    def _live_holder(self, number: int) -> Holder | None:
        path = self._file(number)
        try:
            modified = path.lstat().st_mtime
            content = read_bytes(path, MOST)
        except FileNotFoundError:
            return None
        except OSError:  # a folder, a pipe, or not readable
            content = b""
        if modified < RELEASED_BEFORE:
            return None
        holder = _parsed(content)
        if holder.here:
            start = process_start(holder.pid)
            if start is None or (start and start != holder.process):
                return None
            if start:  # it is alive, however long the machine or the process was suspended
                return holder
        if (number, modified) != self._seen[:2]:
            self._seen = (number, modified, time.monotonic())
        # The second term: a clock that was set back would keep a dead claim young for long.
        silent = max(self._now() - modified, time.monotonic() - self._seen[2])
        return None if silent >= SILENT_SECONDS else holder

    def _now(self) -> float:
        """The time by the file system's clock, the only one that all claimants share."""
        try:
            with tempfile.TemporaryFile(dir=self.folder) as probe:
                return os.fstat(probe.fileno()).st_mtime
        except OSError:  # a reader without write access has only this machine's clock
            return time.time()

    def _file(self, number: int) -> Path:
        return self.folder / f"{PREFIX}{number}"

    def _numbers(self) -> list[int]:
        suffixes = (name.removeprefix(PREFIX) for name in os.listdir(self.folder) if name.startswith(PREFIX))
        return sorted(int(suffix) for suffix in suffixes if suffix.isdecimal())

    def _latest(self) -> int:
        return max(self._numbers(), default=0)
