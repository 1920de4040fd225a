"""Hydra's configuration of a job, composed once for all jobs of a sweep.

Launchers let Hydra compose every job again, which takes as long as a small run. A job of ours reads its run from the
sweep's own file (handover.py); of Hydra's configuration it needs the part `hydra`, which is the same for all jobs but
for the reference to that run.
"""

from __future__ import annotations

import copy
from typing import Any

from hydra.core.config_loader import ConfigLoader
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from sfa_bench.sweep.handover import KEY


class ComposedOnce:
    """A config loader for launchers. It composes the first job, and gives the others its part `hydra`."""

    def __init__(self, loader: ConfigLoader):
        self.loader = loader
        self.first: DictConfig | None = None

    def __getattr__(self, name: str) -> Any:
        if name == "loader":  # not there yet, in a copy that is being unpickled
            raise AttributeError(name)
        return getattr(self.loader, name)

    def compose(self, master: DictConfig, overrides: list[str]) -> None:
        """Compose the first job, in the sweep's own process. Where Hydra's output may depend on a job's values, as only
        a user's own settings can make it, every job is composed.
        """
        hydra = OmegaConf.to_container(master.hydra, resolve=False)
        assert isinstance(hydra, dict)
        if hydra["output_subdir"] is not None or hydra["callbacks"] or hydra["sweep"]["subdir"] != ".":
            return
        composed = self.loader.load_sweep_config(master, overrides)
        with read_write(composed), open_dict(composed):
            for section in (composed.hydra.run, composed.hydra.sweep):  # they name the sweep's `runs_dir`
                section.dir = section.dir
            for key in [key for key in composed if key != "hydra"]:
                del composed[key]
        self.first = composed

    def load_sweep_config(self, master_config: DictConfig, sweep_overrides: list[str]) -> DictConfig:
        """As of Hydra's loader. Args: sweep_overrides, of a job, the reference to its run last."""
        if self.first is None:
            return self.loader.load_sweep_config(master_config, sweep_overrides)
        *words, told = sweep_overrides
        config = copy.deepcopy(self.first)
        with read_write(config), open_dict(config):
            config.hydra.overrides.task = words
            config.hydra.job.override_dirname = ",".join(words)
            config.hydra.job.env_set[KEY] = told.partition("=")[2].strip("'\"")
        return config
