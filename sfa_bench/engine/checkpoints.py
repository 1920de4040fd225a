"""Save a run's state to the disk, and restore it."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from sfa_bench.config.schema import RunConfig
from sfa_bench.engine.changes import changed_code, refuse_other_data
from sfa_bench.engine.state import RunState
from sfa_bench.engine.warmup import conditions
from sfa_bench.errors import RunError
from sfa_bench.store.folder import AGAIN, RunFolder


class Checkpoints:
    """Writes the state at most every `checkpoint_seconds`, and always at the end of the warm-up; in between keeps it in
    memory for an interruption.
    """

    def __init__(self, config: RunConfig, folder: RunFolder, state: RunState):
        self.config, self.folder, self.state = config, folder, state
        self.unsaved: dict[str, Any] | None = None  # state of the last whole epoch where it is not on disk
        self.saved_at = time.monotonic()

    def resume(self, old: Mapping[str, Any] | None) -> str | None:
        """Restore the newest checkpoint that belongs to this run and whose epochs all have their line in metrics.jsonl.
        Where the user's own code has changed since, the run starts again.

        Args: old: the run's record, for checkpoints of earlier versions, which do not say what they were made with; a
        later attempt that trained nothing may have replaced it. Returns notes for the user. Raises ConfigError where it
        was made on other data.
        """
        changed = ""

        def take(state: dict[str, Any]) -> None:
            nonlocal changed
            if "cost" not in state:
                return
            self.state.check(state)
            if (origin := state.get("origin", old)) is not None:
                refuse_other_data(self.config, origin, self.state.origin["data"]["fingerprints"])
                changed = changed_code(self.config, origin)
            if not changed:
                self.state.take(state)

        restored, note = self.folder.load_checkpoint(take)
        if restored is not None and "cost" not in restored:  # reduced: training cannot resume from it
            restored, note = None, "last.pt is a finished run's, whose run.json is lost: starting from the first epoch"
        if restored is not None and changed:
            restored, note = None, f"{changed}{AGAIN}"
        origin = old if restored is None else restored.get("origin", old)
        alike = origin is not None and conditions(origin["environment"]) == conditions(self.state.origin["environment"])
        self.state.go_on(restored, alike)
        return note

    def epoch(self, row: Mapping[str, Any]) -> None:
        """Save or keep the state after an epoch; not after the last, whose result is written immediately."""
        e = row["epoch"]
        if e == self.config.epochs:
            return
        due = time.monotonic() - self.saved_at >= self.config.checkpoint_seconds
        state = self.state.as_dict()
        if due or e == self.state.method.training.warmup_epochs:
            self.folder.save_checkpoint(state)
            self.saved_at, self.unsaved = time.monotonic(), None
        else:
            self.unsaved = _copied(state)

    def interrupted(self) -> None:
        """Save a state that is only in memory."""
        if self.unsaved is not None:
            self.folder.save_checkpoint(self.unsaved)

    def keep(self) -> None:
        """Called before the record says that the run is done: save the whole state, where it is to be kept."""
        if self.config.keep_checkpoint == "all":
            self.folder.save_checkpoint(self.state.as_dict())

    def reduce(self, say: Callable[[str], None]) -> None:
        """Called after the record says that the run is done: keep weights and last selections, or nothing. An
        unfinished run could not resume from that.
        """
        keep, method = self.config.keep_checkpoint, self.state.method
        if keep == "all":
            return
        values = method.state()
        reduced = {"epoch": self.state.number, "method": {key: values[key] for key in method.kept}}
        try:
            self.folder.reduce_checkpoint(reduced if keep == "final" else None)
        except RunError as error:
            say(f"done, but the checkpoint stays as it is: {error}")


def _copied(state: Any) -> Any:
    """A copy that training leaves alone, of tensors and plain types; `copy.deepcopy` takes five times as long."""
    if isinstance(state, Tensor):
        return state.clone()
    if isinstance(state, dict):
        copied = copy.copy(state)  # a network's state has the versions of its modules as an attribute
        for key, value in state.items():
            copied[key] = _copied(value)
        return copied
    if isinstance(state, (list, tuple)):
        return type(state)(map(_copied, state))
    return state
