"""One run in one process: prepare, resume from its last state, train epoch by epoch, keep the result."""

from __future__ import annotations

import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Protocol

import numpy as np
from rich.console import Console

from sfa_bench import numerics
from sfa_bench.config import external
from sfa_bench.config.schema import RunConfig
from sfa_bench.data import build as build_data
from sfa_bench.data import words
from sfa_bench.data.types import Data
from sfa_bench.engine import building, machine, warmup
from sfa_bench.engine.build import build_method, knows
from sfa_bench.engine.changes import refuse_other_data
from sfa_bench.engine.checkpoints import Checkpoints
from sfa_bench.engine.chosen import Chosen
from sfa_bench.engine.contract import Contract
from sfa_bench.engine.cost import Cost
from sfa_bench.engine.estimate import Estimate
from sfa_bench.engine.evaluation import Evaluation
from sfa_bench.engine.loggers import Loggers
from sfa_bench.engine.probes import Probes
from sfa_bench.engine.progress import ProgressDisplay, summary
from sfa_bench.engine.report import Surprises, describe_data, predictions, selection_row, thumbs
from sfa_bench.engine.signals import StopAtStep
from sfa_bench.engine.state import RunState
from sfa_bench.errors import ConfigError, Interrupted, RunError
from sfa_bench.methods.base import Method
from sfa_bench.store.claim import Holder
from sfa_bench.store.folder import OLD, RunFolder
from sfa_bench.store.record import ended, new_record


class Listener(Protocol):
    """An object that is notified after every epoch."""

    def epoch(self, row: dict[str, Any]) -> None:
        """Args: row, the epoch's line of metrics.jsonl."""


class Waiting:
    """Reports once which process holds the folder; a signal ends the waiting."""

    def __init__(self, console: Console, stop: StopAtStep, at_work: str = "works on this run"):
        self.console, self.stop, self.at_work, self.said = console, stop, at_work, False

    def __call__(self, holder: Holder) -> None:
        self.stop.check()
        if not self.said:
            self.console.print(f"waiting: {holder} {self.at_work}", highlight=False, soft_wrap=True)
            self.said = True


