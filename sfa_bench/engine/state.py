"""The state of a run after its last whole epoch, and restoring it from a checkpoint (explanation/runs.md §4)."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

from sfa_bench.engine import resume
from sfa_bench.engine.chosen import Chosen
from sfa_bench.engine.cost import Cost
from sfa_bench.methods.base import Method
from sfa_bench.store.folder import RunFolder
from sfa_bench.store.reading import Damaged
from sfa_bench.store.record import plain


class RunState:
    """The method with the lines of its epochs, its cost and what its validation set chose.

    Args: origin: what its epochs are made with, as the parts `environment` and `data` of a record; build: makes the
    untrained method; choose: makes the `Chosen` of a data set with its own validation set, or None; test_images: size
    of the test set.
    """

    def __init__(
        self,
        run_hash: str,
        folder: RunFolder,
        cost: Cost,
        origin: dict[str, Any],
        build: Callable[[], Method],
        choose: Callable[[], Chosen | None],
        test_images: int,
    ):
        self.run_hash, self.folder, self.cost, self.test_images = run_hash, folder, cost, test_images
        self.origin = plain(origin)
        self._build, self._choose = build, choose
        self.method, self.chosen = build(), choose()
        self.number = 0  # of the last whole epoch
        self.rows: list[dict[str, Any]] = []
        self.lines = hashlib.sha256()  # of all lines of metrics.jsonl so far
        self.uniform = True  # all epochs so far were trained under this machine's conditions

    def epoch(self, row: dict[str, Any]) -> None:
        """Keep the line of a finished epoch."""
        self.rows.append(row)
        self.lines.update(self.folder.append_metrics(row))
        self.number = row["epoch"]

    def as_dict(self) -> dict[str, Any]:
        """The state to resume from, in tensors and plain types, with the run's hash and the digest of its lines."""
        state = {"epoch": self.number, "run": self.run_hash, "lines": self.lines.hexdigest()}
        state |= {"method": self.method.state(), "cost": self.cost.state(), "uniform": self.uniform}
        state["origin"] = self.origin
        return state if self.chosen is None else {**state, "chosen": self.chosen.state()}

    # ---- from the run's own checkpoint

    def check(self, state: dict[str, Any]) -> None:
        """Raises Damaged where a checkpoint is not one of this run."""
        resume.check(state, self.method.training.epochs)
        if state.get("run", self.run_hash) != self.run_hash:  # the first edition's do not say it
            raise Damaged(f"it is of run {state['run']}")

    def take(self, state: dict[str, Any]) -> None:
        """Load a checkpoint of this run into the method. Raises Damaged where it does not fit or lacks its lines."""
        if (content := self.folder.metrics_of(state["epoch"])) is None:
            raise Damaged(f"metrics.jsonl lacks epochs before the checkpoint's {state['epoch']}")
        lines = hashlib.sha256(content)
        if state.get("lines", lines.hexdigest()) != lines.hexdigest():
            raise Damaged("metrics.jsonl is not what it was when this was written")
        self._load(state["method"], state.get("chosen"))
        self.lines = lines

    def go_on(self, state: dict[str, Any] | None, alike: bool) -> None:
        """Continue after the epoch of the loaded checkpoint, or before the first epoch without one.

        Args: alike: tells whether this machine gives the same bits as the one that wrote it.
        """
        self.number = 0 if state is None else state["epoch"]
        self.rows = self.folder.truncate_metrics(self.number)
        if state is not None:
            self.cost.load(state["cost"])
            self.uniform = alike and state.get("uniform", True)

    # ---- from another run's warm-up

    def take_shared(self, made: dict[str, Any]) -> None:
        """Load a shared warm-up into the method; its selectors have no state yet. Raises Damaged."""
        training = self.method.training
        resume.check_shared(made, training.warmup_epochs)
        selectors = [selector.state() for selector in training.selectors]
        self._load({**made["method"], "selectors": selectors, "selections": []}, made.get("chosen"))

    def go_on_shared(self, made: dict[str, Any]) -> None:
        """Continue after the loaded warm-up of another run."""
        self.rows, self.number, self.lines = made["rows"], made["epoch"], hashlib.sha256()
        self.lines.update(self.folder.write_metrics(self.rows))
        self.cost.share(made["cost"], made["run"], self.number)

    def to_share(self) -> dict[str, Any]:
        """The state to share beside that of the method."""
        so_far: dict[str, Any] = {"epoch": self.number, "cost": self.cost.state(), "run": self.run_hash}
        so_far["rows"] = [plain(row) for row in self.rows]
        return so_far if self.chosen is None else {**so_far, "chosen": self.chosen.state()}

    def _load(self, state: dict[str, Any], chosen: Any) -> None:
        try:
            resume.load(self.method, state, self.method.load_state)
            if self.chosen is not None:
                resume.load_chosen(self.chosen, chosen, len(self.method.networks), self.test_images)
        except Damaged:  # half loaded
            self.method.close()
            self.method, self.chosen = self._build(), self._choose()
            raise
