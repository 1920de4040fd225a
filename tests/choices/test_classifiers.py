"""What a description of a classifier says is what its YAML and its refusals do; tests/classifiers: what it computes."""

import pytest
import yaml

from sfa_bench.choices.classifiers import CLASSIFIERS, OPTIONS
from sfa_bench.choices.code import load
from sfa_bench.choices.losses import LOSSES
from sfa_bench.classifiers.fit import fit
from sfa_bench.config.compose import compose
from sfa_bench.config.overrides import choice_file, choices
from sfa_bench.errors import ConfigError


def test_each_is_a_choice_and_each_choice_is_described():
    assert sorted(CLASSIFIERS) == sorted(choices("classifier"))
    assert set(OPTIONS) == {"bn_mode", "epochs", "batch_size", "lr", "tau"}


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_its_yaml_has_the_options_that_act_on_it(name):
    keys = set(yaml.safe_load(choice_file("classifier", name).read_text(encoding="utf-8")))
    assert keys - {"name", "revision"} == set(CLASSIFIERS[name].options)


@pytest.mark.parametrize("name", [name for name, one in CLASSIFIERS.items() if one.code])
def test_its_code_is_there_and_what_needs_a_linear_classifier_is_refused_without(name):
    assert callable(load(CLASSIFIERS[name].code))
    (cosine,) = (loss for loss, one in LOSSES.items() if one.cosine)
    words = [f"method={cosine}", "plugin=none", f"classifier={name}"]
    if not CLASSIFIERS[name].linear:
        compose(words)
        return
    with pytest.raises(ConfigError, match=f"classifier={name} needs a linear classifier"):
        compose(words)


def test_the_networks_own_is_not_fitted():
    with pytest.raises(ValueError, match="joint is the one that a network has already"):
        fit("joint", None)
