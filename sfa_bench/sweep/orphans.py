"""A worker whose sweep has died, however it died: what it trains saves its state, and it ends."""

from __future__ import annotations

import os
import signal
import threading
import time

from sfa_bench.store.claim import process_start

LOOK_SECONDS = 0.5

_watched: set[int] = set()


def end_with(owner: int) -> None:
    """Let this process be told to stop when the process `owner` of this machine is no more; once for each owner.

    A thread looks, since the signal that Linux can send for that goes by the thread that started the worker, not by
    the process. A run takes the signal at its next step, and an idle worker dies of it.
    """
    if owner not in (*_watched, os.getpid()):
        _watched.add(owner)
        threading.Thread(target=_stop_after, args=(owner,), daemon=True).start()


def _stop_after(owner: int) -> None:
    start = process_start(owner)
    while start is not None and process_start(owner) == start:  # its number may be another's by now
        time.sleep(LOOK_SECONDS)
    os.kill(os.getpid(), signal.SIGTERM)
