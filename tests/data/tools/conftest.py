import os
import subprocess
import sys
from pathlib import Path

import pytest

from sfa_bench.data.sources import fashion_mnist

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(autouse=True)
def no_system_files(tmp_path, monkeypatch):
    """Debian's package on this machine is none of a test's business."""
    monkeypatch.setattr(fashion_mnist, "DEBIAN_FOLDER", tmp_path / "not-installed")


@pytest.fixture
def command():
    """`python -m sfa_bench.data …` in a process of its own: exit status, what it prints, what it complains."""

    def run(*arguments, cwd=ROOT):
        done = subprocess.run(
            [sys.executable, "-m", "sfa_bench.data", *map(str, arguments)],
            cwd=cwd,
            capture_output=True,
            text=True,
            env=os.environ | {"OMP_NUM_THREADS": "1", "COLUMNS": "80"},
        )
        return done.returncode, done.stdout, done.stderr

    return run


@pytest.fixture
def contents():
    """Every file below a folder: relative name → bytes."""

    def read(folder):
        return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}

    return read
