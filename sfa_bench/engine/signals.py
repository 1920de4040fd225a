"""SIGINT and SIGTERM end a run at the next step (explanation/rules.md §9)."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from sfa_bench.errors import Interrupted


class StopAtStep:
    """While entered, the first signal is remembered until `check`, a second one ends the process at once.

    Outside the main thread Python delivers no signals, and the handlers stay as they are.
    """

    echo_seconds = 0.0  # seconds within which a second signal is a copy of the first, sent another way
    ends_process = True  # by a second signal; else it is what it was before the run: KeyboardInterrupt, as a rule

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
            before = signal.SIG_DFL if self.ends_process else self._previous[number]
            signal.signal(number, before)  # type: ignore[arg-type]
            os.kill(os.getpid(), number)

    @classmethod
    @contextmanager
    def in_a_program(cls) -> Iterator[None]:
        """Inside the block a second signal does not end the process, which is the user's program or notebook."""
        before, cls.ends_process = cls.ends_process, False
        try:
            yield
        finally:
            cls.ends_process = before

    def check(self) -> None:
        """Raises Interrupted if a signal has come."""
        if self.received is not None:
            raise Interrupted(self.received)
