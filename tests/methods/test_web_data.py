"""What a configuration for web data becomes: the learner's options, its selectors, the weights it starts from."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torchvision

from sfa_bench.config.compose import compose
from sfa_bench.data.types import LearnerView, Transform
from sfa_bench.engine.build import build_method
from sfa_bench.engine.cost import forward_flops

LABELS = torch.arange(12) % 3


def built(*typed, side=8):
    images = torch.randint(0, 256, (12, 3, side, side), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    view = LearnerView(images, LABELS, 3, Transform((0.5,) * 3, (0.5,) * 3, 0, flip=False))
    counts = np.bincount(LABELS.numpy())
    data = SimpleNamespace(view=view, clean_labels=LABELS.numpy(), observed_counts=counts)
    return build_method(compose(typed), data, [torch.device("cpu")])


@pytest.mark.parametrize(
    ("typed", "penalised", "forwarded", "alpha", "lambda_u"),
    [
        ("dataset=clothing1m model=convnet", True, "labelled", 0.5, 0.0),
        ("dataset=webvision model=convnet", False, "labelled", 0.5, 0.0),
        ("dataset=webvision model=convnet method.lambda_u=3", False, "all", 0.5, 3.0),
        ("dataset=cifar10 model=convnet", False, "all", 4.0, 25.0),
        ("dataset=cifar10 model=convnet noise=asymmetric", True, "all", 4.0, 25.0),
    ],
)
def test_dividemix_is_told_what_its_data_set_needs(typed, penalised, forwarded, alpha, lambda_u):
    method = built(*typed.split())
    assert (method.confidence_penalty, method.forwarded) == (penalised, forwarded)
    assert (method.alpha, method.lambda_u) == (alpha, lambda_u)


@pytest.mark.parametrize(("recipe", "floor", "refined"), [("matched", 5e-4, True), ("native", 1e-3, False)])
def test_selectors_have_webvisions_constants_in_its_native_recipe_alone(recipe, floor, refined):
    typed = ["dataset=webvision", "model=convnet", "plugin=none", f"recipe={recipe}"]
    assert [s.reg_covar for s in built(*typed).training.selectors] == [floor, floor]
    prototypes = built(*typed, "method=rolt_plus").training.selectors
    assert [s.refined for s in prototypes] == [refined, refined]
    assert prototypes[0].mixture == ({} if refined else {"max_iter": 10, "tol": 1e-2, "reg_covar": 1e-3})


@pytest.mark.parametrize(
    ("typed", "partner"),
    [
        ("dataset=webvision", "updated"),
        ("dataset=webvision recipe=native", "previous"),
        ("dataset=webvision recipe=native plugin=none", "previous"),
        ("dataset=webvision recipe=native plugin=none method=rolt_plus", "previous"),
        ("dataset=webvision recipe=native method.partner=updated", "updated"),
        ("+preset=release_sfa_webvision", "previous"),
        ("+preset=release_sfa_webvision recipe=matched", "previous"),
        ("dataset=clothing1m recipe=native plugin=none", "updated"),
        ("dataset=cifar10 recipe=native", "updated"),
        ("dataset=cifar10 +preset=release_sfa_cifar", "updated"),
        ("method.partner=previous", "previous"),
    ],
)
def test_both_networks_train_at_once_where_the_originals_script_does(typed, partner):
    assert (built(*typed.split(), "model=convnet").earlier is not None) is (partner == "previous")


def test_the_release_preset_selects_as_at_the_end_of_the_epoch_before():
    for selector in built("+preset=release_sfa_webvision", "model=convnet").training.selectors:
        assert selector.gate_threshold(2, 50) == pytest.approx(0.02 * 1.005)
        assert (selector.beginnings, selector.moments, selector.beta, selector.sample_min) == (2, "release", 0.9, 0)
    assert built("dataset=webvision", "model=convnet").training.selectors[0].gate_threshold(2, 50) == pytest.approx(
        0.02 * 1.005**2
    )


def test_both_networks_start_from_the_file_and_a_step_leaves_them_apart(tmp_path):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        weights = torchvision.models.resnet50(weights=None).state_dict()
    torch.save(weights, tmp_path / "w.pth")
    method = built("dataset=clothing1m", f"model.pretrained={tmp_path / 'w.pth'}", "plugin=abc", side=33)
    one, two = method.networks
    for network in (one, two):
        assert torch.equal(network.backbone.layers.layer4[2].conv3.weight, weights["layer4.2.conv3.weight"])
    assert not torch.equal(one.main.weight, two.main.weight)
    assert forward_flops(method, (3, 33, 33)) > 1e8
    assert method.epoch(1)["loss"] > 0
    assert not torch.equal(one.backbone.layers.conv1.weight, two.backbone.layers.conv1.weight)
