"""Losses against the table of algorithms/numbers.md §1 and against finite differences."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sfa_bench.choices.losses import LOSSES
from sfa_bench.parts.losses import (
    ldam_margins,
    log_prior,
    make_loss,
    normalised_cross_entropy,
    reverse_cross_entropy,
)
from sfa_bench.parts.reweighting import class_balanced_weights, weighted_mean

LOGITS = torch.tensor(
    [[2, 0.5, -1, 0], [0.1, 0.2, 0.3, 0.4], [-1, 3, 0.5, 0.2]], dtype=torch.float64, requires_grad=True
)
LABELS = torch.tensor([0, 2, 3])
# Parts of losses, which cannot be chosen alone.
PARTS = {"rce": reverse_cross_entropy, "nce": normalised_cross_entropy}
CHOSEN = sorted(name for name, loss in LOSSES.items() if loss.code)


def make(name, **constants):
    return PARTS[name] if name in PARTS else make_loss(name, **constants)


COUNTS = torch.tensor([100, 40, 10, 2])

# loss, constants → per sample, mean; where the specification's table has two settings, both
TABLE = [
    ("ce", {}, [0.342350, 1.342536, 2.949463], 1.544783),
    ("cb_ce", {}, [0.342350, 1.342536, 2.949463], 1.544783),
    ("mae", {}, [0.289900, 0.738817, 0.947632], 0.658783),
    ("rce", {}, [2.670078, 6.804760, 8.728015], 6.067618),
    ("nce", {}, [0.043504, 0.241024, 0.297990], 0.194173),
    ("gce", {"q": 0.7}, [0.304418, 0.870406, 1.247334], 0.807386),
    ("nce_rce", {"alpha": 1, "beta": 1}, [2.713582, 7.045783, 9.026005], 6.261790),
    ("nce_mae", {"alpha": 10, "beta": 1}, [0.724939, 3.149053, 3.927534], 2.600509),
    ("sce", {"alpha": 0.1, "beta": 1}, [2.704313, 6.939013, 9.022961], 6.222096),
    ("focal", {"gamma": 0.5}, [0.184329, 1.153970, 2.871196], 1.403165),
    ("focal", {"gamma": 1}, [0.099247, 0.991889, 2.795006], 1.295381),
    ("nfl", {"gamma": 0.5}, [0.024963, 0.238905, 0.299158], 0.187675),
    ("ngce", {"q": 0.7}, [0.080494, 0.245060, 0.316217], 0.213924),
    ("balanced_softmax", {}, [0.092522, 2.567077, 5.862784], 2.840794),
    ("logit_adjust", {"tau": 1}, [0.092522, 2.567077, 5.862784], 2.840794),
    ("logit_adjust", {"tau": 0.5}, [0.162122, 1.773761, 4.378155], 2.104679),
]
IDS = [f"{name} {constants}" for name, constants, *_ in TABLE]
each = pytest.mark.parametrize(("name", "constants", "per_sample", "mean"), TABLE, ids=IDS)


def test_the_table_covers_every_loss_on_offer_but_the_margins():
    assert {*CHOSEN, *PARTS} == {name for name, *_ in TABLE} | {"ldam"}


@each
def test_each_loss_gives_the_specified_value_for_every_sample(name, constants, per_sample, mean):
    loss = make(name, **constants)(LOGITS, LABELS, COUNTS)
    assert loss.tolist() == pytest.approx(per_sample, abs=1e-6)
    assert loss.mean().item() == pytest.approx(mean, abs=1e-6)


@each
def test_each_gradient_agrees_with_finite_differences(name, constants, per_sample, mean):
    if name == "nfl":  # its modulating factors are detached on purpose: see below
        return
    assert torch.autograd.gradcheck(lambda logits: make(name, **constants)(logits, LABELS, COUNTS), LOGITS)


def test_ngce_is_scaled_as_in_its_original_on_mnist():
    """scale · (1 − p_y^q) / (K − Σ p^q), q 0.1 and scale 10: the release's file for MNIST under symmetric noise."""
    p = np.exp(LOGITS.detach().numpy()) / np.exp(LOGITS.detach().numpy()).sum(1, keepdims=True)
    of_label = p[np.arange(3), LABELS.numpy()]
    expected = 10 * (1 - of_label**0.1) / (4 - (p**0.1).sum(1))
    assert make("ngce", q=0.1, scale=10.0)(LOGITS, LABELS, COUNTS).tolist() == pytest.approx(expected, rel=1e-9)


