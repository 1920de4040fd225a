"""One run from start to record: claim the folder, train or go on, evaluate, keep what was done (explanation/runs.md
§4).
"""

from __future__ import annotations

import copy
import hashlib
import logging
import time
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from sfa_bench import numerics
from sfa_bench.choices.sources import SOURCES
from sfa_bench.config import canonical, external
from sfa_bench.config.schema import RunConfig
from sfa_bench.data import build as build_data
from sfa_bench.data import words
from sfa_bench.data.types import Data, EvaluationSet
from sfa_bench.engine import building, machine, probes, resume, warmup
from sfa_bench.engine.board import Board
from sfa_bench.engine.build import build_method, knows
from sfa_bench.engine.chosen import Chosen
from sfa_bench.engine.contract import Contract
from sfa_bench.engine.cost import Cost
from sfa_bench.engine.metrics import accuracy, summarise
from sfa_bench.engine.progress import Display, summary
from sfa_bench.engine.report import describe_data, predictions, selection_row, surprises, tested, thumbs
from sfa_bench.engine.signals import Interrupted, StopAtStep
from sfa_bench.errors import ConfigError, RunError
from sfa_bench.methods.base import Method
from sfa_bench.store.folder import AGAIN, RunFolder, ensure_writable
from sfa_bench.store.ledger import run_place
from sfa_bench.store.reading import Damaged
from sfa_bench.store.record import new_record, plain

logger = logging.getLogger("sfa_bench")
Answers = tuple[list[dict[str, np.ndarray]], dict[str, list[dict[str, np.ndarray]]]]


def run(config: RunConfig, command: str, console: Console, threads: int | None = None) -> Path:
    """Train this configuration, or go on with it, or find it done. Returns its folder.

    threads: of a new run, where the configuration names none.

    Raises: ConfigError before anything is trained; RunError after recording the failure; Interrupted after saving the
    state of the last whole epoch.
    """
    run_hash = canonical.run_hash(config)
    ensure_writable(Path(config.runs_dir))
    path = run_place(config.runs_dir, config.recorded_names, run_hash)
    folder = RunFolder(path)
    with StopAtStep() as stop, folder.claim(wait=Waiting(console, stop)):
        record = folder.read_record()
        if record is not None and record["state"] == "done":
            if _user_data(config):
                # Not to decode a data set for this: only what cannot be read has to be known.
                kept = config.dataset.cache if config.dataset.on_bad_image == "skip" else "off"
                looked_at = replace(config, dataset=replace(config.dataset, cache=kept))
                wait = Waiting(console, stop, "decodes the images that this run was made on")
                with building.data(config):
                    data = build_data(looked_at, on_step=stop.check, wait=wait)
                refuse_other_data(config, record, data)
            if changed := changed_code(config, record):
                console.print(f"{changed} since: raise revision in its YAML to run it again", soft_wrap=True)
            console.print(f"already done: {path}", highlight=False, soft_wrap=True)
            console.print(summary(record["metrics"], record["selection"]))
            return path
        if record is not None and record["state"] == "failed" and not config.retry_failed:
            reason = (record["error"] or {}).get("message")
            raise RunError(f"{path} failed before ({reason}); retry_failed=true tries it again")
        with log_file(path):
            Session(config, run_hash, command, folder, record, console, stop, threads).execute()
    return path


class Waiting:
    """Says once who holds the folder; a signal ends the waiting."""

    def __init__(self, console: Console, stop: StopAtStep, at_work: str = "works on this run"):
        self.console, self.stop, self.at_work, self.said = console, stop, at_work, False

    def __call__(self, holder: object) -> None:
        self.stop.check()
        if not self.said:
            self.console.print(f"waiting: {holder} {self.at_work}", highlight=False, soft_wrap=True)
            self.said = True


def _user_data(config: RunConfig) -> bool:
    """Whether the files may change under the same name: no official checksum ties the name to the content."""
    return SOURCES[config.dataset.source].natural or not config.dataset.checksum


def refuse_other_data(config: RunConfig, record: dict[str, Any], data: Data) -> None:
    """Raises: ConfigError where the data are not the record's; of code that makes other ones, others speak."""
    old = record["data"].get("fingerprints")
    if changed_code(config, record, ("noise", "dataset")):
        return
    if old and old != data.fingerprints:
        changed = ", ".join(name for name in data.fingerprints if data.fingerprints[name] != old.get(name))
        raise ConfigError(
            f"this run was made on other data (different: {changed}); give the new data another dataset.name, or "
            "another runs_dir"
        )


