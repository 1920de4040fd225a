"""RoLT, RoLT with deferred weights and RoLT+ as the configuration builds them (algorithms/methods.md §1, §8, §9)."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from sfa_bench.choices.methods import warmup_epochs
from sfa_bench.config.compose import compose
from sfa_bench.engine.build import build_method
from sfa_bench.methods.dividemix import DivideMix
from sfa_bench.selectors.prototype import Prototype

LABELS = [0] * 7 + [1] * 4 + [2] * 2


def test_rolt_selects_from_the_first_epoch_on_unless_a_plug_in_selects():
    for plugin, expected in (("none", 0), ("abc", 0), ("sfa", 3)):
        config = compose(["method=rolt", f"plugin={plugin}", "epochs=10", "warmup_epochs=3"])
        assert warmup_epochs(config) == expected
    assert warmup_epochs(compose(["method=rolt", "plugin=none", "epochs=2", "warmup_epochs=2"])) == 0


def test_rolt_comes_with_what_is_configured(make_view):
    typed = ["method=rolt_drw", "plugin=none", "dataset=cifar10", "recipe=native", "method.ensemble_bias=release"]
    config = compose([*typed, "method.loss.name=ldam", "model.width=2"])
    view = make_view(LABELS, side=32)
    view = replace(view, images=view.images.repeat(1, 3, 1, 1))
    method = build_method(config, SimpleNamespace(view=view, observed_counts=None), [torch.device("cpu")])
    assert (method.soft_from, method.frozen_from) == (81, 161)
    assert method.logit_average[0].bias == method.score_average[0].bias == "release"
    assert (method.training.plain_batch, method.training.drop_last) == (128, True)
    assert method.networks[0].main.scale == 30
    plain = build_method(
        compose([*typed, "model.width=2"]), SimpleNamespace(view=view, observed_counts=None), [torch.device("cpu")]
    )
    # Torch's own start, not the backbone's Kaiming-normal one, which passes this bound.
    assert float(plain.networks[0].main.weight.detach().abs().max()) <= 1 / np.sqrt(8)
    short = compose(["method=rolt", "plugin=none"])  # without deferred weights nothing is ever frozen
    method = build_method(short, SimpleNamespace(view=make_view(LABELS), observed_counts=None), [torch.device("cpu")])
    assert method.frozen_from == short.epochs + 1


def test_rolt_plus_is_dividemix_with_prototypes(make_view):
    config = compose(["method=rolt_plus", "plugin=none", "method.schedule=drw", "epochs=10", "model.width=2"])
    method = build_method(config, SimpleNamespace(view=make_view(LABELS), observed_counts=None), [torch.device("cpu")])
    assert isinstance(method, DivideMix)
    assert [type(selector) for selector in method.training.selectors] == [Prototype] * 2
    assert method.weights_from == 9
    omega = (1 - 0.9999) / (1 - 0.9999 ** np.array([7, 4, 2]))
    assert method.class_weights.numpy() == pytest.approx(3 * omega / omega.sum(), rel=1e-5)
