"""What a loss's description says is what its code, its methods and the configuration do."""

import inspect
from dataclasses import fields

import pytest
import torch

from sfa_bench.choices.code import load
from sfa_bench.choices.losses import CONSTANTS, LOSSES, NAMES, LossConfig, losses_of
from sfa_bench.config.compose import compose, values_of
from sfa_bench.config.overrides import choices
from sfa_bench.errors import ConfigError
from sfa_bench.parts.stateful import StatefulLoss


def constants(loss):
    return {name for row in loss.constants.values() for name in row}


def test_constants_are_keys():
    assert {*CONSTANTS, "name", "transferred", "revision", "target", "arguments"} == {
        field.name for field in fields(LossConfig)
    }
    assert all(constants(loss) <= set(CONSTANTS) for loss in LOSSES.values())


@pytest.mark.parametrize("name", [name for name, loss in LOSSES.items() if loss.code])
def test_its_code_takes_its_constants_and_no_others(name):
    loss = LOSSES[name]
    code = load(loss.code)
    parameters = list(inspect.signature(code).parameters)
    assert (inspect.isclass(code) and issubclass(code, StatefulLoss)) is bool(loss.remembers)
    given = ["samples", "num_classes", "device"] if loss.remembers else ["logits", "labels", "class_counts"]
    assert parameters[:3] == given
    assert set(parameters[3:]) == constants(loss)


WITH_A_LOSS = [method for method in choices("method") if "loss" in values_of("method", method)]


def test_methods_without_a_loss_of_their_own_choice_are_those_of_several_terms():
    terms = {"coteaching", "dividemix", "rolt_plus", "dasc", "dasc_release", "unicon", "unicon_release"}
    assert {*choices("method")} - {*WITH_A_LOSS} == terms


@pytest.mark.parametrize("method", WITH_A_LOSS)
def test_a_methods_yaml_has_the_constants_of_its_loss(method):
    typed = values_of("method", method)["loss"]
    rolt = typed["name"] == "ce" and method.startswith("rolt")  # may have ldam's instead
    assert set(typed) - {"name"} == constants(LOSSES["ldam" if rolt and "margin" in typed else typed["name"]])


def test_who_takes_which():
    assert losses_of("rolt") == ["ce", "ldam"]
    assert losses_of("elr") == ["elr"]
    assert set(losses_of("single")) == set(LOSSES) - {"elr"}
    assert losses_of("dividemix") == losses_of("coteaching") == losses_of("external") == []


@pytest.mark.parametrize("name", NAMES)
def test_single_networks_take_what_is_theirs(name):
    words = ["plugin=none", "method=ce", f"method.loss.name={name}"]
    if "single" in LOSSES[name].learners:
        assert compose(words).method.loss.name == name
    else:
        with pytest.raises(ConfigError, match=f"method.loss.name={name} {LOSSES[name].own_method}"):
            compose(words)


@pytest.mark.parametrize("typed", ["method=sop method.mixup=true", "method=ce_mixup loss=sop"])
def test_what_remembers_every_sample_takes_it_unmixed(typed):
    sentence = "mixup=true with the loss sop, which learns the noise of every sample's label: set method.mixup=false"
    with pytest.raises(ConfigError, match=sentence) as refused:
        compose([*typed.split(), "plugin=none"])
    assert refused.value.invalid_combination


def test_what_remembers_every_sample_goes_with_schedules_and_selectors():
    assert compose(["method=sop", "plugin=none", "method.schedule=drs"]).method.schedule == "drs"
    assert compose(["method=ce_drw", "loss=sop", "plugin=sfa"]).names["method"] == "sop_drw"


def test_what_has_no_code_of_its_own_says_whose_it_is():
    from sfa_bench.parts.losses import make_loss

    with pytest.raises(ValueError, match="the loss elr keeps targets of its own: set method=elr"):
        make_loss("elr")
    assert make_loss("gce", q=None)(torch.zeros(1, 2), torch.tensor([0]), torch.ones(2)).shape == (1,)


def test_each_that_single_networks_take_is_a_choice():
    assert {*choices("loss")} == {name for name in NAMES if "single" in LOSSES[name].learners} | {"auto"}
    for name in set(choices("loss")) - {"auto"}:
        assert values_of("loss", name).keys() == {"name", *constants(LOSSES[name])}


@pytest.mark.parametrize("name", [name for name, loss in LOSSES.items() if loss.once])
def test_what_takes_samples_once_an_epoch_refuses_what_mixes_or_draws_them(name):
    own = ["dataset.name=mine", "dataset=folder", "dataset.warmup_draw=200"]
    for words in (["method=ce", "method.mixup=true"], ["method=ce", "method.schedule=drs"], ["method=ce", *own]):
        compose(["plugin=none", *words])
        with pytest.raises(ConfigError, match=f"{LOSSES[name].remembers}: set ") as refused:
            compose(["plugin=none", f"loss={name}", *words])
        assert refused.value.invalid_combination
    with pytest.raises(ConfigError, match="which has its own"):
        compose(["plugin=none", f"loss={name}", "method=dividemix"])


def test_a_window_that_is_too_short_for_its_level_names_one_that_is_not():
    for level, window in ((0.1, 4), (0.01, 6), (0.4, 3)):
        words = ["plugin=none", "method=ce", "loss=ccs", f"method.loss.level={level}"]
        assert compose([*words, f"method.loss.window={window}"]).method.loss.window == window
        if window > 3:
            with pytest.raises(ConfigError, match=f"set method.loss.window={window} or more"):
                compose([*words, f"method.loss.window={window - 1}"])
