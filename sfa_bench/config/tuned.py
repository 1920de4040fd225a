"""What `sfa-bench tune` has chosen: the file that it leaves, and the runs that say so (`tuned.file`)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sfa_bench.errors import ConfigError

if TYPE_CHECKING:
    from sfa_bench.config.schema import RunConfig

LARGEST = 1_000_000  # bytes; real ones have some hundreds


def tuning_of(config: RunConfig) -> dict[str, Any]:
    """What a run keeps of the tuning that chose its values: the number of `trials`, and the `val`idation set.

    Raises: ConfigError where the file is not one of tune's, chose other values or for another method, or tuned on this
    run's data_seed.
    """
    key = f"tuned.file={config.tuned.file}"
    chosen = _read(key, Path(str(config.tuned.file)))
    for group, name in chosen["names"].items():
        if config.names.get(group) != name:
            raise ConfigError(f"{key} was chosen for {group}={name}, not {config.names.get(group)}: leave it out")
    plain = config.to_plain()
    for path, value in chosen["values"].items():
        if (found := _at(plain, path)) != value:
            raise ConfigError(f"{key} has chosen {path}={value}, and this run has {found}: set that, or leave it out")
    if config.data_seed in chosen["data_seeds"]:
        raise ConfigError(f"{key} was tuned on data_seed={config.data_seed}: report on others")
    return {"trials": chosen["trials"], "val": chosen["val"]}


def _read(key: str, path: Path) -> Mapping[str, Any]:
    try:
        with path.open("rb") as file:
            chosen = json.loads(file.read(LARGEST))
    except OSError as error:
        raise ConfigError(f"{key}: cannot be read ({error.strerror})") from error
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{key} is not a file that sfa-bench tune leaves") from error
    kinds = {"trials": int, "val": str, "values": dict, "names": dict, "data_seeds": list}
    if not isinstance(chosen, dict) or any(type(chosen.get(name)) is not kind for name, kind in kinds.items()):
        raise ConfigError(f"{key} is not a file that sfa-bench tune leaves")
    return chosen


def _at(plain: Any, path: str) -> Any:
    for part in path.split("."):
        plain = plain.get(part) if isinstance(plain, dict) else None
    return plain
