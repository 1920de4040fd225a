"""The run's `log.txt`."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

logger = logging.getLogger("sfa_bench")


class LogFile(logging.FileHandler):
    """A log file that tolerates a full disk: the run goes on without a traceback, and pending lines are written
    later.
    """

    def flush(self) -> None:
        with suppress(OSError):
            super().flush()

    def close(self) -> None:
        with suppress(OSError):
            super().close()


@contextmanager
def log_file(path: Path) -> Iterator[None]:
    """Also write all messages of a run to its `log.txt`."""
    try:
        handler: logging.Handler = LogFile(path / "log.txt", encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        logger.warning("%s cannot be written: %s; the run goes on without it", path / "log.txt", error.strerror)
        handler = logging.NullHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%Y-%m-%d %H:%M:%S"))
    previous = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(previous)
        logger.propagate = True
        handler.close()
