"""The pieces of the semi-supervised step against algorithms/numbers.md §2."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from sfa_bench.parts import mixmatch

LOGITS = torch.tensor([[2, 0.5, -1, 0], [0.1, 0.2, 0.3, 0.4], [-1, 3, 0.5, 0.2]], dtype=torch.float64)
LABELS = torch.tensor([0, 2, 3])
COUNTS = torch.tensor([100, 40, 10, 2], dtype=torch.float64)
P1 = LOGITS.softmax(1)
P2 = LOGITS.flip(1).softmax(1)
CLEAN = torch.tensor([0.9, 0.6, 0.3], dtype=torch.float64)

T_X = [
    [0.99795, 0.00011, 0.00011, 0.00183],
    [0.01945, 0.01906, 0.94205, 0.01945],
    [0.00179, 0.33430, 0.33430, 0.32960],
]
T_U = [[0.7888, 0.0415, 0.0111, 0.1586], [0.2156, 0.2346, 0.2592, 0.2906], [0.0012, 0.8553, 0.1398, 0.0036]]


def targets():
    return mixmatch.refine_labels(LABELS, CLEAN, (P1 + P2) / 2, 0.5)


def test_refined_labels_are_the_specified_rows():
    assert targets().numpy() == pytest.approx(np.array(T_X), abs=1e-5)


def test_sharpened_guesses_are_the_specified_rows():
    assert mixmatch.sharpen(0.75 * P1 + 0.25 * P2, 0.5).numpy() == pytest.approx(np.array(T_U), abs=1e-4)


def test_the_penalty_of_the_mean_prediction_is_the_specified_number():
    assert mixmatch.prior_penalty(LOGITS).item() == pytest.approx(0.128223, abs=1e-6)


def test_the_negative_entropy_is_the_specified_number():
    assert mixmatch.negative_entropy(LOGITS).item() == pytest.approx(-0.931420, abs=1e-6)


def test_labelled_and_unlabelled_loss_are_the_specified_numbers():
    assert mixmatch.soft_cross_entropy(LOGITS, targets()).item() == pytest.approx(1.202715, abs=1e-6)
    assert mixmatch.squared_error(LOGITS, targets()).item() == pytest.approx(0.096937, abs=1e-6)


def test_with_log_counts_inside_the_softmax_both_are_the_other_specified_numbers():
    shifted = LOGITS + COUNTS.log()
    assert mixmatch.soft_cross_entropy(shifted, targets()).item() == pytest.approx(1.972423, abs=1e-6)
    assert mixmatch.squared_error(shifted, targets()).item() == pytest.approx(0.147451, abs=1e-6)


@pytest.mark.parametrize(
    "loss",
    [
        lambda z: mixmatch.soft_cross_entropy(z, targets()),
        lambda z: mixmatch.squared_error(z, targets()),
        mixmatch.prior_penalty,
        mixmatch.negative_entropy,
    ],
    ids=["soft_cross_entropy", "squared_error", "prior_penalty", "negative_entropy"],
)
def test_gradients_agree_with_finite_differences(loss):
    assert torch.autograd.gradcheck(loss, LOGITS.clone().requires_grad_())


def test_the_penalty_is_zero_at_the_uniform_mean_and_positive_elsewhere():
    opposite = torch.tensor([[3.0, -3.0], [-3.0, 3.0]])
    assert mixmatch.prior_penalty(opposite).item() == pytest.approx(0, abs=1e-6)
    assert mixmatch.prior_penalty(torch.tensor([[3.0, -3.0]])).item() > 1


def test_the_negative_entropy_lies_between_minus_log_k_and_zero():
    assert mixmatch.negative_entropy(torch.zeros(2, 5)).item() == pytest.approx(-math.log(5))
    assert mixmatch.negative_entropy(torch.tensor([[90.0, 0, 0]])).item() == pytest.approx(0, abs=1e-6)


def test_no_unlabelled_rows_cost_nothing_and_pass_no_gradient():
    logits = torch.zeros(0, 4, requires_grad=True)
    loss = mixmatch.squared_error(logits, torch.zeros(0, 4))
    loss.backward()
    assert loss.item() == 0
    assert logits.grad is not None


def test_a_certain_label_stays_certain_and_an_impossible_one_follows_the_guess():
    guess = torch.tensor([[0.5, 0.5, 0.0]])
    certain = mixmatch.refine_labels(torch.tensor([2]), torch.ones(1), guess, 0.5)
    impossible = mixmatch.refine_labels(torch.tensor([2]), torch.zeros(1), guess, 0.5)
    assert certain.tolist() == [pytest.approx([0, 0, 1], abs=1e-12)]
    assert impossible.tolist() == [pytest.approx([0.5, 0.5, 0], abs=1e-12)]


@given(arrays(np.float64, (3, 4), elements=st.floats(1e-4, 1)), st.floats(0.1, 2))
def test_sharpening_is_the_normalised_power(weights, temperature):
    p = weights / weights.sum(axis=1, keepdims=True)
    powered = p ** (1 / temperature)
    expected = powered / powered.sum(axis=1, keepdims=True)
    assert mixmatch.sharpen(torch.from_numpy(p), temperature).numpy() == pytest.approx(expected, abs=1e-9)


def test_a_small_temperature_does_not_lose_a_row():
    row = torch.full((1, 1000), 1e-3)
    assert mixmatch.sharpen(row, 0.01).sum().item() == pytest.approx(1, abs=1e-5)


def test_mixing_adds_the_partner_at_the_permuted_place():
    rows = torch.tensor([[1.0], [10.0], [100.0]])
    mixed = mixmatch.mix(rows, 0.75, torch.tensor([1, 2, 0]))
    assert mixed[:, 0].tolist() == [3.25, 32.5, 75.25]


@pytest.mark.parametrize(
    ("since_warmup", "weight"), [(-1, 0), (0, 0), (1, 1.5625), (1.5, 2.34375), (8, 12.5), (16, 25), (40, 25)]
)
def test_the_unlabelled_weight_rises_along_its_ramp_and_stays(since_warmup, weight):
    assert mixmatch.unlabelled_weight(25, since_warmup, 16) == pytest.approx(weight)
