"""File systems of their own, so small that they fill, for tests that may mount one."""

import os
import subprocess
from contextlib import contextmanager, suppress

import pytest


@contextmanager
def small_disk(place, kib):
    """A file system of so many KiB at `place`; the test is skipped where none can be mounted."""
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={kib}k", "tmpfs", str(place)]
    try:
        mounted = subprocess.run(mount, capture_output=True).returncode == 0
    except FileNotFoundError:
        mounted = False
    if not mounted:
        pytest.skip("no file system can be mounted here")
    try:
        yield place
    finally:
        # Lazily: a process that is just ending may still have its working directory there.
        subprocess.run(["umount", "--lazy", str(place)], check=True)


def make_read_only(disk, how="ro"):
    subprocess.run(["mount", "-o", f"remount,{how}", str(disk)], check=True)


def fill(disk, room=0):
    """Let the file `filler` grow until only `room` bytes are free."""
    found = os.statvfs(disk)
    with suppress(OSError), open(disk / "filler", "ab", buffering=0) as file:
        file.write(bytes(max(0, found.f_bavail * found.f_frsize - room)))
