import disks
import pytest


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 256 KiB of its own; skipped where none can be mounted."""
    with disks.small_disk(tmp_path / "disk", 256) as place:
        yield place
