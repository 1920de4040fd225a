"""A decoupled classifier on a finished run, which is found by its hash or trained first (algorithms/methods.md §10)."""

from __future__ import annotations

import shlex
import time
import traceback
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console

from sfa_bench.choices.selectors import SELECTORS
from sfa_bench.classifiers.fit import Fitted, fit
from sfa_bench.config import canonical, external
from sfa_bench.config.schema import RunConfig
from sfa_bench.data import build as build_data
from sfa_bench.engine import building, machine
from sfa_bench.engine.build import build_method
from sfa_bench.engine.changes import changed_code, refuse_other_data
from sfa_bench.engine.contract import check_answers
from sfa_bench.engine.log import log_file
from sfa_bench.engine.metrics import summarise
from sfa_bench.engine.progress import show_done
from sfa_bench.engine.report import predictions, saves_train_probability, tested
from sfa_bench.engine.resume import load_finished
from sfa_bench.engine.run import run
from sfa_bench.engine.session import Waiting, banner
from sfa_bench.engine.signals import StopAtStep
from sfa_bench.errors import ConfigError, Interrupted, RunError
from sfa_bench.store.folder import AGAIN, RunFolder
from sfa_bench.store.ledger import run_place
from sfa_bench.store.record import ended, new_record


def start(config: RunConfig, command: str, console: Console, threads: int | None = None) -> Path:
    """Train this configuration or find it done, then fit its classifier. Arguments, result and errors are those of
    `run`.
    """
    if config.classifier.name == "joint":
        return run(config, command, console, threads)
    base_path = run(replace(config.trained, rerun=False), _without_classifier(shlex.split(command)), console, threads)
    run_hash = canonical.run_hash(config)
    path = run_place(config.runs_dir, config.recorded_names, run_hash)
    folder = RunFolder(path)
    with StopAtStep() as stop, folder.claim(wait=Waiting(console, stop)):
        record = folder.read_record()
        done = record is not None and record["state"] == "done"
        again = done and (config.rerun or folder.begins_again())
        if record is not None and done and not again:
            folder.end_again()
            show_done(console, "already done", path, record)
            return path
        with log_file(path):
            _fit(config, run_hash, command, RunFolder(base_path), folder, console, stop, again)
    return path


def _without_classifier(words: Sequence[str]) -> str:
    return shlex.join(word for word in words if not word.startswith(("classifier=", "classifier.", "rerun=")))


def _fit(
    config: RunConfig,
    run_hash: str,
    command: str,
    base: RunFolder,
    folder: RunFolder,
    console: Console,
    stop: StopAtStep,
    again: bool,
) -> None:
    old = base.read_record()
    assert old is not None
    if changed := changed_code(config, old):
        raise ConfigError(f"{changed} since {base.path} was trained: raise revision in its YAML to train it again")
    if again:
        folder.begin_again()
    record = new_record(hash=run_hash, config=config.to_plain(), names=config.recorded_names, command=command)
    record |= {"data": old["data"], "selection": old["selection"], "knows": old["knows"]}
    folder.write_config(record["config"])
    console.print(banner(config, record["data"].get("noise_rate")), highlight=False)
    try:
        started = time.perf_counter()
        with ExitStack() as stack:
            row, fitted, arrays = _fit_and_test(config, base, old, record, stop, console, stack)
        record["metrics"] = summarise([row], config.epochs)
        record["metrics"]["test/acc/joint"] = old["metrics"]["test/acc/last"]
        seconds = round(time.perf_counter() - started, 3)
        total = round(old["cost"]["total_seconds"] + seconds, 3)
        # The cost of the result: that of the run below it, and of the fit.
        record["cost"] = {**old["cost"], "total_seconds": total, "classifier_seconds": seconds, "base": old["hash"]}
        for sentence in _curves(fitted.figures):
            console.print(sentence, highlight=False)
            folder.log(sentence)
        folder.truncate_metrics(0)
        folder.append_metrics(row)
        folder.write_arrays("predictions.npz", arrays)
        heads = [head.state_dict() for head in fitted.heads]
        folder.reduce_checkpoint({"epoch": config.epochs, "classifiers": heads})
    except Interrupted as interrupted:
        folder.write_record(record | ended("interrupted", interrupted))
        raise
    except Exception as error:
        folder.log(traceback.format_exc())
        folder.write_record(record | ended("failed", error))
        if isinstance(error, (ConfigError, RunError)):
            raise
        raise RunError(f"{type(error).__name__}: {error} (the traceback is in {folder.path}/log.txt)") from error
    folder.write_record(record | ended("done"))
    folder.end_again()
    show_done(console, "done", folder.path, record)


def _curves(figures: dict[str, Any]) -> list[str]:
    """The whole curve of τ-norm, since its best power is chosen on it (algorithms/methods.md §10)."""
    return [
        f"{network.replace('_', ' ')}: tau {result['tau']:g}, accuracy by tau "
        + " ".join(f"{tau:g}:{accuracy:.1f}" for tau, accuracy in result["curve"].items())
        for network, result in figures.items()
        if "curve" in result
    ]


def _fit_and_test(
    config: RunConfig,
    base: RunFolder,
    old: dict[str, Any],
    record: dict[str, Any],
    stop: StopAtStep,
    console: Console,
    stack: ExitStack,
) -> tuple[dict[str, Any], Fitted, dict[str, Any]]:
    threads = config.threads or old["environment"].get("threads")
    prepared = machine.prepare(config.device, threads, "fp32", config.deterministic, config.model.choice)
    record["environment"] = {**prepared.environment, "own_code": external.sources(config)}
    wait = Waiting(console, stop, "decodes the images that this run needs, too")
    say = partial(console.print, highlight=False, soft_wrap=True)
    with building.data(config):
        data = build_data(config, say=say, on_step=stop.check, wait=wait)
    refuse_other_data(config, old, data.fingerprints)
    with building.networks(config):
        method = build_method(config, data, prepared.devices)
    stack.callback(method.close)
    state, note = base.load_checkpoint(lambda state: load_finished(method, state, config.epochs))
    if state is None:
        why = note.removesuffix(AGAIN) if note else "keep_checkpoint=none, or analysis.status clean --weights"
        way_out = "use another runs_dir, or delete that folder to train it again"
        raise RunError(f"the weights of {base.path} are gone ({why}): {way_out}")
    c = config.classifier
    fitted = fit(
        c.name,
        method,
        bn_mode=c.bn_mode,
        epochs=c.epochs,
        batch_size=c.batch_size,
        lr=c.lr,
        tau=c.tau,
        val=data.val,
        running_means=SELECTORS[config.method.selector.name].running_means,
        on_step=stop.check,
    )
    logits = fitted.predict(data.test.images)
    more = {name: fitted.predict(part.images) for name, part in data.more_tests.items()}
    for what, part, answers in [("test", data.test, logits), *((n, data.more_tests[n], more[n]) for n in more)]:
        which = f"classifier={c.name}: the {what} logits"
        check_answers(answers, len(part.images), data.view.num_classes, which, "the fitted classifier")
    how = config.eval.ensemble
    row = {"epoch": config.epochs, "phase": "classifier", **tested(data, logits, more, how)}
    row["classifier"] = fitted.figures
    train = fitted.predict(data.view.images) if saves_train_probability(config, data) else None
    fold = None if data.fold is None else fitted.predict(data.fold.images)
    return row, fitted, predictions(method, data, logits, more, train, fold, how)
