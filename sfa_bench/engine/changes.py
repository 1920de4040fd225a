"""Changes since a run was recorded: of the user's data, or of the user's own code."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from sfa_bench.choices.sources import SOURCES
from sfa_bench.config import external
from sfa_bench.config.canonical import MACHINE, run_hash
from sfa_bench.config.schema import RunConfig
from sfa_bench.errors import ConfigError
from sfa_bench.store.ledger import records, run_place
from sfa_bench.store.record import plain

MOST_BESIDE = 200  # records that are read for a sentence


def data_may_change(config: RunConfig) -> bool:
    """Whether the files may change under the same name: no official checksum ties the name to the content."""
    source = SOURCES[config.dataset.source]
    return source.own or (source.files is not None and not source.checked) or not config.dataset.checksum


def refuse_other_data(config: RunConfig, record: Mapping[str, Any], fingerprints: Mapping[str, str]) -> None:
    """Raise ConfigError where the data are not the record's; where the user's own code has changed, it is named
    instead.
    """
    old = record["data"].get("fingerprints")
    if changed_code(config, record, ("noise", "dataset")):
        return
    if old and old != fingerprints:
        changed = ", ".join(name for name in {**old, **fingerprints} if fingerprints.get(name) != old.get(name))
        raise ConfigError(
            f"this run was made on other data (different: {changed}); give the new data another dataset.name, or "
            "another runs_dir"
        )


def other_length(config: RunConfig) -> str:
    """Say that a finished run differs from this new one in its length alone, and why this one starts anew; else empty.

    Looks at the latest runs beside it, as many as are read at once.
    """
    place = run_place(config.runs_dir, config.recorded_names, run_hash(config))
    if (place / "run.json").exists() or not place.parent.is_dir():
        return ""
    beside = sorted(place.parent.glob("*/run.json"), key=lambda path: path.stat().st_mtime, reverse=True)
    wanted = _without_length(plain(config.to_plain()))
    for path, record in records(path.parent for path in beside[:MOST_BESIDE]):
        former = _without_length(record["config"])
        alike = all(former[key] == value for key, value in wanted.items() if key in former)
        if record["state"] == "done" and alike:
            return (
                f"epochs={config.epochs} starts anew beside the finished run of {record['config']['epochs']} epochs in "
                f"{path}: warm-up and schedules go by the length of a run, so that its epochs are not those of this one"
            )
    return ""


def _without_length(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Path → value of what is not of the machine and does not follow from the number of epochs."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat |= _without_length(value, f"{prefix}{key}.")
        elif f"{prefix}{key}" not in {*MACHINE, "epochs", "warmup_epochs"} and prefix != "recipe.effective.":
            flat[f"{prefix}{key}"] = value
    return flat


def changed_code(config: RunConfig, record: Mapping[str, Any], groups: Iterable[str] = external.BROUGHT) -> str:
    """Say which of the user's own files differ from the record's; empty where none does."""
    old = record["environment"].get("own_code") or {}
    changed = [name for name, content in external.sources(config, groups).items() if old.get(name, content) != content]
    return f"the code of {' and '.join(changed)} has changed" if changed else ""
