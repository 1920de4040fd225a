"""The run that a learner makes first, to know how uncertain the labels of each class are (algorithms/har.md §3).

It is a run like any other, with a folder, a claim and a hash of its own, by which it is found: all runs that need the
same one share it, and where several need it at once, one process makes it and the others wait. It lies in
`RUNS_DIR/.estimates/`, so that tables of RUNS_DIR do not take it for one of the runs that were asked for.
"""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from sfa_bench.choices.methods import LEARNERS
from sfa_bench.config.recipes import resolve
from sfa_bench.config.schema import RunConfig
from sfa_bench.errors import RunError
from sfa_bench.store.folder import RunFolder

FOLDER = ".estimates"
# Keys that the estimate has values of its own for, or without effect in it.
REPLACED = (
    *("method", "loss", "plugin", "classifier", "eval.ensemble", "record", "epochs", "runs_dir", "device"),
    "rerun",
)


@dataclass(frozen=True)
class Estimate:
    """errors [K], shares in [0, 1] of the held-out samples by observed class; the hash and the cost of the run."""

    errors: np.ndarray
    run: str
    cost: Mapping[str, Any]


def config_of(config: RunConfig) -> RunConfig | None:
    """The configuration of the run that this one's learner needs first; None where it needs none."""
    first = LEARNERS[config.method.learner].estimate(config)
    if first is None:
        return None
    return resolve(replace(first, rerun=False, runs_dir=os.path.join(config.runs_dir, FOLDER)))


def find(config: RunConfig, command: str, make: Callable[[RunConfig, str], Path]) -> Estimate | None:
    """The estimate of this run's learner, found or made now; None where it needs none.

    Args: command that re-creates this run; make: trains a configuration or finds it done, and returns its folder.

    Raises: as `make`; RunError where the run is done and its figures are gone.
    """
    first = config_of(config)
    if first is None:
        return None
    folder = RunFolder(make(first, command_of(first, command)))
    record, content = folder.read_record(), folder.metrics_of(first.epochs)
    last = json.loads(content.splitlines()[-1]) if content else {}
    if record is None or "val/per_class" not in last:
        raise RunError(f"the estimate in {folder.path} has lost its figures: delete that folder to make it again")
    return Estimate(errors(last["val/per_class"], last["val/acc"]), record["hash"], record["cost"])


def errors(by_class: list[float | None], overall: float) -> np.ndarray:
    """Shares [K] from accuracies in percent; a class without held-out samples has the error of all together."""
    return 1 - np.array([overall if value is None else value for value in by_class]) / 100


def command_of(first: RunConfig, command: str) -> str:
    """The command that makes the estimate alone, from that of the run which needs it."""
    kept = [word for word in shlex.split(command) if not _replaced(word)]
    names = first.names
    words = [f"method={names['method']}", f"plugin={names['plugin']}", f"epochs={first.epochs}"]
    words += [f"dataset.val={first.dataset.val}", f"dataset.val_fraction={first.dataset.val_fraction:g}"]
    words += [f"runs_dir={first.runs_dir}", *([] if first.device == "auto" else [f"device={first.device}"])]
    return shlex.join([*kept, *words])


def _replaced(word: str) -> bool:
    key = word.partition("=")[0]
    return any(key == replaced or key.startswith(f"{replaced}.") for replaced in REPLACED)
