"""CCS (algorithms/dss.md §3): worked numbers, Kendall's trend pair by pair, and the gradient."""

import math
from itertools import combinations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.stats import kendalltau, norm

from sfa_bench.parts.ccs import RisingClasses

CPU = torch.device("cpu")
HISTORY = (0.1, 0.12, 0.11, 0.15, 0.2, 0.22, 0.3, 0.29)


def two_classes(confidences, **options):
    """One sample after these confidences in class 0, one an epoch."""
    loss = RisingClasses(1, 2, CPU, **{"level": 0.1, "window": 30, **options})
    for p in confidences:
        loss(torch.tensor([[p, 1 - p]]).log(), torch.tensor([1]), torch.ones(2), torch.tensor([0]))
    return loss


def rising(history, level):
    """One-sided Mann-Kendall test, pair by pair and without ties."""
    n = len(history)
    s = sum(np.sign(later - earlier) for earlier, later in combinations(history, 2))
    if s <= 0:
        return False, s
    return 1 - norm.cdf((s - 1) / math.sqrt(n * (n - 1) * (2 * n + 5) / 18)) < level, s


def test_the_worked_numbers_of_the_trend():
    assert two_classes(HISTORY).trend.tolist() == [[24, -24]]
    row = torch.tensor([0])
    assert 1 - norm.cdf(23 / math.sqrt(65.3333)) == pytest.approx(0.002217, abs=1e-5)
    assert two_classes(HISTORY, level=0.00222).rising(row).tolist() == [[True, False]]
    assert two_classes(HISTORY, level=0.00221).rising(row).tolist() == [[False, False]]


def test_the_trend_is_kendalls_tau():
    values = np.random.default_rng(0).permutation(np.arange(1, 26)) / 32  # half precision tells them apart
    pairs = 25 * 24 / 2
    assert two_classes(values).trend[0, 0].item() == round(kendalltau(np.arange(25), values).statistic * pairs)


def test_the_worked_numbers_of_the_loss():
    logits, label, row = torch.tensor([[2.0, 1.0, 0.0]]), torch.tensor([1]), torch.tensor([0])
    first, loss = (RisingClasses(1, 3, CPU, level=0.1, window=30) for _ in range(2))
    assert first(logits, label, torch.ones(3), row).item() == pytest.approx(1.407606, abs=1e-5)
    for p in (0.1, 0.2, 0.3, 0.4, 0.5):  # class 0 rises, the label falls, class 2 stays
        loss(torch.tensor([[p, 0.8 - p, 0.2]]).log(), label, torch.ones(3), row)
    assert loss.rising(row).tolist() == [[True, False, False]]
    assert loss(logits, label, torch.ones(3), row).item() == pytest.approx(0.313262, abs=1e-5)


def test_a_label_that_rises_stays_in_the_denominator():
    loss, logits = two_classes((0.1, 0.2, 0.3, 0.4, 0.5)), torch.tensor([[0.3, 1.2]])
    row, counts = torch.tensor([0]), torch.ones(2)
    assert loss.rising(row).tolist() == [[True, False]]
    expected = F.cross_entropy(logits, torch.tensor([0]), reduction="none")
    assert torch.equal(loss(logits, torch.tensor([0]), counts, row), expected)


@pytest.mark.parametrize("window", [4, 7, 30])
def test_the_ring_holds_the_last_confidences_of_each_sample(window):
    generator = torch.Generator().manual_seed(0)
    n, num_classes, level = 9, 4, 0.2
    loss = RisingClasses(n, num_classes, CPU, level=level, window=window)
    histories = [[] for _ in range(n)]
    found = 0
    for epoch in range(14):
        here = torch.randperm(n, generator=generator)[: 7 if epoch % 3 else n]  # not every sample in every epoch
        for rows in here.split(4):
            logits = torch.randn(len(rows), num_classes, generator=generator) + 0.3 * epoch * (rows[:, None] % 3)
            logits = logits * torch.tensor([0.1, 1, 2, 3])
            expected = []
            for row in rows.tolist():
                past = np.array(histories[row][-window:], dtype=np.float64).reshape(-1, num_classes)
                expected.append([rising(past[:, c], level) for c in range(num_classes)])
                assert loss.trend[row].tolist() == [s for _, s in expected[-1]]
            assert loss.rising(rows).tolist() == [[up for up, _ in each] for each in expected]
            labels = rows % num_classes
            values = loss(logits, labels, torch.ones(num_classes), rows)
            for i, (row, label) in enumerate(zip(rows.tolist(), labels.tolist(), strict=True)):
                kept = [c for c in range(num_classes) if c == label or not expected[i][c][0]]
                found += num_classes - len(kept)
                own = torch.logsumexp(logits[i, kept], 0) - logits[i, label]
                assert values[i].item() == pytest.approx(own.item(), abs=1e-5)
                histories[row].append(F.softmax(logits[i], dim=0).half().tolist())
    assert found > 10


