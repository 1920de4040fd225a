"""The folder of one run (design.md §4): whatever happens to the process or the disk, what was finished stays."""

from __future__ import annotations

import errno
import io
import json
import logging
import os
import pickle
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sfa_bench.errors import ConfigError, RunError
from sfa_bench.store import record as records
from sfa_bench.store.atomic import replacing, sweep_temporary, write_bytes
from sfa_bench.store.claim import Claim, Claimed, Holder

CHECKPOINTS = ("last.pt", "previous.pt")
FULL = "the disk is full. What was written before is intact: free some space and repeat the command"

log = logging.getLogger("sfa_bench.store")


@contextmanager
def writing(what: Path) -> Iterator[None]:
    """Turn a failed write into the sentence for the user (RunError)."""
    try:
        yield
    except OSError as error:
        reason = FULL if error.errno in (errno.ENOSPC, errno.EDQUOT) else error.strerror or str(error)
        raise RunError(f"could not write {what}: {reason}") from error


def ensure_writable(folder: Path) -> None:
    """Create the folder if need be and write to it once.

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
    """The files of one run. Methods that write raise RunError with a sentence when the disk refuses, or when another
    process took the folder over while this one was stopped."""

    def __init__(self, path: str | os.PathLike[str]):
        self.path = Path(path)
        self._claim: Claim | None = None

    @contextmanager
    def claim(self, wait: Callable[[Holder], None] | None = None, poll_seconds: float = 1.0) -> Iterator[RunFolder]:
        """Hold the folder for this process alone, created if need be and swept of left-over temporary files.

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
        """The run's record; None when there is none or when it is broken, which is said.

        Raises ConfigError for one that another version or another program wrote: overwriting it would lose it.
        """
        path = self.path / "run.json"
        try:
            return records.loads(path.read_bytes())
        except FileNotFoundError:
            return None
        except OSError as error:
            raise ConfigError(f"cannot read {path} ({error.strerror}); choose another folder: runs_dir=PATH") from error
        except records.ForeignError as error:
            reason = f"{path} was written by another version or another program: {error}"
            raise ConfigError(f"{reason}; move it away, or use another runs_dir") from error
        except records.RecordError as error:
            log.warning("%s is ignored: %s", path, error)
            return None

    def write_record(self, record: dict[str, Any]) -> None:
        """Replace `run.json`."""
        self._write("run.json", records.dumps(record).encode())

    def write_config(self, config: dict[str, Any]) -> None:
        """Replace `config.yaml`, for readers; `run.json` holds the same values."""
        import yaml

        text = yaml.safe_dump(records.plain(config), sort_keys=False, allow_unicode=True)
        self._write("config.yaml", text.encode())

    # One line an epoch

    def append_metrics(self, row: dict[str, Any]) -> None:
        """Add one epoch's line, flushed to the disk; a row has the key `epoch`."""
        rest = memoryview((json.dumps(records.plain(row), allow_nan=False) + "\n").encode())
        # Unbuffered: a buffer would write its rest on closing, after the cut.
        with self._writing("metrics.jsonl") as path, open(path, "ab", buffering=0) as file:
            size = file.tell()
            try:
                while rest:
                    rest = rest[file.write(rest) :]
                os.fsync(file.fileno())
            except OSError:
                os.truncate(path, size)  # half a line would swallow the next one
                raise

    def read_metrics(self) -> list[dict[str, Any]]:
        """The rows, up to the first that is not whole: a kill or a power cut tears the end."""
        path = self.path / "metrics.jsonl"
        rows: list[dict[str, Any]] = []
        if not path.exists():
            return rows
        for line in path.read_bytes().splitlines(keepends=True):
            try:
                row = json.loads(line)
                whole = line.endswith(b"\n") and isinstance(row["epoch"], int)
            except (ValueError, TypeError, KeyError):
                whole = False
            if not whole:
                log.warning("%s is torn after %d lines; the rest is ignored", path, len(rows))
                break
            rows.append(row)
        return rows

    def truncate_metrics(self, epoch: int) -> list[dict[str, Any]]:
        """Cut the lines back to those up to `epoch`, the checkpoint's, before going on. Returns the rows that stay."""
        rows = [row for row in self.read_metrics() if row["epoch"] <= epoch]
        self.write_metrics(rows)
        return rows

    def write_metrics(self, rows: list[dict[str, Any]]) -> None:
        """Replace all lines."""
        text = "".join(json.dumps(row, allow_nan=False) + "\n" for row in rows)
        self._write("metrics.jsonl", text.encode())

    # Checkpoints

    def save_checkpoint(self, state: dict[str, Any]) -> None:
        """Write `last.pt` (tensors and plain types only); the one before becomes `previous.pt`."""
        content = _serialised(state)
        with self._writing("last.pt") as last, replacing(last, keep_old_as=self.path / "previous.pt") as file:
            file.write(content)

    def load_checkpoint(self) -> tuple[dict[str, Any] | None, str | None]:
        """The newest checkpoint that can be read, on the CPU, and a sentence when that is not simply `last.pt`.

        Returns: (state, None); (state, note) when `previous.pt` had to serve; (None, None) without any;
        (None, note) when none can be read.
        """
        import torch

        problems: list[str] = []
        for name in CHECKPOINTS:
            path = self.path / name
            try:
                state = torch.load(path, map_location="cpu", weights_only=True)
            except FileNotFoundError:
                if name == CHECKPOINTS[0]:
                    problems.append(f"{path} is missing")
                continue
            except (RuntimeError, EOFError, ValueError, KeyError, OSError, pickle.UnpicklingError):
                problems.append(f"{path} is broken")
                continue
            return state, f"{'; '.join(problems)}: going on from {name}" if problems else None
        if any("broken" in problem for problem in problems):
            return None, f"{'; '.join(problems)}: starting again from the first epoch"
        return None, None

    def reduce_checkpoint(self, state: dict[str, Any] | None) -> None:
        """Of a run that is done: keep this state as the only checkpoint, or none at all."""
        with self._writing("last.pt") as last:
            if state is not None:
                write_bytes(last, _serialised(state))
            else:
                last.unlink(missing_ok=True)
            (self.path / "previous.pt").unlink(missing_ok=True)

    # Arrays and the log

    def write_arrays(self, name: str, arrays: dict[str, Any]) -> None:
        """Replace an `.npz` file; equal arrays give equal bytes. Arrays of Python objects are refused (TypeError)."""
        import numpy as np

        converted: dict[str, Any] = {key: np.asarray(value) for key, value in sorted(arrays.items())}
        if objects := [key for key, value in converted.items() if value.dtype.hasobject]:
            raise TypeError(f"{name}: {', '.join(objects)} would need pickle")
        buffer = io.BytesIO()
        np.savez_compressed(buffer, **converted)
        self._write(name, buffer.getbuffer())

    def read_arrays(self, name: str) -> dict[str, Any]:
        """The arrays of an `.npz` file."""
        import numpy as np

        with np.load(self.path / name, allow_pickle=False) as file:
            return dict(file)

    def log(self, message: str) -> None:
        """Add a line (or a traceback) with the time to `log.txt`. A log that cannot be written stops no run."""
        try:
            with open(self.path / "log.txt", "a", encoding="utf-8") as file:
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


def _serialised(state: dict[str, Any]) -> memoryview:
    # In memory first: Torch hides the disk's errors behind its own.
    import torch

    _check_plain(state, "state")
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return buffer.getbuffer()


def _check_plain(value: Any, where: str) -> None:
    """Refuse (TypeError) now what `weights_only` loading would refuse when the run is to go on."""
    import torch

    if isinstance(value, dict):
        for key, item in value.items():
            _check_plain(key, f"key of {where}")
            _check_plain(item, f"{where}[{key!r}]")
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            _check_plain(item, f"{where}[{index}]")
    elif type(value) not in (torch.Tensor, torch.nn.Parameter, str, int, float, bool, type(None)):
        raise TypeError(f"{where} is a {type(value).__name__}; a checkpoint holds tensors and plain types")
