"""SIGINT and SIGTERM end a run at the next step (explanation/rules.md §9)."""

from __future__ import annotations

import os
import signal
import threading
import time
from types import FrameType

from sfa_bench.errors import Interrupted


class StopAtStep:
    """While entered, the first signal is remembered until `check`, a second one ends the process at once.

    Outside the main thread Python delivers no signals, and the handlers stay as they are.
    """

    echo_seconds = 0.0  # seconds within which a second signal is a copy of the first, sent another way

    def __init__(self) -> None:
        self.received: int | None = None
        self._since = 0.0
        self._previous: dict[int, object] = {}

    def __enter__(self) -> StopAtStep:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._previous[number] = signal.signal(number, self._receive)
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self.received is None:
            self.received, self._since = number, time.monotonic()
        elif time.monotonic() - self._since > self.echo_seconds:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)

    def check(self) -> None:
        """Raises Interrupted if a signal has come."""
        if self.received is not None:
            raise Interrupted(self.received)
