"""Runs of a study or a report: each in a process of its own, several at once."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sfa_bench.config.canonical import run_hash
from sfa_bench.config.schema import RunConfig
from sfa_bench.config.stored import to_json
from sfa_bench.cores import cores
from sfa_bench.store.folder import RunFolder
from sfa_bench.store.ledger import find_done, run_place
from sfa_bench.sweep import handover
from sfa_bench.sweep.isolation import ForkServer, record_death
from sfa_bench.sweep.work import work


@dataclass(frozen=True)
class Outcome:
    """`done` with the run's metrics, or `failed`, `refused`, `interrupted` with a message."""

    state: str
    metrics: dict[str, Any]
    message: str = ""
    signal: int = 0


class Runner:
    """Makes runs, or finds them done. Threads may share one.

    Args: jobs, how many of its threads there are; stopped, gives the signal after which runs at work
    save their state and end, None before it.
    """

    def __init__(self, jobs: int, config_dir: Path | None, stopped: Callable[[], int | None]):
        self.threads, self.config_dir, self.stopped = max(1, cores() // jobs), config_dir, stopped
        self._of_this_thread = threading.local()

    def run(self, config: RunConfig, command: str) -> Outcome:
        """The outcome of one run; what it said is in its log."""
        identity = run_hash(config)
        if find_done(config.runs_dir, identity) is None:
            if (received := self.stopped()) is not None:
                return Outcome("interrupted", {}, signal=received)
            answer = self._work(config, command, identity)
            if answer["state"] != "done":
                received = self.stopped() or answer.get("signal", signal.SIGTERM)
                return Outcome(answer["state"], {}, answer.get("message", ""), received)
        record = RunFolder(run_place(config.runs_dir, config.recorded_names, identity)).read_record()
        assert record is not None
        return Outcome("done", record["metrics"])

    def _work(self, config: RunConfig, command: str, identity: str) -> dict[str, Any]:
        how: dict[str, Any] = {"threads": self.threads, "quiet": True, "slot": config.isolate}
        if not config.isolate:
            return work(config, command, **how)
        if not hasattr(self._of_this_thread, "server"):
            self._of_this_thread.server = ForkServer()
        path = Path(config.runs_dir, f".{identity}.runs")
        path.parent.mkdir(parents=True, exist_ok=True)
        reference = handover.write_runs(path, [(identity, command, to_json(config))])[identity]
        conf = None if self.config_dir is None else str(self.config_dir)
        request = {"runs": str(path), "run": reference, "config_dir": conf, **how}
        try:
            answer: dict[str, Any] = self._of_this_thread.server.run(request, lambda: self.stopped() is not None)
        finally:
            handover.remove_runs(path)
        if answer["state"] == "lost":
            del self._of_this_thread.server
            return {"state": "failed", "message": record_death(config, command, answer["status"])}
        return answer
