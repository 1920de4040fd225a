"""Files as they may be found: whatever stands in a folder under a name of ours is no hang, no crash and no flood."""

from __future__ import annotations

import errno
import json
import math
import os
import stat
from pathlib import Path
from typing import Any

MOST = 64_000_000  # bytes of a record; the largest real ones, of a thousand classes, have a few
LONGEST = 300  # digits of a whole number
DEEPEST = 32  # nested lists and mappings; ours have six


class Damaged(ValueError):
    """A file that is not what was written; the message says why."""


class Foreign(Damaged):
    """Whole, which no cut and no flipped bit leaves: JSON that another program wrote."""


def read_bytes(path: Path, most: int | None = MOST) -> bytes:
    """The content of a regular file. `most`: the largest size in bytes, None for any.

    Raises: OSError with a sentence in `strerror`, also for a pipe, a device or a folder, none of which is waited for.
    """
    if not stat.S_ISREG(os.stat(path).st_mode):  # opening a device may act on it
        raise OSError(errno.EINVAL, "it is no regular file", str(path))
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "it is no regular file", str(path))
        if most is None:
            return file.read()
        if status.st_size <= most and len(content := file.read(most + 1)) <= most:
            return content
    raise OSError(errno.EFBIG, f"it is larger than {most:,} bytes", str(path))


def parse(content: bytes) -> Any:
    """JSON whose numbers, texts and depth every reader can handle: what is not finite is null, and a whole number that
    no float could hold is, too.

    Raises: Damaged where it is not whole JSON; Foreign where it is, and no program of ours wrote it.
    """
    try:
        found = json.loads(
            content.decode("utf-8-sig"), parse_constant=lambda _: None, parse_float=_finite, parse_int=_whole
        )
    except RecursionError as error:
        raise Foreign("it is nested too deep") from error
    except ValueError as error:
        raise Damaged("it is not whole JSON (cut while it was written?)") from error
    _check_plain(found, 0)
    return found


def _finite(text: str) -> float | None:
    value = float(text)
    return value if math.isfinite(value) else None


def _whole(text: str) -> int | None:
    return int(text) if len(text) < LONGEST else None


def _check_plain(value: Any, depth: int) -> None:
    if isinstance(value, str):
        if not value.isascii() and any("\ud800" <= character <= "\udfff" for character in value):
            raise Foreign("it has half a character (a lone surrogate)")
    elif isinstance(value, (dict, list)):
        if depth == DEEPEST:
            raise Foreign("it is nested too deep")
        for item in value:
            _check_plain(item, depth + 1)
        if isinstance(value, dict):
            for item in value.values():
                _check_plain(item, depth + 1)
