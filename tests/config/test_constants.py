"""Constants of losses by data set, as algorithms/methods.md §2 and §5 list them."""

import pytest

from sfa_bench.choices.losses import CONSTANTS
from sfa_bench.config.compose import compose


def constants(run):
    loss = run.method.loss
    return {name: getattr(loss, name) for name in CONSTANTS if getattr(loss, name) is not None}


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("method=ce", {}),
        ("method=focal", {"gamma": 1}),
        ("method=gce", {"q": 0.7}),
        ("method=ldam", {"scale": 30, "margin": 0.5}),
        ("method=sce dataset=cifar10", {"alpha": 0.1, "beta": 1}),
        ("method=sce dataset=cifar100", {"alpha": 6, "beta": 0.1}),
        ("method=sce dataset=fashion_mnist", {"alpha": 0.01, "beta": 1}),
        ("method=nce_rce dataset=cifar100", {"alpha": 10, "beta": 0.1}),
        ("method=nce_mae dataset=digits", {"alpha": 1, "beta": 10}),
        ("method=nce_mae dataset=synthetic", {"alpha": 1, "beta": 1}),
        ("method=ngce dataset=cifar100", {"q": 0.7}),
        ("method=ngce dataset=digits", {"q": 0.1}),
        ("method=ngce dataset=digits noise=pair", {"q": 0.1}),
        ("method=ngce dataset=digits noise=none", {"q": 0.1}),
        ("method=ngce dataset=digits noise=symmetric", {"q": 0.1, "scale": 10}),
        ("method=ngce dataset=fashion_mnist noise=symmetric", {"q": 0.1, "scale": 10}),
        ("method=ngce dataset=fashion_mnist noise=asymmetric", {"q": 0.1}),
        ("method=ngce dataset=cifar10 noise=symmetric", {"q": 0.1}),
        ("method=ngce dataset=cifar100 noise=symmetric", {"q": 0.7}),
        ("method=ngce dataset=synthetic noise=symmetric", {"q": 0.1}),
        ("method=ngce method.loss.scale=2", {"q": 0.1, "scale": 2}),
        ("method=nfl dataset=cifar10 noise=symmetric", {"gamma": 0.5, "scale": 10}),
        ("method=nfl dataset=cifar10 noise=asymmetric", {"gamma": 0.5, "scale": 1}),
        ("method=nfl dataset=cifar100 noise=symmetric", {"gamma": 0.5, "scale": 1}),
        ("method=nfl dataset=digits noise=symmetric", {"gamma": 0.5, "scale": 1}),
        ("method=elr dataset=fashion_mnist noise=asymmetric", {"beta": 0.7, "weight": 3}),
        ("method=nfl", {"gamma": 0.5, "scale": 1}),
        ("method=jal_ce dataset=cifar100", {"alpha": 1, "beta": 1, "a": 30}),
        ("method=jal_fl method.loss.a=10", {"alpha": 1, "beta": 1, "gamma": 0.5, "a": 10}),
        ("method=elr dataset=cifar10", {"beta": 0.7, "weight": 3}),
        ("method=elr dataset=cifar10 noise=asymmetric", {"beta": 0.9, "weight": 1}),
        ("method=elr dataset=cifar100", {"beta": 0.9, "weight": 7}),
        ("method=elr dataset=cifar10n", {"beta": 0.7, "weight": 3}),
        ("method=sce dataset=cifar100n", {"alpha": 6, "beta": 0.1}),
        ("method=sce dataset=cifar100 method.loss.alpha=2", {"alpha": 2, "beta": 0.1}),
        ("method=sop dataset=cifar10", {"lr_u": 10, "lr_v": 10}),
        ("method=sop dataset=cifar10 noise=asymmetric", {"lr_u": 10, "lr_v": 100}),
        ("method=sop dataset=cifar100n", {"lr_u": 1, "lr_v": 10}),
        ("method=sop dataset=cifar100 noise=asymmetric", {"lr_u": 1, "lr_v": 100}),
        ("method=sop dataset=clothing1m model.pretrained=false", {"lr_u": 0.1, "lr_v": 1}),
        ("method=sop method.loss.lr_v=3", {"lr_u": 10, "lr_v": 3}),
        ("method=ce method.loss.name=gce", {"q": 0.7}),
    ],
)
def test_constants_of(typed, expected):
    assert constants(compose([*typed.split(), "plugin=none"])) == expected


@pytest.mark.parametrize(
    ("typed", "transferred"),
    [
        ("method=sce dataset=cifar10", True),  # found on balanced data, used on a long tail
        ("method=sce dataset=cifar10 imbalance=none", False),
        ("method=sce dataset=digits imbalance=none", True),  # found on another data set
        ("method=sce method.loss.alpha=1 method.loss.beta=1", False),  # the user's own
        ("method=gce", True),
        ("method=nfl", True),
        ("method=jal_ce", True),
        ("method=sop dataset=cifar100n", False),
        ("method=sop dataset=webvision", True),  # not known for it
        ("method=jal_ce imbalance=none", False),
        ("method=ngce method.loss.q=0.2", False),
        ("method=ngce method.loss.q=0.2 noise=symmetric", True),  # the scale still is the original's
        ("method=ngce method.loss.q=0.2 method.loss.scale=3 noise=symmetric", False),
        ("method=nce_mae dataset=cifar100 method.loss.beta=2", True),  # the other one still is
        ("method=elr dataset=cifar100", True),
        ("method=elr dataset=cifar100n", False),  # the same images, balanced
        ("method=elr dataset=cifar100n imbalance=exp", True),
        ("method=elr dataset=cifar10 noise=asymmetric imb_factor=1", False),
        ("method=elr dataset=synthetic imb_factor=1", True),
        ("method=ldam", False),  # made for long tails
        ("method=focal", False),
        ("method=logit_adjust", False),
        ("method=rolt method.loss.name=ldam", False),
        ("method=ce", False),
    ],
)
def test_transferred_constants_are_marked_in_the_record(typed, transferred):
    run = compose([*typed.split(), "plugin=none"])
    assert run.to_plain()["method"]["loss"]["transferred"] is transferred
