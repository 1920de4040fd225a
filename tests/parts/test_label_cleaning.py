"""RoLT's averages and losses over label lists against algorithms/numbers.md §1, algorithms/methods.md §8, closed forms
and brute force.
"""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sfa_bench.parts.label_cleaning import TemporalEnsemble, component_loss, prototype_scores, uniform_component
from sfa_bench.parts.losses import make_loss

LOGITS = torch.tensor([[2, 0.5, -1, 0], [0.1, 0.2, 0.3, 0.4], [-1, 3, 0.5, 0.2]], dtype=torch.float64)
LABELS = torch.tensor([0, 2, 3])
COUNTS = torch.tensor([100, 40, 10, 2])
WEIGHTS = torch.tensor([0.0633, 0.1577, 0.6300, 3.1489], dtype=torch.float64)
EVERYONE = torch.ones(3, dtype=torch.bool)


def cleaned_lists(replaced=EVERYONE):
    """0.4 on (1,2,3), 0.2 on (0,1,3), 0.2 on ỹ = (0,2,3), 0.2 uniform, as algorithms/numbers.md §1 has them."""
    lists = [(0.4, torch.tensor([1, 2, 3])), (0.2, torch.tensor([0, 1, 3])), (0.2, LABELS)]
    return [*lists, *uniform_component(0.2, LABELS, replaced, 4)]


def test_the_cleaned_target_has_the_specified_loss():
    value = component_loss(make_loss("ce"), LOGITS, cleaned_lists(), COUNTS)
    assert value.item() == pytest.approx(1.831449, abs=1e-6)


def test_ldams_margins_act_in_every_label_list():
    margins = np.array([0.1880, 0.2364, 0.3344, 0.5])  # of these counts, algorithms/numbers.md §1

    def loss(row, label):
        z = 3.0 * LOGITS[row].numpy()  # cosines = rows/10, scale 30
        z[label] -= 30 * margins[label]
        return np.log(np.exp(z).sum()) - z[label]

    assert [loss(i, y) for i, y in enumerate((0, 2, 3))] == pytest.approx([1.581588, 11.001706, 23.400559], abs=2e-3)
    lists = [(0.4, (1, 2, 3)), (0.2, (0, 1, 3)), (0.2, (0, 2, 3)), *((0.05, (k, k, k)) for k in range(4))]
    expected = sum(w * np.mean([loss(i, y) for i, y in enumerate(labels)]) for w, labels in lists)
    value = component_loss(make_loss("ldam"), 3.0 * LOGITS, cleaned_lists(), COUNTS)
    assert value.item() == pytest.approx(expected, abs=2e-3)


def test_with_class_weights_each_list_has_its_own_weighted_mean():
    log_p = torch.log_softmax(LOGITS, dim=1)
    lists = [(0.4, (1, 2, 3)), (0.2, (0, 1, 3)), (0.2, (0, 2, 3)), *((0.05, (k, 2, k)) for k in range(4))]
    expected = 0.0
    for weight, labels in lists:
        above = sum(-WEIGHTS[y] * log_p[i, y] for i, y in enumerate(labels))
        expected += weight * float(above / sum(WEIGHTS[y] for y in labels))
    selected = torch.tensor([True, False, True])  # the middle row is kept: its own label takes the uniform part
    value = component_loss(make_loss("ce"), LOGITS, cleaned_lists(selected), COUNTS, WEIGHTS)
    assert value.item() == pytest.approx(expected, rel=1e-9)


def test_a_list_with_the_observed_labels_alone_is_the_specified_weighted_mean():
    value = component_loss(make_loss("ce"), LOGITS, [(1.0, LABELS)], COUNTS, WEIGHTS)
    assert value.item() == pytest.approx(2.643022, abs=1e-4)  # the weights here have four digits


@given(seed=st.integers(0, 999), classes=st.integers(2, 6), rows=st.integers(1, 7))
def test_without_class_weights_label_lists_are_one_soft_target(seed, classes, rows):
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(rows, classes, generator=generator, dtype=torch.float64)
    first, second = torch.randint(classes, (2, rows), generator=generator)
    replaced = torch.rand(rows, generator=generator) < 0.5
    hot, uniform = torch.eye(classes, dtype=torch.float64), torch.full((classes,), 1 / classes, dtype=torch.float64)
    target = 0.5 * hot[first] + 0.5 * torch.where(replaced[:, None], uniform, hot[second])
    expected = -(target * torch.log_softmax(logits, 1)).sum(1).mean()
    lists = [(0.5, first), *uniform_component(0.5, second, replaced, classes)]
    value = component_loss(make_loss("ce"), logits, lists, torch.ones(classes))
    assert value.item() == pytest.approx(expected.item(), rel=1e-9)


@pytest.mark.parametrize(
    ("bias", "gains"), [("corrected", [1, 1, 1, 1, 1]), ("release", [2.5, 2.97, 2.78, 2.38, 1.98])]
)
def test_a_constant_prediction_is_gained_as_specified(bias, gains):
    average, constant = TemporalEnsemble(bias), np.array([[1.0, -2.0]])
    for gain in gains:
        assert average.update(constant) == pytest.approx(gain * constant, abs=0.01)


def test_the_releases_gain_goes_away():
    average = TemporalEnsemble("release")
    for _ in range(81):
        value = average.update(np.ones((1, 1)))
    assert value == pytest.approx(1, abs=1e-9)


@given(st.lists(st.floats(-50, 50), min_size=1, max_size=9))
def test_the_corrected_average_weighs_what_is_t_epochs_old_by_the_power_t(values):
    average = TemporalEnsemble()
    for value in values:
        last = average.update(np.full((2, 2), value))
    powers = 0.6 ** np.arange(len(values))[::-1]
    assert last == pytest.approx(np.full((2, 2), np.average(values, weights=powers)), abs=1e-9)


@pytest.mark.parametrize("bias", ["corrected", "release"])
def test_a_stored_average_goes_on_as_if_never_stored(bias):
    rng = np.random.default_rng(0)
    values = rng.normal(size=(5, 3, 2))
    whole, resumed = TemporalEnsemble(bias), TemporalEnsemble(bias)
    resumed.load_state(TemporalEnsemble(bias).state())  # nothing seen yet
    for value in values[:3]:
        whole.update(value)
    resumed.load_state(whole.state())
    for value in values[3:]:
        assert np.array_equal(whole.update(value), resumed.update(value))


def test_prototype_scores_are_negative_squared_distances_and_absent_classes_are_out_of_reach():
    rng = np.random.default_rng(1)
    unit, prototypes = rng.normal(size=(6, 4)), rng.normal(size=(3, 4))
    scores = prototype_scores(unit, prototypes, np.array([True, False, True]))
    for i in range(6):
        for k in (0, 2):
            assert scores[i, k] == pytest.approx(-sum((unit[i, j] - prototypes[k, j]) ** 2 for j in range(4)))
    assert (scores[:, 1] < scores.min(where=[True, False, True], initial=0, axis=1)).all()
    assert np.isfinite(scores).all()