class Session:
    """One process's work on one run.

    Args: old is the record that the run left before; threads, of a new run, where the configuration names none;
    estimate, that the learner asks for.

    Raises: ConfigError, with nothing recorded, where the machine or the data are refused; RunError, recorded, where
    data or networks cannot be built.
    """

    def __init__(
        self,
        config: RunConfig,
        run_hash: str,
        command: str,
        folder: RunFolder,
        old: dict[str, Any] | None,
        console: Console,
        stop: StopAtStep,
        threads: int | None = None,
        estimate: Estimate | None = None,
    ):
        if config.threads is None:  # a resume keeps the number of threads, on which the last bits depend
            recorded = None if old is None else old["environment"].get("threads")
            config = replace(config, threads=recorded or threads)
        self.config, self.folder, self.stop = config, folder, stop
        self.loggers = Loggers(config.logger, folder.path)
        self.display = ProgressDisplay(console, config.epochs, config.warmup_epochs)
        self.record = new_record(hash=run_hash, config=config.to_plain(), names=config.recorded_names, command=command)
        machine.keep_freed_memory()
        self.prepared = machine.prepare(
            config.device, config.threads, config.precision, config.deterministic, config.model.choice, config.compile
        )
        self.environment = {**self.prepared.environment, "own_code": external.sources(config)}
        self.record["environment"] = self.environment
        self.old = old
        # A finished run's is replaced only once it lies beside (`begin_again`).
        self.may_replace_record = old is None or old["state"] != "done"
        if old is not None:  # data and own code of the epochs that there are, until this process goes on from them
            self.record["data"] = old["data"]
            self.record["environment"] = {**self.environment, "own_code": old["environment"].get("own_code")}
        self.estimate = estimate
        self.cost = Cost(None if estimate is None else {"run": estimate.run, **estimate.cost})
        self.went_on_after = 0  # the epoch of the checkpoint that this process began with
        try:
            self.data = self._build_data(console, old)
            self.state = RunState(
                run_hash,
                folder,
                self.cost,
                {"environment": self.environment, "data": {"fingerprints": self.data.fingerprints}},
                self._build_method,
                self._chosen,
                len(self.data.test.labels),
            )
        except RunError as error:
            raise self._not_built(error) from error.__cause__
        self.record["knows"] = knows(config, self.data.own_val)
        self.evaluation = Evaluation(config, self.data, self.state)
        self.checkpoints = Checkpoints(config, folder, self.state)
        self.listeners: list[Listener] = [
            Surprises(self.state, self.display.say),
            Probes(config.record.probes, folder, self.state),
            self.loggers,
            self.state,  # from here on the epoch counts as done: what can fail by itself comes before
            self.checkpoints,
            self.display,
        ]

    def _build_data(self, console: Console, old: dict[str, Any] | None) -> Data:
        wait = Waiting(console, self.stop, "decodes the images that this run needs, too")
        with building.data(self.config), self.cost.phase("data"):
            data = build_data(self.config, say=self.display.say, on_step=self.stop.check, wait=wait)
        if old is not None:
            refuse_other_data(self.config, old, data.fingerprints)
        return data

    def _build_method(self) -> Method:
        """The untrained method, and its contract."""
        with building.networks(self.config):
            method = build_method(
                self.config,
                self.data,
                self.prepared.devices,
                bfloat16=self.prepared.bfloat16,
                class_errors=None if self.estimate is None else self.estimate.errors,
                on_step=self._on_step,
                on_phase=self.cost.enter,
            )
        self.contract = Contract(self.config, method)
        return method

    def _chosen(self) -> Chosen | None:
        return Chosen(self.config.eval.ensemble) if self.data.own_val else None

    def _not_built(self, error: RunError) -> RunError:
        """Record the failure. Returns the message for the user."""
        self.folder.log(traceback.format_exc())
        cause = error.__cause__ or error
        self.record |= {"state": "failed", "error": {"type": type(cause).__name__, "message": str(error)}}
        self._write_record()
        return RunError(f"{error}; the traceback is in {self.folder.path}/log.txt")

    # ---- the course

    def execute(self, again: bool = False) -> None:
        """Train to the end; any outcome is recorded. again: a finished run, which starts from the first epoch."""
        try:
            with self.display:
                self._begin(again)
                with self._shared_warmup():
                    while self.state.number < self._warmup():
                        self._one_epoch(self.state.number + 1)
                while self.state.number < self.config.epochs:
                    self._one_epoch(self.state.number + 1)
                self._finish()
        except Interrupted as interrupted:
            self._interrupted(interrupted)
            raise
        except Exception as error:
            self._failed(error)
            if isinstance(error, (ConfigError, RunError)):
                raise
            raise RunError(
                f"{type(error).__name__}: {error} (epoch {self.state.number + 1}; the traceback is in "
                f"{self.folder.path}/log.txt)" + (numerics.WAY_OUT if numerics.NOT_DETERMINISTIC in str(error) else "")
            ) from error
        finally:
            self.state.method.close()
            self.loggers.close(self.record, self.display.say)
        self.display.say(f"done: {self.folder.path}")
        self.display.console.print(summary(self.record["metrics"], self.record["selection"]))

    def _begin(self, again: bool) -> None:
        say, data = self.display.say, self.data
        say(banner(self.config, data.noise_rate))
        say(setup(self.config, tuple(data.view.images.shape[1:]), self.record["environment"]["device"]))
        if again:
            self.folder.begin_again()
            self.may_replace_record = True
        if self.folder.again:
            say(f"it is trained again; until that is done its former record is {self.folder.path / OLD}")
        if note := self.checkpoints.resume(self.old):
            say(note)
        self.went_on_after = self.state.number
        say(f"{len(data.index):,} training samples in {self.folder.path}")
        if self.state.number:
            say(f"going on after epoch {self.state.number} of {self.config.epochs}")
        self.loggers.open(self.record, self.state.rows)
        for note in data.notes:
            say(note)
        if (estimate := self.estimate) is not None:
            each = " ".join(f"{100 * error:.1f}" for error in estimate.errors)
            say(f"errors of the classes in %, as estimated by run {estimate.run}: {each}")
        for k in np.flatnonzero(data.observed_counts == 0):
            name = data.class_label(int(k))
            say(f"class {name} has no training sample under its label: it can be learned by guesses only")
        self.record |= {"data": describe_data(self.config, data), "environment": self.environment}
        if data.confusion is not None:
            self.folder.write_arrays("data.npz", {"confusion": data.confusion, "index": data.index})
        self.folder.write_config(self.record["config"])
        self._record("running")

    def _warmup(self) -> int:
        """Epochs before the first selection; a method without a selector has no warm-up."""
        return self.state.method.training.warmup_epochs

    @contextmanager
    def _shared_warmup(self) -> Iterator[None]:
        """Wrap the warm-up: load that of another run of the sweep, or share this one."""
        state, say, folder = self.state, self.display.say, None
        if state.number < self._warmup() and state.uniform and not self.folder.again:
            folder = warmup.find(self.config, self.data, self.record["environment"])
        if folder is None:
            yield
            return
        wait = Waiting(self.display.console, self.stop, "trains the epochs that this run begins with, too")
        with warmup.held(folder, wait, say) as held:
            made = warmup.load(folder, state.take_shared, say) if held else None
            if made is not None:
                state.go_on_shared(made)
                for row in state.rows:
                    self.loggers.epoch(row)
                self.checkpoints.epoch(state.rows[-1])
                say(f"epochs 1 to {state.number} are those of run {made['run']}, which begins with the same")
            yield
            if held and made is None:
                warmup.save(folder, state.method, state.to_share(), say)

    def _one_epoch(self, e: int) -> None:
        self.stop.check()
        started = time.monotonic()
        figures = self.contract.epoch(e)
        selects = self.state.method.selects_in(e)
        row: dict[str, Any] = {"epoch": e, "phase": "warm-up" if e <= self._warmup() else "training", **figures}
        self.cost.enter("evaluation")
        if self.evaluation.due(e):
            row |= self.evaluation.row(e, self.contract)
        row["selection"] = selection_row(self.state.method, self.data) if selects else None
        row["seconds"] = round(time.monotonic() - started, 3)
        self.cost.enter("storage")
        for listener in self.listeners:
            listener.epoch(row)
        self.cost.enter(None)

    def _finish(self) -> None:
        state, evaluation = self.state, self.evaluation
        self.cost.enter("evaluation")
        # There are no logits where only the record was missing.
        logits, more = evaluation.answers or evaluation.answer(state.number, self.contract)
        if state.chosen is not None:
            more["test_at_val"] = [dict(heads) for heads in state.chosen.logits]
        self.cost.enter("storage")
        train = evaluation.of_training_samples(state.number, self.contract)
        fold = evaluation.of_fold(state.number, self.contract)
        arrays = predictions(state.method, self.data, logits, more, train, fold, self.config.eval.ensemble)
        self.folder.write_arrays("predictions.npz", arrays)
        if (images := thumbs(state.method, self.data)) is not None:
            self.folder.write_arrays("thumbs.npz", images)
        self.record["metrics"], self.record["selection"] = evaluation.summary()
        self.checkpoints.keep()
        self.cost.enter(None)
        self._record("done")
        self.folder.end_again()
        self.checkpoints.reduce(self.display.say)

    # ---- other ends

    def _interrupted(self, interrupted: Interrupted) -> None:
        self.checkpoints.interrupted()
        self._record("interrupted", interrupted)
        after = f"after epoch {self.state.number}"
        self.display.say(f"interrupted by {interrupted} {after}; the same command goes on from there")

    def _failed(self, error: Exception) -> None:
        self.folder.log(traceback.format_exc())
        self._record("failed", error)
        if self.went_on_after and self.state.number == self.went_on_after:
            self.display.say(
                f"it went on after epoch {self.state.number}: where every try ends so, delete last.pt and previous.pt "
                f"in {self.folder.path}, and it starts from the first epoch"
            )

    # ---- small things

    def _on_step(self, phase: str, network: int, step: int, steps: int) -> None:
        self.stop.check()
        self.display.step(self.state.number + 1, phase, network, step, steps)

    def _record(self, state: str, error: BaseException | None = None) -> None:
        self.record |= ended(state, error)
        shape = tuple(self.data.view.images.shape[1:])
        peak = machine.peak_memory(self.prepared.devices[0])
        self.record["cost"] = self.cost.report(self.state.method, shape, peak)
        self._write_record()

    def _write_record(self) -> None:
        if self.may_replace_record:
            self.folder.write_record(self.record)


