"""Features of a finished run's training samples, from its saved networks."""

from __future__ import annotations

import numpy as np
import torch

from sfa_bench.config.compose import compose
from sfa_bench.data import build as build_data
from sfa_bench.engine import building
from sfa_bench.engine.build import build_method
from sfa_bench.engine.resume import load_finished
from sfa_bench.errors import ConfigError
from sfa_bench.labels.runs import FinishedRun
from sfa_bench.methods.evaluation import Evaluated, evaluate
from sfa_bench.store.folder import RunFolder
from sfa_bench.store.record import recorded_overrides


def features_of(run: FinishedRun) -> np.ndarray:
    """The input of the heads in test view, float32 [N, d], of several networks side by side; on the CPU.

    Raises: ConfigError where the weights are gone, or the data are no longer those of the run.
    """
    words, config_dir = recorded_overrides(run.record["command"])
    config = compose(words, config_dir)
    with building.data(config):
        data = build_data(config)
    if not np.array_equal(data.index, run.index) or data.fingerprints != run.record["data"]["fingerprints"]:
        raise ConfigError(f"the data have other samples or labels than when {run.path} was trained on them")
    devices = [torch.device("cpu")] * config.method.networks
    with building.networks(config):
        method = build_method(config, data, devices)
    assert isinstance(method, Evaluated)
    try:
        saved = RunFolder(run.path)
        state, note = saved.load_checkpoint(lambda state: load_finished(method, state, config.epochs))
        if state is None:
            raise ConfigError(f"the weights of {run.path} are gone ({note or 'keep_checkpoint=none'}): train it again")
        parts = torch.arange(len(data.index)).split(config.eval.batch_size)
        views = method.loader_of(data.view.images).test_views(parts)
        outputs = evaluate(method.predictors(), method.devices, views)
    finally:
        method.close()
    return np.concatenate([output.features.numpy() for output in outputs], axis=1).astype(np.float32)
