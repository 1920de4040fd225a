"""Read files defensively: an unexpected file under a name of ours must not hang, crash or exhaust memory."""

from __future__ import annotations

import errno
import json
import os
import stat
import sys
from io import FileIO
from pathlib import Path
from typing import Any

MOST = 64_000_000  # bytes of a record; the largest real ones, of a thousand classes, have a few
DEEPEST = 32  # nested lists and mappings; ours have six
TOO_DEEP = "it is nested too deep"
FLOAT = sys.float_info.max


class Damaged(ValueError):
    """A file whose content is not as it was written; the message says why."""


class Foreign(Damaged):
    """Complete JSON that another program or version wrote, which damage cannot cause."""


def lacks_memory(error: BaseException) -> bool:
    """Whether the machine or its device failed, and not what was read; Torch's errors are told by their words."""
    said = ("allocate memory", "out of memory", "CUDA error")
    return isinstance(error, MemoryError) or any(words in str(error) for words in said)


def read_bytes(path: Path, most: int = MOST) -> bytes:
    """The content of a regular file of at most so many bytes.

    Raises: OSError with a sentence in `strerror`, also for a pipe, a device or a folder, without waiting for them.
    """
    with open_regular(path) as file:
        if os.fstat(file.fileno()).st_size <= most:
            return file.readall()
    raise OSError(errno.EFBIG, f"it is larger than {most:,} bytes", str(path))


def open_regular(path: Path) -> FileIO:
    """Open a regular file for reading, without a buffer. Raises: as `read_bytes`."""
    _check_regular(os.stat(path), path)  # opening a device may act on it
    file = FileIO(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC))
    try:
        _check_regular(os.fstat(file.fileno()), path)
    except BaseException:
        file.close()
        raise
    return file


def _check_regular(status: os.stat_result, path: Path) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise OSError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "it is not a regular file", str(path))


def parse(content: bytes) -> Any:
    """Parse JSON whose numbers, texts and depth every reader can handle; NaN and infinities become null.

    Raises: Damaged where it is not complete JSON; Foreign where it is, but the suite cannot have written it.
    """
    try:
        parsed = json.loads(content.decode("utf-8-sig"), parse_constant=lambda _: None)
    except RecursionError as error:
        raise Foreign(TOO_DEEP) from error
    except ValueError as error:
        raise Damaged("it is not complete JSON (cut while it was written?)") from error
    _check([parsed], 0, escapes=b"\\u" in content)
    return parsed


def _check(parts: dict[str, Any] | list[Any], depth: int, escapes: bool) -> None:
    """Raises Foreign for values that would make a reader fail later. escapes: whether any character was escaped by its
    number, as half a character can only be.
    """
    if depth > DEEPEST:
        raise Foreign(TOO_DEEP)
    if escapes and isinstance(parts, dict):
        for key in parts:
            _check_text(key)
    for part in parts.values() if isinstance(parts, dict) else parts:
        kind = type(part)
        if kind is float or kind is int:
            if not -FLOAT <= part <= FLOAT:
                raise Foreign("it has a number that is not finite")
        elif kind is str:
            if escapes:
                _check_text(part)
        elif kind is dict or kind is list:
            _check(part, depth + 1, escapes)


def _check_text(text: str) -> None:
    if not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text):
        raise Foreign("it has half a character (a lone surrogate)")