def changed_code(config: RunConfig, record: dict[str, Any], groups: Iterable[str] = external.BROUGHT) -> str:
    """Says what of the user's own has other code than in the record; empty where nothing."""
    old = record["environment"].get("own_code") or {}
    changed = [name for name, content in external.sources(config, groups).items() if old.get(name, content) != content]
    return f"the code of {' and '.join(changed)} has changed" if changed else ""


class LogFile(logging.FileHandler):
    """A log that a full disk does not take stops no run and shows no traceback; what waits is written when it can."""

    def flush(self) -> None:
        with suppress(OSError):
            super().flush()

    def close(self) -> None:
        with suppress(OSError):
            super().close()


@contextmanager
def log_file(path: Path) -> Iterator[None]:
    """Everything said while a run goes on is also in its `log.txt`."""
    try:
        handler: logging.Handler = LogFile(path / "log.txt", encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        logger.warning("%s cannot be written: %s; the run goes on without it", path / "log.txt", error.strerror)
        handler = logging.NullHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%Y-%m-%d %H:%M:%S"))
    previous = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(previous)
        logger.propagate = True
        handler.close()


class Session:
    """One process's work on one run."""

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
    ):
        config = self._as_recorded(config, old, threads)
        self.board = Board() if config.logger == "tensorboard" else None
        self.config, self.folder, self.stop = config, folder, stop
        self.display = Display(console, config.epochs, config.warmup_epochs)
        self.record = new_record(hash=run_hash, config=config.to_plain(), names=config.recorded_names, command=command)
        machine.keep_freed_memory()
        devices = machine.devices(config.device)
        self.devices = devices
        used = machine.set_threads(config.threads)
        if config.compile:
            machine.check_compile(devices, config.model.name)
        bfloat16 = machine.uses_bfloat16(config.precision, devices[0], config.model.name)
        exact = config.deterministic
        numerics.choose_kernels(devices[0], tf32=config.precision == "tf32", deterministic=exact)
        self.record["environment"] = machine.environment(devices, used, bfloat16, config.precision, exact)
        self.record["environment"]["own_code"] = external.sources(config)
        self.cost = Cost()
        now = warmup.conditions(self.record["environment"])
        self.alike = old is not None and warmup.conditions(old["environment"]) == now
        self.uniform = True  # all epochs so far have the bits that they would have had here
        self.changed_code = "" if old is None else changed_code(config, old)
        self.bfloat16 = bfloat16
        try:
            self.data = self._build_data(console, old)
            self._build_method()
        except RunError as error:
            raise self._not_built(error, old) from error.__cause__
        self.record["knows"] = knows(config, self.data.own_val)
        self.chosen = Chosen(config.eval.ensemble) if self.data.own_val else None
        self.epoch = 0  # the last whole one
        self.answers: Answers | None = None  # as they were last evaluated, which after the last epoch is always done
        self.rows: list[dict[str, Any]] = []
        self.lines = hashlib.sha256()  # of all lines of metrics.jsonl so far
        self.went_on_after = 0  # the epoch of the checkpoint that this process began with
        self.unsaved: dict[str, Any] | None = None  # state of the last whole epoch where it is not on disk
        self.saved_at = time.monotonic()
        self.said: set[str] = set()

    def _as_recorded(self, config: RunConfig, old: dict[str, Any] | None, threads: int | None) -> RunConfig:
        """A resume keeps the number of threads, on which the last bits depend, where the user names none."""
        if config.threads is not None:
            return config
        recorded = None if old is None else old["environment"].get("threads")
        return replace(config, threads=recorded or threads)

    def _build_data(self, console: Console, old: dict[str, Any] | None) -> Data:
        """Raises: ConfigError, with nothing recorded, where the data are refused or not those of `old`; RunError."""
        wait = Waiting(console, self.stop, "decodes the images that this run needs, too")
        with building.data(self.config), self.cost.phase("data"):
            data = build_data(self.config, say=self.display.say, on_step=self.stop.check, wait=wait)
        if old is not None:
            refuse_other_data(self.config, old, data)
        return data

    def _build_method(self) -> None:
        """The method as it starts, and what the run holds it to. Raises: ConfigError; RunError."""
        on_phase = self.cost.enter
        with building.networks(self.config):
            self.method: Method = build_method(
                self.config, self.data, self.devices, bfloat16=self.bfloat16, on_step=self._on_step, on_phase=on_phase
            )
        self.contract = Contract(self.config, self.method)

    def _not_built(self, error: RunError, old: dict[str, Any] | None) -> RunError:
        """Record the failure, and what a run that goes on later is compared with. Returns what the user is told."""
        self.folder.log(traceback.format_exc())
        cause = error.__cause__ or error
        self.record |= {"state": "failed", "error": {"type": type(cause).__name__, "message": str(error)}}
        if old is not None:
            self.record["data"] = old["data"]
        self.folder.write_record(self.record)
        return RunError(f"{error}; the traceback is in {self.folder.path}/log.txt")

    # ---- the course of a run

    def execute(self) -> None:
        """Train to the end; whatever happens, the record says it."""
        folder = self.folder
        try:
            with self.display:
                self._begin()
                with self._sharing():
                    while self.epoch < self._warmup():
                        self._one_epoch(self.epoch + 1)
                while self.epoch < self.config.epochs:
                    self._one_epoch(self.epoch + 1)
                self._finish()
        except Interrupted as interrupted:
            if self.unsaved is not None:
                folder.save_checkpoint(self.unsaved)
            self._record("interrupted", error={"type": "Interrupted", "message": str(interrupted)})
            self.display.say(
                f"interrupted by {interrupted} after epoch {self.epoch}; the same command goes on from there"
            )
            raise
        except Exception as error:
            folder.log(traceback.format_exc())
            self._record("failed", error={"type": type(error).__name__, "message": str(error)})
            if self.went_on_after and self.epoch == self.went_on_after:
                self.display.say(
                    f"it went on after epoch {self.epoch}: where every try ends so, delete last.pt and previous.pt in "
                    f"{folder.path}, and it starts from the first epoch"
                )
            if isinstance(error, (ConfigError, RunError)):
                raise
            raise RunError(
                f"{type(error).__name__}: {error} (epoch {self.epoch + 1}; the traceback is in {folder.path}/log.txt)"
                + (numerics.WAY_OUT if numerics.NOT_DETERMINISTIC in str(error) else "")
            ) from error
        finally:
            self.method.close()
            if self.board is not None:
                self.board.close()
        self.display.say(f"done: {folder.path}")
        self.display.console.print(summary(self.record["metrics"], self.record["selection"]))

    def _begin(self) -> None:
        say = self.display.say
        say(banner(self.config))
        self._resume()
        say(f"{len(self.data.index):,} training samples in {self.folder.path}")
        if self.epoch:
            say(f"going on after epoch {self.epoch} of {self.config.epochs}")
        if self.board is not None:
            self.board.open(self.folder.path, self.epoch)
        for note in self.data.notes:
            say(note)
        for k in np.flatnonzero(self.data.observed_counts == 0):
            name = self.data.class_label(int(k))
            say(f"class {name} has no training sample under its label: it can be learned by guesses only")
        self.record["data"] = describe_data(self.config, self.data)
        if self.data.confusion is not None:
            self.folder.write_arrays("data.npz", {"confusion": self.data.confusion, "index": self.data.index})
        self.folder.write_config(self.record["config"])
        self._record("running")

    def _resume(self) -> None:
        """Take up the newest checkpoint that is of this run and whose epochs all have their line in metrics.jsonl."""
        state, note = self.folder.load_checkpoint(self._take)
        if state is not None and "cost" not in state:  # reduced: nothing to go on from
            state, note = None, "last.pt is a finished run's, whose run.json is lost: starting from the first epoch"
        if state is not None and self.changed_code:
            state, note = None, f"{self.changed_code}{AGAIN}"
        if note:
            self.display.say(note)
        self.epoch = self.went_on_after = 0 if state is None else state["epoch"]
        self.rows = self.folder.truncate_metrics(self.epoch)
        if state is not None:
            self.cost.load(state["cost"])
            self.uniform = self.alike and state.get("uniform", True)

    def _take(self, state: dict[str, Any]) -> None:
        """Bring the method into the state of a checkpoint. Raises Damaged where that is not of this run."""
        if "cost" not in state or self.changed_code:
            return
        resume.check(state, self.config.epochs)
        epoch, own = state["epoch"], self.record["hash"]
        if state.get("run", own) != own:  # the first edition's do not say it
            raise Damaged(f"it is of run {state['run']}")
        if (content := self.folder.metrics_of(epoch)) is None:
            raise Damaged(f"metrics.jsonl lacks epochs before the checkpoint's {epoch}")
        lines = hashlib.sha256(content)
        if state.get("lines", lines.hexdigest()) != lines.hexdigest():
            raise Damaged("metrics.jsonl is not what it was when this was written")
        self._load(state["method"], state.get("chosen"))
        self.lines = lines

    def _take_shared(self, made: dict[str, Any]) -> None:
        resume.check_shared(made, self._warmup())
        selectors = [selector.state() for selector in self.method.training.selectors]
        self._load({**made["method"], "selectors": selectors, "selections": []}, made.get("chosen"))

    def _load(self, state: dict[str, Any], chosen: Any) -> None:
        try:
            resume.load(self.method, state, self.method.load_state)
            if self.chosen is not None:
                resume.load_chosen(self.chosen, chosen, len(self.method.networks), len(self.data.test.labels))
        except Damaged:
            self.method.close()
            self._build_method()
            if self.chosen is not None:
                self.chosen = Chosen(self.config.eval.ensemble)
            raise

    @contextmanager
    def _sharing(self) -> Iterator[None]:
        """Around the warm-up: take up what another run of the sweep made of it, or make it for the others too."""
        folder = None
        if self.epoch < self._warmup() and self.uniform:
            folder = warmup.find(self.config, self.data, self.record["environment"])
        if folder is None:
            yield
            return
        wait = Waiting(self.display.console, self.stop, "trains the epochs that this run begins with, too")
        with warmup.held(folder, wait, self.display.say) as held:
            made = warmup.load(folder, self._take_shared, self.display.say) if held else None
            if made is not None:
                self._take_up(made)
            yield
            if held and made is None:
                so_far = {"epoch": self.epoch, "cost": self.cost.state(), "rows": [plain(row) for row in self.rows]}
                if self.chosen is not None:
                    so_far["chosen"] = self.chosen.state()
                warmup.save(folder, self.method, {**so_far, "run": self.record["hash"]}, self.display.say)

    def _take_up(self, made: dict[str, Any]) -> None:
        """Go on where another run's warm-up ended; the method is there already."""
        self.rows, self.epoch, self.lines = made["rows"], made["epoch"], hashlib.sha256()
        self.lines.update(self.folder.write_metrics(self.rows))
        self.cost.share(made["cost"], made["run"], self.epoch)
        if self.board is not None:
            for row in self.rows:
                self.board.epoch(row)
        self._checkpoint(self.epoch)
        self.display.say(f"epochs 1 to {self.epoch} are those of run {made['run']}, which begins with the same")

    def _one_epoch(self, e: int) -> None:
        self.stop.check()
        started = time.monotonic()
        figures = self.contract.epoch(e)
        selects = self.method.selects_in(e)
        row: dict[str, Any] = {"epoch": e, "phase": "warm-up" if e <= self._warmup() else "training", **figures}
        self.cost.enter("evaluation")
        if self._evaluates(e):
            row |= self._evaluate()
        row["selection"] = selection_row(self.method, self.data) if selects else None
        row["seconds"] = round(time.monotonic() - started, 3)
        for kind, sentence in surprises(self.method, row["selection"]):
            if kind not in self.said:
                self.said.add(kind)
                self.display.say(f"epoch {e}: {sentence}")
        self.cost.enter("storage")
        if self.config.record.probes and e % self.config.record.probes == 0:
            probes.save(self.folder, e, self.method)
        self.rows.append(row)
        self.lines.update(self.folder.append_metrics(row))
        if self.board is not None:
            self.board.epoch(row)
        self.epoch = e
        self._checkpoint(e)
        self.cost.enter(None)
        self.display.epoch(row)

    def _warmup(self) -> int:
        """Epochs before the first selection; a method without a selector has no warm-up."""
        return self.method.training.warmup_epochs

    def _evaluates(self, e: int) -> bool:
        """Every `eval.every` epochs, and always in those that `final` and `last10` need."""
        needed = max(10, self.config.epochs // 20)
        return e % self.config.eval.every == 0 or e > self.config.epochs - needed

    def _evaluate(self) -> dict[str, Any]:
        how = self.config.eval.ensemble
        e = self.epoch + 1
        logits, more = self.answers = self._answer(e)
        row = tested(self.data, logits, more, how)
        if self.data.val is not None:
            answers, labels = self._predict(self.data.val, "validation", e), self.data.val.labels.numpy()
            row["val/acc"] = accuracy(answers, labels, how)
            if self.chosen is not None:
                self.chosen.update(e, answers, labels, logits)
        return row

    def _answer(self, e: int) -> Answers:
        """Logits of the test images, and of those of further test sets."""
        more = {name: self._predict(part, name, e) for name, part in self.data.more_tests.items()}
        return self._predict(self.data.test, "test", e), more

    def _predict(self, images: EvaluationSet, what: str, e: int) -> list[dict[str, np.ndarray]]:
        self.cost.evaluated += len(images.images) * len(self.method.networks)
        answers = self.method.predict(images.images)
        self.contract.answers(answers, len(images.images), what, e)
        return answers

    def _checkpoint(self, e: int) -> None:
        """At most one every `checkpoint_seconds`, always at the end of the warm-up; else the state stays in memory."""
        if e == self.config.epochs:
            return  # the run ends in the same breath, and its end is written instead
        due = time.monotonic() - self.saved_at >= self.config.checkpoint_seconds
        state = self._state()
        if due or e == self._warmup():
            self.folder.save_checkpoint(state)
            self.saved_at, self.unsaved = time.monotonic(), None
        else:
            self.unsaved = copy.deepcopy(state)

    def _state(self) -> dict[str, Any]:
        """What the run goes on from after this epoch; whose it is and the lines that belong to it, too."""
        state = {"epoch": self.epoch, "run": self.record["hash"], "lines": self.lines.hexdigest()}
        state |= {"method": self.method.state(), "cost": self.cost.state(), "uniform": self.uniform}
        return state if self.chosen is None else {**state, "chosen": self.chosen.state()}

    def _finish(self) -> None:
        self.cost.enter("evaluation")
        logits, more = self.answers or self._answer(self.epoch)  # none where only the record was missing
        if self.chosen is not None:
            more["test_at_val"] = [dict(heads) for heads in self.chosen.logits]
        self.cost.enter("storage")
        self.folder.write_arrays("predictions.npz", predictions(self.method, self.data, logits, more))
        if (pictures := thumbs(self.method, self.data)) is not None:
            self.folder.write_arrays("thumbs.npz", pictures)
        self.record["metrics"] = summarise(self.rows, self.config.epochs)
        if self.chosen is not None:  # each network has an epoch of its own
            self.record["metrics"].pop("val/epoch", None)
            self.record["metrics"] |= {
                "test/acc/at_best_val": self.chosen.test_accuracy(self.data.test.labels.numpy()),
                "val/epochs": self.chosen.epochs,
            }
        self.record["selection"] = self.rows[-1]["selection"]
        if (bayes := self.data.bayes) is not None:  # what is possible, beside what was reached
            self.record["metrics"]["test/acc/bayes"] = bayes.accuracy
            if self.record["selection"]:
                self.record["selection"]["auc_bayes"] = bayes.auc
        keep, method = self.config.keep_checkpoint, self.method.state()
        if keep == "all":
            self.folder.save_checkpoint(self._state())
        self.cost.enter(None)
        self._record("done")
        if keep == "all":
            return
        # After the record: a reduced checkpoint is nothing that an unfinished run could go on from.
        reduced = {"epoch": self.epoch, "method": {k: method[k] for k in self.method.kept_when_done}}
        try:
            self.folder.reduce_checkpoint(reduced if keep == "final" else None)
        except RunError as error:
            self.display.say(f"done, but the checkpoint stays as it is: {error}")

    # ---- small things

    def _on_step(self, phase: str, network: int, step: int, steps: int) -> None:
        self.stop.check()
        self.display.step(self.epoch + 1, phase, network, step, steps)

    def _record(self, state: str, error: dict[str, str] | None = None) -> None:
        self.record["state"], self.record["error"] = state, error
        shape = tuple(self.data.view.images.shape[1:])
        self.record["cost"] = self.cost.report(self.method, shape, machine.peak_memory(self.devices[0]))
        self.folder.write_record(self.record)


def banner(config: RunConfig) -> str:
    """What runs: `dividemix + sfa · digits exp 0.1 · joint 0.4 · replicate 0`."""
    names = config.names
    method = " + ".join(name for name in (names["method"], names["plugin"]) if name != "none")
    seeds = f"replicate {config.replicate}"
    if (config.seed, config.data_seed) != (config.replicate, config.replicate):
        seeds = f"seed {config.seed} · data_seed {config.data_seed}"
    if names.get("classifier", "joint") != "joint":
        method += f" + {names['classifier']}"
    return f"{method} · {config.dataset.name} {words.imbalance(config)} · {words.noise(config)} · {seeds}"
