"""Class weights and resampling against algorithms/numbers.md §1 and algorithms/methods.md §3."""

import pytest
import torch

from sfa_bench.parts.losses import make_loss
from sfa_bench.parts.reweighting import class_balanced_weights, resample, weighted_mean

COUNTS = torch.tensor([100, 40, 10, 2])
LOGITS = torch.tensor([[2, 0.5, -1, 0], [0.1, 0.2, 0.3, 0.4], [-1, 3, 0.5, 0.2]], dtype=torch.float64)
LABELS = torch.tensor([0, 2, 3])


def test_weights_are_those_of_the_specification():
    weights = class_balanced_weights(COUNTS, 0.9999)
    assert weights.tolist() == pytest.approx([0.0633, 0.1577, 0.6300, 3.1489], abs=5e-5)
    assert weights.sum().item() == pytest.approx(4)
    losses = make_loss("ce")(LOGITS, LABELS, COUNTS)
    assert weighted_mean(losses, weights[LABELS]).item() == pytest.approx(2.643022, abs=1e-5)


def test_beta_of_zero_weighs_nothing_and_an_absent_class_counts_as_one_sample():
    assert class_balanced_weights(COUNTS, 0.0).tolist() == [1, 1, 1, 1]
    absent, single = torch.tensor([100, 0]), torch.tensor([100, 1])
    assert torch.equal(class_balanced_weights(absent), class_balanced_weights(single))
    assert class_balanced_weights(absent, floor=50).tolist() == class_balanced_weights(torch.tensor([100, 50])).tolist()


def test_resampling_draws_as_many_rows_in_proportion_to_the_class_weights():
    labels = torch.arange(4).repeat_interleave(COUNTS)
    drawn = torch.cat([resample(labels, COUNTS, 0.9999, 1.0, torch.Generator().manual_seed(s)) for s in range(200)])
    assert len(drawn) == 200 * len(labels)
    share = torch.bincount(labels[drawn], minlength=4) / len(drawn)
    # n·(1−β)/(1−β^n) is nearly the same for all classes this small: balanced
    mass = COUNTS * (1 - 0.9999) / (1 - 0.9999 ** COUNTS.double())
    assert share.tolist() == pytest.approx((mass / mass.sum()).tolist(), abs=0.012)
    once = resample(labels, COUNTS, 0.9999, 1.0, torch.Generator().manual_seed(3))
    assert torch.equal(once, resample(labels, COUNTS, 0.9999, 1.0, torch.Generator().manual_seed(3)))