def banner(config: RunConfig, rate: float | None = None) -> str:
    """The title of a run: `dividemix + sfa · digits exp 0.1 · joint 0.4 · replicate 0`; rate, see `words.setting`."""
    names = config.names
    method = " + ".join(name for name in (names["method"], names["plugin"]) if name != "none")
    seeds = f"replicate {config.replicate}"
    if (config.seed, config.data_seed) != (config.replicate, config.replicate):
        seeds = f"seed {config.seed} · data_seed {config.data_seed}"
    if names.get("classifier", "joint") != "joint":
        method += f" + {names['classifier']}"
    return f"{method} · {config.dataset.name} {words.setting(config, rate)} · {seeds}"


def setup(config: RunConfig, shape: tuple[int, ...], devices: list[str]) -> str:
    """What is trained how: `convnet · 1x8x8 · 60 epochs · cpu · sgd lr 0.02, step`."""
    recipe, effective = config.recipe, config.recipe.effective
    optimiser = recipe.optimizer or "adam"
    schedule = recipe.schedule or effective.schedule
    model = str(config.model.target or config.model.name)
    epochs = f"{config.epochs} epoch{'s' if config.epochs > 1 else ''}"
    parts = (model, "x".join(map(str, shape)), epochs, ", ".join(devices), f"{optimiser} lr {config.lr:g}, {schedule}")
    return " · ".join(parts)
