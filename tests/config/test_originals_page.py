"""docs/originals.md: what it says to set exists, and the share that it gives is so in closed form."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from sfa_bench.config.compose import compose
from sfa_bench.parts.reweighting import class_balanced_weights, weighted_mean

PAGE = (Path(__file__).parents[2] / "docs" / "originals.md").read_text()
SELECTOR = "plugin=none method.selector.name="
WITH = {  # what a key needs beside it
    "plugin.query_centre": "plugin=ibc",
    "method=unicon_release": "plugin=none",
    "method.average_over": "method=gce plugin=none method.selector.name=loss_gmm",
    "method.fill": "method=unicon plugin=none",
    "method.gamma": "method=har plugin=none",
    "method.loss.lr_u": "method=sop plugin=none",
    "method.positive": "method=dasc plugin=abc",
    "method.refinement": "method=dasc plugin=abc",
    "method.selector.counting": f"{SELECTOR}confident_learning",
    "method.selector.mean_limit": f"{SELECTOR}quota",
    "method.selector.quantile": f"{SELECTOR}scs",
    "method.selector.source": f"{SELECTOR}mda",
    "plugin.": "plugin=sfa",
    "method.partner": "plugin=none",
    "method.ramp_origin": "plugin=none",
    "method.lambda_u": "plugin=none",
    "method.ensemble_bias": "method=rolt plugin=none",
    "method.selector.view": "method=rolt plugin=none",
    "method.loss.gamma": "method=focal plugin=none",
    "method.predict": "method=elr method.plus=true plugin=none",
    "method.native": "method=coteaching plugin=none",
    "method.double_mean": "method=coteaching plugin=none",
    "classifier.": "classifier=crt",
    "noise.include_self": "noise=symmetric",
    "noise.count": "noise=symmetric",
    "noise.map": "dataset=cifar100 noise=asymmetric",
    "recipe": "dataset=cifar10",
}
TYPED = sorted(set(re.findall(r"`([a-z_.]+=[a-z_0-9.]+)`", PAGE)))


def test_the_page_tells_what_to_type():
    assert len(TYPED) > 20


@pytest.mark.parametrize("typed", TYPED)
def test_what_the_page_tells_to_type_exists_and_makes_another_setting(typed):
    beside = next((words for key, words in WITH.items() if typed.startswith(key)), "")
    assert compose([*beside.split(), typed]) is not None


def test_cuis_own_reduction_has_the_share_of_our_gradient_that_the_page_gives():
    """Weighted cross-entropy over a whole long-tailed CIFAR-10, divided by N and by the sum of the weights."""
    counts = torch.tensor([int(5000 * 0.01 ** (k / 9)) for k in range(10)])
    labels = torch.repeat_interleave(torch.arange(10), counts)
    weights = class_balanced_weights(counts, 0.9999, 1.0)[labels]
    gradients = []
    for reduce in (lambda values: weighted_mean(values, weights), lambda values: (weights * values).mean()):
        bias = torch.zeros(10, requires_grad=True)
        reduce(F.cross_entropy(bias.expand(len(labels), 10), labels, reduction="none")).backward()
        gradients.append(bias.grad.numpy())
    n = counts.numpy().astype(float)
    # One over the effective number, up to a factor; the weights are these, scaled to a sum of 10.
    inverse = 1 / (1 - 0.9999**n)
    in_closed_form = 10 * (n * inverse).sum() / (n.sum() * inverse.sum())
    assert gradients[1] == pytest.approx(in_closed_form * gradients[0], rel=1e-3)
    assert round(in_closed_form, 2) == 0.17 == float(re.search(r"gradient is ([\d.]+) of ours", PAGE)[1])
    assert np.allclose(class_balanced_weights(torch.full((10,), 7), 0.9999, 1.0), 1)  # balanced: nothing to divide by
