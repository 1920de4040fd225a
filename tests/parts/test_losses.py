"""Losses against the table of spec/methods.md §2 and against finite differences."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sfa_bench.parts.losses import LOSSES, log_prior

LOGITS = torch.tensor(
    [[2, 0.5, -1, 0], [0.1, 0.2, 0.3, 0.4], [-1, 3, 0.5, 0.2]], dtype=torch.float64, requires_grad=True
)
LABELS = torch.tensor([0, 2, 3])
COUNTS = torch.tensor([100, 40, 10, 2])

TABLE = {
    "ce": ([0.342350, 1.342536, 2.949463], 1.544783),
    "balanced_softmax": ([0.092522, 2.567077, 5.862784], 2.840794),
}


def test_the_table_below_covers_every_loss_on_offer():
    assert set(LOSSES) == set(TABLE)


@pytest.mark.parametrize("name", TABLE)
def test_each_loss_gives_the_specified_value_for_every_sample(name):
    per_sample, mean = TABLE[name]
    loss = LOSSES[name](LOGITS, LABELS, COUNTS)
    assert loss.tolist() == pytest.approx(per_sample, abs=1e-6)
    assert loss.mean().item() == pytest.approx(mean, abs=1e-6)


@pytest.mark.parametrize("name", TABLE)
def test_each_gradient_agrees_with_finite_differences(name):
    assert torch.autograd.gradcheck(lambda logits: LOSSES[name](logits, LABELS, COUNTS), LOGITS)


@pytest.mark.parametrize("name", TABLE)
def test_the_gradient_is_softmax_minus_one_hot(name):
    shift = COUNTS.double().log() if name == "balanced_softmax" else 0
    (gradient,) = torch.autograd.grad(LOSSES[name](LOGITS, LABELS, COUNTS).sum(), LOGITS)
    expected = torch.softmax(LOGITS.detach() + shift, dim=1) - torch.eye(4)[LABELS]
    assert gradient.numpy() == pytest.approx(expected.numpy(), abs=1e-6)


def test_an_unseen_class_counts_as_one_sample():
    absent, single = torch.tensor([100, 40, 10, 0]), torch.tensor([100, 40, 10, 1])
    loss = LOSSES["balanced_softmax"]
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
    balanced = LOSSES["balanced_softmax"](LOGITS, LABELS, equal)
    assert balanced.tolist() == pytest.approx(TABLE["ce"][0], abs=1e-5)
