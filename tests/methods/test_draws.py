"""Methods on class-balanced draws: what they learn from, and whose counts they go by."""

import numpy as np
import pytest
import torch

from sfa_bench.engine.report import describe_selections
from sfa_bench.methods.base import BalancedHead
from sfa_bench.methods.dividemix import DivideMix
from sfa_bench.methods.single import Single
from sfa_bench.parts.losses import make_loss
from sfa_bench.selectors.base import Selection, Selector

LABELS = [0] * 40 + [1] * 20 + [2] * 4
GROUPS = {name: [k] for k, name in enumerate(("many", "medium", "few"))} | {"head": [0], "mid": [1], "tail": [2]}


class FirstHalf(Selector):
    """Takes the first half of what it is shown."""

    def select(self, probe, epoch):
        mask = np.arange(len(probe.observed_labels)) < len(probe.observed_labels) // 2
        counts = np.bincount(probe.observed_labels[mask], minlength=3)
        return Selection(mask, np.where(mask, 0.9, 0.2), mask.astype(float), counts)


def spied(method):
    """Rows of every batch that is asked for, by call."""
    loader, asked = method.loaders[torch.device("cpu")], []
    train_views = loader.train_views

    def ask(parts, generator, copies=1, strong=0):
        asked.append([row for rows in parts for row in rows.tolist()])
        return train_views(parts, generator, copies, strong)

    loader.train_views = ask
    return asked


@pytest.fixture
def training(make_view, make_training):
    view = make_view(LABELS)
    return lambda **more: make_training(view, warmup_draw=15, selection_draw=9, head=BalancedHead(), **more)


def dividemix(given):
    options = {"lambda_u": 25, "alpha": 4, "temperature": 0.5, "penalty": "uniform", "guess_mode": "train"}
    return DivideMix(given, **options, ramp_origin="one_based", ramp_epochs=16)


def test_a_warm_up_epoch_is_a_balanced_draw_of_each_network_and_the_head_goes_by_its_counts(training, monkeypatch):
    method = dividemix(training(selectors=[FirstHalf(), FirstHalf()], warmup=2))
    asked, priors = spied(method), []

    def log_prior(head, counts, device, real=BalancedHead.log_prior):
        priors.append(counts)
        return real(head, counts, device)

    monkeypatch.setattr(BalancedHead, "log_prior", log_prior)
    method.epoch(1)
    method.epoch(2)
    assert len(asked) == 4
    for rows, counts in zip(asked, priors, strict=True):
        assert np.bincount(np.array(LABELS)[rows], minlength=3).tolist() == [5, 5, 4] == counts.tolist()
        assert len(set(rows)) == 14
    assert len({frozenset(rows) for rows in asked}) == 4  # drawn anew for each network and epoch


def test_an_epoch_trains_on_the_draw_of_the_other_networks_selection(training):
    method = dividemix(training(selectors=[FirstHalf(), FirstHalf()]))
    asked = spied(method)
    method.epoch(1)
    assert len(asked) == 2
    for k, rows in enumerate(asked):
        selection = method.selections[1 - k]
        assert set(rows) == set(selection.rows.tolist())
        assert np.bincount(np.array(LABELS)[selection.rows], minlength=3).tolist() == [3, 3, 3]
        assert np.isnan(selection.clean_probability).sum() == len(LABELS) - 9
        assert set(np.flatnonzero(selection.mask)) <= set(selection.rows.tolist())
    assert set(method.selections[0].rows) != set(method.selections[1].rows)


def test_a_single_network_trains_on_its_draws_and_its_loss_goes_by_their_counts(training):
    method = Single(training(selectors=[FirstHalf()], warmup=1), loss=make_loss("balanced_softmax"), loss_name="bs")
    asked, given = spied(method), []
    seen = method._given
    method._given = lambda *arguments: (given.append(seen(*arguments)), given[-1])[1]
    method.epoch(1)
    method.epoch(2)
    assert given[0].loss_counts.tolist() == [5, 5, 4]
    assert given[0].log_counts.exp().tolist() == pytest.approx([5, 5, 4])
    assert set(asked[1]) == set(method.selections[0].rows.tolist())
    assert given[1].loss_counts.tolist() == method.selections[0].class_counts.tolist()


def test_figures_of_a_selection_are_those_of_its_draw_alone(training):
    method = dividemix(training(selectors=[FirstHalf(), FirstHalf()]))
    method.epoch(1)
    observed = np.array(LABELS)
    clean = np.where(np.arange(len(LABELS)) % 3 == 0, (observed + 1) % 3, observed)
    row = describe_selections(method.probes, method.selections, observed, clean, GROUPS, None)
    right = observed == clean
    found = [right[s.rows][s.mask[s.rows]].mean() for s in method.selections]
    assert row["precision"] == pytest.approx(np.mean(found))
    one, other = method.selections
    both = np.intersect1d(one.rows, other.rows)
    agreed = (one.mask[both] == other.mask[both]).mean() if len(both) else None
    assert row["agreement"] == (None if agreed is None else pytest.approx(agreed))
