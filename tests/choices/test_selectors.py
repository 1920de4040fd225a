"""What a selector's description says is what its class, its refusals and the configuration do."""

import tempfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from sfa_bench.choices.code import load
from sfa_bench.choices.selectors import NAMES, SELECTORS, PluginConfig
from sfa_bench.config.canonical import run_hash
from sfa_bench.config.compose import compose
from sfa_bench.config.values import options
from sfa_bench.engine.build import build_selectors, knows
from sfa_bench.errors import ConfigError
from sfa_bench.selectors.base import Selector

TYPED = [name for name in NAMES if SELECTORS[name].plugin is None and name != "none"]
WORDS = ("dataset=digits", "method=dividemix", "plugin=none")


FILE = Path(tempfile.mkdtemp()) / "keep.csv"  # for the selector that reads one
FILE.write_text("index,keep\n0,1\n1,0\n")


def words(name):
    if SELECTORS[name].asks_samples:
        return [*WORDS, f"method.selector.name={name}", f"method.selector.file={FILE}"]
    if (plugin := SELECTORS[name].plugin) is not None:
        return ["dataset=digits", "method=dividemix", f"plugin={plugin}"]
    return [*WORDS, f"method.selector.name={name}"]


@pytest.mark.parametrize("name", [name for name in NAMES if name != "none"])
def test_its_class_is_made_for_each_network_and_only_who_says_so_sees_clean_labels(name):
    class Data:
        clean_labels, observed_counts = np.array([0, 1]), np.array([1, 1])
        index, size, view = np.array([0, 1]), 2, SimpleNamespace(images=None)

    config = compose(words(name))
    made = build_selectors(config, Data, 2)
    assert [type(selector) for selector in made] == [load(SELECTORS[name].code)] * 2
    assert isinstance(made[0], Selector)
    assert made[0].gives_targets is SELECTORS[name].gives_targets
    held = [value for value in vars(made[0]).values() if value is Data.clean_labels]
    told = "clean_labels" in SELECTORS[name].knows
    assert told is ("clean_labels" in knows(config))
    assert bool(held) is (told and not SELECTORS[name].asks_samples)  # a list may come from them, and is not them


def test_options_of_selectors_are_keys_of_a_plugin():
    keys = set(options(PluginConfig))
    assert all(set(selector.plugin_options) <= keys for selector in SELECTORS.values())


@pytest.mark.parametrize("name", TYPED)
def test_what_does_not_act_on_it_is_no_part_of_a_runs_identity(name):
    def same(*more):
        return run_hash(compose([*words(name), "epochs=4"])) == run_hash(compose([*words(name), "epochs=4", *more]))

    assert same("plugin.gmm.monotone=true") is not SELECTORS[name].mixtures
    assert same("plugin.p_threshold=0.6") is not SELECTORS[name].mixtures
    assert same("noise.assumed_rate=0.3") is not SELECTORS[name].asks_rate


@pytest.mark.parametrize("name", TYPED)
def test_keys_that_need_a_mixture_per_class_or_other_constants_are_refused(name):
    for key, takes in (
        ("no_clean_class=none", SELECTORS[name].by_class),
        ("variant=webvision", "variant" in SELECTORS[name].options),
    ):
        if takes:
            compose([*words(name), f"method.selector.{key}"])
        else:
            with pytest.raises(ConfigError):
                compose([*words(name), f"method.selector.{key}"])


def test_a_method_that_it_is_refused_with():
    for name, selector in SELECTORS.items():
        for method, why in selector.not_with.items():
            with pytest.raises(ConfigError) as refused:
                compose([f"method={method}", f"plugin={selector.plugin}"])
            assert str(refused.value) == why, name
