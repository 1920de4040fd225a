"""What a sweep hands to its jobs: a file of the runs to launch, each composed and checked already, a line of JSON each.

A job is told by the sweep itself which run is its own, where its line is and what its bytes are, so that a line that
has changed since is not even parsed; it is then read through the typed schema, and must have the hash it is called by.
"""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from sfa_bench.config.canonical import run_hash
from sfa_bench.config.external import make_importable
from sfa_bench.config.schema import RunConfig
from sfa_bench.config.stored import from_stored
from sfa_bench.errors import ConfigError
from sfa_bench.store.atomic import replacing
from sfa_bench.store.folder import writing

KEY = "SFA_BENCH_RUN"  # in `hydra.job.env_set`, beside the stop file's
# The run's hash, where its line begins, how many bytes it has, and their SHA-256.
REFERENCE = re.compile(r"([0-9a-f]{12}):(\d{1,15}):(\d{1,8}):([0-9a-f]{64})")


LEFT_BEHIND = 30 * 24 * 3600  # seconds, longer than a job waits in a queue


@dataclass(frozen=True)
class LaunchedRun:
    """One run of a sweep as its job finds it; command: what a user types to make it alone."""

    hash: str
    command: str
    config: RunConfig


def hash_of(reference: str) -> str:
    """The hash of the run that a reference is to."""
    return reference.partition(":")[0]


def write_runs(path: Path, runs: Iterable[tuple[str, str, str]]) -> dict[str, str]:
    """Write (hash, command, stored configuration as JSON) of each run. Returns the reference to each, by hash.

    Raises: RunError with a sentence when the disk refuses.
    """
    for left in path.parent.glob("*.runs"):  # by a sweep that was killed
        with suppress(OSError):
            if time.time() - left.stat().st_mtime > LEFT_BEHIND:
                left.unlink()
    references, begin = {}, 0
    with writing(path), replacing(path) as file:
        for identity, command, config in runs:
            line = f'{{"command": {json.dumps(command)}, "config": {config}}}\n'.encode()
            file.write(line)
            references[identity] = f"{identity}:{begin}:{len(line)}:{hashlib.sha256(line).hexdigest()}"
            begin += len(line)
    return references


def read_run(path: Path, reference: str, config_dir: Path | None) -> LaunchedRun:
    """The run that a reference is to; a class of the user's own beside `config_dir` can be imported afterwards.

    Raises: ConfigError where the file is gone, has other bytes there, or holds no configuration of that hash.
    """
    if (parts := REFERENCE.fullmatch(reference)) is None:
        raise _refused(path, "the job was not told which run of it is its own")
    identity, begin, length, digest = parts[1], int(parts[2]), int(parts[3]), parts[4]
    try:
        with path.open("rb") as file:
            file.seek(begin)
            line = file.read(length)
    except OSError as error:
        raise _refused(path, f"it cannot be read ({error.strerror})") from error
    if hashlib.sha256(line).hexdigest() != digest:
        raise _refused(path, "its bytes have changed since the sweep wrote it")
    try:
        found = json.loads(line)
        command, config = str(found["command"]), from_stored(found["config"])
        actual = run_hash(config)
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        raise _refused(path, f"run {identity} of it is no configuration ({' '.join(str(error).split())})") from error
    if actual != identity:
        why = f"run {identity} of it has the hash {actual}: has a file that it names changed since?"
        raise _refused(path, why)
    make_importable(config_dir)
    return LaunchedRun(identity, command, config)


def remove_runs(path: Path) -> None:
    """Once no job will ask for it any more."""
    with suppress(OSError):  # it is not there, or the disk can no more be written
        path.unlink()


def _refused(path: Path, why: str) -> ConfigError:
    return ConfigError(f"{path} is not the plan of this job: {why}; repeat the sweep's command")
