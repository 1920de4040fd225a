"""One study: Optuna asks for values, runs of the suite answer with an accuracy on the validation set.

All of it is in one folder, `RUNS_DIR/.tune/DATASET/METHOD/DIGEST`, which no table looks into: Optuna's journal, the
trials' runs, and the values chosen.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sfa_bench.config.canonical import canonical
from sfa_bench.config.compose import at, compose
from sfa_bench.config.schema import RunConfig
from sfa_bench.config.terminal import Say
from sfa_bench.errors import ConfigError, Interrupted, RunError
from sfa_bench.store.folder import ensure_writable, write_file
from sfa_bench.store.ledger import run_path
from sfa_bench.store.record import command
from sfa_bench.tune.runner import Outcome, Runner
from sfa_bench.tune.space import Task

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

FOLDER = ".tune"
WORDS = "words"  # the attribute of a trial that has its overrides


class Study:
    """Tunes one task. Args: trials, its budget, failed ones included; seeds, whose mean is a trial's value."""

    def __init__(self, task: Task, seeds: Sequence[int], metric: str, trials: int, conf: Path | None):
        self.task, self.seeds, self.metric, self.trials, self.conf = task, list(seeds), metric, trials, conf
        self.config = self._composed([], seeds[0], None)
        spec = {
            "run": canonical(self.config),
            "space": [asdict(dimension) for dimension in task.space],
            "seeds": self.seeds,
            "metric": metric,
        }
        digest = hashlib.sha256(json.dumps(spec, sort_keys=True).encode()).hexdigest()[:12]
        self.folder = run_path(Path(self.config.runs_dir, FOLDER), self.config.recorded_names, digest)

    @property
    def title(self) -> str:
        names = self.config.names
        return " + ".join(name for name in (names["method"], names["plugin"]) if name != "none")

    def _words(self, words: Sequence[str], seed: int, runs_dir: Path | None) -> list[str]:
        kept = [word for word in self.task.words if runs_dir is None or not word.startswith("runs_dir=")]
        kept += [] if runs_dir is None else [f"runs_dir='{runs_dir}'"]
        kept += [] if any(word.startswith("keep_checkpoint=") for word in kept) else ["keep_checkpoint=none"]
        return [*kept, *words, "eval.test=false", f"replicate={seed}"]

    def _composed(self, words: Sequence[str], seed: int, runs_dir: Path | None) -> RunConfig:
        return compose(self._words(words, seed, runs_dir), self.conf)

    # ---- trials

    @cached_property
    def _study(self) -> Any:
        import optuna
        from optuna.storages import JournalStorage
        from optuna.storages.journal import JournalFileBackend

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        storage = JournalStorage(JournalFileBackend(str(self.folder / "optuna.log")))
        return optuna.create_study(storage=storage, study_name="tune", direction="maximize", load_if_exists=True)

    def _counted(self) -> list[FrozenTrial]:
        """The trials of the budget, in their order; one that was killed before it had values is none."""
        trials = [trial for trial in self._study.get_trials(deepcopy=False) if WORDS in trial.user_attrs]
        return sorted(trials, key=lambda trial: trial.number)[: self.trials]

    def _ask(self, number: int) -> tuple[int, list[str]]:
        """The next trial. Its draws depend on the trials before it alone: a study that goes on is as one that never
        stopped.
        """
        from optuna.samplers import TPESampler

        self._study.sampler = TPESampler(seed=number, constant_liar=True)
        trial = self._study.ask()
        words = [dimension.suggest(trial) for dimension in self.task.space]
        trial.set_user_attr(WORDS, words)
        return trial.number, words

    def run(self, runner: Runner, jobs: int, say: Say) -> None:
        """Make all trials that are missing. Raises: Interrupted; RunError where a run failed with fail_fast=true."""
        from optuna.trial import TrialState

        ensure_writable(self.folder)
        with self._held(), ThreadPoolExecutor(jobs) as pool:
            for trial in self._study.get_trials(deepcopy=False):
                if trial.state == TrialState.RUNNING and WORDS not in trial.user_attrs:  # killed within `_ask`
                    self._study.tell(trial.number, state=TrialState.FAIL)  # or the sampler would think it at work
            begun = [t for t in self._counted() if t.state == TrialState.RUNNING]
            left = [(t.number, list(t.user_attrs[WORDS])) for t in begun]  # of a command that was stopped or killed
            counted = len(self._counted())
            if counted > len(left):
                say(f"{self.title} · {counted - len(left)} of {self.trials} trials are there already")
            pending: dict[Future[list[Outcome]], tuple[int, list[str]]] = {}
            while left or pending or counted < self.trials:
                while len(pending) < jobs and (left or counted < self.trials):
                    if not left:
                        left, counted = [self._ask(counted)], counted + 1
                    number, words = left.pop(0)
                    pending[self._submit(pool, runner, words)] = number, words
                for future in wait(pending, return_when=FIRST_COMPLETED).done:
                    self._tell(*pending.pop(future), future.result(), say)

    def _submit(self, pool: ThreadPoolExecutor, runner: Runner, words: list[str]) -> Future[list[Outcome]]:
        if self.config.isolate:
            return pool.submit(self._outcomes, runner, words)
        future: Future[list[Outcome]] = Future()  # in this thread, which alone gets signals
        future.set_result(self._outcomes(runner, words))
        return future

    def _outcomes(self, runner: Runner, words: list[str]) -> list[Outcome]:
        outcomes = []
        for seed in self.seeds:
            typed = self._words(words, seed, self.folder / "runs")
            outcomes.append(runner.run(compose(typed, self.conf), command(typed, self.conf)))
            if outcomes[-1].state != "done":
                break
        return outcomes

    def _tell(self, number: int, words: list[str], outcomes: list[Outcome], say: Say) -> None:
        from optuna.trial import TrialState

        last = outcomes[-1]
        place = [trial.number for trial in self._counted()].index(number) + 1
        trial = f"{self.title} · trial {place} of {self.trials} · {' '.join(words)}"
        if last.state == "interrupted":
            raise Interrupted(last.signal)
        if last.state != "done":
            self._study.tell(number, state=TrialState.FAIL)
            say(f"{trial} · failed: {last.message}")
            if self.config.fail_fast:
                raise RunError(f"fail_fast: {last.message}")
            return
        found = [outcome.metrics.get(self.metric) for outcome in outcomes]
        values = [value for value in found if isinstance(value, int | float)]
        if len(values) < len(found):
            known = ", ".join(k for k, v in last.metrics.items() if k.startswith("val/") and isinstance(v, int | float))
            raise ConfigError(f"--metric {self.metric}: a run has no such number; it has {known}")
        value = sum(values) / len(values)
        self._study.tell(number, value)
        say(f"{trial} · {self.metric} {value:.2f}")

    @contextmanager
    def _held(self) -> Iterator[None]:
        """Hold the folder, so that no other process counts the same trials."""
        with open(self.folder / "lock", "wb") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise ConfigError(f"{self.folder}: another process tunes this; wait for it, or stop it") from error
            yield

    # ---- what was chosen

    def choose(self) -> tuple[list[str], float, int]:
        """The overrides of the best trial, the first of equals; its value; and how many trials failed. They are written
        to `file`. Raises: RunError where all trials failed.
        """
        from optuna.trial import TrialState

        trials = self._counted()
        done = [trial for trial in trials if trial.state == TrialState.COMPLETE]
        if not done:
            raise RunError(f"{self.title}: all {len(trials)} trials failed; what they say is in {self.folder}/runs")
        best = max(done, key=lambda trial: trial.value or 0.0)
        words = list(best.user_attrs[WORDS])
        plain = self._composed(words, self.seeds[0], None).to_plain()
        names = {group: self.config.names[group] for group in ("method", "plugin", "dataset")}
        chosen = {
            "trials": len(trials),
            "failed": len(trials) - len(done),
            "metric": self.metric,
            "val": self.config.dataset.val,
            "value": best.value,
            "names": names,
            "values": {dimension.key: at(plain, dimension.key) for dimension in self.task.space},
            "words": words,
            "data_seeds": self.seeds,
        }
        write_file(self.file, (json.dumps(chosen, indent=1, ensure_ascii=False) + "\n").encode())
        assert best.value is not None
        return words, best.value, len(trials) - len(done)

    @property
    def file(self) -> Path:
        """What was chosen by so many trials."""
        return self.folder / f"chosen_{self.trials}.json"

    def reported(self, words: Sequence[str], seed: int) -> list[str]:
        """The overrides of a run that reports the chosen values on the test set, trained on all samples."""
        kept = [word for word in self.task.words if not word.startswith(("dataset.val=", "dataset.val_fraction="))]
        return [*kept, *words, f"tuned.file='{self.file}'", f"replicate={seed}"]
