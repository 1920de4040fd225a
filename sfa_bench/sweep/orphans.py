"""End a worker whose sweep has died; a job in it saves its state first."""

from __future__ import annotations

import os
import signal
import threading
import time

from sfa_bench.store.claim import process_start

LOOK_SECONDS = 0.5

_watched: set[int] = set()


def end_with(owner: int) -> None:
    """Signal this process when the process `owner` of this machine has ended; once for each owner.

    A thread polls, because Linux's parent-death signal is tied to the thread that started the worker, not to the
    process. A run handles the signal at its next step; it ends an idle worker.
    """
    if owner not in (*_watched, os.getpid()):
        _watched.add(owner)
        threading.Thread(target=_stop_after, args=(owner,), daemon=True).start()


def _stop_after(owner: int) -> None:
    start = process_start(owner)
    while start is not None and process_start(owner) == start:  # its pid may have been reused by now
        time.sleep(LOOK_SECONDS)
    os.kill(os.getpid(), signal.SIGTERM)
