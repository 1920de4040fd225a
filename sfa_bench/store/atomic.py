"""Atomic files: written to a temporary file beside their place, flushed, then renamed (explanation/runs.md
§6).
"""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

TEMPORARY = ".tmp"


@contextmanager
def replacing(path: Path, keep_old_as: Path | None = None) -> Iterator[BinaryIO]:
    """Open a temporary file that is flushed and replaces `path` when the block ends without an error.

    On an error the temporary file is removed and `path` is unchanged. With `keep_old_as` the file that was at `path`
    moves there first; a crash between the two renames leaves the old file under that name.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}{TEMPORARY}")
    try:
        with open(temporary, "xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if keep_old_as is not None and path.exists():
            os.replace(path, keep_old_as)
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def write_bytes(path: Path, content: bytes | memoryview) -> None:
    """Replace `path` by a file with this content."""
    with replacing(path) as file:
        file.write(content)


def sync_folder(folder: Path) -> None:
    """Flush a folder's entries; otherwise a power failure may undo a rename."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:  # some network file systems cannot flush a folder
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EBADF):
            raise
    finally:
        os.close(descriptor)


def sweep_temporary(folder: Path) -> list[Path]:
    """Remove temporary files that killed writers left in `folder`; only for the holder of its claim. Returns their
    paths.
    """
    left_over = sorted(folder.glob(f".*{TEMPORARY}"))
    for path in left_over:
        path.unlink(missing_ok=True)
    return left_over