def test_equal_confidences_are_no_trend_and_a_trend_may_end():
    row = torch.tensor([0])
    assert two_classes([0.25] * 12).trend.tolist() == [[0, 0]]
    up = [0.1, 0.2, 0.3, 0.4, 0.5]
    assert two_classes(up, window=5).rising(row)[0, 0]
    assert not two_classes([*up, 0.45, 0.4, 0.35], window=5).rising(row)[0, 0]


def test_the_gradient_of_a_class_left_out_is_exactly_zero_and_without_one_it_is_cross_entropys():
    loss = RisingClasses(2, 3, CPU, level=0.1, window=10)
    rows, labels, counts = torch.tensor([0, 1]), torch.tensor([1, 1]), torch.ones(3)
    for p in (0.1, 0.2, 0.3, 0.4, 0.5):  # for the first sample alone
        loss(torch.tensor([[p, 0.8 - p, 0.2]]).log(), labels[:1], counts, rows[:1])
    logits = torch.tensor([[2.0, 1.0, 0.0], [2.0, 1.0, 0.0]], requires_grad=True)
    values = loss(logits, labels, counts, rows)
    values.sum().backward()
    kept = F.softmax(torch.tensor([1.0, 0.0]), dim=0)
    assert logits.grad[0].tolist() == pytest.approx([0, float(kept[0] - 1), float(kept[1])], abs=1e-6)
    assert logits.grad[0, 0] == 0
    plain = logits.detach()[1:].clone().requires_grad_()
    expected = F.cross_entropy(plain, labels[1:], reduction="none")
    expected.sum().backward()
    assert torch.equal(values[1:].detach(), expected.detach())
    assert torch.equal(logits.grad[1:], plain.grad)
    assert (logits.grad[1] != 0).all()


def test_it_agrees_with_finite_differences():
    loss = RisingClasses(3, 4, CPU, level=0.3, window=6)
    generator, rows, labels = torch.Generator().manual_seed(1), torch.arange(3), torch.tensor([0, 1, 2])
    for _ in range(6):
        loss(torch.randn(3, 4, generator=generator), labels, torch.ones(4), rows)
    assert loss.rising(rows).any()
    state = {name: value.clone() for name, value in loss.state().items()}

    def value(logits):
        loss.load_state(state)
        return loss(logits, labels, torch.ones(4), rows)

    logits = torch.randn(3, 4, generator=generator, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(value, logits)


def test_what_was_stored_goes_on_as_if_it_never_had_been():
    straight, resumed = two_classes(HISTORY[:4]), two_classes(())
    resumed.load_state({name: value.clone() for name, value in straight.state().items()})
    for p in HISTORY[4:]:
        for loss in (straight, resumed):
            loss(torch.tensor([[p, 1 - p]]).log(), torch.tensor([1]), torch.ones(2), torch.tensor([0]))
    assert straight.trend.tolist() == resumed.trend.tolist() == [[24, -24]]
    assert torch.equal(straight.history, resumed.history)


def test_a_certain_prediction_gives_finite_losses_and_gradients():
    loss, rows, labels = RisingClasses(2, 3, CPU, level=0.1, window=10), torch.arange(2), torch.tensor([0, 0])
    for z in range(6):  # class 1 rises until it is certain
        logits = torch.tensor([[200.0, 0, 0], [0, 40.0 * z, 0]], requires_grad=True)
        values = loss(logits, labels, torch.ones(3), rows)
        values.sum().backward()
        assert torch.isfinite(values).all()
        assert torch.isfinite(logits.grad).all()
