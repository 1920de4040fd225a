"""SOP's loss against plain Python, one sample at a time (algorithms/jal_sop.md §2)."""

import math

import numpy as np
import pytest
import torch

from sfa_bench.parts.sop import START, SparseNoise

# logits, label, u, v → cross-entropy and squared error, worked by hand
ROWS = [
    ([2, 0.5, -1, 0], 0, 0.3, [9, 0.2, 0.5, 0], 0.237657, 0.072200),
    ([0.1, 0.2, 0.3, 0.4], 2, 0.5, [0.1, 0, 9, 0.8], 0.621259, 0.692200),
    ([-1, 3, 0.5, 0.2], 3, 0.9, [0, 0.95, 0.1, 9], 0.085059, 0.045706),
]
LOGITS = torch.tensor([row[0] for row in ROWS], dtype=torch.float64)
LABELS = torch.tensor([row[1] for row in ROWS])
WHERE = torch.tensor([4, 0, 2])  # of these rows in a set of five
COUNTS = torch.tensor([9, 9, 9, 9])


def parts(z, y, u, v):
    """Cross-entropy of max(p + s, 1e-4), normalised, and squared error of the hard guess + s."""
    e = [math.exp(value) for value in z]
    s = [u * u if k == y else -(v[k] ** 2) for k in range(len(z))]
    q = [max(value / sum(e) + added, 1e-4) for value, added in zip(e, s, strict=True)]
    guess = max(range(len(z)), key=lambda k: z[k])
    squared = sum(((k == guess) + added - (k == y)) ** 2 for k, added in enumerate(s))
    return -math.log(q[y] / sum(q)), squared


@pytest.fixture
def loss():
    made = SparseNoise(5, 4, torch.device("cpu"), lr_u=2.0, lr_v=3.0)
    made.u, made.v = torch.full((5,), 0.7).double(), torch.full((5, 4), 0.7).double()
    made.u[WHERE] = torch.tensor([row[2] for row in ROWS]).double()
    made.v[WHERE] = torch.tensor([row[3] for row in ROWS]).double()
    return made


def test_the_loss_of_each_sample_is_that_of_the_worked_numbers(loss):
    found = loss(LOGITS, LABELS, COUNTS, WHERE)
    assert found.tolist() == pytest.approx([row[4] + row[5] for row in ROWS], abs=2e-6)
    assert [parts(*row[:4]) for row in ROWS] == [pytest.approx(row[4:], abs=1e-6) for row in ROWS]


def test_the_network_learns_by_the_cross_entropy_alone(loss):
    """Finite differences of the whole loss agree as well: the squared error is constant between two guesses."""
    assert torch.autograd.gradcheck(lambda logits: loss(logits, LABELS, COUNTS, WHERE), LOGITS.clone().requires_grad_())


def test_a_step_moves_u_by_the_cross_entropy_and_v_by_the_squared_error(loss):
    before = {name: table.clone() for name, table in loss.state().items()}
    loss(LOGITS, LABELS, COUNTS, WHERE).mean().backward()
    loss.stepped()
    h = 1e-6
    for (z, y, u, v, *_), row in zip(ROWS, WHERE, strict=True):
        slope = (parts(z, y, u + h, v)[0] - parts(z, y, u - h, v)[0]) / (2 * h)
        assert loss.u[row].item() == pytest.approx(np.clip(u - 2 * slope / 3, -1, 1), abs=1e-7)
        for k in range(4):
            up, down = ([*v[:k], v[k] + step, *v[k + 1 :]] for step in (h, -h))
            slope = (parts(z, y, u, up)[1] - parts(z, y, u, down)[1]) / (2 * h)
            expected = np.clip(v[k] - 3 * slope / 3, -1, 1)
            assert loss.v[row, k].item() == pytest.approx(expected, abs=1e-6)
    others = [i for i in range(5) if i not in WHERE.tolist()]
    for name, table in loss.state().items():
        assert torch.equal(table[others], before[name][others])


