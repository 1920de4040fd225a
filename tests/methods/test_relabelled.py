"""A selector's labels take the place of the observed ones: training by them is training on data that has them."""

import copy
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from sfa_bench.classifiers.fit import fit
from sfa_bench.engine.report import describe_selections
from sfa_bench.errors import RunError
from sfa_bench.methods.base import BalancedHead
from sfa_bench.methods.dasc import Dasc
from sfa_bench.methods.dividemix import DivideMix
from sfa_bench.methods.rolt import Rolt
from sfa_bench.methods.single import Single
from sfa_bench.methods.unicon import Unicon
from sfa_bench.parts.losses import make_loss
from sfa_bench.selectors.base import Probe, Selection, Selector

OBSERVED = np.array([0] * 9 + [1] * 6 + [2] * 3)
LABELS = np.where(np.arange(18) % 4 == 1, (OBSERVED + 1) % 3, OBSERVED)
MASK = np.arange(18) % 5 != 0
BELIEF = np.linspace(0.51, 0.99, 18)


class Relabelling(Selector):
    """Selects MASK; `labels` beside the observed ones, or None."""

    def __init__(self, labels, belief):
        self.labels, self.belief = labels, belief

    def select(self, probe, epoch):
        used = probe.observed_labels if self.labels is None else self.labels
        counts = np.bincount(used[MASK], minlength=3)
        return Selection(MASK, self.belief, self.belief, counts, labels=self.labels)


DIVIDEMIX = {
    "lambda_u": 25,
    "alpha": 4,
    "temperature": 0.5,
    "penalty": "uniform",
    "guess_mode": "train",
    "ramp_origin": "one_based",
    "ramp_epochs": 16,
}
DASC = {
    "sbcl": 0.3,
    "midl": 0.3,
    "sbcl_temperature": 0.1,
    "midl_temperature": 0.1,
    "sbcl_from": 0,
    "memory": 16,
    "confidence": 0.6,
    "refinement": "own",
    "positive": "own",
}
UNICON = {"contrastive": 0.1, "contrastive_temperature": 0.5}

LEARNERS = {
    "single": lambda t: Single(t, loss=make_loss("balanced_softmax"), loss_name="balanced_softmax"),
    "single, mixup": lambda t: Single(t, loss=make_loss("ce"), loss_name="ce", mixup=True),
    "single, drw": lambda t: Single(t, loss=make_loss("ce"), loss_name="ce", schedule="drw"),
    "single, drs": lambda t: Single(t, loss=make_loss("ce"), loss_name="ce", schedule="drs"),
    "dividemix": lambda t: DivideMix(t, **DIVIDEMIX),
    "dasc": lambda t: Dasc(t, **DIVIDEMIX, **DASC),
    "unicon": lambda t: Unicon(t, **DIVIDEMIX, **UNICON, by_divergence=False),
    "unicon, labels refined by divergence": lambda t: Unicon(t, **DIVIDEMIX, **UNICON, by_divergence=True),
    "rolt": lambda t: Rolt(t, loss=make_loss("ce"), schedule="drw"),
}


@pytest.fixture
def trained(make_view, make_training):
    """The learner after these epochs: on the data with `observed` labels, with a selector that brings `labels`."""

    def make(name, observed, labels, belief=BELIEF, epochs=(1, 9, 17)):
        selectors = [Relabelling(labels, belief) for _ in range(2)]
        view = make_view(observed)
        training = make_training(view, selectors=selectors, head=BalancedHead(), batch_size=4)
        method = LEARNERS[name](training)
        training.selectors[:] = selectors[: method.networks_used]
        losses = [method.epoch(e)["loss"] for e in epochs]  # RoLT's soft labels from 9 on; the switch of 20 epochs
        return SimpleNamespace(method=method, losses=losses)

    return make


def weights(method):
    return [network.state_dict() for network in method.networks]


@pytest.mark.parametrize("name", LEARNERS)
def test_training_by_new_labels_is_training_on_data_that_has_them(trained, name):
    new = trained(name, OBSERVED, LABELS)
    # DivideMix and its heirs take a label that was replaced as it is.
    same = trained(name, LABELS, None, np.where(LABELS != OBSERVED, 1.0, BELIEF))
    other = trained(name, OBSERVED, None)
    assert new.losses == same.losses != other.losses
    for a, b in zip(weights(new.method), weights(same.method), strict=True):
        assert all(torch.equal(a[key], b[key]) for key in a)


