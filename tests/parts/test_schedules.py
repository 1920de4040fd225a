"""Rates, switches and keep fractions at their milestones (algorithms/methods.md §1, §3.3, §5, §6)."""

import math

import pytest

from sfa_bench.methods.base import Optimisation
from sfa_bench.parts.schedules import NATIVE, first_after, keep_fraction


def rates(schedule, epochs, at, lr):
    o = Optimisation(lr, 0.9, 0, drop_from=999, drop=0.1, schedule=schedule, epochs=epochs)
    return [o.rate(e) for e in at]


def test_the_deferred_switch_of_two_hundred_epochs_is_161():
    assert [first_after(f, 200) for f in (0.4, 0.75, 0.8, 0.9)] == [81, 151, 161, 181]
    assert first_after(0.8, 60) == 49
    assert first_after(0.29, 100) == 30


def test_rolt_and_ldam_warm_up_and_drop_twice():
    at = [1, 2, 4, 5, 6, 160, 161, 180, 181, 200]
    expected = [0.02, 0.04, 0.08, 0.1, 0.1, 0.1, 1e-3, 1e-3, 1e-5, 1e-5]
    assert rates("cifar_lt", 200, at, 0.1) == pytest.approx(expected, rel=1e-12)
    assert rates("cifar_lt", 40, [1, 2, 32, 33, 36, 37], 0.1) == pytest.approx([0.1, 0.1, 0.1, 1e-3, 1e-3, 1e-5])


def test_elr_restarts_its_cosine_every_ten_epochs():
    at = [1, 6, 11, 150]
    low = 0.001
    mid = low + (0.02 - low) / 2
    last = low + (0.02 - low) * (1 + math.cos(math.pi * 0.9)) / 2
    assert rates("elr_cifar10", 150, at, 0.02) == pytest.approx([0.02, mid, 0.02, last])


@pytest.mark.parametrize(
    ("schedule", "epochs", "drops"), [("elr_cifar10_asymmetric", 120, (40, 80)), ("elr_cifar100", 150, (80, 120))]
)
def test_elr_elsewhere_drops_by_a_hundred_twice(schedule, epochs, drops):
    first, second = drops
    at = [1, first, first + 1, second, second + 1, epochs]
    assert rates(schedule, epochs, at, 0.02) == pytest.approx([0.02, 0.02, 2e-4, 2e-4, 2e-6, 2e-6])


def test_unicons_cosine_falls_for_four_fifths_and_then_rises():
    low, half = 2e-4, 2e-4 + (0.02 - 2e-4) / 2
    assert rates("long_cosine", 350, [1, 141, 281], 0.02) == pytest.approx([0.02, half, low])
    assert rates("long_cosine", 350, [282], 0.02)[0] > low
    assert rates("long_cosine", 350, [350], 0.02) == pytest.approx(
        [low + (0.02 - low) * (1 + math.cos(math.pi * 349 / 280)) / 2]
    )


# (epoch, rate, β₁) of the release's tables, read off its two loops; it trains 1 … 199, and 200 is as 199.
COTEACHING = {
    "coteaching_cifar10": [
        (1, 0.001, 0.9),
        (79, 0.001, 0.9),
        (80, 0.001, 0.1),
        (81, 0.001 * 119 / 120, 0.1),
        (150, 0.001 * 50 / 120, 0.1),
        (199, 0.001 * 1 / 120, 0.1),
        (200, 0.001 * 1 / 120, 0.1),
    ],
    "coteaching_cifar100": [
        (1, 0.001, 0.9),
        (99, 0.001, 0.9),
        (100, 0.001, 0.1),
        (101, 0.001 * 99 / 100, 0.1),
        (150, 0.001 * 50 / 100, 0.1),
        (199, 0.001 * 1 / 100, 0.1),
        (200, 0.001 * 1 / 100, 0.1),
    ],
}


@pytest.mark.parametrize("schedule", COTEACHING)
def test_coteaching_changes_rate_and_adams_memory_in_the_releases_epochs(schedule):
    o = Optimisation(0.001, 0.9, 0, 999, 0.1, schedule, 200, adam=True)
    for epoch, rate, first_moment in COTEACHING[schedule]:
        assert (o.rate(epoch), o.first_moment(epoch)) == (pytest.approx(rate), first_moment), epoch


@pytest.mark.parametrize("schedule", COTEACHING)
@pytest.mark.parametrize("epochs", [2, 3, 20, 60, 200])
def test_no_epoch_of_coteaching_trains_at_a_rate_of_zero(schedule, epochs):
    assert min(NATIVE[schedule](e, epochs) for e in range(1, epochs + 1)) > 0


def test_coteaching_keeps_less_for_ten_epochs():
    forgotten = [1 - keep_fraction(e, 200, 0.5) for e in (1, 2, 8, 9, 10, 200)]
    assert forgotten == pytest.approx([0.5 / 9, 1 / 9, 4 / 9, 0.5, 0.5, 0.5])
    # the exponent acts inside the rise only, whose end is F^c
    assert [1 - keep_fraction(e, 200, 0.5, exponent=2) for e in (9, 10)] == pytest.approx([0.25, 0.5])
    assert keep_fraction(3, 4, 0.4) == keep_fraction(4, 4, 0.4)  # element min(e, E−1)


def test_every_schedule_starts_at_or_below_the_full_rate():
    for factor in NATIVE.values():
        assert all(0 <= factor(e, E) <= 1 for E in (1, 5, 60, 200) for e in range(1, E + 1))
