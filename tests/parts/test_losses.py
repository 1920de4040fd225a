"""Losses against the table of algorithms/numbers.md §1 and against finite differences."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sfa_bench.choices.losses import LOSSES
from sfa_bench.parts.losses import (
    amse,
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
CHOSEN = sorted(name for name, loss in LOSSES.items() if loss.code and not loss.remembers)


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
    ("jal_ce", {"alpha": 2, "beta": 0.5, "a": 10}, [10.879237, 12.360730, 13.058761], 12.099576),
    ("jal_fl", {"alpha": 2, "beta": 0.5, "gamma": 2, "a": 10}, [10.801280, 12.343052, 13.054045], 12.066126),
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
    if name in ("nfl", "jal_fl"):  # their modulating factors are detached on purpose: see below
        return
    assert torch.autograd.gradcheck(lambda logits: make(name, **constants)(logits, LABELS, COUNTS), LOGITS)


def test_ngce_is_scaled_as_in_its_original_on_mnist():
    """scale · (1 − p_y^q) / (K − Σ p^q), q 0.1 and scale 10: the release's file for MNIST under symmetric noise."""
    p = np.exp(LOGITS.detach().numpy()) / np.exp(LOGITS.detach().numpy()).sum(1, keepdims=True)
    of_label = p[np.arange(3), LABELS.numpy()]
    expected = 10 * (1 - of_label**0.1) / (4 - (p**0.1).sum(1))
    assert make("ngce", q=0.1, scale=10.0)(LOGITS, LABELS, COUNTS).tolist() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("name", ["nfl", "jal_fl"])
def test_the_modulating_factors_of_focal_losses_are_constants_to_the_gradient(name):
    frozen = (1 - torch.softmax(LOGITS.detach(), dim=1)) ** 0.5
    target = 3 * torch.eye(4)[LABELS]

    def by_hand(logits):
        terms = -frozen * torch.log_softmax(logits, dim=1)
        values = terms[torch.arange(3), LABELS] / terms.sum(dim=1)
        if name == "jal_fl":
            values = values + 2 * ((target - torch.softmax(logits, dim=1)) ** 2).sum(dim=1) / 4
        return values

    assert torch.autograd.gradcheck(by_hand, LOGITS)
    (expected,) = torch.autograd.grad(by_hand(LOGITS).sum(), LOGITS)
    loss = make(name, gamma=0.5, **({"alpha": 1, "beta": 2, "a": 3} if name == "jal_fl" else {}))
    (found,) = torch.autograd.grad(loss(LOGITS, LABELS, COUNTS).sum(), LOGITS)
    assert torch.allclose(found, expected, atol=1e-12)


@pytest.mark.parametrize(("a", "expected"), [(1, 0.046667), (10, 28.846667), (30, 286.18)])
def test_the_asymmetric_squared_error_of_the_worked_example(a, expected):
    p = torch.tensor([[0.7, 0.2, 0.1]], dtype=torch.float64)
    assert amse(p.log(), torch.tensor([0]), COUNTS, a=a).item() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("w", [(0.6, 0.3, 0.1), (0.4, 0.35, 0.25), (0.5, 0.25, 0.25)])
def test_from_which_a_on_the_most_frequent_label_takes_the_whole_probability(w):
    """algorithms/jal_sop.md §1, equation (3), by the expected loss on a grid of the simplex."""
    steps = 200
    grid = torch.tensor([[i, j, steps - i - j] for i in range(steps + 1) for j in range(steps + 1 - i)]) / steps
    logits = grid.double().clamp(min=1e-300).log()

    def best(a):
        risk = sum(share * amse(logits, torch.full((len(grid),), k), COUNTS, a=a) for k, share in enumerate(w))
        return grid[risk.argmin()].tolist()

    threshold = 1 / (w[0] - w[1])
    assert best(1.05 * threshold) == [1, 0, 0]
    assert best(0.95 * threshold) != [1, 0, 0]


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
    assert value("jal_ce", alpha=1, beta=0, a=30) == pytest.approx(value("nce"), abs=1e-12)
    assert value("jal_fl", alpha=1, beta=1, gamma=0, a=5) == pytest.approx(value("jal_ce", alpha=1, beta=1, a=5))
    assert value("sce", alpha=1, beta=0) == pytest.approx(value("ce"), abs=1e-12)


@pytest.mark.parametrize("name", [*CHOSEN, *PARTS])
def test_a_certain_prediction_gives_finite_losses_and_gradients(name):
    constants = {"sce": {"alpha": 1, "beta": 1}, "ngce": {"q": 0.7}}
    constants |= {key: {"alpha": 1, "beta": 1} for key in ("nce_rce", "nce_mae")}
    constants |= {"jal_ce": {"alpha": 1, "beta": 1, "a": 30}, "jal_fl": {"alpha": 1, "beta": 1, "a": 30, "gamma": 0.5}}
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
