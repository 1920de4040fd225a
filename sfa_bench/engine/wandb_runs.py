"""Weights & Biases (`logger=wandb`): a run of its own for each run of the suite, its files in the run's `wandb/`."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sfa_bench.engine.loggers import Row, finals, scalars
from sfa_bench.errors import ConfigError


class WandbRuns:
    """Online, or offline with `WANDB_MODE=offline`, as the package has it; project `WANDB_PROJECT`, or sfa_bench.

    Any name of ours is a name there. Raises ImportError when the package is missing, ConfigError without an account.
    """

    def __init__(self, folder: Path) -> None:
        import wandb

        self.wandb: Any = wandb
        self.folder = folder
        self.run: Any = None
        self.row: Row = {}
        self.mode = wandb.setup().settings.mode
        if self.mode == "online" and not _logged_in(wandb):
            raise ConfigError("logger=wandb has no account here: set WANDB_MODE=offline, or call wandb login first")

    def open(self, record: Mapping[str, Any], rows: Sequence[Row]) -> None:
        """Begin, or go on in the run of the same id. A step that it has is not logged again.

        Offline it cannot be asked which steps it has: its files are written anew, from the first epoch.
        """
        before = sorted((self.folder / "wandb").glob("*run-*-*"))
        identity = before[-1].name.rpartition("-")[2] if before else None
        if self.mode == "offline":
            for path in before:
                shutil.rmtree(path)
        settings = {"console": "off", "silent": True, "save_code": False, "disable_git": True}
        self.run = self.wandb.init(
            project=os.environ.get("WANDB_PROJECT", "sfa_bench"),
            group=self.folder.parent.name,
            name=f"{self.folder.parent.name}/{record['hash']}",
            dir=str(self.folder),
            id=identity,
            resume="allow",
            reinit="create_new",
            config={"names": record["names"], **record["config"]},
            settings=self.wandb.Settings(**settings),
        )
        for row in rows:
            self.epoch(row)

    def epoch(self, row: Row) -> None:
        """Log the numbers of one epoch's line, under their names."""
        self.row = row
        if row["epoch"] >= self.run.starting_step:
            # Committed at once, else the step is kept back until the next one.
            self.run.log(dict(scalars(row)), step=row["epoch"], commit=True)

    def close(self, record: Mapping[str, Any]) -> None:
        if self.run is None:
            return
        if record["state"] == "done":
            self.run.summary.update(finals(record, self.row))
        self.run.finish(exit_code=0 if record["state"] == "done" else 1)


def _logged_in(wandb: Any) -> bool:
    try:
        return bool(wandb.login(prompt=False))
    except (wandb.Error, ValueError):  # a key that is not accepted
        return False
