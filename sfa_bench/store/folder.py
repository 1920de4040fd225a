"""The folder of one run (explanation/runs.md §6). Finished work survives any failure of the process or the disk."""

from __future__ import annotations

import errno
import json
import logging
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import takewhile
from pathlib import Path
from typing import Any

from sfa_bench.errors import ConfigError, RunError
from sfa_bench.store import record as records
from sfa_bench.store.archives import dump_arrays, dump_state, load_arrays, load_state
from sfa_bench.store.atomic import replacing, sweep_temporary, write_bytes
from sfa_bench.store.claim import Claim, Claimed, Holder
from sfa_bench.store.digest import seal_json
from sfa_bench.store.reading import Damaged, Foreign, parse, read_bytes
from sfa_bench.store.shapes import optional, text, whole

CHECKPOINTS = ("last.pt", "previous.pt")
OLD = "run.json.old"
AGAIN = ": starting again from the first epoch"
MOST_METRICS = 2_000_000_000  # bytes of metrics.jsonl; of a thousand classes an epoch has some 100 kB
FULL = "the disk is full. What was written before is intact: free some space and repeat the command"

# What the system says of something that is no file of ours. For any other reason a file may be well: taken for damaged,
# what is in it would be replaced.
NO_FILE = (errno.EISDIR, errno.EINVAL, errno.ELOOP, errno.EFBIG)

log = logging.getLogger("sfa_bench.store")


@contextmanager
def writing(what: Path) -> Iterator[None]:
    """Turn a failed write into a message for the user (RunError)."""
    try:
        yield
    except OSError as error:
        reason = FULL if error.errno in (errno.ENOSPC, errno.EDQUOT) else error.strerror or str(error)
        raise RunError(f"could not write {what}: {reason}") from error


def refuse_unread(path: Path, error: Exception) -> None:
    """Raise RunError for an error that says nothing about the content of the file."""
    if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno not in NO_FILE):
        reason = error.strerror if isinstance(error, OSError) else f"there is not enough memory ({error})"
        raise RunError(
            f"cannot read {path}: {reason}. Repeat the command once it can be read, or is removed"
        ) from error


def write_file(path: Path, content: bytes | memoryview) -> None:
    """Replace a file that a user asked for. Raises RunError with a sentence when the disk refuses."""
    with writing(path):
        write_bytes(path, content)


