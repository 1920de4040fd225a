"""MLflow (`logger=mlflow`): a run of its own for each run of the suite, in a database."""

from __future__ import annotations

import fcntl
import logging
import os
import re
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sfa_bench.engine.loggers import Row, finals, scalars
from sfa_bench.errors import ConfigError
from sfa_bench.store.atomic import write_bytes

NOT_IN_A_NAME = re.compile(r"[^\w\-. :/]", re.ASCII)
LONGEST_PARAMETER = 6000  # characters
ENDS = {"done": "FINISHED", "interrupted": "KILLED"}
MOST = 100  # parameters of one call


class MlflowRuns:
    """In the store that `MLFLOW_TRACKING_URI` names, else in `RUNS_DIR/mlflow.db`; experiment `MLFLOW_EXPERIMENT_NAME`,
    or sfa_bench. Raises ImportError when a package is missing, ConfigError where the store cannot be used.
    """

    def __init__(self, folder: Path) -> None:
        import sqlalchemy  # noqa: F401 - mlflow-skinny says it only where the store is opened
        from mlflow import MlflowClient
        from mlflow.exceptions import MlflowException

        runs_dir = folder.parents[2].resolve()
        uri = os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{runs_dir}/mlflow.db"
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or "sfa_bench"
        self.folder, self.run, self.logged = folder, "", 0
        self.row: Row = {}
        try:
            with _alone(runs_dir / ".mlflow.lock"):
                self.client: Any = MlflowClient(uri)
                self.experiment = _experiment(self.client, name)
        except MlflowException as error:
            raise ConfigError(
                f"logger=mlflow cannot use MLFLOW_TRACKING_URI={uri} ({_first_sentence(error)}): set a database or a "
                "server, such as sqlite:///FILE.db, or leave it out for one in runs_dir"
            ) from error

    def open(self, record: Mapping[str, Any], rows: Sequence[Row]) -> None:
        """Begin, or go on in the run that the folder names. An epoch that it has is not logged again."""
        marker = self.folder / "mlflow_run.txt"
        if marker.is_file():
            self.run = marker.read_text(encoding="utf-8").strip()
            self.client.update_run(self.run, status="RUNNING")
        else:
            self.run = self._begin(record)
            write_bytes(marker, f"{self.run}\n".encode())
        logged = self.client.get_metric_history(self.run, "seconds")  # which every epoch has
        self.logged = max((metric.step for metric in logged), default=0)
        for row in rows:
            self.epoch(row)

    def _begin(self, record: Mapping[str, Any]) -> str:
        from mlflow.entities import Param

        names = {f"sfa_bench.{group}": name for group, name in record["names"].items()}
        tags = {**names, "sfa_bench.hash": record["hash"], "sfa_bench.folder": str(self.folder.resolve())}
        title = f"{self.folder.parent.name}/{record['hash']}"
        run = self.client.create_run(self.experiment, run_name=title, tags=tags)
        identity: str = run.info.run_id
        chosen = [Param(_name(key), str(value)[:LONGEST_PARAMETER]) for key, value in _flat(record["config"])]
        for start in range(0, len(chosen), MOST):
            self.client.log_batch(identity, params=chosen[start : start + MOST])
        return identity

    def epoch(self, row: Row) -> None:
        """Log the numbers of one epoch's line; of their names, characters that MLflow refuses become `_`."""
        self.row = row
        if row["epoch"] > self.logged:
            self._log(dict(scalars(row)), row["epoch"])

    def _log(self, numbers: Mapping[str, float], step: int) -> None:
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        metrics = [Metric(_name(name), float(value), now, step) for name, value in numbers.items()]
        self.client.log_batch(self.run, metrics=metrics)  # in one transaction

    def close(self, record: Mapping[str, Any]) -> None:
        if not self.run:
            return
        if record["state"] == "done":
            self._log(finals(record, self.row), self.row["epoch"])
        self.client.set_terminated(self.run, ENDS.get(record["state"], "FAILED"))


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Hold a lock file, quietly: two runs of a sweep that make the same database at once break its tables."""
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.WARNING)
    with open(path, "wb") as lock, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the tables that MLflow makes for itself
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _experiment(client: Any, name: str) -> str:
    """The experiment of this name, made where there is none."""
    found = client.get_experiment_by_name(name)
    return str(client.create_experiment(name) if found is None else found.experiment_id)


def _name(name: str) -> str:
    return NOT_IN_A_NAME.sub("_", name)


def _flat(plain: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in plain.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _first_sentence(error: Exception) -> str:
    return " ".join(str(error).split()).partition(". ")[0]
