"""A worker's side of the fork server: hand over a job, pass signals on, and record the failure of a killed job."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from types import FrameType
from typing import Any

from sfa_bench.config.canonical import run_hash
from sfa_bench.config.schema import RunConfig
from sfa_bench.errors import ConfigError, RunError
from sfa_bench.store.folder import RunFolder
from sfa_bench.store.ledger import run_place
from sfa_bench.store.record import new_record

POLL_SECONDS = 0.5


class ForkServer:
    """One per worker, started with its first job, so that imports are done once."""

    _of_this_process: ForkServer | None = None

    def __init__(self) -> None:
        self._answers, writing = os.pipe()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "sfa_bench.sweep.forkserver", str(writing)],
            stdin=subprocess.PIPE,
            pass_fds=[writing],
            start_new_session=True,  # a terminal's Ctrl-C comes to the worker alone, which passes it on once
        )
        os.close(writing)
        self.owner = os.getpid()
        self.told = False  # that the job shall stop

    @classmethod
    def get(cls) -> ForkServer:
        """The fork server of this process; starts one if there is none."""
        server = cls._of_this_process
        if server is None or server.owner != os.getpid() or server._process.poll() is not None:
            cls._of_this_process = server = cls()
        return server

    def run(self, request: dict[str, Any], stopped: Callable[[], bool]) -> dict[str, Any]:
        """Run a job and return its outcome. Once `stopped` returns true, the job is told to stop and waited for."""
        self.told = False
        self._send(request)
        with Forwarding(self):
            while not select.select([self._answers], [], [], POLL_SECONDS)[0]:
                if not self.told and stopped():
                    self.signal(signal.SIGTERM)
            return self._answer()

    def signal(self, number: int) -> None:
        """Pass a signal on to the job."""
        self.told = True
        with suppress(BrokenPipeError):
            self._send({"signal": number})

    def stop_job(self) -> None:
        """Tell the job to stop, and wait until its state is saved; its answer is dropped."""
        self.signal(signal.SIGTERM)
        self._answer()

    def _send(self, message: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        os.write(self._process.stdin.fileno(), json.dumps(message).encode() + b"\n")

    def _answer(self) -> dict[str, Any]:
        line = b""
        while not line.endswith(b"\n"):
            if not (part := os.read(self._answers, 65536)):
                return {"state": "lost", "status": self._process.wait()}
            line += part
        answer: dict[str, Any] = json.loads(line)
        return answer


class Forwarding:
    """While entered, SIGINT and SIGTERM of this process go to the job, which saves its state; a second one ends it.

    Handlers set by others stay in charge (submitit's requeue the job). Before those of SIGUSR1 and SIGUSR2 act, the job
    is stopped, so that a requeued job continues from its last state.
    """

    def __init__(self, server: ForkServer):
        self.server = server
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> Forwarding:
        usual = (signal.SIG_DFL, signal.SIG_IGN, signal.default_int_handler, None)
        try:
            for number in (signal.SIGINT, signal.SIGTERM):
                if (before := signal.getsignal(number)) in usual:
                    self._previous[number] = before
                    signal.signal(number, self._forward)
            for number in (signal.SIGUSR1, signal.SIGUSR2):
                if (before := signal.getsignal(number)) not in usual:
                    self._previous[number] = before
                    signal.signal(number, self._stop_first)
        except ValueError:
            pass  # called from another thread than the main one, which alone gets signals
        return self

    def __exit__(self, *exception: object) -> None:
        for number, before in self._previous.items():
            signal.signal(number, before)

    def _forward(self, number: int, frame: FrameType | None) -> None:
        self.server.signal(number)

    def _stop_first(self, number: int, frame: FrameType | None) -> None:
        self.server.stop_job()
        before = self._previous[number]
        signal.signal(number, before)
        before(number, frame)


def record_death(config: RunConfig, command: str, status: int) -> str:
    """Mark the run of a crashed job as `failed` and return the reason.

    A run that another process has taken over meanwhile is left alone.
    """
    reason = _reason(status)
    candidates = [config, config.trained] if config.classifier.name != "joint" else [config]
    folders = [(c, RunFolder(run_place(c.runs_dir, c.recorded_names, run_hash(c)))) for c in candidates]
    begun = [(c, folder) for c, folder in folders if folder.path.exists()]
    for c, folder in begun or folders[:1]:
        with suppress(RunError, ConfigError), folder.claim():
            plain = c.to_plain()
            record = folder.read_record() or new_record(
                hash=run_hash(c), config=plain, names=c.recorded_names, command=command
            )
            if record["state"] == "running":
                record |= {"state": "failed", "error": {"type": "Killed", "message": reason}}
                folder.write_record(record)
                folder.log(reason)
    return reason


def _reason(status: int) -> str:
    if status >= 0:
        return f"the job's process ended by itself with status {status}"
    name = signal.Signals(-status).name
    words = {
        signal.SIGKILL: " (by the kernel because memory ran out, or by a user)",
        signal.SIGSEGV: " (a crash in compiled code)",
        signal.SIGABRT: " (a crash in compiled code)",
    }
    return f"the job's process was killed by {name}{words.get(-status, '')}"  # type: ignore[call-overload]
