"""Files that are whole or not there: written beside their place, flushed, then renamed into it (explanation/runs.md
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
    """Open a temporary file that takes the place of `path`, flushed to the disk, when the block ends well.

    On any error the temporary file is removed and `path` is as it was. With `keep_old_as` the file that was at `path`
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
    """Flush a folder's entries, without which a rename may be lost with the power."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:  # some network file systems know no flush of a folder
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EBADF):
            raise
    finally:
        os.close(descriptor)


def sweep_temporary(folder: Path) -> list[Path]:
    """Remove what writers that were killed left in `folder`; only its claimant may. Returns what was removed."""
    left_over = sorted(folder.glob(f".*{TEMPORARY}"))
    for path in left_over:
        path.unlink(missing_ok=True)
    return left_over
