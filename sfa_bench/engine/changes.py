"""Changes since a run was recorded: of the user's data, or of the user's own code."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sfa_bench.choices.sources import SOURCES
from sfa_bench.config import external
from sfa_bench.config.schema import RunConfig
from sfa_bench.data.types import Data
from sfa_bench.errors import ConfigError


def data_may_change(config: RunConfig) -> bool:
    """Whether the files may change under the same name: no official checksum ties the name to the content."""
    source = SOURCES[config.dataset.source]
    return source.own or (source.files is not None and not source.checked) or not config.dataset.checksum


def refuse_other_data(config: RunConfig, record: dict[str, Any], data: Data) -> None:
    """Raise ConfigError where the data are not the record's; where the user's own code has changed, it is named
    instead.
    """
    old = record["data"].get("fingerprints")
    if changed_code(config, record, ("noise", "dataset")):
        return
    if old and old != data.fingerprints:
        either = {**old, **data.fingerprints}
        changed = ", ".join(name for name in either if data.fingerprints.get(name) != old.get(name))
        raise ConfigError(
            f"this run was made on other data (different: {changed}); give the new data another dataset.name, or "
            "another runs_dir"
        )


def changed_code(config: RunConfig, record: dict[str, Any], groups: Iterable[str] = external.BROUGHT) -> str:
    """Say which of the user's own files differ from the record's; empty where none does."""
    old = record["environment"].get("own_code") or {}
    changed = [name for name, content in external.sources(config, groups).items() if old.get(name, content) != content]
    return f"the code of {' and '.join(changed)} has changed" if changed else ""