def ensure_writable(folder: Path) -> None:
    """Create the folder if necessary and write to it once.

    Raises ConfigError when it cannot be written, RunError when the disk is full.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as probe:
            probe.write(b"probe")
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise RunError(f"could not write to {folder}: {FULL}") from error
        reason = error.strerror or str(error)
        raise ConfigError(f"cannot write to {folder} ({reason}); choose another folder: runs_dir=PATH") from error


class RunFolder:
    """The files of one run. Methods that write raise RunError with a sentence when the disk fails, or when another
    process took the folder over while this one was stopped.
    """

    def __init__(self, path: str | os.PathLike[str]):
        self.path = Path(path)
        self._claim: Claim | None = None

    @contextmanager
    def claim(self, wait: Callable[[Holder], None] | None = None, poll_seconds: float = 1.0) -> Iterator[RunFolder]:
        """Hold the folder exclusively for this process; create it if necessary and remove left-over temporary files.

        `wait` is called with the holder whenever a live process is found to hold it, every `poll_seconds`; it may
        raise to give up. Without it a held folder raises Claimed at once. Raises ConfigError when the folder cannot
        be written. Other processes may have finished the run meanwhile: read the record inside the block.
        """
        ensure_writable(self.path)
        claim = Claim(self.path)
        with writing(self.path):
            holder = claim.acquire()
        while holder is not None:
            if wait is None:
                raise Claimed(self.path, holder)
            wait(holder)
            time.sleep(poll_seconds)
            with writing(self.path):
                holder = claim.acquire()
        self._claim = claim
        try:
            for place in (self.path, self.path / "probes"):
                sweep_temporary(place)
            yield self
        finally:
            self._claim = None
            claim.release()

    # The record

    def read_record(self) -> dict[str, Any] | None:
        """The run's record; None when there is none or, with a warning, when it is damaged.

        Raises ConfigError for a record of another version or another program, because overwriting would lose it.
        """
        path = self.path / "run.json"
        try:
            return records.load(path)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise ConfigError(f"cannot read {path} ({error.strerror}); choose another folder: runs_dir=PATH") from error
        except Foreign as error:
            reason = f"{path} was written by another version or another program: {error}"
            raise ConfigError(f"{reason}; move it away, or use another runs_dir") from error
        except Damaged as error:
            log.warning("%s is ignored: %s", path, error)
            return None

    def write_record(self, record: dict[str, Any]) -> None:
        """Replace `run.json`, with its digest."""
        self._write("run.json", seal_json(records.dumps(record)))

    # A finished run that is trained again

    @property
    def again(self) -> bool:
        """Whether the run is being trained again: its former record lies beside."""
        return (self.path / OLD).is_file()

    def begins_again(self) -> bool:
        """Whether a finished run was left as it was just to be trained again: its record is still the former one."""
        return self.again and read_bytes(self.path / OLD) == read_bytes(self.path / "run.json")

    def begin_again(self) -> None:
        """Keep the record of a finished run beside until the next one is done, and remove its checkpoint, from which
        nothing shall go on.
        """
        self._write(OLD, read_bytes(self.path / "run.json"))
        self.reduce_checkpoint(None)

    def end_again(self) -> None:
        """Remove the former record: the run is done again."""
        with self._writing(OLD) as old:
            old.unlink(missing_ok=True)

    def write_config(self, config: dict[str, Any]) -> None:
        """Replace `config.yaml`, for readers; `run.json` holds the same values."""
        import yaml

        text = yaml.safe_dump(records.plain(config), sort_keys=False, allow_unicode=True)
        self._write("config.yaml", text.encode())

    # One line an epoch

    def append_metrics(self, row: dict[str, Any]) -> bytes:
        """Add one epoch's line, flushed to the disk; a row has the key `epoch`. Returns the line."""
        line = _line(row)
        rest = memoryview(line)
        # Unbuffered: a buffer would write its rest on closing, after the truncation.
        with self._writing("metrics.jsonl") as path, open(path, "ab", buffering=0) as file:
            size = file.tell()
            try:
                while rest:
                    rest = rest[file.write(rest) :]
                os.fsync(file.fileno())
            except OSError:
                os.truncate(path, size)  # half a line would swallow the next one
                raise
        return line

    def read_metrics(self) -> list[dict[str, Any]]:
        """The rows up to the first incomplete line: a kill or a power failure may cut the end."""
        return [row for _, row in self._lines()]

    def metrics_of(self, epochs: int) -> bytes | None:
        """The lines of the first `epochs` epochs; None unless all are there, each once and in order. Raises RunError
        where they cannot be read now.
        """
        lines = self._lines(ignore=False)[:epochs]
        if [row["epoch"] for _, row in lines] != list(range(1, epochs + 1)):
            return None
        return b"".join(line for line, _ in lines)

    def _lines(self, ignore: bool = True) -> list[tuple[bytes, dict[str, Any]]]:
        path = self.path / "metrics.jsonl"
        lines: list[tuple[bytes, dict[str, Any]]] = []
        try:
            content = read_bytes(path, MOST_METRICS)
        except FileNotFoundError:
            return lines
        except OSError as error:
            if not ignore:
                refuse_unread(path, error)
            log.warning("%s is ignored: %s", path, error.strerror)
            return lines
        for line in content.splitlines(keepends=True):
            try:
                row = parse(line)
            except Damaged:
                row = None
            if not line.endswith(b"\n") or not _is_row(row):
                log.warning("%s is incomplete after %d lines; the rest is ignored", path, len(lines))
                break
            lines.append((line, row))
        return lines

    def truncate_metrics(self, epoch: int) -> list[dict[str, Any]]:
        """Remove the lines after `epoch`, that of the checkpoint, before resuming. Returns the remaining rows. Raises
        RunError where they cannot be read now.
        """
        kept = list(takewhile(lambda pair: pair[1]["epoch"] <= epoch, self._lines(ignore=False)))
        self._write("metrics.jsonl", b"".join(line for line, _ in kept))
        return [row for _, row in kept]

    def write_metrics(self, rows: list[dict[str, Any]]) -> bytes:
        """Replace all lines. Returns them."""
        content = b"".join(map(_line, rows))
        self._write("metrics.jsonl", content)
        return content

    # Checkpoints

    def save_checkpoint(self, state: dict[str, Any]) -> None:
        """Write `last.pt` (tensors and plain types only); the former one becomes `previous.pt`."""
        content = dump_state(state)
        with self._writing("last.pt") as last, replacing(last, keep_old_as=self.path / "previous.pt") as file:
            file.write(content)

    def load_checkpoint(
        self, take: Callable[[dict[str, Any]], None] = lambda state: None
    ) -> tuple[dict[str, Any] | None, str | None]:
        """The newest checkpoint that can be used, on the CPU, and a note when that is not `last.pt`.

        Args: take: is given the state; raises Damaged where it is not of this run.
        Returns: (state, None); (state, note) when `previous.pt` is used; (None, None) without any;
        (None, note) when none can be used. Raises RunError where one may be well and cannot be read now.
        """
        problems, damaged = list[str](), False
        for name in CHECKPOINTS:
            path = self.path / name
            try:
                state = load_state(path)
            except FileNotFoundError:
                if name == CHECKPOINTS[0]:
                    problems.append(f"{path} is missing")
                continue
            except (OSError, MemoryError, Damaged) as error:
                refuse_unread(path, error)
                problems.append(f"{path} is damaged")
                damaged = True
                log.info("%s: %s", path, error)
                continue
            try:
                take(state)
            except Damaged as error:
                problems.append(f"{path} is damaged ({error})")
                damaged = True
                continue
            return state, f"{'; '.join(problems)}: going on from {name}" if problems else None
        if damaged:
            return None, f"{'; '.join(problems)}{AGAIN}"
        return None, None

    def reduce_checkpoint(self, state: dict[str, Any] | None) -> None:
        """Keep this state as the only checkpoint of a finished run, or none at all."""
        with self._writing("last.pt") as last:
            if state is not None:
                write_bytes(last, dump_state(state))
            else:
                last.unlink(missing_ok=True)
            (self.path / "previous.pt").unlink(missing_ok=True)

    # Arrays and the log

    def write_arrays(self, name: str, arrays: dict[str, Any]) -> None:
        """Replace an `.npz` file; equal arrays give equal bytes. Arrays of Python objects are refused (TypeError)."""
        self._write(name, dump_arrays(name, arrays))

    def read_arrays(self, name: str) -> dict[str, Any]:
        """The arrays of an `.npz` file. Raises OSError where it cannot be read, Damaged where its content has
        changed.
        """
        return load_arrays(self.path / name)

    def log(self, message: str) -> None:
        """Add a line (or a traceback) with the time to `log.txt`. A failure to write the log does not stop the run."""
        try:
            with open(self.path / "log.txt", "a", encoding="utf-8", errors="backslashreplace") as file:
                file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {message}\n")
        except OSError as error:
            log.warning("%s (log.txt: %s)", message, error.strerror)

    def _write(self, name: str, content: bytes | memoryview) -> None:
        with self._writing(name) as path:
            write_bytes(path, content)

    @contextmanager
    def _writing(self, name: str) -> Iterator[Path]:
        with writing(self.path / name):
            if self._claim is not None and not self._claim.held():
                raise RunError(f"{self.path} was taken over by another process while this one was silent")
            yield self.path / name


def _line(row: dict[str, Any]) -> bytes:
    return (json.dumps(records.plain(row), allow_nan=False) + "\n").encode()


def _is_row(row: Any) -> bool:
    """Whether a line is a valid row of an epoch."""
    return (
        isinstance(row, dict)
        and whole(row.get("epoch"))
        and optional(text)(row.get("phase"))
        and isinstance(row.get("selection"), (dict, type(None)))
    )