@pytest.mark.parametrize("classifier", ["crt", "tau_norm", "ncm", "logit_adjust"])
def test_a_classifier_is_fitted_to_the_labels_that_were_trained_on(trained, classifier):
    heads = []
    for observed, labels in ((OBSERVED, LABELS), (LABELS, None), (OBSERVED, None)):
        method = trained("single", OBSERVED, LABELS).method
        method.labels = torch.from_numpy(observed)
        method.selections = [Relabelling(labels, BELIEF).select(method.probes[0], 1)]
        fitted = fit(classifier, copy.deepcopy(method), epochs=2, batch_size=4, lr=0.5)
        heads.append([value for head in fitted.predict(method.training.view.images) for value in head.values()])
    assert np.array_equal(heads[0], heads[1])
    assert classifier == "tau_norm" or not np.array_equal(heads[0], heads[2])  # whose power comes from a grid


def test_new_labels_survive_a_restart_and_are_no_part_of_other_states(trained):
    method = trained("single", OBSERVED, LABELS, epochs=(1,)).method
    state = method.state()
    assert state["selections"][0]["labels"].tolist() == LABELS.tolist()
    second = trained("single", OBSERVED, LABELS, epochs=()).method
    second.load_state(copy.deepcopy(state))
    assert second.selections[0].labels.tolist() == LABELS.tolist()
    assert "labels" not in trained("single", OBSERVED, None, epochs=(1,)).method.state()["selections"][0]


@pytest.mark.parametrize(
    ("labels", "sentence"),
    [
        (LABELS.astype(float), r"labels must be a NumPy array int64 \[18\]"),
        (LABELS[:5], r"labels must be a NumPy array int64 \[18\]"),
        (LABELS + 1, r"labels lie in \[1, 3\]: they must be classes, 0 to 2"),
        (OBSERVED, "by label it selects"),
    ],
)
def test_labels_that_are_none_are_refused_by_name(labels, sentence):
    class Wrong(Selector):
        def select(self, probe, epoch):
            return Selection(MASK, BELIEF, BELIEF, np.bincount(LABELS[MASK], minlength=3), labels=labels)

    with pytest.raises(RunError, match=sentence):
        Wrong().answer(Probe(np.zeros((18, 1)), np.zeros((18, 3)), None, OBSERVED), 1)


def test_labels_of_a_draw_are_put_where_its_samples_are():
    rows = np.array([4, 1, 7])
    found = Selection(np.array([True, False, True]), np.ones(3), np.ones(3), np.ones(3), labels=np.array([2, 0, 1]))
    assert found.among(9, rows).labels.tolist() == [-1, 0, -1, -1, 2, -1, -1, 1, -1]
    assert found.among(3, None).labels.tolist() == [2, 0, 1]


def test_the_record_says_how_many_labels_were_replaced_and_how_many_of_these_are_right():
    probe = Probe(np.zeros((18, 1)), np.zeros((18, 3)), None, OBSERVED)
    clean = np.where(np.arange(18) % 8 == 1, LABELS, OBSERVED)  # of the replaced ones the 1st, 3rd and 5th are right
    clean[13] = -1
    groups = {name: [0] for name in ("many", "medium", "few", "head", "mid", "tail")}
    told, silent = (
        describe_selections([probe], [Relabelling(labels, BELIEF).select(probe, 1)], OBSERVED, clean, groups, None)
        for labels in (LABELS, None)
    )
    new = MASK & (LABELS != OBSERVED)  # 1 9 13 17: 5 is not selected, of 13 nothing is known
    assert np.flatnonzero(new).tolist() == [1, 9, 13, 17]
    assert told["relabelled"] == pytest.approx(4 / MASK.sum())
    assert told["relabelled_acc"] == 1.0
    assert (silent["relabelled"], silent["relabelled_acc"]) == (None, None)
    clean[9] = OBSERVED[9]
    again = describe_selections([probe], [Relabelling(LABELS, BELIEF).select(probe, 1)], OBSERVED, clean, groups, None)
    assert again["relabelled_acc"] == pytest.approx(2 / 3)
