"""Loggers: what is told the figures of every epoch, beside the record (`logger`, guides/loggers.md)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

from sfa_bench.choices.loggers import LOGGERS, names_of
from sfa_bench.config.external import describe_error
from sfa_bench.errors import ConfigError, RunError

Row = Mapping[str, Any]


class Logger(Protocol):
    """A logger. A class of a user's own is made like the suite's: with the run's folder, before anything is trained.

    What it raises there as ConfigError or ValueError refuses the run; later an error fails the epoch that it is told.
    """

    def __init__(self, folder: Path) -> None:
        """Args: folder, the run's, `RUNS_DIR/DATASET/METHOD/HASH`."""

    def open(self, record: Mapping[str, Any], rows: Sequence[Row]) -> None:
        """Begin, or go on. Args: record, as of `run.json`, with `hash`, `names` and `config`; rows, the epochs that
        are kept: later ones that had been logged before the run was cut off are trained again.
        """

    def epoch(self, row: Row) -> None:
        """Log one epoch. Args: row, its line of `metrics.jsonl`; `scalars(row)` are its numbers by name."""

    def close(self, record: Mapping[str, Any]) -> None:
        """End. Args: record, with the `state` in which the run ends, and `metrics` where that is `done`."""


class Loggers:
    """All loggers of a run. Raises: ConfigError where one cannot be had."""

    def __init__(self, value: str | Sequence[str], folder: Path):
        self.loggers: dict[str, Logger] = {name: _made(name, folder) for name in names_of(value)}

    def open(self, record: Mapping[str, Any], rows: Sequence[Row]) -> None:
        for logger in self.loggers.values():
            logger.open(record, rows)

    def epoch(self, row: Row) -> None:
        for logger in self.loggers.values():
            logger.epoch(row)

    def close(self, record: Mapping[str, Any], say: Callable[[str], None]) -> None:
        """End all. The run is over and recorded: one that fails is reported, and changes nothing."""
        for name, logger in self.loggers.items():
            try:
                logger.close(record)
            except Exception as error:
                say(f"logger={name} could not end: {describe_error(error)}")


def _made(name: str, folder: Path) -> Logger:
    module, _, attribute = LOGGERS.get(name, name).rpartition(".")
    try:
        made: Logger = getattr(import_module(module), attribute)(folder)
    except (ConfigError, RunError):
        raise
    except ImportError as error:
        if name not in LOGGERS:
            raise ConfigError(
                f"logger={name}: {describe_error(error)}; it is MODULE.CLASS on the import path"
            ) from error
        raise ConfigError(
            f"logger={name} needs a package that is not installed: pip install 'sfa_bench[{name}]', or logger=none"
        ) from error
    except Exception as error:  # of a user's own class, or a server
        raise ConfigError(f"logger={name} cannot start: {describe_error(error)}") from error
    if name not in LOGGERS and (missing := [m for m in ("open", "epoch", "close") if not hasattr(made, m)]):
        raise ConfigError(f"logger={name}: the class has no {' and no '.join(missing)} (guides/loggers.md)")
    return made


def scalars(row: Row) -> Iterator[tuple[str, float]]:
    """The numbers of an epoch's line by name, those of its selection as `selection/NAME`."""
    for name, value in {**row, **{f"selection/{k}": v for k, v in (row["selection"] or {}).items()}}.items():
        if isinstance(value, (int, float)) and name != "epoch":
            yield name, value


def finals(record: Mapping[str, Any], row: Row) -> dict[str, float]:
    """The numbers of a finished run that no epoch has, such as `test/acc/final`. Args: row, any epoch's line."""
    metrics = record["metrics"] or {}
    return {k: v for k, v in metrics.items() if isinstance(v, (int, float)) and k not in row}
