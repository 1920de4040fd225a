"""One run by its configuration: claim its folder, find it done or train it (explanation/runs.md §4)."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from sfa_bench.config import canonical
from sfa_bench.config.schema import RunConfig, replaced
from sfa_bench.data import build as build_data
from sfa_bench.engine import building, estimate
from sfa_bench.engine.changes import changed_code, data_may_change, refuse_other_data
from sfa_bench.engine.log import log_file
from sfa_bench.engine.progress import show_done
from sfa_bench.engine.session import Session, Waiting
from sfa_bench.engine.signals import StopAtStep
from sfa_bench.errors import RunError
from sfa_bench.store.folder import RunFolder, ensure_writable
from sfa_bench.store.ledger import run_place


def run(config: RunConfig, command: str, console: Console, threads: int | None = None) -> Path:
    """Train this configuration, resume it, or find it done. Returns its folder.

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
        done = record is not None and record["state"] == "done"
        again = done and (config.rerun or folder.begins_again())
        if record is not None and done and not again:
            folder.end_again()
            if data_may_change(config):
                # Without decoding a data set: only unreadable files have to be known.
                kept = config.dataset.cache if config.dataset.on_bad_image == "skip" else "off"
                looked_at = replaced(config, "dataset", cache=kept)
                wait = Waiting(console, stop, "decodes the images that this run was made on")
                with building.data(config):
                    data = build_data(looked_at, on_step=stop.check, wait=wait)
                refuse_other_data(config, record, data.fingerprints)
            if changed := changed_code(config, record):
                console.print(
                    f"{changed} since: raise revision in its YAML to run it as another one, or set rerun=true",
                    soft_wrap=True,
                )
            show_done(console, "already done", path, record)
            return path
        if record is not None and record["state"] == "failed" and not config.retry_failed:
            reason = (record["error"] or {}).get("message")
            raise RunError(f"{path} failed before ({reason}); retry_failed=true tries it again")

        def make(first: RunConfig, its_command: str) -> Path:
            console.print("first the error of each class, by a run on half of the training set:", soft_wrap=True)
            return run(first, its_command, console, threads)

        estimated = estimate.find(config, command, make)
        with log_file(path):
            Session(config, run_hash, command, folder, record, console, stop, threads, estimated).execute(again=again)
    return path
