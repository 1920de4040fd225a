"""Shared warm-ups, in `RUNS_DIR/.warmup/` (explanation/runs.md §6): epochs that several runs of a sweep begin with.

`<warm-up hash>/` is made by a sweep with two or more such runs and asks them to share. `<conditions>/` below it is like
a run's folder, with a claim and a checkpoint: runs that share must have the same data, versions, device, precision and
threads, otherwise their warm-ups would differ in bits.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from sfa_bench.store.folder import RunFolder

FOLDER = ".warmup"


def shared_folder(runs_dir: str | os.PathLike[str], warmup_hash: str) -> Path:
    """The folder where runs of this hash share their warm-up; it exists where a sweep asked them to."""
    return Path(runs_dir, FOLDER, warmup_hash)


def made_in(runs_dir: str | os.PathLike[str]) -> set[str]:
    """The hashes of the warm-ups that have a folder."""
    try:
        with os.scandir(Path(runs_dir, FOLDER)) as entries:
            return {entry.name for entry in entries if entry.is_dir()}
    except OSError:  # there is none; and what cannot be read is not shared
        return set()


def under(folder: Path, conditions: dict[str, Any]) -> RunFolder:
    """The folder of the warm-up made under these conditions."""
    text = json.dumps(conditions, sort_keys=True, allow_nan=False)
    return RunFolder(folder / hashlib.sha256(text.encode()).hexdigest()[:12])