def test_the_modulating_factors_of_nfl_are_constants_to_the_gradient():
    frozen = (1 - torch.softmax(LOGITS.detach(), dim=1)) ** 0.5

    def by_hand(logits):
        terms = -frozen * torch.log_softmax(logits, dim=1)
        return terms[torch.arange(3), LABELS] / terms.sum(dim=1)

    assert torch.autograd.gradcheck(by_hand, LOGITS)
    (expected,) = torch.autograd.grad(by_hand(LOGITS).sum(), LOGITS)
    (found,) = torch.autograd.grad(make("nfl", gamma=0.5)(LOGITS, LABELS, COUNTS).sum(), LOGITS)
    assert torch.allclose(found, expected, atol=1e-12)


def test_ldam_subtracts_its_margins_from_scaled_cosines():
    assert ldam_margins(COUNTS).tolist() == pytest.approx([0.1880, 0.2364, 0.3344, 0.5], abs=5e-5)
    loss = make("ldam", scale=30, margin=0.5)
    values = loss(30 * LOGITS / 10, LABELS, COUNTS)
    assert values.tolist() == pytest.approx([1.581588, 11.001706, 23.400559], abs=1e-5)
    assert values.mean().item() == pytest.approx(11.994618, abs=1e-5)
    weights = class_balanced_weights(COUNTS)[LABELS]
    assert weighted_mean(values, weights).item() == pytest.approx(21.008053, abs=1e-4)
    assert torch.autograd.gradcheck(lambda logits: loss(logits, LABELS, COUNTS), LOGITS)


def test_the_limits_in_which_losses_meet():
    def value(name, **constants):
        return make(name, **constants)(LOGITS, LABELS, COUNTS).detach().numpy()

    assert value("gce", q=1e-6) == pytest.approx(value("ce"), abs=1e-5)
    assert value("gce", q=1) == pytest.approx(value("mae"), abs=1e-12)
    assert value("logit_adjust", tau=1) == pytest.approx(value("balanced_softmax"), abs=1e-12)
    assert value("logit_adjust", tau=0) == pytest.approx(value("ce"), abs=1e-12)
    assert value("focal", gamma=0) == pytest.approx(value("ce"), abs=1e-12)
    assert value("nfl", gamma=0) == pytest.approx(value("nce"), abs=1e-12)
    assert value("sce", alpha=1, beta=0) == pytest.approx(value("ce"), abs=1e-12)


@pytest.mark.parametrize("name", [*CHOSEN, *PARTS])
def test_a_certain_prediction_gives_finite_losses_and_gradients(name):
    constants = {"sce": {"alpha": 1, "beta": 1}, "ngce": {"q": 0.7}}
    constants |= {key: {"alpha": 1, "beta": 1} for key in ("nce_rce", "nce_mae")}
    for dtype in (torch.float32, torch.float64):
        logits = torch.tensor([[200.0, 0, 0, 0], [0, 200.0, 0, 0]], dtype=dtype, requires_grad=True)
        loss = make(name, **constants.get(name, {}))(logits, torch.tensor([0, 0]), COUNTS)
        loss.sum().backward()
        assert torch.isfinite(loss).all()
        assert torch.isfinite(logits.grad).all()


@pytest.mark.parametrize("name", ["ce", "balanced_softmax"])
def test_the_gradient_is_softmax_minus_one_hot(name):
    shift = COUNTS.double().log() if name == "balanced_softmax" else 0
    (gradient,) = torch.autograd.grad(make(name)(LOGITS, LABELS, COUNTS).sum(), LOGITS)
    expected = torch.softmax(LOGITS.detach() + shift, dim=1) - torch.eye(4)[LABELS]
    assert gradient.numpy() == pytest.approx(expected.numpy(), abs=1e-6)


def test_an_unseen_class_counts_as_one_sample():
    absent, single = torch.tensor([100, 40, 10, 0]), torch.tensor([100, 40, 10, 1])
    loss = make("balanced_softmax")
    assert torch.equal(loss(LOGITS, LABELS, absent), loss(LOGITS, LABELS, single))
    assert torch.isfinite(loss(LOGITS, LABELS, absent)).all()


def test_the_floor_of_the_log_prior_is_ours_to_choose():
    counts = torch.tensor([0, 1, 4, 100])
    assert log_prior(counts).tolist() == pytest.approx([0, 0, 1.386294, 4.605170], abs=1e-6)
    assert log_prior(counts, 10).tolist() == pytest.approx([2.302585, 2.302585, 2.302585, 4.605170], abs=1e-6)
    assert log_prior(counts, 0)[0].item() == -float("inf")


@given(st.integers(1, 10_000))
def test_equal_counts_make_the_balanced_softmax_a_cross_entropy(count):
    equal = torch.full((4,), count)
    balanced = make("balanced_softmax")(LOGITS, LABELS, equal)
    assert balanced.tolist() == pytest.approx(TABLE[0][2], abs=1e-5)
