"""Errors while data or networks are built, turned into one sentence with the keys that set their size."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from sfa_bench.choices.sources import SOURCES
from sfa_bench.errors import ConfigError, RunError

if TYPE_CHECKING:
    from sfa_bench.config.schema import RunConfig

LONGEST = 300  # characters of an error's message
TOO_LARGE = re.compile("alloc|memory|overflow|too (big|large)", re.IGNORECASE)  # in messages of Torch and NumPy


@contextmanager
def data(config: RunConfig) -> Iterator[None]:
    """Wrap the building of data. Raises: RunError for any failure; a ConfigError passes unchanged."""
    if drawn := [f"dataset.{key}" for key in SOURCES[config.dataset.source].size]:
        keys = f"{', '.join(drawn[:-1])} and {drawn[-1]} set their size"
    else:
        keys = f"what data_dir={config.data_dir} holds sets their size"
    with _sentence("the data", keys):
        yield


@contextmanager
def networks(config: RunConfig) -> Iterator[None]:
    """Wrap the building of the learner. Raises: RunError for any failure; a ConfigError passes unchanged."""
    keys = [config.model.chosen]
    if config.model.width is not None:
        keys.append(f"model.width={config.model.width}")
    if "dim" in SOURCES[config.dataset.source].size:
        keys.append(f"dataset.dim={config.dataset.dim}")
    with _sentence("the networks", f"{' and '.join(keys)} {'set' if len(keys) > 1 else 'sets'} their size"):
        yield


@contextmanager
def _sentence(what: str, keys: str) -> Iterator[None]:
    try:
        yield
    except (ConfigError, RunError):
        raise
    except Exception as error:  # a user's own code and files may fail in any way
        words = (str(error).splitlines() or [""])[0][:LONGEST]
        too_large = isinstance(error, (MemoryError, OverflowError)) or TOO_LARGE.search(str(error))
        reason = f": {words}" if words else ""
        raise RunError(
            f"{what} could not be built: {type(error).__name__}{reason}{f' ({keys})' if too_large else ''}"
        ) from error
