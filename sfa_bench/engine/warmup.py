"""Epochs before the first selection, made once for all runs of a sweep that begin with the same (`share_warmup`)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from sfa_bench.config import external
from sfa_bench.config.canonical import hashes
from sfa_bench.config.schema import RunConfig
from sfa_bench.data.types import Data
from sfa_bench.errors import ConfigError, RunError
from sfa_bench.methods.base import Method
from sfa_bench.store.claim import Holder
from sfa_bench.store.folder import RunFolder
from sfa_bench.store.warmups import shared_folder, under

CONDITIONS = ("versions", "code", "device", "device_name", "instructions", "threads", "precision", "deterministic")


def find(config: RunConfig, data: Data, environment: dict[str, Any]) -> RunFolder | None:
    """The folder in which this run shares its warm-up; None where no sweep asked for it."""
    identity = hashes(config).warmup
    if identity is None or not (folder := shared_folder(config.runs_dir, identity)).is_dir():
        return None
    # A user's own selector acts later; a loss or a backbone acts in these epochs, and its file may have changed.
    sources = external.sources(config, [group for group in external.BROUGHT if group != "plugin"])
    return under(
        folder, {**conditions(environment), "data": data.fingerprints, **({"own": sources} if sources else {})}
    )


def conditions(environment: dict[str, Any]) -> dict[str, Any]:
    """The parts of a record's environment that two runs must have in common to train to the same bits."""
    return {key: environment.get(key) for key in CONDITIONS}


@contextmanager
def held(folder: RunFolder, wait: Callable[[Holder], None], say: Callable[[str], None]) -> Iterator[bool]:
    """Hold the folder exclusively. Yields False, with a message, where the disk fails: a run that cannot share trains
    its own warm-up.
    """
    claim = folder.claim(wait=wait)
    try:
        claim.__enter__()
    except (ConfigError, RunError) as error:
        say(f"these epochs are not shared: {error}")
        yield False
        return
    try:
        yield True
    finally:
        claim.__exit__(None, None, None)


def save(folder: RunFolder, method: Method, so_far: dict[str, Any], say: Callable[[str], None]) -> None:
    """Save the state at the end of the warm-up. Args: so_far: `epoch`, the epochs' lines (`rows`), their `cost`, the
    hash of the `run` that made them, and whatever else a resumed run needs.
    """
    # Selectors have no state yet, and runs that share a warm-up have different ones.
    state = {key: value for key, value in method.state().items() if key not in ("selectors", "selections")}
    try:
        folder.save_checkpoint({**so_far, "method": state})
    except RunError as error:
        say(f"these epochs are not shared: {error}")


def load(
    folder: RunFolder, take: Callable[[dict[str, Any]], None], say: Callable[[str], None]
) -> dict[str, Any] | None:
    """Load what `save` kept; None where there is none, or, with a message, where it cannot be used."""
    try:
        made, note = folder.load_checkpoint(take)
    except RunError as error:
        made, note = None, str(error)
    if note:
        say(f"shared epochs: {note}")
    return made
