"""TensorBoard event files beside the record (`logger=tensorboard`): the scalars of every epoch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sfa_bench.engine.loggers import Row, scalars


class EventFiles:
    """Event files in the run's `tensorboard/`. Raises ImportError when the package is missing."""

    def __init__(self, folder: Path) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer: Any = SummaryWriter
        self.folder = folder
        self.writer: Any = None

    def open(self, record: Mapping[str, Any], rows: Sequence[Row]) -> None:
        """Begin, or resume after the last row and discard what had been logged of later epochs."""
        after = rows[-1]["epoch"] if rows else 0
        self.writer = self._writer(str(self.folder / "tensorboard"), purge_step=after + 1)

    def epoch(self, row: Row) -> None:
        """Log the numbers of one epoch's line of `metrics.jsonl`, under their names."""
        assert self.writer is not None  # opened before the first epoch
        for name, value in scalars(row):
            self.writer.add_scalar(name, value, row["epoch"])
        self.writer.flush()

    def close(self, record: Mapping[str, Any]) -> None:
        if self.writer is not None:
            self.writer.close()
