"""The work of a job, in a process of its own or in the worker (`isolate=false`)."""

from __future__ import annotations

import os
import traceback
from pathlib import Path
from typing import Any

from sfa_bench.config.canonical import run_hash
from sfa_bench.config.schema import RunConfig
from sfa_bench.errors import ConfigError, Interrupted, RunError
from sfa_bench.store.folder import RunFolder
from sfa_bench.store.ledger import run_place


def work(config: RunConfig, command: str, threads: int, quiet: bool, slot: bool) -> dict[str, Any]:
    """Run one configuration and return its outcome in plain types: `state` and a `message`, or the `signal` received.

    slot: with `device=auto`, take one of this machine's GPUs; in a process of its own only, which it is bound to.
    """
    try:
        if slot and config.device == "auto":
            from sfa_bench.sweep.slots import take_slot

            take_slot(config.jobs_per_gpu)
        path = _start(config, command, quiet, threads)
        return {"state": "done", "message": str(path), "said": _ended(path)}
    except ConfigError as error:
        return {"state": "refused", "message": str(error)}
    except RunError as error:
        return {"state": "failed", "message": str(error)}
    except Interrupted as interrupted:
        return {"state": "interrupted", "signal": interrupted.number}
    except KeyboardInterrupt:
        return {"state": "interrupted", "signal": 2}
    except Exception as error:  # outside of what the run itself records
        folder = RunFolder(run_place(config.runs_dir, config.recorded_names, run_hash(config)))
        folder.log(traceback.format_exc())
        return {"state": "failed", "message": f"{type(error).__name__}: {error} (traceback in {folder.path}/log.txt)"}


def _start(config: RunConfig, command: str, quiet: bool, threads: int) -> Path:
    from rich.console import Console

    from sfa_bench.engine.posthoc import start

    if not quiet:
        return start(config, command, Console(markup=False), threads)
    with open(os.devnull, "w", encoding="utf-8", errors="replace") as nowhere:
        return start(config, command, Console(file=nowhere, markup=False), threads)


def _ended(folder: Path) -> list[str]:
    """Words for a finished run: its accuracy."""
    record = RunFolder(folder).read_record() or {"metrics": {}}
    accuracy = record["metrics"].get("test/acc/final")
    return [] if accuracy is None else [f"{accuracy:.1f} %"]
