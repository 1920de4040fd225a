"""The file in which a sweep passes runs to its jobs, already composed and checked, one line of JSON each.

The sweep tells a job the hash of its run, the position of its line and the digest of its bytes, so that a line that has
changed is not parsed. The line is then read through the typed schema, and its configuration must have that hash.
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
    """One run of a sweep as its job reads it; command: the command that makes it alone; title: what tells it from the
    sweep's other runs.
    """

    hash: str
    command: str
    config: RunConfig
    title: str = ""


def hash_of(reference: str) -> str:
    """The hash of the run that a reference is to."""
    return reference.partition(":")[0]


def write_runs(path: Path, runs: Iterable[tuple[str, ...]]) -> dict[str, str]:
    """Write (hash, command, stored configuration as JSON) of each run, perhaps with a title. Returns the reference to
    each, by hash.

    Raises: RunError with a sentence when the disk refuses.
    """
    for left in path.parent.glob("*.runs"):  # by a sweep that was killed
        with suppress(OSError):
            if time.time() - left.stat().st_mtime > LEFT_BEHIND:
                left.unlink()
    references, begin = {}, 0
    with writing(path), replacing(path) as file:
        for identity, command, config, *title in runs:
            about = f'"command": {json.dumps(command)}, "title": {json.dumps("".join(title))}'
            line = f'{{{about}, "config": {config}}}\n'.encode()
            file.write(line)
            references[identity] = f"{identity}:{begin}:{len(line)}:{hashlib.sha256(line).hexdigest()}"
            begin += len(line)
    return references


def read_run(path: Path, reference: str, config_dir: Path | None) -> LaunchedRun:
    """Read the run of a reference; afterwards a user's own class beside `config_dir` can be imported.

    Raises: ConfigError where the file is missing, its bytes have changed, or it does not hold a configuration of that
    hash.
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
        stored = json.loads(line)
        command, title, config = str(stored["command"]), str(stored["title"]), from_stored(stored["config"])
        actual = run_hash(config)
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        raise _refused(path, f"run {identity} of it is not a configuration ({' '.join(str(error).split())})") from error
    if actual != identity:
        why = f"run {identity} of it has the hash {actual}: has a file that it names changed since?"
        raise _refused(path, why)
    make_importable(config_dir)
    return LaunchedRun(identity, command, config, title)


def remove_runs(path: Path) -> None:
    """Remove the file; for the end of a sweep, when no job needs it any more."""
    with suppress(OSError):  # it is missing, or the disk cannot be written
        path.unlink()


def _refused(path: Path, why: str) -> ConfigError:
    return ConfigError(f"{path} is not the plan of this job: {why}; repeat the sweep's command")