def test_a_sample_that_comes_twice_moves_twice_as_far(loss):
    loss(LOGITS[:1], LABELS[:1], COUNTS, WHERE[:1]).sum().backward()
    start = loss.u[4].item()
    loss.stepped()
    once = loss.u[4].item() - start
    loss.u[4] = start
    loss.v[4] = torch.tensor(ROWS[0][3]).double()
    loss(LOGITS[[0, 0]], LABELS[[0, 0]], COUNTS, WHERE[[0, 0]]).sum().backward()
    loss.stepped()
    assert abs(once) > 1e-3
    assert loss.u[4].item() - start == pytest.approx(2 * once, rel=1e-9)


@pytest.mark.parametrize(("rate", "batch"), [(10, 128), (10, 64), (100, 128)])
def test_how_long_noise_takes_to_grow(rate, batch):
    """While another class is guessed, its v grows by 1 + 4·lr_v/B a visit: ln(1e8)/ln(1 + 4·lr_v/B) from 1e-8 to 1."""
    loss = SparseNoise(1, 3, torch.device("cpu"), lr_u=1e-9, lr_v=rate)
    loss.v.fill_(START)
    logits, visits = torch.tensor([[0.0, 4.0, 0.0]]), 0
    while loss.v[0, 1] < 0.5:
        (loss(logits, torch.tensor([0]), COUNTS[:3], torch.tensor([0])).sum() / batch).backward()
        loss.stepped()
        visits += 1
    assert visits == pytest.approx(math.log(0.5e8) / math.log(1 + 4 * rate / batch), abs=1.5)
    assert loss.v[0, 0] == loss.v[0, 2] < 2 * START  # the label's own is never touched, nor one that nobody guesses
    for _ in range(50):
        (loss(logits, torch.tensor([0]), COUNTS[:3], torch.tensor([0])).sum() / batch).backward()
        loss.stepped()
    assert loss.v[0, 1] == pytest.approx(1, abs=1e-3)
    assert loss.v.abs().max() <= 1


def test_without_noise_it_is_cross_entropy_and_the_error_of_the_guess():
    loss = SparseNoise(5, 4, torch.device("cpu"), lr_u=1.0, lr_v=1.0)
    found = loss(LOGITS, LABELS, COUNTS, WHERE) - torch.nn.functional.cross_entropy(LOGITS, LABELS, reduction="none")
    assert found.tolist() == pytest.approx([0, 2, 2], abs=1e-9)  # no probability here is below the least share


def test_initial_values_are_tiny_and_of_the_generator():
    tables = []
    for seed in (1, 1, 2):
        loss = SparseNoise(4000, 3, torch.device("cpu"), lr_u=1.0, lr_v=1.0)
        loss.draw(torch.Generator().manual_seed(seed))
        tables.append(torch.cat([loss.u, loss.v.flatten()]))
    assert torch.equal(tables[0], tables[1])
    assert not torch.equal(tables[0], tables[2])
    assert tables[0].std().item() == pytest.approx(1e-8, rel=0.05)
    assert abs(tables[0].mean().item()) < 5e-10
    assert (tables[0] != 0).all()


def test_a_certain_prediction_gives_finite_losses_and_gradients():
    for dtype in (torch.float32, torch.float64):
        loss = SparseNoise(2, 4, torch.device("cpu"), lr_u=1.0, lr_v=1.0)
        loss.v += 1
        logits = torch.tensor([[200.0, 0, 0, 0], [0, 200.0, 0, 0]], dtype=dtype, requires_grad=True)
        values = loss(logits, torch.tensor([0, 0]), COUNTS, torch.tensor([0, 1]))
        values.sum().backward()
        loss.stepped()
        for found in (values, logits.grad, loss.u, loss.v):
            assert torch.isfinite(found).all()


def test_what_is_kept_is_taken_up_again(loss):
    other = SparseNoise(5, 4, torch.device("cpu"), lr_u=2.0, lr_v=3.0)
    other.load_state({name: table.float() for name, table in loss.state().items()})
    assert torch.equal(other.u, loss.u.float())
    assert torch.equal(other.v, loss.v.float())
