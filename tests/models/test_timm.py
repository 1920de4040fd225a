"""timm's models as backbones: their own forward pass, their own parameters, on any images that they can take."""

import io
import json
import shlex

import numpy as np
import pytest
import timm
import torch
from rich.console import Console
from safetensors.torch import save_file
from sklearn.datasets import load_digits

from sfa_bench import models
from sfa_bench.choices.models import ModelConfig
from sfa_bench.config.canonical import canonical, run_hash
from sfa_bench.config.compose import compose, requested
from sfa_bench.data import build
from sfa_bench.engine.build import build_method
from sfa_bench.engine.run import run
from sfa_bench.errors import ConfigError

# One of each family, and the side of images that it is tried on; grey ones, as timm's own are not.
FAMILIES = {
    "resnet18.a1_in1k": 32,
    "convnext_atto": 32,
    "vit_tiny_patch16_224": 48,
    "efficientnet_b0": 32,
    "regnety_002": 40,
    "mobilenetv3_small_050": 32,
    "swin_tiny_patch4_window7_224": 64,
}
OWN = ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))  # mean and std of some data


def config(name, pretrained=False):
    return ModelConfig(name=name, library="timm", pretrained=pretrained)


def numbers(module):
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize("name", FAMILIES)
def test_its_parameters_are_timms_without_a_classifier_and_the_heads(name):
    network = models.build(
        config(name), 1, (FAMILIES[name],) * 2, 10, ("main", "abc"), seed=3, statistics=((0.5,), (1,))
    )
    size = {"img_size": FAMILIES[name]} if "224" in name else {}
    theirs = timm.create_model(name, num_classes=0, in_chans=1, **size)
    assert numbers(network) == numbers(theirs) + 2 * (network.feature_width * 10 + 10)
    theirs.load_state_dict(network.backbone.layers.state_dict())
    images = torch.randn(3, 1, FAMILIES[name], FAMILIES[name], generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        before = theirs.eval().forward_head(theirs.forward_features(images), pre_logits=True)
        out = network.eval()(images)
    torch.testing.assert_close(out.features, before, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(out.main, out.features @ network.main.weight.T + network.main.bias)


def test_its_weights_are_a_function_of_the_seed_and_no_global_number_is_drawn():
    name, size = "swin_tiny_patch4_window7_224", (32, 32)  # whose paths timm drops at random
    before = torch.random.get_rng_state()
    one, same, other = (
        models.build(config(name), 1, size, 4, ("main",), s, statistics=((0.5,), (1,))) for s in (1, 1, 2)
    )
    images = torch.randn(2, 1, *size, generator=torch.Generator().manual_seed(0))
    assert one.training
    assert torch.equal(one(images).main, same(images).main)
    assert not torch.equal(one(images).main, other(images).main)
    assert torch.equal(before, torch.random.get_rng_state())


@pytest.fixture(scope="module")
def arrays(tmp_path_factory):
    """Digits at 16×16, and colour images at 48×40."""
    folder = tmp_path_factory.mktemp("arrays")
    digits = load_digits()
    images = np.kron(digits.images * 15.9375, np.ones((2, 2))).astype(np.uint8)
    train = np.arange(len(images)) % 5 < 2
    held = np.arange(len(images)) % 5 == 4
    parts = {"x_train": images[train], "y_train": digits.target[train]}
    np.savez(folder / "digits.npz", **parts, x_test=images[held], y_test=digits.target[held])
    colour = np.random.default_rng(0).integers(0, 256, (24, 48, 40, 3), dtype=np.uint8)
    np.savez(folder / "colour.npz", x_train=colour, y_train=np.arange(24) % 3, x_test=colour, y_test=np.arange(24) % 3)
    return folder


@pytest.mark.parametrize("name", FAMILIES)
def test_a_step_moves_every_one_of_its_weights(arrays, name):
    words = [f"data_dir={arrays}/colour.npz", "dataset=arrays", "dataset.name=mine", "epochs=2", "threads=1"]
    made = compose([*words, "method=ce", "plugin=abc", "model=timm", f"model.name={name}", "batch_size=16"])
    method = build_method(made, build(made), [torch.device("cpu")])
    before = {name: value.detach().clone() for name, value in method.networks[0].named_parameters()}
    figures = method.epoch(1)
    assert method.cost.steps == 1
    assert np.isfinite(figures["loss"])
    # Biases and scales that begin at 0 may have no gradient in a first step.
    weights = [key for key, value in before.items() if value.ndim > 1 and value.any()]
    assert len(weights) > 15
    assert not [key for key in weights if torch.equal(before[key], method.networks[0].get_parameter(key))]


def test_it_learns_digits_and_its_name_is_in_record_and_hash(arrays, tmp_path):
    words = [f"data_dir={arrays}/digits.npz", "dataset=arrays", "dataset.name=digits16", "epochs=4", "threads=1"]
    words += ["method=ce", "plugin=none", "model=timm", "model.name=test_resnet.r160_in1k", f"runs_dir={tmp_path}"]
    words += ["batch_size=16", "lr=0.01"]
    printed = io.StringIO()
    path = run(compose(words), shlex.join(words), Console(file=printed, width=300))
    record = json.loads((path / "run.json").read_text())
    assert record["metrics"]["test/acc/final"] > 80
    assert (record["config"]["model"]["name"], record["names"]["model"]) == ("test_resnet.r160_in1k", "timm")
    assert record["cost"]["parameters"] == numbers(timm.create_model("test_resnet", num_classes=10, in_chans=1))
    assert canonical(compose(words))["model.name"] == "test_resnet.r160_in1k"


def test_a_name_that_the_suite_has_too_is_another_model():
    words = ["dataset=cifar10", "method=ce", "plugin=none"]
    assert run_hash(compose([*words, "model=timm", "model.name=resnet34"])) != run_hash(
        compose([*words, "model=resnet34"])
    )


REFUSED = {
    "model=timm": "model=timm needs model.name=NAME",
    "model=timm model.name=resnet18.a1_in1": "did you mean resnet18.a1_in1k",
    "model=timm model.name=zzqqzz": "timm has no model of this name",
    "model=timm model.name=hf-hub:timm/x": "must be letters, digits",
    "model=timm model.name=resnet18 model.width=4": "model.width has no effect with model=timm",
    "model=timm model.name=resnet18 model.pretrained=nowhere.pth": "there is no such file",
    "model.name=resnet18": "set model=timm model.name=resnet18",
    "model.name=resnet34": "set model=resnet34",
    "model=convnet model.name=resnet18": "set model=timm model.name=resnet18",
    "dataset=synthetic model=timm model.name=resnet18": "takes images, and dataset=synthetic has vectors",
    "method=har model=timm model.name=resnet18": "model=timm model.name=resnet18 with method=har",
}


@pytest.mark.parametrize("words", REFUSED)
def test_what_cannot_be_is_refused_before_anything_is_read(words):
    with pytest.raises(ConfigError) as refused:
        requested(["method=ce", "plugin=none", *words.split()])
    assert REFUSED[words] in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(("name", "side"), [("vit_tiny_patch16_224", 8), ("inception_v3", 32)])
def test_images_that_it_cannot_take_are_refused_with_its_own_size(name, side):
    own = timm.get_pretrained_cfg(name).input_size[-1]
    with pytest.raises(ConfigError, match=rf"fails on images of 1x{side}x{side} .*its own are 3x{own}x{own}"):
        models.build(config(name), 1, (side, side), 10, ("main",), 0, statistics=((0.5,), (1,)))


@pytest.mark.parametrize("ending", ["safetensors", "pth"])
def test_with_weights_it_sees_what_it_was_trained_on(tmp_path, ending):
    name = "vit_tiny_patch16_224"  # whose mean and std are 0.5
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        theirs = timm.create_model(name, num_classes=7).eval()
    path = tmp_path / f"weights.{ending}"
    (save_file if ending == "safetensors" else torch.save)(theirs.state_dict(), path)
    network = models.build(config(name, str(path)), 3, (224, 224), 10, ("main",), 0, statistics=OWN).eval()
    pixels = torch.rand(2, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    mean, std = (torch.tensor(values)[:, None, None] for values in OWN)
    with torch.no_grad():
        expected = theirs.forward_head(theirs.forward_features((pixels - 0.5) / 0.5), pre_logits=True)
        torch.testing.assert_close(network((pixels - mean) / std).features, expected, rtol=1e-3, atol=1e-4)
        # A saved network is built again without that file.
        again = models.build(config(name), 3, (224, 224), 10, ("main",), 1, statistics=OWN).eval()
        again.load_state_dict(network.state_dict())
        assert torch.equal(again((pixels - mean) / std).features, network((pixels - mean) / std).features)


def test_weights_refuse_other_sizes_channels_and_files(tmp_path):
    path = tmp_path / "weights.pth"
    torch.save(timm.create_model("resnet18", num_classes=3).state_dict(), path)
    for channels, side in ((3, 32), (1, 224)):
        with pytest.raises(
            ConfigError, match=rf"take images of 3x224x224, and these have {channels}x{side}x{side}: set"
        ):
            models.build(config("resnet18", str(path)), channels, (side, side), 4, ("main",), 0, statistics=OWN)
    with pytest.raises(ConfigError, match="does not hold the weights of timm's resnet34"):
        models.build(config("resnet34", str(path)), 3, (224, 224), 4, ("main",), 0, statistics=OWN)
