"""What a backbone's description says is what its code does."""

import pytest
import torch

from sfa_bench import models
from sfa_bench.choices.models import LIBRARIES, MODELS, NAMES, ModelConfig, names_of
from sfa_bench.config.compose import compose, values_of
from sfa_bench.config.overrides import choices
from sfa_bench.errors import ConfigError

SUITES = [name for name in NAMES if name not in LIBRARIES]


def test_each_is_a_choice_and_each_choice_is_described():
    assert sorted(NAMES) == sorted(set(choices("model")) - {"auto"})


@pytest.mark.parametrize("name", SUITES)
def test_it_takes_images_down_to_the_smallest_and_none_below(name):
    model, side = ModelConfig(name=name, pretrained=False), MODELS[name].smallest
    network = models.build(model, 3, (side, side), 10, ("main",), seed=0).eval()
    with torch.no_grad():
        out = network(torch.randn(1, 3, side, side, generator=torch.Generator().manual_seed(0)))
    assert out.main.shape == (1, 10)
    assert out.main.isfinite().all()
    with pytest.raises(ConfigError, match=f"it needs {side}×{side} or more"):
        models.build(model, 3, (side, side - 1), 10, ("main",), seed=0)


@pytest.mark.parametrize("name", SUITES)
def test_planning_refuses_what_building_would(name):
    side = MODELS[name].smallest
    words = ["dataset=folder", "dataset.name=mine", f"model={name}"]
    assert compose([*words, f"dataset.crop={side}"]).dataset.crop == side
    if side > 8:  # the smallest crop that can be typed at all
        with pytest.raises(ConfigError, match=f"set dataset.crop={side} or more"):
            compose([*words, f"dataset.crop={side - 1}"])


@pytest.mark.parametrize("name", NAMES)
def test_its_yaml_has_the_options_that_act_on_it(name):
    keys = set(values_of("model", name))
    assert keys - {"library"} == {"name", *MODELS[name].options, *(["width"] if MODELS[name].width else [])}


def test_who_can_what_in_words():
    assert names_of("vectors") == "convnet"
    assert names_of("pretrained") == "resnet50, inception_resnet_v2 or timm"
    assert names_of("width") == "convnet, preact_resnet18 or resnet32"
