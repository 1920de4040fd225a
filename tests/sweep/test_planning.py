"""Planning applies values to plain data; Hydra, given everything, composes the same (explanation/runs.md §4)."""

import itertools

import pytest
from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from omegaconf import OmegaConf

from sfa_bench.config.compose import plain_config
from sfa_bench.config.hydras import BASE, CONF
from sfa_bench.config.overrides import check_overrides

AXES = {
    "method": ["ce", "dividemix", "ldam_drw"],
    "plugin": ["none", "sfa"],
    "dataset": ["digits", "synthetic"],
    "noise_ratio": ["0.2", "0.5"],
    "replicate": ["0", "3"],
    "seed": ["null", "7", "${data_seed}"],
    "eval.ensemble": ["main", "logit_sum"],
    "device": ["[cpu,cpu]", "cpu"],
    "data_dir": ["'a,b c'", "x_${seed}"],
    "recipe.milestone": ["null", "0.5"],
}
# every pair of neighbouring axes at least once, in 48 samples of all 2,304 combinations
SAMPLES = [dict(zip(AXES, values, strict=True)) for values in itertools.product(*AXES.values())][::48]


@pytest.mark.parametrize("sample", SAMPLES, ids=range(len(SAMPLES)))
def test_a_planned_configuration_is_hydras_own(sample):
    if sample["seed"] == "null":
        del sample["seed"]
    overrides = [f"{key}={value}" for key, value in sample.items()]
    with initialize_config_dir(str(CONF), **BASE):
        whole = OmegaConf.to_container(hydra_compose("config", overrides), resolve=True)
    whole.pop("loss")  # chosen as `auto`, the method's own
    plain, names = plain_config(check_overrides(overrides))
    assert plain == whole
    assert names["method"] == sample["method"]
