"""One job of a sweep, as Hydra's launchers call it, perhaps in another process."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from joblib import cpu_count

from sfa_bench.config.compose import compose
from sfa_bench.errors import ConfigError, RunError
from sfa_bench.store.record import command

if TYPE_CHECKING:
    from omegaconf import DictConfig

logger = logging.getLogger("sfa_bench")


@dataclass(frozen=True)
class Outcome:
    """What became of a job: `done`, `failed` or `refused` (by its data); plain, because it crosses processes."""

    state: str
    command: str
    message: str = ""


def job(cfg: DictConfig) -> Outcome:
    """Run one configuration. Failures are returned, not raised: with some launchers the first one would end all."""
    from hydra.core.hydra_config import HydraConfig

    overrides = [str(override) for override in HydraConfig.get().overrides.task]
    config_dir = own_conf(HydraConfig.get())
    again = command(overrides, config_dir)
    try:
        config = compose(overrides, config_dir)
        jobs = parallel_jobs(HydraConfig.get().launcher)
        if config.threads is None:
            config = replace(config, threads=max(1, cpu_count() // jobs))
        return Outcome("done", again, _run(config, again, quiet=jobs > 1))
    except ConfigError as error:
        return Outcome("refused", again, str(error))
    except RunError as error:
        return Outcome("failed", again, str(error))


def own_conf(hydra: Any) -> Path | None:
    """The user's `--config-dir`, as Hydra knows it in every process of a sweep."""
    return next((Path(s.path) for s in hydra.runtime.config_sources if s.provider == "command-line"), None)


def parallel_jobs(launcher: Any) -> int:
    """How many jobs a launcher runs at once on this machine: joblib's `n_jobs`, one where it has none."""
    jobs = launcher.get("n_jobs") or 1
    return int(jobs) if jobs > 0 else max(1, cpu_count() + 1 + int(jobs))


def _run(config: Any, again: str, *, quiet: bool) -> str:
    from rich.console import Console

    from sfa_bench.engine.posthoc import start

    with open(os.devnull, "w") as nowhere:
        folder = start(config, again, Console(file=nowhere) if quiet else Console())
    if quiet:
        print(f"done: {folder}", flush=True)
    return str(folder)
