"""TensorBoard event files beside the record (`logger=tensorboard`): the scalars of every epoch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sfa_bench.errors import ConfigError


class EventFiles:
    """Event files in the run's `tensorboard/`. Raises ConfigError when the package is missing."""

    def __init__(self) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise ConfigError(
                "logger=tensorboard needs a package that is not installed: pip install tensorboard, or logger=none"
            ) from error
        self._writer: Any = SummaryWriter
        self.writer: Any = None

    def open(self, folder: Path, epoch: int) -> None:
        """Begin, or resume after `epoch` and discard what had been logged of later epochs."""
        self.writer = self._writer(str(folder / "tensorboard"), purge_step=epoch + 1)

    def epoch(self, row: Mapping[str, Any]) -> None:
        """Log the numbers of one epoch's line of `metrics.jsonl`, under their names."""
        assert self.writer is not None  # opened before the first epoch
        for name, value in {**row, **{f"selection/{k}": v for k, v in (row["selection"] or {}).items()}}.items():
            if isinstance(value, (int, float)) and name != "epoch":
                self.writer.add_scalar(name, value, row["epoch"])
        self.writer.flush()

    def close(self) -> None:
        if self.writer is not None:
            self.writer.close()
